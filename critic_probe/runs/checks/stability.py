"""Checks on whether training holds: what diverges, collapses, jumps, saturates or drifts."""

import math

import numpy as np
import pandas as pd

from critic_probe.runs.checks.check import (
    Judged,
    Run,
    Series,
    at_end,
    began,
    check,
    figure,
    logarithm,
    sd_of_step,
    stretch,
)
from critic_probe.runs.profile import Bounds
from critic_probe.stats.trend import jumps, mann_kendall, noise, theil_sen

LN2 = math.log(2)
_LOSS = ("critic/d_loss", "critic/loss", "critic/loss_at_1")
_BT_LOSS = " or ".join(_LOSS)


@check(
    "divergence",
    f"{_BT_LOSS} or critic/vf_loss",
    causes=(
        "the learning rate is too high, or its warm-up too short",
        "gradients are not clipped",
        "the data or the reward changed",
    ),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def divergence(run: Run, bounds: Bounds) -> Judged:
    """The loss rises and stays up."""
    for loss in (run.series(*_LOSS), run.series("critic/vf_loss")):
        if not loss:
            continue
        lowest = np.minimum.accumulate(loss.level)
        if loss.name == "critic/vf_loss":
            high = loss.level > bounds["ratio"] * lowest
        else:
            high = loss.level > bounds["chance"] * LN2
        state = stretch(high & (loss.steps >= run.concluding), run.points)
        if state is None:
            continue
        rise = float(loss.level[state].min()) - lowest[state.start]
        if rise > bounds["noises"] * sd_of_step(loss.values[: state.start]):
            step = began(loss, state.start, log=True)
            level = float(np.median(loss.level[state]))
            stays = "stays up" if state.stop == len(high) else f"is down at step {loss.steps[state.stop]}"
            yield (
                "fail",
                step,
                f"{loss.name} is {figure(level)} (median) from step {loss.steps[state.start]} on and {stays}; the "
                f"lowest level before was {figure(lowest[state.start])}",
            )


@check(
    "spikes",
    f"{_BT_LOSS} or critic/vf_loss",
    causes=("the learning rate is too high", "single batches hold what others do not: very long or broken rows"),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def spikes(run: Run, bounds: Bounds) -> Judged:
    """The loss leaps up again and again."""
    loss = run.series(*_LOSS, "critic/vf_loss")
    if run.last < run.concluding or len(loss.values) < run.points:
        return
    above = loss.values - loss.level > bounds["noises"] * sd_of_step(loss.values)
    places = np.flatnonzero(above)
    count = int(bounds["count"])
    for first, last in zip(places, places[count - 1 :], strict=False):
        if last - first <= bounds["window"]:
            yield (
                "warn",
                loss.steps[first],
                f"{loss.name} is more than {bounds['noises']:g} SD above its level at {len(places)} steps, "
                f"{count} of them between {loss.steps[first]} and {loss.steps[last]}",
            )
            return


@check(
    "collapse",
    "critic/d_acc or critic/gap or critic/teacher_std or critic/score_std",
    causes=(
        "training broke the critic: a learning rate that is too high, a bad batch",
        "scores are read elsewhere from this step on: read-out, mask or template changed",
        "the student now gives the teacher's answers",
    ),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def collapse(run: Run, bounds: Bounds) -> Judged:
    """What was learnt is lost at once, or scores no longer differ."""
    d_acc = run.series("critic/d_acc")
    if d_acc:
        level = pd.Series(d_acc.values).rolling(run.points, center=True, min_periods=1).mean().to_numpy()
        d_acc = d_acc._replace(level=level)
        usual = noise(d_acc.values)
        error = usual.sd * usual.of_mean / math.sqrt(run.points)
        best = np.maximum.accumulate(np.where(np.arange(len(level)) < run.points // 2, 0.0, level))
        near = np.abs(level - 0.5) <= bounds["chance"] + bounds["off"] * error
        low = near & (d_acc.steps >= run.concluding) & (best >= bounds["learnt"])
        low &= best - level > bounds["errors"] * error
        state = stretch(low, run.points)
        if state is not None:
            least = float(np.median(level[state])) + bounds["errors"] * math.sqrt(2) * error
            high = max((best[state.start] + 0.5) / 2, least)
        fall = state and _fall(d_acc, state, high, bounds["within"])
        if fall is not None:
            step, state, top = fall
            level = float(np.median(d_acc.level[state]))
            yield (
                "fail",
                step,
                f"d_acc falls from {figure(top)} to {figure(level)} within {bounds['within']:g} logged steps",
            )
            return
    spread = run.spread()
    for name, values, share in (
        ("the SD of scores", spread, bounds["spread"]),
        ("the gap", run.table.values.get("critic/gap"), bounds["gap"]),
    ):
        if values is None or not len(values.dropna()):
            continue
        own = values.abs().dropna()
        level = own.rolling(int(run.profile["general"]["smooth"]), center=True, min_periods=1).median().to_numpy()
        series = Series(name, own.index.to_numpy(), own.to_numpy(float), level)
        best = np.maximum.accumulate(level)
        low = (level < share * best) & (series.steps >= run.concluding)
        if name == "the gap":
            low &= best > 6 * sd_of_step(series.values)
        state = stretch(low, run.points)
        fall = state and _fall(series, state, best[state.start] / 2, bounds["within"], log=name != "the gap")
        if fall is not None:
            step, state, top = fall
            left = float(np.median(level[state]))
            yield (
                "fail",
                step,
                f"{name} falls from {figure(top)} to {figure(left)} within {bounds['within']:g} logged steps",
            )
            return


def _fall(
    series: Series, state: slice, high: float, within: float, *, log: bool = False
) -> tuple[int, slice, float] | None:
    """A fall to a low state from above `high` within so many values: its step, the state, the top."""
    above = np.flatnonzero(series.level[: state.start] >= high)
    if not len(above) or state.start - above[-1] > within:
        return None
    top = float(series.level[: state.start].max())
    return began(series, state.start, log=log), state, top


@check(
    "gradient",
    "critic/grad_norm",
    causes=(
        "vanished: the loss is saturated, or the critic is frozen or left out of the backward pass",
        "exploded: the learning rate is too high, or a batch is broken",
    ),
    confirm="critic-probe diff PAIRS -c DIR_BEFORE -c DIR_AFTER",
)
def gradient(run: Run, bounds: Bounds) -> Judged:
    """The critic's gradient vanishes or explodes."""
    norm = run.series("critic/grad_norm")
    late, points = norm.steps >= run.concluding, int(bounds["points"])
    usual = pd.Series(norm.values).expanding().median().to_numpy()
    gone = stretch((norm.level <= bounds["vanished"] * usual) & (usual > 0) & late, points)
    if gone is not None:
        yield (
            "fail",
            norm.steps[gone.start],
            f"the gradient norm is {figure(np.median(norm.level[gone]))} from step {norm.steps[gone.start]} on; its "
            f"median up to there is {figure(usual[gone.start])}",
        )
    elif not norm.values.any() and len(norm.values) >= points and run.last >= run.concluding:
        yield "fail", norm.steps[0], f"the gradient norm is 0 at all {len(norm.values)} logged steps"
    highest = np.maximum.accumulate(norm.level)
    halves = np.array([highest[i // 2] for i in range(len(norm.level))])
    high = stretch((norm.level >= bounds["exploded"] * halves) & (halves > 0) & late, points)
    if high is not None:
        yield (
            "fail",
            began(norm, high.start, log=True),
            f"the gradient norm is {figure(np.median(norm.level[high]))} (median) from step {norm.steps[high.start]} "
            f"on; it was at most {figure(halves[high.start])} in the first half of the steps before",
        )


@check(
    "saturation",
    "critic/saturated or critic/gradient_weight or critic/d_loss",
    causes=(
        "the sides are told apart by their form alone, such as EOS on one side",
        "T of the loss is small for the scores' scale",
        "the pairs are learnt by heart",
    ),
    confirm="critic-probe perturb PAIRS -c DIR",
)
def saturation(run: Run, bounds: Bounds) -> Judged:
    """Next to no gradient is left."""
    share = run.series("critic/saturated")
    weight, loss = run.series("critic/gradient_weight"), run.series("critic/d_loss")
    if share:
        own, flags = share, share.level >= bounds["share"]
    elif weight:
        own, flags = weight, weight.level <= bounds["left"]
    else:  # sigmoid(-x) is 1 - exp(-loss), and its mean at most that of the mean loss (Jensen)
        own, flags = loss, 1 - np.exp(-np.maximum(loss.level, 0)) <= bounds["left"]
    state = at_end(flags & (own.steps >= run.concluding - run.points), run.points)
    if state is None:
        return
    first = int(own.steps[state.start])
    left, parts = math.nan, []
    if share:
        level = float(np.median(share.level[state]))
        parts.append(f"|gap| / T is above 4 for {level:.0%} of pairs")
    if weight:
        left = float(np.median(weight.from_on(first).level))
        parts.append(f"the gradient weight that is left is {figure(left)}")
    elif loss:
        left = float(np.median(1 - np.exp(-np.maximum(loss.from_on(first).level, 0))))
        parts.append(f"the gradient weight that is left is at most {figure(left)}, by the loss")
    if left > bounds["left"]:
        return
    serious = bool(share) and float(np.median(share.level[state])) >= bounds["fail"]
    before = np.flatnonzero(~flags[: state.start])
    step = began(own, state.start) if len(before) else first
    yield "fail" if serious else "warn", step, f"from step {first} on {' and '.join(parts)}"


@check(
    "shift",
    "critic/d_acc or critic/d_loss or critic/loss or critic/gap or critic/student_mean or critic/teacher_mean",
    causes=(
        "the data changed: another file, order or sampler",
        "scores are made otherwise from this step on: EOS, template, mask, read-out",
        "the run was resumed without its optimizer or at other settings",
    ),
    confirm="critic-probe track RUN_DIR PAIRS",
)
def shift(run: Run, bounds: Bounds) -> Judged:
    """A figure jumps, where its definition does not change and no epoch begins."""
    spread = run.spread()
    sd = float(spread.median()) if len(spread) else math.nan
    epoch = run.series("run/epoch")
    begins = epoch.steps[1:][np.diff(np.floor(epoch.values + 1e-9)) > 0] if epoch else np.array([])
    seen = []
    for name in ("critic/d_acc", *_LOSS[:2], "critic/gap", "critic/student_mean", "critic/teacher_mean"):
        series = run.series(name)
        if name != series.name or len(series.values) < run.points:
            continue
        log = name in _LOSS
        for jump in jumps(logarithm(series.values) if log else series.values):
            step = int(series.steps[jump.place])
            before, after = _around(series, jump.place, run.points)
            size = before * (math.exp(jump.size) - 1) if log else jump.size
            if abs(after - before) < abs(size) / 2 or step < run.concluding:
                continue
            if len(begins) and np.abs(np.searchsorted(series.steps, begins) - jump.place).min() <= 2:
                continue
            if name == "critic/d_acc":
                least = bounds["d_acc"]
            elif log:
                least = max(bounds["loss"] * abs(before), bounds["nats"])
            else:
                least = bounds["scores"] * (sd if math.isfinite(sd) else 4 * sd_of_step(series.values))
            if abs(size) > least and math.isfinite(after):
                errors = abs(jump.size / jump.error)
                seen.append((step, f"{name} by {size:+.3g} at step {step} ({errors:.0f} standard errors)"))
    if seen:
        first = min(step for step, _ in seen)
        near = sorted(each for each in seen if each[0] - first <= run.points // 2)
        yield "warn", near[len(near) // 2][0], f"jumps: {'; '.join(told for _, told in near)}"


def _around(series: Series, index: int, points: int) -> tuple[float, float]:
    """The level in front of an index, and the one that stands a while after it."""
    after = series.values[index + points : index + 2 * points]
    before = series.values[max(index - points, 0) : index]
    return float(np.median(before)), float(np.median(after)) if len(after) else math.nan


@check(
    "scale",
    "critic/teacher_std or critic/teacher_mean or critic/score_mean",
    causes=(
        "one side is read or normalised otherwise",
        "nothing holds the scores' offset: Bradley-Terry fixes differences alone",
    ),
    confirm="critic-probe compare PAIRS -c DIR",
)
def scale(run: Run, bounds: Bounds) -> Judged:
    """One side's scores spread more than the other's, or all lie far from 0."""
    smooth = int(run.profile["general"]["smooth"])
    sides = run.joined("critic/teacher_std", "critic/student_std")
    sides = sides[(sides > 0).all(axis=1)]
    if len(sides):
        ratio = np.log(sides["critic/teacher_std"] / sides["critic/student_std"])
        level = ratio.rolling(smooth, center=True, min_periods=1).median().to_numpy()
        series = Series("", sides.index.to_numpy(), ratio.to_numpy(float), level)
        state = at_end((np.abs(level) > math.log(bounds["ratio"])) & (series.steps >= run.concluding), run.points)
        if state is not None:
            shown = math.exp(float(np.median(level[state])))
            since = series.steps[state.start]
            evidence = f"the SD of teacher scores is {figure(shown)} times the student's from step {since} on"
            yield "warn", began(series, state.start), evidence
            return
        late = series.from_on(run.concluding)
        trend, slope = mann_kendall(late.values), theil_sen(late.steps, late.values)
        change = math.exp(slope.per_step * float(late.steps[-1] - late.steps[0])) if len(late.steps) > 1 else 1.0
        if trend.p < bounds["p"] and max(change, 1 / change) > bounds["drift"]:
            evidence = f"the SD of teacher scores over the student's changes {figure(change)} times from step"
            yield "info", late.steps[0], f"{evidence} {late.steps[0]} to {late.steps[-1]} (trend, p {figure(trend.p)})"
    spread = run.spread()
    means = run.joined("critic/teacher_mean", "critic/student_mean").mean(axis=1)
    if not len(means):
        means = run.joined("critic/score_mean").squeeze(axis=1)
    both = (means.abs() / spread).replace([np.inf], np.nan).dropna() if len(means) and len(spread) else means.iloc[:0]
    if len(both):
        level = both.rolling(smooth, center=True, min_periods=1).median().to_numpy()
        steps = both.index.to_numpy()
        state = at_end((level > bounds["offset"]) & (steps >= run.concluding), run.points)
        if state is not None:
            shown, mean = float(np.median(level[state])), float(means.loc[steps[state.start] :].median())
            yield (
                "warn",
                steps[state.start],
                f"scores lie around {figure(mean)}, {figure(shown)} times their SD from 0, from step "
                f"{steps[state.start]} on",
            )


@check(
    "explained-variance",
    "critic/explained_variance",
    causes=(
        "the value head was not loaded, or is trained too slowly",
        "values are read at another position than returns are computed for",
        "returns are of another scale than the values: normalisation, or a reward that changed",
    ),
    confirm="critic-probe doctor -c DIR",
)
def explained_variance(run: Run, bounds: Bounds) -> Judged:
    """The values explain nothing of the returns, or less than nothing."""
    series = run.series("critic/explained_variance")
    part, points = series.from_on(run.concluding), int(bounds["points"])
    low = stretch(part.level < bounds["low"], points)
    if low is not None:
        seen = int(np.searchsorted(series.steps, part.steps[low.start]))
        while seen and series.level[seen - 1] < bounds["low"]:
            seen -= 1
        step = series.steps[seen]
        evidence = f"explained variance is {figure(np.median(part.level[low]))} (median) from step {step} on"
        yield "fail", step, f"{evidence}: a constant explains more"
        return
    flat = at_end(np.abs(part.level) < bounds["flat"], points)
    if flat is not None:
        level = np.abs(series.level) < bounds["flat"]
        whole = at_end(level, points) or flat
        step = series.steps[whole.start]
        least, most = part.level[flat].min(), part.level[flat].max()
        yield "warn", step, f"explained variance lies between {figure(least)} and {figure(most)} from step {step} on"


@check("level")
def level(run: Run, bounds: Bounds) -> Judged:
    """Figures outside bounds that a profile names."""
    for name, ends in bounds.items():
        series = run.series(name).from_on(run.concluding)
        if len(series.values) < run.points:
            continue
        half = series.from_on(series.steps[len(series.steps) // 2])
        value = float(np.median(half.values))
        low, high = ends.get("min", -math.inf), ends.get("max", math.inf)
        if not low <= value <= high:
            state = at_end((series.level < low) | (series.level > high), 1)
            at = series.steps[state.start] if state is not None else half.steps[0]
            word = f"below {low:g}" if value < low else f"above {high:g}"
            yield "warn", at, f"{name} is {figure(value)} (median of the last {len(half.values)} logged steps), {word}"
