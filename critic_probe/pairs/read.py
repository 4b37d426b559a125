"""Files of pairs: every row is checked before anything is scored, and all faults of a file are told together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.pairs.candidates import to_candidates
from critic_probe.pairs.faults import BadRowError, Faults, OnBadRow
from critic_probe.pairs.files import HeldRows, RowFile
from critic_probe.pairs.messages import shown
from critic_probe.pairs.pair import Candidates, Pair, data_hash
from critic_probe.pairs.rows import Fields, to_pairs

_NOTES = {
    "answer-in-prompt": "in {} the prompt's messages ended in one of the answers, which was taken off them",
    "other-response": "in {} several fields could hold the response; the first of response, completion, output and "
    "answer was read",
}


class PairFile:
    """A file's pairs, read anew each time they are gone through.

    Args:
        rows: The file, or its path.
        fields: Field names, where the ones in use do not fit, and fields to let go.
        on_bad_row: `error` refuses a file with a faulty row; `skip` leaves such rows out and counts them.

    Attributes:
        on_bad_row: What becomes of faulty rows.
        hash: Twelve hex digits over what the pairs say, see `data_hash`.
        rows: The file's rows, those left out included.
        skipped: How many rows are left out, by kind of fault.
        notices: What reading changed or left out, for the result.

    Raises:
        CriticProbeError: The file cannot be read, a row is no pair, or an id stands twice; the message names the file
            and the row, of several faults the first five with a count by kind. Every row is checked before anything is
            scored.
    """

    def __init__(
        self,
        rows: str | Path | RowFile,
        fields: Fields = Fields(),  # noqa: B008 (frozen)
        *,
        on_bad_row: OnBadRow = "error",
    ) -> None:
        self._rows = rows if isinstance(rows, RowFile) else RowFile(rows)
        self._fields = fields
        self.on_bad_row = on_bad_row
        self._length = 0
        self.rows = 0
        faults, notes, ignored = Faults(on_bad_row), dict[str, list[str]](), Counter[str]()
        self.hash = data_hash(self._survey(faults, notes, ignored))
        faults.settle(self._rows.name, self.rows)
        if not self.rows:
            raise CriticProbeError(f"{self._rows.name}: no rows, the file is empty; give at least one pair")
        if not self._length:
            kinds = ", ".join(f"{count} {kind}" for kind, count in faults.skipped.items())
            raise CriticProbeError(f"{self._rows.name}: every row has a fault ({kinds}); give at least one pair")
        if unknown := [name for name in fields.ignore if not ignored[name]]:
            raise CriticProbeError(
                f"{self._rows.name}: {parameter('fields.ignore')} '{unknown[0]}' is in no row; name a field that is "
                "there"
            )
        self.skipped: Mapping[str, int] = faults.skipped
        self.notices = [
            *faults.notices,
            *(
                Notice("ignored-field", f"'{name}' was let go in {_count(count, 'row')}")
                for name, count in ignored.items()
            ),
            *(Notice(code, _NOTES[code].format(_count(len(ids), "pair")), ids) for code, ids in notes.items()),
        ]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return (entry for entry in self._entries(Counter()) if not isinstance(entry, BadRowError))

    def _records(self, row: dict[str, Any], number: int, source: str) -> Iterable[Pair | Candidates]:
        """What a row holds."""
        return to_pairs(row, number, source, self._fields)

    def _entries(self, ignored: Counter[str]) -> Iterator[Pair | Candidates | BadRowError]:
        """Pairs in order, and the faults of the rows that are none."""
        seen: dict[str, str] = {}
        for number, (where, content) in enumerate(self._rows.entries(), start=1):
            self.rows = max(self.rows, number)
            if isinstance(content, BadRowError):
                yield content
                continue
            ignored.update(name for name in self._fields.ignore if name in content)
            source = f"{self._rows.name} {where}"
            try:
                pairs = list(self._records(content, number, source))
                for pair in pairs:
                    if pair.id in seen:
                        message = f"id {shown(pair.id)} is already that of {seen[pair.id]}; make ids unique"
                        raise BadRowError("duplicate id", message)
            except BadRowError as fault:
                yield fault.at(source, where)
                continue
            seen.update((pair.id, where) for pair in pairs)
            yield from pairs

    def _survey(
        self, faults: Faults, notes: dict[str, list[str]], ignored: Counter[str]
    ) -> Iterator[Pair | Candidates]:
        for entry in self._entries(ignored):
            if isinstance(entry, BadRowError):
                faults.add(entry)
                continue
            self._length += 1
            for note in entry.notes:
                notes.setdefault(note, []).append(entry.id)
            yield entry


class CandidateFile(PairFile):
    """A file's responses, those of a row as pairs or as candidates: see `PairFile` and `to_candidates`."""

    def _records(self, row: dict[str, Any], number: int, source: str) -> Iterable[Pair | Candidates]:
        return to_candidates(row, number, source, self._fields)


def as_pairs(
    rows: Sequence[Mapping[str, Any]],
    fields: Fields = Fields(),  # noqa: B008 (as above)
    *,
    on_bad_row: OnBadRow = "error",
) -> PairFile:
    """Rows that are in memory, under the names that files use, as the pairs of a file: see `PairFile`."""
    return PairFile(HeldRows(rows), fields, on_bad_row=on_bad_row)


def read_pairs(
    path: str | Path,
    fields: Fields = Fields(),  # noqa: B008 (as above)
    *,
    on_bad_row: OnBadRow = "error",
) -> list[Pair]:
    """All pairs of a file, in memory: see `PairFile`."""
    return list(PairFile(path, fields, on_bad_row=on_bad_row))


def _count(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number} {what}s"
