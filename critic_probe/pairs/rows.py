"""A row of a file becomes a pair: the field names in use, and what a cell may hold."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
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
_KNOWN_ROLES = {"system", "developer", "user", "assistant", "tool", *_ROLES}
_FOLLOWS = {("system", "user"), ("user", "assistant"), ("assistant", "user")}

_KNOWN = ", ".join(f"{student}/{teacher}" for student, teacher in _SIDES)
_PRINTED = re.compile(
    r"""\s*(?:
        (?:array\()? \[ \s* \{ \s* '(?:role|content|from)' \s* :
        | \{ \s* '(?:role|from)' \s* : \s* '(?:system|user|assistant|human|gpt|bot)'
    )""",
    re.VERBOSE,
)


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


class _Side(NamedTuple):
    lead: tuple[Message, ...]  # what a conversational side says before its answer
    answer: Response


def to_pairs(row: Mapping[str, Any], number: int, source: str, fields: Fields) -> Iterator[Pair]:
    """Reads one row: a pair, or a candidate set, which gives a pair for every two responses of different rank.

    Raises:
        CriticProbeError: See `to_pair`; or a candidate set has no ranks, not one for each response, or all alike.
    """
    responses, (student, teacher) = row.get("responses"), _sides(row)
    named = fields.student or fields.teacher
    whole = student is not None and teacher is not None and _has(row, student) and _has(row, teacher)
    if named or whole or not isinstance(responses, list) or not responses or not isinstance(responses[0], str):
        yield to_pair(row, number, source, fields)
        return
    ranks = row.get("ranks")
    if not isinstance(ranks, list) or len(ranks) != len(responses) or not all(map(is_number, ranks)):
        raise CriticProbeError(
            f"{source}: 'responses' is a candidate set; give it 'ranks', a list of {len(responses)} numbers, 1 the best"
        )
    if len(set(ranks)) < 2:
        raise CriticProbeError(
            f"{source}: 'ranks' order no two responses; give two of different rank or remove the row"
        )
    id_name = _first(row, _IDS)
    label = _label(row, id_name, source) or f"row-{number}"
    rest = {key: value for key, value in row.items() if key not in ("responses", "ranks", id_name)}
    for better, worse in itertools.permutations(range(len(responses)), 2):
        if ranks[better] < ranks[worse]:
            sides = {"student": responses[worse], "teacher": responses[better]}
            place = f"{label}/{better + 1}>{worse + 1}"
            yield to_pair({**rest, **sides, "id": place}, number, source, fields)


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
    student, teacher = _side(row, names.student, source), _side(row, names.teacher, source)
    if student.lead != teacher.lead:
        raise CriticProbeError(
            f"{source}: '{names.student}' and '{names.teacher}' differ before their last message; "
            "both must answer the same prompt"
        )
    if names.prompt is not None:
        prompt = _joined(_prompt(row[names.prompt], source, names.prompt), student.lead, source, names)
    elif student.lead:
        prompt = student.lead
    else:
        raise CriticProbeError(
            f"{source}: no prompt (found {_found(row)}); known are {', '.join(_PROMPTS)}, "
            "or name its field with --prompt-field"
        )
    id_name, category_name = _first(row, _IDS), _first(row, _CATEGORIES)
    used = {*names, _ids_name(names.student), _ids_name(names.teacher), id_name, category_name}
    return Pair(
        id=_label(row, id_name, source) or f"row-{number}",
        prompt=prompt,
        student=student.answer,
        teacher=teacher.answer,
        category=_label(row, category_name, source),
        meta={key: value for key, value in row.items() if key not in used},
        source=source,
    )


def _names(row: Mapping[str, Any], source: str, fields: Fields) -> _Names:
    for option, name in (("prompt", fields.prompt), ("student", fields.student), ("teacher", fields.teacher)):
        if name is not None and name not in row:
            raise CriticProbeError(
                f"{source}: --{option}-field '{name}' is not in the row (found {_found(row)}); name one that is"
            )
    sides = _sides(row)
    student, teacher = fields.student or sides[0], fields.teacher or sides[1]
    if student is None or teacher is None:
        raise CriticProbeError(
            f"{source}: unknown fields {_found(row)}; known pairs are {_KNOWN}, "
            "or name them with --prompt-field, --student-field and --teacher-field"
        )
    for side in (student, teacher):
        if not _has(row, side):
            raise CriticProbeError(f"{source}: no '{side}' (found {_found(row)}); give the row both sides or remove it")
    prompt = fields.prompt or _first(row, tuple(name for name in _PROMPTS if name not in (student, teacher)))
    return _Names(prompt, student, teacher)


def _sides(row: Mapping[str, Any]) -> tuple[str, str] | tuple[None, None]:
    """The known pair of fields that the row fills best: a lone `teacher` beside rejected/chosen names a model."""

    def filled(pair: tuple[str, str]) -> tuple[int, int]:
        return sum(_has(row, side) for side in pair), sum(side in row for side in pair)

    best = max(_SIDES, key=filled)
    return best if any(filled(best)) else (None, None)


def _has(row: Mapping[str, Any], side: str) -> bool:
    return row.get(side) is not None or row.get(_ids_name(side)) is not None


def _ids_name(side: str) -> str:
    return "response_ids" if side == "responses" else f"{side}_ids"


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


def _prompt(value: Any, source: str, name: str) -> Prompt:
    return _messages(value, source, name) or _text(value, source, name)


def _joined(prompt: Prompt, lead: tuple[Message, ...], source: str, names: _Names) -> Prompt:
    """The prompt and the lead of the sides as one conversation: the lead may repeat the prompt or go on from it."""
    told = (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt
    if not lead or told[-len(lead) :] == lead:
        return prompt
    if told in (lead[: len(told)], lead[-len(told) :]):
        return lead
    if (told[-1]["role"], lead[0]["role"]) not in _FOLLOWS:
        raise CriticProbeError(
            f"{source}: '{names.prompt}' is not what '{names.student}' and '{names.teacher}' say before their last "
            "message; make them equal, or remove it from the row"
        )
    return (*told, *lead)


def _side(row: Mapping[str, Any], name: str, source: str) -> _Side:
    value, ids, ids_name = row.get(name), row.get(_ids_name(name)), _ids_name(name)
    if ids is None and isinstance(value, list) and value and not isinstance(value[0], Mapping):
        value, ids, ids_name = None, value, name
    messages = _messages(value, source, name)
    if messages and messages[-1]["role"] != "assistant":
        raise CriticProbeError(
            f"{source}: '{name}' ends in a message of role {shown(messages[-1]['role'])}; "
            "its last message must be the assistant's answer"
        )
    text = messages[-1]["content"] if messages else value
    if ids is None:
        return _Side(messages[:-1], _text(text, source, name))
    beside = None if text is None else _text(text, source, name)
    return _Side(messages[:-1], TokenIds(_token_ids(ids, source, ids_name), beside))


def _token_ids(value: Any, source: str, name: str) -> tuple[int, ...]:
    wanted = "must be a list of token ids (whole numbers, 0 or more)"
    if not isinstance(value, list) or not value:
        raise CriticProbeError(f"{source}: '{name}' {wanted}, not {shown(value)}")
    for position, item in enumerate(value, start=1):
        if not _is_whole(item) or item < 0:
            raise CriticProbeError(f"{source}: '{name}' {wanted}; entry {position} is {shown(item)}")
    return tuple(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any, source: str, name: str) -> str:
    if not isinstance(value, str):
        raise CriticProbeError(f"{source}: '{name}' is {shown(value)}; it must be text or a list of {{role, content}}")
    if not value.strip():
        raise CriticProbeError(f"{source}: '{name}' is empty; give it a text or remove the row")
    if _PRINTED.match(value) or _holds_messages(_parsed(value)):
        raise CriticProbeError(
            f"{source}: '{name}' is the printed form of a list of messages ({shown(value)}), which no critic was "
            "trained on; store the list itself",
            check="prompt-repr",
        )
    return _encodable(value, source, name)


def _encodable(value: str, source: str, name: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CriticProbeError(f"{source}: '{name}' holds a lone surrogate; store it as valid Unicode") from None
    return value


def _messages(value: Any, source: str, name: str) -> tuple[Message, ...]:
    """The messages of a conversational cell, () where it is none."""
    items = [value] if isinstance(value, Mapping) else value
    if not isinstance(items, list) or not items or not isinstance(items[0], Mapping):
        return ()
    messages = []
    for item in items:
        role, content = _role_and_content(item)
        if not isinstance(role, str) or not isinstance(content, str):
            raise CriticProbeError(
                f"{source}: '{name}' holds {shown(item)}; every message needs a role and a content, both text"
            )
        _encodable(role, source, name)
        if content or role != "system":  # an empty system message is a choice: it replaces a template's own
            _text(content, source, name)
        messages.append(Message(role=_ROLES.get(role, role), content=content))
    return tuple(messages)


def _role_and_content(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, Mapping):
        return None, None
    return item.get("role", item.get("from")), item.get("content", item.get("value"))


def _label(row: Mapping[str, Any], name: str | None, source: str) -> str:
    if name is None:
        return ""
    value = row[name]
    if not isinstance(value, str) and not _is_whole(value):
        raise CriticProbeError(f"{source}: '{name}' is {shown(value)}; it must be text or a whole number")
    return _encodable(str(value), source, name)


def from_csv(row: Mapping[str, str]) -> dict[str, Any]:
    """A CSV row with its empty cells None and its JSON messages and ids read: a CSV cell cannot hold a list itself."""
    return {key: _parsed(value) if value else None for key, value in row.items()}


def _parsed(text: str) -> Any:
    """The messages or whole numbers that a text writes as JSON; any other text stays what it is."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    whole_numbers = isinstance(parsed, list) and parsed and all(map(_is_whole, parsed))
    return parsed if whole_numbers or _holds_messages(parsed) else text


def _holds_messages(value: Any) -> bool:
    items = [_role_and_content(item) for item in (value if isinstance(value, list) else [value])]
    # Without a known role it is an answer in JSON, such as [{"from": "Rome", "value": "3"}].
    return all(isinstance(part, str) for item in items for part in item) and any(r in _KNOWN_ROLES for r, _ in items)


def _found(row: Mapping[str, Any]) -> str:
    return ", ".join(_short(str(key)) for key in list(row)[:12]) or "no fields"


def shown(value: Any) -> str:
    """A value of a file as an error message quotes it: short, and safe to print."""
    return f"'{_short(value if isinstance(value, str) else repr(value))}'"


def _short(text: str) -> str:
    return neutralise(text if len(text) <= 40 else text[:40] + "...")
