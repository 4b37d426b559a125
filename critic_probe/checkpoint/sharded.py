"""Tensors whose parts lie in several files: FSDP ranks, DeepSpeed ZeRO-2, torch's distributed checkpoints.

Nothing is merged on disk. Each tensor becomes a `Stored` that assembles itself from its parts when it is read.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from critic_probe import documents
from critic_probe.checkpoint.pickles import Inert, read_plain_pickle, read_torch_file, read_torch_part
from critic_probe.checkpoint.stored import Stored, Tensors
from critic_probe.documents import shown
from critic_probe.errors import CriticProbeError, parameter


class _Said(TypedDict):
    """verl's `fsdp_config.json`."""

    world_size: int


FSDP_SHARD = re.compile(r"model_world_size_(\d+)_rank_(\d+)\.pt")

_Part = tuple[tuple[int, ...], Stored]  # where it begins in the whole, and itself


def read_fsdp(directory: Path) -> Tensors:
    """The tensors of verl's `model_world_size_W_rank_R.pt` files.

    Every parameter brings its own placement: a DTensor's mesh and placements (FSDP2; FSDP1 with a mesh; HSDP, whose
    replicas are read once) or a ShardedTensor's offsets (FSDP1 without a mesh). A plain tensor is a replicated buffer.

    Raises:
        CriticProbeError: Ranks are missing or of several world sizes, a file is damaged, or parts do not fit together.
    """
    files = _fsdp_files(directory)
    trees = [_state_dict(file) for file in files]
    for file, tree in zip(files[1:], trees[1:], strict=True):
        odd = sorted(set(tree) ^ set(trees[0]))
        if odd:
            raise CriticProbeError(
                f"{file}: has not the same tensors as {files[0].name} ({odd[0]}); the ranks belong to different saves"
            )
    return {name: _assemble(name, [tree[name] for tree in trees], files) for name in trees[0]}


def _fsdp_files(directory: Path) -> list[Path]:
    ranks: dict[int, dict[int, Path]] = {}
    for file in directory.iterdir():
        if match := FSDP_SHARD.fullmatch(file.name):
            ranks.setdefault(int(match[1]), {})[int(match[2])] = file
    if len(ranks) > 1:
        raise CriticProbeError(
            f"{directory}: holds shards of world sizes {', '.join(map(str, sorted(ranks)))}; move all but one set away"
        )
    [(world, shards)] = ranks.items()
    said = directory / "fsdp_config.json"
    if said.exists():
        size = documents.read_json(said, "copy it again, or remove it", _Said)["world_size"]
        if size != world:
            raise CriticProbeError(f"{said}: says world size {size}, the shards are of {world}; they are of two saves")
    if max(shards) >= world:
        raise CriticProbeError(
            f"{shards[max(shards)]}: rank {max(shards)} of {world} cannot be, since ranks count from 0; it was "
            "renamed, copy it again"
        )
    if len(shards) < world:  # a name may say any number, so missing ranks are not listed one by one
        missing = islice((rank for rank in count() if rank not in shards), min(4, world - len(shards)))
        listed = ", ".join(f"model_world_size_{world}_rank_{rank}.pt" for rank in missing)
        raise CriticProbeError(
            f"{directory}: {world - len(shards)} of {world} shards are missing ({listed}); copy them, or choose "
            f"another step with {parameter('step')}"
        )
    return [shards[rank] for rank in range(world)]


def state_dict(file: Path, tree: Mapping[Any, Any], kinds: Any = Stored) -> dict[str, Any]:
    """The tensors of a state dict, without what else a trainer keeps in it.

    Args:
        file: Where it is from.
        tree: As its pickle holds it.
        kinds: What a tensor is in it.

    Raises:
        CriticProbeError: A weight or a bias is no tensor.
    """
    for name, value in tree.items():
        if not isinstance(value, kinds) and str(name).endswith((".weight", ".bias")):
            raise CriticProbeError(f"{file}: {name} is no tensor but {shown(value)}; save the checkpoint again")
    return {str(name): value for name, value in tree.items() if isinstance(value, kinds)}


def _state_dict(file: Path) -> dict[str, Any]:
    tree = read_torch_file(file)
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise CriticProbeError(f"{file}: holds no state dict; give the files that verl's checkpoint manager wrote")
    return state_dict(file, tree, Stored | Inert)


def _assemble(name: str, values: Sequence[Any], files: Sequence[Path]) -> Stored:
    if all(isinstance(value, Stored) for value in values):
        first: Stored = values[0]
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise CriticProbeError(
                f"{files[0]}: {name} is a plain tensor of another shape on each rank ({sorted(shapes)}), so how it was "
                "cut is not known; merge it with the framework that wrote it"
            )
        return first if len(values) == 1 else replace(first, read=partial(_read_replica, name, values))
    kinds = {value.kind if isinstance(value, Inert) else "Tensor" for value in values}
    read = {"DTensor": _dtensor_parts, "ShardedTensor": _sharded_tensor_parts}.get(next(iter(kinds)))
    if len(kinds) > 1 or read is None:
        raise CriticProbeError(f"{files[0]}: {name} is a {' and a '.join(sorted(kinds))}; the ranks are of two saves")
    parts: list[_Part] = []
    try:
        shape = tuple(values[0].args[2])
        for rank, (value, file) in enumerate(zip(values, files, strict=True)):
            if tuple(value.args[2]) != shape:
                raise CriticProbeError(f"{file}: {name} has shape {list(value.args[2])}, rank 0 says {list(shape)}")
            parts += read(name, value, rank, shape, file)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CriticProbeError(
            f"{files[0]}: {name} is laid out in a way that is not known ({error!r}); merge the checkpoint with "
            "`python -m verl.model_merger merge --backend fsdp`"
        ) from error
    return joined(name, shape, parts, files[0])


def _read_replica(name: str, replicas: Sequence[Stored], dtype: torch.dtype | None = None) -> Tensor:
    """One of the copies that every rank holds, which must be the same."""
    first = replicas[0].read()
    for other in replicas[1:]:
        if not torch.equal(first, other.read()):
            raise CriticProbeError(
                f"{other.file}: {name} is held by every rank, and has other values than in {replicas[0].file.name}; "
                "the ranks belong to different saves, or the tensor was not trained as one"
            )
    return first if dtype is None else replicas[0].read(dtype)


def joined(name: str, shape: tuple[int, ...], parts: Sequence[_Part], file: Path) -> Stored:
    """One tensor out of its parts, which must fill it exactly.

    Raises:
        CriticProbeError: Parts overlap, leave a gap, reach outside, or are of several dtypes.
    """
    parts = [part for part in parts if math.prod(part[1].shape)]
    dtypes = {part.dtype for _, part in parts}
    inside = all(
        all(o + n <= whole for o, n, whole in zip(offsets, part.shape, shape, strict=True)) for offsets, part in parts
    )
    begins = {offsets for offsets, _ in parts}
    if (
        len(dtypes) != 1
        or not inside
        or len(begins) != len(parts)
        or sum(math.prod(part.shape) for _, part in parts) != math.prod(shape)
    ):
        raise CriticProbeError(
            f"{file}: the parts of {name} do not fill its shape {list(shape)}; a shard is of another save, or damaged"
        )
    files = tuple(dict.fromkeys(file for _, part in parts for file in part.files))
    return Stored(shape, dtypes.pop(), files, partial(_read_parts, shape, parts))


def _read_parts(shape: tuple[int, ...], parts: Sequence[_Part], dtype: torch.dtype | None = None) -> Tensor:
    whole = torch.empty(shape, dtype=dtype or parts[0][1].dtype)
    for offsets, part in parts:
        window = tuple(slice(o, o + n) for o, n in zip(offsets, part.shape, strict=True))
        whole[window] = part.read(dtype)
    return whole


def _dtensor_parts(name: str, value: Inert, rank: int, shape: tuple[int, ...], file: Path) -> list[_Part]:
    """Where a rank's local tensor lies, from mesh and placements; empty for a replica of another rank's part.

    torch cuts like `torch.chunk`: chunks of ceil(n / k), the last ones shorter or empty.
    """
    _, slots = value.state
    local, spec = slots["_local_tensor"], slots["_spec"].state
    mesh = spec["mesh"].state
    sizes = _mesh_shape(mesh)
    placements = spec["placements"]
    coordinates = mesh.get("_coordinate_on_dim") or _unravel(rank, sizes)
    offsets, lengths = [0] * len(shape), list(shape)
    for placement, size, coordinate in zip(placements, sizes, coordinates, strict=True):
        if placement.kind == "Replicate":
            if coordinate:
                return []
        elif placement.kind == "Shard":
            dim = placement.state["dim"] if isinstance(placement.state, dict) else placement.args[0]
            chunk = -(-lengths[dim] // size)
            begin = min(chunk * coordinate, lengths[dim])
            offsets[dim], lengths[dim] = offsets[dim] + begin, min(chunk, lengths[dim] - begin)
        else:
            raise CriticProbeError(
                f"{file}: {name} is placed as {placement.kind}, which is not read here; merge the checkpoint with "
                "`python -m verl.model_merger merge --backend fsdp`"
            )
    if local.shape != tuple(lengths):
        raise CriticProbeError(
            f"{file}: its part of {name} has shape {list(local.shape)}, its placement says {lengths}; "
            "the file is damaged or of another save"
        )
    return [(tuple(offsets), local)]


def _mesh_shape(mesh: dict[str, Any]) -> tuple[int, ...]:
    if "mesh" in mesh:
        return tuple(mesh["mesh"].shape)
    layout = mesh["_layout"].state
    axes = layout["axes"] if isinstance(layout, dict) and "axes" in layout else layout["shape"]
    return tuple(math.prod(axis.state["shape"]) if isinstance(axis, Inert) else axis for axis in axes)


def _unravel(rank: int, sizes: Sequence[int]) -> list[int]:
    coordinates = []
    for size in reversed(sizes):
        rank, coordinate = divmod(rank, size)
        coordinates.append(coordinate)
    return coordinates[::-1]


def _sharded_tensor_parts(_name: str, value: Inert, _rank: int, _shape: tuple[int, ...], _file: Path) -> list[_Part]:
    parts = []
    for shard in value.state[0]:
        fields = shard.state[1] if isinstance(shard.state, tuple) else shard.state
        tensor, where = (fields["tensor"], fields["metadata"]) if fields else shard.args
        place = where.state[1] if isinstance(where.state, tuple) else where.state
        parts.append((tuple(place["shard_offsets"]), tensor))
    return parts


def read_zero2(directory: Path) -> Tensors:
    """The tensors of a DeepSpeed ZeRO-1 or ZeRO-2 step, which every rank saves whole under `module`.

    Raises:
        CriticProbeError: It is a ZeRO-3 or model-parallel save.
    """
    convert = f"convert it where you trust it: `python {directory.parent}/zero_to_fp32.py {directory.parent} OUT_DIR`"
    if list(directory.glob("zero_pp_rank_*_model_states.pt")):
        raise CriticProbeError(
            f"{directory}: DeepSpeed ZeRO-3: the weights lie among the optimizer's states, in pickles that ask for "
            f"DeepSpeed's classes; {convert}, then copy config and tokenizer there"
        )
    files = sorted(directory.glob("mp_rank_*_model_states.pt"))
    if len(files) != 1:
        raise CriticProbeError(
            f"{directory}: {len(files)} model-parallel ranks of DeepSpeed, where one can be read; {convert}"
        )
    module = read_torch_file(files[0]).get("module")
    if not isinstance(module, dict) or not module:
        raise CriticProbeError(f"{files[0]}: holds no module; {convert}")
    return state_dict(files[0], module)


def read_dcp(directory: Path) -> Tensors:
    """The tensors of a torch distributed checkpoint (`.metadata` and `*.distcp`), without an optimizer's.

    Raises:
        CriticProbeError: A file is missing or damaged, or was written through a compressing extension.
    """
    index = directory / ".metadata"
    try:
        metadata = read_plain_pickle(index).state
        places: dict[tuple[str, tuple[int, ...]], dict[str, Any]] = {
            (key.state["fqn"], tuple(key.state.get("offset") or ())): info.state
            for key, info in metadata["storage_data"].items()
        }
        paths = metadata.get("planner_data") or {}
        tensors: Tensors = {}
        for full_name, entry in metadata["state_dict_metadata"].items():
            path = paths.get(full_name, (full_name,))
            if entry.kind != "TensorStorageMetadata" or str(path[0]).startswith(("optim", "optimizer")):
                continue
            name = ".".join(map(str, path[1:] or path))
            if name in tensors:
                raise CriticProbeError(
                    f"{index}: {name} stands there of several models, one of them under {path[0]!s:.60}; save the "
                    "critic alone"
                )
            dtype = entry.state["properties"].state[0]
            parts = [
                (tuple(chunk.state["offsets"]), _dcp_part(directory, full_name, chunk.state, dtype, places))
                for chunk in entry.state["chunks"]
            ]
            tensors[name] = joined(name, tuple(entry.state["size"]), parts, parts[0][1].file)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CriticProbeError(
            f"{index}: laid out in a way that is not known ({error!r}); convert it: `python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {directory} OUT_FILE`"
        ) from error
    return tensors


def _dcp_part(
    directory: Path,
    name: str,
    chunk: dict[str, Any],
    dtype: torch.dtype,
    places: dict[tuple[str, tuple[int, ...]], dict[str, Any]],
) -> Stored:
    place = places[name, tuple(chunk["offsets"])]
    file = directory / Path(place["relative_path"]).name
    if not file.exists():
        raise CriticProbeError(f"{file}: not there, but .metadata names it for {name}; copy it")
    start, length = place["offset"], place["length"]
    if place.get("transform_descriptors"):
        raise CriticProbeError(f"{file}: {name} is stored compressed, which is not read here; save it without")
    whole = dtype
    if not isinstance(whole, torch.dtype) or any(type(n) is not int for n in (start, length, *chunk["sizes"])):
        raise CriticProbeError(
            f"{file}: its part of {name} has a dtype, size or place that is none; copy .metadata again"
        )
    if min(start, length, *chunk["sizes"]) < 0 or start + length > file.stat().st_size:
        raise CriticProbeError(f"{file}: cut short: {name} ends beyond it; copy it again")

    def read(dtype: torch.dtype | None = None) -> Tensor:
        stored = read_torch_part(file, start, length)
        if not isinstance(stored, Stored) or (stored.shape, stored.dtype) != (tuple(chunk["sizes"]), whole):
            raise CriticProbeError(f"{file}: its part of {name} is not what .metadata says; copy it again")
        return stored.read(dtype)

    return Stored(tuple(chunk["sizes"]), dtype, (file,), read)
