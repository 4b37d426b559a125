"""`critic-probe audit`: the claims that this tool began with, measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from critic_probe import bundled
from critic_probe.cli import options, session
from critic_probe.cli.warmup import find_backbone
from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields, Pair, PairFile

_TRAIN = "With --train"


def command(
    pairs: Annotated[
        str | None,
        typer.Argument(
            help="Pairs: .jsonl, .json, .csv, .parquet, or - for JSONL on stdin. Default: the bundled ones."
        ),
    ] = None,
    checkpoint: options.Checkpoint = None,
    seed: options.Seed = 0,
    eos: options.Eos = "exclude",
    value_position: options.ValuePosition = "at",
    template: options.Template = "auto",
    on_too_long: options.OnTooLong = "error",
    base: options.Base = None,
    step: options.Step = None,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    dtype: options.Dtype = "auto",
    engine: options.Engine = "auto",
    no_cache: options.NoCache = False,
    trust_remote_code: options.TrustRemoteCode = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
    train: Annotated[
        str | None,
        typer.Option(
            metavar="BACKBONE",
            rich_help_panel=_TRAIN,
            help="Also train critics under last, mean and progressive, for what the proposal expected of them. As in "
            "`warmup --backbone`.",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="FILE", rich_help_panel=_TRAIN, help="Pairs to train on, in order. Default: generated."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=_TRAIN, help="Where they are kept, and found again."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, rich_help_panel=_TRAIN, help="How many critics of each.")] = 3,
    steps: Annotated[int, typer.Option(min=3, rich_help_panel=_TRAIN, help="As in warmup.")] = 250,
    batch_size: Annotated[int, typer.Option(min=1, rich_help_panel=_TRAIN, help="As in warmup.")] = 16,
    learning_rate: Annotated[float, typer.Option(rich_help_panel=_TRAIN, help="As in warmup.")] = 5e-4,
    head_learning_rate: Annotated[float | None, typer.Option(rich_help_panel=_TRAIN, help="As in warmup.")] = None,
    lora: Annotated[int, typer.Option(min=0, rich_help_panel=_TRAIN, help="As in warmup.")] = 0,
    freeze_layers: Annotated[int, typer.Option(min=0, rich_help_panel=_TRAIN, help="As in warmup.")] = 0,
    json: options.Json = False,
    output: options.Output = None,
) -> None:
    """Measure what was claimed of last-token and mean scores: gradients, variance, punctuation, content, EOS."""
    with session.exit_codes():
        session.check_outputs(output)
        critics = bundled.find_critics(
            checkpoint,
            base=base,
            step=step,
            device=device,
            device_map=device_map,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        read = bundled.find_pairs(pairs, Fields(prompt_field, student_field, teacher_field), critics)
        chosen = session.settings(None, eos, value_position, template, on_too_long, engine, no_cache)
        from critic_probe.report.terminal import print_audit
        from critic_probe.studies.audit import audit

        if train is not None and work is None:
            raise CriticProbeError("--train: say with --work DIR where the trained critics are kept")
        backbone = None if train is None else find_backbone(train)
        given = _training_pairs(on, steps * batch_size)
        with session.progress(resumable=not no_cache) as progress:
            result = audit(critics.load(), read, chosen, progress, seed)
            if train is not None and work is not None:
                from critic_probe.studies.before_after import before_after, with_training
                from critic_probe.training.warmup import Options

                trained = Options(
                    eos=chosen.eos,
                    value_position=chosen.value_position,
                    template=chosen.template,
                    steps=steps,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    head_learning_rate=head_learning_rate,
                    lora=lora,
                    freeze_layers=freeze_layers,
                    device="cpu" if device == "cpu" else "auto",
                )
                table = before_after(given, read, backbone, trained, range(seeds), work, chosen, progress)
                result = with_training(result, *table)
        session.finish(
            "audit", result, critics, default_pairs=pairs is None, json=json, output=output, show=print_audit
        )


def _training_pairs(file: str | None, count: int) -> Callable[[int], Sequence[Pair]]:
    """The pairs to train on by seed: a file's, the same for all, or freshly generated ones."""
    if file is not None:
        read = list(PairFile(file))
        return lambda _: read

    def generated(seed: int) -> Sequence[Pair]:
        from critic_probe.studies.demo import training_pairs

        return training_pairs(seed, count)

    return generated
