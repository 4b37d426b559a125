"""Files that are written whole or not at all."""

import os
import shutil
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
def written(path: Path) -> Iterator[Path]:
    """A file beside a place, which takes the place when the block ends: a write that fails leaves what was there.

    Where the place is a link, the file that it leads to is replaced; where it is a device or a pipe, that is written.

    Raises:
        CriticProbeError: Writing failed.
    """
    place = Path(os.path.realpath(path))
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        if place.exists() and not place.is_file():
            yield place
            return
        yield part
        part.replace(place)
    except OSError as error:
        raise CriticProbeError(f"{path}: cannot be written ({error.strerror or error})") from error
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
    for left in path.glob(".whole.*.part"):  # by a run that was killed
        shutil.rmtree(left)
    part = path / f".whole.{os.getpid()}.part"
    part.mkdir()
    try:
        yield part
        turns = [*reversed(last)]
        for file in sorted(part.iterdir(), key=lambda file: ([file.match(turn) for turn in turns], file.name)):
            file.replace(path / file.name)
    except OSError as error:
        raise CriticProbeError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, see `written`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, see `written`."""
    with written(path) as part:
        part.write_bytes(content)
