"""Intervals that know which cases belong to one prompt; `docs/statistics.md` has sources and simulated coverage.

Prompts are the sample; the cases of one may depend on each other in any way. All intervals are 95 % with Student's t at
P - 1 degrees of freedom for P prompts, and NaN for fewer than two of them.

- A smooth figure (a mean, a mean over an SD, a difference of two) is a function of totals over prompts. Its error
  and bias are the jackknife's that leaves out a prompt at a time (Quenouille 1956, Biometrika 43; Efron and Stein 1981,
  Annals of Statistics 9; for clusters Cameron and Miller 2015, J. Human Resources 50). Where single prompts weigh much,
  as they do on an SD, the degrees of freedom are fewer (Satterthwaite 1946, Biometrics Bulletin 2).
- A rate has Wilson's interval (1927) at the effective number of cases n / design effect (Korn and Graubard 1998, Survey
  Methodology 24; Dean and Pagano 2015, J. Survey Statistics and Methodology 3).
- A median lies between the quantiles at which its distribution function could be 1/2 (Woodruff 1952, JASA 47), by the
  same effective number.
- Ratios with a median, and differences of rates, combine the intervals of their parts (MOVER: Zou and Donner 2008,
  Statistics in Medicine 27; Newcombe 1998, ibid. 17), with the correlation that prompts show.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

from critic_probe.stats.paired import paired_p
from critic_probe.stats.rates import FEW, FEW_PROMPTS

Floats = NDArray[np.float64]

_FAR = 100  # times the prompts there are, beyond which nobody counts them
_LEAST_EFFECT = 0.5  # a design effect below that is luck: cases of a prompt that all but cancel


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


NOTHING = Interval(np.nan, np.nan, np.nan)


def detectable(interval: Interval, prompts: int) -> float:
    """The distance from a bound that so many prompts would show in four of five samples, from an interval's width.

    (t_.975 + t_.8) standard errors; Bloom 1995, Evaluation Review 19.
    """
    if prompts < 2:
        return np.nan
    reach, power = stdtrit(prompts - 1, [0.975, 0.8])
    return float((interval.high - interval.low) / 2 * (1 + power / reach))


def more_prompts(interval: Interval, bound: float, n: int, prompts: int) -> int:
    """About how many more prompts would tell a figure from a bound, if it is what it seems.

    As many as show it in four of five samples: a standard error falls with the root of the prompts, so all of them
    together are the square of t_.975 + t_.8 standard errors over the distance from the bound (Bloom 1995, as
    `detectable`); the error is what the interval's end towards the bound says. No fewer than `too_few` asks for.

    Args:
        interval: The figure's; where it has none, only what `too_few` asks for is known.
        bound: What it is to be told from.
        n: Its cases.
        prompts: Of so many prompts.

    Returns:
        Rounded up, to two digits; 0 where it is told already, or where no number is known to tell it.
    """
    more = max(FEW_PROMPTS - prompts, math.ceil(FEW * prompts / n) - prompts if n else 0)
    if prompts > 1 and interval.low <= bound <= interval.high and interval.value != bound:
        reach, power = stdtrit(prompts - 1, [0.975, 0.8])
        end = interval.low if interval.value > bound else interval.high
        wanted = prompts * (((end - interval.value) / (bound - interval.value) * (1 + power / reach)) ** 2 - 1)
        more = max(more, math.ceil(float(f"{wanted:.2g}")) if math.isfinite(wanted) else 0)
    return int(max(more, 0))


def would_tell(interval: Interval, bound: float, n: int, prompts: int) -> str:
    """`more_prompts` in words, as every `cannot tell` has them; empty where the number is 0."""
    more = more_prompts(interval, bound, n, prompts)
    if more > _FAR * prompts > 0:
        return f"more than {_FAR} times as many prompts would tell"
    return f"about {more:,} more prompt{'s' if more > 1 else ''} would tell" if more else ""


def of_test(p: float, tests: int) -> Interval:
    """The multiple of its error that a two-sided p stands for, with what one of so many tests does not tell from 0.

    The level of 0.05 is divided by the number of tests in its table, as in Holm's (1979) first step.
    """
    z, reach = -ndtri([p / 2, 0.025 / max(tests, 1)])
    return Interval(float(z), float(z - reach), float(z + reach))


class Totals(NamedTuple):
    """What adds up over prompts.

    Attributes:
        prompts: (P,) names.
        rows: (P, k) figures of each.
    """

    prompts: NDArray[Any]
    rows: Floats


def totals(values: ArrayLike, clusters: Sequence[Hashable]) -> Totals:
    """How many values each prompt has, their sum and that of their squares; NaN is left out."""
    data, codes, prompts = _clean(values, clusters)
    sums = [np.bincount(codes, weights, len(prompts)) for weights in (None, data, data**2)]
    return Totals(prompts, np.stack(sums, axis=1, dtype=float))


def by_prompt(clusters: Sequence[Hashable], rows: Floats) -> Totals:
    """Sums of rows (n, k) over prompts."""
    _, codes, prompts = _clean(np.zeros(len(rows)), clusters)
    sums = np.zeros((len(prompts), rows.shape[1]))
    np.add.at(sums, codes, rows)
    return Totals(prompts, sums)


class Estimate(NamedTuple):
    """A smooth figure.

    Attributes:
        value: Over all prompts.
        bias: By how much its expectation is too large.
        influence: (P,) what each prompt does to it; together 0.
    """

    value: float
    bias: float
    influence: Floats

    @property
    def interval(self) -> Interval:
        """About the figure less its bias, with Student's t.

        The degrees of freedom are 2 / the relative variance of the squared error, by the influences' own kurtosis.
        """
        prompts = len(self.influence)
        squares = float((self.influence**2).sum())
        if prompts < 2 or np.isnan(squares):
            return Interval(self.value, np.nan, np.nan)
        if not squares:
            return Interval(self.value, self.value, self.value)
        kurtosis = prompts * float((self.influence**4).sum()) / squares**2
        freedom = min(prompts - 1, 2 * prompts / max(kurtosis - 1, 1e-9))
        reach = stdtrit(freedom, 0.975) * np.sqrt(prompts / (prompts - 1) * squares)
        middle = self.value - self.bias
        return Interval(self.value, float(middle - reach), float(middle + reach))

    @property
    def p(self) -> float:
        """Two-sided p that it is 0; see `paired_p`."""
        prompts = len(self.influence)
        return paired_p(self.value / prompts + self.influence, range(prompts)) if prompts else np.nan


def estimate(figure: Callable[..., Floats], *tables: Totals) -> Estimate:
    """A smooth figure of totals.

    Args:
        figure: Of the summed rows of each table, arrays (..., k), one or many at a time.
        tables: A prompt that is missing from one counts as zeros there.
    """
    rows = _aligned(*tables)
    whole = [row.sum(0) for row in rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(figure(*whole))
        without = figure(*(total - row for total, row in zip(whole, rows, strict=True)))
    without = np.where(np.isfinite(without), without, np.nan)  # a prompt may hold all that there is
    if not (count := len(without)):
        return Estimate(value, np.nan, np.empty(0))
    centre = float(without.mean())
    return Estimate(value, (count - 1) * (centre - value), (centre - without) * (count - 1) / count)


def mean_of(total: Floats) -> Floats:
    """The mean, of a row of `totals`."""
    mean: Floats = total[..., 1] / total[..., 0]
    return mean


def sd_of(total: Floats) -> Floats:
    """The standard deviation (n - 1), of a row of `totals`."""
    n, added, squares = total[..., 0], total[..., 1], total[..., 2]
    sd: Floats = np.sqrt(np.maximum(squares - added**2 / n, 0) / (n - 1))
    return sd


def mean_over_sd(values: Floats, scores: Floats) -> Floats:
    """The mean of values over the SD of scores, of rows of their `totals`."""
    ratio: Floats = mean_of(values) / sd_of(scores)
    return ratio


def difference_over_sd(values: Floats, scores: Floats, others: Floats, other_scores: Floats) -> Floats:
    """The first `mean_over_sd` minus the other."""
    return mean_over_sd(values, scores) - mean_over_sd(others, other_scores)


def mean_interval(values: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """Mean over all cases.

    Args:
        values: (n,) one figure a case; NaN is left out.
        clusters: (n,) the prompt of each case.
    """
    return estimate(mean_of, totals(values, clusters)).interval


def difference_interval(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """Mean of a - b over paired cases; see `mean_interval`."""
    return mean_interval(np.asarray(a, float) - np.asarray(b, float), clusters)


def rate_interval(shares: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """Mean of shares from 0 to 1.

    Where all cases agree nothing shows how far a prompt's depend on each other: they count as one.

    Args:
        shares: (n,) 1, 0 or half a case; NaN is left out.
        clusters: (n,) the prompt of each case.
    """
    data, codes, labels = _clean(shares, clusters)
    if not len(data):
        return NOTHING
    value, spread, reach = float(data.mean()), float(data.var()), _t(len(labels))
    n = _effective(data - value, codes, len(labels))
    if spread:
        n *= value * (1 - value) / spread  # halves vary less than 0 and 1 do
    middle = (value + reach**2 / (2 * n)) / (1 + reach**2 / n)
    half = reach / (1 + reach**2 / n) * np.sqrt(value * (1 - value) / n + reach**2 / (4 * n**2))
    return Interval(value, float(max(middle - half, 0.0)), float(min(middle + half, 1.0)))


def apart(a: Interval, b: Interval, prompts: int) -> tuple[Interval, float]:
    """The difference a - b of two figures of different prompts by MOVER (Zou and Donner 2008), and the p that it is 0.

    Args:
        a: A figure.
        b: The other one.
        prompts: Of the sample that has fewer: p is of its distance from 0, in units of Student's t.
    """
    difference = _mover(a, b, 0.0)
    end = difference.low if difference.value > 0 else difference.high
    if prompts < 2 or np.isnan(end):
        return difference, np.nan
    if not difference.value:
        return difference, 1.0
    with np.errstate(divide="ignore"):
        in_t = _t(prompts) * np.divide(abs(difference.value), abs(end - difference.value))
    return difference, float(2 * stdtr(prompts - 1, -in_t))


def rate_difference_interval(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """Difference a - b of two rates of the same cases; see `rate_interval`."""
    one, other = np.asarray(a, float), np.asarray(b, float)
    _, codes, _ = _clean(one, clusters)
    pulls = (np.bincount(codes, rate - rate.mean()) for rate in (one, other))
    r = _correlation(*pulls) if len(one) else 0.0
    return _mover(rate_interval(one, clusters), rate_interval(other, clusters), r)


def median_interval(values: ArrayLike, clusters: Sequence[Hashable], scores: Totals | None = None) -> Interval:
    """Median over all cases.

    Args:
        values: (n,) one figure a case, not below 0 where `scores` are given; NaN is left out.
        clusters: (n,) the prompt of each case.
        scores: `totals` of the scores over whose SD the values were divided: that SD is an estimate too. None where
            they were not.
    """
    median, pull = _median(values, clusters)
    if scores is None or not median.value > 0:
        return median
    sd = estimate(lambda row: np.log(sd_of(row)), scores)
    spread = Interval(0.0, *(end - sd.value for end in sd.interval[1:]))
    r = _correlation(*_aligned(pull, Totals(scores.prompts, sd.influence)))
    return _exp(_mover(_log(median), spread, r))


def quantile_interval(values: ArrayLike, clusters: Sequence[Hashable], share: float) -> Interval:
    """The value that this share of all cases does not exceed; see `median_interval`.

    Args:
        values: (n,) one figure a case; NaN is left out.
        clusters: (n,) the prompt of each case.
        share: From 0 to 1.
    """
    data, codes, prompts = _clean(values, clusters)
    if not len(data):
        return NOTHING
    value = float(np.quantile(data, share, method="hazen"))
    if len(prompts) < 2:
        return Interval(value, np.nan, np.nan)
    below = (data <= value).astype(float)
    cases = _effective(below - below.mean(), codes, len(prompts))
    half = _t(len(prompts)) * np.sqrt(share * (1 - share) / cases)
    low, high = np.quantile(data, np.clip([share - half, share + half], 0, 1), method="hazen")
    return Interval(value, float(low), float(high))


def ratio_of_medians_interval(
    numerator: ArrayLike,
    numerator_clusters: Sequence[Hashable],
    denominator: ArrayLike,
    denominator_clusters: Sequence[Hashable],
) -> Interval:
    """Median of one set of figures over that of another, none below 0; without an end where the lower may be 0."""
    (top, pull), (bottom, other) = _median(numerator, numerator_clusters), _median(denominator, denominator_clusters)
    if not bottom.value > 0 or np.isnan(top.value):
        return NOTHING
    if not top.value > 0:
        with np.errstate(divide="ignore"):
            return Interval(0.0, top.low, float(np.divide(top.high, bottom.low)) if top.high else 0.0)
    return _exp(_mover(_log(top), _log(bottom), _correlation(*_aligned(pull, other))))


def _t(prompts: int) -> float:
    return float(stdtrit(prompts - 1, 0.975)) if prompts > 1 else np.nan


def _clean(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[Floats, NDArray[np.intp], NDArray[Any]]:
    data = np.asarray(values, float)
    names = clusters if isinstance(clusters, np.ndarray) else np.fromiter(clusters, object, len(data))
    if (unknown := np.isnan(data)).any():
        data, names = data[~unknown], names[~unknown]
    codes, prompts = pd.factorize(names)
    return data, codes, prompts


def _effective(residuals: Floats, codes: NDArray[np.intp], prompts: int) -> float:
    """How many independent cases the mean of these is worth: n over the design effect (Kish 1965)."""
    n, spread = len(residuals), float((residuals**2).sum())
    if not spread or prompts < 2:
        return float(prompts)
    sums = np.bincount(codes, residuals)
    return n / max(_LEAST_EFFECT, prompts / (prompts - 1) * float((sums**2).sum()) / spread)


def _median(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[Interval, Totals]:
    """The median with its interval, and by prompt how its cases lie about it."""
    data, codes, prompts = _clean(values, clusters)
    if not len(data):
        return NOTHING, Totals(prompts, np.empty(0))
    middle = float(np.median(data))
    sides = np.sign(data - middle)
    pull = Totals(prompts, np.bincount(codes, sides).astype(float))
    if len(prompts) < 2:
        return Interval(middle, np.nan, np.nan), pull
    half = min(_t(len(prompts)) / (2 * np.sqrt(_effective(sides, codes, len(prompts)))), 0.5)
    low, high = np.quantile(data, [0.5 - half, 0.5 + half], method="hazen")
    return Interval(middle, float(low), float(high)), pull


def _aligned(*tables: Totals) -> list[Floats]:
    """The rows of all tables, each of all prompts in one order."""
    first = tables[0].prompts
    if all(table.prompts is first or np.array_equal(table.prompts, first) for table in tables):
        return [table.rows for table in tables]
    codes, prompts = pd.factorize(np.concatenate([table.prompts for table in tables]))
    rows, start = [], 0
    for table in tables:
        row = np.zeros((len(prompts), *table.rows.shape[1:]))
        row[codes[start : start + len(table.prompts)]] = table.rows
        rows.append(row)
        start += len(table.prompts)
    return rows


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size else 0.0


def _mover(a: Interval, b: Interval, r: float) -> Interval:
    """The difference of two figures, from their intervals and the correlation of their estimates."""
    value, ends = a.value - b.value, []
    for one, other in ((a.value - a.low, b.high - b.value), (a.high - a.value, b.value - b.low)):
        both = 0.0 if np.isinf(one + other) else 2 * r * one * other
        ends.append(np.sqrt(np.maximum(one**2 + other**2 - both, 0.0)))
    return Interval(value, float(value - ends[0]), float(value + ends[1]))


def _log(interval: Interval) -> Interval:
    with np.errstate(divide="ignore"):
        return Interval(*map(float, np.log(interval)))


def _exp(interval: Interval) -> Interval:
    return Interval(*map(float, np.exp(interval)))
