"""A critic with a file of pairs, and the one loop that every measurement of the two runs in."""

from critic_probe.workbench.loop import Ask, Bench, Ids, Measure, Progress, Values, silent
from critic_probe.workbench.run import Run, benches, run
from critic_probe.workbench.signature import (
    CriticRecord,
    Settings,
    Signature,
    floor_sentence,
    hash_of,
    prompt_hash,
    signature,
)
from critic_probe.workbench.survey import SAMPLE, preflight

__all__ = [
    "SAMPLE",
    "Ask",
    "Bench",
    "CriticRecord",
    "Ids",
    "Measure",
    "Progress",
    "Run",
    "Settings",
    "Signature",
    "Values",
    "benches",
    "floor_sentence",
    "hash_of",
    "preflight",
    "prompt_hash",
    "run",
    "signature",
    "silent",
]
