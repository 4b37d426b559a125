"""`critic-probe track`: the checkpoints of a training run beside each other, also while it goes on."""

import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from critic_probe.aggregation import parse
from critic_probe.bundled import Critics
from critic_probe.cli import options, pages, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.cli.live import until_signal
from critic_probe.cli.pages import Curves
from critic_probe.cli.verdicts import Verdicts
from critic_probe.errors import CriticProbeError
from critic_probe.option import Option
from critic_probe.report.targets import check_own_folder

if TYPE_CHECKING:
    from critic_probe.runs.board import Board
    from critic_probe.runs.follow import Followed

PANEL = panels.RUNS
EXAMPLES = (
    "critic-probe warmup pairs.jsonl --backbone tiny -o r1 --steps 4 --save-every 2",
    "critic-probe track r1 pairs.jsonl -a mean --max-per-response 1 -o r1.html",
)


@dataclass(frozen=True, kw_only=True)
class Steps(options.Loading):
    """How the critic of each step is loaded."""

    checkpoint: list[str] | None = None
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How a run is followed that is not done."""

    watch: Annotated[
        bool,
        Option("Go on until a signal: score each checkpoint once it is whole. Then print what there is.", panel="Live"),
    ] = False
    every: Annotated[float, Option("Seconds between two looks where nothing is new.", min=0.05, panel="Live")] = 10.0
    tensorboard: Annotated[
        Path | None, options.of_output("Write scalars there as TensorBoard events (needs tensorboard).", metavar="DIR")
    ] = None


@with_options
def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="Where training writes: global_step_N or checkpoint-N in it.")
    ],
    pairs: options.PairsFile = None,
    *,
    train: Annotated[
        str | None, options.of_pairs("Pairs that were trained on: what was memorised?", metavar="FILE")
    ] = None,
    watching: Watching,
    gating: options.Gating,
    verdicts: Verdicts,
    drawing: options.Drawing,
    loading: Steps,
    scoring: options.Scoring,
    fields: options.PairNames,
    output: Curves,
) -> None:
    """Follow a run's checkpoints: curves with intervals, and the best step by a stated rule.

    Exits with 1 if a gate on the run, track.NAME, does not hold.
    """
    output.check()
    if watching.tensorboard is not None:
        if find_spec("tensorboard") is None:
            raise CriticProbeError("--tensorboard: tensorboard is not installed; pip install 'critic-probe[train]'")
        check_own_folder(watching.tensorboard)
    if not run.is_dir():
        raise CriticProbeError(f"{run}: no such directory; give the one in which training writes its checkpoints")
    unnamed = tuple(parse(name).name for name in scoring.aggregation or ("last", "mean"))
    from critic_probe.gates.figures import TRACK
    from critic_probe.gates.gate import load_gates
    from critic_probe.probes import all_families
    from critic_probe.runs.follow import Followed
    from critic_probe.runs.steps import Asked

    plan = load_gates(gating.profile, gating.gates, all_families())
    verdicts.check(any(gate.metric.startswith(TRACK) for gate in plan.gates))
    told = Critics({str(run): run}, False, {})
    read, trained = fields.pairs(pairs, told), None if train is None else fields.pairs(train, told)
    settings = scoring.settings(dict.fromkeys([*unnamed, *plan.aggregations(unnamed)]))
    how = {name: value for name, value in asdict(loading).items() if name not in ("checkpoint", "step")}
    asked = Asked(read, trained, settings, plan, unnamed, drawing.max_per_response, drawing.seed, how)
    with ExitStack() as stack:
        progress = stack.enter_context(session.progress(resumable=not scoring.no_cache))
        followed = Followed(run, asked, progress)
        board = None
        if watching.tensorboard is not None:
            from critic_probe.runs.board import Board

            board = stack.enter_context(closing(Board(watching.tensorboard)))
        _score(followed, watching, board, output)
    result = session.with_defaults_told(followed.result(), None, pairs is None)
    pages.finish(result, output, verdicts, plan.source)


def _score(followed: "Followed", watching: Watching, board: "Board | None", output: Curves) -> None:
    """Scores what there is, once or until a signal."""
    from critic_probe.runs.track import rows_of

    def look() -> bool:
        """Whether something was new."""
        new = False
        for step in followed.look(live=watching.watch):
            new = True
            rows = rows_of(step)
            if board is not None:
                board.write(rows)
            if watching.watch:
                figures = ", ".join(f"{row['aggregation']} {row['d_acc']:.3f}" for row in rows)
                typer.echo(f"step {step.step}: d_acc {figures}", err=True)
                output.write(followed.result())
        return new

    if not watching.watch:
        look()
        return
    with until_signal("this is what was scored"):
        while followed.run.is_dir():
            if not look():
                time.sleep(watching.every)
