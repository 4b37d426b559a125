"""`critic-probe warmup`: train a critic under the read-out that it will be scored with."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from critic_probe import objective
from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import with_options
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.option import Option
from critic_probe.pairs import Pair, PairFile, data_hash
from critic_probe.report.targets import OF_TRAINING, check_own_folder, refuse_inputs
from critic_probe.text import neutralise
from critic_probe.training.options import LOSS, MEASURING, Options
from critic_probe.training.resume import newest_checkpoint, require_same_run, whole_checkpoints

if TYPE_CHECKING:
    from critic_probe.workbench import Settings

PANEL = panels.TRAIN
EXAMPLES = (
    "critic-probe warmup pairs.jsonl --backbone tiny -o my-critic --steps 4",
    "critic-probe inspect my-critic",
)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When `progressive` goes from the mean to the last token."""

    progressive_start: Annotated[int, Option("progressive: the last step of the mean alone.", min=0, panel=LOSS)] = (
        objective.PROGRESSIVE_START
    )
    progressive_end: Annotated[int, Option("progressive: the first step of the last alone.", min=1, panel=LOSS)] = (
        objective.PROGRESSIVE_END
    )


@dataclass(frozen=True, kw_only=True)
class Reading(options.Scoring):
    """How a text becomes a score while a critic is trained; its read-out and engine are the training's."""

    aggregation: options.ReadOuts = None
    convention: str | None = None
    template_arg: list[str] | None = None
    date: str | None = None
    engine: Literal["auto", "tree", "reference"] = "auto"
    no_cache: bool = True


@with_options
def command(
    pairs: Annotated[str, typer.Argument(help="Pairs to train on: .jsonl, .json, .csv, .parquet.")],
    *,
    backbone: Annotated[
        str,
        Option(
            "A language model's or critic's directory, a .gguf file, smollm2 or gemma3 (of packages), or tiny: a "
            "random model of 1 M parameters.",
            metavar="DIR",
            panel="What is trained",
        ),
    ],
    out: Annotated[Path, options.of_output("The directory to write.", names=("--output", "-o"), metavar="DIR")],
    training: Options,
    schedule: Schedule,
    reading: Reading,
    base: options.Base = None,
    held_out: Annotated[
        str, Option("Prompts that are only measured: a share or a file.", metavar="SHARE|FILE", panel=MEASURING)
    ] = "0.1",
    fields: options.PairNames,
    json: options.Json = False,
) -> None:
    """Train a critic by Bradley-Terry, under the read-out that it will be scored with."""
    if find_spec("accelerate") is None:
        raise CriticProbeError("warmup trains with accelerate; install it with `pip install 'critic-probe[train]'`")
    check_own_folder(out)
    refuse_inputs([out / name for name in OF_TRAINING], (pairs, backbone, base, held_out))
    asked = _as_read(training, schedule, reading)
    newest_checkpoint(out, asked)
    read = PairFile(pairs, fields.names(), on_bad_row=fields.on_bad_row)
    rows = list(read)
    require_same_run(out, asked, data_hash(rows))
    share = _held_out(held_out, fields)
    _warn(read.notices)
    start = find_backbone(backbone)
    read_outs = ["mean", "last"] if training.aggregation == objective.PROGRESSIVE else [training.aggregation]
    settings = reading.settings(read_outs)
    from critic_probe.training.warmup import warmup

    with _interrupted(out):
        trained = warmup(
            rows,
            share,
            start,
            out,
            asked,
            base=None if base is None else Path(base),
            probe=_probe(settings) if training.probe_every else None,
            warn=_warn,
        )
    if not int(os.environ.get("RANK", "0")):
        _show(trained, training.aggregation, json)


@contextmanager
def _interrupted(out: Path) -> Iterator[None]:
    """Says on Ctrl-C what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"go on with {parameter('resume', True)}" if whole_checkpoints(out) else "no checkpoint is whole yet"
        typer.echo(f"critic-probe: interrupted; {kept}", err=True)
        raise typer.Exit(130) from None


def _as_read(training: Options, schedule: Schedule, reading: Reading) -> Options:
    return replace(
        training,
        progressive=(schedule.progressive_start, schedule.progressive_end),
        eos=reading.eos,
        value_position=reading.value_position or "at",
        template=reading.template,
        skip_too_long=reading.on_too_long == "skip",
    )


def find_backbone(text: str) -> Path | None:
    """What `--backbone` names as a directory; None for a tiny model from scratch.

    Raises:
        CriticProbeError: It is not there, or cannot be converted.
    """
    if text == "tiny":
        return None
    from critic_probe.checkpoint.gguf import PACKAGED, converted, packaged

    if text in PACKAGED:
        return packaged(text)
    if text.endswith(".gguf"):
        return converted(Path(text))
    session.require_checkpoint(Path(text))
    return Path(text)


def _held_out(text: str, fields: options.PairNames) -> Sequence[Pair] | float:
    try:
        share = float(text)
    except ValueError:
        read = PairFile(text, fields.names(), on_bad_row=fields.on_bad_row)
        _warn(read.notices)
        return list(read)
    if not 0 <= share < 1:
        raise CriticProbeError(f"--held-out {text}: a share from 0 to below 1, or a file of pairs")
    return share


def _probe(scored: "Settings") -> Any:
    from critic_probe.training.learning import probe

    return lambda trainee, held_out: probe(trainee, held_out, scored)


def _warn(notices: Sequence[Notice]) -> None:
    if int(os.environ.get("RANK", "0")):
        return
    for notice in notices:
        typer.echo(f"critic-probe: warning: {neutralise(notice.message)}", err=True)


def _show(trained: Any, aggregation: str, json: bool) -> None:
    if json:
        from critic_probe.report.files import dump_plain

        typer.echo(dump_plain({"schema": "critic-probe/warmup/1", **asdict(trained)}))
        return
    typer.echo(f"{trained.path}: a critic trained under {aggregation}, {trained.steps} steps")
    if trained.tokens:
        saved = 1 - trained.computed / trained.tokens
        share = f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more for padding"
        typer.echo(f"{trained.tokens:,} tokens, prompts included, {trained.computed:,} computed ({share})")
    held = trained.held_out
    if held:
        typer.echo(
            f"held out: {held['pairs']:.0f} pairs, d_acc {held['d_acc']:.3f}, gap {held['score_diff']:+.3f}, "
            f"separation {held['score_separation']:.2f}, loss at T=1 {held['loss_at_1']:.4f}"
        )
    typer.echo(f"next: critic-probe compare PAIRS -c {trained.path}")
