"""Whether a served critic is the checkpoint, on a terminal."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from critic_probe.measures.endpoint import EndpointResult
from critic_probe.report.terminal.factors import factors_table
from critic_probe.report.terminal.pieces import (
    below,
    checks_table,
    fitting,
    print_blocks,
    safe,
)


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
    blocks = below(result.reading, result.notices, result.signature)
    print_blocks(
        console, _asked(result), checks_table(result.checks), factors_table(result.factors, len(result.scores)), *blocks
    )


def _asked(result: EndpointResult) -> RenderableType:
    where, how = result.signature.get("endpoint", ""), result.signature.get("protocol", "")
    return Text(f"{len(result.scores)} responses, asked as {how}: {safe(where)}", overflow="fold")
