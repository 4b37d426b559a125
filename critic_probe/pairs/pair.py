"""The record that everything else works on: a prompt and the two responses to it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypedDict


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class TokenIds:
    """A response as token ids, which are used as they are.

    Attributes:
        ids: The response ids, a closing EOS included where training saw one.
        text: The text that stood beside them; the ids must decode to it.
    """

    ids: tuple[int, ...]
    text: str | None = None


Prompt = str | tuple[Message, ...]
Response = str | TokenIds


@dataclass(frozen=True)
class Pair:
    """A student's and a teacher's response to one prompt; the teacher's is the better one.

    Attributes:
        id: Unique within its file.
        prompt: Text, or messages in order.
        student: The response that should score lower.
        teacher: The response that should score higher.
        category: Groups pairs in tables; empty for none.
        meta: Every other field of the row.
        source: File and row, for errors.
    """

    id: str
    prompt: Prompt
    student: Response
    teacher: Response
    category: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False)
    source: str = field(default="", compare=False)


def as_text(pair: Pair) -> Pair:
    """The pair without ids where texts stand beside them: for another tokenizer than theirs."""

    def text(side: Response) -> Response:
        return side.text if isinstance(side, TokenIds) and side.text is not None else side

    return replace(pair, student=text(pair.student), teacher=text(pair.teacher))


class Pairs(Protocol):
    """Pairs that can be counted and gone through more than once: a list, or a `PairFile`."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Pair]: ...


def data_hash(pairs: Iterable[Pair]) -> str:
    """Twelve hex digits of the SHA-256 over what the pairs say; where they were read from does not count."""
    digest = hashlib.sha256()
    for p in pairs:
        content = [p.id, p.prompt, _plain(p.student), _plain(p.teacher), p.category]
        digest.update(json.dumps(content, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:12]


def _plain(response: Response) -> Any:
    return [list(response.ids), response.text] if isinstance(response, TokenIds) else response
