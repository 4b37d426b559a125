"""The figures that only a report shows."""

import math

import pandas as pd
import pytest

from critic_probe.measures.report import reliability


def scored(gaps, **columns):
    rows = {"critic": "c", "aggregation": "last", "gap": gaps, "gap_over_sd": [gap / 2 for gap in gaps]}
    frame = pd.DataFrame(rows | columns)
    frame["verdict"] = ["teacher" if gap > 0 else "student" for gap in gaps]
    return frame.assign(prompt_hash=[str(n) for n in range(len(gaps))])


def test_a_bin_holds_verdicts_of_like_confidence_with_how_often_they_are_right():
    sure, unsure = [10.0] * 20, [0.5, -0.5] * 10
    found = reliability(scored([*unsure, *sure]), temperature=5.0)
    assert list(found.n) == [20, 20]
    assert list(found.d_acc) == [0.5, 1.0]
    assert list(found.confidence) == pytest.approx([1 / (1 + math.exp(-0.1)), 1 / (1 + math.exp(-2))])
    assert list(found.abs_gap_over_sd) == pytest.approx([0.25, 5.0])
    assert found.d_acc_low[0] < 0.5 < found.d_acc_high[0]


def test_few_pairs_are_one_bin_and_huge_gaps_are_certain():
    found = reliability(scored([1e9, -1e9, 3.0]), temperature=1e-3)
    assert list(found.n) == [3]
    assert found.confidence[0] == pytest.approx(1.0)
    assert found.d_acc[0] == pytest.approx(2 / 3)


def test_a_scale_moves_confidence_and_nothing_else():
    gaps = [0.1 * n * (-1) ** (n % 5 == 0) for n in range(1, 61)]
    small, large = (reliability(scored([gap * scale for gap in gaps]), 5.0) for scale in (1, 10))
    assert list(small.d_acc) == list(large.d_acc)
    assert (small.confidence < large.confidence).all()
