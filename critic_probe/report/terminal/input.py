"""One pair exactly as a critic is fed it, on a terminal."""

from typing import Any

from rich.console import Console
from rich.text import Text

from critic_probe.report.terminal.pieces import block, print_blocks, safe
from critic_probe.text import neutralise


def print_input(critic: str, because: str, shown: dict[str, Any], console: Console) -> None:
    """Prints prompt, answer and what closes it of both sides, special tokens visible, and their ids.

    Args:
        critic: Its name.
        because: Why it is read as it is.
        shown: The object of `encoding.shown_input`.
        console: Where to print.
    """
    what = "pair" if "student" in shown else "row"
    first = f"{critic}: read as {shown['convention']} ({because}); template {shown['template']}; {what} {shown['id']}"
    sides = []
    for side, parts in shown.items():
        if not isinstance(parts, dict):
            continue
        text = Text(overflow="fold")
        text.append(neutralise(parts["prompt"], newlines=True), style="dim")
        text.append(neutralise(parts["answer"], newlines=True), style="bold")
        text.append(neutralise(parts["closing"], newlines=True), style="dim")
        start, end, read = (parts[key] for key in ("response_start", "response_end", "read"))
        where = f"answer: ids {start} to {end - 1} of {len(parts['ids'])}"
        header = where if read is None else f"{where}; read at id {read}"
        sides.append(block(f"{side} ({header})", text, Text(" ".join(map(str, parts["ids"])), "dim", overflow="fold")))
    print_blocks(console, Text(safe(first), overflow="fold"), *sides)
