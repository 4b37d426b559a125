"""The headline: what no family that moves nothing can dilute, and no choice of the strongest can flatter."""

from statistics import fmean, median

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from benchmarks.headline import measured
from critic_probe.stats.chance import FAULTS
from critic_probe.stats.edits import INVARIANCE_FLOOR, summarise
from critic_probe.stats.headline import chosen_apart, headline, per_wrong_fact
from critic_probe.stats.intervals import totals
from critic_probe.stats.rules import COLUMNS

SPREADS = {("c", "last"): totals(np.tile([-1.0, 1.0], 5000), range(10_000))}  # an SD of 1, as good as known
NO_RULES = pd.DataFrame(columns=COLUMNS)
PROMPTS = [f"{number:08x}" for number in range(40)]  # even ones are the first half


def edits(family, sizes, kind="invariance", prompts=PROMPTS):
    """Two edits a prompt, whose |delta| in SD is given by prompt or for all of them."""
    prompts = np.repeat(prompts, 2)
    sizes = np.repeat(np.broadcast_to(sizes, len(prompts) // 2), 2) * np.tile([0.9, 1.1], len(prompts) // 2)
    sign = -1 if kind == "control" else 0
    return pd.DataFrame(
        {
            "critic": "c",
            "id": prompts,
            "prompt_hash": prompts,
            "side": "teacher",
            "family": family,
            "group": "controls" if sign else "punct",
            "position": "whole",
            "kind": kind,
            "sign": sign,
            "aggregation": "last",
            "delta": sizes * (sign or 1),
            "delta_over_sd": sizes * (sign or 1),
            "floor": 1e-6,
            "ending_effect": np.nan,
            "ending_effect_over_sd": np.nan,
            "tokens": 10,
            "token_change": -1,
            "only_last_token": False,
            "flip": False,
            "decided": True,
        }
    )


def headed(*frames):
    frame = pd.concat(frames, ignore_index=True)
    [row] = headline(frame, summarise(frame, SPREADS), NO_RULES, SPREADS).to_dict("records")
    return row


def a_critic():
    """One harmless edit as strong as a wrong fact, one weak one, and every kind of fault."""
    rng = np.random.default_rng(0)
    drawn = [edits("terminal-swap", 1.6 + 0.2 * rng.normal(size=40)), edits("trailing-space", 0.1)]
    return [*drawn, *(edits(names[0], 1.5 + rng.uniform(size=40), "control") for names in FAULTS.values())]


def test_families_that_move_nothing_leave_every_figure_as_it_was():
    alone, beside = headed(*a_critic()), headed(*a_critic(), *(edits(f"still-{n}", 0.0) for n in range(12)))
    assert alone["strongest"] == ["terminal-swap"]
    assert alone["strongest_harmless"] > 1.4
    assert beside.pop("harmless") - alone.pop("harmless") == 12 * 80  # how many there were, which is no figure of them
    assert repr(beside) == repr(alone)


def test_halves_that_choose_apart_are_both_named_and_read_where_they_did_not_choose():
    even = np.arange(40) % 2 == 0
    row = headed(edits("double", np.where(even, 1.0, 0.4)), edits("terminal-swap", np.where(even, 0.4, 1.0)))
    assert sorted(row["strongest"]) == ["double", "terminal-swap"]
    assert row["strongest_harmless"] == pytest.approx(0.4, abs=0.05)  # 1.0 where each was chosen
    assert (row["strongest_n"], row["strongest_prompts"]) == (80, 40)


def test_a_family_too_small_to_be_judged_is_not_chosen():
    few = edits("double", 9.0, prompts=PROMPTS[:8])
    assert set(chosen_apart(pd.concat([few, edits("terminal-swap", 0.3)])).family) == {"terminal-swap"}
    row = headed(few)
    assert row["strongest"] == []
    assert np.isnan([row["strongest_harmless"], row["harmless_per_wrong_fact"]]).all()


def test_a_median_that_passes_does_not_hide_a_tail():
    far = np.where(np.arange(40) % 5 == 0, 3.0, 0.01)
    row = headed(edits("terminal-swap", far), edits("double", 0.01), edits("trailing-space", 1.0))
    assert row["tails"] == ["terminal-swap"]
    assert (row["harmless_fails"], row["failing"]) == (1, ["trailing-space"])


def test_the_exchange_rate_is_that_of_the_median_prompt():
    """A wrong fact that moves by less than the floor counts as the floor, a harmless edit that does so as nothing."""
    rng = np.random.default_rng(1)
    harmless = edits("terminal-swap", rng.uniform(0, 2, 40))
    wrong = edits("wrong-digit", rng.uniform(0, 2, 35), "control", PROMPTS[5:])
    harmless["floor"] = wrong["floor"] = 0.3

    def of_prompts(frame, size):
        means = {}
        for row in frame.to_dict("records"):
            means.setdefault(row["prompt_hash"], []).append(size(abs(row["delta"])))
        return {prompt: fmean(sizes) for prompt, sizes in means.items()}

    moved, against = of_prompts(harmless, lambda x: x if x > 0.3 else 0.0), of_prompts(wrong, lambda x: max(x, 0.3))
    worth, prompts = per_wrong_fact(harmless, wrong)
    assert prompts == 35
    assert worth.value == pytest.approx(median(moved[prompt] / against[prompt] for prompt in against))
    assert worth.low < worth.value < worth.high
    scaled = [frame.assign(delta=frame.delta * 1024, floor=frame.floor * 1024) for frame in (harmless, wrong)]
    assert per_wrong_fact(*scaled)[0] == worth


def test_too_few_prompts_with_both_give_no_exchange_rate():
    worth, prompts = per_wrong_fact(edits("terminal-swap", 1.0), edits("wrong-digit", 1.0, "control", PROMPTS[:9]))
    assert prompts == 9
    assert np.isnan(worth.value)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_that_some_family_moves_a_score_is_seldom_said_of_one_that_none_moves(correlation):
    """Twelve families exactly at the bound; read where it was chosen the strongest is said to move it more often."""
    runs = 100
    shares = measured(runs, 20, correlation, [INVARIANCE_FLOOR] * 12)
    assert binomtest(round(shares["cross-fitted"] * runs), runs, 0.05, alternative="greater").pvalue > 0.05
    assert shares["naive"] > 2 * shares["cross-fitted"]


def test_the_interval_of_the_strongest_holds_its_effect():
    shares = measured(100, 40, 0.5, [1.0] + [0.05] * 11)
    assert shares["named"] == 1.0
    assert binomtest(round(shares["held"] * 100), 100, 0.95, alternative="less").pvalue > 0.05
