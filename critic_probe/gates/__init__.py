"""Figures against bounds: which gates hold, which fail, and which cannot be told."""

from critic_probe.gates.baseline import drift, load, record, save
from critic_probe.gates.figures import METRICS, figures
from critic_probe.gates.gate import (
    Gate,
    Plan,
    evaluate,
    exit_code,
    failing,
    load_gates,
    profile_names,
    profile_text,
    read_gate,
)

__all__ = [
    "METRICS",
    "Gate",
    "Plan",
    "drift",
    "evaluate",
    "exit_code",
    "failing",
    "figures",
    "load",
    "load_gates",
    "profile_names",
    "profile_text",
    "read_gate",
    "record",
    "save",
]
