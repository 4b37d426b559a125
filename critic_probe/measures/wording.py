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


def would_tell(prompts: int, value: float, low: float, high: float, bound: float) -> str:
    """About how many more prompts would tell a figure apart from a bound that its interval holds; empty where unknown.

    An interval narrows with the root of the prompts, so it ends at the bound with n (w / d)^2 of them, where w is its
    reach from the figure towards the bound and d the distance.
    """
    distance, reach = abs(value - bound), value - low if value > bound else high - value
    if not distance or not math.isfinite(reach) or (more := prompts * ((reach / distance) ** 2 - 1)) <= 0:
        return ""
    return f"about {math.ceil(float(f'{more:.2g}'))} more prompts would tell"


def statement(text: str, row: dict[str, Any], *names: str) -> Statement:
    """A sentence with the figures of a table's row that it rests on."""
    return Statement(text, {name: row[name] for name in ("critic", "aggregation", *names) if name in row})
