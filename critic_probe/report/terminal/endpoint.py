"""Whether a served critic is the checkpoint, on a terminal."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

from critic_probe.measures.endpoint import EndpointResult
from critic_probe.report.terminal.pieces import (
    below,
    block,
    checks_table,
    fitting,
    part_of,
    plain,
    print_blocks,
    rows_of,
    safe,
    table_of,
)

NEAREST = 12  # factors that a full print shows


def first_endpoint(result: EndpointResult, console: Console, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: who was asked, every check that found nothing, and cures of the others.

    Args:
        result: What was found.
        console: Where to print.
        room: The lines that there are.
    """
    return fitting(lambda most: _first(result, most), len(result.checks), console, room)


def _first(result: EndpointResult, most: int) -> Sequence[RenderableType]:
    checks = result.checks.assign(evidence=result.checks.evidence.where(result.checks.verdict != "fail", "see above"))
    return _asked(result), checks_table(checks.head(most))


def print_endpoint(result: EndpointResult, console: Console) -> None:
    """Prints every check, and the factors that come nearest.

    Args:
        result: What was found.
        console: Where to print.
    """
    table = table_of("median", "worst", "within", "moved", "agree", Column("version"), label="factor")
    nearest = sorted(rows_of(result.factors), key=lambda row: (not row["named"], row["residual"]))[:NEAREST]
    for row in nearest:
        table.add_row(
            plain(row["factors"]),
            f"{row['residual']:.2g}",
            f"{row['worst']:.2g}",
            part_of(row["within"], len(result.scores)),
            f"{row['moved']}",
            f"{row['agrees']}",
            plain(row["version"]),
        )
    tried = block(f"Residual under each factor ({len(result.factors)} tried)", table) if nearest else None
    blocks = below(result.reading, result.notices, result.signature)
    print_blocks(console, _asked(result), checks_table(result.checks), tried, *blocks)


def _asked(result: EndpointResult) -> RenderableType:
    where, how = result.signature.get("endpoint", ""), result.signature.get("protocol", "")
    return Text(f"{len(result.scores)} responses, asked as {how}: {safe(where)}", overflow="fold")
