"""What the score reacts to most, in figures that no family which moves nothing can dilute.

A median over many families sinks with every family that moves nothing, so nothing here is pooled over harmless
families: the strongest of them stands for them all. The strongest of many is biased upwards where it is measured on the
cases that it was chosen on. So prompts are split into two halves, each half is read in the family that the other half
chose, and both are one sample: cross-fitting (Cox 1975, Biometrika 62, 441; Chernozhukov et al. 2018, Econometrics
Journal 21, C1).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from critic_probe.probes import WRONG_FACTS
from critic_probe.stats.chance import controls_word, weakest
from critic_probe.stats.edits import Spreads, order_of
from critic_probe.stats.intervals import NOTHING, Interval, Totals, median_interval, quantile_interval
from critic_probe.stats.rates import too_few

TAIL_FLOOR = 0.8  # SD: Cohen's (1988) large effect

_EDIT = ["family", "position"]
_NO_RULE = {"says": "", "named": False, "n": 0, "prompts": 0} | dict.fromkeys(
    ("explained", "low", "high", "gaps"), np.nan
)


def headline(cases: pd.DataFrame, summary: pd.DataFrame, rules: pd.DataFrame, spreads: Spreads) -> pd.DataFrame:
    """One row per critic and read-out; see `PerturbResult.headline`.

    Args:
        cases: One row per critic, read-out and edit.
        summary: The verdicts on them, by family and position.
        rules: As `simple_rules` gives them.
        spreads: Of the unedited scores.
    """
    best = {(row["critic"], row["aggregation"]): row for row in reversed(rules.to_dict("records"))}
    keys = ["critic", "aggregation"]
    verdicts = dict(list(summary.groupby(keys, sort=False)))
    rows = []
    for key, frame in cases.groupby(keys, sort=False):
        harmless, wrong = frame[frame.kind == "invariance"], frame[frame.family.isin(WRONG_FACTS)]
        judged = verdicts[key][verdicts[key].kind == "invariance"]
        rows.append(
            dict(zip(keys, key, strict=True))
            | _strongest(harmless, wrong, spreads[key])
            | {
                "harmless": len(harmless),
                "harmless_fails": int((judged.verdict == "fail").sum()),
                "failing": _names(judged[judged.verdict == "fail"]),
                "tails": _names(_tailed(harmless, judged)),
            }
            | _controls(frame[frame.kind == "control"], best.get(key, _NO_RULE))
        )
    return pd.DataFrame(rows)


def chosen_apart(harmless: pd.DataFrame) -> pd.DataFrame:
    """The cases of the family and position that moves most, each half of the prompts by the other half's choice.

    Chosen from are the families with enough cases to be judged, by their median |delta|. A further one that moves less
    changes nothing.

    Args:
        harmless: The cases of one critic under one read-out.

    Returns:
        The cases, none where no family has enough. Where both halves choose alike they are that family's, all of them.
    """
    if harmless.empty:
        return harmless
    judged = harmless.groupby(_EDIT).filter(lambda part: not too_few(len(part), part.prompt_hash.nunique()))
    first = np.array([int(prompt[-1], 16) % 2 == 0 for prompt in judged.prompt_hash], dtype=bool)
    parts = []
    for half in (first, ~first):
        medians = judged[half].delta.abs().groupby([judged[half][name] for name in _EDIT]).median()
        if len(medians):
            family, position = medians.idxmax()
            parts.append(judged[~half & (judged.family == family) & (judged.position == position)])
    return pd.concat(parts).sort_index(kind="stable") if parts else judged


def per_wrong_fact(harmless: pd.DataFrame, wrong: pd.DataFrame) -> tuple[Interval, int]:
    """How many wrong facts a harmless edit is worth: the ratio of their mean |delta| in a prompt, of the median prompt.

    A scale of the score cancels. A harmless edit within the noise floor has not moved; a wrong fact within it counts as
    the floor.

    Returns:
        The median with its interval, and the number of prompts that have both.
    """
    worth = worth_by_prompt(harmless, wrong)
    if worth.empty or too_few(len(harmless), len(worth)):
        return NOTHING, len(worth)
    return median_interval(worth, list(worth.index)), len(worth)


def worth_by_prompt(harmless: pd.DataFrame, wrong: pd.DataFrame) -> pd.Series:
    """Of each prompt that has both: the mean |delta| of its harmless edits over that of its wrong facts."""
    moved = harmless.delta.abs().where(harmless.delta.abs() > harmless.floor, 0.0)
    against = wrong.delta.abs().clip(lower=wrong.floor)
    means = [of.groupby(frame.prompt_hash).mean() for of, frame in ((moved, harmless), (against, wrong))]
    both = pd.concat(means, axis=1, keys=["harmless", "wrong"]).dropna()
    ratio: pd.Series = both.harmless / both.wrong
    return ratio


def names_of(frame: pd.DataFrame) -> pd.Series:
    """`family position` of each row, or the family alone where the edit is of the whole response."""
    return frame.family.where(frame.position == "whole", frame.family + " " + frame.position)


def _strongest(harmless: pd.DataFrame, wrong: pd.DataFrame, scores: Totals) -> dict[str, Any]:
    sample = chosen_apart(harmless)
    effect = median_interval(sample.delta_over_sd.abs(), list(sample.prompt_hash), scores) if len(sample) else NOTHING
    worth, prompts = per_wrong_fact(sample, wrong) if len(sample) else (NOTHING, 0)
    return {
        "strongest": _names(sample),
        **_columns("strongest_harmless", effect),
        "strongest_n": len(sample),
        "strongest_prompts": sample.prompt_hash.nunique(),
        **_columns("harmless_per_wrong_fact", worth),
        "harmless_per_wrong_fact_prompts": prompts,
    }


def _controls(control: pd.DataFrame, rule: Mapping[str, Any]) -> dict[str, Any]:
    right, of_faults = order_of(control)
    worst, prompts = weakest(of_faults), control.prompt_hash.nunique()
    named = rule["says"] if rule["named"] else ""
    return {
        "controls": len(control),
        "control_prompts": prompts,
        **_columns("controls_right", right),
        "fault": worst.fault if len(control) else "",
        "faults": worst.n,
        "fault_prompts": worst.prompts,
        **_columns("fault_right", Interval(worst.right, worst.low, worst.high)),
        "rule": rule["says"],
        "rules": rule["n"],
        "rule_prompts": rule["prompts"],
        **_columns("rule_explains", Interval(rule["explained"], rule["low"], rule["high"])),
        "rule_gaps": rule["gaps"],
        "controls_word": controls_word(right, len(control), prompts, of_faults, named),
    }


def _tailed(harmless: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """The families that pass by their median, yet move one edit in twenty by more than `TAIL_FLOOR` for certain."""
    parts = dict(list(harmless.groupby(_EDIT)))
    passed = judged[judged.verdict == "pass"]
    far = [
        quantile_interval(part.delta_over_sd.abs(), list(part.prompt_hash), 0.95).low > TAIL_FLOOR
        for part in (parts[row.family, row.position] for row in passed.itertuples())
    ]
    return passed[np.array(far, dtype=bool)]


def _names(frame: pd.DataFrame) -> list[str]:
    """The edits by name, most cases first."""
    if frame.empty:
        return []
    return list(names_of(frame.value_counts(_EDIT).index.to_frame(index=False)))


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
