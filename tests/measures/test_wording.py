"""Figures in words."""

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
