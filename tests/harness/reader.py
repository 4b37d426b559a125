"""What the harness knows of a reader."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reader:
    """A reader of files from outside, with a sound file of its own to be damaged.

    Attributes:
        name: Of the kind of file.
        form: What its mutants are made as, see `mutants`.
        make: Writes sound files into an empty directory and returns the one to damage.
        read: Reads it; raises `CriticProbeError` for what it does not take. It is told of the sound file first.
        typed: Whether a value of another type is a fault wherever it stands, since all of it is read.
        lenient: Whether it leaves out what it cannot read with a note of its own, or a library reads it.
        few: How many mutants are read among the tests, where a read computes something; all where it does not.
    """

    name: str
    form: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    typed: bool = False
    lenient: bool = False
    few: int | None = None


def of_text(name: str, text: str) -> Callable[[Path], Path]:
    """Writes a sound file of that name and text."""

    def make(directory: Path) -> Path:
        path = directory / name
        path.write_text(text, encoding="utf-8")
        return path

    return make
