"""transformers' Trainer with pairs for batches: what a step computes, measures and logs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import SequentialSampler
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from critic_probe import objective
from critic_probe.aggregation import Aggregation, aggregate
from critic_probe.encoding import EncodedPair, Encoder
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.scoring.tree import tree_attention
from critic_probe.scoring.trie import distinct
from critic_probe.training.data import identical
from critic_probe.training.logs import Logs
from critic_probe.training.model import Trainee, backbone_of, token_values
from critic_probe.training.options import Options

BETAS = (0.9, 0.98)
LEAST_RATE = 0.05  # of the learning rate, where its cosine ends

Probe = Callable[[Trainee, Sequence[EncodedPair]], Mapping[str, float]]
"""Called with the model in eval mode and the held-out pairs; returns figures by name."""


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


class PairTrainer(Trainer):
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
        beside: Callable[[Path, int], None],
    ) -> None:
        self.beside = beside  # writes what a critic's directory holds beside its weights, at a step
        self.trainee, self.options, self.held_out, self.tree, self.probe = trainee, options, held_out, tree, probe
        self.tokens = self.computed = 0
        self._at_log = 0, 0  # what they were at the last log
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

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint is a critic: it reads as the directory that training leaves behind does."""
        self.beside(Path(output_dir or str(self.args.output_dir)), self.state.global_step)  # no weights without it
        super()._save(output_dir, state_dict)

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
                f"{parameter('learning_rate')}, or resume an earlier checkpoint with a lower one"
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
            scores = [
                self._scores(self.model, pairs[i : i + size], max(1, self.state.global_step))
                for i in range(0, len(pairs), size)
            ]
        student, teacher = (torch.cat(side) for side in zip(*scores, strict=True))
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
                [sum(metrics[name] for metrics in self._since_log) / len(self._since_log) for name in names],
                device=self.args.device,
            )
            means = self.accelerator.reduce(means, "mean")
            logs |= dict(zip(names, means.tolist(), strict=True))
            tokens, computed = self._at_log
            logs["critic/tokens_saved"] = 1 - (self.computed - computed) / (self.tokens - tokens)
            self._at_log = self.tokens, self.computed
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

    def __init__(self, trainer: PairTrainer, every: int) -> None:
        self._trainer, self._every = trainer, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first step: what an untrained head shows."""
        if not state.global_step:
            self._trainer.log(self._trainer.probed())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Every so many steps; the last one is probed when training is done."""
        if state.global_step % self._every == 0 and state.global_step < state.max_steps:
            self._trainer.log(self._trainer.probed())


def _of_head(name: str) -> bool:
    return ".score." in f".{name}"


def arguments(out: Path, options: Options, pairs: int) -> TrainingArguments:
    """The options as transformers' Trainer takes them, for a run on so many pairs."""
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
        save_total_limit=options.keep,
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
