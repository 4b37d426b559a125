"""Whether logged scores are a checkpoint's, on a terminal."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Column

from critic_probe.report.terminal.factors import factors_table
from critic_probe.report.terminal.pieces import (
    below,
    block,
    decimals_of,
    fitting,
    number,
    part_of,
    plain,
    print_blocks,
    rows_of,
    table_of,
)
from critic_probe.runs.replay import ReplayResult

FIRST = 4  # factors on the first screen
FEWEST = 5  # responses on the first screen where all agree


def first_replay(result: ReplayResult, console: Console, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: the responses that are furthest apart, and the factors that come nearest.

    Args:
        result: What was found.
        console: Where to print.
        room: The lines that there are.
    """
    most = min(len(result.scores), FEWEST if result.agrees else len(result.scores))
    return fitting(
        lambda most: (_scores(result, most), factors_table(result.factors, len(result.scores), FIRST)),
        most,
        console,
        room,
    )


def print_replay(result: ReplayResult, console: Console, rows: int = 10) -> None:
    """Prints the responses that are furthest apart, the factors that come nearest, and other steps of the log.

    Args:
        result: What was found.
        console: Where to print.
        rows: How many responses.
    """
    blocks = below(result.reading, result.notices, result.signature)
    print_blocks(
        console, _scores(result, rows), factors_table(result.factors, len(result.scores)), _steps(result), *blocks
    )


def _scores(result: ReplayResult, rows: int) -> RenderableType | None:
    furthest = result.scores.sort_values("residual", ascending=False, kind="stable").head(rows)
    if not len(furthest):
        return None
    decimals = max(decimals_of(furthest.logged, furthest.expected), 3)
    table = table_of(Column("side"), "tokens", "logged", "checkpoint", "apart", label="sample")
    for row in rows_of(furthest):
        figures = [number(row[name], decimals) for name in ("logged", "expected")]
        table.add_row(plain(row["id"]), row["side"], f"{row['tokens']}", *figures, f"{row['residual']:.2g}")
    return block(f"Furthest apart of {len(result.scores)} responses", table)


def _steps(result: ReplayResult) -> RenderableType | None:
    if not len(result.steps):
        return None
    table = table_of("responses", "median", "within", label="step of the log")
    for row in rows_of(result.steps):
        table.add_row(
            f"{row['step']}", f"{row['responses']}", f"{row['residual']:.2g}", part_of(row["within"], row["responses"])
        )
    return block("The checkpoint against other steps", table)
