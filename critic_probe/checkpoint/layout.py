"""What is in a checkpoint directory: its format, its config, and the name and shape of every tensor.

Only headers are read here, so a large checkpoint costs no more than a small one. Tensor names and files decide what a
directory is; `config.architectures` decides nothing.

One table of formats, tried in order, hence one file longer than others.
"""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from typing_extensions import TypedDict

from critic_probe import documents
from critic_probe.checkpoint.adapters import Settings, merge_adapter, merge_unmerged, unchanged
from critic_probe.checkpoint.gguf import PACKAGED, packaged
from critic_probe.checkpoint.pickles import read_torch_file
from critic_probe.checkpoint.quantised import plain, refuse_integers
from critic_probe.checkpoint.sharded import FSDP_SHARD, read_dcp, read_fsdp, read_zero2, state_dict
from critic_probe.checkpoint.stored import Stored, Tensors
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.text import listed

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
UNGATHERED = (
    "a ZeRO-3 run saved them without gathering their parts; restore them from the run's DeepSpeed states with "
    "zero_to_fp32.py, or train with stage3_gather_16bit_weights_on_model_save"
)
_BLOCK = 1 << 20  # bytes that a fingerprint takes at once
_WHOLE = 64  # of them, up to which it takes all of a file
_STEP = re.compile(r"(?:global_step_?|checkpoint-|step_?)(\d+)")
_ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_VALUE_HEAD = ("value_head.safetensors", "value_head.bin")
# Where the head of an adapter lies if not in the adapter: LLaMA-Factory, LLaVA-RLHF, TRL's value head over PEFT.
_BESIDE_ADAPTER = (*_VALUE_HEAD, "reward_head", "pytorch_model.bin")
# Names that wrappers put before a parameter's own: TRL, DDP and DeepSpeed, FSDP1, torch.compile, DeepSpeed-Chat.
_WRAPPERS = (
    "pretrained_model.",
    "module.",
    "_fsdp_wrapped_module.",
    "_orig_mod.",
    "rwtransformer.",
    "rwtranrsformer.",  # as its first versions spelt it
)
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


_T = TypeVar("_T")


class _Config(TypedDict, total=False):
    """What is read of a config beside what transformers reads."""

    model_type: str
    architectures: list[str] | None
    id2label: dict[str, Any] | None
    quantization_config: dict[str, Any] | None
    normalize_reward: bool | None
    do_normalize: bool | None
    score_type: str | None
    value_head_prefix: str | None
    _name_or_path: str | None


class _Index(TypedDict):
    weight_map: dict[str, str]


class _State(TypedDict, total=False):
    global_step: int


@dataclass(frozen=True)
class Layout:
    """A checkpoint as its headers tell it.

    Attributes:
        path: The directory that holds the weights.
        format: One of `huggingface`, `verl-fsdp`, `value-head-file`, `peft-adapter`, `deepspeed-zero2`, `torch-dcp`.
        home: The directory that holds the tokenizer, and the config unless that is the base's.
        config: The parsed `config.json`.
        tensors: Every tensor by its name without the wrappers' prefixes.
        step: The training step, where a name or a trainer's state tells it.
        base: The directory under an adapter, None for whole weights.
        origin: The model that it was trained from, where that is on this machine: the base, or what its config names.
        settings: Files beside config and weights that values depend on, such as an adapter's.
        odd: What was strange about the files and how it was resolved; empty where nothing was.
    """

    path: Path
    format: str
    home: Path
    config: dict[str, Any]
    tensors: Tensors
    step: int | None = None
    base: Path | None = None
    origin: Path | None = None
    settings: tuple[Path, ...] = ()
    odd: str = ""

    @property
    def config_file(self) -> Path:
        """The `config.json` that applies: an adapter's directory may have none of its own."""
        own = self.home / "config.json"
        return own if own.exists() or self.base is None else self.base / "config.json"

    @property
    def files(self) -> list[Path]:
        """The weight files, each once."""
        return sorted({file for stored in self.tensors.values() for file in stored.files})


def read_layout(path: str | Path, *, base: str | Path | None = None, step: int | None = None) -> Layout:
    """Finds out what a directory holds.

    Args:
        path: A critic's directory; a step's or a run's directory of verl, or a run of checkpoints, is followed to the
            newest step.
        base: For an adapter, the directory of the model under it; for weights without a config beside them, the
            directory that config and tokenizer come from.
        step: The step to read from a run's directory.

    Raises:
        CriticProbeError: There is no checkpoint, it is damaged, or of a format that cannot be read.
    """
    path, base = Path(path), None if base is None else Path(base)
    if not path.exists():
        raise CriticProbeError(f"{path}: no such checkpoint directory; give a local directory, nothing is downloaded")
    if not path.is_dir():
        raise CriticProbeError(f"{path}: a file, not a checkpoint directory; give the directory that holds it")
    if base is not None and not (base / "config.json").exists():
        raise CriticProbeError(
            f"{parameter('base', str(base))}: no config.json there; give the directory of the model under the critic"
        )
    where = _follow(path, step)
    layout = _read(where, base)
    if step is None and where != path and (steps := steps_in(path)):
        newest = steps[max(steps)]
        if newest not in (where, where.parent):
            odd = f"{newest.name} is newer and holds no weights of a critic: {where.relative_to(path)} was read"
            layout = replace(layout, odd=_together(layout.odd, odd))
    refuse_integers(layout.tensors)
    tensors = {_bare(name): stored for name, stored in layout.tensors.items()}
    if len(tensors) < len(layout.tensors):
        raise CriticProbeError(
            f"{where}: the same tensor is stored under two wrappers' names; save the checkpoint again"
        )
    empty = [name for name, stored in tensors.items() if not math.prod(stored.shape)]
    if empty:
        raise CriticProbeError(
            f"{where}: {len(empty)} of {len(tensors)} tensors have no elements, first {empty[0]} "
            f"{list(tensors[empty[0]].shape)}: {UNGATHERED}",
            check="head-shape" if len(empty) == 1 else "weights",
        )
    lora = _lora_settings(where)
    tensors = merge_unmerged(where, tensors, read_json(lora, "the scale of LoRA factors", Settings) if lora else {})
    if lora:
        layout = replace(layout, settings=(*layout.settings, lora))
    if not any((layout.home / name).exists() for name in _TOKENIZER_FILES):
        raise CriticProbeError(
            f"{layout.home}: no tokenizer (looked for {', '.join(_TOKENIZER_FILES)}); "
            "copy the tokenizer files that the critic was trained with into the directory"
        )
    return replace(layout, tensors=tensors, step=_step_of(where), origin=base or layout.base or _named_origin(layout))


def _named_origin(layout: Layout) -> Path | None:
    """What the config says that it was made from, where that is another directory of this machine."""
    named = layout.config.get("_name_or_path")
    if not named or not os.path.isfile(os.path.join(named, "config.json")):
        return None
    return None if os.path.samefile(named, layout.home) else Path(named)


def _follow(path: Path, step: int | None) -> Path:
    """From a run's or a step's directory to the one that holds the critic."""
    if _has_weights(path):
        if step is not None and _step_of(path) != step:
            raise CriticProbeError(
                f"{path}: {parameter('step', step)} was asked for, but this is one checkpoint, not a run of them"
            )
        return path
    steps = {
        number: child
        for number, child in steps_in(path).items()
        if any(_has_weights(place) for place in (child, child / "critic"))
    }
    if steps:
        if step is not None and step not in steps:
            raise CriticProbeError(f"{path}: no step {step}; it has {', '.join(map(str, sorted(steps)))}")
        return _follow(steps[max(steps) if step is None else step], None)
    if _has_weights(path / "critic"):
        return path / "critic"
    return path


def steps_in(path: Path) -> dict[int, Path]:
    """The directories in a run's that are called by a step, by that step, whatever is in them.

    Raises:
        CriticProbeError: Two are of one step.
    """
    steps: dict[int, Path] = {}
    for child in sorted(path.iterdir()):
        if (match := _STEP.fullmatch(child.name)) and child.is_dir():
            if (step := int(match[1])) in steps:
                raise CriticProbeError(f"{child}: is of step {step}, as {steps[step].name} is; move one of them away")
            steps[step] = child
    return steps


def _has_weights(path: Path) -> bool:
    """Whether a directory is itself a checkpoint, of whatever format."""
    if not path.is_dir():
        return False
    names = {child.name for child in path.iterdir()}
    marks = {*_WEIGHTS, "adapter_config.json", ".metadata", "latest", "dist_ckpt", "ckpt_contents.json", *_VALUE_HEAD}
    return bool(names & marks) or any(FSDP_SHARD.fullmatch(name) for name in names)


def _read(path: Path, base: Path | None) -> Layout:
    names = {child.name for child in path.iterdir()}
    if any(FSDP_SHARD.fullmatch(name) for name in names):
        home = next((h for h in (path / "huggingface", path) if (h / "config.json").exists()), base)
        if home is None:
            raise CriticProbeError(
                f"{path}: no huggingface/config.json beside the shards; give the directory of the critic's base model "
                f"with {parameter('base')}"
            )
        return Layout(path, "verl-fsdp", home, _config(home), read_fsdp(path), odd=_beside(path, "the shards were"))
    if "dist_ckpt" in names or "ckpt_contents.json" in names or (path / "model" / "dist_ckpt").is_dir():
        raise CriticProbeError(
            f"{path}: a Megatron dist_ckpt: its tensors are cut by tensor and pipeline parallel rank under names of "
            "its own; convert it first: `python -m verl.model_merger merge --backend megatron --is-value-model "
            f"--local_dir {path} --target_dir OUT_DIR`, then copy output_layer.weight as score.weight if it is missing"
        )
    if ".metadata" in names and {"common.pt", "metadata.json"} & names:
        raise CriticProbeError(
            f"{path}: a Megatron dist_ckpt (common.pt beside .metadata); convert it first: `python -m "
            "verl.model_merger merge --backend megatron --is-value-model --local_dir STEP_DIR --target_dir OUT_DIR`"
        )
    if ".metadata" in names:
        home = path if (path / "config.json").exists() else base
        if home is None:
            raise CriticProbeError(
                f"{path}: a torch distributed checkpoint carries no config; give the directory of its base model with "
                f"{parameter('base')}"
            )
        return Layout(
            path, "torch-dcp", home, _config(home), read_dcp(path), odd=_beside(path, "what .metadata names was")
        )
    if "adapter_config.json" in names:
        return _adapter(path, base)
    if not {n for n in names if n.startswith(("model.safetensors", "pytorch_model.bin"))} and "latest" in names:
        tag = documents.read_text(path / "latest", "write the name of the step's directory into it", 4096).strip()
        step_directory = path / Path(tag).name
        if not os.path.isdir(step_directory):
            raise CriticProbeError(f"{path / 'latest'}: names {documents.shown(tag)}, which is not there; copy it")
        home = path if (path / "config.json").exists() else base
        tensors = read_zero2(step_directory)
        if home is None:
            raise CriticProbeError(
                f"{path}: no config.json beside DeepSpeed's states; give its base with {parameter('base')}"
            )
        return Layout(path, "deepspeed-zero2", home, _config(home), tensors)
    return _hugging_face(path, base)


def _hugging_face(path: Path, base: Path | None = None) -> Layout:
    """Weights with a config beside them, or with the base's where they have none (`zero_to_fp32.py` writes none)."""
    home = path if base is None or (path / "config.json").exists() else base
    config = _config(home)
    files, indexed, odd = _weight_files(path)
    extra, other = _first_of(path, _VALUE_HEAD)
    tensors = _read_files(path, [*files, *extra])
    if lost := sorted(indexed - tensors.keys()):
        raise CriticProbeError(
            f"{path}: the index of its shards names {listed(lost)}, which none of them holds; copy index and "
            "shards again"
        )
    tensors = plain(path, config, tensors)
    name = "value-head-file" if extra else "huggingface"
    return Layout(path, name, home, config, tensors, odd=_together(odd, other))


def _adapter(path: Path, base: Path | None) -> Layout:
    settings = read_json(path / "adapter_config.json", "the adapter's settings", Settings)
    files, other = _first_of(path, _ADAPTER)
    if not files:
        raise CriticProbeError(f"{path}: adapter_config.json without {' or '.join(_ADAPTER)}; copy the weights")
    named = settings.get("base_model_name_or_path")
    if base is None and named in PACKAGED:
        base = packaged(named)
    if base is None and named and os.path.isfile(Path(named) / "config.json"):
        base = Path(named)
    if base is None:
        raise CriticProbeError(
            f"{path}: an adapter over {named[:200] if named else 'an unnamed model'}, which is not on this machine; "
            f"give its directory with {parameter('base')}"
        )
    below = _hugging_face(base)
    tensors = _named(files[0])
    heads, other_head = _first_of(path, _BESIDE_ADAPTER)
    for file in heads:
        beside = {_bare(name): stored for name, stored in _named(file).items()}
        if file.name == "reward_head":
            beside = {f"reward_head.{name}": stored for name, stored in beside.items()}
        elif file.name == "pytorch_model.bin":  # whatever else a trainer left in it is the base's
            beside = {name: stored for name, stored in beside.items() if name.startswith("v_head.")}
        if twice := [name for name in beside if name in tensors]:
            raise _twice(file, twice[0], files[0])
        tensors |= beside
    refuse_integers(tensors)
    refuse_integers(below.tensors)
    whole = {_bare(name): stored for name, stored in below.tensors.items()}
    merged = merge_adapter(path, settings, tensors, whole)
    lost = ""
    if left := unchanged(settings, whole, merged):
        lost = (
            f"its settings name {left[0]}{f' and {len(left) - 1} more layers' if left[1:] else ''} as changed, and the "
            "adapter holds no factors of it: the base's was read, as PEFT does"
        )
    odd = _together(other, other_head, lost, _beside(path, "the adapter was", _WEIGHTS[:2]), below.odd)
    home = path if any((path / name).exists() for name in _TOKENIZER_FILES) else base
    config = _config(home) if (home / "config.json").exists() else below.config
    said = (path / "adapter_config.json",)
    return Layout(path, "peft-adapter", home, config, merged, base=base, settings=said, odd=odd)


def _lora_settings(path: Path) -> Path | None:
    files = (path / "lora_train_meta.json", path / "lora_adapter" / "adapter_config.json")
    return next((file for file in files if file.exists()), None)


def _bare(name: str) -> str:
    while (wrapper := next((w for w in _WRAPPERS if name.startswith(w)), None)) is not None:
        name = name.removeprefix(wrapper)
    return name.replace("._fsdp_wrapped_module.", ".").replace("._orig_mod.", ".")


def _step_of(path: Path) -> int | None:
    for part in (path, path.parent):
        if match := _STEP.fullmatch(part.resolve().name):
            return int(match[1])
    state = path / "trainer_state.json"
    if state.exists():
        return read_json(state, "the trainer's state", _State).get("global_step")
    latest = path / "latest"
    if latest.is_file():
        tag = documents.read_text(latest, "write the name of the step's directory into it", 4096)
        return int(match[1]) if (match := _STEP.fullmatch(tag.strip())) else None
    return None


def _config(home: Path) -> dict[str, Any]:
    what = "a Hugging Face checkpoint directory has one beside its weights"
    return dict(read_json(home / "config.json", what, _Config))


def _first_of(path: Path, names: Sequence[str]) -> tuple[list[Path], str]:
    """The first of some files that is there, as its framework takes it, and which others lie there unread."""
    there = [path / name for name in names if (path / name).exists()]
    others = ", ".join(file.name for file in there[1:])
    odd = f"{there[0].name} was read, as its framework does, and not {others}, which lies beside it" if others else ""
    return there[:1], odd


def _together(*odd: str) -> str:
    return "; ".join(filter(None, odd))


def _beside(path: Path, what: str, names: Sequence[str] = _WEIGHTS) -> str:
    """Which whole weights lie unread beside something else that was read."""
    others = ", ".join(name for name in names if (path / name).exists())
    return f"{what} read, and not {others}, which lies beside it" if others else ""


def _weight_files(path: Path) -> tuple[list[Path], set[str], str]:
    """The files that transformers would take, the tensors that their index names, and which others lie there unread."""
    there, odd = _first_of(path, _WEIGHTS)
    for index in there:
        if index.suffix == ".json":
            weight_map = read_json(index, "the index of the shards", _Index)["weight_map"]
            if not weight_map:
                raise CriticProbeError(f"{index}: 'weight_map' is empty; save the checkpoint again")
            shards = [path / Path(name).name for name in sorted(set(weight_map.values()))]
            missing = [shard.name[:80] for shard in shards if not os.path.isfile(shard)]
            if missing:
                raise CriticProbeError(
                    f"{index}: names {listed(missing)}, which {'is' if len(missing) == 1 else 'are'} not there; copy "
                    "the rest"
                )
            return shards, set(weight_map), odd
        return [index], set(), odd
    weights = sorted(child.name for child in path.iterdir() if child.suffix in (".pt", ".pth", ".bin", ".gguf"))
    seen = f"found {', '.join(weights[:5])}" if weights else "found no weights"
    raise CriticProbeError(
        f"{path}: no model.safetensors or pytorch_model.bin, and no verl, PEFT, DeepSpeed or torch distributed "
        f"checkpoint ({seen}); give the directory that the training wrote its critic to"
    )


def _read_files(path: Path, files: list[Path]) -> Tensors:
    tensors: Tensors = {}
    for file in files:
        for name, stored in _named(file).items():
            if name in tensors:
                raise _twice(file, name, tensors[name].file)
            tensors[name] = stored
    if not tensors:
        raise CriticProbeError(f"{path}: its weight files hold no tensors; copy them again")
    return tensors


def _twice(file: Path, name: str, other: Path) -> CriticProbeError:
    return CriticProbeError(f"{file}: tensor {name} is also in {other.name}; remove the stale file")


def _named(file: Path) -> Tensors:
    """The tensors of one weight file."""
    if file.suffix != ".safetensors":
        tree = read_torch_file(file)
        if not isinstance(tree, dict):
            raise CriticProbeError(f"{file}: holds no state dict; save the weights with save_pretrained")
        return state_dict(file, tree)
    try:
        documents.parse_json(_header(file))
        with safe_open(file, framework="pt") as file_tensors:
            tensors = {}
            for name in file_tensors.keys():  # noqa: SIM118
                header = file_tensors.get_slice(name)
                if header.get_dtype() not in _DTYPES:
                    raise CriticProbeError(
                        f"{file}: {name} is stored as {header.get_dtype()}; quantised critics are not read, save it in "
                        "bfloat16 or float32"
                    )
                tensors[name] = Stored(
                    tuple(header.get_shape()),
                    _DTYPES[header.get_dtype()],
                    (file,),
                    partial(_read_safetensor, file, name),
                )
            return tensors
    except (SafetensorError, OSError, ValueError) as error:
        raise CriticProbeError(f"{file}: not a readable safetensors file ({error!s:.200}); copy it again") from error


def _header(file: Path) -> str:
    """The JSON that a safetensors file begins with; safetensors itself takes the second of two tensors of one name."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return stream.read(min(length, 100_000_000)).decode()  # the most that safetensors takes


def _read_safetensor(file: Path, name: str, dtype: torch.dtype | None = None) -> Tensor:
    with safe_open(file, framework="pt") as tensors:
        tensor: Tensor = tensors.get_tensor(name)
        return tensor.to(dtype or tensor.dtype, copy=True)


def fingerprint(layout: Layout) -> str:
    """Twelve hex digits that tell two checkpoints apart without reading all of a large one.

    SHA-256 over everything that a value depends on: the config, an adapter's settings, code in the directory, and, file
    by file, the size and 1 MiB blocks: all of them up to 64 MiB, else 64 of them evenly spaced with the first and the
    last among them.
    """
    digest = hashlib.sha256(layout.config_file.read_bytes())
    for file in layout.settings:
        digest.update(file.name.encode() + file.read_bytes())
    for code in sorted(layout.config_file.parent.glob("*.py")):  # a model may be code in its directory
        digest.update(code.read_bytes())
    for file in layout.files:
        size = file.stat().st_size
        blocks = -(-size // _BLOCK)
        chosen = range(blocks) if blocks <= _WHOLE else [round(i * (blocks - 1) / (_WHOLE - 1)) for i in range(_WHOLE)]
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for index in chosen:
                stream.seek(index * _BLOCK)
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()[:12]


def vectors_hash(layout: Layout) -> str:
    """Twelve hex digits of all norms and biases where a fingerprint may miss them in a large file; empty elsewhere."""
    if all(file.stat().st_size <= _WHOLE * _BLOCK for file in layout.files):
        return ""
    digest = hashlib.sha256()
    for name, stored in sorted(layout.tensors.items()):
        if len(stored.shape) == 1:
            digest.update(name.encode() + stored.read().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def tokenizer_hash(path: Path) -> str:
    """Eight hex digits of the SHA-256 over the directory's tokenizer files."""
    digest = hashlib.sha256()
    beside = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    for name in (*_TOKENIZER_FILES, *beside):
        if (path / name).exists():
            digest.update(name.encode() + (path / name).read_bytes())
    return digest.hexdigest()[:8]


def read_json(file: Path, what: str, schema: type[_T]) -> _T:
    """Reads a JSON object from a checkpoint directory.

    Raises:
        CriticProbeError: The file is missing (`what` says what it is for) or is no JSON of the schema.
    """
    if not file.exists():
        raise CriticProbeError(f"{file}: not there; {what}")
    return documents.read_json(file, "copy it again", schema)
