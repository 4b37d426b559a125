"""A category against all other pairs: the p, what it is taken of, and how often it errs."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from critic_probe.measures.compared import standing_out
from critic_probe.stats.pairs import against_rest

NAMES = ("a", "b", "c")


def judged(right, prompts=None):
    """Pairs of one critic by category: whether the teacher comes first, one prompt a pair unless they are given."""
    rows = [(name, "teacher" if won else "student") for name, of_name in right.items() for won in of_name]
    frame = pd.DataFrame(rows, columns=["category", "verdict"]).assign(critic="c", aggregation="last")
    return frame.assign(prompt_hash=[str(p) for p in (range(len(frame)) if prompts is None else prompts)])


def test_a_category_that_is_worse_stands_out_with_the_others_beside_it():
    table = against_rest(judged({"a": [0] * 15 + [1] * 10, "b": [1] * 40, "c": [1] * 38 + [0] * 2}))
    [row] = standing_out(table).to_dict("records")
    assert row["category"] == "a"
    assert row["rest_d_acc"] == pytest.approx(78 / 80)
    assert row["rest_low"] < row["rest_d_acc"] < row["rest_high"]
    assert row["p"] < 0.001
    assert list(table.p_holm) == pytest.approx([3 * table.p[0], 2 * table.p[1], table.p[2]])  # others lack or hold `a`


@pytest.mark.parametrize(
    ("right", "prompts"),
    [
        ({"a": [0] * 19, "b": [1] * 60}, None),  # too few cases in it
        ({"a": [1] * 60, "b": [0] * 19}, None),  # and in the rest
        ({"a": [0] * 27, "b": [1] * 60}, [*np.repeat(range(9), 3), *range(100, 160)]),  # too few prompts
        ({"a": [0] * 30}, None),  # no rest
        ({"": [0] * 30}, None),  # no category
        ({"a": [1] * 30, "b": [1] * 30}, None),  # nothing differs
    ],
)
def test_nothing_stands_out_where_too_few_are_on_one_side_or_nothing_differs(right, prompts):
    assert standing_out(against_rest(judged(right, prompts))).empty


@pytest.mark.parametrize(("share", "each"), [(0.6, 3), (0.95, 1)])
def test_some_category_is_seldom_said_to_stand_out_where_none_does(share, each):
    """Pairs of a prompt agree wholly, so that each three of them are one."""
    runs, rng = 60, np.random.default_rng(0)
    said = 0
    for _ in range(runs):
        right = {name: np.repeat(rng.random(25) < share, each) for name in NAMES}
        said += len(standing_out(against_rest(judged(right, np.repeat(range(75), each)))))
    assert binomtest(said, runs, 0.05, alternative="greater").pvalue > 0.05
