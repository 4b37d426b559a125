"""A run's checkpoints on a terminal."""

from collections.abc import Collection, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

from critic_probe.report.heat import sparkline
from critic_probe.report.terminal.pieces import (
    Record,
    below,
    block,
    fitting,
    grouped,
    heading,
    interval,
    label,
    lines_of,
    number,
    p_value,
    plain,
    print_blocks,
    rows_of,
    table_of,
)
from critic_probe.runs.track import SAYS, TrackResult

_CURVE = 24  # steps that a curve shows, evenly taken
_SHORT = ("d_acc", "strongest_harmless", "controls_right")  # of the first screen
_HEADERS = {
    "d_acc": "d_acc",
    "gap_over_sd": "gap/SD",
    "strongest_harmless": "strongest\nharmless/SD",
    "controls_right": "controls\nright",
    "complete_right": "complete\nright",
    "train_d_acc": "d_acc,\ntrain",
    "excess": "train -\nheld out",
}


def print_track(result: TrackResult, console: Console) -> None:
    """Prints the curves, every step, what changed between steps, and the gates of each."""
    print_blocks(
        console,
        _curves(result),
        _steps(result),
        _changes(result),
        _gates(result),
        *below(result.reading, result.notices, result.signature),
    )


def first_track(result: TrackResult, console: Console, rows: int | None, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: the curves, and the steps that have room, those that the answer names first.

    Args:
        result: What was found.
        console: Where to print.
        rows: How many steps to show; None for as many as have room.
        room: The lines that there are.
    """
    curves = _curves(result)
    room -= lines_of(console, curves)
    named = [*result.best.best, *result.best.highest]
    order = list(dict.fromkeys([*named, *reversed(list(result.steps.step.unique()))]))

    def steps(count: int) -> Sequence[RenderableType | None]:
        return (_steps(result, set(order[:count])) if count else None,)

    return (curves, *fitting(steps, len(order), console, room, rows))


def _curves(result: TrackResult) -> RenderableType:
    steps = list(result.steps.step.unique())
    drawn = [steps[round(i * (len(steps) - 1) / max(_CURVE - 1, 1))] for i in range(_CURVE)]
    shown = steps if len(steps) <= _CURVE else drawn
    read_outs = list(result.best.aggregation)
    columns = [Column(name, justify="left") for name in (*read_outs, "drawn in")]
    table = table_of(*columns)
    for figure in [name for name in SAYS if name in result.steps and result.steps[name].notna().any()]:
        ends = result.steps[[figure, f"{figure}_low", f"{figure}_high"]]
        low, high = float(ends.min().min()), float(ends.max().max())
        cells = []
        for name in read_outs:
            own = result.steps[result.steps.aggregation == name].set_index("step")[figure]
            curve = sparkline(own[shown], low, high)
            cells.append(f"{curve} {number(own[steps[0]])} to {number(own[steps[-1]])}")
        table.add_row(plain(SAYS[figure]), *cells, f"[{number(low)}, {number(high)}]")
    some = "" if shown is steps else f", {_CURVE} of {len(steps)}"
    title = f"Over steps {steps[0]} to {steps[-1]}{some} (drawn between the outermost ends of the intervals)"
    return block(title, table)


def _steps(result: TrackResult, only: Collection[int] | None = None) -> RenderableType:
    wanted = _HEADERS if only is None else _SHORT
    figures = [name for name in wanted if name in result.steps and result.steps[name].notna().any()]
    named = [Column(_HEADERS[name], justify="right") for name in figures]
    full = ["noise\nfloor"] if only is None else []
    table = table_of(*named, "p,\nworse", "gates fail,\nunclear", *full, label="step")
    count = result.steps.step.nunique()
    for of_read_out in grouped(rows_of(result.steps), "aggregation"):
        best = result.best[result.best.aggregation == of_read_out[0]["aggregation"]].iloc[0]
        table.add_row(heading(of_read_out[0]["aggregation"], f"n = {best.n} of {best.prompts} prompts"))
        for row in of_read_out:
            if only is None or row["step"] in only:
                cells = (_figure(row, name) for name in figures)
                floor = (f"{row['floor']:.1g}" for _ in full)
                gates = f"{row['gates_failed']}, {row['gates_unclear']}"
                table.add_row(_name(row, best), *cells, p_value(row["worse_p"]), gates, *floor)
    some = "" if only is None or len(only) >= count else f", {len(only)} of {count}"
    return block(f"Steps{some} (* taken by the rule, ^ highest d_acc, † deleted since)", table)


def _name(row: Record, best: Any) -> RenderableType:
    marks = ((row["step"] == best.best, "*"), (row["step"] == best.highest, "^"), (not row["there"], "†"))
    return label(f"{row['step']} {''.join(mark for said, mark in marks if said)}".rstrip())


def _figure(row: Record, name: str) -> str:
    return interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _changes(result: TrackResult) -> RenderableType | None:
    rows = rows_of(result.changes)
    if not rows:
        return None
    table = table_of("change", "n", "p", "p (Holm)", label="steps")
    for of_figure in grouped(rows, "figure", "aggregation"):
        table.add_row(heading(SAYS[of_figure[0]["figure"]], of_figure[0]["aggregation"]))
        for row in of_figure:
            change = interval(row["change"], row["low"], row["high"])
            name = label(f"{row['from_step']} -> {row['to_step']}")
            table.add_row(name, change, number(row["n"], 0), p_value(row["p"]), p_value(row["p_holm"]))
    return block("From step to step, on the same pairs (p: sign-flip test over prompts)", table)


def _gates(result: TrackResult) -> RenderableType | None:
    rows = [row for row in rows_of(result.gates) if row["verdict"] != "pass"]
    if not rows:
        return None
    table = table_of(
        "value", "bound", Column("verdict", justify="left"), Column("steps", justify="left", overflow="fold")
    )
    keys = ("gate", "aggregation", "family", "position", "bound", "verdict", "severity")
    for same in grouped(rows, *keys):
        last = same[-1]
        value = number(last["value"]) if len(same) == 1 else "various"
        names = " ".join(str(last[key]) for key in ("gate", "aggregation", "family", "position")).split()
        word = f"warns: {last['verdict']}" if last["severity"] == "warn" else last["verdict"]
        steps = Text(", ".join(str(row["step"]) for row in same), overflow="fold")
        table.add_row(plain(" ".join(dict.fromkeys(names))), value, last["bound"], word, steps)
    return block("Gates that do not hold", table)
