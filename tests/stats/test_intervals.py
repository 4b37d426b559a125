"""Intervals over clusters, against scipy where every case is a cluster of its own."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from critic_probe.stats.intervals import (
    difference_interval,
    mean_interval,
    median_interval,
    ratio_of_medians_interval,
)


@pytest.fixture
def data():
    return np.random.default_rng(3).gamma(2.0, size=120)


@pytest.mark.parametrize(("ours", "statistic"), [(mean_interval, np.mean), (median_interval, np.median)])
def test_single_cases_give_scipys_percentile_interval(data, ours, statistic):
    found = ours(data, range(len(data)))
    theirs = bootstrap((data,), statistic, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
    assert found.value == statistic(data)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.15 * width)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.15 * width)


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_cases_of_one_prompt_count_once(data, interval):
    alone = interval(data, range(len(data)))
    five_times = interval(np.repeat(data, 5), np.repeat(np.arange(len(data)), 5))
    as_if_independent = interval(np.repeat(data, 5), range(5 * len(data)))
    width = alone.high - alone.low
    assert five_times.high - five_times.low == pytest.approx(width, rel=0.1)
    assert as_if_independent.high - as_if_independent.low < 0.7 * width


def test_one_prompt_has_no_interval(data):
    found = median_interval(data, ["same"] * len(data))
    assert found.value == np.median(data)
    assert np.isnan(found.low)
    assert np.isnan(mean_interval([], []).value)


def test_nan_is_left_out(data):
    with_gaps = np.concatenate([data, [np.nan] * 20])
    assert mean_interval(with_gaps, range(len(with_gaps))) == mean_interval(data, range(len(data)))


def test_a_ratio_draws_a_prompt_for_both_of_its_sides(data):
    prompts = list(range(len(data)))
    found = ratio_of_medians_interval(3 * data, prompts, data, prompts)
    assert found == pytest.approx((3.0, 3.0, 3.0))
    assert np.isnan(ratio_of_medians_interval([], [], data, prompts).value)


def test_a_difference_is_paired(data):
    found = difference_interval(data + 0.5, data, range(len(data)))
    assert found == pytest.approx((0.5, 0.5, 0.5))


def test_intervals_do_not_change_from_run_to_run(data):
    assert median_interval(data, range(len(data))) == median_interval(data, range(len(data)))
