import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from critic_probe.stats.rates import accuracy, flips, rate, separation, verdict


def test_rate_is_wilsons_interval():
    expected = binomtest(17, 23).proportion_ci(method="wilson")
    assert rate(17, 23) == pytest.approx((17 / 23, expected.low, expected.high))
    assert all(np.isnan(rate(0, 0)))


def test_accuracy_counts_a_tie_as_half():
    verdicts = pd.Series(["teacher", "teacher", "student", "tie"])
    assert accuracy(verdicts).value == 2.5 / 4


def test_flips_are_the_exact_mcnemar_test_on_pairs_that_change_sides():
    before = pd.Series(["teacher"] * 8 + ["student"] * 2 + ["tie", "teacher"])
    after = pd.Series(["student"] * 8 + ["teacher"] * 2 + ["teacher", "tie"])
    count, p = flips(before, after)
    assert count == 10
    assert p == pytest.approx(binomtest(2, 10).pvalue)
    assert flips(before, before) == (0, 1.0)


def test_separation_divides_by_the_sum_of_both_spreads():
    student, teacher = pd.Series([0.0, 2.0]), pd.Series([3.0, 7.0])
    assert separation(student, teacher) == pytest.approx(4 / (np.sqrt(2) + np.sqrt(8)))


@pytest.mark.parametrize(("gap", "expected"), [(0.2, "teacher"), (-0.2, "student"), (0.1, "tie"), (-0.1, "tie")])
def test_a_gap_that_arithmetic_can_make_is_a_tie(gap, expected):
    assert verdict(gap, 0.1) == expected
