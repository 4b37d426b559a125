"""Figures over steps: whether they rise or fall, where they jump, and when a change began.

Neighbouring steps resemble each other, so a series of n steps tells less than n independent ones. Everything here takes
its noise from successive differences, which a trend or a jump hardly moves, and widens it by their autocorrelation.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, norm, theilslopes

Floats = NDArray[np.float64]
_BLOCKS = 40  # means of blocks are tested: enough for a rank test, and less alike than single steps
_EFFECTIVE = 8.0  # fewer independent values than this tell no trend
_LEAST = 120  # values of which a slope's interval is told
_HIGHEST = 0.95  # autocorrelation that is corrected for; beyond it a series of this length says next to nothing
_PENALTY = 8.0  # times log n: a constant level of any autocorrelation up to 0.9 is cut in at most 1 of 20 series
_ERRORS = 5.0  # standard errors of a jump, which is looked for everywhere
_KNOWN = 40  # values on each side of a place at which a jump is looked for and nowhere else
_SIDE, _NEAR = 20, 8  # values on each side of a jump that it is measured on, and where it must be seen too
_KEPT = 0.9  # of squared differences; a jump is among the rest
_LEFT = chi2.cdf(chi2.ppf(_KEPT, 1), 3) / _KEPT  # the mean of a normal distribution's squares below that quantile


class Noise(NamedTuple):
    """What a series does from step to step when nothing happens.

    Attributes:
        sd: Of single values around their level.
        correlation: Of neighbouring values, 0 to 0.95.
    """

    sd: float
    correlation: float

    @property
    def of_mean(self) -> float:
        """The factor by which autocorrelation widens the error of a mean, sqrt((1 + r) / (1 - r))."""
        return math.sqrt((1 + self.correlation) / (1 - self.correlation))


def noise(values: ArrayLike) -> Noise:
    """SD and lag-1 autocorrelation from differences one and two steps apart.

    With Var(x[t+k] - x[t]) = 2 sd^2 (1 - r^k), the ratio of the two variances is 1 + r. Slow trends and single jumps
    move few of the differences by much, and the largest tenth is left out (von Neumann 1941; trimmed).

    Args:
        values: (n,) at equal distances; NaN is left out. Fewer than 4 give an SD of NaN.
    """
    x = _finite(values)
    if len(x) < 4:
        return Noise(math.nan, 0.0)
    one, two = (_spread(x[k:] - x[:-k]) ** 2 for k in (1, 2))
    if not one:
        return Noise(0.0, 0.0)
    correlation = min(max(two / one - 1, 0.0), _HIGHEST)
    return Noise(math.sqrt(one / 2 / (1 - correlation)), correlation)


def _spread(differences: Floats) -> float:
    """The SD of differences without the largest tenth, at what that leaves of a normal distribution's."""
    squares = np.sort((differences - np.median(differences)) ** 2)
    kept = max(math.ceil(_KEPT * len(squares)), 1)
    return math.sqrt(float(squares[:kept].mean()) / _LEFT) or float(differences.std())


class Slope(NamedTuple):
    """A change per step with its 95 % interval; NaN for its ends where too few independent values can tell."""

    per_step: float
    low: float
    high: float


def theil_sen(steps: ArrayLike, values: ArrayLike) -> Slope:
    """The median of slopes between all pairs of block means (Theil 1950; Sen 1968).

    Sen's interval lies between ranks of these slopes, which the SD of Kendall's S gives. It is widened as in
    `mann_kendall`, for an autocorrelation one standard error above its estimate, since those that are estimated too low
    would be told most often. `python -m benchmarks.trend` shows how often it covers the slope of a line; of fewer than
    120 values it would too seldom, and none is given.

    Args:
        steps: (n,) in order.
        values: (n,) figures, NaN left out. Fewer than 2 give NaN.
    """
    t, x = np.asarray(steps, float), np.asarray(values, float)
    t, x, given = _blocks(t[np.isfinite(x)]), _blocks(x[np.isfinite(x)]), int(np.isfinite(x).sum())
    n = len(x)
    if n < 2:
        return Slope(math.nan, math.nan, math.nan)
    later, earlier = np.tril_indices(n, -1)
    slopes = np.sort((x[later] - x[earlier]) / (t[later] - t[earlier]))
    effective = _effective(x, 1.0)
    wide = norm.ppf(0.975) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18 * n / effective)
    outer = math.floor((len(slopes) - wide) / 2)
    known = given >= _LEAST and effective >= _EFFECTIVE / 2 and outer >= 0
    low, high = (slopes[outer], slopes[-1 - outer]) if known else (math.nan, math.nan)
    return Slope(float(np.median(slopes)), float(low), float(high))


class Trend(NamedTuple):
    """Whether a series rises or falls.

    Attributes:
        tau: Kendall's, of values with their order: -1 falls always, 1 rises always.
        p: Of no trend, two-sided; NaN where too few independent values can tell, or a curve far from a line makes
            neighbours alike.
        effective: As many independent values tell as much.
    """

    tau: float
    p: float
    effective: float


def mann_kendall(values: ArrayLike) -> Trend:
    """The rank test of a monotone trend, for noise that is autocorrelated.

    Of means of at most 40 blocks, whose variance of Kendall's S is that of independent values times n / n_eff for a
    first-order autocorrelation, estimated after Sen's slope is taken out and corrected for its bias (Kendall 1954; Yue
    and Wang 2004). Hamed and Rao's correction (1998) by all significant autocorrelations finds a trend in 10 to 40 % of
    series that have none, at 5 %; `python -m benchmarks.trend` shows both.

    Args:
        values: (n,) at equal distances, NaN left out.
    """
    x = _blocks(_finite(values))
    n = len(x)
    if n < 4:
        return Trend(math.nan, math.nan, float(n))
    later, earlier = np.tril_indices(n, -1)
    score = float(np.sign(x[later] - x[earlier]).sum())
    effective = _effective(x)
    _, ties = np.unique(x, return_counts=True)
    pairs = n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())
    if not pairs or effective < _EFFECTIVE:
        return Trend(score / (n * (n - 1) / 2), math.nan, effective)
    z = max(abs(score) - 1, 0) / math.sqrt(pairs / 18 * n / effective)
    return Trend(score / (n * (n - 1) / 2), float(2 * norm.sf(z)), effective)


def _effective(x: Floats, errors: float = 0.0) -> float:
    """As many independent values tell as much as (n,) block means.

    By their autocorrelation around Sen's line, so many of its standard errors above the estimate.
    """
    n = len(x)
    correlation = _lag_one(x - theilslopes(x)[0] * np.arange(n))
    correlation = min(correlation + errors * math.sqrt((1 - correlation**2) / n), _HIGHEST)
    lags = np.arange(1, n)
    return n / (1 + 2 * float(((1 - lags / n) * correlation**lags).sum()))


def _lag_one(x: Floats) -> float:
    centred = x - x.mean()
    total = float(centred @ centred)
    raw = float(centred[1:] @ centred[:-1]) / total if total else 0.0
    return min(max(raw + (1 + 3 * raw) / len(x), 0.0), _HIGHEST)


class Jump(NamedTuple):
    """A level that changes between two values.

    Attributes:
        place: The index of the first value at the new level.
        size: New level minus old, the slope around it taken out.
        error: The standard error of the size.
    """

    place: int
    size: float
    error: float


def jumps(values: ArrayLike) -> list[Jump]:
    """Where a series jumps, after the fact.

    Cut where it costs least (Killick et al. 2012, by `ruptures`), at a penalty for the noise's long-run variance. A
    learning curve is cut too, so each cut is measured: the jump at it beside a common slope of the 20 values on either
    side, which must be there in the nearest 8 too, where a steep curve has hardly moved.

    Args:
        values: (n,) finite, at equal distances.

    Returns:
        Cuts whose jump is more than 5 standard errors, by 20 values.
    """
    import ruptures

    x = np.asarray(values, float)
    usual = noise(x)
    if len(x) < 8 or not usual.sd > 0:
        return []
    penalty = _PENALTY * (usual.sd * usual.of_mean) ** 2 * math.log(len(x))
    found = ruptures.KernelCPD(kernel="linear", min_size=4).fit(x.reshape(-1, 1))
    kept = []
    for cut in found.predict(pen=penalty)[:-1]:
        wide, near = (_jump(x, cut, usual, side) for side in (_SIDE, _NEAR))
        if abs(wide.size) > _ERRORS * wide.error and near.size / wide.size > 0.5 and abs(near.size) > 2 * near.error:
            kept.append(wide)
    return kept


def jump_at(values: ArrayLike, place: int, near: int) -> Jump:
    """How the level differs before and after a place that is known beforehand.

    Args:
        values: (n,) finite, at equal distances, without another such place.
        place: The index of the first value after it.
        near: So many values on either side of it may be of both, and are left out; 40 more a side are looked at.
    """
    x = np.asarray(values, float)[max(place - near - _KNOWN, 0) : place + near + _KNOWN]
    cut = min(place, near + _KNOWN)
    return _jump(x, cut, noise(x), len(x), near)


def _jump(x: Floats, cut: int, usual: Noise, side: int, near: int = 0) -> Jump:
    t = np.arange(max(cut - side, 0), min(cut + side, len(x))) - cut
    t = t[(t < -near) | (t >= near)]
    design: Floats = np.column_stack((np.ones(len(t)), t, t >= 0)).astype(float)
    solved = np.linalg.lstsq(design, x[t + cut], rcond=None)[0]
    left = float((x[t + cut] - design @ solved).std() * math.sqrt(len(t) / max(len(t) - 3, 1)))
    error = max(usual.sd, left) * usual.of_mean * math.sqrt(np.linalg.pinv(design.T @ design)[2, 2])
    return Jump(cut, float(solved[2]), error)


def onset(values: ArrayLike, seen: int, most: int = 120) -> int:
    """The index at which the change began that was seen at another one: a jump, or a bend from which a slope differs.

    Of all places in front of `seen`, and a few behind it, the one at which a straight line with a jump or with a bend
    leaves the smallest squares (a regression with one change point, Quandt 1958; Hinkley 1971).

    Args:
        values: (n,) finite.
        seen: Where it has changed.
        most: How many values in front of `seen` are looked at.
    """
    x = np.asarray(values, float)
    start, stop = max(seen - most, 0), min(seen + 6, len(x))
    part, t = x[start:stop], np.arange(stop - start, dtype=float)
    if len(part) < 8:
        return seen
    places = np.arange(2, len(part) - 1)
    jump = (t >= places[:, None]).astype(float)
    changes = np.stack([jump, np.maximum(t - places[:, None] + 1, 0)])  # (2, places, n)
    line = np.linalg.qr(np.column_stack((np.ones(len(t)), t)))[0]
    changes -= changes @ line @ line.T
    explained = (changes @ part) ** 2 / np.maximum((changes**2).sum(axis=2), 1e-12)
    return start + int(places[int(explained.max(axis=0).argmax())])


def _finite(values: ArrayLike) -> Floats:
    x: Floats = np.asarray(values, float)
    return x[np.isfinite(x)]


def _blocks(x: Floats) -> Floats:
    return np.array([part.mean() for part in np.array_split(x, _BLOCKS)]) if len(x) > _BLOCKS else x
