"""The record that everything else works on: a prompt and the two responses to it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypeVar

Message = Mapping[str, Any]
"""One turn of a conversation as chat templates take it: `role`, `content`, and every other key of the file's."""


@dataclass(frozen=True)
class TokenIds:
    """A response as token ids, behind which the encoder puts what a convention closes answers with and they lack.

    Attributes:
        ids: The response ids, a closing EOS included where training saw one.
        text: The text that stood beside them; the ids must decode to it.
    """

    ids: tuple[int, ...]
    text: str | None = None


@dataclass(frozen=True)
class Turns:
    """A response that only a chat template can write: a tool call, reasoning beside the answer, or several turns.

    Attributes:
        messages: The turns, the first and the last of them the assistant's.
    """

    messages: tuple[Message, ...]


Prompt = str | tuple[Message, ...]
Response = str | TokenIds | Turns


@dataclass(frozen=True)
class Pair:
    """A student's and a teacher's response to one prompt; the teacher's is the better one.

    Attributes:
        id: Unique within its file.
        prompt: Text, or messages in order; where the last is the assistant's, the responses go on from it.
        student: The response that should score lower.
        teacher: The response that should score higher.
        category: Groups pairs in tables; empty for none.
        arguments: What else the row gives the chat template: `tools`, `documents`, and its `chat_template_kwargs`.
        meta: Every field of the row that is no input, side, id or label.
        source: File and row, for errors.
        notes: Codes of what reading changed, such as `answer-in-prompt`; `PairFile.notices` puts them in words.
        row: The id of its row, where that holds several pairs; else empty.
        called: What student and teacher are called within such a row: `r2` and `c1`, or their places `3` and `1`.
        ranks: Theirs, where such a row ranks its answers.
    """

    id: str
    prompt: Prompt
    student: Response
    teacher: Response
    category: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False)
    source: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    row: str = field(default="", compare=False)
    called: tuple[str, str] = field(default=("student", "teacher"), compare=False)
    ranks: tuple[float, ...] = field(default=(), compare=False)

    names: ClassVar[tuple[str, ...]] = ("student", "teacher")

    @property
    def responses(self) -> tuple[Response, ...]:
        """Both sides, the student's first."""
        return self.student, self.teacher

    def answered(self, prompt: Prompt, responses: Sequence[Response]) -> "Pair":
        """The same pair told otherwise."""
        student, teacher = responses
        return replace(self, prompt=prompt, student=student, teacher=teacher)


@dataclass(frozen=True)
class Candidates:
    """Any number of responses to one prompt, of which none is known to be better than another by where it stands.

    Attributes:
        id: Unique within its file.
        prompt: As `Pair.prompt`.
        responses: At least one.
        names: What each is called within its row: `response`, or of several its place from 1 on.
        labels: How good each is known to be, the more the better: 1 and 0 for right and wrong; else empty.
        decoded: Whether the prompt is a rendering that lost its special tokens, as dumps of rollouts hold it.
        category: As `Pair.category`, as are those that follow.
    """

    id: str
    prompt: Prompt
    responses: tuple[Response, ...]
    names: tuple[str, ...]
    labels: tuple[float, ...] = ()
    decoded: bool = False
    category: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False)
    source: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def answered(self, prompt: Prompt, responses: Sequence[Response]) -> "Candidates":
        """The same candidates told otherwise."""
        return replace(self, prompt=prompt, responses=tuple(responses))


Record = TypeVar("Record", Pair, Candidates)


def as_text(record: Record) -> Record:
    """The record without ids where texts stand beside them: for another tokenizer than theirs."""

    def text(side: Response) -> Response:
        return side.text if isinstance(side, TokenIds) and side.text is not None else side

    return record.answered(record.prompt, [text(side) for side in record.responses])


class Pairs(Protocol):
    """Pairs that can be counted and gone through more than once: a list, or a `PairFile`."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...  # `Pair`s; `Candidates` where nothing but `score` asks for them


def data_hash(records: Iterable[Pair | Candidates]) -> str:
    """Twelve hex digits of the SHA-256 over what pairs or candidates say; where they were read from does not count."""
    digest = hashlib.sha256()
    for record in records:
        content = [record.id, record.prompt, *map(_plain, record.responses), record.category]
        if record.arguments:
            content.append(dict(record.arguments))
        if isinstance(record, Candidates) and record.labels:
            content.append(record.labels)
        digest.update(json.dumps(content, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()[:12]


def _plain(response: Response) -> Any:
    if isinstance(response, Turns):
        return list(response.messages)
    return [list(response.ids), response.text] if isinstance(response, TokenIds) else response
