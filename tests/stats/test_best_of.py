from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic_probe.stats.best_of import best_of, expected_best, powers

NUMBERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=6)


@given(NUMBERS, st.integers(1, 6))
def test_the_best_of_n_is_the_mean_over_all_draws(candidates, n):
    """Every subset of n in every order: the first of the highest score is taken, so that equal ones are as likely."""
    n = min(n, len(candidates))
    drawn = [
        max(order, key=lambda candidate: candidate[0])[1]
        for subset in combinations(candidates, n)
        for order in permutations(subset)
    ]
    scores, labels = np.array(candidates, dtype=float).T[:, None]
    assert expected_best(scores, labels, n) == pytest.approx(np.mean(drawn))


def test_powers_end_at_the_number_itself():
    assert (powers(1), powers(4), powers(6)) == ([1], [1, 2, 4], [1, 2, 4, 6])


def scored(*prompts):
    """Rows of (last, mean, label) by prompt, told in turn as a file that mixes prompts would."""
    rows = [(place, i, *row) for i, rows in enumerate(prompts) for place, row in enumerate(rows)]
    frame = pd.DataFrame(sorted(rows), columns=["place", "prompt", "last", "mean", "label"])
    return frame.drop(columns="place").assign(tokens=[5.0] * len(rows))


def of(frame, n=2, floors=(0.5, 0.5)):
    names = [(f"row-{i}", "response") for i in range(len(frame))]
    return best_of("c", frame, names, dict(zip(("last", "mean"), floors, strict=True)), n)


def test_winners_disagreement_and_leads_within_the_floor():
    agree, beyond, within = [(1, 9, 1), (3, 10, 0)], [(1, 2, 1), (3, 1, 0)], [(1, 1.1, 1), (3, 1, 0)]
    frame = scored(agree, beyond, within)
    found = of(frame)
    last, mean = found.table.to_dict("records")
    assert (last["prompts"], last["ties"], last["disagree"], last["told"], last["lead"]) == (3, 0, 0, 0, 2)
    assert (mean["ties"], mean["disagree"], mean["told"]) == (1, 2, 1)
    assert last["lead_over_sd"] == pytest.approx(2 / frame["last"].std())
    assert found.wins["last"].tolist() == [False, False, False, True, True, True]  # second responses stand last
    assert found.wins["mean"].tolist() == [False, True, True, True, False, False]
    assert list(found.winners[found.winners.aggregation == "mean"].id) == ["row-3", "row-1", "row-2"]
    accuracy = found.accuracy.set_index(["aggregation", "n"]).accuracy
    assert accuracy["last", 1] == accuracy["longest", 2] == 0.5
    assert (accuracy["last", 2], accuracy["mean", 2], accuracy["best label", 2]) == (0, pytest.approx(2 / 3), 1)


def test_the_first_n_of_prompts_that_have_so_many_take_part():
    found = of(scored([(1, 1, 0), (0, 0, 1), (9, 9, 1)], [(5, 5, 1)]))
    assert found.table.prompts.tolist() == [1, 1]
    assert found.wins["last"].tolist() == [True, False, False, False]
    assert not len(of(scored([(1, 1, 0)], [(5, 5, 1)])).table)


def test_without_labels_and_with_a_read_out_that_a_response_lacks():
    found = of(scored([(1, np.nan, np.nan), (2, 1, np.nan)]))
    assert list(found.table.aggregation) == ["last"]
    assert not len(found.accuracy)
