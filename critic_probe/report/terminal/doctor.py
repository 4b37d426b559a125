"""What is wrong with a checkpoint, on a terminal."""

from rich.console import Console
from rich.text import Text

from critic_probe.measures.doctor import DoctorResult
from critic_probe.report.terminal.pieces import VERDICT_STYLES, checks_table, signed
from critic_probe.text import neutralise


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
