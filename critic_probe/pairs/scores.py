"""Scores that were computed elsewhere: rows with a student's and a teacher's score instead of texts to be scored."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from critic_probe.errors import CriticProbeError
from critic_probe.pairs.files import RowFile
from critic_probe.pairs.messages import is_number, shown
from critic_probe.pairs.responses import Told, paired, read_outs_of

_SCORE = re.compile(r"student_(?:(?P<name>.+)_)?score")
_EITHER = re.compile(r"(student|teacher)((?:_.+)?_score)")
PLAIN = "score"  # the read-out of `student_score` where nothing names it


class ScoredPair(NamedTuple):
    """Both scores of a pair under one critic and read-out.

    Attributes:
        critic: The row's `critic`, else empty.
        aggregation: The row's `aggregation`, else the name inside `student_NAME_score`.
        id: The row's id, else its number.
        category: The row's category, or empty.
        prompt_hash: What rows of one prompt share; the id where the row has no prompt.
        student_score: The student's score.
        teacher_score: The teacher's score.
        student: The student's text, where the row has it, or what is told of it.
        teacher: The teacher's.
        student_tokens: Tokens of the student's response, where the row says so.
        teacher_tokens: Tokens of the teacher's response, where the row says so.
        floor: The gap up to which the row says that the pair is a tie, as the tool's own results do.
        student_token_read: The token whose value is the student's score, where the row says so.
        teacher_token_read: The teacher's.
    """

    critic: str
    aggregation: str
    id: str
    category: str
    prompt_hash: str
    student_score: float
    teacher_score: float
    student: str | Told | None
    teacher: str | Told | None
    student_tokens: int | None
    teacher_tokens: int | None
    floor: float | None = None
    student_token_read: str | None = None
    teacher_token_read: str | None = None


def holds_scores(rows: RowFile) -> bool:
    """Whether the first row of a file carries scores of both sides, or is one of `score`."""
    for _, row in rows:
        return bool(_read_outs(row) or read_outs_of(row))
    return False


def read_scores(rows: RowFile) -> Iterator[ScoredPair]:
    """The scores of a file, row by row.

    Raises:
        CriticProbeError: A row has other scores than the first one, or a score of one side only; a score or floor is no
            finite number; or a pair stands twice under one critic and read-out, or is of several prompts or categories.
            The message names the file and the row, or the pair.
    """
    about: dict[str, tuple[str, str]] = {}
    for pair in _each(rows):
        if about.setdefault(pair.id, said := (pair.prompt_hash, pair.category)) != said:
            raise CriticProbeError(
                f"{rows.name}: the rows of id {shown(pair.id)} have several prompts or categories; make ids unique"
            )
        yield pair


def _each(rows: RowFile) -> Iterator[ScoredPair]:
    if any(read_outs_of(row) for _, row in itertools.islice(rows, 1)):
        yield from _of_responses(rows)
        return
    expected: list[str] | None = None
    seen: dict[tuple[str, str, str], str] = {}
    for number, (where, row) in enumerate(rows, start=1):
        source = f"{rows.name} {where}"
        if alone := _one_sided(row):
            raise CriticProbeError(f"{source}: '{alone}' has no score of the other side; give both, or remove it")
        names = _read_outs(row)
        expected = names if expected is None else expected
        if missing := [name for name in expected if name not in names]:
            raise CriticProbeError(f"{source}: no {_column(missing[0])} and its teacher's; give every row all scores")
        if added := [name for name in names if name not in expected]:
            raise CriticProbeError(f"{source}: {_column(added[0])} is not in the first row; give every row all scores")
        for name in expected:
            pair = _pair(row, name, number, source)
            key = (pair.critic, pair.aggregation, pair.id)
            if key in seen:
                raise CriticProbeError(f"{source}: id {shown(pair.id)} is already that of {seen[key]}; make ids unique")
            seen[key] = where
            yield pair


def _of_responses(rows: RowFile) -> Iterator[ScoredPair]:
    """The pairs of the rows that `score` wrote, under every read-out that both responses have a score of."""
    seen: dict[tuple[str, str], str] = {}
    for where, identity, worse, better in paired(rows):
        key = (worse.critic, identity)
        if key in seen:
            message = f"id {shown(identity)} is already that of {seen[key]}; make ids unique"
            raise CriticProbeError(f"{rows.name} {where}: {message}")
        seen[key] = where
        for name, score in worse.scores.items():
            if score is not None and (other := better.scores.get(name)) is not None:
                yield ScoredPair(
                    worse.critic,
                    name,
                    identity,
                    worse.category,
                    worse.prompt_hash,
                    score,
                    other,
                    worse.told,
                    better.told,
                    worse.tokens,
                    better.tokens,
                    worse.floors[name],
                    worse.tokens_read[name],
                    better.tokens_read[name],
                )


def scores_hash(pairs: list[ScoredPair]) -> str:
    """Twelve hex digits over everything that the scores say."""
    said = [pair[:-2] if pair[-2:] == (None, None) else pair for pair in pairs]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def _read_outs(row: Mapping[str, Any]) -> list[str]:
    found = [match["name"] or PLAIN for key in row if (match := _SCORE.fullmatch(key)) and _teacher(key) in row]
    return [PLAIN] if "aggregation" in row and PLAIN in found else found


def _one_sided(row: Mapping[str, Any]) -> str | None:
    sides = {"student": "teacher", "teacher": "student"}
    for key in row:
        match = _EITHER.fullmatch(key)
        if match and f"{sides[match[1]]}{match[2]}" not in row:
            return key
    return None


def _column(name: str) -> str:
    return "student_score" if name == PLAIN else f"student_{name}_score"


def _teacher(column: str) -> str:
    return "teacher" + column.removeprefix("student")


def _pair(row: Mapping[str, Any], name: str, number: int, source: str) -> ScoredPair:
    column = _column(name)
    scores = [_number(row.get(key), key, source) for key in (column, _teacher(column))]
    given = (row[key] for key in ("id", "pair_id") if row.get(key) not in (None, ""))
    identity = str(next(given, f"row-{number}"))
    prompt = row.get("prompt")
    own = hashlib.sha256(json.dumps(prompt, sort_keys=True, default=str).encode()).hexdigest()[:12] if prompt else None
    return ScoredPair(
        critic=str(row.get("critic") or ""),
        aggregation=str(row.get("aggregation") or name),
        id=identity,
        category=str(row.get("category") or ""),
        prompt_hash=str(row.get("prompt_hash") or own or identity),
        student_score=scores[0],
        teacher_score=scores[1],
        student=row["student"] if isinstance(row.get("student"), str) else None,
        teacher=row["teacher"] if isinstance(row.get("teacher"), str) else None,
        student_tokens=_tokens(row.get("student_tokens")),
        teacher_tokens=_tokens(row.get("teacher_tokens")),
        floor=_floor(row, source) if name == PLAIN else None,
    )


def _number(value: Any, name: str, source: str) -> float:
    if isinstance(value, str):  # a CSV cell
        with suppress(ValueError):
            value = float(value)
    if not is_number(value):
        raise CriticProbeError(f"{source}: '{name}' is {shown(value)}; it must be a finite number")
    return float(value)


def _floor(row: Mapping[str, Any], source: str) -> float | None:
    if row.get("floor") in (None, ""):
        return None
    floor = _number(row["floor"], "floor", source)
    if floor < 0:
        raise CriticProbeError(f"{source}: 'floor' is {shown(row['floor'])}; it must not be negative")
    return floor


def _tokens(value: Any) -> int | None:
    if isinstance(value, str):
        value = int(value) if value.isdecimal() else None
    return int(value) if is_number(value) and value > 0 else None
