"""Files of one JSON value: `trainer_state.json`, results of an evaluation, exported histories as a list."""

import io
import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from critic_probe.runs.readers.dumps import samples_of
from critic_probe.runs.readers.jsonl import CLOCKS, of_record, step_of
from critic_probe.runs.readers.log import LONGEST, Log, figures_of, from_json
from critic_probe.runs.record import Figures, Sample

_HISTORY = re.compile(r'"log_history"\s{0,64}:\s{0,64}\[')
_LIST = re.compile(r"\[")
_CHUNK = 1 << 20
_BETWEEN = re.compile(r"[\s,]*")
_FIRST = 1000  # records that tell who wrote a state, since TRL's accuracies may stand in those of evaluations alone


def read_object(log: Log) -> Iterator[Figures | Sample]:
    """The history of a trainer's state, or the figures and samples of an evaluation."""
    records = _objects(log, _HISTORY)
    first = list(islice(records, _FIRST))
    log.names.learn(chain.from_iterable(first))
    log.format = "trainer_state.json" if first else ""
    for record in chain(first, records):
        if (step := step_of(record)) is None:
            log.left_out("record", "no step")
            continue
        figures = figures_of(record)
        figures.pop("step", None)
        log.found += len(figures)
        yield log.names.figures(step, figures)
    if not first:
        yield from _single(log)


def read_list(log: Log) -> Iterator[Figures | Sample]:
    """The records of a list."""
    for number, record in enumerate(_objects(log, _LIST), start=1):
        yield from of_record(log, record, f"record {number}")


def _single(log: Log) -> Iterator[Figures | Sample]:
    """One object: a line of a log that has no other yet, or what an evaluation gave."""
    with log.open() as stream:
        data = stream.read(LONGEST + 1)
    if len(data) > LONGEST:
        log.left_out("object", f"longer than {LONGEST >> 20} MiB")
        return
    try:
        record = from_json(data)
    except (ValueError, RecursionError):
        return
    if isinstance(record, dict):
        lined = isinstance(record.get("data"), dict) or "output" in record or any("/" in name for name in record)
        yield from of_record(log, record, 1) if lined else _evaluation(log, record)


def _evaluation(log: Log, record: dict[str, Any]) -> Iterator[Figures | Sample]:
    """The figures of an evaluation, whose step may stand in the file's name alone, and its samples."""
    step = step_of(record)
    step = log.step_in_name if step is None else step
    if step is None:
        return
    figures = figures_of(record)
    for inner in record.values():
        if isinstance(inner, dict):
            figures = figures_of(inner) | figures
    figures = {name: value for name, value in figures.items() if name not in CLOCKS}
    if figures:
        log.format = "results of an evaluation"
        log.names.evaluation = True
        log.found += len(figures)
        yield log.names.figures(step, figures)
        yield from samples_of(log, record, step)


def _objects(log: Log, opens: re.Pattern[str]) -> Iterator[dict[str, Any]]:
    """The objects of a list that a pattern opens, one at a time, to the end of the list or of the file."""
    decoder = json.JSONDecoder()
    with log.open() as raw:
        stream = io.TextIOWrapper(raw, "utf-8", errors="replace")
        text = stream.read(_CHUNK)
        while not (start := opens.search(text)):
            more = stream.read(_CHUNK)
            if not more:
                return
            text = text[-256:] + more
        position = start.end()
        while True:
            between = _BETWEEN.match(text, position)
            position = between.end() if between else position
            if text.startswith("]", position):
                return
            try:
                record, position = decoder.raw_decode(text, position)
            except (ValueError, RecursionError):
                more = stream.read(max(_CHUNK, len(text) - position))
                if not more or len(text) - position > LONGEST:
                    if position < len(text) and not more:
                        log.note("its last record is cut and left out: the file is still being written, or was cut")
                    return
                text, position = text[position:] + more, 0
                continue
            if isinstance(record, dict):
                yield record
