"""A row of a file becomes pairs: every field has a place, or the row is refused.

The layouts are rewritten one into the other (ranked answers and lists of answers into two sides each, a conversation
that holds an answer into prompt and answer) until a row has a prompt and two sides.

They stand in one file, longer than others, because each is tried in the order of the others.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from critic_probe.errors import parameter
from critic_probe.pairs.faults import BadRowError
from critic_probe.pairs.messages import (
    BEYOND_TEXT,
    content_text,
    encodable,
    holds_messages,
    is_number,
    is_whole,
    json_of,
    messages,
    parsed,
    said,
    same,
    short,
    shown,
    text,
)
from critic_probe.pairs.pair import Message, Pair, Prompt, Response, TokenIds, Turns
from critic_probe.pairs.transcripts import OPENS_ANSWER

_SIDES = (
    ("student", "teacher"),
    ("rejected", "chosen"),
    ("responses", "teacher_response"),
    ("response", "teacher_response"),
    ("rejected_response", "response"),
)
PROMPTS = ("prompt", "conversations", "messages", "content", "question", "instruction", "query")
_SYSTEMS = ("system", "system_prompt", "system_message")
_ARGUMENTS = ("tools", "documents", "chat_template_kwargs")
RESERVED = frozenset(
    (
        *("conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize"),
        *("sanitize_control_tokens", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
        *("return_assistant_tokens_mask", "tokenizer_kwargs"),
    )
)
"""What `apply_chat_template` takes for itself: no argument of a template's own."""

_MEDIA = ("image", "images", "video", "videos", "audio", "audios")
_IDS = ("id", "pair_id")
_CATEGORIES = ("category", "subset")
# Fields that datasets use for a part of the input, for which no layout here says how a trainer joins it.
_PLACELESS = (
    *("input", "inputs", "history", "context", "contexts", "passage", "passages", "document", "documents", "article"),
    *("background", "knowledge", "evidence", "persona", "few_shot", "choices", "options", "functions"),
    *("dialog", "dialogue", "conversation"),
)
_FOLLOWS = {("system", "user"), ("user", "assistant"), ("assistant", "user")}

OPPOSED = (
    *(side for sides in _SIDES for side in sides if side not in ("response", "responses")),
    *("rejected_messages", "response_0", "response_1"),
)
"""Fields of answers that stand against another one."""

_KNOWN = ", ".join(f"{student}/{teacher}" for student, teacher in _SIDES)


@dataclass(frozen=True)
class Fields:
    """Field names that the user gives, where the ones in use do not fit; None looks for those in use.

    Attributes:
        prompt: The field that holds the prompt.
        student: The field that holds the student's response.
        teacher: The field that holds the teacher's response.
        ignore: Fields that are let go though they could be input.
        response: The field that holds a response, or several, that no other one stands against; only `score` reads it.
        label: The field that says how good each response is; only `score` reads it.
    """

    prompt: str | None = None
    student: str | None = None
    teacher: str | None = None
    ignore: tuple[str, ...] = ()
    response: str | None = None
    label: str | None = None


class _Names(NamedTuple):
    prompt: str | None  # None: what the sides share before their answers
    sides: tuple[str, ...]

    @property
    def quoted(self) -> str:
        return " and ".join(f"'{side}'" for side in self.sides)


class _Side(NamedTuple):
    turns: tuple[Message, ...]  # a conversational side whole, () for any other
    response: Response | None  # any other side

    @property
    def lead(self) -> tuple[Message, ...]:
        return self.turns[:-1]


@dataclass(frozen=True)
class Answers:
    """The answers of a row, each in a field of its own.

    Attributes:
        row: Its other fields.
        fields: By what an answer is called within its row (`student`, `c1`, `3`), the field that holds it.
        each: The answers that stood in a list, by field; the others are in the row.
        prompt: The field that holds the prompt; None for the one that is known.
        pairs: Of every two of which one is better: what their id ends in, the worse and the better one.
        ranks: Of ranked answers, by what they are called; 1 is the best.
    """

    row: dict[str, Any]
    fields: dict[str, str]
    each: dict[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    pairs: Sequence[tuple[str, str, str]] = (("", "student", "teacher"),)
    ranks: Mapping[str, float] = field(default_factory=dict)

    def read(self, number: int, names: Sequence[str]) -> "Read":
        """Prompt and answers.

        Args:
            number: 1-based, the id of a row that has none.
            names: Which answers.

        Raises:
            BadRowError: A field is missing, empty or not what it must be, or has no place.
        """
        fields = tuple(self.fields[name] for name in names)
        return _read(
            self.row | {key: self.each[key] for key in fields if key in self.each}, number, self.prompt, fields
        )


class Read(NamedTuple):
    """What a row says: a prompt, answers to it, and what belongs to them; see `Pair`."""

    id: str
    prompt: Prompt
    responses: tuple[Response, ...]
    category: str
    arguments: dict[str, Any]
    meta: dict[str, Any]
    notes: tuple[str, ...]


def to_pairs(row: Mapping[str, Any], number: int, source: str, fields: Fields) -> Iterator[Pair]:
    """Reads one row: a pair, or one for every two answers of which one is better.

    Args:
        row: Field names and values.
        number: 1-based, the id of a row that has none.
        source: File and row, which the pairs keep.
        fields: Names that the user gave.

    Raises:
        BadRowError: A field is missing, empty or not what it must be, or has no place.
    """
    answers = opposed(kept(row, fields), fields)
    if not answers.pairs:
        raise BadRowError("no ranks", "'ranks' order no two responses; give two of different rank or remove the row")
    return pairs_of(answers, number, source)


def pairs_of(answers: Answers, number: int, source: str) -> Iterator[Pair]:
    """The pairs of a row: see `to_pairs`."""
    for suffix, worse, better in answers.pairs:
        read = answers.read(number, (worse, better))
        student, teacher = read.responses
        about = (read.category, read.arguments, read.meta, source, read.notes)
        pair = Pair(read.id + suffix, read.prompt, student, teacher, *about)
        if suffix:
            ranks = tuple(answers.ranks[name] for name in (worse, better) if name in answers.ranks)
            pair = replace(pair, row=read.id, called=(worse, better), ranks=ranks)
        yield pair


def kept(row: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """The fields that are read: none that is let go, and none that holds NaN.

    Raises:
        BadRowError: A field that the user named is not there, or one holds what is no text.
    """
    named = (("prompt", fields.prompt), ("student", fields.student), ("teacher", fields.teacher))
    for side, name in (*named, ("response", fields.response), ("label", fields.label)):
        if name is not None and name not in row:
            raise BadRowError(
                "field not in the row",
                f"{parameter(f'fields.{side}')} '{name}' is not in the row (found {found(row)}); name one that is",
            )
    rest = {key: value for key, value in row.items() if key not in fields.ignore and value == value}  # NaN is missing
    for name in _MEDIA:
        if rest.get(name):
            raise BadRowError(
                "image, video or audio",
                f"'{name}' is not empty, and this tool reads text; remove the row, or let the field go with "
                f"{parameter('fields.ignore')} {name}",
            )
    return rest


def opposed(row: dict[str, Any], fields: Fields) -> Answers:
    """The answers of a row in which one stands against another.

    Raises:
        BadRowError: A side is missing.
    """
    if not (fields.student or fields.teacher):
        row, fields = _sides_of(row, fields)
        if not fields.student and (ranked := _ranked(row)) is not None:
            return ranked_answers(row, *ranked, fields.prompt)
    student, teacher = _names_of_sides(row, fields)
    rejected, chosen = several(row[student]) if student in row else None, several(row.get(teacher))
    if rejected is None and chosen is None:
        return Answers(row, {"student": student, "teacher": teacher}, prompt=fields.prompt)
    for side in (student, teacher):
        refuse_ids_beside(row, side)
    rest = {key: value for key, value in row.items() if key not in (student, teacher)}
    sides = {"r": (student, rejected or [row.get(student)]), "c": (teacher, chosen or [row.get(teacher)])}
    names = {f"{short}{i}": f"{side}[{i}]" for short, (side, those) in sides.items() for i in range(1, len(those) + 1)}
    each = {f"{side}[{i}]": answer for side, those in sides.values() for i, answer in enumerate(those, start=1)}
    worse, better = ([name for name in names if name[0] == short] for short in ("r", "c"))
    pairs = [(f"/{c}>{r}", r, c) for c in better for r in worse]
    return Answers(rest, names, each, fields.prompt, pairs)


def ranked_answers(
    row: Mapping[str, Any], name: str, answers: Sequence[Any], ranks: Sequence[float] | None, prompt: str | None
) -> Answers:
    """A candidate set, whose answers are called by their place: 1, 2, ...; a pair is two of different rank."""
    rest = {key: value for key, value in row.items() if key != name and (ranks is None or key != "ranks")}
    names = {str(place): f"{name}[{place}]" for place in range(1, len(answers) + 1)}
    each = dict(zip(names.values(), answers, strict=True))
    order = dict(zip(names, ranks or (), strict=False))
    pairs = [(f"/{b}>{w}", w, b) for b, w in itertools.permutations(order, 2) if order[b] < order[w]]
    return Answers(rest, names, each, prompt, pairs, order)


def refuse_ids_beside(row: Mapping[str, Any], name: str) -> None:
    """Refuses ids beside a list of answers.

    Raises:
        BadRowError: There are some.
    """
    if row.get(ids := _ids_name(name)) is not None:
        raise BadRowError(
            "ids beside a list", f"'{ids}' stands beside a list of answers; give each answer a row of its own"
        )


def _sides_of(row: dict[str, Any], fields: Fields) -> tuple[dict[str, Any], Fields]:
    """The names of the sides in layouts where a value, or the end of a conversation, says which side is which."""
    if {"response_0", "response_1"} <= row.keys() and not _filled(row):
        better = row.get("better_response_id")
        if better not in (0, 1, "0", "1"):
            raise BadRowError(
                "no better response",
                f"'better_response_id' is {shown(better)}; it must be 0 or 1, the number of the better response",
            )
        return row, replace(fields, student=f"response_{1 - int(better)}", teacher=f"response_{int(better)}")
    other = next((name for name in ("rejected_messages", "rejected_response") if row.get(name) is not None), None)
    if other is None or "messages" not in row or _filled(row):
        return row, fields
    turns = messages(row["messages"], "messages")
    if not turns or turns[-1]["role"] != "assistant":
        raise BadRowError(
            "missing side", f"'messages' does not end in the answer that '{other}' stands against; add it"
        )
    if other == "rejected_messages":
        return row, replace(fields, student=other, teacher="messages")
    start = 1 + max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=-1)
    row = {**row, "messages": list(turns[:start]), "messages[answer]": list(turns[start:]), other: _turn(row[other])}
    return row, replace(fields, prompt="messages", student=other, teacher="messages[answer]")


def _turn(answer: Any) -> Any:
    """An answer, or each of several, as the turn that it is."""
    if isinstance(answer, str):
        return [{"role": "assistant", "content": answer}]
    return [_turn(item) for item in answer] if several(answer) and isinstance(answer[0], str) else answer


def _ranked(row: Mapping[str, Any]) -> tuple[str, list[Any], list[float]] | None:
    """A candidate set: the name of its field, the answers and their ranks, 1 the best."""
    name, answers, ranks = "answers", row.get("answers"), row.get("ranks")
    if isinstance(answers, list) and answers and all(isinstance(a, Mapping) and "rank" in a for a in answers):
        ranks = [answer["rank"] for answer in answers]
        answers = [answer.get("answer") for answer in answers]
    else:
        name, answers = "responses", row.get("responses")
        if not isinstance(answers, list) or not answers or not isinstance(answers[0], str) or _filled(row):
            return None
    if not isinstance(ranks, list) or len(ranks) != len(answers) or not all(map(is_number, ranks)):
        raise BadRowError(
            "no ranks",
            f"'{name}' is a candidate set; give it 'ranks', a list of {len(answers)} numbers, 1 the best",
        )
    return name, answers, ranks


def _filled(row: Mapping[str, Any]) -> bool:
    student, teacher = _known_sides(row)
    return student is not None and teacher is not None and filled(row, student) and filled(row, teacher)


def several(value: Any) -> list[Any] | None:
    """Several answers: texts, or conversations."""
    if not isinstance(value, list) or not value:
        return None
    return value if isinstance(value[0], str | list) else None


def _read(row: Mapping[str, Any], number: int, prompt_field: str | None, fields: tuple[str, ...]) -> Read:
    names = _Names(prompt_field or prompt_name(row, fields), fields)
    lead, responses = _split([_side(row, name) for name in fields], names)
    prompt: Prompt
    used = {*fields, *map(_ids_name, fields)}
    notes: tuple[str, ...] = ()
    if names.prompt is not None:
        prompt, joined = _prompt(row, names.prompt)
        used |= {names.prompt, *joined}
        prompt, notes = _without_answer(prompt, responses)
        prompt = _joined(prompt, lead, names)
    elif lead:
        prompt = lead
    elif OPENS_ANSWER in (shared := _common(responses)):
        cut = shared.rindex(OPENS_ANSWER) + len(OPENS_ANSWER)
        prompt = shared[:cut]
        responses = tuple(
            _filled_text(str(response)[cut:], name) for response, name in zip(responses, fields, strict=True)
        )
    else:
        raise BadRowError(
            "no prompt",
            f"no prompt (found {found(row)}); known are {', '.join(PROMPTS)}, or name its field with "
            f"{parameter('fields.prompt')}",
        )
    prompt, added = _with_system_and_history(prompt, {k: v for k, v in row.items() if k != names.prompt})
    arguments, given = _arguments(row)
    id_name, category_name = _first(row, _IDS), _first(row, _CATEGORIES)
    used |= {*added, *given, *filter(None, (id_name, category_name))}
    _refuse_placeless(row, used, prompt, responses)
    return Read(
        _label(row, id_name) or f"row-{number}",
        prompt,
        responses,
        _label(row, category_name),
        arguments,
        {key: value for key, value in row.items() if key not in used},
        notes,
    )


def _names_of_sides(row: Mapping[str, Any], fields: Fields) -> tuple[str, str]:
    known = _known_sides(row)
    student, teacher = fields.student or known[0], fields.teacher or known[1]
    if student is None or teacher is None:
        raise BadRowError(
            "unknown fields",
            f"unknown fields {found(row)}; known pairs are {_KNOWN}, "
            f"or name them with {parameter('fields.prompt')}, {parameter('fields.student')} and "
            f"{parameter('fields.teacher')}",
        )
    others = (pair for pair in _SIDES if not {student, teacher} & {*pair} and all(filled(row, side) for side in pair))
    if not (fields.student and fields.teacher) and (other := next(others, None)):
        raise BadRowError(
            "two pairs",
            f"holds both {student}/{teacher} and {other[0]}/{other[1]}; name the sides with "
            f"{parameter('fields.student')} and {parameter('fields.teacher')}",
        )
    for side in (student, teacher):
        if not filled(row, side) or row.get(side) == []:
            raise BadRowError("missing side", f"no '{side}' (found {found(row)}); give the row both sides or remove it")
    return student, teacher


def _known_sides(row: Mapping[str, Any]) -> tuple[str, str] | tuple[None, None]:
    """The known pair of fields that the row fills best: a lone `teacher` beside rejected/chosen names a model."""

    def count(pair: tuple[str, str]) -> tuple[int, int]:
        return sum(filled(row, side) for side in pair), sum(side in row for side in pair)

    best = max(_SIDES, key=count)
    return best if any(count(best)) else (None, None)


def filled(row: Mapping[str, Any], side: str) -> bool:
    """Whether a row has an answer of that name, as text or as ids."""
    return row.get(side) is not None or row.get(_ids_name(side)) is not None


def _ids_name(side: str) -> str:
    return "response_ids" if side == "responses" else f"{side}_ids"


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


def prompt_name(row: Mapping[str, Any], sides: Sequence[str] = ()) -> str | None:
    """The first field in use for prompts that a row fills and that is none of its sides."""
    return _first(row, tuple(name for name in PROMPTS if name not in sides))


def _prompt(row: Mapping[str, Any], name: str) -> tuple[Prompt, set[str]]:
    """The prompt of a field, and the fields that are joined to it: Alpaca's question is instruction, newline, input."""
    if turns := messages(row[name], name):
        return turns, set()
    prompt, more = text(row[name], name), row.get("input")
    if name == "instruction" and "input" in row:
        return (f"{prompt}\n{text(more, 'input')}" if _says(more) else prompt), {"input"}
    return prompt, set()


def _says(value: Any) -> bool:
    """Whether a cell holds anything."""
    return bool(value.strip()) if isinstance(value, str) else value is not None and value != [] and value != {}


def _with_system_and_history(prompt: Prompt, row: Mapping[str, Any]) -> tuple[Prompt, set[str]]:
    """The prompt behind a row's system text and its earlier turns, and the fields that hold them."""
    used: set[str] = set()
    before: list[Message] = []
    for name in _SYSTEMS:
        if name not in row or not (row[name] is None or isinstance(row[name], str)):
            continue
        used.add(name)
        if not _says(row[name]):
            continue
        turn = {"role": "system", "content": text(row[name], name)}
        if before:
            raise BadRowError(
                "two systems", f"'{name}' is a second system text; let one go with {parameter('fields.ignore')} {name}"
            )
        if not isinstance(prompt, str) and prompt[0]["role"] in ("system", "developer"):
            if content_text(prompt[0]) != turn["content"]:
                raise BadRowError(
                    "two systems",
                    f"'{name}' is not what the conversation's own system message says; make them equal, or let it go "
                    f"with {parameter('fields.ignore')} {name}",
                )
            continue
        before.append(turn)
    history = row.get("history")
    if "history" in row and (history is None or isinstance(history, list)):
        used.add("history")
        before += _history(history or [])
    if before:
        turns = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt
        return (*before, *turns), used
    return prompt, used


def _history(history: list[Any]) -> list[Message]:
    if holds_messages(history):
        return list(messages(history, "history"))
    turns: list[Message] = []
    for exchange in history:
        if not isinstance(exchange, list) or len(exchange) != 2:
            raise BadRowError(
                "history of another form", f"'history' holds {shown(exchange)}; write [question, answer] for each turn"
            )
        for role, words in zip(("user", "assistant"), exchange, strict=True):
            turns.append({"role": role, "content": text(words, "history")})
    return turns


def _arguments(row: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What a row gives the chat template beside messages, and the fields that hold it."""
    arguments: dict[str, Any] = {}
    used = set()
    for name in _ARGUMENTS:
        given = row.get(name)
        if not _says(given):
            continue
        value = json_of(given) if isinstance(given, str) else given
        if name == "chat_template_kwargs":
            if not isinstance(value, Mapping) or not RESERVED.isdisjoint(value):
                raise BadRowError(
                    "not a template's argument",
                    f"'{name}' is {shown(given)}; it must be an object of what the template itself reads",
                )
            arguments |= {key: v for key, v in value.items() if v is not None}
        elif isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            arguments |= {name: value} if value else {}
        elif name == "tools":
            raise BadRowError(
                "not a template's argument",
                f"'tools' is {shown(given)}; it must be a list of JSON schemas, or that list as JSON",
            )
        else:
            continue
        used.add(name)
    return arguments, used


def _refuse_placeless(row: Mapping[str, Any], used: set[str], prompt: Prompt, responses: tuple[Response, ...]) -> None:
    """Refuses a field that could be input and is neither used nor said by prompt or responses."""
    texts = [prompt] if isinstance(prompt, str) else [content_text(message) for message in prompt]
    for response in responses:
        if isinstance(response, Turns):
            texts += [content_text(message) for message in response.messages]
        else:
            texts.append(response if isinstance(response, str) else response.text or "")
    for name, value in row.items():
        could_be = name in (*_PLACELESS, *PROMPTS, *_SYSTEMS, *_ARGUMENTS)
        if name in used or not _says(value) or not (could_be or holds_messages(value)):
            continue
        if all(any(words.strip() in part for part in texts) for words in _words(value)):
            continue
        raise BadRowError(
            "field without a place",
            f"'{name}' could be part of the input ({shown(value)}), and no layout says where it goes; put it into "
            f"the prompt, or let it go with {parameter('fields.ignore')} {name}",
        )


def _words(value: Any) -> list[str]:
    if holds_messages(value):
        return [content_text(message) for message in messages(value, "")]
    if isinstance(value, list | Mapping):
        items = value.values() if isinstance(value, Mapping) else value
        return [words for item in items for words in _words(item)]
    return [value if isinstance(value, str) else repr(value)]


def _without_answer(prompt: Prompt, responses: tuple[Response, ...]) -> tuple[Prompt, tuple[str, ...]]:
    """The prompt without an answer that it already ends in, and the note that says so."""
    if isinstance(prompt, str) or len(prompt) < 2:
        return prompt, ()
    for response in responses:
        turns = response.messages if isinstance(response, Turns) else ({"role": "assistant", "content": response},)
        start = len(prompt) - len(turns)
        if start > 0 and same(prompt[start:], turns):
            return prompt[:start], ("answer-in-prompt",)
    return prompt, ()


def _joined(prompt: Prompt, lead: tuple[Message, ...], names: _Names) -> Prompt:
    """The prompt and the lead of the sides as one conversation: the lead may repeat the prompt or go on from it."""
    turns: tuple[Message, ...] = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt
    if not lead or same(turns[-len(lead) :], lead):
        return prompt
    if same(turns, lead[: len(turns)]) or same(turns, lead[-len(turns) :]):
        return lead
    if (turns[-1]["role"], lead[0]["role"]) not in _FOLLOWS:
        raise BadRowError(
            "two prompts",
            f"'{names.prompt}' is not what {names.quoted} say before their last message; make them equal, or remove "
            "it from the row",
        )
    return (*turns, *lead)


def _split(sides: Sequence[_Side], names: _Names) -> tuple[tuple[Message, ...], tuple[Response, ...]]:
    """What the sides share before their answers, and the answers; of one alone what follows the last user's turn."""
    turns = [side.turns for side in sides]
    lead: tuple[Message, ...] = ()
    rests = turns
    apart = any(side.lead != sides[0].lead for side in sides)
    if all(turns):
        longest = min(map(len, turns)) - 1
        shared = next((i for i in range(longest) if any(said(t[i]) != said(turns[0][i]) for t in turns)), longest)
        if len(turns) == 1:
            shared = 1 + max((i for i, turn in enumerate(turns[0]) if turn["role"] == "user"), default=-1)
        lead, rests = turns[0][:shared], [side[shared:] for side in turns]
        apart = any(rest[0]["role"] != "assistant" for rest in rests)
    if apart:
        raise BadRowError(
            "two prompts",
            f"{names.quoted} differ before their last message; "
            f"{'both' if len(sides) == 2 else 'all'} must answer the same prompt",
        )
    return lead, tuple(
        side.response if side.response is not None else _answer(rest) for side, rest in zip(sides, rests, strict=True)
    )


def _common(responses: Sequence[Response]) -> str:
    """What texts begin with together; nothing where one is no text."""
    texts = [response for response in responses if isinstance(response, str)]
    if len(texts) < len(responses):
        return ""
    first, last = min(texts), max(texts)  # what these two share all between them do
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def _answer(turns: tuple[Message, ...]) -> Response:
    """The turns as a text, where they are one turn of nothing but text."""
    if len(turns) > 1 or any(turns[0].get(key) for key in BEYOND_TEXT):
        return Turns(turns)
    return content_text(turns[0])


def _side(row: Mapping[str, Any], name: str) -> _Side:
    value, ids, ids_name = row.get(name), row.get(_ids_name(name)), _ids_name(name)
    if ids is None and isinstance(value, list) and value and not isinstance(value[0], Mapping):
        value, ids, ids_name = None, value, name
    turns = messages(value, name)
    if turns and turns[-1]["role"] != "assistant":
        raise BadRowError(
            "answer of another role",
            f"'{name}' ends in a message of role {shown(turns[-1]['role'])}; "
            "its last message must be the assistant's answer",
        )
    if isinstance(ids, str):
        ids = json_of(ids) or ids
    if ids is None:
        return _Side(turns, None) if turns else _Side((), _filled_text(value, name))
    beside = content_text(turns[-1]) if turns else None if value is None else _filled_text(value, name)
    return _Side(turns, TokenIds(_token_ids(ids, ids_name), beside))


def _filled_text(value: Any, name: str) -> str:
    if isinstance(value, str) and not value.strip():
        raise BadRowError("empty side", f"'{name}' is empty; give it a text or remove the row")
    return text(value, name)


def _token_ids(value: Any, name: str) -> tuple[int, ...]:
    wanted = "must be a list of token ids (whole numbers, 0 or more)"
    if not isinstance(value, list) or not value:
        raise BadRowError("not token ids", f"'{name}' {wanted}, not {shown(value)}")
    for position, item in enumerate(value, start=1):
        if not is_whole(item) or item < 0:
            raise BadRowError("not token ids", f"'{name}' {wanted}; entry {position} is {shown(item)}")
    return tuple(value)


def _label(row: Mapping[str, Any], name: str | None) -> str:
    if name is None:
        return ""
    value = row[name]
    if not isinstance(value, str) and not is_whole(value):
        raise BadRowError("not a label", f"'{name}' is {shown(value)}; it must be text or a whole number")
    return encodable(str(value), name)


def from_csv(row: Mapping[str, str]) -> dict[str, Any]:
    """A CSV row with its empty cells None and its JSON messages read: a CSV cell cannot hold a list itself.

    A cell such as `[0, 1]` is ids in a column that is named so (`student_ids`) and text in any other.
    """
    return {key: parsed(value) if value else None for key, value in row.items()}


def found(row: Mapping[str, Any]) -> str:
    """The fields of a row, for a message."""
    return ", ".join(short(str(key)) for key in list(row)[:12]) or "no fields"
