"""Which factor brings observed scores and those that a checkpoint gives together: one search for all who ask.

A hypothesis says what would have been observed if it were true. What it leaves open (to how many tokens texts were cut,
which unit was read) it settles on half of the prompts and is held to on the other half, and the other way round, so
that nothing is claimed on samples that it was chosen on.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHARE = 0.95  # of the samples, and of those that are apart, that an explanation brings together
SHARPER = 2.0  # an explanation whose floor is wider than another's by more explains less
GAIN = 5.0  # of log-likelihood, by which a factor must explain better than none, and one better than another
DULL = 0.25  # of the SD of the scores: a wider floor brings anything together
FEWEST = 4  # prompts, so that each half has two
_FLAT = 1e-6  # scores that differ by less are one value
_FAR = 1e9  # floors: no residual counts for more


class Prediction(NamedTuple):
    """What a hypothesis expects, in one or several versions.

    Attributes:
        values: (C, N), a version a row; NaN where it says nothing.
        floors: (C, N) or broadcast to it: how far arithmetic alone may move an observed score from it.
        labels: C names of the versions; the name of what was settled on the samples that it was shown.
        seen: (C, N), how far it must move a score to be seen; None for the floors.
        typical: What half of the residuals may be at most, where that is less than what the floors allow to all; one
            for all versions, or (C,).
    """

    values: Floats
    floors: Floats
    labels: Sequence[str] = ("",)
    seen: Floats | None = None
    typical: Floats | float = np.inf


class Hypothesis(NamedTuple):
    """What may have been done to the scores.

    Attributes:
        factors: One or several names; none says that the scores are the checkpoint's.
        predict: Given which samples it may look at (N,), what it expects of all.
    """

    factors: tuple[str, ...]
    predict: Callable[[Bools], Prediction]


@dataclass(frozen=True)
class Fit:
    """How a hypothesis fares on samples that it was not chosen on.

    Attributes:
        factors: Its factors.
        label: The version that was chosen, where there are several.
        residuals: (N,), |observed - expected|.
        floors: (N,), how far arithmetic alone may move them.
        scale: (N,), what noise is of the size of: the floors, or what half of the residuals may be at most.
        moved: How many samples it moves by more than the floor, of those that it was tried on.
        agrees: How many of these it brings within the floor.
        brings: Whether it brings observed and expected together.
    """

    factors: tuple[str, ...]
    label: str
    residuals: Floats
    floors: Floats
    scale: Floats
    moved: int
    agrees: int
    brings: bool

    @property
    def residual(self) -> float:
        """The median residual."""
        return float(np.median(self.residuals))

    @property
    def worst(self) -> float:
        """The largest residual."""
        return float(self.residuals.max())

    @property
    def within(self) -> int:
        """How many samples lie within the floor."""
        return int((self.residuals <= self.floors).sum())

    @property
    def excess(self) -> float:
        """How much less likely the residuals are than noise: the sum of log(residual / scale) where that is positive.

        A value that has nothing to do with a score comes as near to it as the scale at about the odds of scale to
        residual.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.nan_to_num(self.residuals / self.scale, nan=1.0, posinf=_FAR)
        return float(np.log(np.clip(ratio, 1.0, _FAR)).sum())


@dataclass(frozen=True)
class Explanation:
    """What a search found.

    Attributes:
        named: The explanations that fit, equally well; empty where none does.
        nothing: How the scores lie with no factor at all.
        tried: Every hypothesis that was tried and moves a sample, in the order of the search.
        idle: The factors that move no sample by more than the floor, so that these samples cannot show them.
        correlation: Where nothing fits, the rank correlation of observed and expected, and how often scores of shuffled
            prompts give one as large; None where one of them is constant, or something fits.
    """

    named: list[Fit]
    nothing: Fit
    tried: list[Fit]
    idle: list[tuple[str, ...]]
    correlation: tuple[float, float] | tuple[None, None]

    @property
    def agreement(self) -> bool:
        """Whether the scores are the checkpoint's with no factor at all."""
        return any(not fit.factors for fit in self.named)

    def row(self, fit: Fit) -> dict[str, Any]:
        """One of its fits as a row of a table of factors."""
        return {
            "factors": " + ".join(fit.factors),
            "version": fit.label,
            "residual": fit.residual,
            "worst": fit.worst,
            "residual_before": self.nothing.residual,
            "within": fit.within,
            "moved": fit.moved,
            "agrees": fit.agrees,
            "named": any(fit is each for each in self.named),
        }


def explain(
    observed: Any, prompts: Sequence[Hashable], tiers: Iterable[Sequence[Hypothesis]], *, seed: int = 0
) -> Explanation:
    """Names the factors that bring observed scores together with those of a checkpoint.

    Tiers are tried in order, and the first in which a hypothesis fits is the last: put what asks for less first. All
    that fit in it with about the sharpest floor, and leave about as little, are named. The first tier holds the
    hypothesis without factors; one without factors in a later tier is what its factors are held against from there on.

    Args:
        observed: (N,), the scores.
        prompts: What each sample's prompt is: its halves are made of whole prompts.
        tiers: Hypotheses in rising order of how much they ask for.
        seed: Draws the halves.

    Raises:
        ValueError: There are fewer than `FEWEST` prompts.
    """
    scores = np.asarray(observed, dtype=np.float64)
    halves = _halves(prompts, seed)
    nothing: Fit | None = None
    at_level: Fit | None = None
    expected = scores
    tried: list[Fit] = []
    idle: dict[tuple[str, ...], None] = {}
    named: list[Fit] = []
    for tier in tiers:
        fits = []
        for hypothesis in tier:
            if nothing is None:
                if hypothesis.factors:
                    raise ValueError("the first hypothesis has no factors")
                expected = hypothesis.predict(np.ones(len(scores), dtype=bool)).values[0]
            fit = _tried(hypothesis, scores, halves, expected, at_level)
            if not fit.factors:
                at_level = fit
                nothing = fit if nothing is None else nothing
            if fit.factors and not fit.moved:
                idle[fit.factors] = None
                continue
            idle.pop(fit.factors, None)
            tried.append(fit)
            fits += [fit] if fit.brings else []
        if fits:
            sharpest = min(float(np.median(fit.floors)) for fit in fits)
            sharp = [fit for fit in fits if float(np.median(fit.floors)) <= SHARPER * sharpest]
            least = min(fit.excess for fit in sharp)
            named = [fit for fit in sharp if fit.excess <= least + GAIN]
            break
    assert nothing is not None
    related = (None, None) if named else _correlation(scores, expected, prompts, seed)
    return Explanation(named, nothing, tried, list(idle), related)


def _halves(prompts: Sequence[Hashable], seed: int) -> tuple[Bools, Bools]:
    """The samples of one half of the prompts, and those of the other."""
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) < FEWEST:
        raise ValueError(
            f"{len(distinct)} prompts; a claim needs at least {FEWEST}, one half to choose and one to hold"
        )
    order = np.random.default_rng(seed).permutation(len(distinct))
    chosen = {distinct[i] for i in order[: len(distinct) // 2]}
    half = np.array([prompt in chosen for prompt in prompts])
    return half, ~half


def _tried(
    hypothesis: Hypothesis, scores: Floats, halves: Sequence[Bools], expected: Floats, nothing: Fit | None
) -> Fit:
    """How a hypothesis fares beside none at its level."""
    residuals = np.full(len(scores), np.inf)
    floors = np.zeros(len(scores))
    moved = np.zeros(len(scores), dtype=bool)
    predictions = [hypothesis.predict(half) for half in halves]
    open_before = ~(nothing.residuals <= nothing.floors) if nothing else np.ones(len(scores), dtype=bool)
    best, label = _versions(predictions, scores, halves, all(open_before[half].any() for half in halves))
    usual_of = [np.broadcast_to(each.typical, len(np.atleast_2d(each.values))) for each in predictions]
    typical = min(float(each[row]) for each, row in zip(usual_of, best, strict=True))
    for prediction, row, half in zip(predictions, best, halves, strict=True):
        other = ~half
        values = np.atleast_2d(prediction.values)
        limits = np.broadcast_to(prediction.floors, values.shape)[row]
        residuals[other] = np.nan_to_num(np.abs(values[row] - scores), nan=np.inf)[other]
        floors[other] = limits[other]
        seen = limits if prediction.seen is None else prediction.seen[row]
        moved[other] = (np.abs(values[row] - expected) > seen)[other]
    within = residuals <= floors
    usual = float(np.median(residuals)) <= typical
    scale = np.minimum(floors, typical)
    if nothing is None or not hypothesis.factors:  # agreement is of all samples, and moves none
        brings = bool(usual and within.all())
        return Fit((), label or "", residuals, floors, scale, 0, int(within.sum()), brings)
    spread = float(np.std(scores) if np.ptp(scores) > _FLAT else np.std(expected))  # one value has no spread of its own
    fit = Fit(
        hypothesis.factors, label or "", residuals, floors, scale, int(moved.sum()), int((within & moved).sum()), False
    )
    brings = (
        label is not None
        and usual
        and float(np.median(scale)) <= DULL * spread
        and within.mean() >= SHARE
        and (not open_before.any() or within[open_before].mean() >= SHARE)
        and nothing.excess - fit.excess >= GAIN
        and bool((within & moved).any())
    )
    return replace(fit, brings=brings)


def _versions(
    predictions: Sequence[Prediction], scores: Floats, halves: Sequence[Bools], both_apart: bool
) -> tuple[list[int], str | None]:
    """The version that each half chooses, and its name; None where they choose different ones.

    Where they do because several versions bring a half within the floor, one that both halves allow is taken, if both
    have something to bring together.
    """
    bad, allows = [], []
    for prediction, half in zip(predictions, halves, strict=True):
        values = np.atleast_2d(prediction.values)
        apart = np.abs(values - scores)[:, half]
        limits = np.broadcast_to(prediction.floors, values.shape)[:, half]
        bad.append(_badness(apart, limits))
        allows.append((apart <= limits).mean(axis=1) >= SHARE)
    best = [int(np.argmin(each)) for each in bad]
    labels = [prediction.labels[row] for prediction, row in zip(predictions, best, strict=True)]
    if len(set(labels)) == 1:
        return best, labels[0]
    one, other = predictions
    both = np.flatnonzero(allows[0] & allows[1]) if list(one.labels) == list(other.labels) else np.array([], dtype=int)
    if not (both.size and both_apart):
        return best, None
    row = int(both[np.argmin((bad[0] + bad[1])[both])])
    return [row, row], one.labels[row]


def _badness(apart: Floats, floors: Floats) -> Floats:
    """How far each version (C, n) is from what was observed: few floors each, so that one outlier decides nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(apart / floors, nan=np.inf, posinf=np.inf)
    return np.asarray(np.log1p(np.minimum(ratio, _FAR)).mean(axis=1))


def _correlation(
    scores: Floats, expected: Floats, prompts: Sequence[Hashable], seed: int
) -> tuple[float, float] | tuple[None, None]:
    """Spearman's, and its two-sided p by permutation of whole prompts, 999 of them."""
    if not (np.ptp(scores) and np.ptp(expected)):
        return None, None
    a, b = _ranks(scores), _ranks(expected)
    r = float(np.corrcoef(a, b)[0, 1])
    by_prompt: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_prompt.setdefault(prompt, []).append(index)
    blocks = [np.array(block) for block in by_prompt.values()]
    rng = np.random.default_rng(seed)
    larger = sum(
        abs(float(np.corrcoef(np.concatenate(list(_shuffled(a, blocks, rng))), b[np.concatenate(blocks)])[0, 1]))
        >= abs(r)
        for _ in range(999)
    )
    return r, (1 + larger) / 1000


def _shuffled(values: Floats, blocks: Sequence[NDArray[np.intp]], rng: np.random.Generator) -> Iterator[Floats]:
    """Per block the values of another, drawn without replacement; of one of another size as many as it has room for."""
    for block, other in zip(blocks, rng.permutation(len(blocks)), strict=True):
        yield np.resize(values[blocks[other]], len(block))


def _ranks(values: Floats) -> Floats:
    """Ranks with ties at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=np.float64)
