"""What a run will cost, before it is paid."""

import resource
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch

from critic_probe.checkpoint import Critic
from critic_probe.checkpoint.blocks import attention_bytes
from critic_probe.encoding import Group
from critic_probe.pairs import Pairs
from critic_probe.scoring.engine import token_bytes
from critic_probe.scoring.trie import distinct
from critic_probe.workbench import Bench, Measure, Settings, benches
from critic_probe.workbench.noise import padded_batch

PARTS = ("program", "weights", "batch", "tables")  # of a run's memory
LATER = 40_000_000  # bytes of what a run imports after it has scored
RESPONSE_BYTES = 1200  # that tables hold of a response under one read-out


def price(critics: Iterable[Critic], pairs: Pairs, settings: Settings, measures: Sequence[Measure]) -> pd.DataFrame:
    """Counts the tokens of a run and times its first rows; nothing is kept.

    Args:
        critics: Loaded one after the other.
        pairs: At least one.
        settings: How text becomes a score.
        measures: What would be measured.

    Returns:
        One row per critic: pairs, responses, tokens as given, tokens after sharing, share saved, tokens_per_second of
        the timed rows, and seconds, what the whole run will take at that rate. In bytes, and None where other processes
        hold the critic or parts of it: memory, the most that its device should have to give until its turn ends; the
        parts of it, program_memory, weights_memory, batch_memory (of the largest batch, of batch_tokens tokens) and
        tables_memory (of results).

    Raises:
        CriticProbeError: A pair cannot be scored honestly.
    """
    rows: list[dict[str, Any]] = []
    kept = 0
    with benches(critics, pairs, settings) as made:
        for bench in made:
            bench.admit()
            for measure in measures:
                measure.begin(bench)
            resident = _resident()
            count = tokens = unique = longest = largest = 0
            first: list[Group] = []
            for pair in bench.encoded(pairs):
                group, _ = bench.asked(measures, pair)
                sequences = group.sequences
                count += len(sequences)
                tokens += sum(map(len, sequences))
                alone = distinct(sequences)
                unique, largest = unique + alone, max(largest, alone)
                longest = max(longest, *map(len, sequences))
                if len(first) < len(bench.survey.sample):
                    first.append(group)
            list(bench.engine.values(first[:1]))  # the engine chooses, code is loaded
            computed, begun = bench.engine.stats.computed, time.perf_counter()
            list(bench.engine.values(first))
            rate = (bench.engine.stats.computed - computed) / (time.perf_counter() - begun)
            kept += count * len(settings.aggregations) * RESPONSE_BYTES
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
                    **_memory(bench, resident, longest, bench.engine.widest(longest, largest, unique), kept),
                }
            )
    return pd.DataFrame(rows)


def _memory(bench: Bench, resident: int, longest: int, widest: int, kept: int) -> dict[str, int | None]:
    """What a critic takes, at most, where it is; see `price`.

    Args:
        bench: Its critic is loaded.
        resident: Bytes that the process took once it was.
        longest: Tokens of the longest sequence.
        widest: Of the widest row.
        kept: Bytes that tables hold by then.
    """
    critic = bench.critic
    if type(critic) is not Critic:
        return dict.fromkeys([*(f"{part}_memory" for part in PARTS), "memory", "batch_tokens"])
    numbers = sum(p.numel() for p in critic.backbone.parameters())
    weights = sum(p.numel() * p.element_size() for p in critic.backbone.parameters())
    padded = padded_batch(bench.survey.sample, critic.dtype)
    tokens = max(widest, padded[0] * padded[1])
    batch = tokens * token_bytes(critic) + max(attention_bytes(critic.backbone, *b) for b in (padded, (1, longest)))
    if critic.dtype != torch.float32:  # noise is measured against the same critic in float32
        batch += 4 * numbers
    on_cpu = critic.device.type == "cpu"
    program, tables = (max(0, resident - weights) + LATER, kept) if on_cpu else (0, 0)
    parts = program, weights, batch, tables
    named = {f"{part}_memory": size for part, size in zip(PARTS, parts, strict=True)}
    return {"memory": sum(parts), **named, "batch_tokens": tokens}


def _resident() -> int:
    """The most memory that this process has taken, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
