"""Tables with a step: `eval_history.csv`, histories that W&B exports, and any other CSV."""

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest

from critic_probe.errors import CriticProbeError
from critic_probe.runs.readers.jsonl import CLOCKS, STEPS
from critic_probe.runs.readers.log import MOST_STEP, Log
from critic_probe.runs.record import Figures
from critic_probe.text import listed

_STEPS = (*STEPS, "iteration", "iter", "global_steps", "training_step")
_DELIMITERS = ",\t;"
_ROWS = 256  # that are read together


def delimiter_of(head: bytes) -> str | None:
    """What separates the columns of a table with a step; None for a text that is none."""
    first = head.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    for delimiter in _DELIMITERS:
        names = {name.strip().strip('"') for name in first.split(delimiter)}
        if len(names) > 1 and names & {*_STEPS}:
            return delimiter
    return None


def read_table(log: Log) -> Iterator[Figures]:
    """The figures of a table.

    Raises:
        CriticProbeError: It holds several runs.
    """
    rows = _rows(log)
    header = [name.strip() for name in next(rows, [])]
    at = next((header.index(name) for name in _STEPS if name in header), None)
    if at is None:
        return
    places, exported = _columns(log, header)
    log.format = "W&B history" if exported else "table"
    log.names.evaluation = not any("/" in name for name in places)
    while some := list(islice(rows, _ROWS)):
        stepped = [(step, row) for row in some if at < len(row) and (step := _whole(row[at])) is not None]
        for _ in range(len(some) - len(stepped)):
            log.left_out("row", "no step")
        steps, columns = [step for step, _ in stepped], list(zip_longest(*(row for _, row in stepped), fillvalue=""))
        logged = {name: _figures(steps, columns[place]) for name, place in places.items() if place < len(columns)}
        log.found += sum(len(values) for _, values in logged.values())
        yield from log.names.series(logged)


def _figures(steps: Sequence[int], cells: Sequence[str]) -> tuple[Sequence[int], Sequence[float]]:
    """The steps at which a column has figures, and these."""
    try:
        return steps, [*map(float, cells)]
    except ValueError:
        logged = {place: value for place, cell in enumerate(cells) if (value := _number(cell)) is not None}
        return [steps[place] for place in logged], [*logged.values()]


def _rows(log: Log) -> Iterator[list[str]]:
    """The rows that can be read."""
    rows = csv.reader(_ended(log), delimiter=delimiter_of(log.head) or ",")
    while True:
        try:
            yield from rows
            return
        except csv.Error:
            log.left_out("row", "a quote without its end, or a field that is too long")


def _ended(log: Log) -> Iterator[str]:
    """The lines that have an end, as text."""
    for number, content, ended in log.lines():
        if ended:
            yield content.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace") + "\n"
        else:
            log.cut()


def _columns(log: Log, header: list[str]) -> tuple[dict[str, int], bool]:
    """The places of columns of figures; and whether their names have a run's before them, as W&B exports them."""
    columns: dict[str, int] = {}
    runs: dict[str, None] = {}
    for place, name in enumerate(header):
        if name in CLOCKS or name in _STEPS or name.endswith(("__MIN", "__MAX")):
            continue
        run, dash, figure = name.rpartition(" - ")
        if dash:
            runs[run] = None
        if figure not in CLOCKS:
            columns[figure] = place
    if len(runs) > 1:
        raise CriticProbeError(f"{log.path}: holds the runs {listed(runs)}; export one")
    return columns, bool(runs)


def _whole(cell: str) -> int | None:
    if cell.isascii() and cell.isdecimal() and len(cell) < 16:
        return int(cell)
    value = _number(cell)
    return int(value) if value is not None and value.is_integer() and abs(value) < MOST_STEP else None


def _number(cell: str) -> float | None:
    if not cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return math.nan if cell.strip().lower() in ("nan", "none", "null") else None
