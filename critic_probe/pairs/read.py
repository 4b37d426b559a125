"""Files of pairs: the suffix decides how rows are read, and every row is checked before anything is scored."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from critic_probe.errors import CriticProbeError
from critic_probe.pairs.pair import Pair
from critic_probe.pairs.rows import Fields, from_csv, shown, to_pair
from critic_probe.text import neutralise


class _Row(NamedTuple):
    where: str  # "row 3", or "row 3 (line 5)"
    content: Any


def read_pairs(path: str | Path, fields: Fields = Fields()) -> list[Pair]:  # noqa: B008 (frozen, so safely shared)
    """Reads every pair of a file.

    Args:
        path: A `.jsonl`, `.json`, `.csv` or `.parquet` file, or `-` for JSONL on stdin.
        fields: Field names, where the ones in use do not fit.

    Raises:
        CriticProbeError: The file cannot be read, a row is no pair, or an id stands twice; the message names the file
            and the row.
    """
    name = "stdin" if str(path) == "-" else str(path)
    reader = _READERS[".jsonl"] if name == "stdin" else _reader(Path(path))
    pairs: list[Pair] = []
    seen: dict[str, str] = {}
    for number, (where, content) in enumerate(reader(name, _bytes(path)), start=1):
        source = f"{name} {where}"
        if not isinstance(content, dict):
            raise CriticProbeError(
                f"{source}: {shown(content)} is not an object with named fields; write one object a row"
            )
        pair = to_pair(content, number, source, fields)
        if pair.id in seen:
            raise CriticProbeError(f"{source}: id {shown(pair.id)} is already that of {seen[pair.id]}; make ids unique")
        seen[pair.id] = where
        pairs.append(pair)
    if not pairs:
        raise CriticProbeError(f"{name}: no rows, the file is empty; give at least one pair")
    return pairs


def _reader(path: Path) -> "_Reader":
    if os.path.isdir(path):  # unlike Path.is_dir, it raises for no path
        raise CriticProbeError(f"{path}: a directory, not a file of pairs; name a file in it")
    if path.suffix.lower() not in _READERS:
        raise CriticProbeError(f"{path}: cannot tell its format from '{path.suffix}'; name it {', '.join(_READERS)}")
    return _READERS[path.suffix.lower()]


def _bytes(path: str | Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CriticProbeError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise CriticProbeError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CriticProbeError(
            f"{name} line {line}: not valid UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}); "
            "save the file as UTF-8"
        ) from None


def _jsonl(name: str, data: bytes) -> Iterator[_Row]:
    number = 0
    for line, text in enumerate(_decode(name, data).split("\n"), start=1):
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


def _json(name: str, data: bytes) -> Iterator[_Row]:
    text = _decode(name, data)
    if not text.strip():
        return
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CriticProbeError(
            f"{name}: not valid JSON ({_fault(error)}); mend it, or name it .jsonl if it has one object a line"
        ) from None
    rows = content.get("data") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise CriticProbeError(f'{name}: holds no list of rows; write a list of objects, or {{"data": [...]}}')
    yield from (_Row(f"row {number}", row) for number, row in enumerate(rows, start=1))


def _fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, " + (f"line {error.lineno} " if error.lineno > 1 else "") + f"column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number of thousands of digits"


def _csv(name: str, data: bytes) -> Iterator[_Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows = csv.reader(io.StringIO(_decode(name, data), newline=""), strict=True)
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


def _parquet(name: str, data: bytes) -> Iterator[_Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        # to_pylist gives lists and dicts, where pandas would give arrays whose text is a repr.
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        fault = neutralise(" ".join(str(error).split())[:200])
        raise CriticProbeError(f"{name}: not a readable Parquet file ({fault}); write it anew") from error
    yield from (_Row(f"row {number}", row) for number, row in enumerate(rows, start=1))


_Reader = Callable[[str, bytes], Iterator[_Row]]
_READERS: dict[str, _Reader] = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
