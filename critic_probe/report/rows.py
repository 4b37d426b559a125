"""Rows of scores in files: kept beside their place while they come in, and written in bounded memory at the end.

What is known only when everything is scored, such as the noise floor, stands in every row too; so rows wait in an Arrow
stream, and their files are written from it. A file appears complete or not at all.
"""

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from critic_probe.measures.score import Kind
from critic_probe.writing import told, written

_TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "whole": pa.int64(),
    "truth": pa.bool_(),
    "numbers": pa.list_(pa.float32()),
}
_BATCH = 1024  # rows that are held


@dataclass
class _Part:
    """A critic's rows, and the columns that are known when they end."""

    file: IO[bytes]
    schema: pa.Schema
    waiting: list[Mapping[str, Any]] = field(default_factory=list)
    more: pa.Schema = field(default_factory=lambda: pa.schema([]))
    values: Mapping[str, Any] = field(default_factory=dict)

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Its rows with all columns of a schema, those that it has not without values."""
        start = 0
        self.file.seek(0)
        for batch in pa.ipc.open_stream(self.file):
            arrays = [self._column(batch, start, column) for column in schema]
            start += len(batch)
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _column(self, batch: pa.RecordBatch, start: int, column: pa.Field) -> pa.Array:
        if column.name in batch.schema.names:
            return batch.column(column.name)
        value = self.values.get(column.name)
        if value is None or isinstance(value, float):
            return pa.repeat(pa.scalar(value, column.type), len(batch))
        return pa.array(value[start : start + len(batch)], column.type)


class ScoreRows:
    """Takes the rows of `Score`, critic by critic, and writes them.

    Args:
        paths: Where to: .parquet, .jsonl or .csv; at least one.

    Raises:
        CriticProbeError: Rows cannot be kept beside the first of them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._parts: list[_Part] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        for part in self._parts:
            with suppress(OSError):  # of a full disk, which was told
                part.file.close()

    def begin(self, columns: Mapping[str, Kind]) -> None:
        """A critic's rows begin."""
        with told(self._paths[0]):
            file = tempfile.TemporaryFile(dir=self._paths[0].parent)  # noqa: SIM115 (see __exit__)
            self._parts.append(_Part(file, _schema(columns)))
            self._writer = pa.ipc.new_stream(file, self._parts[-1].schema)

    def add(self, row: Mapping[str, Any]) -> None:
        """One more of them."""
        part = self._parts[-1]
        part.waiting.append(row)
        if len(part.waiting) == _BATCH:
            self._flush(part)

    def end(self, columns: Mapping[str, Kind], values: Mapping[str, Any]) -> None:
        """They end; further columns, each one value or as many as there are rows."""
        part = self._parts[-1]
        self._flush(part)
        with told(self._paths[0]):
            self._writer.close()
        part.more, part.values = _schema(columns), values

    def write(self, about: Mapping[str, Any]) -> None:
        """Writes all files.

        Args:
            about: What determined the scores; Parquet keeps it as JSON under `critic-probe` in its metadata.

        Raises:
            CriticProbeError: One cannot be written.
        """
        schema = pa.unify_schemas([each for part in self._parts for each in (part.schema, part.more)])
        schema = schema.with_metadata({"critic-probe": json.dumps(about)})
        for path in self._paths:
            with written(path) as beside:
                batches = (batch for part in self._parts for batch in part.batches(schema))
                _WRITERS[path.suffix.lower()](beside, schema, batches)

    def _flush(self, part: _Part) -> None:
        with told(self._paths[0]):
            self._writer.write_batch(pa.RecordBatch.from_pylist(part.waiting, part.schema))
        part.waiting.clear()


def _schema(columns: Mapping[str, Kind]) -> pa.Schema:
    return pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])


def _parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _jsonl(path: Path, _: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in batch.to_pylist())


def _csv(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, schema.names, lineterminator="\n")
        writer.writeheader()
        for batch in batches:
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in batch.to_pylist())


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool | list) else value


_WRITERS = {".parquet": _parquet, ".jsonl": _jsonl, ".csv": _csv}
