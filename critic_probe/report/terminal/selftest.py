"""What was planted and what the probes found of it, on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from critic_probe.report.terminal.pieces import VERDICT_STYLES
from critic_probe.studies.selftest import SelftestResult


def print_selftest(result: SelftestResult, console: Console) -> None:
    """Prints what was planted beside what the probes found.

    Args:
        result: What the selftest found.
        console: Where to print.
    """
    table = Table.grid("", "critic", "read-out", "found", padding=(0, 2, 0, 0))
    for row in result.checks.itertuples():
        biases = Text(row.found, overflow="fold")
        if row.verdict == "fail":
            biases.append(f"\n-> expected: {row.expected}", style="bold")
        table.add_row(
            Text(row.verdict, style=VERDICT_STYLES[row.verdict]), Text(row.critic), Text(row.aggregation), biases
        )
    console.print(table)
    failed = int((result.checks.verdict == "fail").sum())
    console.print()
    sentence = "the probes found every planted rule, and no other" if not failed else f"{failed} of these do not hold"
    console.print(Text(sentence, "bold"))
