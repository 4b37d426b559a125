"""Checks on what is learnt: too soon, the wrong way, nothing, by heart, or the length."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from critic_probe.runs.checks.check import Run, at_end, check, figure, stretch
from critic_probe.runs.profile import Bounds
from critic_probe.stats.trend import jumps

_D_ACC = ("critic/d_acc", "critic/d_acc_soft")
_LOSS = ("critic/d_loss", "critic/loss", "critic/loss_at_1")


@check(
    "early",
    "the sides are told apart before anything was learnt",
    "critic/d_acc",
    causes=(
        "one side ends in EOS and the other does not",
        "the sides differ in form: length, closing mark, markdown, template",
        "the run starts from a trained critic",
    ),
    confirm="critic-probe compare PAIRS -c DIR",
)
def early(run: Run, bounds: Bounds) -> Iterator[Any]:
    series = run.series("critic/d_acc")
    count = int(bounds["points"])
    if run.first != run.begins or run.begins > bounds["begins"] or len(series.values) < count:
        return
    level = float(series.values[:count].mean())
    if level >= bounds["d_acc"]:
        evidence = f"d_acc is {figure(level)} over the first {count} logged steps ({series.steps[0]} to {series.steps[count - 1]})"
        yield "warn", series.steps[0], evidence


@check(
    "reversed",
    "the worse side scores higher",
    "critic/d_acc",
    causes=("the sides or the labels are swapped", "the sign of the loss is wrong"),
    confirm="critic-probe compare PAIRS -c DIR",
)
def reversed_sides(run: Run, bounds: Bounds) -> Iterator[Any]:
    series = run.series("critic/d_acc").from_on(run.concluding - run.points)
    state = stretch(series.level < bounds["d_acc"], int(bounds["points"]))
    if state is not None:
        level = float(np.median(series.level[state]))
        evidence = f"d_acc is {figure(level)} from step {series.steps[state.start]} to {series.steps[state.stop - 1]}"
        yield "fail", series.steps[state.start], evidence


@check(
    "no-learning",
    "nothing is learnt in a long run",
    "critic/d_acc",
    "critic/d_loss or critic/loss",
    causes=(
        "the learning rate is 0 or far too low",
        "the critic's parameters are frozen or not in the optimizer",
        "the sides cannot be told apart",
    ),
    confirm="critic-probe diff PAIRS -c FIRST_DIR -c LAST_DIR",
)
def no_learning(run: Run, bounds: Bounds) -> Iterator[Any]:
    if run.begins > bounds["begins"] or run.last - run.first < bounds["steps"]:
        return
    d_acc, loss = run.series("critic/d_acc"), run.series(*_LOSS[:2])
    width = max(len(d_acc.values) // 10, run.points)
    levels = [pd.Series(each.values).rolling(width).mean().dropna() for each in (d_acc, loss)]
    if not all(len(level) for level in levels):
        return
    best, off = float(levels[0].max()), float((levels[1] - math.log(2)).abs().max())
    if best < bounds["d_acc"] and off < bounds["loss"]:
        rate = run.series("critic/lr")
        said = f"; the learning rate is at most {figure(rate.values.max())}" if rate else ""
        yield (
            "warn",
            run.first,
            f"means of {width} logged steps never exceed a d_acc of {figure(best)} nor leave ln 2 by more than "
            f"{figure(off)} in the loss, up to step {run.last}{said}",
        )


@check(
    "held-out",
    "held-out pairs are judged worse than training's, and ever worse",
    "critic/eval_acc or critic/eval_loss",
    causes=(
        "what is learnt holds for the training pairs alone",
        "evaluation computes other scores: another read-out, span or EOS, or a head that was not loaded",
        "d_acc has another definition there: ties, or a mean sigmoid",
    ),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def held_out(run: Run, bounds: Bounds) -> Iterator[Any]:
    least = int(bounds["evaluations"])
    training, held = run.series("critic/d_acc"), run.series("critic/eval_acc")
    if training and held:
        levels = np.interp(held.steps, training.steps, training.level)
        behind = levels - held.values
        state = at_end((behind > bounds["behind"]) & (held.steps >= run.concluding), least)
        if state is not None:
            mean = float(behind[state].mean())
            yield (
                "fail" if mean > bounds["far"] else "warn",
                held.steps[state.start],
                f"d_acc is {figure(held.values[state].mean())} on held-out pairs and {figure(levels[state].mean())} in "
                f"training, in {len(behind[state])} evaluations from step {held.steps[state.start]} on",
            )
            return
    loss, of_training = run.series("critic/eval_loss"), run.series(*_LOSS)
    loss = loss.from_on(run.concluding)
    if len(loss.values) <= bounds["rounds"]:
        return
    lowest = int(np.argmin(loss.values))
    since = loss.values[lowest + 1 :]
    if len(since) < bounds["rounds"] or not (since[-int(bounds["rounds"]) :] > bounds["loss"] * loss.values[lowest]).all():
        return
    falls = ""
    if of_training:
        ends = np.interp([loss.steps[lowest], loss.steps[-1]], of_training.steps, of_training.level)
        if ends[1] > ends[0]:
            return
        falls = f", while training's fell from {figure(ends[0])} to {figure(ends[1])}"
    yield (
        "warn",
        loss.steps[lowest + 1],
        f"held-out loss rose from {figure(loss.values[lowest])} at step {loss.steps[lowest]} to {figure(since[-1])}{falls}",
    )


@check(
    "epochs",
    "the training loss falls where pairs come again",
    "run/epoch",
    "critic/d_loss or critic/loss",
    causes=("training pairs are learnt by heart",),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def epochs(run: Run, bounds: Bounds) -> Iterator[Any]:
    epoch, loss = run.series("run/epoch"), run.series(*_LOSS[:2])
    whole = np.floor(epoch.values + 1e-9)
    boundaries = epoch.steps[1:][np.diff(whole) > 0]
    places = np.searchsorted(loss.steps, boundaries)
    places = places[(places > 2) & (places < len(loss.steps) - 2)]
    if not len(places) or run.last < run.concluding:
        return
    cut = [jump for jump in jumps(loss.values) if jump.size < 0]
    before = {jump.index: float(np.median(loss.values[max(jump.index - run.points, 0) : jump.index])) for jump in cut}
    large = [jump for jump in cut if -jump.size > bounds["size"] * abs(before[jump.index])]
    hit = {int(place): jump for place in places for jump in large if abs(jump.index - place) <= bounds["near"]}
    if hit and len(hit) >= bounds["share"] * len(places) and len(hit) >= len(large) / 2:
        first = min(hit)
        drop = float(np.median([-jump.size / before[jump.index] for jump in hit.values()]))
        yield (
            "warn",
            loss.steps[first],
            f"the loss falls by {drop:.0%} (median) within {bounds['near']:g} logged steps of {len(hit)} of {len(places)} "
            f"epoch boundaries, first at step {loss.steps[first]}, and abruptly at {len(large) - len(hit)} other places",
        )


@check(
    "length",
    "scores go with length within a side",
    "scores",
    causes=("length earns score", "length and quality go together in the pairs"),
    confirm="critic-probe compare PAIRS -c DIR",
)
def length(run: Run, bounds: Bounds) -> Iterator[Any]:
    scores = run.scores[np.isfinite(run.scores.score) & np.isfinite(run.scores.length)]
    for start, stop, warn, fail in zip(
        bounds["steps"], [*bounds["steps"][1:], math.inf], bounds["warn"], bounds["fail"], strict=True
    ):
        phase = scores[(scores.step >= max(start, run.first)) & (scores.step < stop)].sort_values("step", kind="stable")
        windows = max(len(phase) // int(bounds["samples"]), 1)
        for part in np.array_split(np.arange(len(phase)), windows):
            window = phase.iloc[part]
            if len(window) < bounds["samples"] or window.step.iloc[-1] < run.concluding:
                continue
            r, near = _length_correlation(window)
            if near > warn:
                verdict = "fail" if near > fail else "warn"
                yield (
                    verdict,
                    window.step.iloc[0],
                    f"rank correlation of length and score is {r:+.2f} (at least {near:.2f} from 0, one-sided 99 %) in "
                    f"{len(window)} scores of steps {window.step.iloc[0]} to {window.step.iloc[-1]}; bound {warn:g}",
                )
                return


def _length_correlation(scores: pd.DataFrame) -> tuple[float, float]:
    """Spearman's within sides, and how far from 0 it is at least, by Fisher's z at one-sided 99 %."""
    ranks = []
    for _, side in scores.groupby("side"):
        if len(side) > 3:
            pair = [rankdata(side[name]) / len(side) for name in ("length", "score")]
            ranks.append(np.array([each - each.mean() for each in pair]))
    joined = np.concatenate(ranks, axis=1) if ranks else np.zeros((2, 0))
    size = math.sqrt(float((joined[0] ** 2).sum() * (joined[1] ** 2).sum())) if joined.size else 0.0
    if not size:
        return math.nan, 0.0
    r = float(joined[0] @ joined[1]) / size
    error = norm.ppf(0.99) / math.sqrt(max(joined.shape[1] - 2 - len(ranks), 1))
    return r, math.tanh(max(math.atanh(min(abs(r), 0.999)) - error, 0.0))
