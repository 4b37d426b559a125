"""What the logs of a run say, on a terminal."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

from critic_probe.report.heat import sparkline
from critic_probe.report.terminal.check import sentence, word_of, worst_first
from critic_probe.report.terminal.pieces import (
    MISSING,
    VERDICT_STYLES,
    Record,
    below,
    block,
    fitting,
    grouped,
    heading,
    item,
    label,
    missing,
    plain,
    print_blocks,
    rows_of,
    safe,
    table_of,
)
from critic_probe.runs.logs import LogsResult
from critic_probe.runs.names import OTHER

_SPARKS = 16  # bars of a course
_CHECKS = 5


def first_logs(result: LogsResult, console: Console, rows: int | None, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: findings, and the figures of the networks.

    Args:
        result: What was read.
        console: Where to print.
        rows: How many figures to show; None for as many as have room.
        room: The lines that there are.
    """
    known = [row for row in rows_of(result.metrics) if not row["name"].startswith(f"{OTHER}/")]
    told = [row for row in rows_of(result.findings) if row["verdict"] != "skipped"][:_CHECKS]
    return fitting(
        lambda count: (_findings(told), _gates(result), _metrics(result, known[:count])),
        len(known),
        console,
        room,
        rows,
    )


def print_logs(result: LogsResult, console: Console) -> None:
    """Prints everything: sources, findings with causes and what would confirm them, figures, and changes of definition.

    Args:
        result: What was read.
        console: Where to print.
    """
    print_blocks(
        console,
        _sources(result),
        _findings(rows_of(result.findings), full=True),
        _gates(result),
        _metrics(result, rows_of(result.metrics), definitions=True),
        _trends(result),
        _changes(result),
        *below(result.reading, result.notices, result.signature),
    )


def _sources(result: LogsResult) -> RenderableType:
    lines = []
    for row in rows_of(result.sources):
        by = " ".join(part for part in (row["framework"], row["version"]) if part)
        line = Text(safe(row["path"]), style="bold", overflow="fold")
        line.append(f": {row['format']}{f', {by}' if by else ''}", style="not bold")
        if row["notes"]:
            line.append(f"\n{safe(row['notes'])}", style="not bold dim")
        lines.append(item(line))
    return block("Read", *lines)


def _findings(rows: Sequence[Record], *, full: bool = False) -> RenderableType | None:
    lines = []
    for row in rows:
        line = Text(row["verdict"], style=VERDICT_STYLES.get(row["verdict"], "dim"), overflow="fold")
        at = "" if missing(row["step"]) else f" from step {row['step']}"
        line.append(f" {safe(row['check'])}{at}: {safe(row['evidence'])}", style="not bold")
        if full and row["causes"]:
            line.append(f"\nlikely: {safe(row['causes'])}", style="not bold")
        if row["confirm"] and row["verdict"] != "skipped":
            line.append(f"\n-> {safe(row['confirm'])}", style="bold")
        lines.append(item(line))
    return block("Findings", *lines) if lines else None


def _gates(result: LogsResult) -> RenderableType | None:
    lines = [
        item(Text(f"{word_of(row)} {safe(sentence(row))}", style=VERDICT_STYLES[row["verdict"]], overflow="fold"))
        for row in worst_first(result.gates)
    ]
    return block("Gates", *lines) if lines else None


def _metrics(result: LogsResult, rows: Sequence[Record], *, definitions: bool = False) -> RenderableType | None:
    if not rows:
        return None
    slopes = {row["name"]: row for row in rows_of(result.trends)}
    table = table_of(
        Column("over the run", justify="left"), "first", "last", "min", "max", "steps", "trend", label="figure"
    )
    for of_network in grouped([row | {"network": row["name"].partition("/")[0]} for row in rows], "network"):
        table.add_row(heading(of_network[0]["network"]))
        for row in of_network:
            name = row["name"].partition("/")[2]
            ends = (short(row[end]) for end in ("first", "last", "min", "max"))
            steps = f"{row['steps']}" + (f" +{row['not_finite']} NaN" if row["not_finite"] else "")
            table.add_row(label(name), _course(result.steps[row["name"]]), *ends, steps, _word(slopes.get(row["name"])))
            if definitions and (row["definition"] or row["logged"] != row["name"]):
                table.add_row(label(f"  {row['logged']}" + (f": {row['definition']}" if row["definition"] else "")))
    return block("Figures by step", table)


def _trends(result: LogsResult) -> RenderableType | None:
    """Slopes that have an interval."""
    rows = [row for row in rows_of(result.trends) if not missing(row["low"])]
    if not rows:
        return None
    table = table_of("per 100 steps", "95 % interval", "steps", label="figure")
    for row in rows:
        ends = f"[{short(row['low'])}, {short(row['high'])}]"
        table.add_row(label(row["name"]), short(row["per_100_steps"]), ends, f"{row['first']} to {row['last']}")
    return block("Trends in the second half (Theil-Sen)", table)


def _word(row: Record | None) -> str:
    """What a trend's interval says; nothing where it holds 0, or there is none."""
    if row is None or missing(row["low"]) or row["low"] <= 0 <= row["high"]:
        return MISSING
    return "rises" if row["low"] > 0 else "falls"


def _changes(result: LogsResult) -> RenderableType | None:
    def told(row: Record, when: str = "") -> str:
        return f"{row[f'logged{when}']} ({row[f'definition{when}'] or 'no definition told'})"

    lines = [
        item(plain(f"{row['name']} from step {row['step']}: {told(row)}, before {told(row, '_before')}"))
        for row in rows_of(result.changes)
    ]
    return block("Logged under another definition from then on", *lines) if lines else None


def _course(values: pd.Series) -> str:
    """A figure over the run, a bar the mean of its part of the steps; of even values bars of half the height."""
    ends = [i * len(values) // _SPARKS for i in range(_SPARKS + 1)]
    means = [values.iloc[a:b].mean() for a, b in pairwise(ends) if b > a]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    even = math.isclose(low, high)
    return sparkline(means, low - even, high + even)


def short(value: float | None) -> str:
    """A figure of any size in three digits, or whole where it has more."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
