"""How a critic is trained: every option once, for `warmup` in Python and on the command line."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from critic_probe import objective
from critic_probe.encoding import EosPolicy, TemplateMode
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.option import Option

LOSS, MEASURING = "What is trained for", "While it runs"
_loss = partial(Option, panel=LOSS)
_training = partial(Option, panel="Training")
_model = partial(Option, panel="Model")
_measuring = partial(Option, panel=MEASURING)


def read_temperature(text: str) -> float | Literal["adaptive"]:
    """T of the loss as users write it.

    Raises:
        CriticProbeError: It is neither a number above 0 nor `adaptive`.
    """
    if text == "adaptive":
        return "adaptive"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise CriticProbeError(f"{parameter('temperature', text)}: a number above 0, or adaptive")
    return value


@dataclass(frozen=True)
class Options:
    """How a critic is trained.

    Attributes:
        aggregation: A read-out's name, or `progressive`.
        progressive: The last step of the mean alone and the first of the last token alone.
        temperature: T of softplus(-d / T), or `adaptive`.
        range_penalty: Weight of the penalty on scores outside [0, 10].
        consistency: Weight of d^2 on pairs whose sides are one text; 0 leaves such pairs out.
        eos: `exclude`, or `include`: both sides are closed with EOS.
        value_position: `at` the token or `before` it.
        template: How prompts are rendered.
        steps: Optimizer steps; None goes through the pairs once.
        batch_size: Pairs of a step and process.
        gradient_accumulation: Batches of a step.
        learning_rate: Of the backbone, at its highest.
        head_learning_rate: Of the head; None takes the backbone's.
        rising_steps: Steps in which the learning rate rises; it falls along a cosine to a twentieth then.
        weight_decay: AdamW's.
        max_grad_norm: Where gradients are clipped.
        keep_order: Take the pairs in the file's order, for a curriculum; else each epoch shuffles them.
        save_every: Steps between checkpoints; 0 saves none.
        keep: How many checkpoints are kept, the newest ones.
        resume: Go on from the newest checkpoint.
        evaluate_every: Steps between measurements of the held-out pairs; 0 measures once, at the end.
        early_stopping: Stop after this many measurements without a better held-out d_acc, and keep the best.
        probe_every: Steps between probes; 0 probes never.
        lora: Rank of LoRA factors; 0 trains the weights themselves.
        freeze_layers: Layers from the bottom that are kept as they are, the embeddings with them.
        bf16: Compute in bfloat16.
        gradient_checkpointing: Compute activations twice instead of keeping them.
        engine: `auto`, `tree`, or `padded`.
        save_dtype: Of the saved weights.
        device: `auto` or `cpu`.
        skip_too_long: Leave out pairs longer than the context.
        seed: Decides the fresh head, the order of pairs and dropout.
    """

    aggregation: Annotated[
        str,
        _loss("The read-out, or progressive: from mean to last.", names=("--aggregation", "-a"), metavar="NAME"),
    ] = "mean"
    progressive: tuple[int, int] = (objective.PROGRESSIVE_START, objective.PROGRESSIVE_END)
    temperature: Annotated[
        float | Literal["adaptive"],
        _loss("T of the loss softplus(-d/T), or adaptive: clip(E|d|/2, 0.5, 3).", parse=read_temperature),
    ] = objective.TEMPERATURE
    range_penalty: Annotated[float, _loss("Weight of the penalty on scores outside [0, 10].", min=0)] = 0.0
    consistency: Annotated[
        float, _loss("Weight of d^2 on pairs of one text twice; 0 leaves such pairs out.", min=0)
    ] = 0.0
    eos: EosPolicy = "exclude"
    value_position: Literal["at", "before"] = "at"
    template: TemplateMode = "auto"
    steps: Annotated[int | None, _training("Steps. Default: once through the pairs.", min=1)] = None
    batch_size: Annotated[int, _training("Pairs of a batch, in each process.", min=1)] = 16
    gradient_accumulation: Annotated[int, _training("Batches of a step.", min=1)] = 1
    learning_rate: Annotated[float, _training("At its highest.")] = 1e-5
    head_learning_rate: Annotated[float | None, _training("The head's. Default: the same.")] = None
    rising_steps: Annotated[int, _training("Steps in which the rate rises; a cosine follows.", min=0)] = 20
    weight_decay: Annotated[float, _training("AdamW's.", min=0)] = 0.01
    max_grad_norm: Annotated[float, _training("Where gradients are clipped.", min=0)] = 1.0
    keep_order: Annotated[bool, _training("Do not shuffle: the file is a curriculum.")] = False
    save_every: Annotated[int, _measuring("Steps between checkpoints.", min=0)] = 0
    keep: Annotated[int, _measuring("How many checkpoints are kept, the newest ones.", min=1)] = 2
    resume: Annotated[bool, _measuring("Go on from the newest checkpoint.")] = False
    evaluate_every: Annotated[
        int,
        _measuring("Steps between measurements of held-out pairs; 0: at the end.", names=("--eval-every",), min=0),
    ] = 0
    early_stopping: Annotated[int, _training("Stop after N evaluations without a better d_acc.", min=0)] = 0
    probe_every: Annotated[int, _measuring("Steps between punctuation, completeness and control probes.", min=0)] = 0
    lora: Annotated[int, _model("Rank of LoRA factors; the head is saved with them.", min=0)] = 0
    freeze_layers: Annotated[int, _model("Keep the embeddings and the N lowest layers.", min=0)] = 0
    bf16: Annotated[bool, _model("Compute in bfloat16.")] = False
    gradient_checkpointing: Annotated[bool, _model("Less memory, more time.")] = False
    engine: Annotated[
        Literal["auto", "tree", "padded"], _model("auto, tree (both sides share their prompt), or padded.")
    ] = "auto"
    save_dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], _model("Of the saved weights: float32, bfloat16, float16.")
    ] = "float32"
    device: Annotated[Literal["auto", "cpu"], _model("auto or cpu.")] = "auto"
    skip_too_long: bool = False
    seed: Annotated[int, _training("Of a fresh head and the order of pairs.")] = 0

    def steps_over(self, pairs: int) -> int:
        """Optimizer steps on so many pairs."""
        return self.steps or -(-pairs // (self.batch_size * self.gradient_accumulation))
