"""Whether a result that was written down is what a checkpoint gives: hashes compared, a sample computed again."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any, cast

import numpy as np
import pandas as pd

from critic_probe.aggregation import parse
from critic_probe.checkpoint import Critic
from critic_probe.encoding import shown_input
from critic_probe.errors import Notice
from critic_probe.measures.compare import CompareResult, scores_of, summarise, with_verdicts
from critic_probe.measures.perturb import PerturbResult, cases_of
from critic_probe.measures.recomputed import OF_VALUES, Recomputed, difference, same_number
from critic_probe.measures.recorded import SCHEMAS
from critic_probe.measures.result import Result
from critic_probe.measures.variants import Plan
from critic_probe.pairs import Pairs
from critic_probe.tolerance import STEPS, of_records
from critic_probe.workbench import Bench, Settings, Signature, hash_of, preflight
from critic_probe.workbench.signature import signature

_HASHES = {"weights": "fingerprint", "head": "head", "tokenizer": "tokenizer", "template": "template"}
_CASE = ["aggregation", "id", "side", "family", "position", "left", "removed", "added"]
_WHERE = ("dtype", "device", "attention")
_ELSEWHERE = ("convention_because", "engine", *_WHERE)
"""What a signature says of a critic that is where it was computed, and how; the name is how records say which it is."""
_OF_SCORES = ("noise_floor", "left_out")
_VERSIONS = ("version", "torch", "transformers")
OF_RUNS = ("bundled-critics", "bundled-pairs", "cache", "engine", "half-precision", "unsteady-values")
"""Warnings of the call and of the machine, which another run need not have."""
_NEEDS = "needs the same data and the same critic"
_OFF = 4 * STEPS  # how many times a noise floor may be another one's that was measured in the same type and place

Check = dict[str, str]


@dataclass(frozen=True, repr=False)
class VerifyResult(Result):
    """Whether a record is what a checkpoint gives.

    Attributes:
        checks: One row per check: check, verdict (pass, fail, not run), evidence.
        left_out: What of the record no check covers: fields of its signature, codes of its warnings, columns.
        signature: The record's, with how the sample was drawn.
    """

    command = "verify"
    facts = ("holds", "left_out")
    tables = ("checks",)
    main = "checks"

    checks: pd.DataFrame
    left_out: list[str]
    signature: Signature

    @property
    def holds(self) -> bool:
        """Whether every check ran and passed."""
        return bool((self.checks.verdict == "pass").all())


def verify(
    record: Mapping[str, Any],
    critics: Iterable[Critic],
    pairs: Pairs,
    settings: Mapping[str, Settings],
    plan: Plan,
    sample: int,
    seed: int | None,
) -> VerifyResult:
    """Holds a result against the checkpoints that it names.

    Every figure of its summary is computed again from its own rows, and all that it says from its scores and the texts;
    of every critic, weights, head, tokenizer and template are compared by hash, and `sample` pairs drawn at random, and
    all that the record has not, are scored again without a cache.

    Args:
        record: The JSON object of `compare`, `perturb` or `completeness`.
        critics: Under the names of the record's signature and in its order; loaded one after the other, each let go
            before the next.
        pairs: What was scored.
        settings: By critic, those of the record.
        plan: The edits of the record.
        sample: How many pairs of each critic are scored again, or all where there are fewer; of an edited pair, all of
            its edits.
        seed: Draws them; None draws others each time.

    Raises:
        CriticProbeError: A critic cannot be read, or a pair cannot be scored honestly.
    """
    command, signed = SCHEMAS[record["schema"]], record["signature"]
    rows = pd.DataFrame(record["pairs" if command == "compare" else "cases"]).apply(_numbers)
    data = hash_of(pairs)
    same_data = data == signed["data"]
    evidence = "the pairs are those of the record" if same_data else f"{signed['data']} in the record, {data} here"
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    figures = _figures(command, record, rows)
    checks: list[Check] = []
    again = Recomputed(command, record, rows, plan)
    named = {critic["name"]: critic for critic in signed["critics"]}
    read: list[dict[str, Any]] = []
    notices: list[Notice] = []
    fed: dict[str, Any] = {}
    missing, scored, elsewhere = "", 0, False
    for critic in critics:
        then = named[critic.name]
        bench = Bench(critic, pairs, settings[critic.name])
        del critic
        try:
            preflight(bench.critic)
            now: dict[str, Any] = {**bench.record()}
            hashes = [_hash(bench.name, word, now[key], then[key]) for word, key in _HASHES.items()]
            compared: tuple[bool | None, str] = None, _NEEDS
            if same_data and all(check["verdict"] == "pass" for check in hashes):
                fed = fed or shown_input(bench.survey.sample[0], bench.encoder)
                ids = again.ids(bench.name)
                drawn = set(random.Random(seed).sample(sorted(ids), min(sample, len(ids))))
                lost = {pair.record.id for pair in bench.encoded(bench.pairs)} - ids
                scored = max(scored, len(drawn))
                compared = _agreement(*_scored(command, bench, plan, drawn | lost, rows), then, now)
                if figures[0] and not missing:
                    missing = again.read(bench)
                notices += bench.notices()
                now = {**bench.record()}
                elsewhere |= any(then[key] != now[key] for key in _WHERE)
                read.append(now)
            checks += [*hashes, _check(f"{bench.name}: settings", *_settings(then, now))]
            checks.append(_check(f"{bench.name}: scores", *compared))
            bench.release()
        finally:
            bench.close()
    follows: list[tuple[bool | None, str]] = [(None, _NEEDS)] * 2
    if figures[0] and len(read) == len(named):
        told = {(n.code, n.message, *n.ids): n for n in notices}
        follows = (
            [(False, missing), (None, _NEEDS)] if missing else _follows(record, again.result([*told.values()], fed))
        )
    settled = _signed(signed, settings[signed["critics"][0]["name"]], data, read) if len(read) == len(named) else None
    of_record = (("figures", figures), ("tables", follows[0]), ("warnings", follows[1]))
    of_pairs = (("data", (same_data, evidence)), ("signature", settled or (None, _NEEDS)))
    table = pd.DataFrame([*(_check(name, *found) for name, found in (*of_record, *of_pairs)), *checks])
    sampled = cast(Signature, {**signed, "sample": scored, "sample_seed": seed})
    return VerifyResult(table, _left_out(command, signed, elsewhere), sampled)


def _follows(record: Mapping[str, Any], result: CompareResult | PerturbResult) -> list[tuple[bool | None, str]]:
    """Whether all that a record has beside its signature, and then its warnings, are those of a result."""
    apart = ("warnings", "signature")
    again = result.as_json()
    stored, made = ({key: value for key, value in each.items() if key not in apart} for each in (record, again))
    where = difference(stored, made)
    said = record.get("warnings")
    if isinstance(said, list):
        said = [row for row in said if not isinstance(row, dict) or row.get("code") not in OF_RUNS]
    apart_here = difference(said, [row for row in again["warnings"] if row["code"] not in OF_RUNS], "warnings")
    return [
        (not where, where or "every table, the answer and the input follow from the scores and the texts"),
        (not apart_here, apart_here or "those that do not come of the run itself are the same here"),
    ]


def _signed(
    signed: Mapping[str, Any], settings: Settings, data: str, read: Sequence[Mapping[str, Any]]
) -> tuple[bool, str]:
    """Whether a signature says what these settings, pairs and critics sign with."""
    own = ("temperature", "families", "sides", "max_per_response", "seed")  # they made what was held against the record
    expected = {**signature(settings, data, cast(Any, read)), **{key: signed[key] for key in own if key in signed}}
    left = ("critics", *_VERSIONS)
    stored, made = ({key: value for key, value in each.items() if key not in left} for each in (signed, expected))
    where = difference(stored, made)
    return not where, where or ", ".join(key for key in expected if key not in left)


def _left_out(command: str, signed: Mapping[str, Any], elsewhere: bool) -> list[str]:
    """What no check covers: how and where a run computed, what it was told by the machine, and what values chose."""
    places = [f"signature.{name}" for name in _VERSIONS]
    places += [f"signature.critics.{name}" for name in (*_ELSEWHERE, *(("noise_floor",) if elsewhere else ()))]
    places += [f"warnings.{code}" for code in OF_RUNS]
    if command == "compare" and any(parse(name).kind in OF_VALUES for name in signed["aggregations"]):
        places += [f"pairs.{side}_token_read" for side in ("student", "teacher")]
    return sorted(places)


def _numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column of numbers as floats where one of them is an integer that NumPy has no type for."""
    huge = column.dtype == object and column.map(lambda value: isinstance(value, Number)).all()
    return column.astype(float) if huge else column


def _check(name: str, holds: bool | None, evidence: str) -> Check:
    return {"check": name, "verdict": {True: "pass", False: "fail", None: "not run"}[holds], "evidence": evidence}


def _settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether all else that the record says of a critic is so, but where and how it was computed.

    Args:
        then: As the record has it.
        now: As it is here; once it has scored, with noise floors and what is left out.
    """
    keys = [key for key in now if key in then and key not in (*_HASHES.values(), *_ELSEWHERE, "name", *_OF_SCORES)]
    plain = {key: list(now[key]) if isinstance(now[key], tuple) else now[key] for key in keys}
    other = [f"{key} {then[key]!s:.60} -> {plain[key]!s:.60}" for key in keys if then[key] != plain[key]]
    other += [f"{key!s:.60} is no part of it" for key in then if key not in now and key not in _OF_SCORES]
    if "noise_floor" in now:
        keys += _OF_SCORES
        was, left = then.get("left_out", {}), now.get("left_out", {})
        other += [] if was == left else [f"left_out {was!s:.60} -> {left!s:.60}"]
        if all(then[key] == now[key] for key in _WHERE):
            other += _floors(then["noise_floor"], now["noise_floor"])
    return (False, "; ".join(other)) if other else (True, ", ".join(keys))


def _floors(then: Mapping[str, float], now: Mapping[str, float]) -> Iterator[str]:
    """Noise floors that are not of the size of those measured here."""
    for name, floor in now.items():
        if name in then and not floor / _OFF <= then[name] <= floor * _OFF:
            yield f"noise_floor of {name} {then[name]:.3g} -> {floor:.3g}"


def _hash(name: str, word: str, now: str, then: str) -> Check:
    return _check(f"{name}: {word}", now == then, now if now == then else f"{then} -> {now}")


def _figures(command: str, record: Mapping[str, Any], rows: pd.DataFrame) -> tuple[bool, str]:
    """Whether the record's summary follows from its own rows, and their differences from their scores."""
    stored = pd.DataFrame(record["summary"])
    if command == "compare":
        keys = ["critic", "aggregation"]
        for critic, own in rows.groupby("critic", sort=False):
            if own.duplicated(["aggregation", "id"]).any() or own.groupby("id").size().nunique() > 1:
                return False, f"{critic}: a pair stands twice under one read-out, or is missing under one"
        figures = summarise(pd.concat(_rescaled(record, rows), ignore_index=True))
    else:
        keys = ["critic", "aggregation", "family", "position", "kind"]
        own = rows.assign(delta=rows.variant_score - rows.original_score)
        if where := _apart(rows, own, ["delta"], ["aggregation", "id", "family"]):
            return False, where
        figures = pd.DataFrame(_of_cases(rows, keys))
    if stored.duplicated(keys).any() or set(map(tuple, stored[keys].to_numpy())) != set(
        map(tuple, figures[keys].to_numpy())
    ):
        return False, "summary and rows are not of the same critics, read-outs and edits"
    figures = stored[keys].merge(figures, on=keys)
    columns = [name for name in figures if name not in keys]
    if where := _apart(stored, figures, columns, keys):
        return False, where
    return True, f"{len(columns)} figures of {len(stored)} lines follow from {len(rows)} rows"


def _apart(stored: pd.DataFrame, again: pd.DataFrame, columns: Sequence[str], keys: Sequence[str]) -> str:
    """The first value of a table that is another than it should be, in words; empty where there is none.

    Args:
        stored: As the record has it.
        again: As it should be, row by row.
        columns: Of `again`; those of numbers are equal up to rounding.
        keys: What names a row.
    """
    if len(stored) != len(again):
        return f"{len(stored)} rows are in the record, {len(again)} should be"
    for name in columns:
        if name not in stored:
            return f"{name} is not in the record"
        for index, (was, now) in enumerate(zip(stored[name], again[name], strict=True)):
            if not _same(was, now):
                where = " ".join(str(again[key].iloc[index]) for key in keys)
                return f"{where}: {name} is {_short(was)} in the record and {_short(now)} by its rows"
    return ""


def _same(was: Any, now: Any) -> bool:
    if isinstance(now, list | tuple):
        return isinstance(was, list) and list(now) == was
    if pd.isna(now) or (isinstance(now, float) and math.isinf(now)):
        return was is None or was is pd.NA or was != was
    if isinstance(now, Number) and not isinstance(now, bool | np.bool_):
        return same_number(was, now)
    return bool(was == now)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value!s:.60}"


def _rescaled(record: Mapping[str, Any], rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    order = list(dict.fromkeys(row["aggregation"] for row in record["summary"]))
    for critic in record["signature"]["critics"]:
        own = rows[rows.critic == critic["name"]]
        own = own.iloc[own.aggregation.map({name: i for i, name in enumerate(order)}).argsort(kind="stable")]
        yield with_verdicts(own, {name: float(floor) for name, floor in critic["noise_floor"].items()})


def _of_cases(rows: pd.DataFrame, keys: list[str]) -> Iterator[dict[str, Any]]:
    for values, frame in rows.groupby(keys, sort=False):
        raw = frame.delta.abs()
        yield {
            **dict(zip(keys, values, strict=True)),
            "n": len(frame),
            "median_abs_delta": raw.median(),
            "max_abs_delta": raw.max(),
            "median_abs_delta_over_sd": frame.delta_over_sd.astype(float).abs().median(),
            "mean_delta": frame.delta.mean(),
            "flips": int(frame.flip.sum()),
        }


def _scored(
    command: str, bench: Bench, plan: Plan, ids: set[str], rows: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Stored beside recomputed scores of some pairs, and their columns."""
    own = rows[(rows.critic == bench.name) & rows.id.isin(ids)]
    return _scores(bench, ids, own) if command == "compare" else _edits(bench, plan, ids, own)


def _scores(bench: Bench, ids: set[str], rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    again = scores_of(bench, ids)
    columns = ["student_score", "teacher_score"]
    keys = ["aggregation", "id"]
    return rows.merge(again[keys + columns], on=keys, how="outer", suffixes=("", "_again")), columns


def _edits(bench: Bench, plan: Plan, ids: set[str], rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    again = cases_of(bench, plan, ids)
    columns = ["original_score", "variant_score"]
    both = []
    for frame in (rows[rows.kind != "identity"], again[again.kind != "identity"]):
        frame = frame.sort_values([*_CASE, *columns], kind="stable")
        both.append(frame.assign(nth=frame.groupby(_CASE).cumcount())[[*_CASE, "nth", "critic", "floor", *columns]])
    keys = [*_CASE, "nth", "critic"]
    return both[0].merge(both[1].drop(columns="floor"), on=keys, how="outer", suffixes=("", "_again")), columns


def _agreement(
    both: pd.DataFrame, columns: list[str], then: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[bool, str]:
    largest = float(both[columns].abs().max(axis=None))
    floors = of_records(both.aggregation.map(then["noise_floor"]).astype(float), largest, then["dtype"])
    apart = pd.concat([(both[name] - both[f"{name}_again"]).abs() for name in columns], axis=1).max(
        axis=1, skipna=False
    )
    missing = apart.isna()
    if missing.any():
        row = both[missing].iloc[0]
        return (
            False,
            f"{row.id} {row.aggregation}: {int(missing.sum())} rows stand in the record or are computed, not both",
        )
    wrong = apart > floors
    elsewhere = [f"{key} {then[key]} -> {now[key]}" for key in _WHERE if then[key] != now[key]]
    where = f" (computed elsewhere: {', '.join(elsewhere)})" if elsewhere else ""
    scored = f"{len(both)} rows of {both.id.nunique()} pairs computed again"
    if wrong.any():
        row = both.loc[(apart - floors).idxmax()]
        name = max(columns, key=lambda column: abs(row[column] - row[f"{column}_again"]))
        return False, (
            f"{scored}, {int(wrong.sum())} differ: {row.id} {row.aggregation} {name} is {row[name]:.6g} in the record "
            f"and {row[f'{name}_again']:.6g} here{where}"
        )
    return True, f"{scored}, none further apart than arithmetic can move them (at most {apart.max():.1g}){where}"
