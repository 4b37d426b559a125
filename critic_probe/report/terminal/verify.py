"""Whether a record is what a checkpoint gives, on a terminal."""

from rich.console import Console
from rich.text import Text

from critic_probe.measures.verify import VerifyResult
from critic_probe.report.terminal.pieces import checks_table, signed


def print_verify(result: VerifyResult, console: Console) -> None:
    """Prints every check of a record with its evidence, and whether the record holds.

    Args:
        result: What was found.
        console: Where to print.
    """
    console.print(checks_table(result.checks))
    console.print()
    count = result.signature["sample"]
    pairs = f"{count} pair{'' if count == 1 else 's'}" if count else "no pair"
    drawn = f"{pairs} of each critic, seed {result.signature['sample_seed']}"
    console.print(Text(f"the record {'holds' if result.holds else 'does not hold'} (sample: {drawn})", "bold"))
    if result.left_out:
        parts: dict[str, list[str]] = {}
        for name in result.left_out:
            part, _, field = name.rpartition(".")
            parts.setdefault(part, []).append(field)
        said = "; ".join(f"{part}: {', '.join(names)}" for part, names in parts.items())
        console.print(Text(f"not covered by any check: {said}"))
    console.print()
    console.print(signed(result.signature))
