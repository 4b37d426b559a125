"""`critic-probe audit`: the claims that this tool began with, measured."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from critic_probe.bundled import BUNDLED, Critics
from critic_probe.cli import options, panels, session
from critic_probe.cli.declare import as_words, with_options
from critic_probe.cli.warmup import find_backbone
from critic_probe.errors import CriticProbeError
from critic_probe.option import Option
from critic_probe.pairs import Pair, PairFile
from critic_probe.training.options import Options

PANEL = panels.LOOK
EXAMPLES = ("critic-probe audit -c bundled:mean",)


_train = partial(Option, panel="With --train")
_AS_IN_WARMUP = "As in warmup."


@dataclass(frozen=True, kw_only=True)
class Training:
    """How critics are trained for what the proposal expected of training."""

    train: Annotated[
        str | None,
        _train(
            "Also train critics under last, mean and progressive, for what the proposal expected of them. As in "
            "`warmup --backbone`.",
            metavar="BACKBONE",
        ),
    ] = None
    on: Annotated[str | None, _train("Pairs to train on, in order. Default: generated.", metavar="FILE")] = None
    work: Annotated[Path | None, _train("Where they are kept, and found again.", metavar="DIR")] = None
    seeds: Annotated[int, _train("How many critics of each.", min=1)] = 3
    steps: Annotated[int, _train(_AS_IN_WARMUP, min=3)] = 250
    batch_size: Annotated[int, _train(_AS_IN_WARMUP, min=1)] = 16
    learning_rate: Annotated[float, _train(_AS_IN_WARMUP)] = 5e-4
    head_learning_rate: Annotated[float | None, _train(_AS_IN_WARMUP)] = None
    lora: Annotated[int, _train(_AS_IN_WARMUP, min=0)] = 0
    freeze_layers: Annotated[int, _train(_AS_IN_WARMUP, min=0)] = 0

    def backbone(self) -> Path | None:
        """The directory that training begins with; None for a tiny model from scratch, and where nothing is trained.

        Raises:
            CriticProbeError: There is none, or no place for what is trained.
        """
        if self.train is None:
            return None
        if self.work is None:
            raise CriticProbeError("--train: say with --work DIR where the trained critics are kept")
        return find_backbone(self.train)

    def options(self, scoring: options.Scoring, device: str) -> Options:
        """How a critic is trained, to be read as it is scored."""
        return Options(
            eos=scoring.eos,
            value_position=scoring.value_position or "at",
            template=scoring.template,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            head_learning_rate=self.head_learning_rate,
            lora=self.lora,
            freeze_layers=self.freeze_layers,
            device="cpu" if device == "cpu" else "auto",
        )


@with_options
def command(
    pairs: options.PairsArgument = None,
    *,
    loading: options.Loading,
    seed: options.Seed = 0,
    scoring: options.DefaultReadOuts,
    fields: options.PairFields,
    training: Training,
    output: options.Screen,
) -> None:
    """Measure what was claimed of last-token and mean scores: gradients, variance, punctuation, content, EOS."""
    session.check_outputs(output)
    critics, read, settings = session.prepared(pairs, fields, loading, scoring)
    from critic_probe.studies.audit import audit

    backbone = training.backbone()
    to_train_on = _training_pairs(training.on, training.steps * training.batch_size, fields)
    with session.progress(resumable=not scoring.no_cache) as progress:
        result = audit(critics.load(), read, settings, progress, seed)
        if training.train is not None and training.work is not None:
            from critic_probe.studies.before_after import before_after, with_training

            chosen, seeds = training.options(scoring, loading.device), range(training.seeds)
            table = before_after(to_train_on, read, backbone, chosen, seeds, training.work, settings, progress)
            result = with_training(result, *table)
    asked = [*([pairs] if pairs else []), *_as_loaded(critics, loading), *as_words(scoring), *as_words(fields)]
    commands = [_with(each, asked, seed) for each in result.claims.reproduce]
    result = replace(result, claims=result.claims.assign(reproduce=commands))
    session.finish(result, critics, output, default_pairs=pairs is None, show=output.show)


def _as_loaded(critics: Critics, loading: options.Loading) -> list[str]:
    given = [name if name.startswith(BUNDLED) else str(path) for name, path in critics.paths.items()]
    return as_words(replace(loading, checkpoint=given))


def _with(command: str, asked: list[str], seed: int) -> str:
    """A claim's command with what was asked for, so that it runs as it stands."""
    drawn = ["--seed", str(seed)] if seed and not command.startswith("critic-probe tokens") else []
    return f"{command} {shlex.join([*asked, *drawn])}"


def _training_pairs(file: str | None, count: int, fields: options.PairFields) -> Callable[[int], Sequence[Pair]]:
    """The pairs to train on by seed: a file's, the same for all, or freshly generated ones."""
    if file is not None:
        read = list(PairFile(file, fields.names(), on_bad_row=fields.on_bad_row))
        return lambda _: read

    def generated(seed: int) -> Sequence[Pair]:
        from critic_probe.studies.synthetic_pairs import training_pairs

        return training_pairs(seed, count)

    return generated
