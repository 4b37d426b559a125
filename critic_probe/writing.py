"""Files that are written whole or not at all."""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from critic_probe.errors import CriticProbeError


def kept_files() -> Path:
    """Where this tool keeps files of its own, in the user's cache directory; below `~` where there is no home."""
    try:
        return platformdirs.user_cache_path("critic-probe", appauthor=False)
    except RuntimeError:
        return Path("~", ".cache", "critic-probe")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What cannot be written in the block is told of the path, whichever library wrote.

    Raises:
        CriticProbeError: Writing failed.
    """
    try:
        yield
    except (CriticProbeError, BrokenPipeError):  # a reader that has gone is no fault of a file
        raise
    except Exception as error:
        if reason := _unwritten(error):
            cure = "; free the disk" if reason.startswith("No space") else ""
            raise CriticProbeError(f"{path}: cannot be written ({reason}){cure}") from error
        raise


def _unwritten(error: Exception) -> str:
    """Why a file could not be written; "" where that is not what the error says."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if of_rust := re.search(r"([^:]+) \(os error \d+\)", str(error)):  # safetensors, tokenizers
        return of_rust[1].strip()
    of_torch = re.search("inline_container|PytorchStreamWriter|iostream error", str(error))
    return "No space left, or the device fails" if of_torch else ""


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file beside a place, which takes the place when the block ends: a write that fails leaves what was there.

    Where the place is a link, the file that it leads to is replaced; where it is a device or a pipe, that is written. A
    file that is replaced gives its mode to the new one.

    Raises:
        CriticProbeError: Writing failed.
    """
    place = Path(os.path.realpath(path))
    part = place.with_name(f".{place.name[:40]}.{os.getpid()}.part")  # a name may be as long as names can be
    try:
        with told(path):
            if path.exists() and not path.is_file():  # /dev/stdout leads to a pipe, which has no path of its own
                yield path
                return
            yield part
            if place.exists():
                shutil.copymode(place, part)
            part.replace(place)
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def written_folder(path: Path, last: Sequence[str]) -> Iterator[Path]:
    """A folder in another, whose files take their places there when the block ends, one by one.

    Args:
        path: The other folder, which may hold other files.
        last: Patterns of the files that take their places after all others, in this order.

    Raises:
        CriticProbeError: Writing failed.
    """
    part = path / f".whole.{os.getpid()}.part"
    try:
        with told(path):
            for left in path.glob(".whole.*.part"):  # by a run that was killed
                shutil.rmtree(left)
            part.mkdir()
            yield part
            turns = [*reversed(last)]
            for file in sorted(part.iterdir(), key=lambda file: ([file.match(turn) for turn in turns], file.name)):
                file.replace(path / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes a folder and keeps other processes out of such blocks on it; the system lets it go with the process.

    Raises:
        CriticProbeError: Another one is in such a block, or the folder cannot be made.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a file system without locks
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CriticProbeError(
                    f"{folder}: another process writes there; wait for it, or name another directory"
                ) from error
        yield
    finally:
        os.close(held)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, see `written`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, see `written`."""
    with written(path) as part:
        part.write_bytes(content)
