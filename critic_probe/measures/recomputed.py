"""What follows from a record's scores, computed again with the texts that they are of.

A record's scores are put where a run has those of its critic; all else is made as a run makes it.
"""

import math
from collections.abc import Iterator, Mapping
from numbers import Number
from typing import Any

import pandas as pd
import torch

from critic_probe.aggregation import Aggregation
from critic_probe.documents import shown
from critic_probe.encoding import EncodedPair
from critic_probe.errors import Notice
from critic_probe.measures.compare import Compare, CompareResult, read_text, row_of
from critic_probe.measures.perturb import AGAIN, TWICE, Perturb, PerturbResult, Scored, twice
from critic_probe.measures.variants import SIDES, Plan, Variant, edit_of, variants_of
from critic_probe.objective import TEMPERATURE
from critic_probe.probes import in_context
from critic_probe.tolerance import AGREEMENT
from critic_probe.workbench import Bench

OF_VALUES = ("min", "max")  # read-outs that take the token that its value chooses
_PLACES = ("critic", "aggregation", "id", "side", "family", "position", "category", "baseline", "code")
_EXACT = 1e-9  # relative: both sides follow from the same stored numbers

Row = dict[str, Any]


class _MissingError(Exception):
    """A row that a run has and a record has not."""


class Recomputed:
    """A record's tables, critic by critic.

    Args:
        command: `compare`, `perturb` or `completeness`.
        record: The JSON object.
        rows: Its `pairs`, or its `cases`.
        plan: The edits of the record.
    """

    def __init__(self, command: str, record: Mapping[str, Any], rows: pd.DataFrame, plan: Plan) -> None:
        self._signed = record["signature"]
        self._rows: dict[tuple[str, str, str], list[Row]] = {}
        for row in rows.to_dict("records"):
            self._rows.setdefault((row["critic"], row["aggregation"], row["id"]), []).append(row)
        pairs = (
            rows
            if command == "compare"
            else pd.DataFrame(record["pairs"]).astype({"student_score": float, "teacher_score": float})
        )
        self._both = {
            (row["critic"], row["aggregation"], row["id"]): (row["student_score"], row["teacher_score"])
            for row in pairs.to_dict("records")
        }
        self._measure: Compare | Perturb = (
            Compare(self._signed.get("temperature", TEMPERATURE)) if command == "compare" else Perturb(plan, command)
        )

    def ids(self, critic: str) -> set[str]:
        """The pairs that the record has of a critic."""
        return {identity for name, _, identity in self._both if name == critic}

    def read(self, bench: Bench) -> str:
        """Goes through a critic's pairs; the first pair or edit that a run has and the record has not, in words."""
        try:
            self._read(bench)
        except _MissingError as missing:
            return str(missing)
        return ""

    def _read(self, bench: Bench) -> None:
        measure, ids = self._measure, self.ids(bench.name)
        measure.begin(bench)
        seen = 0
        for pair in bench.encoded(bench.pairs):
            if isinstance(measure, Compare):
                if pair.pair.id in ids:
                    measure.take(pair, self._compared(bench, pair))
                continue
            variants = variants_of(bench, pair, measure.plan, measure.skipped)
            if pair.pair.id not in ids:
                continue
            ways = {way for way, _ in twice(bench, pair, variants)} if seen < TWICE else set()
            made = [v for v in variants if v.case.scoring not in AGAIN or v.case.scoring in ways]
            seen += 1
            for aggregation in bench.settings.aggregations:
                both = self._scores(bench.name, aggregation, pair)
                measure.take(bench.name, aggregation, pair, both, self._scored(bench.name, aggregation, pair, made))
        floors = next(each["noise_floor"] for each in self._signed["critics"] if each["name"] == bench.name)
        measure.close(bench.name, {name: float(floor) for name, floor in floors.items()})

    def result(self, notices: list[Notice], fed: dict[str, Any]) -> CompareResult | PerturbResult:
        """The result that the record should be, once every critic's pairs were read.

        Args:
            notices: What was told of the critics.
            fed: The first pair as the first critic is fed it.
        """
        return self._measure.judged(notices, self._signed, fed)

    def _scores(self, critic: str, aggregation: Aggregation, pair: EncodedPair) -> tuple[float, float]:
        both = self._both.get((critic, aggregation.name, pair.pair.id))
        if both is None:
            raise _MissingError(f"pairs: {critic} {aggregation.name} {pair.pair.id} is not in the record")
        return both

    def _compared(self, bench: Bench, pair: EncodedPair) -> Iterator[Row]:
        for aggregation in bench.settings.aggregations:
            both = self._scores(bench.name, aggregation, pair)
            stored = self._rows[bench.name, aggregation.name, pair.pair.id][0]
            tokens = [stored.get("student_token_read"), stored.get("teacher_token_read")]
            if aggregation.kind not in OF_VALUES:
                sides = (pair.student, pair.teacher)
                unread = ((torch.zeros(len(side.ids)), side) for side in sides)  # which token it is, values do not tell
                tokens = [read_text(bench, pair, values, side, aggregation) for values, side in unread]
            row = row_of(bench.name, pair, aggregation, both, tokens)
            if bench.critic.head.normalisation is not None:
                mean, std = bench.critic.head.normalisation
                for side, score in zip(("student_raw_score", "teacher_raw_score"), both, strict=True):
                    raw, was = score * std + mean, _number(stored.get(side))
                    row[side] = was if abs(was - raw) <= AGREEMENT * max(1.0, abs(raw)) else raw
            yield row

    def _scored(
        self, critic: str, aggregation: Aggregation, pair: EncodedPair, variants: list[Variant]
    ) -> Iterator[Scored]:
        known: dict[Any, list[Row]] = {}
        for row in self._rows.get((critic, aggregation.name, pair.pair.id), ()):
            known.setdefault((edit_of(row), row["tokens"], row["token_change"]), []).append(row)
        for variant in variants:
            case, own = variant.case, (pair.student, pair.teacher)[variant.side]
            base = variant.base or own
            edit = edit_of(
                {"side": SIDES[variant.side], "family": case.family, "position": case.position} | in_context(case)
            )
            alike = known.get((edit, len(base.ids), len(variant.edited.ids) - len(base.ids)))
            if not alike:
                where = " ".join((critic, aggregation.name, pair.pair.id, *edit[:3]))
                raise _MissingError(f"cases: {where} is not in the record")
            row = alike.pop(0)
            restored = None if variant.restored is None else _number(row.get("restored_score"))
            own_base = None if variant.base is None else row["original_score"]
            yield Scored(variant, row["variant_score"], own_base, restored)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def difference(stored: Any, again: Any, place: str = "") -> str:
    """The first value of a JSON object that is another than it should be, in words; empty where there is none.

    Args:
        stored: As the record has it.
        again: As it should be; numbers are equal up to rounding.
        place: Where it stands.
    """
    if isinstance(again, dict):
        if not isinstance(stored, dict):
            return f"{place} is {shown(stored)} in the record, not an object"
        if other := [key for key in [*again, *stored] if (key in again) != (key in stored)]:
            what = "is no part of it" if other[0] in stored else "is not in the record"
            return f"{_inside(place, other[0])} {what}"
        return next(filter(None, (difference(stored[key], again[key], _inside(place, key)) for key in again)), "")
    if isinstance(again, list):
        if not isinstance(stored, list) or len(stored) != len(again):
            found = f"{len(stored)} long" if isinstance(stored, list) else shown(stored)
            return f"{place} is {found} in the record, not a list of {len(again)}"
        both = zip(stored, again, strict=True)
        return next(filter(None, (difference(*each, f"{place}{_row(i, each[1])}") for i, each in enumerate(both))), "")
    return "" if _same(stored, again) else f"{place} is {_short(stored)} in the record and {_short(again)} by its rows"


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _row(index: int, row: Any) -> str:
    names = [str(row[name]) for name in _PLACES if row.get(name)] if isinstance(row, dict) else []
    return f"[{index}]" + (f" ({' '.join(names):.80})" if names else "")


def _same(was: Any, now: Any) -> bool:
    if isinstance(now, bool) or not isinstance(now, int | float):
        return type(was) is type(now) and bool(was == now)
    return same_number(was, now)


def same_number(was: Any, now: Any) -> bool:
    """Whether a value is a number, and up to rounding another one."""
    try:
        number = isinstance(was, Number) and not isinstance(was, bool)
        return number and math.isclose(was, now, rel_tol=_EXACT, abs_tol=_EXACT)
    except OverflowError:  # an integer longer than any float
        return False


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else shown(value)
