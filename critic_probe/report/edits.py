"""Edits as text that shows what goes and what comes, legible without colour."""

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from rich.console import Console
from rich.text import Text

from critic_probe.probes import Case, Drawn
from critic_probe.text import neutralise

_CONTEXT = 60  # characters shown on either side of a change
_LONG = 2_000  # parts of a text from which it is compared as one span: comparing takes their square
_PART = re.compile(r"[A-Za-z]+|[ ]+|.", re.DOTALL)


def change(removed: str, added: str) -> Text:
    """`[-removed-]{+added+}`, of texts that are safe to print."""
    return Text.assemble(
        (f"[-{removed}-]" if removed else "", "red strike"),
        (f"{{+{added}+}}" if added else "", "green"),
        overflow="fold",
    )


def print_edits(edits: Iterable[Drawn], console: Console) -> None:
    """Each edit under its number, pair, side and position."""
    for number, edit in enumerate(edits, start=1):
        head = f"{number}. {neutralise(edit.id)}, {edit.side}, {edit.case.position}"
        console.print(Text(head, style="bold", overflow="fold"))
        console.print(marked(edit.case))
        console.print()


def marked(case: Case) -> Text:
    """The whole edit on one line; what is far from any change is left out."""
    before, after = (_PART.findall(text) for text in (case.original, case.text))
    text = Text(overflow="fold")
    for tag, i, j, k, m in _opcodes(before, after):
        removed, added = "".join(before[i:j]), "".join(after[k:m])
        if tag == "equal":
            text.append(neutralise(_shortened(removed, head=i + k > 0, tail=j < len(before) or m < len(after))))
        else:
            text.append_text(change(neutralise(_shortened(removed)), neutralise(_shortened(added))))
    return text


def _opcodes(before: list[str], after: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    if len(before) + len(after) > 2 * _LONG:
        shorter = min(len(before), len(after))
        same = next((i for i in range(shorter) if before[i] != after[i]), shorter)
        back = next((i for i in range(shorter - same) if before[-1 - i] != after[-1 - i]), shorter - same)
        yield "equal", 0, same, 0, same
        yield "replace", same, len(before) - back, same, len(after) - back
        yield "equal", len(before) - back, len(before), len(after) - back, len(after)
    else:
        yield from SequenceMatcher(None, before, after, autojunk=False).get_opcodes()


def _shortened(text: str, head: bool = True, tail: bool = True) -> str:
    """The text without its middle, or without the end that no change stands beside."""
    if len(text) <= _CONTEXT * (head + tail):
        return text
    return (f"{text[:_CONTEXT]} " if head else "") + "…" + (f" {text[-_CONTEXT:]}" if tail else "")
