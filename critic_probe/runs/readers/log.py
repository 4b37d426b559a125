"""A file while it is read: its lines, its names, and what could not be read, counted."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import orjson

from critic_probe.errors import CriticProbeError
from critic_probe.runs.naming import Names
from critic_probe.runs.record import Source

LONGEST = 1 << 26  # bytes of a line; a longer one is none of a log
_BLOCK = 1 << 18  # bytes that are read at a time
HEAD = 1 << 16  # bytes that a format is told by
MOST_STEP = 1 << 53
_ZEROS = 50  # of so many bytes a model's text has no two that are zero

_STEP = re.compile(r"step[_-]?(\d{1,15})|^(\d{1,15})$", re.ASCII)


class Log:
    """A file while it is read.

    Args:
        path: The file.

    Attributes:
        path: The file.
        names: What its names are and tell.
        format: The words for its format, once a reader knows it.
        found: How many records were read.
        head: Its first bytes.

    Raises:
        CriticProbeError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = Names()
        self.format = ""
        self.found = 0
        self._notes: dict[str, None] = {}
        self._left: Counter[tuple[str, str]] = Counter()
        with self.open() as stream:
            self.head = stream.read(HEAD)

    @property
    def is_binary(self) -> bool:
        """Whether it is no text: zeros at its very start, or many of them at its start, in its middle or at its end."""
        with self.open() as stream:
            size = stream.seek(0, io.SEEK_END)
            for start in (0, size // 2, max(0, size - HEAD)):
                stream.seek(start)
                part = stream.read(HEAD)
                if part.count(0) * _ZEROS > len(part):
                    return True
        return b"\0" in self.head[:8]

    def open(self) -> BinaryIO:
        """The file from its start.

        Raises:
            CriticProbeError: It cannot be opened.
        """
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise CriticProbeError(f"{self.path}: cannot be read ({error.strerror}); check the path") from error

    @property
    def step_in_name(self) -> int | None:
        """The step in the file's name: `responses_step_12.pt`, `eval_step_12_results.json`, or `12.jsonl`."""
        match = _STEP.search(self.path.stem)
        return int(match[1] or match[2]) if match else None

    def lines(self) -> Iterator[tuple[int, bytes, bool]]:
        """Its lines: number from 1, bytes without the end, and whether it had one.

        The last line of a file that is still being written may be cut anywhere.
        """
        for first, block, ended in self.blocks():
            for number, content in enumerate(block.split(b"\n"), first):
                yield number, content.rstrip(b"\r"), ended

    def blocks(self) -> Iterator[tuple[int, bytes, bool]]:
        """Lines at a time: the first one's number, their bytes without the last one's end, and whether it had one."""
        first, rest, skipped = 1, b"", False
        for chunk in self.chunks(_BLOCK):
            if skipped:
                _, end, chunk = chunk.partition(b"\n")
                first, skipped = first + len(end), not end
            block, end, rest = (rest + chunk).rpartition(b"\n")
            if end:
                yield first, block, True
                first += block.count(b"\n") + 1
            if len(rest) > LONGEST:
                self.left_out("line", f"longer than {LONGEST >> 20} MiB")
                rest, skipped = b"", True
        if rest:
            yield first, rest, False

    def chunks(self, size: int) -> Iterator[bytes]:
        """Its bytes, so many at a time."""
        with self.open() as stream:
            while chunk := stream.read(size):
                yield chunk

    def place(self, where: int | str) -> str:
        """A line or record, as messages name it."""
        return f"{self.path} line {where}" if isinstance(where, int) else f"{self.path} {where}"

    def note(self, sentence: str) -> None:
        """Says once what was lost."""
        self._notes[sentence] = None

    def left_out(self, what: str, why: str) -> None:
        """Counts what could not be read: a line, a sample, a record."""
        self._left[what, why] += 1

    def cut(self) -> None:
        """Says that the last line has no end."""
        self.note("its last line has no end and is left out: the file is still being written, or was cut")

    def source(self) -> Source:
        """What was read, and as what."""
        left = [f"{n} {what}{'' if n == 1 else 's'} left out: {why}" for (what, why), n in self._left.items()]
        if self.names.refused:
            left.append(f"{self.names.refused} figures left out: names too long, or too many of them")
        framework, version = self.names.framework, self.names.version
        return Source(self.path, self.format, framework, version, (*self._notes, *left))


def from_json(data: bytes) -> Any:
    """A JSON value, NaN and infinities included, which `orjson` does not take.

    Raises:
        ValueError: It is none.
        RecursionError: It is too deep.
    """
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data)


def is_step(value: object) -> TypeGuard[int]:
    """Whether a value is a step: a whole number that a table can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST_STEP


def figures_of(record: dict[str, Any], none: float | None = None) -> dict[str, float]:
    """The numbers of a record, by name.

    Args:
        record: Names and values.
        none: What a null stands for; None leaves it out.
    """
    if {*map(type, record.values())} == {float}:
        return record
    figures: dict[str, float] = {}
    for name, value in record.items():
        if type(value) is float:
            figures[name] = value
        elif type(value) is int:
            if abs(value) < MOST_STEP:
                figures[name] = float(value)
        elif value is None and none is not None:
            figures[name] = none
    return figures
