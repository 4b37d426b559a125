"""One edit of a response, or why none was made."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Position = Literal["initial", "medial", "terminal"]
Kind = Literal["identity", "invariance", "directional", "meaning-changing"]


@dataclass(frozen=True)
class Edit:
    """A replacement of one span of a response, and what it should do to the score.

    Attributes:
        family: The name of the family that made it.
        position: Where in the response it stands.
        kind: What the edit does to the meaning.
        sign: The expected sign of the score's change; 0 where no change is expected.
        start: Where the replaced span begins in the original.
        end: Where it ends, exclusive; equal to `start` for an insertion.
        replacement: What takes its place; empty for a deletion.
    """

    family: str
    position: Position
    kind: Kind
    sign: int
    start: int
    end: int
    replacement: str

    def apply(self, text: str) -> str:
        """The edited response; `text` must be the one that the edit was made for."""
        return text[: self.start] + self.replacement + text[self.end :]


@dataclass(frozen=True)
class Skip:
    """An edit that was not made because a guard forbids it.

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
        description: One line for a reader.
        edits: What it makes of a response: at most one `Edit` or `Skip` per position.
    """

    name: str
    description: str
    edits: Callable[[str], Iterator[Edit | Skip]]
