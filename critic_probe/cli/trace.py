"""`critic-probe trace`: the values of one pair, token by token."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from critic_probe.bundled import Critics
from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError
from critic_probe.option import Option
from critic_probe.pairs import Pair
from critic_probe.report.targets import check_picture
from critic_probe.text import listed

PANEL = panels.LOOK
EXAMPLES = (
    "critic-probe trace --id case-1-comma -c bundled:last --view line",
    "critic-probe trace --prompt 2+2? --student 5. --teacher 4. -c bundled:mean",
)


_traced = partial(Option, panel="What is traced")


@dataclass(frozen=True, kw_only=True)
class OnePair:
    """The pair: one of a file, or three texts."""

    pair_id: Annotated[str | None, _traced("The pair to trace.", names=("--id",), metavar="ID")] = None
    prompt: Annotated[str | None, _traced("A prompt, instead of a file of pairs.")] = None
    student: Annotated[str | None, _traced("The student's response to --prompt.")] = None
    teacher: Annotated[str | None, _traced("The teacher's response to --prompt.")] = None

    def pair(self, file: str | None, fields: options.PairFields, critics: Critics) -> Pair:
        """The pair that is asked for.

        Raises:
            CriticProbeError: It is named in part, in two ways, or is not there.
        """
        if self.prompt is None and self.student is None and self.teacher is None:
            return _find(fields.pairs(file, critics), self.pair_id, file or "the bundled pairs")
        if self.prompt is None or self.student is None or self.teacher is None or file or self.pair_id:
            raise CriticProbeError("trace: give --prompt, --student and --teacher together, or a file and --id")
        return Pair("command line", self.prompt, self.student, self.teacher)


@dataclass(frozen=True, kw_only=True)
class NothingSkipped(options.Scoring):
    """How a text becomes a score; a pair that is too long cannot be left out, since it is the only one."""

    on_too_long: Literal["error", "skip"] = "error"


@dataclass(frozen=True, kw_only=True)
class Pictures(options.Output):
    """Where a result goes, and as which picture."""

    view: Annotated[
        Literal["line", "table"],
        options.of_output("table: a row a token; line: each response as text whose ground shows the values."),
    ] = "table"
    export: Annotated[
        list[str] | None,
        options.of_output(
            "Also write what is shown as a picture: .svg, .html or .png; repeatable.", metavar="FILE", writes=True
        ),
    ] = None


@with_options
def command(
    pairs: options.PairsArgument = None,
    *,
    wanted: OnePair,
    loading: options.Loading,
    scoring: NothingSkipped,
    fields: options.PairFields,
    output: Pictures,
) -> None:
    """Show the value of every token of one pair, student and teacher side by side."""
    session.check_outputs(output)
    exports = [Path(path) for path in output.export or ()]
    for path in exports:
        check_picture(path)
    critics, reading = loading.critics(), scoring.parsed()
    pair = wanted.pair(pairs, fields, critics)
    settings = reading()
    if fields.show_input is not None:
        session.show_input(critics, [pair], settings, fields.show_input)
        return
    from rich.console import Console

    from critic_probe.measures.trace import trace
    from critic_probe.report.svg import write_picture
    from critic_probe.report.terminal import show
    from critic_probe.report.terminal.trace import print_trace

    result = trace(critics.load(), pair, settings)
    for path in exports:
        write_picture(path, partial(print_trace, result, view=output.view), f"critic-probe trace {pair.id}")
    default_pairs = pairs is None and wanted.prompt is None
    in_view = partial(show, console=Console(), view=output.view)
    session.finish(result, critics, output, default_pairs=default_pairs, show=in_view)


def _find(pairs: Iterable[Pair], wanted: str | None, where: str) -> Pair:
    ids = [pair.id for pair in pairs]
    if wanted is None:
        raise CriticProbeError(f"trace: name a pair of {where} with --id: {listed(ids)}")
    chosen = next((pair for pair in pairs if pair.id == wanted), None)
    if chosen is None:
        raise CriticProbeError(f"{where}: no pair has the id '{wanted}'; it holds {listed(ids)}")
    return chosen
