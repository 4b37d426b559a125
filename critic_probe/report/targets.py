"""Whether a file could be written, told before anything is scored: nothing here loads what scores or draws."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from critic_probe.errors import CriticProbeError

_TABLES = (".json", ".csv", ".parquet")
ROWS = (".jsonl", ".csv", ".parquet")
_PICTURES = (".svg", ".html", ".png")


def check_path(path: Path) -> None:
    """Refuses a path that `write_result` could not write.

    Raises:
        CriticProbeError: The suffix is none of .json, .csv and .parquet, or no file can be written there.
    """
    if path.suffix.lower() not in _TABLES:
        raise CriticProbeError(f"{path}: cannot tell the format from '{path.suffix}'; use {', '.join(_TABLES)}")
    check_folder(path)


def check_rows(path: Path) -> None:
    """Refuses a path that takes neither a row a response nor the result.

    Raises:
        CriticProbeError: As `check_path`.
    """
    known = (".parquet", ".jsonl", ".csv", ".json")
    if path.suffix.lower() not in known:
        raise CriticProbeError(f"{path}: cannot tell the format from '{path.suffix}'; use {', '.join(known)}")
    check_folder(path)


def check_picture(path: Path) -> None:
    """Refuses a path that `write_picture` could not write.

    Raises:
        CriticProbeError: The suffix is none of .svg, .html and .png, no file can be written there, or nothing that
            makes a PNG is installed.
    """
    if path.suffix.lower() not in _PICTURES:
        raise CriticProbeError(f"{path}: cannot make a picture of '{path.suffix}'; use .svg, .html or .png")
    if path.suffix.lower() == ".png":
        require("vl_convert", str(path))
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuses a file that cannot be written where it is asked for, whatever its suffix.

    Raises:
        CriticProbeError: It is a directory or not writable, its folder is not there or not writable, or its name is no
            UTF-8.
    """
    _check_name(path)
    if os.path.isdir(path):
        raise CriticProbeError(f"{path}: is a directory; name a file")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise CriticProbeError(f"{path}: is not writable; name another file")
    if os.path.exists(path) and not os.path.isfile(path):
        return  # a device or a pipe
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise CriticProbeError(f"{path}: its directory does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise CriticProbeError(f"{path}: its directory is not writable; choose another")


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # Parquet's writer and safetensors' take no other
        raise CriticProbeError(f"{path}: its name is not UTF-8; choose another") from None


OF_TRAINING = (
    "config.json",
    "index.json",
    "tokenizer.json",
    "vocab.json",
    "_map.json",
    "_state.json",
    "critic_probe.json",
    "metrics.jsonl",
    "warmup.json",
)


def refuse_inputs(outputs: Iterable[Any], inputs: Iterable[Any]) -> None:
    """Refuses to write a file that is read: itself, by another name or link, or as one of a directory that is.

    The cache is written too; and a file that stdout or stderr goes to would be written twice.

    Args:
        outputs: Paths, lists of them, or None.
        inputs: All else that was given, `-` for stdin; what names no file or directory is none.

    Raises:
        CriticProbeError: One would be.
    """
    named = ("/dev/stdin" if path == "-" else path for path in _paths(inputs))
    read = [path for path in (*named, os.environ.get("CRITIC_PROBE_CHECKPOINT", "")) if os.path.exists(path)]
    given = [*_paths(outputs), *filter(None, [os.environ.get("CRITIC_PROBE_CACHE")])]
    for number, path in enumerate(given):
        if any(os.path.realpath(path) == os.path.realpath(other) for other in given[:number]):
            raise CriticProbeError(f"{path}: would be written twice; name another file")
        if not os.path.isfile(path):
            continue
        for descriptor, stream in ((1, "stdout"), (2, "stderr")):
            with suppress(OSError):  # it is closed
                if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                    raise CriticProbeError(f"{path}: is where {stream} goes; name another file")
        for source in read:
            if os.path.isdir(source):
                place = Path(os.path.realpath(path))
                table = place.suffix in (".parquet", ".arrow", ".jsonl") and os.path.samefile(source, place.parent)
                rows = table and not os.path.exists(os.path.join(source, "config.json"))
                trained = place.name.endswith(OF_TRAINING) and Path(os.path.realpath(source)) in place.parents
                if not (rows or trained):
                    continue
            elif not os.path.samefile(path, source):
                continue
            raise CriticProbeError(f"{path}: is read, as {source}, so it is not written; name another file")


def _paths(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str | Path):
            yield str(value)
        elif isinstance(value, list | tuple):
            yield from _paths(value)


def check_own_folder(path: Path) -> None:
    """Refuses a directory that cannot be made or written to.

    Raises:
        CriticProbeError: It is a file, it or what it would be made in is not writable, or its name is no UTF-8.
    """
    _check_name(path)
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise CriticProbeError(f"{there}: is a file; name a directory")
    if not os.access(there, os.W_OK):
        raise CriticProbeError(f"{path}: {there} is not writable; choose another")


def require_pages(purpose: str) -> None:
    """Refuses a page where what makes pages is not installed.

    Raises:
        CriticProbeError: A module of the extra `report` is missing.
    """
    for module in ("altair", "jinja2", "vl_convert"):
        require(module, purpose)


def require(module: str, purpose: str) -> None:
    """Refuses what only the extra `report` can do.

    Raises:
        CriticProbeError: The module is not installed.
    """
    if find_spec(module) is None:
        raise CriticProbeError(f"{purpose}: {module} is not installed; pip install 'critic-probe[report]'")
