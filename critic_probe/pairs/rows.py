"""A row of a file becomes a pair: the field names in use, and what a cell may hold."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from critic_probe.errors import CriticProbeError
from critic_probe.pairs.pair import Message, Pair, Prompt, Response, TokenIds
from critic_probe.text import neutralise

_SIDES = (
    ("student", "teacher"),
    ("rejected", "chosen"),
    ("responses", "teacher_response"),
    ("response", "teacher_response"),
)
_PROMPTS = ("prompt", "conversations", "messages", "content", "question", "instruction", "query")
_IDS = ("id", "pair_id")
_CATEGORIES = ("category", "subset")
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}  # ShareGPT's words

_KNOWN = "student/teacher, rejected/chosen, responses/teacher_response"
_REPR = re.compile(r"""\s*(array\()?\[\s*\{\s*['"](role|content|from|value)['"]\s*:""")


@dataclass(frozen=True)
class Fields:
    """Field names that the user gives, where the ones in use do not fit; None looks for those in use."""

    prompt: str | None = None
    student: str | None = None
    teacher: str | None = None


class _Names(NamedTuple):
    prompt: str | None  # None: the messages that both conversational sides share
    student: str
    teacher: str


def to_pair(row: Mapping[str, Any], number: int, source: str, fields: Fields) -> Pair:
    """Reads one row.

    Args:
        row: Field names and values.
        number: 1-based, the id of a row that has none.
        source: File and row, for errors.
        fields: Names that the user gave.

    Raises:
        CriticProbeError: A field is missing, empty or not what it must be.
    """
    names = _names(row, source, fields)
    student_messages = _messages(row.get(names.student), source, names.student)
    teacher_messages = _messages(row.get(names.teacher), source, names.teacher)
    lead = _shared_lead(student_messages, teacher_messages, source, names)
    if names.prompt is not None:
        prompt = _prompt(row.get(names.prompt), source, names.prompt)
        if lead and not isinstance(prompt, str) and prompt[-len(lead) :] != lead:
            prompt = (*prompt, *lead)
    elif lead:
        prompt = lead
    else:
        raise CriticProbeError(
            f"{source}: no prompt (found {_found(row)}); known are {', '.join(_PROMPTS)}, "
            "or name its field with --prompt-field"
        )
    used = {*names, *_ids_fields(names), *_IDS, *_CATEGORIES}
    return Pair(
        id=_label(row, _IDS, source) or f"row-{number}",
        prompt=prompt,
        student=_response(row, names.student, student_messages, source),
        teacher=_response(row, names.teacher, teacher_messages, source),
        category=_label(row, _CATEGORIES, source),
        meta={key: value for key, value in row.items() if key not in used},
        source=source,
    )


def _names(row: Mapping[str, Any], source: str, fields: Fields) -> _Names:
    for option, name in (("prompt", fields.prompt), ("student", fields.student), ("teacher", fields.teacher)):
        if name is not None and name not in row:
            raise CriticProbeError(f"{source}: --{option}-field '{name}' is not in the row (found {_found(row)})")
    sides = next((pair for pair in _SIDES if any(_has(row, side) for side in pair)), (None, None))
    student, teacher = fields.student or sides[0], fields.teacher or sides[1]
    if student is None or teacher is None:
        raise CriticProbeError(
            f"{source}: unknown fields {_found(row)}; known pairs are {_KNOWN}, "
            "or name them with --student-field and --teacher-field"
        )
    for side in (student, teacher):
        if not _has(row, side):
            raise CriticProbeError(f"{source}: no '{side}' (found {_found(row)}); give the row both sides or remove it")
    return _Names(
        fields.prompt or next((name for name in _PROMPTS if row.get(name) is not None), None), student, teacher
    )


def _has(row: Mapping[str, Any], side: str) -> bool:
    return row.get(side) is not None or row.get(f"{side}_ids") is not None


def _ids_fields(names: _Names) -> tuple[str, str]:
    return f"{names.student}_ids", f"{names.teacher}_ids"


def _prompt(value: Any, source: str, name: str) -> Prompt:
    messages = _messages(value, source, name)
    if messages:
        return messages
    return _text(value, source, name)


def _response(row: Mapping[str, Any], side: str, messages: tuple[Message, ...], source: str) -> Response:
    value, ids = row.get(side), row.get(f"{side}_ids")
    if ids is None and _is_ids(value):
        ids, value = value, None
    text = messages[-1]["content"] if messages else None if value is None else _text(value, source, side)
    if ids is None:
        assert text is not None
        return text
    ids = _decoded(ids)
    if not _is_ids(ids) or not ids or any(i < 0 for i in ids):
        raise CriticProbeError(
            f"{source}: '{side}_ids' must be a list of token ids (whole numbers, 0 or more), not {_shown(ids)}"
        )
    return TokenIds(tuple(ids), text)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in value)


def _text(value: Any, source: str, name: str) -> str:
    if not isinstance(value, str):
        raise CriticProbeError(f"{source}: '{name}' is {_shown(value)}; it must be text or a list of {{role, content}}")
    if not value.strip():
        raise CriticProbeError(f"{source}: '{name}' is empty; give it a text or remove the row")
    if _REPR.match(value):
        raise CriticProbeError(
            f"{source}: '{name}' is the printed form of a list of messages ({_shown(value)}), which no critic was "
            "trained on; store the list itself"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CriticProbeError(f"{source}: '{name}' holds a lone surrogate; store it as valid Unicode") from None
    return value


def _messages(value: Any, source: str, name: str) -> tuple[Message, ...]:
    """The messages of a conversational cell, () where it is none."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not value or _is_ids(value):
        return ()
    messages = []
    for item in value:
        role = item.get("role", item.get("from")) if isinstance(item, Mapping) else None
        content = item.get("content", item.get("value")) if isinstance(item, Mapping) else None
        if not isinstance(role, str) or not isinstance(content, str):
            raise CriticProbeError(
                f"{source}: '{name}' holds {_shown(item)}; every message needs a role and a content, both text"
            )
        messages.append(Message(role=_ROLES.get(role, role), content=_text(content, source, name)))
    return tuple(messages)


def _shared_lead(
    student: tuple[Message, ...], teacher: tuple[Message, ...], source: str, names: _Names
) -> tuple[Message, ...]:
    """What both conversational sides say before their last message."""
    if len(student) < 2 and len(teacher) < 2:
        return ()
    if student[:-1] != teacher[:-1]:
        raise CriticProbeError(
            f"{source}: '{names.student}' and '{names.teacher}' differ before their last message; "
            "both must answer the same prompt"
        )
    return student[:-1]


def _label(row: Mapping[str, Any], names: tuple[str, ...], source: str) -> str:
    value = next((row[name] for name in names if row.get(name) is not None), "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CriticProbeError(f"{source}: '{names[0]}' is {_shown(value)}; it must be text or a whole number")
    return str(value)


def from_csv(row: Mapping[str, Any]) -> dict[str, Any]:
    """A CSV row with its empty cells missing and its JSON lists read: a CSV cell cannot hold a list itself."""
    return {key: _decoded(value) for key, value in row.items() if value not in ("", None)}


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            return value
        if _is_ids(parsed) or (isinstance(parsed, list) and parsed and all(isinstance(item, dict) for item in parsed)):
            return parsed
    return value


def _found(row: Mapping[str, Any]) -> str:
    return ", ".join(neutralise(str(key)) for key in list(row)[:12]) or "no fields"


def _shown(value: Any) -> str:
    text = neutralise(value if isinstance(value, str) else repr(value))
    return f"'{text[:40]}...'" if len(text) > 40 else f"'{text}'"
