"""Verdicts of gates on a terminal, and the words for them that every other medium uses too."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from critic_probe.errors import parameter
from critic_probe.gates.drift import TOLD
from critic_probe.gates.measure import CheckResult
from critic_probe.report.terminal.pieces import (
    VERDICT_STYLES,
    Record,
    below,
    fitting,
    missing,
    p_value,
    print_blocks,
    rows_of,
)
from critic_probe.text import neutralise

_ORDER = {"fail": 0, "cannot tell": 1, "warn": 2, "warn, cannot tell": 2, "pass": 3}
_MISSED = 8  # gates that do not hold, on the first screen
DRIFT = 20  # differences that are shown


def first_check(result: CheckResult, console: Console, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: what does not hold with the pairs to look at, what moved, and what holds by name.

    Args:
        result: What the gates say.
        console: Where to print.
        room: The lines that there are.
    """
    return fitting(lambda most: tuple(_first(result, most)), _MISSED, console, room)


def _first(result: CheckResult, most: int) -> Iterator[RenderableType | None]:
    rows = worst_first(result.gates)
    missed = [row for row in rows if row["verdict"] != "pass"]
    yield _lines(missed[:most]) if missed else None
    if len(missed) > most:
        yield Text(f"... and {len(missed) - most} more: {parameter('full', True)} prints them", style="dim")
    if result.drift is not None and len(result.drift):
        yield Group(*_drift(result.drift.head(most)))
    held = Counter(row["metric"] for row in rows if row["verdict"] == "pass")
    names = ", ".join(f"{metric} ({count})" if count > 1 else metric for metric, count in held.items())
    yield Text(f"holds: {names}", style="green", overflow="fold") if held else None


def print_check(result: CheckResult, console: Console) -> None:
    """Prints a line a gate and figure, what fails last, where a build's log ends, with the pairs to look at.

    Args:
        result: What the gates say.
        console: Where to print.
    """
    console.print(_lines(worst_first(result.gates)[::-1]))
    console.print()
    if result.drift is not None:
        console.print(Group(*_drift(result.drift.head(DRIFT))))
        console.print(Text(against(result.drift), "bold"))
    print_blocks(console, *below([], result.notices, result.signature))


def _lines(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        line = Text(neutralise(sentence(row)), overflow="fold")
        if row["ids"]:
            line.append(f"\n-> {look_at(row)}", style="bold")
        style = VERDICT_STYLES["warn" if row["severity"] == "warn" else row["verdict"]]
        table.add_row(Text(word_of(row), style=style if row["verdict"] != "pass" else VERDICT_STYLES["pass"]), line)
    return table


def _drift(moved: pd.DataFrame) -> list[Text]:
    return [Text(f"{row['verdict']}: {change(row)}", overflow="fold") for row in moved.to_dict("records")]


def against(moved: pd.DataFrame) -> str:
    """How many figures differ from the baseline, and how."""
    counted = moved.verdict[~moved.verdict.isin(TOLD)].value_counts()
    counts = ", ".join(f"{count} {word}" for word, count in counted.items())
    return f"against the baseline: {counts or 'nothing differs'}"


def change(row: dict[str, Any]) -> str:
    """What differs from the baseline: old and new where both are known, by how much, and how sure that is."""
    both = [f"{x:.3g}" if isinstance(x, float) else str(x) for x in (row["old"], row["new"])]
    text = row["what"] if both == ["None", "None"] else f"{row['what']}: {both[0]} -> {both[1]}"
    if not missing(row["change"]):
        p = p_value(row["p_holm"])
        text += (
            f" ({row['change']:+.3g} [{row['low']:.3g}, {row['high']:.3g}], p {p if p[0] == '<' else f'= {p}'} (Holm))"
        )
    return neutralise(text)


def worst_first(gates: pd.DataFrame) -> list[Record]:
    """Rows of gates: what fails, what cannot be told, what only warns, what holds."""
    return sorted(rows_of(gates), key=lambda row: _ORDER[word_of(row)])


def word_of(row: dict[str, Any]) -> str:
    """A gate's verdict; where it only warns, that it does."""
    if row["severity"] != "warn" or row["verdict"] == "pass":
        return str(row["verdict"])
    return "warn" if row["verdict"] == "fail" else f"warn, {row['verdict']}"


def sentence(row: dict[str, Any]) -> str:
    """A verdict's figure, its interval and the bound."""
    note = f" ({row['note']})" if row["note"] else ""
    return f"{figure_name(row)}: {figure(row)}, must be {row['bound']}{note}"


def look_at(row: dict[str, Any]) -> str:
    """The pairs that a verdict rests on."""
    return f"look at {', '.join(neutralise(str(i)) for i in row['ids'])}"


def figure_name(row: dict[str, Any]) -> str:
    """What a gate bounds: metric, part of the data, critic and read-out."""
    reader = "/".join(part for part in (row["critic"], row["aggregation"]) if part)
    where = " ".join(part for part in (row["family"], row["position"], row["category"]) if part and part != "whole")
    return " ".join(part for part in (row["metric"], where, reader) if part)


def figure(row: dict[str, Any]) -> str:
    """A gate's figure with its interval, where it has one, and the cases behind it."""
    if row["value"] is None or math.isnan(row["value"]):
        return "no figure"
    if row["low"] is None or math.isnan(row["low"]):
        return f"{row['value']:.3g} (n = {row['n']})"
    return f"{row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}] (n = {row['n']})"
