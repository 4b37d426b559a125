"""Verdicts and ratios, on cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from critic_probe.stats.chance import FAULTS
from critic_probe.stats.edits import contrasts, dilution, faults, judge, read_aloud, summarise
from critic_probe.stats.headline import headline
from critic_probe.stats.intervals import Interval, totals
from critic_probe.stats.rules import COLUMNS
from critic_probe.studies.claims import CLAIMS


def cases(delta, *, kind="invariance", family="terminal-drop", group="punct", position="terminal", sign=0, **columns):
    delta = np.asarray(delta, float)
    n = len(delta)
    return pd.DataFrame(
        {
            "critic": "c",
            "id": [f"p{i}" for i in range(n)],
            "prompt_hash": [f"h{i}" for i in range(n)],
            "side": "teacher",
            "family": family,
            "group": group,
            "position": position,
            "kind": kind,
            "sign": sign,
            "aggregation": "last",
            "delta": delta,
            "delta_over_sd": delta,
            "floor": 1e-6,
            "ending_effect": np.nan,
            "ending_effect_over_sd": np.nan,
            "tokens": 10,
            "token_change": -1,
            "only_last_token": False,
            "flip": False,
            "decided": True,
        }
        | columns
    )


# Scores of which 1 is the SD, of so many prompts that it is as good as known.
KNOWN = totals(np.tile([-1.0, 1.0], 5000), range(10_000))
NO_RULES = pd.DataFrame(columns=COLUMNS)
SPREADS = {("c", "last"): KNOWN, ("c", "mean"): KNOWN}


def headed(frame, rules=NO_RULES):
    return headline(frame, summarise(frame, SPREADS), rules, SPREADS)


def spread(centre, n=60, width=0.02):
    return centre + np.linspace(-width, width, n)


@pytest.mark.parametrize(
    ("delta", "word"),
    [
        (spread(0.05), "pass"),
        (spread(0.6), "fail"),
        (spread(0.2, width=0.15), "cannot tell"),
        (spread(0.6, n=3), "cannot tell"),
    ],
)
def test_an_invariance_is_judged_by_the_interval_of_its_median(delta, word):
    found = judge(cases(delta), "invariance", 0)
    assert found.verdict == word
    assert found.preset == 0.2
    assert found.figure == pytest.approx(np.median(np.abs(delta)))


@pytest.mark.parametrize(("right", "word"), [(58, "pass"), (30, "fail"), (46, "cannot tell")])
def test_a_control_is_judged_by_its_rate_of_right_orders(right, word):
    delta = np.where(np.arange(60) < right, -1.0, 1.0)
    found = judge(cases(delta, kind="control", sign=-1), "control", -1)
    assert (found.verdict, found.figure) == (word, pytest.approx(right / 60))
    assert found.low < found.figure < found.high
    assert found.detectable > 0


def test_a_delta_within_the_floor_is_half_right():
    found = judge(cases([0.0] * 30, kind="control", sign=-1), "control", -1)
    assert found.figure == 0.5


def test_an_identity_fails_on_one_delta_above_the_floor():
    assert judge(cases([0.0, 1e-9], kind="identity"), "identity", 0).verdict == "pass"
    assert judge(cases([0.0, 1e-3], kind="identity"), "identity", 0).verdict == "fail"


def test_more_cases_make_smaller_effects_detectable():
    few, many = (judge(cases(spread(0.1, n=n)), "invariance", 0).detectable for n in (25, 400))
    assert many < few


def test_the_summary_gives_the_quantiles_of_the_deltas():
    delta = np.linspace(-1, 3, 41)
    row = summarise(cases(delta), SPREADS).iloc[0]
    assert row.median_abs_delta == pytest.approx(np.median(np.abs(delta)))
    assert row.p95_abs_delta == pytest.approx(np.quantile(np.abs(delta), 0.95))
    assert (row.max_abs_delta, row.mean_delta) == (3.0, pytest.approx(1.0))
    assert row.below_floor == pytest.approx(1 / 41)


def test_the_ending_effect_is_what_restoring_the_mark_takes_back():
    frame = cases([-1.0] * 30, kind="control", sign=-1, ending_effect=-1.0, ending_effect_over_sd=-1.0)
    row = summarise(frame, SPREADS).iloc[0]
    assert row.right_order == 1.0
    assert row.right_order_ending_restored == 0.5
    assert row.ending_effect_over_sd == 1.0


def test_what_a_harmless_edit_is_worth_does_not_change_with_the_scale_of_a_score():
    """Of medians over all families it was told before, which families that move nothing drew to 0."""
    frame = pd.concat([cases(spread(0.5)), cases(-spread(2.0), kind="control", sign=-1, family="wrong-digit")])
    small = frame.assign(delta=frame.delta / 100)
    big, shrunk = headed(frame).iloc[0], headed(small).iloc[0]
    assert big.harmless_per_wrong_fact == pytest.approx(0.25, abs=0.01)
    assert shrunk.harmless_per_wrong_fact == pytest.approx(big.harmless_per_wrong_fact)
    assert big.controls_word == "cannot tell"  # one kind of fault says nothing of the others


def test_chance_is_called_chance():
    frame = cases(np.tile([1.0, -1.0], 30), kind="control", sign=-1)
    row = headed(frame)
    assert row.controls_word[0] == "at chance"
    assert any("at chance" in sentence for sentence in read_aloud(summarise(frame, SPREADS), row, frame))


@pytest.mark.parametrize(
    ("earlier", "told", "holds"), [(4e-6, "equals last's delta, rounding aside", True), (1e-4, "earlier values", False)]
)
def test_dilution_is_arithmetic_where_no_more_than_rounding_is_left(earlier, told, holds):
    """Deltas down to just above the noise, of which an error of rounding's size is a large share."""
    deltas = np.geomspace(2e-6, 2.0, 60)
    last = cases(deltas, family="terminal-swap", only_last_token=True)
    mean = last.assign(aggregation="mean", delta=(deltas + earlier) / 10, floor=5e-7)
    frame = pd.concat([last, mean], ignore_index=True)
    [found] = dilution(frame).itertuples()
    assert found.n == (mean.delta > 5e-7).sum()
    assert found.over_noise == pytest.approx(earlier / (10 * 5e-7 + 1e-6))
    assert (CLAIMS["dilution"].verdict(Interval(*[found.over_noise] * 3), found.n, 1) == "holds") == holds
    assert any(told in sentence for sentence in read_aloud(summarise(last, SPREADS), headed(last), frame))


def of_faults(**right):
    """Sixty controls of each kind of fault, of which the named share is ordered rightly, else all."""
    frames = []
    for fault, families in FAULTS.items():
        share = right.get(fault.replace(" ", "_"), 1.0)
        delta = np.where(np.arange(60) < share * 60, -1.0, 1.0)
        frames.append(cases(delta, kind="control", sign=-1, family=families[0], group="controls", position="whole"))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    ("right", "word", "fault"),
    [
        ({}, "above chance", "cut short"),
        ({"wrong_facts": 0.5}, "not every fault", "wrong facts"),
        ({"made_longer": 0.1}, "not every fault", "made longer"),
        ({"cut_short": 0.0, "another_answer": 0.0}, "at chance", "cut short"),
        ({"cut_short": 0.0, "another_answer": 0.0, "wrong_facts": 0.2}, "below chance", "cut short"),
    ],
)
def test_controls_are_above_chance_where_every_kind_of_fault_is(right, word, fault):
    frame = of_faults(**right)
    [row] = headed(frame).to_dict("records")
    assert (row["controls_word"], row["fault"]) == (word, fault)
    told = " ".join(read_aloud(summarise(frame, SPREADS), headed(frame), frame))
    assert ("nothing here shows that this score reads content" in told) == (word in ("not every fault", "at chance"))


def test_the_word_and_the_gated_figure_rest_on_one_table():
    frame = of_faults(wrong_facts=0.8)
    [row] = headed(frame).to_dict("records")
    worst = faults(frame).set_index("fault").loc[row["fault"]]
    assert (row["fault_right"], row["fault_right_low"]) == (worst.right, worst.low)
    assert (row["controls_word"] == "above chance") == (worst.low > 0.5)


def test_a_kind_of_fault_that_is_missing_leaves_the_question_open():
    frame = of_faults()
    frame = frame[frame.family != FAULTS["wrong facts"][0]]
    [row] = headed(frame).to_dict("records")
    assert (row["controls_word"], row["fault"], row["faults"]) == ("cannot tell", "wrong facts", 0)
    assert any(
        "too few of them are 'wrong facts'" in s for s in read_aloud(summarise(frame, SPREADS), headed(frame), frame)
    )


def test_a_critic_that_a_simple_rule_explains_is_not_praised():
    frame = of_faults()
    rule = dict.fromkeys(COLUMNS, 0.97) | {"critic": "c", "aggregation": "last", "says": "more digits", "named": True}
    ratios = headed(frame, pd.DataFrame([rule]))
    assert ratios.controls_word.tolist() == ["a simple rule"]
    told = " ".join(read_aloud(summarise(frame, SPREADS), ratios, frame))
    assert "the rule 'more digits' alone explains 0.97 of the moves" in told
    assert "nothing here shows that this score reads content" in told


def test_contrasts_compare_the_same_edits_and_correct_over_families():
    context = {"left": "", "removed": "", "added": ""}
    families = [cases(spread(1.0), family=f"f{i}", **context) for i in range(3)]
    last = pd.concat(families, ignore_index=True)
    noise = np.random.default_rng(0).normal(size=len(last)) * 0.3
    mean = last.assign(aggregation="mean", delta=last.delta + np.where(last.family == "f0", 0.5, noise))
    mean["delta_over_sd"] = mean.delta  # KNOWN has an SD of 1, nearly
    table = contrasts(pd.concat([last, mean], ignore_index=True), SPREADS).set_index("family")
    assert (table.n == 60).all()
    assert table.difference["f0"] == pytest.approx(-0.5, rel=1e-3)
    tested = table.dropna(subset=["p"])
    assert tested.p_holm.tolist() == pytest.approx(list(multipletests(tested.p, method="holm")[1]))
    assert (tested.p_holm >= tested.p).all()


def test_contrasts_of_controls_test_which_edits_are_ordered_rightly():
    context = {"left": "", "removed": "", "added": "", "kind": "control", "sign": -1}
    last = cases(np.where(np.arange(40) < 30, -1.0, 1.0), **context)
    mean = cases(np.full(40, -1.0), **context).assign(aggregation="mean")
    row = contrasts(pd.concat([last, mean], ignore_index=True), SPREADS).iloc[0]
    assert row.right_flips == 10
    assert row.right_p == pytest.approx(binomtest(0, 10).pvalue)
