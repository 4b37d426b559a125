"""Warm-up: Bradley-Terry training of a critic under the read-out that it will be scored with.

transformers' `Trainer` does what every training does (data parallelism, FSDP, DeepSpeed, checkpoints, clipping, mixed
precision); the read-outs are those of `aggregation.py`, and both sides of a pair share their prompt in a prefix tree.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from critic_probe import objective
from critic_probe.checkpoint.critic import DTYPES
from critic_probe.checkpoint.gguf import portable_name
from critic_probe.encoding import Encoder
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.pairs import Pair, data_hash
from critic_probe.training.data import prepare
from critic_probe.training.model import (
    freeze,
    open_trainee,
    sample_sequences,
    tiny_trainee,
    why_no_tree,
    with_lora,
)
from critic_probe.training.options import Options
from critic_probe.training.resume import RECORD, WEIGHTS, begin, newest_checkpoint, require_same_run
from critic_probe.training.trainer import PairTrainer, Probe, arguments
from critic_probe.writing import write_text, written_folder


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


def warmup(
    pairs: Sequence[Pair],
    held_out: Sequence[Pair] | float,
    backbone: Path | None,
    out: Path,
    options: Options,
    *,
    base: Path | None = None,
    probe: Probe | None = None,
    warn: Callable[[Sequence[Notice]], None] = lambda _: None,
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
        warn: Called with what is wrong with the pairs, before a step is taken.

    Raises:
        CriticProbeError: Options contradict each other, pairs cannot be trained on, or nothing can be resumed.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    first = objective.scheduled(options.aggregation, 1, *options.progressive)
    checkpoint = newest_checkpoint(out, options)
    data = data_hash(pairs)
    require_same_run(out, options, data)
    if checkpoint is None:
        begin(out, options, data)
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
        raise CriticProbeError(
            f"{parameter('lora')} changes a backbone that exists; a tiny model from scratch is trained whole"
        )
    if options.lora and backbone is not None:
        named = portable_name(backbone)
        trainee = replace(trainee, model=with_lora(trainee.model, options.lora, options.freeze_layers, named))
    if options.gradient_checkpointing:
        trainee.model.gradient_checkpointing_enable()
    notices = [*split.notices]
    sequences = [sequence for pair in split.train for sequence in pair.group.sequences]
    reason = "asked for" if options.engine == "padded" else why_no_tree(trainee, sample_sequences(sequences))
    if reason and options.engine == "tree":
        raise CriticProbeError(f"{parameter('engine', 'tree')}: {reason}; use {parameter('engine', 'auto')}")
    if reason and options.engine == "auto":
        notices.append(Notice("engine", f"trained without the prefix tree: {reason}"))
    warn(notices)
    if options.early_stopping:
        options = _with_best_kept(options, bool(split.held_out))

    longest = max(pair.length for pair in split.train)

    def beside(folder: Path, step: int) -> None:
        if not options.lora:  # an adapter's tokenizer is its base's
            for key in ("is_local", "local_files_only"):
                trainee.tokenizer.init_kwargs.pop(key, None)
            trainee.tokenizer.save_pretrained(folder)
        record = _record(options, step, data, longest)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")

    trainer = PairTrainer(
        trainee,
        split.train,
        split.held_out,
        arguments(out, options, len(split.train)),
        options,
        encoder,
        tree=reason is None,
        marks=first.reads_punctuation_mask,
        probe=probe,
        beside=beside,
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
    _save(trainer, out, DTYPES[options.save_dtype])
    held = {
        name.removeprefix("eval_critic/"): value for name, value in metrics.items() if name.startswith("eval_critic/")
    }
    return Trained(out, trainer.state.global_step, held, trainer.tokens, trainer.computed, notices)


def _with_best_kept(options: Options, held_out: bool) -> Options:
    """The options with checkpoints where early stopping needs them: at every measurement, or at some of them.

    Raises:
        CriticProbeError: Nothing is measured, or checkpoints are saved where nothing is.
    """
    if not (held_out and options.evaluate_every):
        raise CriticProbeError(f"{parameter('early_stopping')} needs held-out pairs and {parameter('evaluate_every')}")
    every = options.save_every or options.evaluate_every
    if every % options.evaluate_every:
        raise CriticProbeError(
            f"{parameter('early_stopping')} keeps the best measured checkpoint: {parameter('save_every', every)} must "
            f"be a multiple of {parameter('evaluate_every', options.evaluate_every)}"
        )
    return replace(options, save_every=every)


def _record(options: Options, step: int, data: str, longest: int) -> dict[str, Any]:
    """How a critic was trained, for those who read it.

    Args:
        options: How.
        step: After so many steps.
        data: The pairs' hash.
        longest: Tokens of the longest pair that was trained on.
    """
    plain = asdict(Options())
    record: dict[str, Any] = {
        "aggregation": options.aggregation,
        "eos": options.eos,
        "value_position": options.value_position,
        "temperature": options.temperature,
        "seed": options.seed,
        "steps": step,
        "data": data,
        "max_trained_tokens": longest,
    }
    if options.aggregation == objective.PROGRESSIVE:
        last = objective.scheduled(options.aggregation, step, *options.progressive)
        record["ends_as"] = {0.0: "mean", 1.0: "last"}.get(last.parameter, last.name)
    plain["resume"] = options.resume  # a resumed run ends in the bytes of an undisturbed one
    record["options"] = {k: v for k, v in asdict(options).items() if k not in record and v != plain[k]}
    return record


def _save(trainer: PairTrainer, out: Path, dtype: torch.dtype) -> None:
    trainer.accelerator.wait_for_everyone()
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # gathers what FSDP and ZeRO have spread
    if not trainer.args.should_save:
        return
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    model.config.use_cache = True  # the Trainer turns it off
    model.config.name_or_path = ""
    with written_folder(out, last=WEIGHTS) as part:
        model.save_pretrained(part, state_dict={name: tensor.to(dtype) for name, tensor in state.items()})
        (part / "README.md").unlink(missing_ok=True)  # PEFT's form of a model card, not filled in
        if (config := part / "config.json").exists():  # names the dtype that was trained in
            saved = json.loads(config.read_text(encoding="utf-8")) | {"dtype": str(dtype).removeprefix("torch.")}
            config.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        trainer.beside(part, trainer.state.global_step)
