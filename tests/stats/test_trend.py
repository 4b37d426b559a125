"""Trends, jumps and onsets of figures whose neighbouring steps resemble each other."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.trend import hamed_rao, plain, series
from critic_probe.stats.trend import jump_at, jumps, mann_kendall, noise, onset, theil_sen

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_no_trend_is_found_more_often_than_said(correlation):
    rng = np.random.default_rng(1)
    drawn = [series(rng, 120, correlation) for _ in range(100)]
    assert np.mean([mann_kendall(x).p < 0.05 for x in drawn]) <= 0.1
    if correlation:  # which is what the corrections are for
        assert np.mean([plain(x) < 0.05 for x in drawn[:50]]) > 0.3
        assert np.mean([hamed_rao(x) < 0.05 for x in drawn[:30]]) > 0.1


def test_a_trend_is_found_with_its_slope():
    rng = np.random.default_rng(2)
    rising = [series(rng, 200, 0.5) + 0.02 * np.arange(200) for _ in range(10)]
    assert all(mann_kendall(x).p < 0.05 and mann_kendall(x).tau > 0 for x in rising)
    assert np.median([theil_sen(np.arange(200), x).per_step for x in rising]) == pytest.approx(0.02, rel=0.2)


def test_a_series_that_tells_next_to_nothing_gives_no_p():
    walk = np.cumsum(np.random.default_rng(3).standard_normal(60))
    assert np.isnan(mann_kendall(walk).p)
    assert np.isnan(mann_kendall([1, 2, 3]).p)
    assert np.isnan(mann_kendall([1.0] * 50).p)


def test_noise_is_that_of_steps_whatever_the_level_does():
    rng = np.random.default_rng(4)
    x = series(rng, 2000, 0.5)
    assert noise(x) == pytest.approx((1, 0.5), abs=0.1)
    moved = x + np.linspace(0, 20, 2000) + np.where(np.arange(2000) < 900, 0, 30)
    assert noise(moved) == pytest.approx(noise(x), abs=0.05)


def test_a_jump_is_found_where_it_is_and_a_curve_is_none():
    rng = np.random.default_rng(5)
    x = series(rng, 300, 0.5)
    [jump] = jumps(x + np.where(np.arange(300) < 170, 0, 6))
    assert abs(jump.place - 170) <= 1
    assert jump.size == pytest.approx(6, abs=4 * jump.error)
    assert not jumps(x + 10 * (1 - np.exp(-np.arange(300) / 40)))
    assert not any(jumps(series(rng, 300, correlation)) for correlation in (0, 0.5, 0.8) for _ in range(20))


@pytest.mark.parametrize("shape", [lambda t: 8.0 * (t >= 0), lambda t: 0.5 * np.maximum(t + 1, 0)])
def test_an_onset_lies_where_a_jump_or_a_bend_does(shape):
    rng = np.random.default_rng(6)
    errors = [onset(series(rng, 200, 0.3) + shape(np.arange(200) - 120), 135) - 120 for _ in range(20)]
    assert abs(np.median(errors)) <= 2


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_interval_of_a_slope_covers_it_as_often_as_said(correlation):
    rng = np.random.default_rng(7)
    lines = [theil_sen(np.arange(300), series(rng, 300, correlation) + 0.01 * np.arange(300)) for _ in range(60)]
    covered = [line.low <= 0.01 <= line.high for line in lines if np.isfinite(line.low)]
    assert len(covered) > 50
    assert np.mean(covered) >= 0.9
    assert np.isnan(theil_sen(np.arange(100), series(rng, 100, 0.0)).low)  # too few to say
    assert np.isnan(theil_sen(np.arange(150), np.cumsum(rng.standard_normal(150))).low)


def test_a_jump_at_a_known_place_is_measured_beside_the_slope():
    rng = np.random.default_rng(8)
    x = series(rng, 200, 0.3) + 0.05 * np.arange(200)
    still = jump_at(x, 90, 1)
    assert abs(still.size) < 3 * still.error
    x[90:] += 3.0
    x[89] += 3.0  # of both sides, and left out
    jump = jump_at(x, 90, 1)
    assert jump.size == pytest.approx(3, abs=3 * jump.error)
    assert jump.size > 4 * jump.error


def test_the_page_shows_what_was_simulated():
    shown = (ROOT / "benchmarks" / "trend.txt").read_text(encoding="utf-8")
    assert shown.strip() in (ROOT / "docs" / "health.md").read_text(encoding="utf-8")
