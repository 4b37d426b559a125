"""LoRA: a small difference kept beside the weights that it changes, added to them when they are read.

W' = W + (alpha / r) B A (Hu et al. 2021, https://arxiv.org/abs/2106.09685), with alpha / sqrt(r) for rank-stabilised
LoRA (Kalajdzievski 2023, https://arxiv.org/abs/2312.03732). Anything else that PEFT can do is refused by name.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from critic_probe.checkpoint.stored import OUTPUT_LAYER, Stored, Tensors
from critic_probe.documents import shown
from critic_probe.errors import CriticProbeError

_PEFT = "base_model.model."
_MERGE = "merge it with PEFT first: model.merge_and_unload().save_pretrained(OUT_DIR)"
_FACTOR = re.compile(r"\.lora_(embedding_)?([AB])(\.default)?(\.weight)?$")
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "biases in its factors",
    "target_parameters": "factors on bare parameters",
    "layer_replication": "replicated layers",
    "trainable_token_indices": "trainable tokens",
}
# Activated LoRA changes the tokens behind its invocation alone, so nothing merged gives its values.
_ACTIVATED = "alora_invocation_tokens"
# Settings of LoraConfig that leave a layer W + BA, or that others above speak for; any other that is set is refused.
_PLAIN = {
    *(
        "peft_type",
        "task_type",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "peft_version",
    ),
    *("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "init_lora_weights"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("lora_dropout", "bias", "megatron_config", "megatron_core", "runtime_config", "ensure_weight_tying"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config", "qalora_group_size"),
}
_SOME = ("exclude_modules", "layers_to_transform", "layers_pattern")  # of the modules that target_modules names


class Settings(TypedDict, total=False):
    """What is read of an `adapter_config.json`, or of verl's `lora_train_meta.json`; any other setting is refused."""

    peft_type: str
    base_model_name_or_path: str | None
    r: int
    lora_alpha: float
    alpha_pattern: dict[str, float] | None
    rank_pattern: dict[str, int] | None
    use_rslora: bool | None
    modules_to_save: list[str] | None


def merge_adapter(path: Path, settings: Mapping[str, Any], adapter: Tensors, base: Tensors) -> Tensors:
    """The base's tensors with a PEFT adapter's differences added and its saved modules (the head) in place.

    Args:
        path: The adapter's directory, for messages.
        settings: Its `adapter_config.json`.
        adapter: Its tensors.
        base: The tensors of the model under it.

    Raises:
        CriticProbeError: The adapter is no plain LoRA, or does not fit the base.
    """
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise CriticProbeError(f"{path}: an adapter of type {str(kind)[:40]}; only LoRA is read here, {_MERGE}")
    if settings.get(_ACTIVATED):
        raise CriticProbeError(
            f"{path}: an activated LoRA (aLoRA): it changes only the tokens behind its invocation "
            f"{settings[_ACTIVATED]!s:.60}, so it cannot be merged; score it with PEFT itself"
        )
    odd = [what for key, what in _UNSUPPORTED.items() if settings.get(key)]
    known = {*_PLAIN, *_UNSUPPORTED}
    odd += [f"the setting {key:.60}" for key, value in settings.items() if value and key not in known]
    if str(settings.get("init_lora_weights", True)) not in ("True", "False", "gaussian"):
        odd.append(f"the initialisation {shown(settings['init_lora_weights'])}, which changes the base")
    if odd:
        raise CriticProbeError(f"{path}: the adapter has {odd[0]}; {_MERGE}")
    if empty := [name for name, stored in adapter.items() if not math.prod(stored.shape)]:
        raise CriticProbeError(
            f"{path}: {len(empty)} of the adapter's {len(adapter)} tensors have no elements, first {empty[0]}: a "
            "ZeRO-3 run saved them without gathering their parts; save it again with "
            "stage3_gather_16bit_weights_on_model_save, or restore the run's states with zero_to_fp32.py"
        )
    saved: Tensors = {}
    factors: dict[str, dict[str, Stored]] = {}
    embeddings: set[str] = set()
    for full, stored in adapter.items():
        name = full.removeprefix(_PEFT)
        if match := _FACTOR.search(name):
            module = name[: match.start()]
            place, key = factors.setdefault(module, {}), match[2]
            embeddings |= {module} if match[1] else set()
        elif ".lora_" in name:
            raise CriticProbeError(f"{path}: the adapter holds {name}, which plain LoRA does not have; {_MERGE}")
        else:
            for inner in (".modules_to_save.default.", ".modules_to_save.", ".base_layer."):
                name = name.replace(inner, ".")
            place, key = saved, _in_base(name, base) or name
        if key in place:
            raise CriticProbeError(f"{path}: the adapter holds {full} twice, under two names; save it again")
        place[key] = stored
    merged = base | saved
    transposed = _stores_inputs_first(base)
    for module, pair in factors.items():
        if set(pair) != {"A", "B"}:
            raise CriticProbeError(f"{path}: the adapter has only one of the two factors of {module}; save it again")
        scale = _scale(path, settings, module, pair["A"].shape[0])
        _add(path, merged, module, pair, scale, transposed or module in embeddings)
    _refuse_other(path, settings, base, saved, factors)
    return merged


def unchanged(settings: Mapping[str, Any], base: Tensors, merged: Tensors) -> list[str]:
    """The base's layers that an adapter's settings say it changes, and of which it holds no factors."""
    targets = settings.get("target_modules")
    if not isinstance(targets, list) or any(settings.get(key) for key in _SOME):
        return []
    whole = settings.get("modules_to_save") or ()
    return [
        module
        for module, name in _layers(base)
        if name.endswith(".weight")
        and _ends_in(module, targets)
        and not _ends_in(module, whole)
        and merged[name] is base[name]
    ]


def _refuse_other(
    path: Path, settings: Mapping[str, Any], base: Tensors, saved: Tensors, factors: Mapping[str, Any]
) -> None:
    """Refuses an adapter of other modules than its settings name: PEFT drops some and makes up the others."""
    targets, whole = settings.get("target_modules"), settings.get("modules_to_save") or ()
    for module in factors:
        if isinstance(targets, list) and not _ends_in(module, targets):
            raise CriticProbeError(
                f"{path}: the adapter changes {module}, which 'target_modules' of its settings does not name; give the "
                "settings that belong to these weights"
            )
    for module, name in _layers(base):
        parts = accumulate(module.split("."), "{}.{}".format)
        if name not in saved and any(_ends_in(part, whole) for part in parts):
            raise CriticProbeError(
                f"{path}: 'modules_to_save' of its settings names {module}, but the adapter holds no {name}; it was "
                "not saved whole, save it again"
            )


def _layers(tensors: Tensors) -> Iterator[tuple[str, str]]:
    """Each tensor's module and name, without an output layer's: a critic over a language model has none."""
    return ((name.rpartition(".")[0], name) for name in tensors if not OUTPUT_LAYER.search(name))


def _ends_in(module: str, names: Iterable[str]) -> bool:
    return any(f".{module}".endswith(f".{name}") for name in names)


def _stores_inputs_first(tensors: Tensors) -> bool:
    """Whether weights are (inputs, outputs), as those of transformers' `Conv1D`: a bias tells which are the outputs.

    PEFT's `fan_in_fan_out` does not: it says what the last layer was that PEFT changed.
    """
    for name, stored in tensors.items():
        bias = tensors.get(f"{name.removesuffix('.weight')}.bias")
        if bias is not None and len(stored.shape) == 2 and bias.shape == stored.shape[1:] != stored.shape[:1]:
            return True
    return False


def merge_unmerged(path: Path, tensors: Tensors, meta: Mapping[str, Any]) -> Tensors:
    """A training run's own state dict of a PEFT model (`base_layer`, `lora_A.default`), merged.

    Args:
        path: The checkpoint's directory, for messages.
        tensors: Its tensors; without LoRA among them they are returned as they are.
        meta: verl's `lora_train_meta.json` or an `adapter_config.json`: r and lora_alpha.

    Raises:
        CriticProbeError: There are LoRA factors, but nothing says how they are scaled.
    """
    if not any(".lora_" in name for name in tensors):
        return tensors
    if "lora_alpha" not in meta:
        raise CriticProbeError(
            f"{path}: holds unmerged LoRA factors but no lora_train_meta.json or lora_adapter/adapter_config.json with "
            "lora_alpha, so their scale is not known; put the adapter's config there"
        )
    base = {
        name.removeprefix(_PEFT).replace(".base_layer.", "."): stored
        for name, stored in tensors.items()
        if ".lora_" not in name and ".original_module." not in name and ".modules_to_save." not in name
    }
    rest = {name: stored for name, stored in tensors.items() if ".lora_" in name or ".modules_to_save." in name}
    settings = {key: value for key, value in meta.items() if key not in ("target_modules", "modules_to_save")}
    return merge_adapter(path, {"peft_type": "LORA", **settings}, rest, base)  # whose base is the run's own too


def _in_base(name: str, base: Tensors) -> str | None:
    """The base's own name of a tensor: a base without a head may lack the outer model's first component."""
    return next((n for n in (name, name.partition(".")[2], f"model.{name}") if n in base), None)


def _scale(path: Path, settings: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = _of_module(path, settings, "alpha_pattern", "lora_alpha", module)
    said = _of_module(path, settings, "rank_pattern", "r", module)
    if alpha is None:
        raise CriticProbeError(
            f"{path}: the adapter's settings have no lora_alpha, so its scale is not known; {_MERGE}"
        )
    if said not in (None, rank):
        raise CriticProbeError(
            f"{path}: the adapter's settings say rank {said} for {module}, its factors have rank {rank}; give the "
            "settings that belong to these weights"
        )
    return float(alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank))


def _of_module(path: Path, settings: Mapping[str, Any], patterns: str, default: str, module: str) -> Any:
    """A setting of a module: that of the first pattern that its name ends in, as PEFT takes it, else the default."""
    for pattern, value in (settings.get(patterns) or {}).items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            raise CriticProbeError(f"{path}: {patterns} of the adapter holds no pattern ({error}); {_MERGE}") from error
    return settings.get(default)


def _add(path: Path, tensors: Tensors, module: str, pair: dict[str, Stored], scale: float, inputs_first: bool) -> None:
    name = _in_base(f"{module}.weight", tensors)
    if name is None:
        raise CriticProbeError(
            f"{path}: the adapter changes {module}, whose own weights are in neither the adapter nor the base; if that "
            "is the head, its weights were never saved (OpenRLHF#1342) and cannot be recovered"
        )
    weight, a, b = tensors[name], pair["A"], pair["B"]
    product = (b.shape[0], a.shape[1])
    transpose = product[::-1] == weight.shape and (inputs_first or product != weight.shape)
    if b.shape[1] != a.shape[0] or (product[::-1] if transpose else product) != weight.shape:
        raise CriticProbeError(
            f"{path}: its factors of {module} give {list(product)}, the base's weight is {list(weight.shape)}; "
            "give the base that the adapter was trained on"
        )
    files = tuple(dict.fromkeys((*weight.files, *a.files, *b.files)))
    read = partial(_read_sum, weight, a, b, scale, transpose)
    tensors[name] = replace(weight, dtype=torch.float32, files=files, read=read)


def _read_sum(
    weight: Stored, a: Stored, b: Stored, scale: float, transpose: bool, dtype: torch.dtype = torch.float32
) -> Tensor:
    difference = b.read().float() @ a.read().float()
    return weight.read(torch.float32).add_(difference.T if transpose else difference, alpha=scale).to(dtype)
