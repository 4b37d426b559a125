"""What counts as a difference from a baseline."""

import pytest

from critic_probe.gates.baseline import drift


def baseline(value, low=None, high=None, verdict="teacher", **settings):
    figure = {"metric": "compare.d_acc", "critic": "the critic", "aggregation": "mean", "family": "", "position": ""}
    score = {"critic": "the critic", "aggregation": "mean", "id": "a", "student_score": 0.0, "teacher_score": 1.0}
    return {
        "settings": {"data": "x", "aggregations": ["mean"], "eos": "exclude", "value_position": "at"} | settings,
        "figures": [figure | {"category": "", "value": value, "low": low, "high": high, "n": 9}],
        "scores": [score | {"verdict": verdict}],
        "cases": [],
    }


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (baseline(0.8, 0.7, 0.9), baseline(0.75, 0.65, 0.85), []),
        (baseline(0.8, 0.75, 0.85), baseline(0.6, 0.5, 0.7), ["moved"]),
        (baseline(0.8, 0.75, 0.85), baseline(0.7, 0.5, 0.9), []),
        (baseline(1.0), baseline(1.04), []),
        (baseline(1.0), baseline(1.2), ["moved"]),
        (baseline(1.0), baseline(None), ["moved"]),
        (baseline(None), baseline(None), []),
        (baseline(1.0), baseline(1.0, verdict="student"), ["flipped"]),
        (baseline(1.0), baseline(1.0, verdict="tie"), []),
        (baseline(1.0), baseline(1.0, data="y"), ["other settings"]),
    ],
)
def test_a_difference(old, new, words):
    assert drift(old, new, 0.05).verdict.tolist() == words


def test_a_row_that_went_or_came_is_a_difference():
    old, new = baseline(1.0), baseline(1.0)
    old["scores"].append(old["scores"][0] | {"id": "b"})
    assert drift(old, new, 0.05).verdict.tolist() == ["missing"]
    assert drift(new, old, 0.05).verdict.tolist() == ["new"]
    old["figures"] = []
    assert drift(old, new, 0.05).verdict.tolist() == ["new", "missing"]
