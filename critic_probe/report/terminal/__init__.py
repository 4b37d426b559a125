"""Results on a terminal: rich tables that hold at 80 columns, in a pipe and without colour; one file a result."""

from dataclasses import replace
from importlib import import_module
from inspect import signature
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, Group

from critic_probe.measures.result import Measured, Result
from critic_probe.report.terminal.pieces import FIRST, read_as, signature_line, warning
from critic_probe.workbench import Signature

__all__ = ["as_html", "as_text", "show", "signature_line"]

_PAGE = '<pre style="white-space: pre; overflow-x: auto; line-height: normal; font-family: monospace">{code}</pre>'
_WIDE = '<span style="display: inline-block; width: 2ch">{}</span>'


def show(result: Result, console: Console, rows: int = 10, view: str = "table") -> None:
    """Prints a result as its command does: as what critics are read, what changes the reading, then the rest.

    The file of its command here has the function `print_COMMAND` that prints the rest.

    Args:
        result: Any result of a measurement or a study.
        console: Where to print.
        rows: How many pairs, cases or families a table shows, where it shows the first ones only.
        view: Of a trace, `table` or `line`.
    """
    first = [*read_as(getattr(result, "signature", Signature()))]
    if isinstance(result, Measured):
        first += [warning(notice) for notice in result.notices if notice.code in FIRST]
        result = replace(result, notices=[n for n in result.notices if n.code not in FIRST])
    if first:
        console.print(Group(*first))
        console.print()
    name = type(result).command
    printer = getattr(import_module(f"{__name__}.{name}"), f"print_{name}")
    asked = {"rows": rows, "view": view}
    printer(result, console, **{key: value for key, value in asked.items() if key in signature(printer).parameters})


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
