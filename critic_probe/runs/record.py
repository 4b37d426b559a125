"""What readers of run logs give, whatever wrote them: figures by step, and scored samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Column(NamedTuple):
    """What a logged figure is.

    Attributes:
        name: The one name that this tool has for it, a network and what it says of it: `critic/d_acc`; see `names`.
        logged: The name that it was logged under.
        definition: Which of a name's definitions it was logged under, where framework and version tell; "" where not.
    """

    name: str
    logged: str
    definition: str


class Figures(NamedTuple):
    """Figures that were logged together, a row a step.

    Attributes:
        columns: What they are; records that logged the same share it.
        steps: (n,) the steps that they were logged under.
        values: (n * columns,) row by row, as logged; NaN and infinities are kept.
    """

    columns: tuple[Column, ...]
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Side:
    """One scored response of a log.

    Attributes:
        text: As logged; None where the log has only ids.
        ids: Its token ids, where the log has them.
        score: As logged, None where it has none.
        length: Its logged length in tokens, where there is one.
    """

    text: str | None
    ids: tuple[int, ...] | None
    score: float | None
    length: int | None


@dataclass(frozen=True)
class Sample:
    """One prompt of a log with what was scored to it.

    Attributes:
        step: The step of the run.
        prompt: The prompt's text, as logged.
        prompt_ids: Its ids, where the log has them.
        student: The student's response, or the only one.
        teacher: The teacher's; None where the log scores single responses.
        place: The file and line or record, as messages name it.
        eos_lost: Whether the log dropped special tokens, so that nobody can tell whether the response ended in EOS.
    """

    step: int
    prompt: str | None
    prompt_ids: tuple[int, ...] | None
    student: Side
    teacher: Side | None
    place: str
    eos_lost: bool = False


@dataclass(frozen=True)
class Source:
    """A file that was read, and as what.

    Attributes:
        path: The file.
        format: The reader's words for it, as tables show it.
        framework: verl, trl, openrlhf, gad or critic-probe, where it tells; "" where not.
        version: Of the framework, where it tells.
        notes: What was lost or could not be read, a sentence each, lines counted.
    """

    path: Path
    format: str
    framework: str = ""
    version: str = ""
    notes: Sequence[str] = ()
