"""One critic against another, on a terminal."""

from collections.abc import Sequence

from rich.console import Console, RenderableType

from critic_probe.measures.diff import DiffResult
from critic_probe.report.terminal.pieces import (
    MISSING,
    Record,
    below,
    block,
    fitting,
    grouped,
    heading,
    interval,
    label,
    missing,
    number,
    p_value,
    part_of,
    plain,
    print_blocks,
    rows_of,
    table_of,
)


def first_diff(result: DiffResult, console: Console, rows: int | None, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: verdicts, and the largest changes.

    Args:
        result: What was found.
        console: Where to print.
        rows: How many families of each read-out to show; None for as many as have room, three at most.
        room: The lines that there are.
    """
    return fitting(lambda count: (_verdicts(result), _families(result, count)), 3, console, room, rows)


def print_diff(result: DiffResult, console: Console, rows: int = 10) -> None:
    """Prints one critic against another: verdicts, families of edits, and the pairs that flipped.

    Args:
        result: What was found.
        console: Where to print.
        rows: How many families of each read-out, and how many flipped pairs, to show.
    """
    print_blocks(
        console,
        _verdicts(result),
        _families(result, rows),
        _flipped(result, rows),
        *below(result.reading, result.notices, result.signature),
    )


def _verdicts(result: DiffResult) -> RenderableType:
    table = table_of("d_acc", "flips/n", "p (Holm)", "change of gap/SD")
    for row in rows_of(result.pairs):
        margin = interval(row["margin"], row["margin_low"], row["margin_high"])
        cells = (_old_new(row, "d_acc"), part_of(row["flips"], row["n"]), p_value(row["p_holm"]), margin)
        table.add_row(plain(row["aggregation"]), *cells)
    return block("Verdicts (p: sign-flip test over prompts)", table)


def _families(result: DiffResult, rows: int) -> RenderableType | None:
    if rows < 1:
        return None
    table = table_of("|delta|\n/SD", "change", "p\n(Holm)", "right order", "p\n(Holm)")
    for of_aggregation in grouped(rows_of(result.families), "aggregation"):
        table.add_row(heading(of_aggregation[0]["aggregation"]))
        for row in of_aggregation[: max(rows, 0)]:
            change = interval(row["difference"], row["low"], row["high"])
            tested = (_old_new(row, "right"), p_value(row["right_p_holm"]))
            table.add_row(label(row["family"]), _old_new(row), change, p_value(row["p_holm"]), *tested)
    return block("What the score reacts to, the largest change first", table)


def _flipped(result: DiffResult, rows: int) -> RenderableType | None:
    if not len(result.flipped):
        return None
    table = table_of("verdict", "gap/SD")
    for of_aggregation in grouped(rows_of(result.flipped), "aggregation"):
        table.add_row(heading(of_aggregation[0]["aggregation"], f"{len(of_aggregation)} pairs"))
        for row in of_aggregation[: max(rows, 0)]:
            verdict = f"{row['old_verdict']} -> {row['new_verdict']}"
            table.add_row(label(row["id"]), verdict, _old_new(row, "gap_over_sd", signed=True))
    return block("Pairs that flipped", table)


def _old_new(row: Record, name: str = "", *, signed: bool = False) -> str:
    ends = [row[f"{end}_{name}" if name else end] for end in ("old", "new")]
    return MISSING if any(map(missing, ends)) else " -> ".join(number(value, signed=signed) for value in ends)
