"""Samples of logs as a file of pairs, which every command reads."""

import json
import math
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from critic_probe.errors import CriticProbeError
from critic_probe.runs.record import Sample, Side
from critic_probe.writing import written

_SUFFIXES = (".jsonl", ".parquet")
_BATCH = 1024
_IDS = pa.list_(pa.int64())
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "prompt", "student", "teacher")),
        *((name, _IDS) for name in ("student_ids", "teacher_ids")),
        *((name, pa.float64()) for name in ("student_score", "teacher_score")),
        ("logged_step", pa.int64()),
    ]
)


class PairsFile:
    """Writes samples as rows with `id`, `prompt`, both sides and their logged scores.

    Ids stand where the log has them, and then without the text, of which a log may lack a part: ids are what was
    scored. The file appears complete or not at all.

    Args:
        path: .jsonl or .parquet.

    Attributes:
        written: How many pairs were written.
        left_out: How many samples were not, by reason.

    Raises:
        CriticProbeError: The suffix is another one.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in _SUFFIXES:
            raise CriticProbeError(f"{path}: cannot tell the format from '{path.suffix}'; use {', '.join(_SUFFIXES)}")
        self._path = path
        self._waiting: list[dict[str, Any]] = []
        self._of_step: Counter[int] = Counter()
        self.written = 0
        self.left_out: Counter[str] = Counter()
        self._write: Callable[[list[dict[str, Any]]], None]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            part = stack.enter_context(written(self._path))
            if self._path.suffix.lower() == ".parquet":
                writer = stack.enter_context(pq.ParquetWriter(part, _SCHEMA))
                self._write = lambda rows: writer.write_batch(pa.RecordBatch.from_pylist(rows, _SCHEMA))
            else:
                file = stack.enter_context(part.open("w", encoding="utf-8", errors="replace"))
                self._write = lambda rows: file.writelines(f"{_line(row)}\n" for row in rows)
            self._place = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        with self._place:
            if error is not None:
                raise error
            self._flush()
            if not self.written:
                why = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
                raise CriticProbeError(f"{self._path}: no pairs to write ({why or 'the logs hold no samples'})")

    def add(self, sample: Sample) -> None:
        """One more sample, unless it is no pair."""
        why = _lacks(sample)
        if why or sample.teacher is None:
            self.left_out[why] += 1
            return
        self._of_step[sample.step] += 1
        row: dict[str, Any] = {"id": f"{sample.step}-{self._of_step[sample.step]}", "prompt": sample.prompt}
        for name, side in (("student", sample.student), ("teacher", sample.teacher)):
            row |= {f"{name}_ids": list(side.ids)} if side.ids else {name: side.text}
            if side.score is not None and math.isfinite(side.score):
                row[f"{name}_score"] = side.score
        self.written += 1
        self._waiting.append(row | {"logged_step": sample.step})
        if len(self._waiting) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        self._write(self._waiting)
        self._waiting.clear()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _lacks(sample: Sample) -> str:
    """Why a sample is no pair; "" where it is one."""
    if sample.teacher is None:
        return "of one response"
    if not (sample.prompt or "").strip():
        return "without a prompt's text"
    return "" if _told(sample.student) and _told(sample.teacher) else "without a response on one side"


def _told(side: Side) -> bool:
    return bool(side.ids) or bool((side.text or "").strip())
