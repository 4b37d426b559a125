"""What is wrong with a checkpoint, on a terminal."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.text import Text

from critic_probe.measures.doctor import DoctorResult
from critic_probe.report.terminal.pieces import VERDICT_STYLES, checks_table, signed
from critic_probe.text import neutralise


def first_doctor(result: DoctorResult) -> Iterator[RenderableType | None]:
    """What stands below the answer: the checks that found something.

    Args:
        result: What the doctor found.
    """
    findings = result.checks[result.checks.verdict.isin(("fail", "warn"))]
    yield checks_table(findings) if len(findings) else None
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
