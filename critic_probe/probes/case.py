"""One edited response, or why none was made, and the family that makes them."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from critic_probe.text import CLOSERS, TERMINAL_MARKS

Position = Literal["initial", "medial", "terminal", "whole"]
Kind = Literal["identity", "invariance", "directional", "control", "meaning-changing"]
Group = Literal["punct", "layout", "eos", "completeness", "controls"]
Scoring = Literal["text", "again", "batch", "eos"]

CONTEXT = 12  # characters shown on either side of an edit
_SOFT_MARKS = frozenset(",，;；:：、")


@dataclass(frozen=True)
class Subject:
    """A response that is to be edited, and what a family may look at beside it.

    Attributes:
        text: The response.
        side: `student` or `teacher`.
        others: Answers to other prompts of the same file.
        fields: The other fields of the response's row.
        seed: Decides every choice that a family leaves to chance.
        prompt: What the response answers: the last turn of the user.
        teacher: The teacher's response to it, where `text` is the student's.
    """

    text: str
    side: str = ""
    others: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    prompt: str = ""
    teacher: str = ""

    def rng(self, family: str) -> random.Random:
        """The same numbers for the same seed, family and response."""
        return random.Random(f"{self.seed}|{family}|{self.text}")

    def vouched(self, part: str) -> bool:
        """Whether a part of the response is known to be right: all of a teacher's is, of a student's what both say."""
        return self.side != "student" or part in self.teacher


class Change(NamedTuple):
    """What a family makes of a response at one position.

    Attributes:
        position: Where in the response the edit stands; `whole` where it has no one place.
        text: The edited response; None where it was left alone.
        reason: Why it was left alone: a short fixed name, such as `number` or `code`.
        base: The text that the edited one is compared with, where that is not the response itself.
    """

    position: Position
    text: str | None
    reason: str = ""
    base: str | None = None


@dataclass(frozen=True)
class Case:
    """An edited response and what the edit should do to the score.

    Attributes:
        family: The name of the family that made it.
        group: The option under which that family runs.
        position: Where in the response it stands.
        kind: What the edit does to the meaning.
        sign: The expected sign of the score's change; 0 where no change is expected.
        original: The text that the edited one is compared with.
        text: The edited text.
        restored: The edited text with the original's closing mark, where it ends in another; None elsewhere. The
            difference between the two is the ending's effect.
        scoring: `text` scores the edited text; `again`, `batch` and `eos` score the response's own ids a second time,
            among others in one padded batch, or with EOS added or taken away.
    """

    family: str
    group: Group
    position: Position
    kind: Kind
    sign: int
    original: str
    text: str
    restored: str | None = None
    scoring: Scoring = "text"


@dataclass(frozen=True)
class Skip:
    """An edit that was not made.

    Attributes:
        family: The name of the family that would have made it.
        position: Where in the response it would have stood.
        reason: A short fixed name, such as `number` or `code`.
    """

    family: str
    position: Position
    reason: str


@dataclass(frozen=True)
class Family:
    """A kind of edit, by name.

    Attributes:
        name: As tables and options spell it.
        group: The option of `critic-probe perturb` under which it runs.
        kind: What its edits do to the meaning.
        sign: The expected sign of the score's change: -1 for a control, 0 for an invariance.
        description: One line for a reader.
        edits: What it makes of a response.
        ending_control: Whether an edit that changes the closing mark also runs with the mark restored.
        scoring: See `Case`.
    """

    name: str
    group: Group
    kind: Kind
    sign: int
    description: str
    edits: Callable[[Subject], Iterator[Change]]
    ending_control: bool = False
    scoring: Scoring = "text"

    def outcomes(self, subject: Subject) -> Iterator[Case | Skip]:
        """The edits of a response, and those that were not made; an edit that changes nothing is neither."""
        for change in self.edits(subject):
            if change.text is None:
                yield Skip(self.name, change.position, change.reason)
                continue
            original = subject.text if change.base is None else change.base
            if change.text == original and self.scoring == "text":
                continue
            restored = with_ending_of(original, change.text) if self.ending_control else None
            yield Case(
                self.name,
                self.group,
                change.position,
                self.kind,
                self.sign,
                original,
                change.text,
                None if restored == change.text else restored,
                self.scoring,
            )


def in_context(case: Case) -> dict[str, str]:
    """What an edit replaces and what it puts there, with the characters around it."""
    start, end, added = _difference(case.original, case.text)
    return {
        "left": case.original[max(0, start - CONTEXT) : start],
        "removed": case.original[start:end],
        "added": added,
        "right": case.original[end : end + CONTEXT],
    }


def _difference(original: str, edited: str) -> tuple[int, int, str]:
    """The one span of the original that an edit replaces, and what takes its place."""
    shorter = min(len(original), len(edited))
    start = next((i for i in range(shorter) if original[i] != edited[i]), shorter)
    back = next((i for i in range(shorter - start) if original[-1 - i] != edited[-1 - i]), shorter - start)
    return start, len(original) - back, edited[start : len(edited) - back]


def with_ending_of(original: str, edited: str) -> str | None:
    """The edited text, its closing marks replaced by the original's; None where nothing but marks would be left."""
    body, _, closers = _ending(edited)
    return body + _ending(original)[1] + closers if body else None


def _ending(text: str) -> tuple[str, str, str]:
    """What stands before the closing marks, the marks, and the closers and blanks behind them."""
    end = len(text)
    while end and (text[end - 1].isspace() or text[end - 1] in CLOSERS):
        end -= 1
    start = end
    while start and (text[start - 1] in TERMINAL_MARKS or text[start - 1] in _SOFT_MARKS):
        start -= 1
    return text[:start], text[start:end], text[end:]
