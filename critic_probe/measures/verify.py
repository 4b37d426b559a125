"""Whether a result that was written down is what a checkpoint gives: hashes compared, a sample computed again."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any, cast

import numpy as np
import pandas as pd

from critic_probe.checkpoint import Critic
from critic_probe.measures.blind import Texts
from critic_probe.measures.compare import CompareResult, scores_of, summarise, tabulated, with_verdicts
from critic_probe.measures.perturb import cases_of
from critic_probe.measures.recorded import SCHEMAS
from critic_probe.measures.result import Result, Statement
from critic_probe.measures.variants import Plan
from critic_probe.objective import TEMPERATURE
from critic_probe.pairs import Pairs
from critic_probe.tolerance import of_records
from critic_probe.workbench import Bench, Settings, Signature, hash_of, preflight

_HASHES = {"weights": "fingerprint", "head": "head", "tokenizer": "tokenizer", "template": "template"}
_CASE = ["aggregation", "id", "side", "family", "position", "left", "removed", "added"]
_ELSEWHERE = ("name", "convention_because", "dtype", "device", "attention", "engine", "noise_floor", "left_out")
_OF_EDITS = (
    *("critic", "aggregation", "family", "position", "kind", "n", "median_abs_delta", "max_abs_delta"),
    *("median_abs_delta_over_sd", "mean_delta", "flips"),
)
_OF_CASES = (
    *(*_CASE, "critic", "kind", "original_score", "variant_score", "delta"),
    *("delta_over_sd", "flip"),  # of which the summary's figures are made
)
_NEEDS = "needs the same data and the same critic"
_EXACT = 1e-9  # relative: both sides follow from the same stored numbers

Check = dict[str, str]


@dataclass(frozen=True, repr=False)
class VerifyResult(Result):
    """Whether a record is what a checkpoint gives.

    Attributes:
        checks: One row per check: check, verdict (pass, fail, not run), evidence.
        left_out: What of the record no check covers: its parts, and columns of its tables.
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

    Every figure of its summary is computed again from its own rows; of every critic, weights, head, tokenizer and
    template are compared by hash, and `sample` pairs drawn at random are scored again without a cache.

    Args:
        record: The JSON object of `compare`, `perturb` or `completeness`.
        critics: Under the names of the record's signature; loaded one after the other, each let go before the next.
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
    checks = [_check("figures", *figures), _check("data", same_data, evidence)]
    texts: dict[str, Texts] = {}
    named = {critic["name"]: critic for critic in signed["critics"]}
    again = 0
    for critic in critics:
        then = named[critic.name]
        bench = Bench(critic, pairs, settings[critic.name])
        del critic
        try:
            preflight(bench.critic)
            now: dict[str, Any] = {**bench.record()}
            hashes = [_hash(bench.name, word, now[key], then[key]) for word, key in _HASHES.items()]
            checks += [*hashes, _check(f"{bench.name}: settings", *_settings(then, now))]
            if same_data and all(check["verdict"] == "pass" for check in hashes):
                own = rows[rows.critic == bench.name]
                ids = set(random.Random(seed).sample(sorted(own.id.unique()), min(sample, own.id.nunique())))
                again = max(again, len(ids))
                compared = _scores(bench, ids, own) if command == "compare" else _edits(bench, plan, ids, own)
                checks.append(_check(f"{bench.name}: scores", *_agreement(*compared, then, now)))
                if command == "compare":
                    for pair in bench.encoded(bench.pairs):
                        texts.setdefault(pair.pair.id, Texts.of(pair))
            else:
                checks.append(_check(f"{bench.name}: scores", None, _NEEDS))
            bench.release()
        finally:
            bench.close()
    covered = {"schema", "signature", "summary", "pairs" if command == "compare" else "cases"}
    if command == "compare":
        follow = same_data and figures[0] and bool(texts)
        checks.insert(1, _check("tables", *(_tables(record, rows, texts) if follow else (None, _NEEDS))))
        covered |= {*CompareResult.tables, "answer"}
    left_out = sorted({*record} - covered)
    if command != "compare":
        left_out += [f"summary.{name}" for name in record["summary"][0] if name not in _OF_EDITS]
        left_out += [f"cases.{name}" for name in rows if name not in _OF_CASES]
    table = pd.DataFrame(checks)
    return VerifyResult(table, left_out, cast(Signature, {**signed, "sample": again, "sample_seed": seed}))


def _numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column of numbers as floats where one of them is an integer that NumPy has no type for."""
    huge = column.dtype == object and column.map(lambda value: isinstance(value, Number)).all()
    return column.astype(float) if huge else column


def _check(name: str, holds: bool | None, evidence: str) -> Check:
    return {"check": name, "verdict": {True: "pass", False: "fail", None: "not run"}[holds], "evidence": evidence}


def _settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether all else that the record says of a critic is so, but where and how it was computed."""
    keys = [key for key in now if key in then and key not in (*_HASHES.values(), *_ELSEWHERE)]
    plain = {key: list(now[key]) if isinstance(now[key], tuple) else now[key] for key in keys}
    other = [f"{key} {then[key]!s:.60} -> {plain[key]!s:.60}" for key in keys if then[key] != plain[key]]
    return (False, "; ".join(other)) if other else (True, ", ".join(keys))


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
        number = isinstance(was, Number) and not isinstance(was, bool)
        return number and math.isclose(cast(Any, was), cast(Any, now), rel_tol=_EXACT, abs_tol=_EXACT)
    return bool(was == now)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value!s:.60}"


def _tables(record: Mapping[str, Any], rows: pd.DataFrame, texts: Mapping[str, Texts]) -> tuple[bool, str]:
    """Whether every other table of `compare` and its answer follow from its rows and the texts of the pairs."""
    known = {identity: index for index, identity in enumerate(texts)}
    if not set(rows.id) <= set(known):
        return False, "rows of pairs that are not in the file"
    rows = rows.iloc[rows.id.map(known).argsort(kind="stable")]
    scored = pd.concat(_rescaled(record, rows.drop(columns="dispute", errors="ignore")), ignore_index=True)
    signed = record["signature"]
    result = tabulated(scored, texts, [], signed, "", signed.get("temperature", TEMPERATURE))
    for name in (name for name in result.tables if name != "summary"):
        again = getattr(result, name)
        table = record.get(name, [])
        if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
            return False, f"{name}: is no list of rows"
        stored = pd.DataFrame(table, columns=None if table else again.columns)
        keys = [key for key in ("critic", "aggregation", "id", "category", "baseline") if key in again]
        if where := _apart(stored, again, list(again), keys):
            return False, f"{name}: {where}"
    return _answer(record, result.answer())


def _answer(record: Mapping[str, Any], statements: Sequence[Statement]) -> tuple[bool, str]:
    stored = record.get("answer", [])
    texts = [statement.text for statement in statements]
    if not isinstance(stored, list) or [each.get("text") for each in stored if isinstance(each, dict)] != texts:
        return False, "answer: its sentences are not those that follow from its tables"
    return True, "every table but the warnings follows from the rows, the answer from the tables"


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


def _scores(bench: Bench, ids: set[str], rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Stored beside recomputed scores, and their columns."""
    again = scores_of(bench, ids)
    columns = ["student_score", "teacher_score"]
    keys = ["aggregation", "id"]
    stored = rows[rows.id.isin(ids)]
    return stored.merge(again[keys + columns], on=keys, how="outer", suffixes=("", "_again")), columns


def _edits(bench: Bench, plan: Plan, ids: set[str], rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    again = cases_of(bench, plan, ids)
    columns = ["original_score", "variant_score"]
    both = []
    for frame in (rows[rows.id.isin(ids) & (rows.kind != "identity")], again[again.kind != "identity"]):
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
    elsewhere = [
        f"{key} {then[key]} -> {now[key]}" for key in ("dtype", "device", "attention") if then[key] != now[key]
    ]
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
