"""What a run will cost, before it is paid."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd

from critic_probe.bench import Reader, Settings, survey
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, Group
from critic_probe.pairs import Pairs
from critic_probe.scoring.trie import distinct


def price(
    critics: Iterable[Critic],
    pairs: Pairs,
    settings: Settings,
    responses: Callable[[Reader, EncodedPair], Sequence[tuple[int, ...]]],
) -> pd.DataFrame:
    """Counts the tokens of a run and times its first rows; nothing is kept.

    Args:
        critics: Loaded one after the other.
        pairs: At least one.
        settings: How text becomes a score.
        responses: All responses that a pair's group will hold, as ids.

    Returns:
        One row per critic: pairs, responses, tokens as given, tokens after sharing, share saved, tokens_per_second of
        the timed rows, and seconds, what the whole run will take at that rate.

    Raises:
        CriticProbeError: A pair cannot be scored honestly.
    """
    rows = []
    for critic in critics:
        reader = Reader(critic, settings)
        surveyed = survey(reader, pairs)

        def groups(reader: Reader = reader) -> Iterator[Group]:
            for pair in reader.encoded(pairs):
                yield Group(pair.prompt_ids, tuple(responses(reader, pair)))

        count = tokens = unique = 0
        first: list[Group] = []
        for group in groups():
            sequences = group.sequences
            count += len(sequences)
            tokens += sum(map(len, sequences))
            unique += distinct(sequences)
            if len(first) < len(surveyed.sample):
                first.append(group)
        list(reader.engine.values(first[:1]))  # the engine chooses, code is loaded
        computed, begun = reader.engine.stats.computed, time.perf_counter()
        list(reader.engine.values(first))
        rate = (reader.engine.stats.computed - computed) / (time.perf_counter() - begun)
        needed = unique if reader.engine.name == "tree" else tokens
        rows.append(
            {
                "critic": critic.name,
                "engine": reader.engine.name,
                "pairs": surveyed.pairs,
                "responses": count,
                "tokens": tokens,
                "tokens_after_sharing": needed,
                "saved": 1 - needed / tokens,
                "tokens_per_second": rate,
                "seconds": needed / rate,
            }
        )
        del critic, reader, groups
    return pd.DataFrame(rows)
