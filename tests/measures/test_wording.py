"""Figures in words."""

import pandas as pd
import pytest

from critic_probe.measures.compared import answer, reading
from critic_probe.measures.wording import beside, counted


def test_verbs_follow_their_number_and_none_is_left_out():
    verbs = (("fails", "fail"), ("cannot be told", "cannot be told"), ("holds", "hold"))

    def told(*counts):
        return counted((count, *of) for count, of in zip(counts, verbs, strict=True))

    assert told(2, 1, 7) == "2 fail, 1 cannot be told and 7 hold"
    assert told(1, 0, 7) == "1 fails and 7 hold"
    assert told(0, 0, 1) == "1 holds"
    assert told(0, 0, 0) == ""


def test_what_is_said_beside_a_figure_stands_in_brackets_or_not_at_all():
    assert beside(["a", "", "b"]) == " (a; b)"
    assert beside([""]) == ""


@pytest.mark.parametrize(
    ("n", "prompts", "low", "high", "words"),
    [
        (20, 10, 0.1, 0.5, "more often than"),
        (20, 10, -0.5, -0.1, "less often than"),
        (20, 10, -0.1, 0.5, "no more often than"),
        (19, 10, 0.1, 0.5, "too few cases (19, under 20) to hold against"),
        (20, 9, -0.5, -0.1, "too few prompts (9, under 10) to hold against"),
    ],
)
def test_a_critic_is_held_against_a_blind_rule_in_the_answer_as_in_the_reading(n, prompts, low, high, words):
    own = {"critic": "c", "aggregation": "last"}
    summary = pd.DataFrame([own | {"n": n, "prompts": prompts, "d_acc": 0.8, "d_acc_low": 0.7, "d_acc_high": 0.9}])
    held = {"n": n, "beyond": 0.2, "beyond_low": low, "beyond_high": high, "baseline": "longer wins"}
    statistics = pd.DataFrame([own | held | {"temperature": 5.0, "saturated": 0.0}])
    contrasts = pd.DataFrame(columns=["critic", "other_critic"])
    said = answer(summary, statistics, pd.DataFrame(), contrasts, pd.DataFrame())[0].text
    assert f"(n = {n}): {words} the rule 'longer wins'" in said
    rules = pd.DataFrame([{"baseline": "longer wins", "accuracy": 0.6}])
    assert ("cannot be told from it" in reading(summary, statistics, rules)[2]) == (words != "more often than")
