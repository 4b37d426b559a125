"""What a run will cost, before it is paid."""

import time
from collections.abc import Iterable, Sequence

import pandas as pd

from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group
from critic_probe.pairs import Pairs
from critic_probe.scoring.trie import distinct
from critic_probe.workbench import Measure, Settings, benches


def price(critics: Iterable[Critic], pairs: Pairs, settings: Settings, measures: Sequence[Measure]) -> pd.DataFrame:
    """Counts the tokens of a run and times its first rows; nothing is kept.

    Args:
        critics: Loaded one after the other.
        pairs: At least one.
        settings: How text becomes a score.
        measures: What would be measured.

    Returns:
        One row per critic: pairs, responses, tokens as given, tokens after sharing, share saved, tokens_per_second of
        the timed rows, and seconds, what the whole run will take at that rate.

    Raises:
        CriticProbeError: A pair cannot be scored honestly.
    """
    rows = []
    with benches(critics, pairs, settings) as made:
        for bench in made:
            bench.admit()
            for measure in measures:
                measure.begin(bench)
            count = tokens = unique = 0
            first: list[Group] = []
            for pair in bench.encoded(pairs):
                group, _ = bench.asked(measures, pair)
                sequences = group.sequences
                count += len(sequences)
                tokens += sum(map(len, sequences))
                unique += distinct(sequences)
                if len(first) < len(bench.survey.sample):
                    first.append(group)
            list(bench.engine.values(first[:1]))  # the engine chooses, code is loaded
            computed, begun = bench.engine.stats.computed, time.perf_counter()
            list(bench.engine.values(first))
            rate = (bench.engine.stats.computed - computed) / (time.perf_counter() - begun)
            needed = unique if bench.engine.name == "tree" else tokens
            rows.append(
                {
                    "critic": bench.name,
                    "engine": bench.engine.name,
                    "pairs": bench.survey.pairs,
                    "responses": count,
                    "tokens": tokens,
                    "tokens_after_sharing": needed,
                    "saved": 1 - needed / tokens,
                    "tokens_per_second": rate,
                    "seconds": needed / rate,
                }
            )
    return pd.DataFrame(rows)
