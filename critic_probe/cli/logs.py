"""`critic-probe logs`: what the logs of a run say, and whether it was sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.report.targets import check_folder

PANEL = panels.RUNS
EXAMPLES = ("critic-probe logs RUN_DIR --full",)


@dataclass(frozen=True, kw_only=True)
class Told(options.Screen):
    """Where the result goes, and the samples."""

    to_pairs: Annotated[
        Path | None,
        options.of_output("Write logged samples as pairs, ids kept: .jsonl or .parquet.", metavar="FILE"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What a run is held against."""

    profile: Annotated[
        str | None,
        options.of_gates("Bounds of the checks: default, seed, or a TOML file. Default: default.", metavar="NAME|FILE"),
    ] = None


@with_options
def command(
    paths: Annotated[
        list[Path], typer.Argument(help="What one run wrote: logs, dumps, event files, or directories of them.")
    ],
    *,
    judging: Judging,
    output: Told,
) -> None:
    """Read what a training run logged: its figures by step, and whether it was sound."""
    session.check_outputs(output)
    if output.to_pairs is not None:
        check_folder(output.to_pairs)
    from critic_probe.runs.logs import read_logs

    result = read_logs(paths, judging.profile, output.to_pairs)
    session.finish(result, None, output, default_pairs=False, show=output.show)
    if result.failed:
        raise typer.Exit(1)
