"""Values that were computed once: one SQLite file, shared by processes and by commands.

A row's values are written in one transaction, so a killed run leaves whole rows only, and the next run takes up where
it stopped. Every blob carries a checksum, and one that fails is computed anew; a file that SQLite finds damaged is set
aside; one that cannot be used at all is done without.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from critic_probe.errors import CriticProbeError, parameter
from critic_probe.writing import kept_files

if TYPE_CHECKING:
    from torch import Tensor

_T = TypeVar("_T")
_RULES = 3  # raised when a version computed wrong values, which are then not found again
_SQLITE = b"SQLite format 3\0"  # how its files begin
_PATIENCE = 60.0  # seconds that a process waits for another one's lock
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS "values" (
    key BLOB PRIMARY KEY, critic TEXT NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (critic TEXT, name TEXT, value TEXT NOT NULL, PRIMARY KEY (critic, name));
COMMIT;
"""


def cache_path() -> Path:
    """`$CRITIC_PROBE_CACHE`, else a file in the user's cache directory."""
    given = os.environ.get("CRITIC_PROBE_CACHE")
    return Path(given) if given else kept_files() / "values.sqlite"


class Cache:
    """The values of one critic in one dtype, device kind and pair of library versions.

    A file that cannot be used, whatever the reason, is no reason to stop: values are kept for the run alone then.

    Args:
        path: The file; it and its directory are made.
        critic: Everything that a value depends on beside the ids and the engine.

    Raises:
        CriticProbeError: Not even for the run alone can values be kept.
    """

    def __init__(self, path: Path, critic: str) -> None:
        self._path = path
        self._critic = hashlib.sha256(critic.encode()).hexdigest()[:32]
        self._happened: list[str] = []
        self._dropped = 0
        self._db = self._open()

    @property
    def notices(self) -> list[str]:
        """What happened to the file."""
        values = "1 kept value" if self._dropped == 1 else f"{self._dropped} kept values"
        failed = [f"{values} failed the check and was computed anew with its row"] if self._dropped else []
        return [*self._happened, *failed]

    def get(self, sequences: Sequence[tuple[int, ...]], firsts: Sequence[int], engine: str) -> list[Tensor | None]:
        """For each sequence of a row its values from index `first` on, or None.

        Where one of them is not what was kept, all of the row are None: computed in another row, its last digits would
        differ.
        """
        import numpy as np
        import torch

        keys = [self._key(s, f, engine) for s, f in zip(sequences, firsts, strict=True)]

        def read() -> list[Tensor | None]:
            values: list[Tensor | None] = []
            failed = []
            for key, sequence, first in zip(keys, sequences, firsts, strict=True):
                row = self._db.execute('SELECT data, crc FROM "values" WHERE key = ?', (key,)).fetchone()
                if row is not None and not _sound(key, data=row[0], checksum=row[1], count=len(sequence) - first):
                    failed.append((key,))
                    row = None
                values.append(None if row is None else torch.from_numpy(np.frombuffer(row[0], dtype="<f4").copy()))
            if not failed:
                return values
            with self._db:
                self._db.executemany('DELETE FROM "values" WHERE key = ?', failed)
            self._dropped += len(failed)
            return [None] * len(keys)

        return self._mended(read)

    def put(
        self, sequences: Sequence[tuple[int, ...]], firsts: Sequence[int], engine: str, values: Sequence[Tensor]
    ) -> None:
        """Keeps one row's values, all of them or none."""
        rows = []
        for sequence, first, tensor in zip(sequences, firsts, values, strict=True):
            data, key = tensor.numpy().astype("<f4").tobytes(), self._key(sequence, first, engine)
            rows.append((key, self._critic, data, _checksum(key, data)))

        def write() -> None:
            with self._db:
                self._db.executemany('INSERT OR REPLACE INTO "values" VALUES (?, ?, ?, ?)', rows)

        self._mended(write)

    def setting(self, name: str, value: str) -> str:
        """What an earlier run with this critic settled under a name, else `value`, which is now settled."""

        def settle() -> str:
            kept = (self._critic, f"{name} {_RULES}", f"{self._checksum_of(name, value)} {value}")
            with self._db:
                self._db.execute("INSERT OR IGNORE INTO settings VALUES (?, ?, ?)", kept)
                known = self._known(name)
                if known is None:
                    self._dropped += 1
                    self._db.execute("REPLACE INTO settings VALUES (?, ?, ?)", kept)
            return value if known is None else known

        return self._mended(settle)

    def known(self, name: str) -> str | None:
        """What was settled under a name; None where nothing was, or where it is not what was kept."""
        return self._mended(lambda: self._known(name))

    def _known(self, name: str) -> str | None:
        query = "SELECT value FROM settings WHERE critic = ? AND name = ?"
        row = self._db.execute(query, (self._critic, f"{name} {_RULES}")).fetchone()
        checksum, _, value = str(row[0]).partition(" ") if row else ("", "", "")
        return value if row and checksum == str(self._checksum_of(name, value)) else None

    def _checksum_of(self, name: str, value: str) -> int:
        return _checksum(f"{self._critic} {name} {_RULES}".encode(), value.encode())

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
            if self._path.parts[:1] == ("~",):
                raise OSError("there is no home directory")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(self._path)
        except sqlite3.DatabaseError as error:
            return self._set_aside(error) if _damaged(error) else self._do_without(error)
        except OSError as error:
            return self._do_without(error)

    def _mended(self, action: Callable[[], _T]) -> _T:
        """Does it, on a new file if this one proves damaged, and on none if it cannot be used."""
        for _ in range(2):
            try:
                with _errors():
                    return action()
            except sqlite3.DatabaseError as error:
                with suppress(sqlite3.Error):
                    self._db.close()
                self._db = self._set_aside(error) if _damaged(error) else self._do_without(error)
        return action()

    def _set_aside(self, error: Exception) -> sqlite3.Connection:
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        try:
            with suppress(FileNotFoundError):  # another process was first
                self._path.rename(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            made = _connect(self._path)
        except (OSError, sqlite3.DatabaseError) as second:
            return self._do_without(second)
        self._happened.append(
            f"the cache was damaged ({error}); it is set aside as {aside.name} and a new one is begun"
        )
        return made

    def _do_without(self, error: Exception) -> sqlite3.Connection:
        reason = getattr(error, "strerror", None) or error
        self._happened.append(
            f"the cache {self._path} cannot be used ({reason}), so values are kept for this run alone; "
            "CRITIC_PROBE_CACHE names another file"
        )
        try:
            return _connect("")  # which SQLite keeps in memory, and in a file without a name if it is large
        except sqlite3.DatabaseError as second:
            raise CriticProbeError(
                f"no place to keep values ({second}); free the disk, or use {parameter('cache', False)}"
            ) from second


def _checksum(key: bytes, data: bytes) -> int:
    """Over the values and what they are of, so that values under another text's key fail."""
    return zlib.crc32(data, zlib.crc32(key))


def _sound(key: bytes, data: object, checksum: object, *, count: int) -> bool:
    return isinstance(data, bytes) and len(data) == 4 * count and _checksum(key, data) == checksum


def _damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether the file's content is at fault, not where it lies or who uses it."""
    return not isinstance(error, sqlite3.OperationalError) or "malformed" in str(error)


def cache_info(path: Path) -> dict[str, Any]:
    """Where the cache is, its size in bytes, and how many values of how many critics it holds.

    Raises:
        CriticProbeError: It cannot be read, or is something else.
    """
    if not os.path.exists(path):
        return {"path": str(path), "bytes": 0, "responses": 0, "critics": 0}
    _require_ours(path)
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
    """Removes the cache, a damaged one too.

    Raises:
        CriticProbeError: It cannot be removed, or is something else.
    """
    if not os.path.exists(path):
        return
    _require_ours(path)
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise CriticProbeError(f"{path}: cannot be removed ({error.strerror or error})") from error


def _require_ours(path: Path) -> None:
    """Refuses a file that no run would have made: a device, a directory, a text, another program's database."""
    try:
        if not path.is_file():
            raise sqlite3.OperationalError("it is no file")
        with path.open("rb") as file:
            if not _SQLITE.startswith(file.read(len(_SQLITE))):
                raise sqlite3.OperationalError("it is no database")
        with closing(sqlite3.connect(path)) as db:
            _require_tables(db)
    except OSError as error:
        raise CriticProbeError(f"{path}: cannot be read ({error.strerror or error})") from error
    except sqlite3.OperationalError as error:
        if not _damaged(error):
            raise CriticProbeError(
                f"{path}: not a cache of this tool ({error}); let CRITIC_PROBE_CACHE name another file"
            ) from error
    except sqlite3.DatabaseError:
        pass  # ours as far as it can be read


def _require_tables(db: sqlite3.Connection) -> None:
    tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    if tables and not {"values", "settings"} <= set(tables):
        raise sqlite3.OperationalError("it is another program's database")


@contextmanager
def _errors() -> Iterator[None]:
    """Gives SQLite's error also where it quotes bytes of the file that are no text."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError("what it holds is no text") from error


def _connect(path: Path | str) -> sqlite3.Connection:
    """Opens the file; two processes that make it at once may find it locked, where SQLite does not wait by itself."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        db = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
        db.text_factory = partial(str, encoding="utf-8", errors="replace")  # what is damaged then fails its checksum
        try:
            with _errors():
                _require_tables(db)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.executescript(_SCHEMA)
                db.execute('SELECT key, critic, data, crc FROM "values" LIMIT 0')
                db.execute("SELECT critic, name, value FROM settings LIMIT 0")
            return db
        except sqlite3.DatabaseError as error:
            db.close()
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
