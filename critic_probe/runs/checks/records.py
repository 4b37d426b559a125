"""Checks on the records themselves: figures that are none, steps that lack, and figures that contradict each other."""

import math
from collections import Counter

import numpy as np
import pandas as pd

from critic_probe.runs.checks.check import Judged, Run, at_end, check, figure, stretch
from critic_probe.runs.profile import Bounds

LN2 = math.log(2)
_BT_LOSS = "critic/d_loss or critic/loss"


@check(
    "not-finite",
    causes=(
        "the loss overflowed: fp16 without loss scaling, or a learning rate that is too high",
        "a batch held no response token, and a mean over none was taken",
    ),
    confirm="critic-probe doctor -c DIR",
    early=True,
)
def not_finite(run: Run, bounds: Bounds) -> Judged:
    """NaN and infinities among the critic's figures."""
    bad = run.table.not_finite
    bad = bad[bad.name.str.startswith("critic/")]
    worst = []
    for name, rows in bad.groupby("name", sort=False):
        logged = int(run.table.values[name].notna().sum()) + len(set(rows.step))
        lasts = rows.step.max() >= run.last and len(rows) > 1
        serious = lasts or len(rows) / logged > bounds["share"]
        worst.append((not serious, int(rows.step.iloc[0]), name, len(rows), logged, lasts))
    if worst:
        mild, step, *_ = min(worst)
        told = "; ".join(
            f"{name} at {count} of {logged} logged steps, first at {first}{', and at the last' if lasts else ''}"
            for _, first, name, count, logged, lasts in sorted(worst)
        )
        yield "warn" if mild else "fail", step, f"no finite number: {told}"


@check(
    "steps",
    causes=("the log was cut or lost", "a process that logs died and the run went on"),
)
def steps(run: Run, bounds: Bounds) -> Judged:
    """Steps that lack, and figures that end before the run does."""
    logged = run.table.values.index.to_numpy()
    apart = np.diff(logged)
    usual = float(np.median(apart)) if len(apart) else 1.0
    wide = np.flatnonzero(apart > bounds["gap"] * usual)
    if len(wide):
        told = ", ".join(f"{logged[i]} to {logged[i + 1]}" for i in wide[:3])
        more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
        evidence = f"nothing is logged from step {told}{more}, where {usual:g} apart is usual: nothing is known of them"
        yield "warn", logged[wide[0]] + round(usual), evidence
    for name in run.table.values:
        series = run.series(str(name))
        distance = float(np.median(np.diff(series.steps))) if len(series.steps) > run.points else math.inf
        since = run.last - series.steps[-1] if series else 0
        if str(name).startswith("critic/") and since > max(bounds["gap"] * distance, bounds["gap"] * usual):
            evidence = f"{name} is last logged at step {series.steps[-1]}, other figures up to {run.last}"
            yield "warn", series.steps[-1] + round(distance), evidence


@check(
    "contradiction-loss",
    "critic/d_acc",
    f"{_BT_LOSS} or critic/loss_at_1",
    causes=(
        "scores are divided by length twice before the loss",
        "T of the loss is far above the scores' scale",
        "d_acc and the loss are of different scores",
    ),
    confirm="critic-probe replay LOG -c DIR",
    early=True,
)
def contradiction_loss(run: Run, bounds: Bounds) -> Judged:
    """High d_acc at the loss of a critic that says nothing."""
    loss = run.series(*_BT_LOSS.split(" or "), "critic/loss_at_1").name
    values = run.table.values
    both = values[["critic/d_acc", loss]].dropna()
    if not len(both):
        return
    smooth = int(run.profile["general"]["smooth"])
    level = both.rolling(smooth, center=True, min_periods=1).median()
    near = (level["critic/d_acc"] >= bounds["d_acc"]) & ((level[loss] - LN2).abs() <= bounds["within"])
    said = None
    gap = values.get("critic/gap", pd.Series(dtype=float)).reindex(both.index)
    if gap.notna().any():
        used = 1.0 if loss == "critic/loss_at_1" else bounds["temperature"]
        if loss != "critic/loss_at_1" and "critic/temperature" in values:
            used = values["critic/temperature"].reindex(both.index).ffill().fillna(used)
        expected = np.logaddexp(0, -gap / used).rolling(smooth, center=True, min_periods=1).median()
        said = stretch(np.asarray(near & (level[loss] - expected > bounds["unexplained"])), int(bounds["points"]))
        if said is not None:
            part, gaps = both.iloc[said], gap.iloc[said]
            yield (
                "fail",
                part.index[0],
                f"{_levels(part, loss)}; a gap of {figure(gaps.median())} makes it about "
                f"{figure(expected.iloc[said].median())}",
            )
            return
    lasting = stretch(np.asarray(near), int(bounds["lasting"]))
    if lasting is not None:
        part = both.iloc[lasting]
        small = f"; the logged gap, {figure(gap.iloc[lasting].median())}, is as small" if gap.notna().any() else ""
        yield "warn", part.index[0], f"{_levels(part, loss)}{small}"


def _levels(part: pd.DataFrame, loss: str) -> str:
    d_acc, level = (figure(part[name].median()) for name in ("critic/d_acc", loss))
    return f"d_acc is {d_acc} and the loss {level} (ln 2 is 0.693) from step {part.index[0]} to {part.index[-1]}"


@check(
    "contradiction-gap",
    "critic/gap",
    "critic/teacher_mean or scores",
    "critic/student_mean or scores",
    "data/student_length_mean or data/response_length_mean or data/teacher_length_mean or scores",
    causes=("the gap is divided by length, and the scores that it is made of were already",),
    confirm="critic-probe replay LOG -c DIR",
    early=True,
)
def contradiction_gap(run: Run, bounds: Bounds) -> Judged:
    """The logged gap is that of the sides' means, divided or multiplied by the length."""
    values = run.table.values
    means = run.joined("critic/gap", "critic/teacher_mean", "critic/student_mean")
    if len(means):
        raw, logged = means["critic/teacher_mean"] - means["critic/student_mean"], means["critic/gap"]
    elif "critic/gap" in values and len(run.scores):
        sides = run.scores.pivot_table(index="step", columns="side", values="score")
        if not {"student", "teacher"} <= set(sides):
            return
        raw = (sides["teacher"] - sides["student"]).dropna()
        logged = values["critic/gap"].dropna()
        raw, logged = raw.align(logged, join="inner")
    else:
        return
    length = run.series("data/student_length_mean", "data/response_length_mean", "data/teacher_length_mean")
    mean_length = float(np.median(length.values)) if length else float(run.scores.length.mean())
    usable = (logged.abs() > 0) & (raw.abs() > 0)
    ratios = (raw[usable] / logged[usable]).abs()
    if len(ratios) < bounds["points"] or not mean_length > bounds["length"]:
        return
    ratio = float(ratios.median())
    factor = max(ratio, 1 / ratio)
    if 1 / bounds["factor"] <= factor / mean_length <= bounds["factor"]:
        way = "above" if ratio > 1 else "below"
        yield (
            "fail",
            ratios.index[0],
            f"teacher minus student score is {figure(factor)} times {way} the logged gap (median of {len(ratios)} "
            f"steps), and responses have {figure(mean_length)} tokens",
        )


@check(
    "equal-scores",
    "scores",
    causes=(
        "responses without a token in the mask: right padding with a slice from the end",
        "exceptions are scored as 0.0",
        "scores differ by less than the dtype that they are logged in",
        "scores are clipped",
    ),
    confirm="critic-probe replay LOG -c DIR",
    early=True,
)
def equal_scores(run: Run, bounds: Bounds) -> Judged:
    """Many scores are exactly 0.0, or exactly equal."""
    scores = run.scores.sort_values("step", kind="stable")
    values, size = scores.score.to_numpy(float), int(bounds["samples"])
    if len(values) < size:
        return
    if 1 < len(grades := np.unique(values)) <= bounds["grades"]:
        yield "info", None, f"{len(values)} scores take {len(grades)} values, as a rule's do: not judged as a critic's"
        return
    zeros = pd.Series(values == 0).rolling(size).mean().to_numpy()
    high = np.flatnonzero(zeros >= bounds["zero"])
    if len(high):
        own = np.flatnonzero(values[: high[0] + 1] == 0)
        first = own[own > high[0] - size][0]
        after = values[first:]
        share = float((after == 0).mean())
        evidence = f"{share:.1%} of {len(after)} scores from step {scores.step.iloc[first]} on are exactly 0.0"
        yield "fail", scores.step.iloc[first], evidence
        return
    for start in range(0, len(values) - size + 1, max(size // 2, 1)):
        window = values[start : start + size]
        value, count = Counter(window.tolist()).most_common(1)[0]
        following = values[start + size : start + 2 * size]  # coarse types repeat a value by chance, but not for long
        lasts = not len(following) or (following == value).mean() >= bounds["equal"] / 2
        if count / size >= bounds["equal"] and lasts:
            at = start + int(np.flatnonzero(window == value)[0])
            after = values[at:]
            share = float((after == value).mean())
            evidence = f"{share:.1%} of {len(after)} scores from step {scores.step.iloc[at]} on are exactly {value:g}"
            yield "warn", scores.step.iloc[at], evidence
            return


@check(
    "truncation",
    "data/truncated",
    causes=("the longest response allowed is too short", "the policy no longer ends its answers"),
    confirm="critic-probe perturb PAIRS -c DIR",
)
def truncation(run: Run, bounds: Bounds) -> Judged:
    """Many responses are cut."""
    share = run.series("data/truncated").from_on(run.concluding)
    state = at_end(share.level > bounds["warn"], run.points)
    if state is not None:
        level = float(np.median(share.level[state]))
        evidence = f"{level:.0%} of responses are cut from step {share.steps[state.start]} on"
        yield "fail" if level > bounds["fail"] else "warn", share.steps[state.start], evidence
