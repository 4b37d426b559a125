"""The sign-flip test over prompts, against scipy's exact tests and a t test."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, permutation_test, ttest_1samp

from critic_probe.stats.paired import flips, paired_p


def test_one_verdict_a_prompt_is_the_exact_mcnemar_test():
    differences = [1.0] * 8 + [-1.0] * 2 + [0.0] * 30
    assert paired_p(differences, range(40)) == pytest.approx(binomtest(2, 10).pvalue)
    assert paired_p(np.zeros(40), range(40)) == 1.0


@pytest.mark.parametrize("step", [0.5, 0.37])
def test_few_prompts_are_tested_exactly(step):
    rng = np.random.default_rng(0)
    differences, prompts = step * rng.integers(-2, 4, size=40), np.repeat(np.arange(10), 4)
    sums = np.bincount(prompts, differences)
    theirs = permutation_test((sums, np.zeros(10)), lambda a, b: (a - b).sum(), permutation_type="samples")
    assert paired_p(differences, prompts) == pytest.approx(theirs.pvalue)


def test_many_prompts_are_tested_by_draws_that_a_t_test_bears_out():
    differences = np.random.default_rng(1).normal(0.2, size=100)
    assert paired_p(differences, range(100)) == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert paired_p(differences, range(100)) == paired_p(differences, range(100))


def test_a_prompts_cases_count_once():
    differences, prompts = np.random.default_rng(2).normal(0.2, size=30), np.arange(30)
    alone = paired_p(differences, prompts)
    assert paired_p(np.repeat(differences, 5), np.repeat(prompts, 5)) == pytest.approx(alone)


def test_flips_are_verdicts_that_change_sides_and_ties_count_as_half():
    """The exact McNemar test where no verdict is a tie and no prompt repeats."""
    before = pd.Series(["teacher"] * 8 + ["student"] * 2 + ["teacher"] * 10)
    after = pd.Series(["student"] * 8 + ["teacher"] * 2 + ["teacher"] * 10)
    assert flips(before, after, range(20)) == (10, pytest.approx(binomtest(2, 10).pvalue))
    assert flips(before, before, range(20)) == (0, 1.0)
    ties = pd.Series(["tie"] * 20)
    assert flips(ties, before, range(20)) == (0, pytest.approx(binomtest(2, 20).pvalue))
    assert np.isnan(flips(before, after, [0] * 20)[1])


def test_few_prompts_are_not_tested():
    assert np.isnan(paired_p(np.ones(90), np.arange(90) % 9))
    assert paired_p([*np.ones(20), np.nan], [*np.arange(10), *np.arange(10), 10]) == pytest.approx(2**-9)
