"""What the score reacts to most, in figures that no family which moves nothing can dilute.

A median over many families sinks with every family that moves nothing, so nothing here is pooled over harmless
families: the strongest of them stands for them, and the weakest of the controls for those. The strongest of many is
biased upwards (and the weakest downwards) where it is measured on the cases that it was chosen on. So prompts are split
into two halves, each half is read in the family that the other half chose, and both are one sample: cross-fitting
(Cox 1975, Biometrika 62, 441; Chernozhukov et al. 2018, Econometrics Journal 21, C1).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from critic_probe.probes import WRONG_FACTS
from critic_probe.stats.edits import right_order
from critic_probe.stats.intervals import Interval, median_interval, quantile_interval, rate_interval
from critic_probe.stats.rates import enough

TAIL_FLOOR = 0.8  # SD: Cohen's (1988) large effect

_EDIT = ["family", "position"]
_NONE = Interval(np.nan, np.nan, np.nan)


def headline(cases: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """One row per critic and read-out; see `PerturbResult.headline`.

    Args:
        cases: One row per critic, read-out and case.
        summary: The verdicts on them, by family and position.
    """
    keys = ["critic", "aggregation"]
    verdicts = dict(list(summary.groupby(keys, sort=False)))
    rows = []
    for key, frame in cases.groupby(keys, sort=False):
        control, harmless = frame[frame.kind == "control"], frame[frame.kind == "invariance"]
        judged = verdicts[key][verdicts[key].kind == "invariance"]
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        row |= _strongest(harmless, frame[frame.family.isin(WRONG_FACTS)])
        row |= {
            "harmless_fails": int((judged.verdict == "fail").sum()),
            "harmless_judged": int(judged.verdict.isin(("pass", "fail")).sum()),
            "failing": _names(judged[judged.verdict == "fail"]),
            "tails": _names(judged[(judged.verdict == "pass") & _with_tail(harmless, judged)]),
        }
        row |= _weakest(control)
        row |= {"controls": len(control), **_columns("controls_right", _rate(control))}
        rows.append(row)
    return pd.DataFrame(rows)


def chosen_apart(frame: pd.DataFrame, figure: Callable[[pd.DataFrame], float]) -> pd.DataFrame:
    """The cases of the family and position with the largest figure, each half of the prompts by the other's choice.

    Only families that have enough cases to be judged on all prompts are chosen from. A further family with a smaller
    figure changes nothing.

    Args:
        frame: The cases of one critic under one read-out.
        figure: Of the cases of one family and position.

    Returns:
        The cases, none where no family has enough. Where both halves choose alike they are that family's, all of them.
    """
    candidates = frame.groupby(_EDIT, sort=False).filter(lambda part: enough(len(part), part.prompt_hash.nunique()))
    first = candidates.prompt_hash.map(lambda prompt: int(prompt[-1], 16) % 2 == 0).astype(bool)
    parts = []
    for chosen_on, read_on in ((candidates[first], candidates[~first]), (candidates[~first], candidates[first])):
        figures = {edit: figure(part) for edit, part in chosen_on.groupby(_EDIT, sort=True)}
        if figures:
            edit = max(figures, key=lambda name: figures[name])
            parts.append(read_on[(read_on.family == edit[0]) & (read_on.position == edit[1])])
    return pd.concat(parts).sort_index(kind="stable") if parts else candidates


def per_wrong_fact(harmless: pd.DataFrame, wrong: pd.DataFrame) -> tuple[Interval, int]:
    """How many wrong facts a harmless edit is worth: the ratio of their mean |delta| in a prompt, of the median prompt.

    A scale of the score cancels. A prompt whose score neither moves beyond the noise floor says nothing: left out.

    Returns:
        The median with its interval, and the number of prompts that have both.
    """
    both = [frame.delta.abs().where(frame.delta.abs() > frame.floor, 0.0) for frame in (harmless, wrong)]
    means = pd.concat(
        [moved.groupby(frame.prompt_hash).mean() for moved, frame in zip(both, (harmless, wrong), strict=True)],
        axis=1,
        keys=["harmless", "wrong"],
    ).dropna()
    means = means[(means.harmless > 0) | (means.wrong > 0)]
    with np.errstate(divide="ignore"):
        ratios = means.harmless.to_numpy() / means.wrong.to_numpy()
    if not enough(len(ratios), len(ratios)):
        return _NONE, len(ratios)
    return median_interval(ratios, list(means.index)), len(ratios)


def _strongest(harmless: pd.DataFrame, wrong: pd.DataFrame) -> dict[str, Any]:
    sample = chosen_apart(harmless, lambda part: float(part.delta_over_sd.abs().median()))
    effect = median_interval(sample.delta_over_sd.abs(), list(sample.prompt_hash)) if len(sample) else _NONE
    worth, prompts = per_wrong_fact(sample, wrong)
    return {
        "strongest_harmless": _names(sample),
        **_columns("strongest", effect),
        "strongest_n": len(sample),
        **_columns("per_wrong_fact", worth),
        "per_wrong_fact_prompts": prompts,
    }


def _weakest(control: pd.DataFrame) -> dict[str, Any]:
    sample = chosen_apart(control, lambda part: -float(right_order(part, part.delta).mean()))
    return {
        "weakest_control": _names(sample),
        **_columns("weakest", _rate(sample)),
        "weakest_n": len(sample),
    }


def _rate(frame: pd.DataFrame) -> Interval:
    return rate_interval(right_order(frame, frame.delta), list(frame.prompt_hash)) if len(frame) else _NONE


def _with_tail(harmless: pd.DataFrame, judged: pd.DataFrame) -> pd.Series:
    """Whether the 95th percentile of |delta| over SD lies above `TAIL_FLOOR` with its whole interval."""
    parts = dict(list(harmless.groupby(_EDIT, sort=False)))
    lows = [
        quantile_interval(part.delta_over_sd.abs(), list(part.prompt_hash), 0.95).low
        for part in (parts[row.family, row.position] for row in judged.itertuples())
    ]
    return pd.Series(lows, index=judged.index, dtype=float) > TAIL_FLOOR


def _names(frame: pd.DataFrame) -> list[str]:
    """`family position`, or the family alone where the edit is of the whole response; most cases first."""
    counts = frame.value_counts(_EDIT, sort=True)
    return [family if position == "whole" else f"{family} {position}" for family, position in counts.index]


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
