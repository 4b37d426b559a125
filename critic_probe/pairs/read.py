"""Files of pairs: the suffix decides how rows are read, and every row is checked before anything is scored."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from critic_probe.errors import CriticProbeError
from critic_probe.pairs.pair import Pair, data_hash
from critic_probe.pairs.rows import Fields, from_csv, shown, to_pairs
from critic_probe.text import neutralise


class _Row(NamedTuple):
    where: str  # "row 3", or "row 3 (line 5)"
    content: Any


class RowFile:
    """A file's rows, read anew each time they are gone through, so that a large file needs no memory.

    Standard input and JSON arrays cannot be read twice or in part, and are held.

    Args:
        path: A `.jsonl`, `.json`, `.csv` or `.parquet` file, or `-` for JSONL on stdin.

    Attributes:
        name: The file as messages name it.

    Raises:
        CriticProbeError: The file cannot be read, or a row is no object.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "stdin" if str(path) == "-" else str(path)
        self._rows = _READERS[".jsonl"] if self.name == "stdin" else _reader(Path(path))
        self._held = sys.stdin.buffer.read() if self.name == "stdin" else None

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where a row stands, and its fields."""
        with self._open() as stream:
            for where, content in self._rows(self.name, stream):
                if not isinstance(content, dict):
                    raise CriticProbeError(
                        f"{self.name} {where}: {shown(content)} is not an object with named fields; "
                        "write one object a row"
                    )
                yield where, content

    def _open(self) -> BinaryIO:
        if self._held is not None:
            return io.BytesIO(self._held)
        try:
            return open(self.name, "rb")
        except FileNotFoundError:
            raise CriticProbeError(f"{self.name}: no such file; check the path") from None
        except OSError as error:
            raise CriticProbeError(f"{self.name}: cannot be read ({error.strerror}); check the path") from error


class PairFile:
    """A file's pairs, read anew each time they are gone through.

    Args:
        rows: The file, or its path.
        fields: Field names, where the ones in use do not fit.

    Attributes:
        hash: Twelve hex digits over what the pairs say, see `data_hash`.

    Raises:
        CriticProbeError: The file cannot be read, a row is no pair, or an id stands twice; the message names the file
            and the row. Every row is checked before anything is scored.
    """

    def __init__(self, rows: str | Path | RowFile, fields: Fields = Fields()) -> None:  # noqa: B008 (frozen)
        self._rows = rows if isinstance(rows, RowFile) else RowFile(rows)
        self._fields = fields
        self._length = 0
        self.hash = data_hash(self._count())
        if not self._length:
            raise CriticProbeError(f"{self._rows.name}: no rows, the file is empty; give at least one pair")

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Pair]:
        seen: dict[str, str] = {}
        for number, (where, content) in enumerate(self._rows, start=1):
            source = f"{self._rows.name} {where}"
            for pair in to_pairs(content, number, source, self._fields):
                if pair.id in seen:
                    raise CriticProbeError(
                        f"{source}: id {shown(pair.id)} is already that of {seen[pair.id]}; make ids unique"
                    )
                seen[pair.id] = where
                yield pair

    def _count(self) -> Iterator[Pair]:
        for self._length, pair in enumerate(self, start=1):  # noqa: B020
            yield pair


def read_pairs(path: str | Path, fields: Fields = Fields()) -> list[Pair]:  # noqa: B008 (as above)
    """All pairs of a file, in memory: see `PairFile`."""
    return list(PairFile(path, fields))


def _reader(path: Path) -> "_Reader":
    if os.path.isdir(path):  # unlike Path.is_dir, it raises for no path
        raise CriticProbeError(f"{path}: a directory, not a file of pairs; name a file in it")
    if path.suffix.lower() not in _READERS:
        raise CriticProbeError(f"{path}: cannot tell its format from '{path.suffix}'; name it {', '.join(_READERS)}")
    return _READERS[path.suffix.lower()]


def _decode(name: str, data: bytes, line: int = 1, before: int = 0) -> str:
    """UTF-8 text of a file, or of a part of it that begins at a line and an offset."""
    try:
        return data.decode("utf-8-sig" if before == 0 else "utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise CriticProbeError(
            f"{name} line {line}: not valid UTF-8 (byte 0x{data[error.start]:02x} at offset {before + error.start}); "
            "save the file as UTF-8"
        ) from None


def _jsonl(name: str, stream: BinaryIO) -> Iterator[_Row]:
    number = offset = 0
    for line, data in enumerate(stream, start=1):
        text = _decode(name, data, line, offset)
        offset += len(data)
        if not text.strip():
            continue
        number += 1
        where = f"row {number}" + ("" if line == number else f" (line {line})")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CriticProbeError(
                f"{name} {where}: not valid JSON ({_fault(error)}); write one object a line"
            ) from None
        yield _Row(where, content)


def _json(name: str, stream: BinaryIO) -> Iterator[_Row]:
    text = _decode(name, stream.read())
    if not text.strip():
        return
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CriticProbeError(
            f"{name}: not valid JSON ({_fault(error)}); mend it, or name it .jsonl if it has one object a line"
        ) from None
    rows = content.get("data", content.get("pairs")) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise CriticProbeError(f'{name}: holds no list of rows; write a list of objects, or {{"data": [...]}}')
    yield from (_Row(f"row {number}", row) for number, row in enumerate(rows, start=1))


def _fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, " + (f"line {error.lineno} " if error.lineno > 1 else "") + f"column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number of thousands of digits"


def _csv(name: str, stream: BinaryIO) -> Iterator[_Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows = csv.reader(_lines(name, stream), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        if len(set(header)) < len(header):
            raise CriticProbeError(f"{name}: its header names a column twice; make the names unique")
        number = 0
        for cells in rows:
            if not cells:
                continue
            number += 1
            if len(cells) != len(header):
                raise CriticProbeError(
                    f"{name} row {number}: {len(cells)} cells under {len(header)} columns; quote cells that hold commas"
                )
            yield _Row(f"row {number}", from_csv(dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise CriticProbeError(f"{name} line {rows.line_num}: not valid CSV ({error}); quote the cell") from None


def _lines(name: str, stream: BinaryIO) -> Iterator[str]:
    offset = 0
    for line, data in enumerate(stream, start=1):
        yield _decode(name, data, line, offset)
        offset += len(data)


def _parquet(name: str, stream: BinaryIO) -> Iterator[_Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        # to_pylist gives lists and dicts, where pandas would give arrays whose text is a repr.
        number = 0
        for batch in pyarrow.parquet.ParquetFile(stream).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield _Row(f"row {number}", row)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        fault = neutralise(" ".join(str(error).split())[:200])
        raise CriticProbeError(f"{name}: not a readable Parquet file ({fault}); write it anew") from error


_Reader = Callable[[str, BinaryIO], Iterator[_Row]]
_READERS: dict[str, _Reader] = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
