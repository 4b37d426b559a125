"""What differs between two baselines: settings, figures, rows, verdicts of pairs."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from critic_probe.gates.baseline import CASE, FIGURE, ONLY, READ, SCORE, UNPAIRED
from critic_probe.stats.intervals import NOTHING, Interval, apart, mean_interval, would_tell
from critic_probe.stats.paired import paired_p
from critic_probe.stats.pairs import credit
from critic_probe.stats.rates import FEW, FEW_PROMPTS, holm

TOLD = ("other pairs", "unpaired")  # verdicts that say how figures were compared, and are no difference
_ARITHMETIC = 1e-5  # another machine's sums may differ by this much in a figure
_LEVEL = 0.05
_COLUMNS = ["what", "old", "new", "change", "low", "high", "p_holm", "verdict"]

Side = Mapping[str, Any]
"""A baseline, as `baseline.record` makes it."""


class Moved(NamedTuple):
    """By how much a figure changed, and the p of no change; NaN where there is no test."""

    change: float
    low: float
    high: float
    p: float


def drift(old: Side, new: Side, tolerance: float) -> pd.DataFrame:
    """What differs from a baseline: one row per figure that moved, appeared or went, and per pair that flipped.

    On the same pairs a figure that is a mean or a median over pairs or edits is tested in pairs, by random signs over
    prompts. On other pairs, with no prompt in common, and for figures that are neither, both intervals make an interval
    of the difference, and its test. A figure has moved where Holm's p over all figures is at most 0.05 and the interval
    does not hold 0, which a few large changes may make it; fewer than `FEW_PROMPTS` prompts are no test, and where the
    whole file has no more, that cannot be told. A figure without an interval has moved, on the same pairs, where it
    differs by more than the tolerance, relative to the larger magnitude. Other settings or data, and rows that are
    missing, are differences and never skipped; a setting that one side does not tell is none.

    Args:
        old: The baseline.
        new: The new figures.
        tolerance: Of figures without an interval.

    Returns:
        what; old, new; change with its 95 % interval low and high, of the mean over pairs or edits where the test is
        paired; p_holm; verdict: moved, missing, new, flipped, other settings, cannot tell, or one of `TOLD`.
    """
    other = _other_pairs(old, new)
    same = old["settings"]["data"] == new["settings"]["data"]
    rows = _settings(old, new, disjoint=other)
    if same and UNPAIRED in (old.get("schema"), new.get("schema")):
        what = f"the baseline is a {UNPAIRED}, without prompts: write it anew for tests in pairs"
        rows.append(_row(what, None, None, "unpaired"))
    rows += _figures(old, new, tolerance, same=same, other=other)
    if not other:
        rows += _pairs(old, new)
    return pd.DataFrame(rows, columns=_COLUMNS)


def differs(rows: pd.DataFrame | None) -> bool:
    """Whether a table of `drift` holds a difference."""
    return rows is not None and not set(rows.verdict) <= set(TOLD)


def _row(what: str, old: Any, new: Any, verdict: str) -> dict[str, Any]:
    return {"what": what, "old": old, "new": new, "verdict": verdict}


def _settings(old: Side, new: Side, *, disjoint: bool) -> list[dict[str, Any]]:
    by_critic = all("critics" in side["settings"] for side in (old, new))
    before, after = (_flat(side["settings"], by_critic) for side in (old, new))
    different = [key for key in before if key in after and before[key] != after[key]]
    word = {"data": "other pairs"} if disjoint else {}
    return [_row(key, before[key], after[key], word.get(key, "other settings")) for key in different]


def _flat(settings: Side, by_critic: bool) -> dict[str, Any]:
    """Every setting, a critic's under its name; with `by_critic` the run's is left out where each critic has it."""
    critics = settings.get("critics", {})
    flat = {key: settings[key] for key in settings if key != "critics" and not (by_critic and key in READ)}
    for name, read in critics.items():
        flat |= {key if name == ONLY else f"{name} {key}": value for key, value in read.items()}
    return flat


def _other_pairs(old: Side, new: Side) -> bool:
    """Whether both know their prompts and have none in common: two samples, not one file that was changed."""
    prompts = [_prompts(side) for side in (old, new)]
    return all(prompts) and not prompts[0] & prompts[1]


def _prompts(side: Side) -> set[str]:
    return {row["prompt_hash"] for row in side.get("pairs", ())}


def _figures(old: Side, new: Side, tolerance: float, *, same: bool, other: bool) -> list[dict[str, Any]]:
    before, after = (_index(side["figures"], FIGURE) for side in (old, new))
    rows = []
    if not other:
        for name in sorted({*before} ^ {*after}):
            word = "missing" if name in before else "new"
            rows.append(_row(name, _value(before, name), _value(after, name), word))
    of_pairs = _differences(old, new) if same and UNPAIRED not in (old.get("schema"), new.get("schema")) else {}
    fewest = min(len(_prompts(side)) or len(side["scores"]) for side in (old, new))
    moves = {}
    for name in sorted({*before} & {*after}):
        a, b = before[name], after[name]
        if name in of_pairs:
            moves[name] = _paired(*of_pairs[name]) if _changed(a, b) else Moved(0.0, 0.0, 0.0, 1.0)
        else:
            moves[name] = _independent(a, b, fewest)
    p = holm(pd.Series({name: moved.p for name, moved in moves.items()}, dtype=float))
    for name, moved in moves.items():
        a, b = before[name], after[name]
        by_size = np.isnan(moved.change) and not other and _changed(a, b, tolerance)
        if (p[name] <= _LEVEL and not moved.low <= 0 <= moved.high) or by_size:
            tested = {"change": moved.change, "low": moved.low, "high": moved.high, "p_holm": p[name]}
            rows.append(_row(name, a["value"], b["value"], "moved") | tested)
    untested = [name for name, moved in moves.items() if np.isnan(moved.p) and not np.isnan(moved.change)]
    if fewest < FEW_PROMPTS and untested:
        more = would_tell(NOTHING, 0.0, FEW, fewest)
        what = f"{fewest} prompts are too few to test {len(untested)} figures that changed: {more}"
        rows.append(_row(what, None, None, "cannot tell"))
    return rows


def _changed(a: Side, b: Side, tolerance: float = 0.0) -> bool:
    """Whether a figure differs by more than arithmetic and a share of the larger magnitude."""
    old, new = a["value"], b["value"]
    if old is None or new is None:
        return old is not new
    return bool(abs(old - new) > max(tolerance * max(abs(old), abs(new)), _ARITHMETIC))


def _independent(a: Side, b: Side, prompts: int) -> Moved:
    """Two estimates with intervals, `apart` by the fewer prompts or cases."""
    ends = (a["value"], a["low"], a["high"], b["value"], b["low"], b["high"])
    if None in ends:
        return Moved(np.nan, np.nan, np.nan, np.nan)
    few = min(prompts, a["n"], b["n"])
    change, p = apart(Interval(*ends[3:]), Interval(*ends[:3]), few)
    if not _changed(a, b):
        p = 1.0
    elif few < FEW_PROMPTS:
        p = np.nan
    return Moved(*change, p)


def _paired(differences: pd.Series, prompts: list[str]) -> Moved:
    return Moved(*mean_interval(differences, prompts), paired_p(differences, prompts))


def _differences(old: Side, new: Side) -> dict[str, tuple[pd.Series, list[str]]]:
    """New minus old of every pair or edit behind a figure, by the figure's name, with the prompts.

    0 where arithmetic alone could have moved the gap or delta.
    """
    pairs = pd.DataFrame(new["pairs"], columns=["id", "prompt_hash", "category"]).set_index("id")
    differences = {}
    for rows, units, commands in (
        ("scores", _of_scores, ("compare",)),
        ("cases", _of_cases, ("perturb", "completeness")),
    ):
        if not (old[rows] and new[rows]):
            continue
        apart = units(new) - units(old)
        floors = [max(_floor(side, *key[:2]) for side in (old, new)) for key in apart.index]
        apart = apart.mask(apart.move.abs() <= floors, 0.0).drop(columns="move")
        place = apart.index.to_frame(index=False).join(pairs, on="id").fillna("")
        apart = apart.reset_index(drop=True)
        by = ["critic", "aggregation", *(["family", "position"] if rows == "cases" else [])]
        whole = place.assign(category="")
        for _, part in pd.concat([whole, place[place.category != ""]]).groupby([*by, "category"], sort=False):
            figure = {key: part.iloc[0][key] if key in (*by, "category") else "" for key in FIGURE[1:]}
            for command, column in itertools.product(commands, apart):
                name = _name({"metric": f"{command}.{column}", **figure}, FIGURE)
                differences[name] = (apart.loc[part.index, column], list(part.prompt_hash))
    return differences


def _floor(side: Side, critic: str, aggregation: str) -> float:
    return float(side["noise_floor"].get(critic, {}).get(aggregation) or 0.0)


def _of_scores(side: Side) -> pd.DataFrame:
    """By critic, read-out and id, what the figures of `compare` are made of, named as they are."""
    rows = pd.DataFrame(side["scores"]).set_index(list(SCORE))
    gap = (rows.teacher_score - rows.student_score).astype(float)
    return pd.DataFrame(
        {
            "d_acc": credit(rows.verdict),
            "mean_gap": gap,
            "gap_over_sd": rows.gap_over_sd.astype(float),
            "median_abs_gap": gap.abs(),
            "move": gap,
        }
    )


def _of_cases(side: Side) -> pd.DataFrame:
    """By critic, read-out and edit, what the figures of edits are made of, named as they are."""
    rows = pd.DataFrame(side["cases"])
    rows["nth"] = rows.groupby(list(CASE)).cumcount()  # the same edit at several places of one response
    rows = rows.set_index([*CASE, "nth"])
    delta, scaled = rows.delta.astype(float), rows.delta_over_sd.astype(float)
    beyond = delta.abs() > [_floor(side, *key[:2]) for key in rows.index]
    return pd.DataFrame(
        {
            "median_abs_delta": delta.abs(),
            "median_abs_delta_over_sd": scaled.abs(),
            "mean_delta": delta,
            "mean_delta_over_sd": scaled,
            "right_order": ((1 + np.sign(delta).where(beyond, 0.0) * rows.sign) / 2).where(rows.sign != 0),
            "move": delta,
        }
    )


def _pairs(old: Side, new: Side) -> list[dict[str, Any]]:
    """Rows that one side alone has, and pairs whose verdict went from one side to the other."""
    rows = []
    for table, keys in (("scores", SCORE), ("cases", CASE)):
        before, after = (_index(side[table], keys) for side in (old, new))
        for name in sorted({*before} ^ {*after}):
            rows.append(_row(f"{table}: {name}", None, None, "missing" if name in before else "new"))
        for name in sorted({*before} & {*after}):
            was, now = before[name].get("verdict"), after[name].get("verdict")
            if {was, now} == {"student", "teacher"}:
                rows.append(_row(name, was, now, "flipped"))
    return rows


def _index(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {_name(row, keys): row for row in rows}


def _name(row: Side, keys: tuple[str, ...]) -> str:
    return " ".join(str(row[key]) for key in keys if row[key] not in ("", ONLY))


def _value(rows: Mapping[str, dict[str, Any]], name: str) -> Any:
    return rows[name]["value"] if name in rows else None
