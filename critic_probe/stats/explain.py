"""Which factor brings observed scores and those that a checkpoint gives together: one search for all who ask.

A hypothesis says what would have been observed if it were true. What it leaves open (to how many tokens texts were cut,
which unit was read) it settles on half of the prompts and is held to on the other half, and the other way round, so
that nothing is claimed on samples that it was chosen on.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHARE = 0.95  # of the samples, and of those that are apart, that an explanation brings together
SHARPER = 2.0  # an explanation whose floor is wider than another's by more explains less
DULL = 0.25  # of the SD of the scores: a wider floor, where half need not lie closer, brings anything together
FEWEST = 4  # prompts, so that each half has two
_FLAT = 1e-6  # scores that differ by less are one value


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
        moved: How many samples it moves by more than the floor, of those that it was tried on.
        agrees: How many of these it brings within the floor.
        brings: Whether it brings observed and expected together.
    """

    factors: tuple[str, ...]
    label: str
    residuals: Floats
    floors: Floats
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
    that fit in it with about the sharpest floor are named. The first tier holds the hypothesis without factors.

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
            fit = _tried(hypothesis, scores, halves, expected, nothing)
            nothing = fit if nothing is None else nothing
            if fit.factors and not fit.moved:
                idle[fit.factors] = None
                continue
            idle.pop(fit.factors, None)
            tried.append(fit)
            fits += [fit] if fit.brings else []
        if fits:
            sharpest = min(float(np.median(fit.floors)) for fit in fits)
            named = [fit for fit in fits if float(np.median(fit.floors)) <= SHARPER * sharpest]
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
    residuals = np.full(len(scores), np.inf)
    floors = np.zeros(len(scores))
    moved = np.zeros(len(scores), dtype=bool)
    labels = []
    typical = np.inf
    for half in halves:
        prediction = hypothesis.predict(half)
        values = np.atleast_2d(prediction.values)
        limits = np.broadcast_to(prediction.floors, values.shape)
        apart = np.abs(values - scores)
        best = int(np.argmin(_badness(apart[:, half], limits[:, half])))
        labels.append(prediction.labels[best])
        other = ~half
        residuals[other] = np.nan_to_num(apart[best], nan=np.inf)[other]
        floors[other] = limits[best][other]
        seen = limits[best] if prediction.seen is None else prediction.seen[best]
        moved[other] = (np.abs(values[best] - expected) > seen)[other]
        typical = min(typical, float(np.broadcast_to(prediction.typical, len(values))[best]))
    same = len(set(labels)) == 1
    within = residuals <= floors
    usual = float(np.median(residuals)) <= typical
    if nothing is None or not hypothesis.factors:  # agreement is of all samples, and moves none
        return Fit((), labels[0], residuals, floors, 0, int(within.sum()), bool(usual and within.all()))
    open_before = ~(nothing.residuals <= nothing.floors)
    spread = float(np.std(scores) if np.ptp(scores) > _FLAT else np.std(expected))  # one value has no spread of its own
    sharp = min(float(np.median(floors)), typical) <= DULL * spread
    brings = (
        sharp
        and usual
        and same
        and within.mean() >= SHARE
        and bool(open_before.any())
        and within[open_before].mean() >= SHARE
    )
    return Fit(
        hypothesis.factors,
        labels[0] if same else "",
        residuals,
        floors,
        int(moved.sum()),
        int((within & moved).sum()),
        bool(brings and (within & moved).any()),
    )


def _badness(apart: Floats, floors: Floats) -> Floats:
    """How far each version (C, n) is from what was observed: few floors each, so that one outlier decides nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(apart / floors, nan=np.inf, posinf=np.inf)
    return np.asarray(np.log1p(np.minimum(ratio, 1e9)).mean(axis=1))


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
