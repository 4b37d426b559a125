"""Files of rows: what a file is is told by its content where the name misleads, and its rows are read one by one.

One file, longer than others: what a content is told to be is held against what each format's reader takes.
"""

import csv
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from typing_extensions import TypedDict

from critic_probe.documents import DocumentError, parse_json, read_json
from critic_probe.errors import CriticProbeError
from critic_probe.pairs.faults import BadRowError
from critic_probe.pairs.messages import Written, shown
from critic_probe.pairs.rows import from_csv
from critic_probe.text import neutralise

_PACKED = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".xz": b"\xfd7zXZ\x00", ".bz2": b"BZh"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SHARD = re.compile(r"(.*?)[-_.]?\d+[-_]of[-_]\d+.*|(.*?)[-_.]?\d+\.parquet")


class _File(TypedDict):
    filename: str


class _State(TypedDict):
    """What is read of the `state.json` that `datasets` saves."""

    _data_files: list[_File]


class _Row(NamedTuple):
    where: str  # "row 3", or "row 3 (line 5)"
    content: Any  # or the fault for which there is none


class RowFile:
    """A file's rows, read anew each time they are gone through, so that a large file needs no memory.

    Standard input, JSON arrays and files in UTF-16 cannot be read twice or in part, and are held.

    Args:
        path: A `.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet` or `.arrow` file, compressed (`.gz`, `.zst`, `.xz`,
            `.bz2`) or not, here or by URI (`s3://`, `gs://`, `hdfs://`) where pyarrow opens it; a directory that
            `datasets` saved, or one of Parquet shards; or `-` for JSONL on stdin.

    Attributes:
        name: The file as messages name it.

    Raises:
        CriticProbeError: The file cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "stdin" if str(path) == "-" else str(path)
        self._held = sys.stdin.buffer.read() if self.name == "stdin" else None
        whole = self.name == "stdin" or _elsewhere(self.name)
        self._parts = [self.name] if whole else _parts(Path(path))
        if not whole and os.path.exists(self._parts[0]) and not os.path.isfile(self._parts[0]):
            raise CriticProbeError(f"{self.name}: a pipe, which cannot be read twice; give it as - on stdin")
        self._rows = _READERS[".jsonl"] if self.name == "stdin" else _reader(Path(self._parts[0]))
        self._seen: dict[str, tuple[int, ...]] = {}

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Where a row stands, and its fields; the first row that is none is an error."""
        for where, content in self.entries():
            if isinstance(content, BadRowError):
                raise content
            yield where, content

    def entries(self) -> Iterator[tuple[str, dict[str, Any] | BadRowError]]:
        """Where a row stands, and its fields or its fault."""
        number = 0
        for part in self._parts:
            with self._open(part) as stream:
                self._require_unchanged(part)
                for where, content in self._rows(part, stream):
                    number += 1
                    where = where if len(self._parts) == 1 else f"row {number}"
                    source = f"{self.name} {where}"
                    if isinstance(content, BadRowError):
                        yield where, content if content.where else content.at(source, where)
                    elif not isinstance(content, dict):
                        message = f"{shown(content)} is not an object with named fields; write one object a row"
                        yield where, BadRowError("not an object", message, source=source, where=where)
                    else:
                        yield where, content
            self._require_unchanged(part)

    def _require_unchanged(self, part: str) -> None:
        """Refuses a file that is written meanwhile: what one pass counts, another one scores."""
        if self._held is not None or _elsewhere(part):
            return
        now = os.stat(part) if os.path.exists(part) else None
        known = (0,) if now is None else (now.st_ino, now.st_size, now.st_mtime_ns)
        if self._seen.setdefault(part, known) != known:
            raise CriticProbeError(f"{part}: was changed while it was read; run again when it is whole")

    def _open(self, part: str) -> BinaryIO:
        if self._held is not None:
            return _unpacked(self.name, io.BytesIO(self._held))
        try:
            return _unpacked(part, _open_elsewhere(part) if _elsewhere(part) else open(part, "rb"))
        except FileNotFoundError:
            raise CriticProbeError(f"{part}: no such file; check the path") from None
        except OSError as error:
            raise CriticProbeError(f"{part}: cannot be read ({error.strerror or error}); check the path") from error


class HeldRows(RowFile):
    """Rows that are in memory: lists of dictionaries, or what a table gives as such.

    Args:
        rows: The rows, NumPy's arrays and numbers in them or not; a NaN is a field that is not there.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.name = "the rows given"
        self._given = rows

    def entries(self) -> Iterator[tuple[str, dict[str, Any] | BadRowError]]:
        """Where a row stands, and its fields or its fault."""
        for number, row in enumerate(self._given, start=1):
            where = f"row {number}"
            if isinstance(row, Mapping):
                yield where, {str(key): _held(value) for key, value in row.items()}
            else:
                message = f"{shown(row)} is not an object with named fields; give one dictionary a row"
                yield where, BadRowError("not an object", message, source=f"{self.name} {where}", where=where)


def _held(value: Any) -> Any:
    """A table's value as a file would give it: NumPy's arrays and numbers as plain ones, None for NaN."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list):
        return [_held(item) for item in plain]
    if isinstance(plain, dict):
        return {key: _held(item) for key, item in plain.items()}
    return None if isinstance(plain, float) and plain != plain else plain


def _parts(path: Path) -> list[str]:
    """The file itself, or those that a directory holds as one table."""
    if not os.path.isdir(path):  # unlike Path.is_dir, it raises for no path
        return [str(path)]
    if (path / "state.json").is_file():
        state = read_json(path / "state.json", "save the dataset anew", _State)
        names = [Path(part["filename"]).name for part in state["_data_files"]]
        if lost := [name for name in names if not os.path.isfile(path / name)]:
            raise CriticProbeError(f"{path / 'state.json'}: names {shown(lost[0])}, which is not there; copy it again")
        if not names:
            raise CriticProbeError(f"{path / 'state.json'}: names no file; save the dataset anew")
        return [str(path / name) for name in names]
    if (path / "dataset_dict.json").is_file():
        splits = sorted(child.name for child in path.iterdir() if (child / "state.json").is_file())
        raise CriticProbeError(f"{path}: holds the splits {', '.join(splits)}; name the directory of one")
    shards = sorted(path.glob("*.parquet"))
    if not shards:
        raise CriticProbeError(f"{path}: a directory, not a file of pairs; name a file in it")
    tables = {_table(shard.name) for shard in shards}
    if len(tables) > 1:
        raise CriticProbeError(f"{path}: holds the tables {', '.join(sorted(tables))}; name one of their files")
    return [str(shard) for shard in shards]


def _elsewhere(name: str) -> bool:
    """Whether a name is the URI of a file, which any filesystem that pyarrow knows may hold."""
    return "://" in name


def _open_elsewhere(uri: str) -> BinaryIO:
    from pyarrow import ArrowException, fs

    try:
        system, path = fs.FileSystem.from_uri(uri)
        return io.BufferedReader(system.open_input_file(path))
    except FileNotFoundError:
        raise
    except (ArrowException, OSError) as error:
        raise CriticProbeError(
            f"{uri}: cannot be opened ({' '.join(str(error).split())[:200]}); check the URI"
        ) from error


def _table(shard: str) -> str:
    match = _SHARD.fullmatch(shard)
    return (match[1] or match[2] or "") if match else shard


def _reader(path: Path) -> "_Reader":
    suffix = path.suffix.lower()
    suffix = path.with_suffix("").suffix.lower() if suffix in _PACKED else suffix
    if suffix not in _READERS:
        raise CriticProbeError(f"{path}: cannot tell its format from '{suffix}'; name it {', '.join(_READERS)}")
    return _READERS[suffix]


def _unpacked(name: str, stream: BinaryIO) -> BinaryIO:
    """The stream as it was before it was compressed, in UTF-8 where it is text in UTF-16."""
    head = stream.read(8)
    stream.seek(0)
    packed = next((suffix for suffix, magic in _PACKED.items() if head.startswith(magic)), None)
    if packed is not None:
        stream = io.BufferedReader(_Guarded(name, stream, _OPEN[packed](stream)))
        head = stream.peek(8)[:8]
    if not head.startswith(_UTF16):
        return stream
    with stream:
        data = stream.read()
    try:
        return io.BytesIO(data.decode("utf-16").encode())
    except UnicodeDecodeError as error:
        raise CriticProbeError(f"{name}: not valid UTF-16 (at offset {error.start}); save the file as UTF-8") from None


def _open_gz(stream: BinaryIO) -> BinaryIO:
    import gzip

    return cast(BinaryIO, gzip.GzipFile(fileobj=stream))


def _open_xz(stream: BinaryIO) -> BinaryIO:
    import lzma

    return cast(BinaryIO, lzma.LZMAFile(stream))


def _open_bz2(stream: BinaryIO) -> BinaryIO:
    import bz2

    return cast(BinaryIO, bz2.BZ2File(stream))


def _open_zst(stream: BinaryIO) -> BinaryIO:
    import pyarrow

    return cast(BinaryIO, pyarrow.CompressedInputStream(stream, "zstd"))


_OPEN = {".gz": _open_gz, ".zst": _open_zst, ".xz": _open_xz, ".bz2": _open_bz2}


class _Guarded(io.RawIOBase):
    """A decompressing stream whose faults are the file's."""

    def __init__(self, name: str, packed: BinaryIO, stream: BinaryIO) -> None:
        self._name, self._packed, self._stream = name, packed, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import lzma
        import zlib

        try:
            data = self._stream.read(len(buffer))
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            fault = neutralise(" ".join(str(error).split())[:200])
            raise CriticProbeError(f"{self._name}: cannot be decompressed ({fault}); write it anew") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._packed.close()
        super().close()


def _decode(data: bytes, line: int = 1, before: int = 0) -> str:
    """UTF-8 text of a file, or of a part of it that begins at a line and an offset.

    Raises:
        BadRowError: It is not valid UTF-8.
    """
    try:
        return data.decode("utf-8-sig" if before == 0 else "utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise BadRowError(
            "invalid UTF-8",
            f"not valid UTF-8 (byte 0x{data[error.start]:02x} at offset {before + error.start}); "
            "save the file as UTF-8",
            where=f"line {line}",
        ) from None


def _jsonl(name: str, stream: BinaryIO) -> Iterator[_Row]:
    if _opens_with(stream, b"["):
        yield from _json(name, stream)
        return
    number = offset = 0
    for line, data in enumerate(stream, start=1):
        if not data.strip(b" \t\r\n\xef\xbb\xbf"):
            offset += len(data)
            continue
        number += 1
        where = f"row {number}" + ("" if line == number else f" (line {line})")
        try:
            yield _Row(where, parse_json(_decode(data, line, offset), Written))
        except BadRowError as fault:
            yield _Row(where, fault.at(f"{name} {fault.where}", fault.where))
        except DocumentError as error:
            yield _Row(where, BadRowError("invalid JSON", f"{error}; write one object a line"))
        offset += len(data)


def _opens_with(stream: BinaryIO, mark: bytes) -> bool:
    """Whether the first character that is no blank is this one; the stream stays where it was."""
    if not hasattr(stream, "peek"):
        stream = io.BytesIO(stream.getvalue())  # type: ignore[attr-defined]
        return stream.read().lstrip(b"\xef\xbb\xbf \t\r\n").startswith(mark)
    return bool(stream.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(mark))


def _json(name: str, stream: BinaryIO) -> Iterator[_Row]:
    data = stream.read()
    try:
        text = _decode(data)
    except BadRowError as fault:
        raise CriticProbeError(f"{name} {fault.where}: {fault.message}") from None
    if not text.strip():
        return
    try:
        content = parse_json(text, Written)
    except DocumentError as error:
        if getattr(error.__cause__, "msg", "") == "Extra data" and text.lstrip().startswith("{"):
            yield from _jsonl(name, io.BytesIO(data))
            return
        raise CriticProbeError(f"{name}: {error}; mend it, or name it .jsonl if it has one object a line") from None
    rows = content.get("data", content.get("pairs")) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise CriticProbeError(f'{name}: holds no list of rows; write a list of objects, or {{"data": [...]}}')
    yield from (_Row(f"row {number}", row) for number, row in enumerate(rows, start=1))


def _csv(name: str, stream: BinaryIO) -> Iterator[_Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    lines = _lines(name, stream)
    first = next(lines, None)
    if first is None:
        return
    delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    rows = csv.reader(_chained(first, lines), delimiter=delimiter, strict=True)
    try:
        header = next(rows)
        if len(set(header)) < len(header):
            raise CriticProbeError(f"{name}: its header names a column twice; make the names unique")
        number = 0
        for cells in rows:
            if not cells:
                continue
            number += 1
            if len(cells) == len(header):
                yield _Row(f"row {number}", from_csv(dict(zip(header, cells, strict=True))))
            else:
                message = f"{len(cells)} cells under {len(header)} columns; quote cells that hold {_NAMES[delimiter]}"
                yield _Row(f"row {number}", BadRowError("wrong number of cells", message))
    except csv.Error as error:
        raise CriticProbeError(f"{name} line {rows.line_num}: not valid CSV ({error}); quote the cell") from None


_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _lines(name: str, stream: BinaryIO) -> Iterator[str]:
    offset = 0
    for line, data in enumerate(stream, start=1):
        try:
            yield _decode(data, line, offset)
        except BadRowError as fault:  # where a cell ends cannot be told behind it
            raise CriticProbeError(f"{name} {fault.where}: {fault.message}") from None
        offset += len(data)


def _parquet(name: str, stream: BinaryIO) -> Iterator[_Row]:
    import pyarrow.parquet

    def batches() -> Iterator[Any]:
        file = stream if stream.seekable() else io.BytesIO(stream.read())
        yield from pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1024)

    return _table_rows(name, "Parquet", batches)


def _arrow(name: str, stream: BinaryIO) -> Iterator[_Row]:
    import pyarrow

    def batches() -> Iterator[Any]:
        head = stream.read(6)
        stream.seek(0)
        if head != b"ARROW1":
            yield from pyarrow.ipc.open_stream(stream)
            return
        file = pyarrow.ipc.open_file(stream)
        yield from (file.get_batch(number) for number in range(file.num_record_batches))

    return _table_rows(name, "Arrow", batches)


def _table_rows(name: str, form: str, batches: Callable[[], Iterator[Any]]) -> Iterator[_Row]:
    import pyarrow

    try:
        # to_pylist gives lists and dicts, where pandas would give arrays whose text is a repr.
        number = 0
        for batch in batches():
            batch.validate(full=True)  # offsets beyond a buffer end the process when they are followed
            if twice := _twice(batch.schema):
                raise CriticProbeError(f"{name}: holds the column {shown(twice)} twice; make the names unique")
            for row in batch.to_pylist():
                number += 1
                yield _Row(f"row {number}", {key: _without_nulls(value) for key, value in row.items()})
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        fault = neutralise(" ".join(str(error).split())[:200]) or "a length that no memory holds"
        raise CriticProbeError(f"{name}: not a readable {form} file ({fault}); write it anew") from error


def _twice(fields: Any) -> str | None:
    """The first name that stands twice among columns, or among the fields of one; None where there is none."""
    names = [field.name for field in fields]
    return next((name for name in names if names.count(name) > 1), None) or next(
        (twice for field in fields if (twice := _twice(_inner(field.type)))), None
    )


def _inner(kind: Any) -> list[Any]:
    """The fields of an object, or of the objects in a list."""
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return [kind.field(index) for index in range(kind.num_fields)]
    lists = (pyarrow.types.is_list, pyarrow.types.is_large_list, pyarrow.types.is_fixed_size_list)
    return _inner(kind.value_type) if any(is_list(kind) for is_list in lists) else []


def _without_nulls(value: Any) -> Any:
    """A value without the keys that Arrow gives to every object of a column because one of them has it."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


_Reader = Callable[[str, BinaryIO], Iterator[_Row]]
_READERS: dict[str, _Reader] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
