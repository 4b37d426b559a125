"""What a critic is fed, as ids: a prompt, and the responses behind it with what closes them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from critic_probe.pairs import Candidates, Pair


@dataclass(frozen=True)
class Group:
    """The unit of scoring: one prompt and any number of responses to it, as ids.

    Attributes:
        prompt_ids: The prompt.
        responses: Each without the prompt.
        id: Of the pair that it was made from, for messages.
    """

    prompt_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    id: str = field(default="", compare=False)

    @property
    def sequences(self) -> list[tuple[int, ...]]:
        """Each response behind the prompt, as the critic is fed it."""
        return [self.prompt_ids + response for response in self.responses]


@dataclass(frozen=True)
class EncodedResponse:
    """A response as the critic sees it.

    Attributes:
        ids: The response ids; an EOS is among them only if the file, the policy or the convention put it there.
        eos: Which of them are EOS.
        text: The answer's own text, decoded where the file carried only ids; what closes it is no part of it.
        closing: How many of the ids close the answer: EOS, the chat template's tail.
        read: Index of the token at which the convention reads the score; None where it leaves that to read-outs.
    """

    ids: tuple[int, ...]
    eos: tuple[bool, ...]
    text: str
    closing: int = 0
    read: int | None = None

    @property
    def left_out(self) -> tuple[bool, ...]:
        """The tokens that read-outs leave out which leave EOS out: EOS, and what closes the answer."""
        own = len(self.ids) - self.closing
        return tuple(eos or index >= own for index, eos in enumerate(self.eos))

    @property
    def without_eos(self) -> tuple[bool, ...]:
        """The tokens that are read without EOS; all of them where there is nothing else."""
        left_out = self.left_out
        return left_out if all(left_out) else tuple(not out for out in left_out)

    @property
    def closes(self) -> tuple[bool, ...]:
        """Which of the tokens close the answer."""
        return tuple(i >= len(self.ids) - self.closing for i in range(len(self.ids)))

    @property
    def own_ids(self) -> tuple[int, ...]:
        """The ids of the answer's own text: what edits change."""
        return self.ids[: len(self.ids) - self.closing]

    @property
    def closing_ids(self) -> tuple[int, ...]:
        """The ids that close the answer: what is put back behind an edit."""
        return self.ids[len(self.ids) - self.closing :]


class Piece(NamedTuple):
    """The readable text around one token: the whole characters that it and its neighbours form together."""

    start: int  # index of the first token of the group
    text: str


@dataclass(frozen=True)
class EncodedPair:
    """A pair with both responses encoded behind the same prompt ids.

    Attributes:
        pair: What was encoded.
        prompt_ids: What both sides begin with.
        student: The student's response.
        teacher: The teacher's response.
        frame: The text before and behind the answer, where prompt and answer are tokenised as one text; else None.
    """

    pair: Pair
    prompt_ids: tuple[int, ...]
    student: EncodedResponse
    teacher: EncodedResponse
    frame: tuple[str, str] | None = None

    @property
    def record(self) -> Pair:
        """What was encoded."""
        return self.pair

    @property
    def responses(self) -> tuple[EncodedResponse, ...]:
        """Both sides, the student's first."""
        return self.student, self.teacher

    @property
    def length(self) -> int:
        """Tokens of the longer side with its prompt."""
        return _length(self)

    @property
    def group(self) -> Group:
        """The pair as a prompt group: student first."""
        return _group(self)


@dataclass(frozen=True)
class EncodedCandidates:
    """Any number of responses encoded behind the same prompt ids.

    Attributes:
        record: What was encoded.
        prompt_ids: What all begin with.
        responses: In the record's order.
    """

    record: Candidates
    prompt_ids: tuple[int, ...]
    responses: tuple[EncodedResponse, ...]

    @property
    def length(self) -> int:
        """Tokens of the longest response with its prompt."""
        return _length(self)

    @property
    def group(self) -> Group:
        """The responses as a prompt group."""
        return _group(self)


Encoded = EncodedPair | EncodedCandidates


def _length(encoded: Encoded) -> int:
    return len(encoded.prompt_ids) + max(len(response.ids) for response in encoded.responses)


def _group(encoded: Encoded) -> Group:
    return Group(encoded.prompt_ids, tuple(response.ids for response in encoded.responses), encoded.record.id)
