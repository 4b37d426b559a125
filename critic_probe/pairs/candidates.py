"""A row of a file becomes all the responses that it holds: alone, in a set, or as the sides of pairs."""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from critic_probe.errors import parameter
from critic_probe.pairs.faults import BadRowError
from critic_probe.pairs.messages import is_number, messages, shown
from critic_probe.pairs.pair import Candidates, Pair
from critic_probe.pairs.rows import (
    OPPOSED,
    PROMPTS,
    Answers,
    Fields,
    filled,
    found,
    kept,
    opposed,
    pairs_of,
    prompt_name,
    ranked_answers,
    refuse_ids_beside,
    several,
)

_RESPONSES = ("response", "responses", "completion", "output", "outputs", "answer", "answers")
_LABELS = ("labels", "label", "correct")


def to_candidates(row: Mapping[str, Any], number: int, source: str, fields: Fields) -> Iterable[Pair | Candidates]:
    """Reads one row: its pairs, where an answer stands against another, else its responses.

    A row with a side that stands against another (`student`, `rejected`, `teacher_response`, ...) is of pairs, and
    lacks a side where there is no other; so is a set of ranked answers. Any other row is a response or a list of them
    in a field of its own, or a conversation that ends in the assistant's answer. A rollout dump of verl (`input`,
    `output`, `step`) or TRL (`prompt`, `completion`, `advantage`) holds its prompt as decoded without special tokens.

    Args:
        row: Field names and values.
        number: 1-based, the id of a row that has none.
        source: File and row, which the records keep.
        fields: Names that the user gave.

    Raises:
        BadRowError: A field is missing, empty or not what it must be, or has no place.
    """
    rest = kept(row, fields)
    sides = fields.student or fields.teacher or (not fields.response and any(filled(rest, side) for side in OPPOSED))
    answers = opposed(rest, fields) if sides else _unopposed(rest, fields)
    if answers.pairs:
        return pairs_of(answers, number, source)
    label, labels = _labels(answers, fields)
    answers.row.pop(label, None)
    names = tuple(answers.fields)
    read = answers.read(number, names)
    decoded = not fields.prompt and isinstance(read.prompt, str) and _is_dump(rest)
    others = not fields.response and len(_answering(rest)) > 1
    notes = (*read.notes, *(("other-response",) if others else ()))
    about = (read.category, read.arguments, read.meta, source, notes)
    return [Candidates(read.id, read.prompt, read.responses, names, labels, decoded, *about)]


def _unopposed(row: dict[str, Any], fields: Fields) -> Answers:
    """The responses of a row in which none stands against another."""
    name = fields.response or next(iter(_answering(row)), None)
    if name is None:
        name = next((name for name in PROMPTS if _ends_in_answer(row.get(name), name)), None)
        if name is None:
            raise BadRowError(
                "no response",
                f"no response (found {found(row)}); known are {', '.join(_RESPONSES)}, the sides of pairs, and "
                "messages that end in the assistant's answer, or name its field with "
                f"{parameter('fields.response')}",
            )
    prompt = fields.prompt
    if prompt is None and prompt_name(row, [name]) is None and _is_text(row.get("input")):
        prompt = "input"
    answers, ranks = several(row.get(name)), row.get("ranks")
    given = row.get(name)
    if isinstance(given, list) and given and all(isinstance(each, Mapping) and "answer" in each for each in given):
        answers, ranks = [each["answer"] for each in given], [each.get("rank") for each in given]
    if answers is None:
        return Answers(row, {"response": name}, prompt=prompt, pairs=())
    refuse_ids_beside(row, name)
    if not isinstance(ranks, list) or not any(rank is not None for rank in ranks):
        return ranked_answers(row, name, answers, None, prompt)
    if len(ranks) != len(answers) or not all(map(is_number, ranks)):
        raise BadRowError("no ranks", f"'ranks' is {shown(ranks)}; it must be {len(answers)} numbers, 1 the best")
    return ranked_answers(row, name, answers, ranks, prompt)


def _answering(row: Mapping[str, Any]) -> list[str]:
    """The fields in use for responses that a row fills; those that it has ids of alone come last."""
    return sorted((name for name in _RESPONSES if filled(row, name)), key=lambda name: row.get(name) is None)


def _ends_in_answer(value: Any, name: str) -> bool:
    turns = messages(value, name)
    return bool(turns) and turns[-1]["role"] == "assistant"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_dump(row: Mapping[str, Any]) -> bool:
    return {"input", "output", "step"} <= row.keys() or {"prompt", "completion", "advantage"} <= row.keys()


def _labels(answers: Answers, fields: Fields) -> tuple[str, tuple[float, ...]]:
    """The field that says how good each response is, and what it says; nothing where none does."""
    for name in (fields.label,) if fields.label else _LABELS:
        value = answers.row.get(name)
        given = value if isinstance(value, list) else [] if value is None else [value]
        if isinstance(value, list) and any(isinstance(each, float) and not math.isfinite(each) for each in value):
            raise BadRowError("not a label", f"'{name}' is {shown(value)}; every label must be a finite number")
        labels = [number for each in given if (number := _number(each)) is not None]
        if len(labels) == len(given) == len(answers.fields):
            return name, tuple(labels)
        if fields.label:
            raise BadRowError(
                "not a label",
                f"'{name}' is {shown(value)}; it must be a number or a truth value for each response, "
                f"{len(answers.fields)} here",
            )
    return "", ()


def _number(value: Any) -> float | None:
    if isinstance(value, str):  # a CSV cell
        value = {"true": 1, "false": 0}.get(value.strip().lower(), value)
        with suppress(ValueError):
            value = float(value)
    return float(value) if isinstance(value, bool) or is_number(value) else None
