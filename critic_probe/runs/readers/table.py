"""Tables with a step: `eval_history.csv`, histories that W&B exports, and any other CSV."""

import csv
import math
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from critic_probe.errors import CriticProbeError
from critic_probe.runs.readers.jsonl import CLOCKS, STEPS
from critic_probe.runs.readers.log import MOST_STEP, Log
from critic_probe.runs.record import Scalar
from critic_probe.text import listed

_STEPS = (*STEPS, "iteration", "iter", "global_steps", "training_step")
_DELIMITERS = ",\t;"


def delimiter_of(head: bytes) -> str | None:
    """What separates the columns of a table with a step; None for a text that is none."""
    first = head.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    for delimiter in _DELIMITERS:
        names = {name.strip().strip('"') for name in first.split(delimiter)}
        if len(names) > 1 and names & {*_STEPS}:
            return delimiter
    return None


def read_table(log: Log) -> Iterator[Scalar]:
    """The figures of a table.

    Raises:
        CriticProbeError: It holds several runs.
    """
    rows = csv.reader(_ended(log), delimiter=delimiter_of(log.head) or ",")
    header = [name.strip() for name in _next(log, rows) or ()]
    at = next((header.index(name) for name in _STEPS if name in header), None)
    if at is None:
        return
    columns, exported = _columns(log, header)
    log.format = "W&B history" if exported else "table"
    log.names.evaluation = not any("/" in name for name in columns.values())
    log.names.learn(columns.values())
    of_columns = _getter([*columns])
    while (row := _next(log, rows)) is not None:
        step = _whole(row[at]) if at < len(row) else None
        if step is None:
            log.left_out("row", "no step")
            continue
        try:
            figures = dict(zip(columns.values(), map(float, of_columns(row)), strict=True))
        except (ValueError, IndexError):
            cells = {name: _number(row[place]) for place, name in columns.items() if place < len(row)}
            figures = {name: value for name, value in cells.items() if value is not None}
        log.found += len(figures)
        yield from log.names.scalars(step, figures, log.place(rows.line_num))


def _next(log: Log, rows: Any) -> list[str] | None:
    """The next row; None at the end."""
    while True:
        try:
            row: list[str] | None = next(rows, None)
        except csv.Error:
            log.left_out("row", "a quote without its end, or a field that is too long")
            continue
        return row


def _getter(places: list[int]) -> Callable[[list[str]], tuple[str, ...]]:
    """The cells of some places, in their order."""
    return itemgetter(*places) if len(places) > 1 else lambda row: tuple(row[place] for place in places)


def _ended(log: Log) -> Iterator[str]:
    """The lines that have an end, as text."""
    for number, content, ended in log.lines():
        if ended:
            yield content.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace") + "\n"
        else:
            log.cut()


def _columns(log: Log, header: list[str]) -> tuple[dict[int, str], bool]:
    """The columns of figures by their place; and whether their names have a run's before them, as W&B exports them."""
    columns: dict[int, str] = {}
    runs: dict[str, None] = {}
    for place, name in enumerate(header):
        if name in CLOCKS or name in _STEPS or name.endswith(("__MIN", "__MAX")):
            continue
        run, dash, figure = name.rpartition(" - ")
        if dash:
            runs[run] = None
        if figure not in CLOCKS:
            columns[place] = figure
    if len(runs) > 1:
        raise CriticProbeError(f"{log.path}: holds the runs {listed(runs)}; export one")
    return columns, bool(runs)


def _whole(cell: str) -> int | None:
    if cell.isascii() and cell.isdecimal() and len(cell) < 16:
        return int(cell)
    value = _number(cell)
    return int(value) if value is not None and value.is_integer() and abs(value) < MOST_STEP else None


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return math.nan if cell.strip().lower() in ("nan", "none", "null") else None
