"""Logs of runs, read one after the other: what a file is is told by its content, and nothing is held in memory."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from critic_probe.errors import CriticProbeError
from critic_probe.runs.readers.dumps import is_dump, read_dump
from critic_probe.runs.readers.events import is_events, read_events
from critic_probe.runs.readers.jsonl import read_jsonl
from critic_probe.runs.readers.log import HEAD, Log
from critic_probe.runs.readers.objects import read_list, read_object
from critic_probe.runs.readers.table import delimiter_of, read_table
from critic_probe.runs.readers.text import read_text
from critic_probe.runs.readers.wandb import OPENS, read_wandb
from critic_probe.runs.record import Figures, Sample, Source

_Reader = Callable[[Log], Iterator[Figures | Sample]]
_KNOWN = (
    "known are scoring-detail logs, verl's console, file logger and rollout dumps, trainer_state.json, metrics.jsonl, "
    "TensorBoard and W&B runs, tables with a step, and responses_step_N.pt"
)


class Records:
    """The records of files, read anew each time they are gone through.

    Args:
        paths: Files, and directories for the files below them.

    Attributes:
        sources: The files that were read, in order; complete once the records were gone through.
        unknown: The files of directories that no reader knows.
        refused: Why files of directories could not be read, a message each.

    Raises:
        CriticProbeError: A path is not there, or a directory has no files.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self._files: dict[Path, bool] = {}  # whether it was named outright
        self.sources: list[Source] = []
        self.unknown: list[Path] = []
        self.refused: list[str] = []
        for path in map(Path, paths):
            if path.is_dir():
                below = _files(path)
                if not below:
                    raise CriticProbeError(f"{path}: a directory without files; give what a run wrote")
                self._files.update((file, False) for file in below if file not in self._files)
            elif not path.exists():
                raise CriticProbeError(f"{path}: no such file; check the path")
            elif not path.is_file():
                raise CriticProbeError(f"{path}: no regular file; give what a run wrote")
            else:
                self._files[path] = True

    def __iter__(self) -> Iterator[Figures | Sample]:
        self.sources, self.unknown, self.refused = [], [], []
        for path, named in self._files.items():
            try:
                log = Log(path)
                reader = _reader(log)
                if reader is not None:
                    yield from reader(log)
            except CriticProbeError as error:
                if named:
                    raise
                self.refused.append(str(error))
                continue
            if log.found or log.format:
                self.sources.append(log.source())
            elif named and not log.head:
                raise CriticProbeError(f"{path}: empty, nothing was logged yet; give it once the run has written")
            elif named:
                raise CriticProbeError(f"{path}: nothing in it that runs log; {_KNOWN}")
            else:
                self.unknown.append(path)


def read(paths: Sequence[str | Path]) -> Iterator[Figures | Sample]:
    """The records of files: see `Records`."""
    return iter(Records(paths))


def _files(directory: Path) -> list[Path]:
    """The regular files below a directory, in order."""
    files = [Path(folder) / name for folder, _, names in os.walk(directory) for name in names]
    return sorted(file for file in files if file.is_file())


def _reader(log: Log) -> _Reader | None:
    """The reader that knows a file by its first bytes; None for none."""
    if is_events(log.head):
        return read_events
    if log.head.startswith(OPENS):
        return read_wandb
    if log.head.startswith(b"PK\x03\x04"):
        return read_dump if is_dump(log.head) else None
    if log.is_binary:
        return None
    head = log.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"{"):
        return _of_objects(head)
    if re.match(rb"\[\s{0,99}\{", head):
        return read_list
    _, _, rest = head.partition(b"\n")
    if rest.startswith(b'{"'):  # the first line of a rotated file is cut
        return read_jsonl
    return read_text if delimiter_of(head) is None else read_table


def _of_objects(head: bytes) -> _Reader:
    """Whether a file is one object, or one a line."""
    first, end, rest = head.partition(b"\n")
    if not end:
        return read_jsonl if len(head) >= HEAD and b'"log_history"' not in head else read_object
    return read_jsonl if first.rstrip().endswith(b"}") and rest.strip() else read_object
