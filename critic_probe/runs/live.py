"""The logs of a run that may still be writing: what the checks find, told once."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from critic_probe.errors import CriticProbeError
from critic_probe.runs.logs import read_logs

Stamp = tuple[str, int, int]


@dataclass
class Watched:
    """What was told of a run.

    Attributes:
        paths: Files, and directories for the files below them.
        profile: Bounds of the checks; see `read_logs`.
    """

    paths: Sequence[Path]
    profile: str | None = None
    _told: set[tuple[str, str]] = field(default_factory=set)
    _before: list[Stamp] | None = None

    def look(self) -> Iterator[str]:
        """What the checks find anew, a line a finding; nothing where no file has changed, or none logs anything yet.

        Everything is read again: a later line can change what an earlier one says, as where a run is resumed.
        """
        before, self._before = self._before, sorted(self._stamps())
        if self._before == before:
            return
        with suppress(CriticProbeError):
            for row in read_logs(self.paths, self.profile, going_on=True).findings.itertuples(index=False):
                key = (str(row.check), str(row.verdict))
                if row.verdict in ("fail", "warn") and key not in self._told:
                    self._told.add(key)
                    at = "" if pd.isna(row.step) else f" from step {row.step}"
                    yield f"{row.verdict} {row.check}{at}: {row.evidence}"

    def _stamps(self) -> Iterator[Stamp]:
        """Every file, with its size and when it was written."""
        for path in self.paths:
            below = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
            for file in below if path.is_dir() else [str(path)]:
                with suppress(OSError):  # deleted meanwhile
                    stat = os.stat(file)
                    yield file, stat.st_size, stat.st_mtime_ns
