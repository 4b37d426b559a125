"""How many more prompts would tell what so many cannot: against samples of that size, and by hand."""

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from critic_probe.stats.intervals import (
    Interval,
    mean_interval,
    median_interval,
    more_prompts,
    of_test,
    rate_interval,
    would_tell,
)
from critic_probe.stats.paired import paired_p

RUNS = 300


def shifted(size, mean, rng):
    return rng.normal(size=size) + mean


def right(size, share, rng):
    return (rng.random(size) < share).astype(float)


def half_normal(size, median, rng):
    return np.abs(rng.normal(size=size)) * median / norm.ppf(0.75)


def exactly(draw, size, figure):
    """A sample that is what it is drawn from: quantiles, or shares, as they are on average."""
    at = (np.arange(size) + 0.5) / size
    if draw is shifted:
        return norm.ppf(at) / norm.ppf(at).std(ddof=1) + figure
    return (at < figure).astype(float) if draw is right else norm.ppf(0.5 + at / 2) * figure / norm.ppf(0.75)


@pytest.mark.parametrize(
    ("draw", "estimate", "size", "figure", "bound"),
    [
        (shifted, mean_interval, 12, 0.3, 0.0),
        (shifted, mean_interval, 40, -0.2, 0.0),
        (right, rate_interval, 20, 0.7, 0.5),
        (right, rate_interval, 20, 0.9, 0.75),
        (right, rate_interval, 40, 0.4, 0.5),
        (half_normal, median_interval, 20, 0.25, 0.2),
    ],
)
def test_with_so_many_more_most_samples_tell(draw, estimate, size, figure, bound):
    """Four of five or somewhat more: few prompts, and rates near an end, are counted with caution."""
    seen = estimate(exactly(draw, size, figure), range(size))
    assert seen.value == pytest.approx(figure, abs=0.01)
    together = size + more_prompts(seen, bound, size, size)
    rng = np.random.default_rng(0)
    samples = [estimate(draw(together, figure, rng), range(together)) for _ in range(RUNS)]
    told = np.mean([not sample.low <= bound <= sample.high for sample in samples])
    assert 0.74 <= told <= 0.98


@pytest.mark.parametrize(("prompts", "gained", "lost"), [(40, 6, 2), (60, 9, 4)])
def test_of_a_test_as_well(prompts, gained, lost):
    """Verdicts of so many prompts that went one way and the other; an exact test of few is cautious, and so is this."""
    changes = np.repeat([1.0, -1.0, 0.0], [gained, lost, prompts - gained - lost])
    p = paired_p(changes, range(prompts))
    together = prompts + more_prompts(of_test(p, 1), 0.0, prompts, prompts)
    rng = np.random.default_rng(0)
    shares = [gained / prompts, lost / prompts, 1 - (gained + lost) / prompts]
    samples = rng.choice([1.0, -1.0, 0.0], (RUNS, together), p=shares)
    told = np.mean([paired_p(sample, range(together)) < 0.05 for sample in samples])
    assert 0.74 <= told <= 0.98


def test_the_number_by_hand():
    """0.4 of reach towards the bound, 0.2 to go: four times the prompts end there, and power takes its share."""
    reach, power = t.ppf([0.975, 0.8], 19)
    more = 20 * (2 * (1 + power / reach)) ** 2 - 20
    for interval in (Interval(0.4, 0.0, 0.9), Interval(0.1, 0.05, 0.3)):
        assert more_prompts(interval, 0.2, 40, 20) == pytest.approx(more, rel=0.05)
        assert (
            would_tell(interval, 0.2, 40, 20) == f"about {more_prompts(interval, 0.2, 40, 20)} more prompts would tell"
        )


@pytest.mark.parametrize(
    ("interval", "n", "prompts", "words"),
    [
        (Interval(0.2, 0.1, 0.3), 40, 20, ""),  # at the bound no number tells
        (Interval(0.4, 0.3, 0.5), 40, 20, ""),  # it is told already
        (Interval(0.4, 0.1, math.inf), 40, 20, "about 70 more prompts would tell"),
        (Interval(0.1, 0.0, math.inf), 40, 20, ""),  # no end towards the bound
        (Interval(0.4, 0.3, 0.5), 16, 8, "about 2 more prompts would tell"),  # too few prompts, and cases
        (Interval(0.4, 0.3, 0.5), 12, 12, "about 8 more prompts would tell"),
        (Interval(0.4, 0.3, 0.5), 19, 19, "about 1 more prompt would tell"),
        (Interval(0.4, math.nan, math.nan), 1, 1, "about 19 more prompts would tell"),
        (Interval(math.nan, math.nan, math.nan), 0, 0, "about 10 more prompts would tell"),
        (Interval(0.201, 0.1, 0.3), 40, 20, "more than 100 times as many prompts would tell"),
    ],
)
def test_what_is_said(interval, n, prompts, words):
    assert would_tell(interval, 0.2, n, prompts) == words


def test_one_of_many_tests_has_further_to_go():
    assert of_test(0.2, 1).value == pytest.approx(norm.isf(0.1))
    assert more_prompts(of_test(0.2, 10), 0.0, 40, 40) > more_prompts(of_test(0.2, 1), 0.0, 40, 40)
    assert would_tell(of_test(1.0, 1), 0.0, 40, 40) == ""  # nothing differs
