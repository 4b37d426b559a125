"""`critic-probe replay`: whether logged scores are a checkpoint's, and what was done to them where they are not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError, parameter

if TYPE_CHECKING:
    from critic_probe.runs.record import Sample

PANEL = panels.RUNS
EXAMPLES = ("critic-probe replay scoring.log -c bundled:mean",)

_of_log = "Which samples of the log"


@dataclass(frozen=True, kw_only=True)
class Scored(options.Scoring):
    """How the run fed a critic and read it."""

    aggregation: Annotated[
        list[str] | None,
        options.of_reading(
            "The read-out of the run; another one is found too. Default: what the checkpoint was trained under, else "
            "last.",
            names=("--aggregation", "-a"),
            metavar="NAME",
            parameter="read_outs",
        ),
    ] = None
    engine: Literal["auto", "tree", "reference"] = "reference"
    no_cache: bool = True
    on_too_long: Literal["error", "skip"] = "skip"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which samples of a log are scored again."""

    log_step: Annotated[
        str | None,
        options.Option(
            "The step of the log, or all where one frozen critic scored every step. Default: the one after the "
            "checkpoint's, else the last.",
            metavar="N|all",
            panel=_of_log,
        ),
    ] = None
    samples: Annotated[int, options.Option("At most so many.", metavar="N", min=4, panel=_of_log)] = 64


@with_options
def command(
    log: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG...", help="A scoring-detail log, responses_step_N.pt, a rollout dump, or a run's directory."
        ),
    ],
    *,
    loading: options.Loading,
    part: Part,
    scoring: Scored,
    output: options.Screen,
) -> None:
    """Score what a run logged again and name what tells its scores from the checkpoint's.

    The first -c is the checkpoint; others are tried as another step that may have scored. Exits with 1 if the logged
    scores are not the checkpoint's.
    """
    session.check_outputs(output)
    critics = loading.critics()
    if critics.bundled:
        raise CriticProbeError(
            f"no critic is named; give the checkpoint that should have scored with {parameter('checkpoint')}"
        )
    if len(scoring.aggregation or ()) > 1:
        raise CriticProbeError(f"{parameter('read_outs')}: a log was read under one read-out; give one")
    step = _step(part.log_step)
    samples = list(_samples(log))
    read_out = scoring.aggregation[0] if scoring.aggregation else None
    settings = scoring.parsed([read_out or "last"])()
    from critic_probe.runs.replay import replay

    result = replay(
        critics.load(),
        samples,
        settings,
        read_out=read_out,
        log_step=step,
        every_step=part.log_step == "all",
        most=part.samples,
        source=", ".join(log),
    )
    session.finish(result, critics, output, default_pairs=False, show=output.show)
    if not result.agrees:
        raise typer.Exit(1)


def _step(given: str | None) -> int | None:
    if given is None or given == "all":
        return None
    if not given.isdecimal():
        raise CriticProbeError(f"{parameter('log_step', given)}: give a step's number, or all")
    return int(given)


def _samples(paths: list[str]) -> "Iterator[Sample]":
    from critic_probe.runs.read import read
    from critic_probe.runs.record import Sample

    yield from (record for record in read([Path(path) for path in paths]) if isinstance(record, Sample))
