"""Cluster bootstrap: intervals that know which cases belong to one prompt.

Whole prompts are drawn with replacement (Davison and Hinkley 1997, section 3.8; for evaluations Miller 2024, arXiv
2411.00640), 2,000 times with a fixed seed. A draw is a weight per prompt, so that a resample is one product of weights
and sums instead of a copy of the data. Intervals are 95 % percentile intervals; with fewer than two clusters there is
none (NaN).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
SEED = 0
_CHUNK = 4_000_000  # weights held at once

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The standard error that the interval's width stands for."""
        return (self.high - self.low) / (2 * 1.96)


def mean_interval(values: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """Mean over all cases.

    Args:
        values: (n,) one figure a case; NaN is left out.
        clusters: (n,) what each case belongs to.
    """
    data, codes = _clean(values, clusters)
    if not len(data):
        return Interval(np.nan, np.nan, np.nan)
    sums, counts = np.bincount(codes, data), np.bincount(codes).astype(float)
    return _interval(float(data.mean()), (w @ sums / (w @ counts) for w in _weights(len(counts), len(counts))))


def median_interval(values: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """Median over all cases; see `mean_interval`."""
    data, codes = _clean(values, clusters)
    if not len(data):
        return Interval(np.nan, np.nan, np.nan)
    median = _weighted_median(data, codes)
    return _interval(float(np.median(data)), (median(w) for w in _weights(codes.max() + 1, len(data))))


def ratio_of_medians_interval(
    numerator: ArrayLike,
    numerator_clusters: Sequence[Hashable],
    denominator: ArrayLike,
    denominator_clusters: Sequence[Hashable],
) -> Interval:
    """Median of one set of cases over that of another; a prompt that is drawn counts in both."""
    keys = [*numerator_clusters, *denominator_clusters]
    values = np.concatenate([np.asarray(numerator, float), np.asarray(denominator, float)])
    codes, _ = pd.factorize(pd.Series(keys))
    above = np.arange(len(values)) < len(numerator_clusters)
    if not above.any() or above.all():
        return Interval(np.nan, np.nan, np.nan)
    top, bottom = (_weighted_median(values[part], codes[part]) for part in (above, ~above))
    bottom_value = float(np.median(values[~above]))
    value = float(np.median(values[above])) / bottom_value if bottom_value else np.nan

    def draws() -> Iterator[Floats]:
        for weights in _weights(codes.max() + 1, len(values)):
            below = bottom(weights)
            yield np.divide(top(weights), below, out=np.full(len(below), np.nan), where=below > 0)

    return _interval(value, draws())


def difference_interval(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """Mean of a - b over paired cases; see `mean_interval`."""
    return mean_interval(np.asarray(a, float) - np.asarray(b, float), clusters)


def interval_of(figure: Callable[[Floats], Floats], clusters: int) -> Interval:
    """Any figure that is told by how often each cluster is drawn; its estimate is that of all drawn once.

    Args:
        figure: Of weights (b, clusters), figures (b,); NaN where a draw has none.
        clusters: How many there are.
    """
    return _interval(float(figure(np.ones((1, clusters)))[0]), (figure(w) for w in _weights(clusters, clusters)))


def _clean(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[Floats, NDArray[np.intp]]:
    data = np.asarray(values, float)
    kept = ~np.isnan(data)
    codes, _ = pd.factorize(pd.Series(list(clusters), dtype=object)[kept])
    return data[kept], codes


def _weights(clusters: int, cases: int) -> Iterator[Floats]:
    """(b, clusters) how often each is drawn; all b together are `RESAMPLES`."""
    if clusters < 2:
        return
    rng = np.random.default_rng(SEED)
    step = max(1, min(RESAMPLES, _CHUNK // max(clusters, cases)))
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        yield rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size).astype(float)


def _weighted_median(values: Floats, codes: NDArray[np.intp]) -> Callable[[Floats], Floats]:
    """Medians (b,) of the values when each counts as often as its cluster is drawn; NaN where none is."""
    order = np.argsort(values, kind="stable")
    ordered, by_cluster = values[order], codes[order]

    def medians(weights: Floats) -> Floats:
        running = np.cumsum(weights[:, by_cluster], axis=1)
        total = running[:, -1:]
        lower = ordered[np.argmax(running >= total / 2, axis=1)]
        upper = ordered[np.argmax(running > total / 2, axis=1)]
        middle: Floats = np.where(total[:, 0] > 0, (lower + upper) / 2, np.nan)
        return middle

    return medians


def _interval(value: float, draws: Iterator[Floats]) -> Interval:
    found = list(draws)
    drawn = np.concatenate(found) if found else np.empty(0)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))
