"""Intervals over prompts, against statsmodels' clusters, scipy's Wilson and sign test, and a jackknife by hand."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import binomtest, quantile_test, t

from critic_probe.stats.intervals import (
    detectable,
    difference_interval,
    difference_over_sd,
    estimate,
    mean_interval,
    mean_over_sd,
    median_interval,
    rate_difference_interval,
    rate_interval,
    totals,
)

PROMPTS = np.repeat(np.arange(40), 3)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    return rng.gamma(2.0, size=40)[PROMPTS] + rng.gamma(2.0, size=120)


def clustered(values, prompts):
    """The mean and its cluster-robust standard error by statsmodels."""
    fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": prompts})
    return float(fit.params[0]), float(fit.bse[0])


def test_a_mean_has_the_cluster_robust_error_and_students_t(data):
    value, error = clustered(data, PROMPTS)
    found = mean_interval(data, PROMPTS)
    assert found.value == pytest.approx(value)
    assert (found.high - found.low) / 2 == pytest.approx(t.ppf(0.975, 39) * error, rel=0.02)
    assert (found.high + found.low) / 2 == pytest.approx(value)


def test_single_cases_give_the_t_interval():
    data = np.random.default_rng(0).uniform(size=30)
    expected = t.interval(0.95, 29, data.mean(), data.std(ddof=1) / np.sqrt(30))
    assert mean_interval(data, range(30))[1:] == pytest.approx(expected)


def test_the_sd_under_a_mean_is_an_estimate_too(data):
    """A jackknife by hand, of prompts of unequal size."""
    prompts = np.where(PROMPTS < 20, PROMPTS // 2, PROMPTS)
    scores = np.random.default_rng(1).normal(size=120)
    found = estimate(mean_over_sd, totals(data, prompts), totals(scores, prompts))
    left = [data[prompts != p].mean() / scores[prompts != p].std(ddof=1) for p in np.unique(prompts)]
    count = len(left)
    error = np.sqrt((count - 1) / count * ((left - np.mean(left)) ** 2).sum())
    assert found.value == pytest.approx(data.mean() / scores.std(ddof=1))
    assert found.value - found.bias == pytest.approx(count * found.value - (count - 1) * np.mean(left))
    reach = (found.interval.high - found.interval.low) / 2
    assert t.ppf(0.975, count - 1) * error <= reach * (1 + 1e-9) < 1.1 * t.ppf(0.975, count - 1) * error
    assert reach > (lambda i: i.high - i.low)(mean_interval(data / scores.std(ddof=1), prompts)) / 2


def test_a_prompt_that_one_side_lacks_counts_on_the_other():
    scores = np.random.default_rng(1).normal(size=60)
    values = scores[:30] + 2
    sd, some = totals(scores, range(60)), totals(values, range(30))
    apart = estimate(difference_over_sd, some, sd, totals(values, range(30)), sd)
    assert apart.interval == (0.0, 0.0, 0.0)
    assert np.isfinite(estimate(mean_over_sd, some, sd).interval.low)
    assert apart.p == 1.0


def test_a_smooth_figure_is_tested_by_the_influence_of_prompts():
    rng = np.random.default_rng(2)
    scores, noise = rng.normal(size=(2, 200))
    sd = totals(scores, range(200))
    assert estimate(mean_over_sd, totals(noise, range(200)), sd).p > 0.05
    assert estimate(mean_over_sd, totals(noise + 1, range(200)), sd).p < 0.001
    assert np.isnan(estimate(mean_over_sd, totals(noise[:9], range(9)), totals(scores[:9], range(9))).p)


@pytest.mark.parametrize("right", [0, 17, 29, 30])
def test_a_rate_of_independent_cases_is_wilsons_at_students_t(right):
    shares = np.repeat([1.0, 0.0], [right, 30 - right])
    level = 2 * t.cdf(-t.ppf(0.975, 29), np.inf)
    expected = binomtest(right, 30).proportion_ci(1 - level, method="wilson")
    n = 30 / max(1, 30 / 29) if 0 < right < 30 else 30
    found = rate_interval(shares, range(30))
    assert found.value == right / 30
    assert found[1:] == pytest.approx((expected.low, expected.high), abs=0.5 * (1 / n))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_rates_effective_number_is_by_the_cluster_robust_error():
    rng = np.random.default_rng(4)
    shares = (rng.normal(size=40)[PROMPTS] + rng.normal(size=120) > 0).astype(float)
    value, error = clustered(shares, PROMPTS)
    n, z = value * (1 - value) / error**2, t.ppf(0.975, 39)
    found = rate_interval(shares, PROMPTS)
    # Wilson's ends are where the distance from the rate is z standard errors at that end.
    for end in found[1:]:
        assert abs(value - end) == pytest.approx(z * np.sqrt(end * (1 - end) / n), rel=0.02)


def test_where_all_cases_agree_they_are_worth_one_a_prompt():
    found = rate_interval(np.ones(20), np.repeat(np.arange(4), 5))
    z = t.ppf(0.975, 3)
    assert found == pytest.approx((1.0, 4 / (4 + z**2), 1.0))
    assert rate_interval(np.full(40, 0.5), range(40)).low < 0.4


def test_halves_are_no_less_certain_than_they_are():
    """Ties as half vary less than wins and losses; the interval is narrower and holds the same figure."""
    ties = rate_interval(np.tile([0.5, 0.5, 0.5, 1.0], 20), range(80))
    wins = rate_interval(np.tile([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0], 10)[:80], range(80))
    assert ties.high - ties.low < wins.high - wins.low
    assert ties.low < 0.625 < ties.high


@pytest.mark.parametrize("interval", [mean_interval, median_interval, rate_interval])
def test_cases_of_one_prompt_count_once(interval):
    data = np.random.default_rng(3).uniform(size=120)
    data = (data > 0.4).astype(float) if interval is rate_interval else data
    alone = interval(data, range(len(data)))
    five_times = interval(np.repeat(data, 5), np.repeat(np.arange(len(data)), 5))
    as_if_independent = interval(np.repeat(data, 5), range(5 * len(data)))
    width = alone.high - alone.low
    assert five_times.high - five_times.low == pytest.approx(width, rel=0.05)
    assert as_if_independent.high - as_if_independent.low < 0.6 * width


def test_a_median_of_independent_cases_lies_between_the_sign_tests_order_statistics(data):
    alone = data[::3]
    found = median_interval(alone, range(40))
    expected = quantile_test(alone, p=0.5).confidence_interval()
    assert found.value == np.median(alone)
    ordered = np.sort(alone)
    assert found.low == pytest.approx(expected.low, abs=np.diff(ordered[8:20]).max())
    assert found.high == pytest.approx(expected.high, abs=np.diff(ordered[20:32]).max())


def test_a_median_over_an_estimated_sd_is_wider(data):
    scores = np.random.default_rng(5).normal(size=120)
    known = median_interval(data, PROMPTS)
    estimated = median_interval(data, PROMPTS, totals(scores, PROMPTS))
    assert estimated.value == pytest.approx(known.value)
    assert estimated.low < known.low < known.high < estimated.high
    constant = median_interval(np.ones(120), PROMPTS, totals(scores, PROMPTS))
    sd = estimate(
        lambda rows: np.sqrt((rows[..., 2] - rows[..., 1] ** 2 / rows[..., 0]) / (rows[..., 0] - 1)),
        totals(scores, PROMPTS),
    )
    relative = (sd.interval.high - sd.interval.low) / sd.value
    assert constant.high - constant.low == pytest.approx(relative, rel=0.05)  # the doubt is the SD's alone
    assert median_interval(np.zeros(120), PROMPTS, totals(scores, PROMPTS)) == (0.0, 0.0, 0.0)


def test_one_prompt_has_no_interval(data):
    for interval in (mean_interval, median_interval, rate_interval):
        found = interval(data > 2, ["same"] * len(data))
        assert np.isfinite(found.value)
        assert np.isnan(found.low)
        assert np.isnan(interval([], []).value)


def test_nan_is_left_out(data):
    with_gaps, prompts = np.concatenate([data, [np.nan] * 20]), [*PROMPTS, *range(100, 120)]
    for interval in (mean_interval, median_interval):
        assert interval(with_gaps, prompts) == interval(data, list(PROMPTS))


def test_differences_are_paired(data):
    assert difference_interval(data + 0.5, data, PROMPTS) == pytest.approx((0.5, 0.5, 0.5))
    right = (data > 4).astype(float)
    same = rate_difference_interval(right, right, PROMPTS)
    assert same == pytest.approx((0.0, 0.0, 0.0), abs=0.02)
    opposed = rate_difference_interval(right, 1 - right, PROMPTS)
    assert opposed.high - opposed.low > 0.2


def test_two_rates_that_never_err_are_not_known_to_be_equal():
    """No case tells them apart, but few prompts leave room for some that would."""
    found = rate_difference_interval(np.ones(30), np.ones(30), range(30))
    assert found.value == 0
    assert found.low < -0.05 < 0.05 < found.high


def test_more_prompts_detect_less():
    interval = mean_interval(np.tile([0.0, 1.0], 50), range(100))
    assert detectable(interval, 100) == pytest.approx((t.ppf(0.975, 99) + t.ppf(0.8, 99)) * 0.5025 / 10, rel=0.001)
    assert np.isnan(detectable(interval, 1))


def test_ids_of_any_kind_name_a_prompt():
    values = np.arange(12.0)
    assert mean_interval(values, list("aabbccddeeff")) == mean_interval(values, pd.Series(np.repeat(range(6), 2)))
