"""What is in a checkpoint directory: its config, its weight files, and the name and shape of every tensor in them.

Only headers are read here, so a large checkpoint costs no more than a small one.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from critic_probe.errors import CriticProbeError

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
_OTHER_WEIGHTS = ("pytorch_model*.bin", "*.pt", "*.pth", "*.gguf", "adapter_model.safetensors")


@dataclass(frozen=True)
class Layout:
    """A checkpoint directory as its headers tell it.

    Attributes:
        path: The directory.
        config: The parsed `config.json`.
        shapes: Tensor name to shape, over all weight files.
        files: Tensor name to the file that holds it.
    """

    path: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    files: dict[str, Path]

    def tensor(self, name: str) -> Tensor:
        """Reads one tensor from its file."""
        with safe_open(self.files[name], framework="pt") as file:
            return file.get_tensor(name)  # type: ignore[no-any-return]


def read_layout(path: Path) -> Layout:
    """Reads the headers of a Hugging Face directory with single or sharded safetensors.

    Raises:
        CriticProbeError: The directory, its config, weights or tokenizer are missing or unreadable.
    """
    if not path.exists():
        raise CriticProbeError(f"{path}: no such checkpoint directory; give a local directory, nothing is downloaded")
    if not path.is_dir():
        raise CriticProbeError(f"{path}: a file, not a checkpoint directory; give the directory that holds it")
    config = read_json(path / "config.json", "a Hugging Face checkpoint directory has one beside its weights")
    shapes: dict[str, tuple[int, ...]] = {}
    files: dict[str, Path] = {}
    for file in _weight_files(path):
        for name, shape in _header(file).items():
            if name in files:
                raise CriticProbeError(f"{file}: tensor {name} is also in {files[name].name}; remove the stale file")
            shapes[name], files[name] = shape, file
    if not any((path / name).exists() for name in _TOKENIZER_FILES):
        raise CriticProbeError(
            f"{path}: no tokenizer (looked for {', '.join(_TOKENIZER_FILES)}); "
            "copy the tokenizer files that the critic was trained with into the directory"
        )
    return Layout(path, config, shapes, files)


def fingerprint(layout: Layout) -> str:
    """Twelve hex digits that tell two checkpoints apart without reading all of a large one.

    SHA-256 over the config and, file by file, the size and 1 MiB blocks: all of them up to 64 MiB, else 64 of them
    evenly spaced with the first and the last among them.
    """
    block, most = 1 << 20, 64
    digest = hashlib.sha256((layout.path / "config.json").read_bytes())
    for file in sorted(set(layout.files.values())):
        size = file.stat().st_size
        blocks = -(-size // block)
        chosen = range(blocks) if blocks <= most else [round(i * (blocks - 1) / (most - 1)) for i in range(most)]
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for index in chosen:
                stream.seek(index * block)
                digest.update(stream.read(block))
    return digest.hexdigest()[:12]


def tokenizer_hash(path: Path) -> str:
    """Eight hex digits of the SHA-256 over the directory's tokenizer files."""
    digest = hashlib.sha256()
    for name in (*_TOKENIZER_FILES, "merges.txt", "tokenizer_config.json"):
        if (path / name).exists():
            digest.update(name.encode() + (path / name).read_bytes())
    return digest.hexdigest()[:8]


def _weight_files(path: Path) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if index.exists():
        weight_map = read_json(index, "the index of the shards").get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CriticProbeError(f"{index}: no weight_map; save the checkpoint again")
        shards = [path / name for name in sorted(set(weight_map.values()))]
        missing = [shard.name for shard in shards if not shard.exists()]
        if missing:
            raise CriticProbeError(
                f"{index}: names {', '.join(missing)}, which {_is(missing)} not there; copy the rest"
            )
        return shards
    single = path / "model.safetensors"
    if single.exists():
        return [single]
    found = sorted({file.name for pattern in _OTHER_WEIGHTS for file in path.glob(pattern)})
    seen = f"found {', '.join(found)}" if found else "found no weights"
    raise CriticProbeError(
        f"{path}: no model.safetensors ({seen}); save the critic with save_pretrained(..., safe_serialization=True)"
    )


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CriticProbeError(f"{file}: not a readable safetensors file ({error}); copy it again") from error


def read_json(file: Path, what: str) -> dict[str, Any]:
    """Reads a JSON object from a checkpoint directory.

    Raises:
        CriticProbeError: The file is missing (`what` says what it is for) or is no JSON object.
    """
    if not file.exists():
        raise CriticProbeError(f"{file}: not there; {what}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CriticProbeError(f"{file}: not valid JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise CriticProbeError(f"{file}: holds a {type(content).__name__}, not an object; copy it again")
    return content
