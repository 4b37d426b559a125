"""Weights saved in fewer bits: fp8 is multiplied out as it is read, anything else is refused with its cure."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from critic_probe.checkpoint.stored import Stored, Tensors
from critic_probe.documents import checked
from critic_probe.errors import CriticProbeError

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_PACKED = re.compile(r"\.(qweight|qzeros|absmax|quant_map|SCB|weight_packed)$|\.quant_state\.|_(blocks|scales)$")


class _Settings(TypedDict, total=False):
    """What is read of a config's `quantization_config`."""

    weight_block_size: list[int] | None


def plain(path: Path, config: dict[str, Any], tensors: Tensors) -> Tensors:
    """The tensors as plain numbers.

    Args:
        path: Their directory, for messages.
        config: Its `config.json`; `quantization_config` says what was done to them.
        tensors: As stored.

    Raises:
        CriticProbeError: They are packed in a way that cannot be undone here.
    """
    if any(_PACKED.search(name) for name in tensors):
        raise CriticProbeError(f"{path}: {_told(path, config.get('quantization_config') or {})}")
    settings = checked(config.get("quantization_config") or {}, _Settings, f"{path / 'config.json'}", "copy it again")
    block = settings.get("weight_block_size")
    if block is not None and (len(block) != 2 or min(block) < 1):
        raise CriticProbeError(f"{path}: its blocks in fp8 are of {block}, which is no size; copy config.json again")
    of_scales = {name: _scales_of(name, tensors) for name, stored in tensors.items() if stored.dtype in _FP8}
    scales = {name for names in of_scales.values() for name in names}
    restored: Tensors = {}
    for name, stored in tensors.items():
        if name in of_scales:
            scale = _scale(name, of_scales[name], tensors, block, wanted=bool(settings or scales))
            read = partial(_multiplied, stored, scale, block if len(stored.shape) == 2 else None)
            restored[name] = replace(stored, dtype=torch.bfloat16, read=read)
        elif name not in scales and not name.endswith((".input_scale", ".activation_scale")):
            restored[name] = stored
    return restored


def refuse_integers(tensors: Tensors) -> None:
    """Refuses weights that are stored as integers, truth values or packed bits: read as numbers they are others.

    Raises:
        CriticProbeError: One is.
    """
    for name, stored in tensors.items():
        if stored.dtype not in _FLOATING and _OF_VALUES.search(name) and not _MASK.search(name):
            kind = str(stored.dtype).removeprefix("torch.")
            raise CriticProbeError(f"{stored.file}: {name} is stored as {kind}, {NO_NUMBERS}")


NO_NUMBERS = "where numbers with fractions belong; it is quantised or damaged, save the critic in bfloat16 or float32"
_FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16, *_FP8)
_OF_VALUES = re.compile(r"(weight|bias|lora_[AB]|lora_embedding_[AB](\.default)?|reward_head|mean|var)$")
_MASK = re.compile(r"(attn|attention)\.(masked_)?bias$")  # which older versions of transformers save as truth values
_SCALES = (
    "_scale_inv",
    "_scale",
)  # both are factors: DeepSeek's, one a block; compressed-tensors', one a row or tensor


def _scales_of(name: str, tensors: Tensors) -> list[str]:
    return [name + end for end in _SCALES if name + end in tensors]


def _scale(name: str, scales: list[str], tensors: Tensors, block: Any, *, wanted: bool) -> Stored | None:
    """What a weight in fp8 is to be multiplied by; None where none of the weights has a scale."""
    stored = tensors[name]
    if not scales and not wanted:
        return None
    if len(scales) != 1:
        raise CriticProbeError(
            f"{stored.file}: {name} is stored in fp8 with {len(scales)} scales ({', '.join(scales) or 'none'}), where "
            "one belongs to it; save the critic in bfloat16 or float32"
        )
    scale = tensors[scales[0]]
    fits: set[tuple[int, ...]]
    rows, *columns = stored.shape
    if block and len(columns) == 1:
        fits = {(-(-rows // block[0]), -(-columns[0] // block[1]))}
    else:
        fits = {(), (1,), (rows,), *((n, *(1 for _ in columns)) for n in (1, rows))}
    if scale.shape not in fits or scale.dtype not in _FLOATING:
        kind = str(scale.dtype).removeprefix("torch.")
        raise CriticProbeError(
            f"{stored.file}: {scales[0]} {list(scale.shape)} of {kind} is no scale of {name} {list(stored.shape)}"
            f"{f' in blocks of {block}' if block else ''}; give the config.json that belongs to these weights"
        )
    return scale


def _multiplied(
    stored: Stored, scale: Stored | None, block: list[int] | None, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    weight = stored.read().float()
    if scale is not None:
        factor = scale.read().float()
        if block:
            for dim, length in enumerate(block):
                factor = factor.repeat_interleave(length, dim).narrow(dim, 0, weight.shape[dim])
        elif factor.dim() == 1 and factor.numel() > 1:
            factor = factor[:, None]
        weight *= factor
    return weight.to(dtype)


def _told(path: Path, settings: dict[str, Any]) -> str:
    method = str(settings.get("quant_method") or "a method that config.json does not name")
    if method == "bitsandbytes":
        bits = 4 if settings.get("load_in_4bit") or settings.get("_load_in_4bit") else 8
        return (
            f"its weights are stored in {bits} bits by bitsandbytes; write them out where that is installed, with "
            f"`M.from_pretrained('{path}').dequantize().save_pretrained(OUT_DIR)` of transformers' class M, and give "
            "OUT_DIR, or give the model that they were made from"
        )
    if method == "mxfp4":
        return (
            "its experts are stored in mxfp4; write them out with `M.from_pretrained("
            f"'{path}', quantization_config=Mxfp4Config(dequantize=True)).save_pretrained(OUT_DIR)` of transformers' "
            "class M, and give OUT_DIR"
        )
    if method == "compressed-tensors":
        return (
            "its weights are packed by compressed-tensors; write them out where that is installed, with "
            f"`M.from_pretrained('{path}', quantization_config=CompressedTensorsConfig(run_compressed=False))"
            ".save_pretrained(OUT_DIR)` of transformers' class M, and give OUT_DIR"
        )
    return (
        f"its weights are packed by {method}, which transformers can run on a GPU but not write out again; give the "
        "model that they were made from, in bfloat16 or float32"
    )
