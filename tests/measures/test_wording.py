"""Figures in words."""

import pytest

from critic_probe.measures.wording import counted, would_tell


def test_verbs_follow_their_number_and_none_is_left_out():
    verbs = (("fails", "fail"), ("cannot be told", "cannot be told"), ("holds", "hold"))

    def told(*counts):
        return counted((count, *of) for count, of in zip(counts, verbs, strict=True))

    assert told(2, 1, 7) == "2 fail, 1 cannot be told and 7 hold"
    assert told(1, 0, 7) == "1 fails and 7 hold"
    assert told(0, 0, 1) == "1 holds"
    assert told(0, 0, 0) == ""


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [
        (0.4, 0.0, 0.9, "about 60 more prompts would tell"),  # 0.4 of reach, 0.2 to go: four times as many
        (0.1, 0.05, 0.3, "about 60 more prompts would tell"),
        (0.2, 0.1, 0.3, ""),  # at the bound no number tells
        (0.4, 0.3, 0.5, ""),  # it is told already
        (0.4, float("nan"), float("nan"), ""),
    ],
)
def test_how_many_prompts_would_tell(value, low, high, told):
    assert would_tell(20, value, low, high, 0.2) == told
