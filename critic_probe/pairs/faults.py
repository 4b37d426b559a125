"""Rows that cannot be used: every fault has a kind and a place, and a file's faults are told together."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from critic_probe.errors import CriticProbeError, Notice, parameter

OnBadRow = Literal["error", "skip"]

TOO_LONG = "too long"

_TOLD = 5  # faults that an error quotes


class BadRowError(CriticProbeError):
    """A fault of one row of a file.

    Args:
        kind: What is wrong in two or three words, such as `empty side`: what faults are counted by.
        message: What was found and the cure, without the place.
        source: File and row.
        where: The row alone, for a message that has named the file.
        check: The check of `critic-probe doctor` that fails with it.
    """

    def __init__(self, kind: str, message: str, *, source: str = "", where: str = "", check: str = "") -> None:
        super().__init__(f"{source}: {message}" if source else message, check=check)
        self.kind = kind
        self.message = message
        self.where = where or source

    def at(self, source: str, where: str = "") -> "BadRowError":
        """The same fault with its place."""
        return BadRowError(self.kind, self.message, source=source, where=where, check=self.check)


class Faults:
    """The faults of a file's rows: told together in one error, or counted where bad rows are left out.

    Args:
        on_bad_row: `error`, or `skip`.
        on_too_long: The same for rows that are too long; as `on_bad_row` where None.
    """

    def __init__(self, on_bad_row: OnBadRow = "error", on_too_long: OnBadRow | None = None) -> None:
        self._skips = {"": on_bad_row == "skip", TOO_LONG: (on_too_long or on_bad_row) == "skip"}
        self._refused: Counter[str] = Counter()
        self._skipped: dict[str, list[str]] = {}
        self._first: list[BadRowError] = []

    def add(self, fault: BadRowError) -> None:
        """Takes note of a fault."""
        if self._skips.get(fault.kind, self._skips[""]):
            self._skipped.setdefault(fault.kind, []).append(fault.where)
            return
        self._refused[fault.kind] += 1
        if len(self._first) < _TOLD:
            self._first.append(fault)

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many rows are left out, by kind of fault."""
        return {kind: len(places) for kind, places in self._skipped.items()}

    @property
    def notices(self) -> list[Notice]:
        """Which rows are left out and why."""
        return [Notice("bad-rows", f"{len(places)} left out: {kind}", places) for kind, places in self._skipped.items()]

    def settle(self, name: str, total: int) -> None:
        """Refuses the file if a row that must not be left out has a fault.

        Args:
            name: The file.
            total: Its rows.

        Raises:
            CriticProbeError: The one fault as it is; of several the count by kind and the first five.
        """
        if not self._refused:
            return
        count = sum(self._refused.values())
        if count == 1:
            raise self._first[0]
        kinds = ", ".join(f"{number} {kind}" for kind, number in self._refused.most_common())
        first = "; ".join(f"{fault.where}: {fault.message}" for fault in self._first)
        rest = f"; and {count - len(self._first)} more" if count > len(self._first) else ""
        raise CriticProbeError(
            f"{name}: {count} of {total} rows have a fault ({kinds}): {first}{rest}; mend them, or leave them out with "
            f"{parameter('on_bad_row', 'skip')}",
            check=self._first[0].check,
        )
