import numpy as np
import pandas as pd
import pytest

from critic_probe.stats.rates import separation, too_few, verdict


@pytest.mark.parametrize(
    ("n", "prompts", "why"),
    [
        (20, 10, ""),
        (19, 10, "too few cases (19, under 20)"),
        (40, 9, "too few prompts (9, under 10)"),
        (3, 2, "too few prompts (2, under 10) and too few cases (3, under 20)"),
    ],
)
def test_a_conclusion_needs_cases_and_prompts_and_says_which_is_short(n, prompts, why):
    assert too_few(n, prompts) == why


def test_separation_divides_by_the_sum_of_both_spreads():
    student, teacher = pd.Series([0.0, 2.0]), pd.Series([3.0, 7.0])
    assert separation(student, teacher) == pytest.approx(4 / (np.sqrt(2) + np.sqrt(8)))


@pytest.mark.parametrize(("gap", "expected"), [(0.2, "teacher"), (-0.2, "student"), (0.1, "tie"), (-0.1, "tie")])
def test_a_gap_that_arithmetic_can_make_is_a_tie(gap, expected):
    assert verdict(gap, 0.1) == expected
