"""`critic-probe logs`: what the logs of a run say, and whether it was sound."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from critic_probe.cli import options, pages, panels
from critic_probe.cli.declare import with_options
from critic_probe.cli.live import until_signal
from critic_probe.cli.pages import Curves
from critic_probe.cli.verdicts import Verdicts
from critic_probe.option import Option
from critic_probe.report.targets import check_folder

if TYPE_CHECKING:
    from critic_probe.gates.gate import Plan

PANEL = panels.RUNS
_REST = 9  # times what reading took: no more than a tenth of a core
EXAMPLES = (
    "critic-probe warmup pairs.jsonl --backbone tiny -o run --steps 4",
    "critic-probe logs run",
)


@dataclass(frozen=True, kw_only=True)
class Told(Curves):
    """Where the result goes, and the samples."""

    to_pairs: Annotated[
        Path | None,
        options.of_output("Write logged samples as pairs, ids kept: .jsonl or .parquet.", metavar="FILE", writes=True),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What a run is held against."""

    profile: Annotated[
        str | None,
        options.of_gates("Bounds of the checks: default, seed, or a TOML file. Default: default.", metavar="NAME|FILE"),
    ] = None
    gates: Annotated[
        Path | None, options.of_gates("A TOML file of gates on figures of the run, logs.NAME.", metavar="FILE")
    ] = None

    def plan(self) -> "Plan | None":
        """The gates; None without any.

        Raises:
            CriticProbeError: They cannot be read.
        """
        if self.gates is None:
            return None
        from critic_probe.gates.gate import load_gates

        return load_gates(None, self.gates, ())


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How a run is followed that is not done."""

    watch: Annotated[
        bool,
        Option("Go on until a signal: tell what the checks find as it comes. Then print what there is.", panel="Live"),
    ] = False
    every: Annotated[float, Option("Seconds between two looks at the files, at least.", min=0.05, panel="Live")] = 10.0


@with_options
def command(
    paths: Annotated[
        list[Path], typer.Argument(help="What one run wrote: logs, dumps, event files, or directories of them.")
    ],
    *,
    judging: Judging,
    watching: Watching,
    verdicts: Verdicts,
    output: Told,
) -> None:
    """Read what a training run logged: its figures by step, and whether it was sound."""
    output.check()
    verdicts.check(judging.gates is not None)
    if output.to_pairs is not None:
        check_folder(output.to_pairs)
    from critic_probe.runs.logs import read_logs

    if watching.watch:
        _follow(paths, judging.profile, watching.every)
    result = read_logs(paths, judging.profile, output.to_pairs, judging.plan())
    for notice in result.notices:
        if notice.code == "pairs":
            typer.echo(f"{output.to_pairs}: {notice.message}", err=True)
    pages.finish(result, output, verdicts, str(judging.gates))


def _follow(paths: list[Path], profile: str | None, every: float) -> None:
    """Tells findings as they come, until a signal.

    Raises:
        CriticProbeError: A path is not there, or the profile is wrong.
    """
    from critic_probe.runs.live import Watched
    from critic_probe.runs.profile import load_profile
    from critic_probe.runs.read import Records

    Records([path for path in paths if not path.is_dir()])  # a run that begins has a directory, and nothing in it
    if profile is not None:
        load_profile(profile)
    watched = Watched(paths, profile)
    with until_signal("this is what was logged"):
        while True:
            started = time.monotonic()
            for line in watched.look():
                typer.echo(line, err=True)
            time.sleep(max(every, _REST * (time.monotonic() - started)))
