"""What the deltas of edits say: figures by family, verdicts against preset floors, one read-out against another.

Raw deltas shrink with every read-out that averages, so every judgement here is on deltas over the SD of the unedited
scores, on rates, or on ratios.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from critic_probe import tolerance
from critic_probe.stats.chance import Fault, by_fault
from critic_probe.stats.intervals import (
    Interval,
    Totals,
    detectable,
    difference_over_sd,
    estimate,
    median_interval,
    more_prompts,
    rate_interval,
    totals,
    would_tell,
)
from critic_probe.stats.paired import paired_p
from critic_probe.stats.rates import FEW, FEW_PROMPTS, holm, too_few
from critic_probe.text import reader

INVARIANCE_FLOOR = 0.2  # SD: Cohen's (1988) small effect
ORDER_FLOOR = 0.75  # halfway between chance and always

Spreads = Mapping[tuple[str, str], Totals]
"""(critic, aggregation) -> `totals` of the unedited scores, whose SD the deltas are set against."""


class Verdict(NamedTuple):
    """A judged figure: what was measured, its interval, what it had to reach, the word, and how many prompts more."""

    figure: float
    low: float
    high: float
    preset: float
    detectable: float
    verdict: str
    more_prompts: int = 0


def summarise(cases: pd.DataFrame, spreads: Spreads) -> pd.DataFrame:
    """One row per critic, read-out, family, position and kind; see `PerturbResult.summary`."""
    rows = []
    keys = ["family", "position", "kind", "critic", "aggregation"]
    for (family, position, kind, critic, aggregation), frame in cases.groupby(keys, sort=False):
        raw, scaled = frame.delta.abs(), frame.delta_over_sd.abs()
        decided = frame[frame.decided.astype(bool)]
        flipped = rate_interval(decided.flip, list(decided.prompt_hash))
        sign = int(frame.sign.iloc[0])
        ends = frame.dropna(subset=["ending_effect"])
        right = right_order(frame, frame.delta)
        judged = judge(frame, str(kind), sign, spreads[critic, aggregation])
        effect = median_interval(scaled, list(frame.prompt_hash), spreads[critic, aggregation])
        ordered = rate_interval(right, list(frame.prompt_hash)) if sign else None
        rows.append(
            {
                "critic": critic,
                "aggregation": aggregation,
                "family": family,
                "group": frame.group.iloc[0],
                "position": position,
                "kind": kind,
                "sign": sign,
                "n": len(frame),
                "prompts": frame.prompt_hash.nunique(),
                "median_abs_delta": raw.median(),
                "p95_abs_delta": raw.quantile(0.95),
                "max_abs_delta": raw.max(),
                "median_abs_delta_over_sd": effect.value,
                "median_abs_delta_over_sd_low": effect.low,
                "median_abs_delta_over_sd_high": effect.high,
                "p95_abs_delta_over_sd": scaled.quantile(0.95),
                "max_abs_delta_over_sd": scaled.max(),
                "mean_delta": frame.delta.mean(),
                "mean_delta_over_sd": frame.delta_over_sd.mean(),
                "flips": int(frame.flip.sum()),
                "flip_rate": flipped.value,
                "flip_low": flipped.low,
                "flip_high": flipped.high,
                "below_floor": (raw <= frame.floor).mean(),
                "right_order": ordered.value if ordered else np.nan,
                "right_order_low": ordered.low if ordered else np.nan,
                "right_order_high": ordered.high if ordered else np.nan,
                "right_order_ending_restored": right_order(frame, _without_ending(frame)).mean() if sign else np.nan,
                "ending_n": len(ends),
                "ending_effect_over_sd": ends.ending_effect_over_sd.abs().median(),
                **judged._asdict(),
            }
        )
    # The stable sort keeps critics and read-outs in the order in which they were asked for.
    order = {kind: index for index, kind in enumerate(("identity", "invariance", "directional", "control"))}
    frame = pd.DataFrame(rows)
    frame["_kind"] = frame.kind.map(order).fillna(len(order))
    frame = frame.sort_values(["_kind", "family", "position"], kind="stable")
    return frame.drop(columns="_kind").reset_index(drop=True)


def judge(frame: pd.DataFrame, kind: str, sign: int, scores: Totals | None = None) -> Verdict:
    """The verdict on the cases of one family under one read-out.

    Identity: every delta must lie within the noise floor. Invariance: the median |delta| over SD must lie below
    `INVARIANCE_FLOOR`. Directional, control and meaning-changing: the rate of the right order must lie above
    `ORDER_FLOOR`. An interval that holds the floor, or `too_few` cases or prompts, is `cannot tell`.

    Args:
        frame: The cases.
        kind: The family's.
        sign: What the score should do; 0 for nothing.
        scores: `totals` of the unedited scores; None takes the SD for known.
    """
    if kind == "identity":
        moved = float((frame.delta.abs() > frame.floor).mean())
        return Verdict(moved, moved, moved, 0.0, 0.0, "fail" if moved else "pass")
    prompts = list(frame.prompt_hash)
    if sign:
        interval, preset = rate_interval(right_order(frame, frame.delta), prompts), ORDER_FLOOR
        word = "pass" if interval.low > preset else "fail" if interval.high < preset else "cannot tell"
    else:
        interval, preset = median_interval(frame.delta_over_sd.abs(), prompts, scores), INVARIANCE_FLOOR
        word = "pass" if interval.high < preset else "fail" if interval.low > preset else "cannot tell"
    distinct = frame.prompt_hash.nunique()
    if too_few(len(frame), distinct):
        word = "cannot tell"
    more = more_prompts(interval, preset, len(frame), distinct) if word == "cannot tell" else 0
    return Verdict(*interval, preset, detectable(interval, distinct), word, more)


def faults(cases: pd.DataFrame) -> pd.DataFrame:
    """One row per critic, read-out and kind of fault: how often it scores lower than the answer without it."""
    rows = []
    for key, frame in cases[cases.kind == "control"].groupby(["critic", "aggregation"], sort=False):
        rows += [(*key, *fault) for fault in order_of(frame)[1]]
    return pd.DataFrame(rows, columns=["critic", "aggregation", *Fault._fields])


def order_of(controls: pd.DataFrame) -> tuple[Interval, list[Fault]]:
    """The rate of the right order of one critic's controls under one read-out: of all, and by kind of fault."""

    def rate(frame: pd.DataFrame) -> Interval:
        return rate_interval(right_order(frame, frame.delta), list(frame.prompt_hash))

    kinds = by_fault(controls)
    return rate(controls), [Fault(kind, len(part), part.prompt_hash.nunique(), *rate(part)) for kind, part in kinds]


def contrasts(cases: pd.DataFrame, spreads: Spreads) -> pd.DataFrame:
    """Read-out against read-out within a critic, and critic against critic under one read-out, family by family.

    `mean_abs` and `other_mean_abs` are the means of |delta| over SD, over the same edits; `difference` is the first
    minus the other, with an interval that takes both SDs for estimates; `p` is that of the sign-flip test over prompts,
    `p_holm` Holm's (1979) over all families. For controls and directions `right` and `other_right` are the shares that
    are ordered rightly, ties as half, `right_flips` the edits ordered the other way and `right_p` the same test's.
    """
    keys = ["id", "side", "family", "position", "left", "removed", "added"]
    rows = []
    frames = dict(list(cases[cases.kind != "identity"].groupby(["critic", "aggregation"], sort=False)))
    for one, other in itertools.combinations(frames, 2):
        if (one[0] == other[0]) == (one[1] == other[1]):
            continue
        both = frames[one].merge(frames[other], on=keys, suffixes=("", "_other"))
        theirs = pd.DataFrame({name: both[f"{name}_other"] for name in ("delta", "floor", "sign")})
        both["right"], both["right_other"] = right_order(both, both.delta), right_order(theirs, theirs.delta)
        for end in ("", "_other"):
            both[f"size{end}"] = both[f"delta{end}"].abs().where(both[f"delta_over_sd{end}"].notna())
            both[f"scaled{end}"] = both[f"delta_over_sd{end}"].abs()
        figures = ["size", "size_other", "scaled", "scaled_other", "right", "right_other"]
        for family, frame in both.groupby("family", sort=False):
            prompts = frame.prompt_hash.to_numpy(object)
            size, other_size, scaled, other_scaled, right, other_right = frame[figures].to_numpy(float).T
            parts = (totals(size, prompts), spreads[one], totals(other_size, prompts), spreads[other])
            apart = estimate(difference_over_sd, *parts)
            rights: tuple[Any, ...] = (np.nan, np.nan, None, None)
            if frame.sign.iloc[0]:
                change = right - other_right
                rights = (right.mean(), other_right.mean(), int((np.abs(change) == 1).sum()), paired_p(change, prompts))
            means = (pd.Series(each).mean() for each in (scaled, other_scaled))
            sizes = (len(frame), len(set(prompts)))
            rows.append((*one, *other, family, *sizes, *means, *apart.interval, apart.p, *rights))
    columns = ["critic", "aggregation", "other_critic", "other_aggregation", "family", "n", "prompts"]
    columns += ["mean_abs", "other_mean_abs", "difference", "low", "high", "p"]
    columns += ["right", "other_right", "right_flips", "right_p"]
    table = pd.DataFrame(rows, columns=columns).astype({"right_flips": "Int64", "right_p": "float64"})
    table["p_holm"] = holm(table.p)
    return table


def right_order(frame: pd.DataFrame, delta: pd.Series) -> pd.Series:
    """1 where the score moved as the sign says, 0 where it moved the other way, half within the noise floor."""
    moved = np.sign(delta).where(delta.abs() > frame.floor, 0.0)
    return (1 + moved * frame.sign) / 2


def _without_ending(frame: pd.DataFrame) -> pd.Series:
    return frame.delta - frame.ending_effect.fillna(0.0)


def read_aloud(summary: pd.DataFrame, ratios: pd.DataFrame, cases: pd.DataFrame) -> list[str]:
    """Plain sentences on how to read the tables."""
    sentences = [
        "|delta| is how far the score moves when only the edit does; /SD sets it against the spread of the unedited "
        "scores under the same critic and read-out, so those columns compare across read-outs.",
        "A flip is a pair whose verdict changes sides; pairs tied before the edit are left out of the rate.",
        f"Verdicts: an invariance passes where the interval of its median |delta|/SD lies below {INVARIANCE_FLOOR:g}, "
        f"a control or direction where the interval of its right-order rate lies above {ORDER_FLOOR:g}; an interval "
        f"that holds its floor, fewer than {FEW} cases or {FEW_PROMPTS} prompts is 'cannot tell'. MDE is the smallest "
        "distance from the floor that so many prompts could show. An identity has nothing to estimate.",
    ]
    sentences += [
        f"{reader(row['critic'], row['aggregation'])}: {clause}."
        for row in ratios.to_dict("records")
        for clause in of_controls(row)
    ]
    sentences += _dilution(cases)
    enough = (summary.ending_n >= FEW) & (summary.prompts >= FEW_PROMPTS)
    ends = summary[enough & (summary.ending_effect_over_sd > INVARIANCE_FLOOR)]
    for (critic, aggregation), frame in ends.groupby(["critic", "aggregation"], sort=False):
        sentences.append(
            f"{reader(critic, aggregation)}: the ending alone moves {', '.join(sorted(set(frame.family)))} by more "
            f"than {INVARIANCE_FLOOR:g} SD: without the closing mark restored it would pass for an effect of the edit."
        )
    return sentences


def of_controls(row: dict[str, Any]) -> list[str]:
    """What the order of controls shows, from a row of `headline`: one clause, none where there are none."""

    def shown(name: str) -> str:
        return "none" if pd.isna(row[name]) else f"{row[name]:.2f}"

    share = f"{shown('controls_right')} of the worse answers score lower"
    fault = f"of '{row['fault']}' {shown('fault_right')} [{shown('fault_right_low')}, {shown('fault_right_high')}]"
    nothing = "nothing here shows that this score reads content"
    clauses = {
        "a simple rule": f"the rule '{row['rule']}' alone explains {shown('rule_explains')} of the moves "
        f"[{shown('rule_explains_low')}, {shown('rule_explains_high')}]"
        + ("" if pd.isna(row["rule_gaps"]) else f" and {shown('rule_gaps')} of the pairs' gaps")
        + f": {nothing}"
        + (f", though {share}" if row["controls"] else ""),
        "at chance": f"controls are at chance ({share}): {nothing}",
        "not every fault": f"{share}, but {fault}: heads that learnt nothing order some kinds of fault rightly too, "
        f"and {nothing}",
        "cannot tell": f"{share}, but too few of them are '{row['fault']}' ({row['faults']} of {row['fault_prompts']} "
        f"prompts): whether this score reads content cannot be told{_more(row)}",
        "above chance": f"controls are above chance in every kind of fault ({share}; {fault}, the least)",
        "below chance": f"the worse answer scores higher more often than not ({share})",
    }
    return [clauses[row["controls_word"]]] if row["controls_word"] in clauses else []


def _more(row: dict[str, Any]) -> str:
    """How many more prompts would tell whether the kind of fault is ordered rightly."""
    fault = Interval(row["fault_right"], row["fault_right_low"], row["fault_right_high"])
    more = would_tell(fault, 0.5, row["faults"], row["fault_prompts"])
    return f" ({more})" if more else ""


def _dilution(cases: pd.DataFrame) -> list[str]:
    return [
        f"{row.critic}: in {row.n} terminal swaps that change the last token alone, N x the mean's delta "
        + (
            "equals last's delta, rounding aside: dilution by arithmetic, not a merit of the mean."
            if row.over_noise < 1
            else f"differs from last's delta by {row.over_noise:.3g} times what rounding may do: earlier values moved "
            "too, or N is not the count of its tokens."
        )
        for row in dilution(cases).itertuples()
    ]


def dilution(cases: pd.DataFrame) -> pd.DataFrame:
    """Where only the last token changes, the mean moves by the last value's change over N: arithmetic, checked.

    One row per critic that was read under both: n edits beyond the noise floor under both read-outs (below it both
    deltas are rounding), and `over_noise`, the largest |N x the mean's delta - last's delta| over what rounding may
    make of it: N x the mean's noise floor + last's. An error over the delta itself would grow without bound where a
    delta barely leaves the noise.
    """
    rows = []
    swaps = cases[cases.only_last_token & (cases.family == "terminal-swap")]
    for critic, frame in swaps.groupby("critic", sort=False):
        frame = frame[frame.delta.abs() > frame.floor]
        if not {"last", "mean"} <= set(frame.aggregation):
            continue
        table = frame.pivot_table(index=["id", "side"], columns="aggregation", values=["delta", "floor"]).dropna()
        if table.empty:
            continue
        tokens = frame.groupby(["id", "side"]).tokens.first()
        error = (table["delta", "mean"] * tokens - table["delta", "last"]).abs()
        noise = tolerance.of_dilution(table["floor", "mean"], table["floor", "last"], tokens)
        rows.append((critic, len(table), float((error / noise).max())))
    return pd.DataFrame(rows, columns=["critic", "n", "over_noise"])
