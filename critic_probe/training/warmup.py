"""Warm-up: Bradley-Terry training of a critic under the read-out that it will be scored with.

transformers' `Trainer` does what every training does (data parallelism, FSDP, DeepSpeed, checkpoints, clipping, mixed
precision); the read-outs are those of `aggregation.py`, and both sides of a pair share their prompt in a prefix tree.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import SequentialSampler
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as transformers_logging

from critic_probe import objective
from critic_probe.aggregation import Aggregation, aggregate
from critic_probe.checkpoint.gguf import portable_name
from critic_probe.encoding import EncodedPair, Encoder, EosPolicy, TemplateMode
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import Pair, data_hash
from critic_probe.scoring.tree import tree_attention
from critic_probe.scoring.trie import distinct
from critic_probe.training.data import identical, prepare
from critic_probe.training.logs import Logs
from critic_probe.training.model import (
    Trainee,
    backbone_of,
    freeze,
    open_trainee,
    sample_sequences,
    tiny_trainee,
    token_values,
    why_no_tree,
    with_lora,
)

RECORD = "critic_probe.json"
BEGUN = "warmup.json"  # what a run began with, for the one that resumes it
_MAY_CHANGE = {"resume", "save_every", "evaluate_every", "probe_every", "device"}
BETAS = (0.9, 0.98)
LEAST_RATE = 0.05  # of the learning rate, where its cosine ends
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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

    aggregation: str = "mean"
    progressive: tuple[int, int] = (objective.PROGRESSIVE_START, objective.PROGRESSIVE_END)
    temperature: float | Literal["adaptive"] = objective.TEMPERATURE
    range_penalty: float = 0.0
    consistency: float = 0.0
    eos: EosPolicy = "exclude"
    value_position: Literal["at", "before"] = "at"
    template: TemplateMode = "auto"
    steps: int | None = None
    batch_size: int = 16
    gradient_accumulation: int = 1
    learning_rate: float = 1e-5
    head_learning_rate: float | None = None
    rising_steps: int = 20
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    keep_order: bool = False
    save_every: int = 0
    resume: bool = False
    evaluate_every: int = 0
    early_stopping: int = 0
    probe_every: int = 0
    lora: int = 0
    freeze_layers: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    engine: Literal["auto", "tree", "padded"] = "auto"
    save_dtype: str = "float32"
    device: Literal["auto", "cpu"] = "auto"
    skip_too_long: bool = False
    seed: int = 0

    def steps_over(self, pairs: int) -> int:
        """Optimizer steps on so many pairs."""
        return self.steps or -(-pairs // (self.batch_size * self.gradient_accumulation))


@dataclass(frozen=True)
class Trained:
    """What a warm-up leaves behind.

    Attributes:
        path: The critic's directory.
        steps: Optimizer steps taken.
        held_out: Metrics of the held-out pairs after training; empty where there are none.
        tokens: Tokens of all sequences trained on by this process, prompt and response.
        computed: Of them, those that went through the model.
        notices: What is wrong with the pairs, and what was done otherwise than asked.
    """

    path: Path
    steps: int
    held_out: dict[str, float]
    tokens: int
    computed: int
    notices: list[Notice]


Probe = Callable[[Trainee, Sequence[EncodedPair]], Mapping[str, float]]
"""Called with the model in eval mode and the held-out pairs; returns figures by name."""


def warmup(
    pairs: Sequence[Pair],
    held_out: Sequence[Pair] | float,
    backbone: Path | None,
    out: Path,
    options: Options,
    *,
    base: Path | None = None,
    probe: Probe | None = None,
    told: Callable[[Sequence[Notice]], None] = lambda _: None,
) -> Trained:
    """Trains a critic and writes it as a Hugging Face token-classification directory, or as an adapter with its head.

    Args:
        pairs: To train on; the teacher's response is the better one.
        held_out: Pairs that are only measured, or the share of prompts to hold out of `pairs`.
        backbone: A directory of a language model or critic; None makes a tiny random model with its own tokenizer.
        out: The directory to write.
        options: How.
        base: For an adapter, the directory of the model under it.
        probe: Run every `options.probe_every` steps and at the end.
        told: Called with what is wrong with the pairs, before a step is taken.

    Raises:
        CriticProbeError: Options contradict each other, pairs cannot be trained on, or nothing can be resumed.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    first = objective.scheduled(options.aggregation, 1, *options.progressive)
    checkpoint = _checkpoint(out, options)
    data = data_hash(pairs)
    _require_same_run(out, options, data)
    if backbone is None:
        texts = (str(text) for pair in pairs for text in (pair.prompt, pair.student, pair.teacher))
        trainee = tiny_trainee(texts, seed=options.seed)
    else:
        trainee = open_trainee(backbone, seed=options.seed, base=base)
    encoder = Encoder(
        trainee.tokenizer,
        eos_ids=trainee.eos_ids,
        vocabulary=trainee.vocabulary,
        context_length=trainee.context_length,
        template=options.template,
        eos=options.eos,
    )
    split = prepare(
        pairs,
        held_out,
        encoder,
        keep_identical=options.consistency > 0,
        skip_too_long=options.skip_too_long,
    )
    freeze(trainee.model, options.freeze_layers)
    if options.lora and backbone is None:
        raise CriticProbeError("--lora changes a backbone that exists; a tiny model from scratch is trained whole")
    if options.lora and backbone is not None:
        named = portable_name(backbone)
        trainee = replace(trainee, model=with_lora(trainee.model, options.lora, options.freeze_layers, named))
    if options.gradient_checkpointing:
        trainee.model.gradient_checkpointing_enable()
    notices = [*split.notices]
    sequences = [sequence for pair in split.train for sequence in pair.group.sequences]
    reason = "asked for" if options.engine == "padded" else why_no_tree(trainee, sample_sequences(sequences))
    if reason and options.engine == "tree":
        raise CriticProbeError(f"--engine tree: {reason}; use --engine auto")
    if reason and options.engine == "auto":
        notices.append(Notice("engine", f"trained without the prefix tree: {reason}"))
    told(notices)
    if options.early_stopping:
        options = _with_best_kept(options, bool(split.held_out))

    trainer = _Trainer(
        trainee,
        split.train,
        split.held_out,
        _arguments(out, options, len(split.train)),
        options,
        encoder,
        tree=reason is None,
        marks=first.reads_punctuation_mask,
        probe=probe,
    )
    if checkpoint is not None and trainer.at_its_end(checkpoint):
        trainer.restore(checkpoint)  # the Trainer would take one more step
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
    if options.early_stopping:  # the best weights are back, which need not be the last
        trainer.measured = {}
    metrics = trainer.evaluate() if split.held_out and not trainer.measured else trainer.measured
    if probe is not None and split.held_out:
        trainer.log(trainer.probed())
    plain = asdict(Options())
    record: dict[str, Any] = {
        "aggregation": options.aggregation,
        "eos": options.eos,
        "value_position": options.value_position,
        "temperature": options.temperature,
        "seed": options.seed,
        "steps": trainer.state.global_step,
        "data": data,
        "max_trained_tokens": max(pair.length for pair in split.train),
    }
    if options.aggregation == objective.PROGRESSIVE:
        last = objective.scheduled(options.aggregation, trainer.state.global_step, *options.progressive)
        record["ends_as"] = {0.0: "mean", 1.0: "last"}.get(last.parameter, last.name)
    record["options"] = {k: v for k, v in asdict(options).items() if k not in record and v != plain[k]}
    _save(trainer, trainee, out, record, DTYPES[options.save_dtype])
    held = {
        name.removeprefix("eval_critic/"): value for name, value in metrics.items() if name.startswith("eval_critic/")
    }
    return Trained(out, trainer.state.global_step, held, trainer.tokens, trainer.computed, notices)


def side_scores(
    model: Any,
    pairs: Sequence[EncodedPair],
    aggregation: Aggregation,
    *,
    value_position: Literal["at", "before"],
    tree: bool,
    pad: int,
    punctuation: Callable[[Any], Sequence[bool]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Scores (B,) of the students and of the teachers, with their gradient.

    Args:
        model: Gives `logits` (B, T, 1).
        pairs: B of them.
        aggregation: The read-out.
        value_position: `at` the token or `before` it.
        tree: As `token_values`.
        pad: As `token_values`.
        punctuation: Which tokens of a response are punctuation; needed by `content`.
    """
    sides = [(pair.prompt_ids, side) for pair in pairs for side in (pair.student, pair.teacher)]
    sequences = [prompt + side.ids for prompt, side in sides]
    firsts = [len(prompt) - 1 for prompt, _ in sides]
    window = slice(1, None) if value_position == "at" else slice(None, -1)
    values = [v[window] for v in token_values(model, sequences, firsts, tree=tree, pad=pad)]
    padded = pad_sequence(values, batch_first=True)  # (2B, R)

    def rows(flags: Sequence[Sequence[bool]]) -> Tensor:
        return pad_sequence([torch.tensor(row) for row in flags], batch_first=True).to(padded.device)

    scores = aggregate(
        aggregation,
        padded,
        rows([[True] * len(side.ids) for _, side in sides]),
        eos=rows([side.eos for _, side in sides]),
        punctuation=rows([punctuation(side) for _, side in sides]) if punctuation else None,
    )
    return scores[0::2], scores[1::2]


class _Trainer(Trainer):
    """transformers' Trainer with pairs for batches; it owns the counts of what was computed."""

    def __init__(
        self,
        trainee: Trainee,
        train: Sequence[EncodedPair],
        held_out: Sequence[EncodedPair],
        arguments: TrainingArguments,
        options: Options,
        encoder: Encoder,
        *,
        tree: bool,
        marks: bool,
        probe: Probe | None,
    ) -> None:
        self.trainee, self.options, self.held_out, self.tree, self.probe = trainee, options, held_out, tree, probe
        self.tokens = self.computed = 0
        self.measured: dict[str, float] = {}  # on the held-out pairs, with the weights as they are now
        self._punctuation = encoder.punctuation if marks else None
        self._since_log: list[dict[str, float]] = []
        super().__init__(
            model=trainee.model,
            args=arguments,
            train_dataset=train,
            eval_dataset=held_out or None,
            data_collator=lambda pairs: {"pairs": pairs},
        )
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.add_callback(Logs(Path(str(arguments.output_dir)), asdict(options)))
        if options.early_stopping:
            self.add_callback(EarlyStoppingCallback(options.early_stopping))
        if options.probe_every and probe is not None and held_out:
            self.add_callback(_ProbeEvery(self, options.probe_every))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.options.keep_order:
            return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]
        return super()._get_train_sampler(train_dataset)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; the head may have a learning rate of its own."""
        if self.optimizer is None:
            trained = [(n, p) for n, p in (model or self.trainee.model).named_parameters() if p.requires_grad]
            rate = self.options.learning_rate
            head_rate = self.options.head_learning_rate or rate
            groups = [
                {"params": [p for n, p in trained if not _of_head(n)], "lr": rate},
                {"params": [p for n, p in trained if _of_head(n)], "lr": head_rate},
            ]
            self.optimizer = torch.optim.AdamW(
                [group for group in groups if group["params"]], betas=BETAS, weight_decay=self.options.weight_decay
            )
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One batch, forward and backward: a checkpointed layer computes its attention again on the way back."""
        self.measured = {}
        with self._attention():
            return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> Tensor:
        """Bradley-Terry over the batch's ordered pairs, and the consistency term over those of one text."""
        pairs: Sequence[EncodedPair] = inputs["pairs"]
        student, teacher = self._scores(model, pairs, self.state.global_step + 1)
        same = torch.tensor([identical(pair) for pair in pairs], device=student.device)
        if not bool(torch.isfinite(student).all() and torch.isfinite(teacher).all()):
            raise CriticProbeError(
                f"step {self.state.global_step + 1}: a score is NaN or infinite, the training has diverged; lower "
                "--learning-rate, or resume an earlier checkpoint with a lower one"
            )
        total = student.sum() * 0.0  # keeps the graph where a batch has no ordered pair
        if not bool(same.all()):
            cost, used = objective.loss(
                student[~same], teacher[~same], self.options.temperature, self.options.range_penalty
            )
            total = total + cost
            self._since_log.append(objective.metrics(student[~same], teacher[~same], used))
        if bool(same.any()):
            gaps = (teacher[same] - student[same]) ** 2
            total = total + self.options.consistency * gaps.sum() / len(pairs)
        sequences = [sequence for pair in pairs for sequence in pair.group.sequences]
        self.tokens += sum(map(len, sequences))
        self.computed += distinct(sequences) if self.tree else len(sequences) * max(map(len, sequences))
        return total

    def at_its_end(self, checkpoint: str) -> bool:
        """Whether a checkpoint is the last step's."""
        return int(checkpoint.rpartition("-")[2]) >= self.args.max_steps

    def restore(self, checkpoint: str) -> None:
        """Takes weights and state from a checkpoint, without a step."""
        self._load_from_checkpoint(checkpoint)
        self.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The held-out pairs under the read-out of the step, as `eval_critic/...`."""
        self.trainee.model.eval()
        pairs, size = self.held_out, self.options.batch_size
        with self._attention(), self.compute_loss_context_manager():
            found = [
                self._scores(self.model, pairs[i : i + size], max(1, self.state.global_step))
                for i in range(0, len(pairs), size)
            ]
        student, teacher = (torch.cat(side) for side in zip(*found, strict=True))
        cost, used = objective.loss(student, teacher, self.options.temperature)
        metrics = {f"eval_{name}": value for name, value in objective.metrics(student, teacher, used).items()}
        metrics |= {"eval_critic/d_loss": float(cost), "eval_critic/pairs": float(len(pairs))}
        self.measured = metrics
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what the batches since the last log measured, as means over them and all processes."""
        if self._since_log and "loss" in logs:
            names = list(self._since_log[0])
            means = torch.tensor(
                [sum(found[name] for found in self._since_log) / len(self._since_log) for name in names],
                device=self.args.device,
            )
            means = self.accelerator.reduce(means, "mean")
            logs |= dict(zip(names, means.tolist(), strict=True))
            logs["critic/tokens_saved"] = 1 - self.computed / self.tokens
            self._since_log.clear()
        super().log(logs, start_time)

    def probed(self) -> dict[str, float]:
        """The probe's figures on the held-out pairs."""
        assert self.probe is not None
        self.trainee.model.eval()
        return {f"probe/{name}": value for name, value in self.probe(self.trainee, self.held_out).items()}

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: transformers' estimate wants tensors in the batch."""
        return 0

    def _scores(self, model: Any, pairs: Sequence[EncodedPair], step: int) -> tuple[Tensor, Tensor]:
        return side_scores(
            model,
            pairs,
            objective.scheduled(self.options.aggregation, step, *self.options.progressive),
            value_position=self.options.value_position,
            tree=self.tree,
            pad=self.trainee.tokenizer.pad_token_id or 0,
            punctuation=self._punctuation,
        )

    def _attention(self) -> Any:
        return tree_attention(backbone_of(self.model)) if self.tree else nullcontext()


class _ProbeEvery(TrainerCallback):
    """Runs the probe every so many steps, and before the first."""

    def __init__(self, trainer: _Trainer, every: int) -> None:
        self._trainer, self._every = trainer, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first step: what an untrained head shows."""
        if not state.global_step:
            self._trainer.log(self._trainer.probed())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Every so many steps; the last one is probed when training is done."""
        if state.global_step % self._every == 0 and state.global_step < state.max_steps:
            self._trainer.log(self._trainer.probed())


def _with_best_kept(options: Options, held_out: bool) -> Options:
    """The options with checkpoints where early stopping needs them: at every measurement, or at some of them.

    Raises:
        CriticProbeError: Nothing is measured, or checkpoints are saved where nothing is.
    """
    if not (held_out and options.evaluate_every):
        raise CriticProbeError("--early-stopping needs held-out pairs and --eval-every")
    every = options.save_every or options.evaluate_every
    if every % options.evaluate_every:
        raise CriticProbeError(
            f"--early-stopping keeps the best measured checkpoint: --save-every {every} must be a multiple of "
            f"--eval-every {options.evaluate_every}"
        )
    return replace(options, save_every=every)


def _of_head(name: str) -> bool:
    return ".score." in f".{name}"


def _arguments(out: Path, options: Options, pairs: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation,
        max_steps=options.steps_over(pairs),
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": LEAST_RATE},
        warmup_steps=options.rising_steps,
        max_grad_norm=options.max_grad_norm,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps" if options.save_every else "no",
        save_steps=options.save_every or 500,
        save_total_limit=2,
        eval_strategy="steps" if options.evaluate_every else "no",
        eval_steps=options.evaluate_every or None,
        load_best_model_at_end=bool(options.early_stopping),
        metric_for_best_model="eval_critic/d_acc" if options.early_stopping else None,
        greater_is_better=True if options.early_stopping else None,
        bf16=options.bf16,
        use_cpu=options.device == "cpu",
        seed=options.seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


def _checkpoint(out: Path, options: Options) -> str | None:
    """The newest whole checkpoint to go on from; None to begin anew."""
    # The trainer's state is written last, so a checkpoint without it was cut off.
    whole = {int(p.parent.name.split("-")[1]): p.parent for p in out.glob("checkpoint-*/trainer_state.json")}
    if not options.resume:
        if whole or (out / RECORD).exists():
            raise CriticProbeError(f"{out}: holds an earlier warm-up; use --resume to go on, or give another directory")
        return None
    if not whole:
        raise CriticProbeError(
            f"{out}: no whole checkpoint to resume; leave out --resume, and save some with --save-every"
        )
    return str(whole[max(whole)])


def _require_same_run(out: Path, options: Options, data: str) -> None:
    """Writes down what a run begins with; a resumed one must go on with the same.

    Raises:
        CriticProbeError: It would go on with other pairs or options.
    """
    begun = {"data": data} | {k: v for k, v in asdict(options).items() if k not in _MAY_CHANGE}
    begun = json.loads(json.dumps(begun))  # tuples are lists there
    file = out / BEGUN
    if options.resume and file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if changed := [name for name in begun if begun[name] != before.get(name)]:
            told = ", ".join(f"{name} {before.get(name)} -> {begun[name]}" for name in changed)
            raise CriticProbeError(f"{out}: --resume goes on with what the run began with, but {told}; give the same")
    if not options.resume:
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(begun, indent=2) + "\n", encoding="utf-8")


def _save(trainer: _Trainer, trainee: Trainee, out: Path, record: dict[str, Any], dtype: torch.dtype) -> None:
    trainer.accelerator.wait_for_everyone()
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # gathers what FSDP and ZeRO have spread
    if not trainer.args.should_save:
        return
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    model.config.use_cache = True  # the Trainer turns it off
    model.config.name_or_path = ""
    model.save_pretrained(out, state_dict={name: tensor.to(dtype) for name, tensor in state.items()})
    (out / "README.md").unlink(missing_ok=True)  # PEFT's form of a model card, not filled in
    if (config := out / "config.json").exists():  # names the dtype that was trained in
        saved = json.loads(config.read_text(encoding="utf-8")) | {"dtype": str(dtype).removeprefix("torch.")}
        config.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    if not trainer.options.lora:  # an adapter's tokenizer is its base's
        for key in ("is_local", "local_files_only"):
            trainee.tokenizer.init_kwargs.pop(key, None)
        trainee.tokenizer.save_pretrained(out)
    (out / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
