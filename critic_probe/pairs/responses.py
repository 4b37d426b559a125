"""Rows of `critic-probe score`, a response each, as the pairs that their file was of."""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from critic_probe.errors import CriticProbeError
from critic_probe.pairs.files import RowFile
from critic_probe.pairs.messages import is_number, shown

_FLOOR = re.compile(r"(.+)_floor")
_PLACE = re.compile(r"([cr]?)(\d+)")


class Told(NamedTuple):
    """What rules that read no content need of a text that is not there.

    Attributes:
        characters: Its length.
        terminal: Whether it ends in terminal punctuation.
        eos: Whether its ids end in EOS.
        hash: Of the text.
    """

    characters: int
    terminal: bool
    eos: bool
    hash: str


class ScoredResponse(NamedTuple):
    """A row: one response under one critic and every read-out.

    Attributes:
        critic: The critic's name.
        id: Its row's in the file that was scored.
        name: What it is called within that row.
        rank: Of ranked responses; 1 is the best.
        category: The row's.
        prompt_hash: What rows of one prompt share.
        tokens: Of the response.
        told: What is known of its text.
        scores: By read-out; None where it has none.
        floors: By read-out.
        tokens_read: By read-out of one token, the text of that token.
    """

    critic: str
    id: str
    name: str
    rank: float | None
    category: str
    prompt_hash: str
    tokens: int
    told: Told
    scores: dict[str, float | None]
    floors: dict[str, float]
    tokens_read: dict[str, str | None]

    @property
    def about(self) -> tuple[str, str, list[str]]:
        """What all responses of a row have in common."""
        return self.prompt_hash, self.category, [*self.scores]


def read_outs_of(row: Mapping[str, Any]) -> list[str]:
    """The read-outs of a row that `score` wrote; of any other row none."""
    if not {"critic", "id", "response", "prompt_hash", "response_hash"} <= row.keys():
        return []
    return [match[1] for key in row if (match := _FLOOR.fullmatch(key)) and f"{match[1]}_score" in row]


def paired(rows: RowFile) -> Iterator[tuple[str, str, ScoredResponse, ScoredResponse]]:
    """Every two responses of a row of which one is the better: where, the pair's id, the worse and the better one.

    Raises:
        CriticProbeError: A row is none of `score`, or of responses of which none is known to be better.
    """
    each = ((where, _response(row, f"{rows.name} {where}")) for where, row in rows)
    for (_, identity), group in itertools.groupby(each, key=lambda entry: (entry[1].critic, entry[1].id)):
        entries = list(group)
        where, by_name = entries[0][0], {response.name: response for _, response in entries}
        for _, other in entries:
            if other is not by_name[other.name]:
                raise CriticProbeError(f"{rows.name} {where}: '{identity}' has two responses {other.name}; remove one")
            if other.about != entries[0][1].about:
                raise CriticProbeError(
                    f"{rows.name} {where}: the responses of '{identity}' have several prompt hashes, categories or "
                    "read-outs; give the file as it was"
                )
        pairs = list(_ordered(by_name))
        if not pairs:
            raise CriticProbeError(
                f"{rows.name} {where}: of the responses of '{identity}' none is known to be better than another; score "
                "pairs or ranked candidates to compare them"
            )
        for suffix, worse, better in pairs:
            yield where, identity + suffix, by_name[worse], by_name[better]


def _ordered(by_name: Mapping[str, ScoredResponse]) -> Iterator[tuple[str, str, str]]:
    """The pairs of a row in the order in which they are read from it: what their ids end in, worse, better."""
    if {"student", "teacher"} <= by_name.keys():
        yield "", "student", "teacher"
        return
    places = {name: match.groups() for name in by_name if (match := _PLACE.fullmatch(name))}
    chosen, rejected = ([name for name, (side, _) in places.items() if side == wanted] for wanted in "cr")
    for better, worse in itertools.product(chosen, rejected):
        yield f"/{better}>{worse}", worse, better
    ranked = [(name, rank) for name in places if (rank := by_name[name].rank) is not None]
    for (better, best), (worse, rank) in itertools.permutations(ranked, 2):
        if best < rank:
            yield f"/{better}>{worse}", worse, better


def _response(row: Mapping[str, Any], source: str) -> ScoredResponse:
    names = read_outs_of(row)
    if not names:
        raise CriticProbeError(
            f"{source}: not a row of critic-probe score as the first one is; give the file as it was"
        )

    def number(key: str) -> float:
        value = _plain(row.get(key))
        if not is_number(value):
            raise CriticProbeError(f"{source}: '{key}' is {shown(row.get(key))}; it must be a finite number")
        if value < 0 and not key.endswith("_score"):
            raise CriticProbeError(f"{source}: '{key}' is {shown(value)}; it must not be negative")
        return float(value)

    def text(key: str) -> str:
        return str(row.get(key) or "")

    known = [name for name in names if _plain(row[f"{name}_score"]) is not None]
    reads = {name: row.get(f"{name}_token_read") for name in names}
    terminal, eos = (_plain(row.get(key)) is True for key in ("terminal", "eos"))
    return ScoredResponse(
        critic=text("critic"),
        id=text("id"),
        name=text("response"),
        rank=None if _plain(row.get("rank")) is None else number("rank"),
        category=text("category"),
        prompt_hash=text("prompt_hash"),
        tokens=int(number("tokens")),
        told=Told(int(number("characters")), terminal, eos, text("response_hash")),
        scores={name: number(f"{name}_score") if name in known else None for name in names},
        floors={name: number(f"{name}_floor") for name in names},
        tokens_read={name: None if read is None else str(read) for name, read in reads.items()},
    )


def _plain(value: Any) -> Any:
    """A CSV cell as what it writes."""
    if isinstance(value, str):
        with suppress(ValueError):
            return json.loads(value)
    return value
