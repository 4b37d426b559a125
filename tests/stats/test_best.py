"""Which of several critics is best on the same pairs, and which cannot be told from it."""

import numpy as np
import pytest

from benchmarks.steps import measured
from critic_probe.stats.best import best_of_steps


def right(rng, shares, prompts=100):
    return (rng.uniform(size=(prompts, len(shares))) < shares).astype(float)


def test_the_rule_takes_the_earliest_of_those_that_are_not_told_to_be_worse():
    found = best_of_steps(right(np.random.default_rng(0), [0.3, 0.85, 0.85, 0.5]), range(100))
    assert found.alike.tolist() == [False, True, True, False]
    assert found.earliest == 1
    assert found.highest in (1, 2)


def test_equal_steps_are_not_told_apart_and_the_first_highest_is_named():
    same = np.repeat(right(np.random.default_rng(1), [0.7]), 3, axis=1)
    found = best_of_steps(same, range(100))
    assert found.alike.all()
    assert found.p.tolist() == [1.0, 1.0, 1.0]
    assert (found.highest, found.earliest) == (0, 0)


def test_of_few_prompts_nothing_is_told_however_many_pairs_they_have():
    both = np.tile([1.0, 0.0], (90, 1))
    found = best_of_steps(both, [pair % 9 for pair in range(90)])
    assert found.alike.all()
    assert np.isnan(found.p).all()
    assert best_of_steps(both, [pair % 10 for pair in range(90)]).alike.tolist() == [True, False]
    assert best_of_steps(both[:19], range(19)).alike.all()


def test_pairs_of_a_prompt_count_as_one():
    rng = np.random.default_rng(2)
    credits = np.repeat(right(rng, [0.45, 0.65], prompts=30), 20, axis=0)
    by_prompt = best_of_steps(credits, [pair // 20 for pair in range(600)])
    assert by_prompt.p[0] == pytest.approx(best_of_steps(credits[::20], range(30)).p[0])
    assert by_prompt.alike.all()
    assert not best_of_steps(credits, range(600)).alike.all()


def test_equal_steps_are_called_worse_in_five_of_a_hundred_runs_at_most():
    rates = measured(100, np.full(8, 0.75), prompts=40, pairs=3)
    assert rates["wrong"] <= 0.09  # 0.05 and two standard errors of 100 runs
    assert rates["plain"] > 0.15  # the plain test of each against the highest
