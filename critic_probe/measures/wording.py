"""Figures in words, written alike in every answer."""

import math
from collections.abc import Iterable
from typing import Any

from critic_probe.measures.result import Statement


def percent(value: float, low: float, high: float) -> str:
    """A share with its interval, in per cent: `95 % [88, 98]`; without the interval where there is none."""
    ends = "" if math.isnan(low) else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{100 * value:.0f} %{ends}"


def in_sd(value: float, low: float, high: float) -> str:
    """An effect in SD with its interval: `1.63 SD [1.50, 1.71]`."""
    ends = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return f"{value:.2f} SD{ends}"


def counted(counts: Iterable[tuple[int, str, str]]) -> str:
    """What so many do, by the verb of one and of several, without those that none does: `7 hold and 1 fails`."""
    parts = [f"{count} {one if count == 1 else several}" for count, one, several in counts if count]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def beside(notes: Iterable[str]) -> str:
    """What is said beside a figure, in brackets; nothing where there is nothing to say."""
    said = "; ".join(filter(None, notes))
    return f" ({said})" if said else ""


def statement(text: str, row: dict[str, Any], *names: str) -> Statement:
    """A sentence with the figures of a table's row that it rests on."""
    return Statement(text, {name: row[name] for name in ("critic", "aggregation", *names) if name in row})
