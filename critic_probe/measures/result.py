"""What every result has in common: which tables it holds, how it shows itself, and how it is saved."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from critic_probe.errors import Notice
from critic_probe.workbench import Signature


class Statement(NamedTuple):
    """A sentence of an answer, and the figures that it rests on.

    Attributes:
        text: The sentence, as every renderer prints it.
        figures: Name -> value, as they stand in the result's tables.
    """

    text: str
    figures: dict[str, Any]


class Result:
    """Something measured, that reads at a prompt as its command prints it.

    Attributes:
        command: The command that it is the result of; its JSON says so.
        also: Other commands that it is the result of.
        facts: What stands in its JSON before the tables.
        tables: Its tables, in the order of its JSON.
        main: The table that CSV and Parquet hold.
    """

    command: str
    also: ClassVar[tuple[str, ...]] = ()
    facts: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...]]
    main: ClassVar[str]

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its own tables and signature."""
        return []

    def answer(self) -> list[Statement]:
        """What was found, in two to six plain sentences, the most important first: what every renderer begins with."""
        return []

    def show(self, rows: int | None = None, *, full: bool = False) -> None:
        """Prints it as its command does: the answer and what it rests on, on one screen.

        Args:
            rows: How many pairs, cases or families a table shows, where it shows the first ones only; None for as many
                as have room.
            full: Whether everything is printed.
        """
        from rich.console import Console

        from critic_probe.report.terminal import show

        show(self, Console(), rows, full=full)

    def save(self, path: str | Path) -> None:
        """Writes all of it (.json) or its main table (.csv, .parquet), as `-o FILE` does.

        Raises:
            CriticProbeError: The suffix is another one, or the file cannot be written.
        """
        from critic_probe.report.files import write_result

        write_result(Path(path), self)

    def as_json(self) -> dict[str, Any]:
        """All of it as the plain values that `save` writes to a .json file."""
        from critic_probe.report.files import to_json

        return to_json(self)

    def __str__(self) -> str:
        from critic_probe.report.terminal import as_text

        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from critic_probe.report.terminal import as_html

        return as_html(self)


@dataclass(frozen=True, repr=False, kw_only=True)
class Measured(Result):
    """Something measured on critics and pairs.

    Attributes:
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
        input: The first pair exactly as the first critic is fed it: rendered text, where the answer stands, ids.
    """

    notices: list[Notice]
    signature: Signature
    reading: list[str] = field(default_factory=list)
    input: dict[str, Any] | None = None
