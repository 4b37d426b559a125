"""What can be said of a critic without running it: what it is, how it would be read, and what is wrong with it.

One check after the other, hence one file longer than others.
"""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from critic_probe.checkpoint.critic import embedding_rows, eos_ids, read_config, read_tokenizer, stored_dtype
from critic_probe.checkpoint.head import NORMALIZER, Head, looks_untrained, read_head, state_width
from critic_probe.checkpoint.layout import Layout, fingerprint, read_json, read_layout, tokenizer_hash
from critic_probe.checkpoint.settings import differences
from critic_probe.checkpoint.stored import OUTPUT_LAYER
from critic_probe.errors import CriticProbeError, parameter

# Which models that write them have as one token; Zephyr and Tulu write others as plain text.
_OWN_TOKEN = re.compile(r"<\|(?:im_start|im_end|eot_id|start_header_id|end_header_id)\|>|<(?:start|end)_of_turn>")

Verdict = Literal["ok", "warn", "fail", "not run"]


class Check(NamedTuple):
    """One line of `critic-probe doctor`.

    Attributes:
        check: Its fixed name.
        verdict: `not run` where something that it needs has failed, or no pairs were given.
        evidence: What was seen.
        cure: What to do; empty where there is nothing to do.
    """

    check: str
    verdict: Verdict
    evidence: str
    cure: str = ""


@dataclass(frozen=True)
class Anatomy:
    """A checkpoint's parts as they lie in its files; no backbone is built.

    Attributes:
        layout: What the directory holds.
        config: The transformers config.
        tokenizer: The tokenizer.
        head: The value head.
    """

    layout: Layout
    config: Any
    tokenizer: Any
    head: Head


def dissect(
    path: str | Path,
    *,
    base: str | Path | None = None,
    step: int | None = None,
    trust_remote_code: bool = False,
    head_row: str | None = None,
) -> Anatomy:
    """Reads headers, config, tokenizer and head.

    Raises:
        CriticProbeError: One of them is missing or broken.
    """
    layout = read_layout(path, base=base, step=step)
    config = read_config(layout, trust_remote_code)
    tokenizer = read_tokenizer(layout, trust_remote_code)
    return Anatomy(layout, config, tokenizer, read_head(layout, state_width(config.get_text_config()), head_row))


def inspect(anatomy: Anatomy) -> dict[str, Any]:
    """What a checkpoint is, as plain values: the object of `critic-probe inspect --json`."""
    layout, head, tokenizer = anatomy.layout, anatomy.head, anatomy.tokenizer
    text = anatomy.config.get_text_config()
    weights = [tensor for tensor in (*head.weights, *head.biases) if tensor is not None]
    return {
        "path": str(layout.path),
        "format": layout.format,
        "framework": framework(anatomy),
        "step": layout.step,
        "base": None if layout.base is None else str(layout.base),
        "fingerprint": fingerprint(layout),
        "architecture": str(anatomy.config.model_type),
        "architectures": layout.config.get("architectures"),
        "parameters": sum(math.prod(stored.shape) for stored in layout.tensors.values()),
        "dtype": str(stored_dtype(layout)).removeprefix("torch."),
        "files": len(layout.files),
        "context_length": getattr(text, "max_position_embeddings", None),
        "head": {
            "tensor": head.name,
            "tensors": [name for layer in head.layers for name in layer if name is not None],
            "shape": list(layout.tensors[head.name].shape),
            "row": head.row,
            "bias": head.biases[-1] is not None,
            "norm": sum(float(tensor.float().square().sum()) for tensor in weights) ** 0.5,
            "hash": head.hash,
            "looks_untrained": looks_untrained(head, _initializer_range(anatomy)) is not None,
            "normalisation": None
            if head.normalisation is None
            else {"mean": head.normalisation[0], "std": head.normalisation[1]},
        },
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "size": len(tokenizer),
            "hash": tokenizer_hash(layout.home),
            "special_tokens": {key: str(value) for key, value in tokenizer.special_tokens_map.items()},
            "pad_id": tokenizer.pad_token_id,
            "eos_id": tokenizer.eos_token_id,
        },
        "stop_ids": sorted(eos_ids(layout, tokenizer, text)),
        "template": bool(getattr(tokenizer, "chat_template", None)),
        "reading": reading(anatomy),
    }


def framework(anatomy: Anatomy) -> str:
    """Who most likely wrote the checkpoint, by its files, its head's name and its config's own keys."""
    layout, head, config = anatomy.layout, anatomy.head, anatomy.layout.config
    first = head.layers[0].weight
    if (layout.path / "critic_probe.json").exists():
        return "critic-probe"
    if layout.format == "verl-fsdp" or "summary_dropout_prob" in config:
        return "verl"
    if "value_head_prefix" in config or {"RewardModel", "CriticModel"} & set(config.get("architectures") or ()):
        return "OpenRLHF"
    if first.startswith("score_head.") and any(name.startswith(NORMALIZER) for name in layout.tensors):
        return "Safe-RLHF"
    by_format = {
        "value-head-file": "LLaMA-Factory or ROLL",
        "peft-adapter": "PEFT",
        "deepspeed-zero2": "DeepSpeed",
        "torch-dcp": "torch",
    }
    if layout.format in by_format:
        return by_format[layout.format]
    by_head = {
        "v_head.summary.weight": "TRL",
        "v_head.0.weight": "trlx",
        "v_head.weight": "InternLM2",
        "regression_head.weight": "UltraRM",
        "score.0.weight": "Qwen2.5-Math-RM",
    }
    return by_head.get(first, "transformers")


def reading(anatomy: Anatomy) -> list[str]:
    """How the critic's own framework turns values into a score, and which options read it so, in sentences."""
    head, config, who = anatomy.head, anatomy.layout.config, framework(anatomy)
    stored_rows = anatomy.layout.tensors[head.name].shape[0]
    layers = "a linear layer" if len(head.layers) == 1 else "two linear layers with a ReLU between them"
    with_bias = "with" if head.biases[-1] is not None else "without"
    sentences = [
        f"One value per token: {layers} {with_bias} bias ({head.name}) on the hidden state after the final norm."
    ]
    if head.normalisation is not None:
        mean, std = head.normalisation
        sentences.append(f"{who} normalises it when it scores, and so do we: (raw - {mean:g}) / {std:g}.")
    if head.row is not None:
        what = "the difference of rows" if "-" in head.row else "row"
        sentences.append(f"Of its {stored_rows} rows {what} {head.row} is read, as {parameter('head_row')} asks.")
    if "reward_token_id" in config:
        sentences.append(
            f"Its own code appends token {config['reward_token_id']} and reads there: give ids that end in it."
        )
    elif who == "verl":
        sentences.append(
            f"verl's PPO critic takes the value before each response token: {parameter('convention', 'verl-ppo')}. A "
            f"GAD discriminator takes it at the token: {parameter('convention', 'gad')}."
        )
    return sentences


def audit(anatomy: Anatomy) -> list[Check]:
    """The checks that cost no forward pass and need no pairs."""
    return [
        _weight_files(anatomy.layout),
        _against_origin(anatomy),
        *_head_checks(anatomy),
        _dropout(anatomy),
        *_token_checks(anatomy),
        _template(anatomy),
        _template_tail(anatomy),
    ]


def _weight_files(layout: Layout) -> Check:
    if layout.odd:
        return Check("weight-files", "warn", layout.odd, "remove the files that are not the critic's")
    return Check("weight-files", "ok", f"{len(layout.files)} files")


def _against_origin(anatomy: Anatomy) -> Check:
    """Whether the config has what the model had that it was trained from, in every field that changes values."""
    layout = anatomy.layout
    if layout.origin is None:
        what = (
            f"the model that it was trained from is not here; give it with {parameter('base')} to compare every field"
        )
        return Check("config-base", "not run", what)
    try:
        own = layout.origin == layout.config_file.parent  # an adapter's may be its base's
        theirs = anatomy.config if own else read_config(replace(layout, home=layout.origin, base=None))
    except CriticProbeError as error:
        return Check("config-base", "not run", str(error))
    if apart := differences(anatomy.config, theirs):
        cure = "where training did not change them, give the critic the base's"
        return Check("config-base", "warn", f"{'; '.join(apart)} ({layout.origin})", cure)
    return Check("config-base", "ok", f"every field that changes values is as in {layout.origin}")


def weights_check(layout: Layout, dtype: torch.dtype | None = None) -> Check:
    """Whether every weight is a number, and no matrix all zeros; reads them all, one after the other.

    Args:
        layout: What the directory holds.
        dtype: What they are to be computed in: a number that it cannot hold counts as well.
    """
    bad: list[str] = []
    overflowing: list[str] = []
    zero: list[str] = []
    for name, stored in layout.tensors.items():
        if stored.dtype.is_floating_point:
            tensor = stored.read()
            if not bool(tensor.isfinite().all()):
                bad.append(f"{name} in {stored.file.name}")
            elif dtype is not None and not bool(tensor.to(dtype).isfinite().all()):
                overflowing.append(name)
            elif len(stored.shape) > 1 and not OUTPUT_LAYER.search(name) and not bool(tensor.any()):
                zero.append(f"{name} in {stored.file.name}")
    if bad:
        return Check(
            "weights-finite",
            "fail",
            f"{len(bad)} of {len(layout.tensors)} tensors hold NaN or infinity, first {bad[0]}",
            "the training diverged or the file is damaged: use an earlier checkpoint",
        )
    if overflowing:
        return Check(
            "weights-finite",
            "fail",
            f"{len(overflowing)} tensors are finite as stored but overflow in "
            f"{str(dtype).removeprefix('torch.')}, first {overflowing[0]}",
            f"use {parameter('dtype', 'float32')} or bfloat16",
        )
    if zero:
        return Check(
            "weights-finite",
            "fail",
            f"{len(zero)} matrices hold zeros alone, first {zero[0]}",
            "a copy that stopped leaves such a hole: copy the checkpoint again",
        )
    return Check("weights-finite", "ok", f"no NaN and no infinity in {len(layout.tensors)} tensors")


def _head_checks(anatomy: Anatomy) -> list[Check]:
    layout, head = anatomy.layout, anatomy.head
    names = ", ".join(name for layer in head.layers for name in layer if name is not None)
    labels = layout.config.get("id2label")
    chosen = "" if head.row is None else f", row {head.row} of it"
    fresh = looks_untrained(head, _initializer_range(anatomy))
    return [
        Check("head-present", "ok", f"{names} in {layout.tensors[head.name].file.name}"),
        Check("head-shape", "ok", f"{head.name} {list(layout.tensors[head.name].shape)}{chosen}"),
        Check(
            "head-config",
            "ok",
            f"config.json declares {len(labels)} label" if isinstance(labels, dict) else "config.json names no labels",
        ),
        Check("head-finite", "ok", "no NaN and no infinity"),
        Check("head-untrained", "ok", "its weights are no draw from a fresh initialisation")
        if fresh is None
        else Check(
            "head-untrained",
            "warn",
            f"cannot tell whether it was trained: {head.name} looks like a fresh head ({fresh.draw}), and so would one "
            f"whose weights training changed by less than about {fresh.unseen:.1g}",
            "if training changed it by more, the head was lost on the way: look for the checkpoint that the training "
            "itself wrote",
        ),
    ]


def _dropout(anatomy: Anatomy) -> Check:
    config = anatomy.layout.config
    given = {
        key: config[key] for key in ("classifier_dropout", "hidden_dropout", "summary_dropout_prob") if key in config
    }
    shown = ", ".join(f"{key} {value!r}" for key, value in given.items()) or "none in config.json"
    if isinstance(given.get("hidden_dropout"), str) and given.get("classifier_dropout") is None:
        return Check(
            "dropout",
            "fail",
            f"hidden_dropout is the text {given['hidden_dropout']!r} and nothing stands before it: token "
            "classification of transformers cannot be built from this config",
            "set classifier_dropout to 0.0 in config.json",
        )
    return Check("dropout", "ok", f"off: scored in eval mode ({shown})")


def _token_checks(anatomy: Anatomy) -> list[Check]:
    tokenizer, layout = anatomy.tokenizer, anatomy.layout
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    checks = []
    if pad is not None and pad == eos:
        checks.append(
            Check(
                "pad-token",
                "warn",
                f"pad and EOS are the same token, {tokenizer.pad_token!r} ({pad}): sequence classification then reads "
                "the token before EOS, and masks made from pad ids hide EOS",
                "train and score with a pad token of its own; here nothing is padded, so no score changes",
            )
        )
    elif pad is None:
        checks.append(
            Check("pad-token", "warn", "no pad token: frameworks refuse batches or read a pad", "set one in training")
        )
    else:
        checks.append(Check("pad-token", "ok", f"{tokenizer.pad_token!r} ({pad}), EOS {tokenizer.eos_token!r} ({eos})"))
    stops = sorted(eos_ids(layout, tokenizer, anatomy.config.get_text_config()))
    shown = ", ".join(f"{tokenizer.convert_ids_to_tokens(stop)!r} ({stop})" for stop in stops)
    if len(stops) > 1:
        checks.append(
            Check(
                "stop-ids",
                "warn",
                f"{len(stops)} ids end a response: {shown}; all count as EOS here, training knew perhaps one",
                f"see which of them the training's responses end in; {parameter('read_outs')} last skips all of them",
            )
        )
    elif not stops:
        checks.append(Check("stop-ids", "warn", "no EOS is named anywhere", "name it in tokenizer_config.json"))
    else:
        checks.append(Check("stop-ids", "ok", shown))
    rows, size = embedding_rows(layout), len(tokenizer)
    added = {} if rows is None else {i: t for i, t in tokenizer.added_tokens_decoder.items() if i >= rows}
    if rows is not None and (tokenizer.vocab_size > rows or not all(token.special for token in added.values())):
        checks.append(
            Check(
                "vocabulary",
                "fail",
                f"the tokenizer knows {size} tokens, the embedding has {rows} rows",
                "give the tokenizer that the critic was trained with",
            )
        )
    else:
        beyond = f"; an input with one of the {len(added)} special ones beyond them is refused" if added else ""
        evidence = f"{size} tokens, {rows or 'an unknown number of'} embedding rows{beyond}"
        checks.append(Check("vocabulary", "ok", evidence))
    return checks


def _template(anatomy: Anatomy) -> Check:
    tokenizer = anatomy.tokenizer
    if template := getattr(tokenizer, "chat_template", None):
        pieces = {token: len(tokenizer.tokenize(token)) for token in sorted(set(_OWN_TOKEN.findall(str(template))))}
        if split := [f"{token}, which the tokenizer splits into {n}" for token, n in pieces.items() if n > 1]:
            return Check(
                "template",
                "warn",
                f"the chat template writes {'; '.join(split)}: tokens that were added in training may have been lost",
                "give the tokenizer that the critic was trained with, with its added tokens",
            )
        settings = anatomy.layout.home / "tokenizer_config.json"
        other = (
            read_json(settings, "the tokenizer's settings", dict).get("chat_template") if settings.exists() else None
        )
        if isinstance(other, str) and other != template:
            return Check(
                "template",
                "warn",
                "chat_template.jinja and tokenizer_config.json have different chat templates: the former is used, as "
                "transformers does, and its older versions use the latter",
                "keep the one that the critic was trained with",
            )
        return Check("template", "ok", "the tokenizer has a chat template; prompts go through it")
    return Check(
        "template",
        "warn",
        "the tokenizer has no chat template: prompts go in as plain text",
        "if training used a template, put its chat_template.jinja beside the tokenizer",
    )


def _template_tail(anatomy: Anatomy) -> Check:
    """What a template puts around the answer when it is given one as a message, as sequence classifiers are."""
    tokenizer, question, answer = anatomy.tokenizer, "1 + 1?", "It is 2"
    if not getattr(tokenizer, "chat_template", None):
        return Check("template-tail", "ok", "no template")
    user = {"role": "user", "content": question}
    try:
        prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([user, {"role": "assistant", "content": answer}], tokenize=False)
    except Exception as error:  # templates are programs and raise what they like
        return Check(
            "template-tail",
            "warn",
            f"the template does not render a question and its answer ({' '.join(str(error).split())[:120]})",
            f"give prompts as the training rendered them, with {parameter('template', 'raw')}",
        )
    head, seen, tail = whole.rpartition(answer)
    inserted = head.removeprefix(prompt) if head.startswith(prompt) else None
    if not seen or inserted is None or inserted:
        what = (
            "drops the answer" if not seen else f"writes {head[len(prompt) - 12 :] if inserted is None else inserted!r}"
        )
        return Check(
            "template-tail",
            "warn",
            f"given the answer as a message the template {what} where the generation prompt has none: a model trained "
            "on whole chats saw other ids than prompt + answer",
            f"read it as it was trained: {parameter('convention', 'hf')} or {parameter('convention', 'trl')}, or give "
            "ids",
        )
    after_eos = tail.removeprefix(tokenizer.eos_token or "")
    if after_eos and anatomy.head.biases[-1] is None and framework(anatomy) == "transformers":
        return Check(
            "template-tail",
            "warn",
            f"the template closes an answer with {tail!r}: a reward model trained on whole chats reads at its last "
            f"token, {after_eos[-1]!r}, not at the answer's end",
            f"read it as it was trained: {parameter('convention', 'hf')}, or {parameter('convention', 'trl')} where "
            "TRL trained it",
        )
    return Check("template-tail", "ok", f"nothing before an answer, {tail!r} after it (not part of a response here)")


def _initializer_range(anatomy: Anatomy) -> float:
    return float(getattr(anatomy.config.get_text_config(), "initializer_range", 0.02) or 0.02)
