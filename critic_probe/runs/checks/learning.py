"""Checks on what is learnt: too soon, the wrong way, nothing, by heart, or the length."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from critic_probe.runs.checks.check import Floats, Judged, Run, at_end, check, figure, logarithm, stretch, stretches
from critic_probe.runs.profile import Bounds
from critic_probe.stats.trend import jump_at, jumps, mann_kendall, noise

_LOSS = ("critic/d_loss", "critic/loss", "critic/loss_at_1")


@check(
    "early",
    "critic/d_acc",
    causes=(
        "one side ends in EOS and the other does not",
        "the sides differ in form: length, closing mark, markdown, template",
        "the run starts from a trained critic",
    ),
    confirm="critic-probe compare PAIRS -c DIR",
)
def early(run: Run, bounds: Bounds) -> Judged:
    """The sides are told apart before anything was learnt."""
    series = run.series("critic/d_acc")
    count = int(bounds["points"])
    if run.first != run.begins or run.begins > bounds["begins"] or len(series.values) < count:
        return
    level = float(series.values[:count].mean())
    if level >= bounds["d_acc"]:
        ends = f"{series.steps[0]} to {series.steps[count - 1]}"
        evidence = f"d_acc is {figure(level)} over the first {count} logged steps ({ends})"
        yield "warn", series.steps[0], evidence


@check(
    "reversed",
    "critic/d_acc",
    causes=("the sides or the labels are swapped", "the sign of the loss is wrong"),
    confirm="critic-probe compare PAIRS -c DIR",
)
def reversed_sides(run: Run, bounds: Bounds) -> Judged:
    """The worse side scores higher."""
    series = run.series("critic/d_acc").from_on(run.concluding - run.points)
    state = stretch(series.level < bounds["d_acc"], int(bounds["points"]))
    if state is not None:
        series, late = run.series("critic/d_acc"), series.steps[state.start]
        state = next(
            s
            for s in stretches(series.level < bounds["d_acc"])
            if s.start <= np.searchsorted(series.steps, late) < s.stop
        )
        level = float(np.median(series.level[state]))
        evidence = f"d_acc is {figure(level)} from step {series.steps[state.start]} to {series.steps[state.stop - 1]}"
        yield "fail", series.steps[state.start], evidence


@check(
    "no-learning",
    "critic/d_acc",
    "critic/d_loss or critic/loss",
    causes=(
        "the learning rate is 0 or far too low",
        "the critic's parameters are frozen or not in the optimizer",
        "the sides cannot be told apart",
    ),
    confirm="critic-probe diff PAIRS -c FIRST_DIR -c LAST_DIR",
)
def no_learning(run: Run, bounds: Bounds) -> Judged:
    """Nothing is learnt in a long run."""
    evidence = _nothing_learnt(run, bounds)
    if evidence is None:
        return
    rate = run.series("critic/lr")
    if run.going_on and (not rate or rate.values.any()):  # what learns late looks alike: only time tells
        half = run.until((run.first + run.last) / 2)
        if _nothing_learnt(half, bounds) is None or _learning(run, bounds["p"]):
            return
    said = f"; the learning rate is at most {figure(rate.values.max())}" if rate else ""
    yield "warn", run.first, f"{evidence}, up to step {run.last}{said}"


def _nothing_learnt(run: Run, bounds: Bounds) -> str | None:
    """The evidence that nothing was learnt in a long run; None without."""
    if run.begins > bounds["begins"] or run.last - run.first < bounds["steps"] or run.redefined:
        return None
    d_acc, loss = run.series("critic/d_acc"), run.series(*_LOSS[:2])
    width = max(len(d_acc.values) // 4, run.points)
    levels = [pd.Series(each.values).rolling(width).mean().dropna() for each in (d_acc, loss)]
    if not all(len(level) for level in levels):
        return None
    best, off = float(levels[0].max()), float((levels[1] - math.log(2)).abs().max())
    if best >= bounds["d_acc"] or off >= bounds["loss"]:
        return None
    return (
        f"means of {width} logged steps never exceed a d_acc of {figure(best)} nor leave ln 2 by more than "
        f"{figure(off)} in the loss"
    )


def _learning(run: Run, p: float) -> bool:
    """Whether d_acc rises or the loss falls, by Mann and Kendall's test at p."""
    d_acc, loss = (mann_kendall(run.series(*names).values) for names in (("critic/d_acc",), _LOSS[:2]))
    return (d_acc.tau > 0 and d_acc.p < p) or (loss.tau < 0 and loss.p < p)


@check(
    "held-out",
    "critic/eval_acc or critic/eval_loss",
    causes=(
        "what is learnt holds for the training pairs alone",
        "evaluation computes other scores: another read-out, span or EOS, or a head that was not loaded",
        "d_acc has another definition there: ties, or a mean sigmoid",
    ),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def held_out(run: Run, bounds: Bounds) -> Judged:
    """Held-out pairs are judged worse than training's, and ever worse."""
    least = int(bounds["evaluations"])
    training, held = run.series("critic/d_acc"), run.series("critic/eval_acc")
    if training and held:
        mean = pd.Series(training.values).rolling(run.points, min_periods=1).mean().to_numpy()
        levels = np.interp(held.steps, training.steps, mean)
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
    level = pd.Series(loss.values).rolling(int(bounds["rounds"]), min_periods=1).median().to_numpy()
    lowest = int(np.argmin(level))
    rise = level[-2 if run.going_on else -1 :].min() - level[lowest]  # a passing one is gone at the next evaluation
    usual = noise(loss.values)
    error = usual.sd * usual.of_mean * math.sqrt(2 / bounds["rounds"])
    since = len(level) - 1 - lowest
    if since < bounds["rounds"] or rise < max(bounds["rise"], bounds["errors"] * error):
        return
    falls = ""
    if of_training:
        ends = np.interp([loss.steps[lowest], loss.steps[-1]], of_training.steps, of_training.level)
        if ends[1] > ends[0]:
            return
        falls = f", while training's went from {figure(ends[0])} to {figure(ends[1])}"
    yield (
        "warn",
        loss.steps[lowest],
        f"held-out loss rose from {figure(level[lowest])} at step {loss.steps[lowest]} to {figure(level[-1])}{falls}",
    )


@check(
    "epochs",
    "run/epoch",
    "critic/d_loss or critic/loss",
    causes=("training pairs are learnt by heart", "the learning rate changes where an epoch begins"),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def epochs(run: Run, bounds: Bounds) -> Judged:
    """The training loss falls where pairs come again."""
    epoch, loss = run.series("run/epoch"), run.series(*_LOSS[:2])
    near = int(bounds["near"])
    room = near + int(bounds["points"])
    boundaries = epoch.steps[1:][np.diff(np.floor(epoch.values + 1e-9)) > 0]
    places = [int(place) for place in np.searchsorted(loss.steps, boundaries)]
    places = [place for place in places if room <= place <= len(loss.values) - room]
    ends = [0, *places, len(loss.values)]
    if not places or np.diff(ends).min() < room or run.last < run.concluding:
        return
    if run.going_on and len(places) < 2:  # what is learnt quickly may fall at one boundary by chance
        return
    values = logarithm(loss.values)
    falls = [
        jump_at(values[start:stop], place - start, near)
        for start, place, stop in zip(ends, places, ends[2:], strict=False)
    ]
    drop = 1 - math.exp(float(np.median([fall.size for fall in falls])))
    errors = -sum(fall.size / (fall.error or math.inf) for fall in falls) / math.sqrt(len(falls))
    if drop < bounds["size"] or errors < bounds["errors"]:
        return
    large = [jump.place for jump in jumps(values) if 1 - math.exp(jump.size) > bounds["size"]]
    others = [place for place in large if min(abs(place - known) for known in places) > room]
    if len(others) <= len(places):
        yield (
            "warn",
            loss.steps[places[0]],
            f"the loss falls by {drop:.0%} where an epoch begins (median of {len(places)}, the first at step "
            f"{loss.steps[places[0]]}), by {errors:.1f} standard errors together; as abruptly at {len(others)} other "
            "places",
        )


@check(
    "length",
    "scores",
    causes=("length earns score", "length and quality go together in the pairs"),
    confirm="critic-probe compare PAIRS -c DIR",
)
def length(run: Run, bounds: Bounds) -> Judged:
    """Scores go with length within a side."""
    scores = run.scores[np.isfinite(run.scores.score) & np.isfinite(run.scores.length)]
    scores = scores.sort_values("step", kind="stable")
    if scores.score.nunique() <= bounds["grades"]:
        return
    steps, sides = scores.step.to_numpy(), scores.side.to_numpy()
    figures = scores[["length", "score"]].to_numpy(float)
    phases = zip(bounds["steps"], [*bounds["steps"][1:], math.inf], bounds["warn"], bounds["fail"], strict=True)
    for start, stop, warn, fail in phases:
        phase = np.flatnonzero((steps >= max(start, run.first)) & (steps < stop))
        most = len(phase) // int(bounds["samples"])
        count = most * (most + 1) if run.going_on else 2 * most  # of all looks so far: windows change as a phase grows
        beyond = []
        for windows in (most >> halved for halved in range(most.bit_length())):
            for part in np.array_split(phase, windows):
                r, near = _length_correlation(figures[part].T, sides[part], count)
                if near > warn and steps[part[-1]] >= run.concluding:
                    beyond.append((near, r, part))
        if beyond:  # the smallest windows tell when it began, the strongest how much it is
            near, r, part = max(beyond, key=lambda each: each[0])
            where = f"{len(part)} scores of steps {steps[part[0]]} to {steps[part[-1]]}"
            sure = f"at least {near:.2f} from 0, at 1 % over all windows; bound {warn:g}"
            evidence = f"rank correlation of length and score is {r:+.2f} in {where} ({sure})"
            yield "fail" if near > fail else "warn", steps[beyond[0][2][0]], evidence
            return


def _length_correlation(figures: Floats, sides: NDArray[np.object_], windows: int) -> tuple[float, float]:
    """Spearman's within sides, and how far from 0 it is at least, by Fisher's z at 1 %, Bonferroni over windows.

    Args:
        figures: (2, n) lengths and scores.
        sides: (n,).
        windows: As many are looked at.
    """
    ranks = [np.zeros((2, 0))]
    for side in set(sides):
        own = figures[:, sides == side]
        if own.shape[1] > 3:
            placed = rankdata(own, axis=1) / own.shape[1]
            ranks.append(placed - placed.mean(axis=1, keepdims=True))
    joined = np.concatenate(ranks, axis=1)
    size = math.sqrt(float((joined[0] ** 2).sum() * (joined[1] ** 2).sum()))
    if not size:
        return math.nan, 0.0
    r = float(joined[0] @ joined[1]) / size
    error = norm.ppf(1 - 0.01 / windows) / math.sqrt(max(joined.shape[1] - 1 - len(ranks), 1))
    return r, math.tanh(max(math.atanh(min(abs(r), 0.999)) - error, 0.0))
