"""Whether a result that was written down is what a checkpoint gives: hashes compared, a sample computed again."""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from critic_probe.checkpoint import Critic
from critic_probe.errors import CriticProbeError
from critic_probe.measures.compare import scores_of, summarise, with_verdicts
from critic_probe.measures.perturb import cases_of
from critic_probe.measures.result import Result
from critic_probe.measures.variants import Plan
from critic_probe.pairs import Pairs
from critic_probe.tolerance import of_records
from critic_probe.workbench import Bench, Settings, Signature, hash_of, preflight

SCHEMAS = {f"critic-probe/{command}/1": command for command in ("compare", "perturb", "completeness")}
_HASHES = {"weights": "fingerprint", "head": "head", "tokenizer": "tokenizer", "template": "template"}
_CASE = ["aggregation", "id", "side", "family", "position", "left", "removed", "added"]
_SIGNED = ("critics", "data", "aggregations", "eos", "value_position")
_EXACT = 1e-9  # relative: both sides follow from the same stored numbers

Check = dict[str, str]


@dataclass(frozen=True, repr=False)
class VerifyResult(Result):
    """Whether a record is what a checkpoint gives.

    Attributes:
        checks: One row per check: check, verdict (pass, fail, not run), evidence.
        signature: The record's, with how the sample was drawn.
    """

    command = "verify"
    facts = ("holds",)
    tables = ("checks",)
    main = "checks"

    checks: pd.DataFrame
    signature: Signature

    @property
    def holds(self) -> bool:
        """Whether every check ran and passed."""
        return bool((self.checks.verdict == "pass").all())


def signed_critics(record: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    """The critics that a result was computed with.

    Raises:
        CriticProbeError: It is no result of `compare`, `perturb` or `completeness`, or of scores that were given.
    """
    if record.get("schema") not in SCHEMAS:
        raise CriticProbeError(
            f"{source}: schema '{record.get('schema')}' cannot be verified; give the JSON of "
            f"{', '.join(SCHEMAS.values())}"
        )
    signature = record.get("signature") or {}
    rows = "pairs" if SCHEMAS[record["schema"]] == "compare" else "cases"
    needed = {"summary", rows, *_SIGNED} - {*record, *signature}
    if needed:
        raise CriticProbeError(f"{source}: has no '{sorted(needed)[0]}'; give the file as it was written")
    critics: list[dict[str, Any]] = signature["critics"]
    if not critics or any("fingerprint" not in critic for critic in critics):
        raise CriticProbeError(f"{source}: names no checkpoint; scores that were given cannot be computed again")
    return critics


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
    rows = pd.DataFrame(record["pairs" if command == "compare" else "cases"])
    data = hash_of(pairs)
    same_data = data == signed["data"]
    evidence = "the pairs are those of the record" if same_data else f"{signed['data']} in the record, {data} here"
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    checks = [_check("figures", *_figures(command, record, rows)), _check("data", same_data, evidence)]
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
            checks += hashes
            if same_data and all(check["verdict"] == "pass" for check in hashes):
                own = rows[rows.critic == bench.name]
                ids = set(random.Random(seed).sample(sorted(own.id.unique()), min(sample, own.id.nunique())))
                again = max(again, len(ids))
                compared = _scores(bench, ids, own) if command == "compare" else _edits(bench, plan, ids, own)
                checks.append(_check(f"{bench.name}: scores", *_agreement(*compared, then, now)))
            else:
                checks.append(_check(f"{bench.name}: scores", None, "needs the same data and the same critic"))
            bench.release()
        finally:
            bench.close()
    table = pd.DataFrame(checks)
    return VerifyResult(table, cast(Signature, {**signed, "sample": again, "sample_seed": seed}))


def _check(name: str, holds: bool | None, evidence: str) -> Check:
    return {"check": name, "verdict": {True: "pass", False: "fail", None: "not run"}[holds], "evidence": evidence}


def _hash(name: str, word: str, now: str, then: str) -> Check:
    return _check(f"{name}: {word}", now == then, now if now == then else f"{then} -> {now}")


def _figures(command: str, record: Mapping[str, Any], rows: pd.DataFrame) -> tuple[bool, str]:
    """Whether the record's summary follows from its own rows."""
    stored = pd.DataFrame(record["summary"])
    if command == "compare":
        keys = ["critic", "aggregation"]
        again = pd.concat(_rescaled(record, rows), ignore_index=True)
        figures = summarise(again)
    else:
        keys = ["critic", "aggregation", "family", "position", "kind"]
        figures = pd.DataFrame(_of_cases(rows, keys))
    columns = [name for name in figures if name in stored and name not in keys and figures[name].dtype.kind in "iufIF"]
    both = stored.merge(figures, on=keys, how="outer", suffixes=("", "_again"), indicator=True)
    if (both._merge != "both").any():
        missing = both[both._merge != "both"].iloc[0]
        return False, f"{' '.join(str(missing[key]) for key in keys)}: in the summary or in the rows, not in both"
    for name in columns:
        one, other = (pd.to_numeric(both[f"{name}{end}"]).astype(float) for end in ("", "_again"))
        wrong = ~np.isclose(one, other, rtol=_EXACT, atol=_EXACT, equal_nan=True)
        if wrong.any():
            row = both[wrong].iloc[0]
            where = " ".join(str(row[key]) for key in keys)
            return (
                False,
                f"{where}: {name} is {row[name]:.6g} in the summary and {row[f'{name}_again']:.6g} by its rows",
            )
    return True, f"{len(columns)} figures of {len(stored)} lines follow from {len(rows)} rows"


def _rescaled(record: Mapping[str, Any], rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    order = list(dict.fromkeys(row["aggregation"] for row in record["summary"]))
    for critic in record["signature"]["critics"]:
        own = rows[rows.critic == critic["name"]]
        own = own.iloc[own.aggregation.map({name: i for i, name in enumerate(order)}).argsort(kind="stable")]
        yield with_verdicts(own, critic["noise_floor"])


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
