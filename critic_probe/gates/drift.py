"""What differs between two baselines: settings, figures, rows, verdicts of pairs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from critic_probe.gates.baseline import CASE, FIGURE, ONLY, READ, SCORE, UNPAIRED, name_of
from critic_probe.gates.changes import Side, changes
from critic_probe.stats.intervals import NOTHING, Interval, apart, mean_interval, would_tell
from critic_probe.stats.paired import paired_p
from critic_probe.stats.rates import ALPHA, FEW, FEW_PROMPTS, holm

HOW_COMPARED = ("other pairs", "unpaired")  # verdicts that say how figures were compared, and are no difference
_ARITHMETIC = 1e-5  # another machine's sums may differ by this much in a figure
_COLUMNS = ["what", "old", "new", "change", "low", "high", "p_holm", "verdict"]


class Moved(NamedTuple):
    """By how much a figure changed, and the p of no change; NaN where there is no test."""

    change: float
    low: float
    high: float
    p: float


def drift(old: Side, new: Side, tolerance: float) -> pd.DataFrame:
    """What differs from a baseline: one row per figure that moved, appeared or went, and per pair that flipped.

    On the same pairs a figure is tested in pairs, by random signs over prompts, where the baseline holds what it is
    made of: means, medians and rates over pairs or edits, and the headline's. On other pairs, with no prompt in common,
    and for the few other figures, both intervals make an interval of the difference, and its test. A figure has moved
    where Holm's p over all figures is at most `ALPHA` and the interval does not hold 0, which a few large changes may
    make it; fewer than `FEW_PROMPTS` prompts are no test, and where the whole file has no more, that cannot be told. A
    figure without an interval has moved, on the same pairs, where it differs by more than the tolerance, relative to
    the larger magnitude. Other settings or data, and rows that are missing, are differences and never skipped; a
    setting that one side does not tell is none.

    Args:
        old: The baseline.
        new: The new figures.
        tolerance: Of figures without an interval.

    Returns:
        what; old, new; change with its 95 % interval low and high, of the mean over pairs or edits where the test is
        paired; p_holm; verdict: moved, missing, new, flipped, other settings, cannot tell, or one of `HOW_COMPARED`.
    """
    other = _other_pairs(old, new)
    same = old["settings"]["data"] == new["settings"]["data"]
    rows = _settings(old, new, disjoint=other)
    older = [schema for side in (old, new) if (schema := side.get("schema")) in UNPAIRED]
    if same and older:
        what = f"the baseline is a {older[0]}, of an older version: write it anew for tests in pairs"
        rows.append(_row(what, None, None, "unpaired"))
    rows += _figures(old, new, tolerance, paired=same and not older, other=other)
    if not other:
        rows += _pairs(old, new)
    return pd.DataFrame(rows, columns=_COLUMNS)


def differs(rows: pd.DataFrame | None) -> bool:
    """Whether a table of `drift` holds a difference."""
    return rows is not None and not set(rows.verdict) <= set(HOW_COMPARED)


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


def _figures(old: Side, new: Side, tolerance: float, *, paired: bool, other: bool) -> list[dict[str, Any]]:
    before, after = (_index(side["figures"], FIGURE) for side in (old, new))
    rows = []
    if not other:
        for name in sorted({*before} ^ {*after}):
            word = "missing" if name in before else "new"
            rows.append(_row(name, _value(before, name), _value(after, name), word))
    of_pairs = changes(old, new) if paired else {}
    fewest = min(len(_prompts(side)) or len(side["scores"]) for side in (old, new))
    moves = {}
    for name in sorted({*before} & {*after}):
        a, b = before[name], after[name]
        if name in of_pairs:
            moves[name] = _paired(of_pairs[name]) if _changed(a, b) else Moved(0.0, 0.0, 0.0, 1.0)
        else:
            moves[name] = _independent(a, b, fewest)
    p = holm(pd.Series({name: moved.p for name, moved in moves.items()}, dtype=float))
    for name, moved in moves.items():
        a, b = before[name], after[name]
        by_size = np.isnan(moved.change) and not other and _changed(a, b, tolerance)
        if (p[name] <= ALPHA and not moved.low <= 0 <= moved.high) or by_size:
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


def _paired(differences: pd.Series) -> Moved:
    prompts = list(differences.index)
    return Moved(*mean_interval(differences, prompts), paired_p(differences, prompts))


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
    return {name_of(row, keys): row for row in rows}


def _value(rows: Mapping[str, dict[str, Any]], name: str) -> Any:
    return rows[name]["value"] if name in rows else None
