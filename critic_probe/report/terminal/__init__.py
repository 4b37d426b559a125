"""Results on a terminal: rich tables that hold at 80 columns, in a pipe and without colour; one file a result."""

from dataclasses import replace
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, Group

from critic_probe.gates.measure import CheckResult
from critic_probe.measures.compare import CompareResult
from critic_probe.measures.diff import DiffResult
from critic_probe.measures.doctor import DoctorResult
from critic_probe.measures.perturb import PerturbResult
from critic_probe.measures.result import Result
from critic_probe.measures.tokens import TokensResult
from critic_probe.measures.trace import TraceResult
from critic_probe.measures.verify import VerifyResult
from critic_probe.report.terminal.audit import print_audit
from critic_probe.report.terminal.check import print_check
from critic_probe.report.terminal.compare import print_compare
from critic_probe.report.terminal.diff import print_diff
from critic_probe.report.terminal.doctor import print_doctor
from critic_probe.report.terminal.inspect import print_inspect
from critic_probe.report.terminal.perturb import print_perturb
from critic_probe.report.terminal.pieces import FIRST, read_as, signature_line, warning
from critic_probe.report.terminal.selftest import print_selftest
from critic_probe.report.terminal.tokens import print_tokens
from critic_probe.report.terminal.trace import print_trace
from critic_probe.report.terminal.verify import print_verify
from critic_probe.studies.audit import AuditResult
from critic_probe.studies.selftest import SelftestResult

__all__ = [
    "as_html",
    "as_text",
    "print_audit",
    "print_check",
    "print_compare",
    "print_diff",
    "print_doctor",
    "print_inspect",
    "print_perturb",
    "print_selftest",
    "print_tokens",
    "print_trace",
    "print_verify",
    "show",
    "signature_line",
]


_PAGE = '<pre style="white-space: pre; overflow-x: auto; line-height: normal; font-family: monospace">{code}</pre>'
_WIDE = '<span style="display: inline-block; width: 2ch">{}</span>'


def show(result: Result, console: Console, rows: int = 10, view: str = "table") -> None:
    """Prints a result as its command does: as what critics are read, what changes the reading, then the rest.

    Args:
        result: Any result of a measurement or a study.
        console: Where to print.
        rows: How many pairs, cases or families a table shows, where it shows the first ones only.
        view: Of a trace, `table` or `line`.

    Raises:
        TypeError: It is no result.
    """
    first = [*read_as(getattr(result, "signature", {}))]
    if hasattr(result, "notices"):
        first += [warning(notice) for notice in result.notices if notice.code in FIRST]
        result = replace(result, notices=[n for n in result.notices if n.code not in FIRST])  # type: ignore[type-var]
    if first:
        console.print(Group(*first))
        console.print()
    match result:
        case CompareResult():
            print_compare(result, console, rows)
        case PerturbResult():
            print_perturb(result, console, rows)
        case DiffResult():
            print_diff(result, console, rows)
        case TraceResult():
            print_trace(result, console, view)
        case TokensResult():
            print_tokens(result, console)
        case AuditResult():
            print_audit(result, console)
        case DoctorResult():
            print_doctor(result, console)
        case CheckResult():
            print_check(result, console)
        case VerifyResult():
            print_verify(result, console)
        case SelftestResult():
            print_selftest(result, console)
        case _:
            raise TypeError(f"{type(result).__name__} is no result")


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
