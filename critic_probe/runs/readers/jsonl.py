"""Files of JSON objects, one a line: verl's `file` logger and rollout dumps, our own metrics, histories of W&B."""

import math
from collections.abc import Iterator
from typing import Any

from critic_probe.runs.readers.log import Log, figures_of, from_json, is_step
from critic_probe.runs.record import Figures, Sample, Side

STEPS = ("step", "global_step", "train/global_step", "trainer/global_step", "eval/global_step", "_step", "Step")
CLOCKS = frozenset((*STEPS, "_runtime", "_timestamp", "time", "timestamp", "Wall time"))


def read_jsonl(log: Log) -> Iterator[Figures | Sample]:
    """The records of a file with an object a line; nothing where it has none."""
    for number, content, ended in log.lines():
        if not content.strip():
            continue
        try:
            record = from_json(content)
        except (ValueError, RecursionError):
            if not ended:
                log.cut()
            else:
                log.left_out("line", "no JSON")
                if not log.found and number > 1000:  # some other JSON
                    return
            continue
        if isinstance(record, dict):
            yield from of_record(log, record, number)
        else:
            log.left_out("line", "no JSON object")


def of_record(log: Log, record: dict[str, Any], where: int | str) -> Iterator[Figures | Sample]:
    """What one object is: figures of a step, or a rollout."""
    step = step_of(record)
    if isinstance(record.get("input"), str) and isinstance(record.get("output"), str):
        yield from _rollout(log, record, step, where)
        return
    if step is None:
        log.left_out("line", "no step")
        return
    data = record.get("data")
    if isinstance(data, dict):
        log.format = log.format or "verl's file logger"
        figures = figures_of(data, math.nan)  # orjson writes null for NaN
    else:
        log.format = log.format or ("W&B history" if "_step" in record else "figures by step, JSONL")
        for clock in CLOCKS & record.keys():
            del record[clock]
        figures = figures_of(record)
    log.found += len(figures)
    yield log.names.figures(step, figures)


def step_of(record: dict[str, Any]) -> int | None:
    """The step of a record: a trainer's own before the count of W&B's calls."""
    for name in STEPS:
        value: object = record.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if is_step(value):
            return value
    return None


def _rollout(log: Log, record: dict[str, Any], step: int | None, where: int | str) -> Iterator[Sample]:
    """A row of verl's rollout dumps, decoded without special tokens and without ids."""
    step = log.step_in_name if step is None else step
    if step is None:
        log.left_out("sample", "no step")
        return
    if not log.found:
        log.format = "rollout dump"
        log.names.framework = "verl"
        log.note("texts were decoded without special tokens and hold no ids: whether a response ended in EOS is lost")
    log.found += 1
    teacher = record.get("teacher_output", record.get("teacher_response"))
    yield Sample(
        step,
        record["input"],
        None,
        Side(record["output"], None, _score(record, "score"), None),
        Side(teacher, None, _score(record, "teacher_score"), None) if isinstance(teacher, str) else None,
        log.place(where),
        eos_lost=True,
    )


def _score(record: dict[str, Any], name: str) -> float | None:
    return figures_of({name: record.get(name)}).get(name)
