"""Values that were computed once: one SQLite file, shared by processes and by commands.

A row's values are written in one transaction, so a killed run leaves whole rows only, and the next run takes up where
it stopped. Every blob carries a checksum; a file that SQLite or a checksum finds damaged is set aside.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs

from critic_probe.errors import CriticProbeError, parameter

if TYPE_CHECKING:
    from torch import Tensor

_T = TypeVar("_T")
_RULES = 2  # raised when a version computed wrong values, which are then not found again
_PATIENCE = 60.0  # seconds that a process waits for another one's lock
_SCHEMA = """
CREATE TABLE IF NOT EXISTS "values" (
    key BLOB PRIMARY KEY, critic TEXT NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (critic TEXT, name TEXT, value TEXT NOT NULL, PRIMARY KEY (critic, name));
"""


def cache_path() -> Path:
    """`$CRITIC_PROBE_CACHE`, else a file in the user's cache directory."""
    given = os.environ.get("CRITIC_PROBE_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("critic-probe", appauthor=False) / "values.sqlite"


class Cache:
    """The values of one critic in one dtype, device kind and pair of library versions.

    Args:
        path: The file; it and its directory are made.
        critic: Everything that a value depends on beside the ids and the engine.

    Attributes:
        notices: What happened to the file.

    Raises:
        CriticProbeError: The file cannot be made or written.
    """

    def __init__(self, path: Path, critic: str) -> None:
        self.notices: list[str] = []
        self._path = path
        self._critic = hashlib.sha256(critic.encode()).hexdigest()[:32]
        self._db = self._open()

    def get(self, sequences: Sequence[tuple[int, ...]], firsts: Sequence[int], engine: str) -> list[Tensor | None]:
        """For each sequence its values from index `first` on, or None."""
        import numpy as np
        import torch

        keys = [self._key(s, f, engine) for s, f in zip(sequences, firsts, strict=True)]

        def read() -> list[Tensor | None]:
            values: list[Tensor | None] = []
            for key in keys:
                row = self._db.execute('SELECT data, crc FROM "values" WHERE key = ?', (key,)).fetchone()
                if row is not None and zlib.crc32(row[0]) != row[1]:
                    raise sqlite3.DatabaseError("a value fails its checksum")
                values.append(None if row is None else torch.from_numpy(np.frombuffer(row[0], dtype="<f4").copy()))
            return values

        return self._mended(read)

    def put(
        self, sequences: Sequence[tuple[int, ...]], firsts: Sequence[int], engine: str, values: Sequence[Tensor]
    ) -> None:
        """Keeps one row's values, all of them or none."""
        rows = []
        for sequence, first, tensor in zip(sequences, firsts, values, strict=True):
            data = tensor.numpy().astype("<f4").tobytes()
            rows.append((self._key(sequence, first, engine), self._critic, data, zlib.crc32(data)))

        def write() -> None:
            with self._db:
                self._db.executemany('INSERT OR REPLACE INTO "values" VALUES (?, ?, ?, ?)', rows)

        self._mended(write)

    def setting(self, name: str, value: str) -> str:
        """What an earlier run with this critic settled under a name, else `value`, which is now settled."""

        def settle() -> str:
            with self._db:
                self._db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?, ?)", (self._critic, name, value))
            query = "SELECT value FROM settings WHERE critic = ? AND name = ?"
            return str(self._db.execute(query, (self._critic, name)).fetchone()[0])

        return self._mended(settle)

    def known(self, name: str) -> str | None:
        """What was settled under a name; None where nothing was."""

        def read() -> str | None:
            query = "SELECT value FROM settings WHERE critic = ? AND name = ?"
            row = self._db.execute(query, (self._critic, name)).fetchone()
            return None if row is None else str(row[0])

        return self._mended(read)

    def close(self) -> None:
        """Writes what SQLite still holds beside the file, and lets the file go."""
        self._db.close()

    def _key(self, sequence: tuple[int, ...], first: int, engine: str) -> bytes:
        import numpy as np

        digest = hashlib.blake2b(f"{_RULES}:{self._critic}:{engine}:{first}:".encode(), digest_size=20)
        digest.update(np.asarray(sequence, dtype="<i8").tobytes())
        return digest.digest()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise self._refused(error) from error
            self._set_aside(error)
            return _connect(self._path)
        except OSError as error:
            raise self._refused(error) from error

    def _mended(self, action: Callable[[], _T]) -> _T:
        """Does it, on a new file if this one proves damaged."""
        try:
            return action()
        except sqlite3.OperationalError as error:
            if "malformed" not in str(error):
                raise self._refused(error) from error
            self._begin_anew(error)
        except sqlite3.DatabaseError as error:
            self._begin_anew(error)
        return action()

    def _begin_anew(self, error: Exception) -> None:
        self._db.close()
        self._set_aside(error)
        self._db = _connect(self._path)

    def _set_aside(self, error: Exception) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self.notices.append(f"the cache was damaged ({error}); it is set aside as {aside.name} and a new one is begun")

    def _refused(self, error: Exception) -> CriticProbeError:
        return CriticProbeError(
            f"{self._path}: the cache cannot be used ({error}); free the disk, set CRITIC_PROBE_CACHE to another file, "
            f"or use {parameter('cache', False)}"
        )


def cache_info(path: Path) -> dict[str, Any]:
    """Where the cache is, its size in bytes, and how many values of how many critics it holds.

    Raises:
        CriticProbeError: It cannot be read.
    """
    if not path.exists():
        return {"path": str(path), "bytes": 0, "responses": 0, "critics": 0}
    try:
        db = _connect(path)
        responses, critics = db.execute('SELECT COUNT(*), COUNT(DISTINCT critic) FROM "values"').fetchone()
        db.close()
    except sqlite3.DatabaseError as error:
        raise CriticProbeError(
            f"{path}: not a readable cache ({error}); critic-probe cache clear removes it"
        ) from error
    return {"path": str(path), "bytes": path.stat().st_size, "responses": responses, "critics": critics}


def clear_cache(path: Path) -> None:
    """Removes the cache."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    """Opens the file; two processes that make it at once may find it locked, where SQLite does not wait by itself."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        db = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
            return db
        except sqlite3.DatabaseError as error:
            db.close()
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
