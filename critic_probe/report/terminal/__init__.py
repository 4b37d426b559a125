"""Results on a terminal: rich tables that hold at 80 columns, in a pipe and without colour; one file a result."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from inspect import signature
from io import StringIO
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from critic_probe.errors import parameter
from critic_probe.measures.result import Measured, Result
from critic_probe.report.terminal.pieces import (
    FIRST,
    in_short,
    item,
    lines_of,
    print_blocks,
    read_as,
    safe,
    signature_line,
    warning,
)
from critic_probe.workbench import Signature

__all__ = ["as_html", "as_text", "show", "signature_line"]

SCREEN = 40  # lines of a first screen
_TABLES = 12  # lines of it that the answer leaves to what stands below
FULL_ROWS = 10  # pairs or cases that a full print shows where no number is asked for
_PAGE = '<pre style="white-space: pre; overflow-x: auto; line-height: normal; font-family: monospace">{code}</pre>'
_WIDE = '<span style="display: inline-block; width: 2ch">{}</span>'


def show(result: Result, console: Console, rows: int | None = None, view: str = "table", *, full: bool = False) -> None:
    """Prints a result as its command does: as what critics are read, what changes the reading, the answer, the rest.

    The file of its command here has the function `print_COMMAND` that prints the rest, and where that is more than a
    screen, `first_COMMAND` that gives the blocks of the first one.

    Args:
        result: Any result of a measurement or a study.
        console: Where to print.
        rows: How many pairs, cases or families a table shows, where it shows the first ones only; None for as many as
            have room.
        view: Of a trace, `table` or `line`.
        full: Whether everything is printed, where there is a first screen.
    """
    name = type(result).command
    module = import_module(f"{__name__}.{name}")
    first = None if full else getattr(module, f"first_{name}", None)
    above = list(_above(result))
    answer = [item(Text(safe(statement.text), overflow="fold")) for statement in result.answer()]
    if isinstance(result, Measured):
        result = replace(result, notices=[n for n in result.notices if n.code not in FIRST])
    foot = in_short(result.notices, result.signature) if isinstance(result, Measured) else ()
    if first is not None:
        answer = _fitting(answer, SCREEN - _TABLES - lines_of(console, *above, *foot), console)
    head = [*above, *([Group(*answer)] if answer else [])]
    print_blocks(console, *head)
    if head:
        console.print()
    if first is not None:
        room = SCREEN - lines_of(console, *head, *foot)
        blocks = _asked(first, result, console=console, rows=rows, room=room)
        print_blocks(console, *blocks, *foot)
    else:
        rows = FULL_ROWS if rows is None else rows
        _asked(getattr(module, f"print_{name}"), result, console=console, rows=rows, view=view)


def _asked(printer: Callable[..., Any], result: Result, **given: Any) -> Any:
    """Calls a printer with what it takes."""
    return printer(result, **{key: value for key, value in given.items() if key in signature(printer).parameters})


def _above(result: Result) -> Iterator[RenderableType]:
    """As what critics are read, and the warnings that change the reading."""
    first = [*read_as(getattr(result, "signature", Signature()))]
    if isinstance(result, Measured):
        first += [warning(notice) for notice in result.notices if notice.code in FIRST]
    if first:
        yield Group(*first)


def _fitting(answer: list[RenderableType], room: int, console: Console) -> list[RenderableType]:
    """The first sentences, how many have no room, and the last one, which says what to run next."""
    shown = answer
    for kept in range(len(answer) - 2, 0, -1):
        if lines_of(console, Group(*shown)) <= room:
            break
        more = item(Text(f"... and {len(answer) - 1 - kept} more: {parameter('full', True)}"))
        shown = [*answer[:kept], more, answer[-1]]
    return shown


def as_text(result: Result) -> str:
    """What `show` prints where output is piped: 80 columns, no colour; without the final newline."""
    console = _recording()
    show(result, console)
    return console.export_text(styles=False).rstrip("\n")


def as_html(result: Result) -> str:
    """What `show` prints at 80 columns, with its colours, as HTML that needs no style sheet; a trace as `--view line`.

    Browsers take wide characters from another font, whose columns are not those of the rest: each gets its two.
    """
    console = _recording()
    show(result, console, view="line")
    made = console.export_html(inline_styles=True, code_format=_PAGE)
    return "".join(_WIDE.format(each) if cell_len(each) == 2 else each for each in made)


def _recording() -> Console:
    return Console(file=StringIO(), record=True, width=80, force_jupyter=False)
