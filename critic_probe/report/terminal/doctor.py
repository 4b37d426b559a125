"""What is wrong with a checkpoint, on a terminal."""

from collections.abc import Iterator, Sequence

import pandas as pd
from rich.console import Console, RenderableType
from rich.text import Text

from critic_probe.errors import parameter
from critic_probe.measures.doctor import DoctorResult
from critic_probe.report.terminal.pieces import VERDICT_STYLES, checks_table, fitting, signed
from critic_probe.text import neutralise


def first_doctor(result: DoctorResult, console: Console, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: the checks that found something.

    Args:
        result: What the doctor found.
        console: Where to print.
        room: The lines that there are.
    """
    return fitting(lambda most: tuple(_first(result, most)), max(len(result.checks), 1), console, room)


def _first(result: DoctorResult, most: int) -> Iterator[RenderableType | None]:
    findings = pd.concat([result.checks[result.checks.verdict == verdict] for verdict in ("fail", "warn")])
    yield checks_table(findings.head(most)) if len(findings) else None
    if len(findings) > most:
        yield Text(f"... and {len(findings) - most} more: {parameter('full', True)} prints them", style="dim")
    skipped = list(result.checks.check[result.checks.verdict == "not run"])
    yield Text(f"not run: {', '.join(skipped)}", style="dim", overflow="fold") if skipped else None


def print_doctor(result: DoctorResult, console: Console) -> None:
    """Prints every check with its verdict and evidence, and the cure where there is one.

    Args:
        result: What the doctor found.
        console: Where to print.
    """
    console.print(checks_table(result.checks))
    console.print()
    counts = result.checks.verdict.value_counts()
    console.print(
        Text(", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_STYLES if verdict in counts), "bold")
    )
    for notice in result.notices:
        console.print(Text(f"{notice.code}: {neutralise(notice.message)}", style="dim", overflow="fold"))
    console.print()
    console.print(signed(result.signature))
