"""What counts as a difference from a baseline."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import drift as simulated
from critic_probe.cli import app
from critic_probe.gates.baseline import SCHEMA, UNPAIRED
from critic_probe.gates.drift import differs, drift

FIGURE = {"critic": "the critic", "aggregation": "mean", "family": "", "position": "", "category": ""}


def baseline(value=1.0, low=None, high=None, gaps=(1.0,), prompts=None, schema=SCHEMA, floor=0.0, **settings):
    """A baseline of one figure, and of pairs with these gaps, one a prompt."""
    ids = [f"p{i}" for i in range(len(gaps))]
    own = {"critic": "the critic", "aggregation": "mean"}
    scores = [
        {"id": name, "student_score": 0.0, "teacher_score": gap, "gap_over_sd": gap}
        | {"student_tokens": 4, "teacher_tokens": 4}
        | {"verdict": "teacher" if gap > 0 else "student" if gap < 0 else "tie", **own}
        for name, gap in zip(ids, gaps, strict=True)
    ]
    return {
        "schema": schema,
        "settings": {"data": "x", "aggregations": ["mean"], "eos": "exclude", "value_position": "at"} | settings,
        "noise_floor": {"the critic": {"mean": floor}},
        "figures": [FIGURE | {"metric": "compare.auc", "value": value, "low": low, "high": high, "n": 200}],
        "pairs": [{"id": n, "prompt_hash": p, "category": ""} for n, p in zip(ids, prompts or ids, strict=True)],
        "scores": scores,
        "cases": [],
    }


def of_gaps(gaps, metric="compare.d_acc", **more):
    """The same with the figure that the gaps make."""
    right = np.mean([(np.sign(gap) + 1) / 2 for gap in gaps])
    made = baseline(right, right - 0.06, right + 0.06, gaps, **more)
    values = {
        "compare.d_acc": right,
        "compare.mean_gap": np.mean(gaps),
        "compare.median_abs_gap": np.median(np.abs(gaps)),
    }
    made["figures"][0] |= {"metric": metric, "value": values[metric]}
    return made


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (baseline(1.0), baseline(1.04), []),
        (baseline(1.0), baseline(1.2), ["moved"]),
        (baseline(1.0), baseline(None), ["moved"]),
        (baseline(None), baseline(None), []),
        (baseline(1.0), baseline(1.0, gaps=[-1.0]), ["flipped"]),
        (baseline(1.0), baseline(1.0, gaps=[0.0]), []),
        (baseline(1.0), baseline(1.0, data="y"), ["other settings"]),
    ],
)
def test_a_difference(old, new, words):
    assert drift(old, new, 0.05).verdict.tolist() == words


def test_an_unchanged_critic_has_not_moved_though_its_figure_lies_beside_its_interval():
    # Wilson's lower bound of 0 of n comes out as 1.4e-17: the value 0 lies below its own interval.
    for schema in (SCHEMA, *UNPAIRED):
        same = baseline(0.0, 1.4e-17, 0.1, schema=schema)
        found = drift(same, same, 0.0)
        assert not differs(found)
        assert found.verdict.tolist() == ([] if schema == SCHEMA else ["unpaired"])


def test_the_same_pairs_are_compared_in_pairs():
    # 8 of 200 verdicts lost: an interval of the figure is +-.06 wide, and McNemar's exact p is 2/256.
    old, new = of_gaps([1.0] * 170 + [-1.0] * 30), of_gaps([1.0] * 162 + [-1.0] * 38)
    found = drift(old, new, 0.05)
    [moved] = found[found.verdict == "moved"].to_dict("records")
    assert moved["what"] == "compare.d_acc mean"
    assert moved["change"] == pytest.approx(-0.04)
    assert moved["low"] < -0.04 < moved["high"] < 0
    assert moved["p_holm"] == pytest.approx(2 / 2**8)
    assert (found.verdict == "flipped").sum() == 8


def test_a_change_whose_interval_holds_0_is_none_whatever_its_signs():
    gaps = np.linspace(0.5, 2, 40)
    fall = np.full(40, 0.01)
    fall[0] = 30.0  # all fell, so that no random sign goes as far; how much is one pair's doing
    old, new = (of_gaps(list(g), "compare.mean_gap") for g in (gaps, gaps - fall))
    assert "moved" not in set(drift(old, new, 0.05).verdict)


def test_verdicts_of_one_prompt_are_one_piece_of_evidence():
    old, new = [[1.0] * 170 + [-1.0] * 30, [1.0] * 162 + [-1.0] * 38]
    prompts = [f"q{i // 10}" for i in range(200)]  # the eight stand in two prompts
    found = drift(*(of_gaps(gaps, prompts=prompts) for gaps in (old, new)), 0.05)
    assert set(found.verdict) == {"flipped"}


def test_an_older_baseline_is_compared_as_of_other_pairs_and_that_is_said():
    old, new = of_gaps([1.0] * 170 + [-1.0] * 30, schema=UNPAIRED[0]), of_gaps([1.0] * 162 + [-1.0] * 38)
    for key in ("pairs", "noise_floor"):
        del old[key]
    found = drift(old, new, 0.05)
    assert found.verdict.value_counts().to_dict() == {"flipped": 8, "unpaired": 1}
    assert "write it anew" in found.what[0]


def test_what_arithmetic_can_move_has_not_moved():
    gaps = np.linspace(0.5, 2, 40)
    old, new = (of_gaps(list(g), "compare.mean_gap", floor=1e-3) for g in (gaps, gaps + 8e-4))
    assert drift(old, new, 0.0).empty
    new["noise_floor"] = old["noise_floor"] = {}
    [moved] = drift(old, new, 0.0).to_dict("records")
    assert moved["change"] == pytest.approx(8e-4)


def other_pairs(old, new, prompts=200):
    sides = [baseline(*figure, gaps=[1.0] * prompts, data=data) for figure, data in ((old, "x"), (new, "y"))]
    for row in sides[1]["pairs"]:
        row["prompt_hash"] += " of the other file"
    return drift(*sides, 0.05)


@pytest.mark.parametrize(
    ("old", "new", "moved"),
    [
        ((0.8, 0.75, 0.85), (0.74, 0.69, 0.79), False),  # each value lies beyond the other's interval
        ((0.8, 0.75, 0.85), (0.7, 0.65, 0.75), True),
        ((0.0, 1.4e-17, 0.02), (0.0, 0.0, 0.02), False),
        ((1.0, 0.98, 1.0), (0.9, 0.85, 0.93), True),
        ((1.0, None, None), (2.0, None, None), False),  # nothing says how far another sample may lie
        ((1.0, 0.9, 1.1), (None, None, None), False),
    ],
)
def test_other_pairs_are_another_sample(old, new, moved):
    found = other_pairs(old, new)
    assert found.verdict.tolist() == ["other pairs", *(["moved"] if moved else [])]
    assert differs(found) == moved
    if moved:
        row = found.iloc[1]
        assert row.change == pytest.approx(new[0] - old[0])
        below = np.hypot(new[0] - new[1], old[2] - old[0])  # Zou and Donner's
        assert row.low == pytest.approx(row.change - below)


def test_two_samples_of_few_prompts_cannot_be_told_apart():
    found = other_pairs((0.8, 0.75, 0.85), (0.3, 0.25, 0.35), prompts=9)
    assert found.verdict.tolist() == ["other pairs", "cannot tell"]
    assert differs(found)


def test_another_sample_seldom_moves_a_figure_and_a_fall_on_the_same_pairs_does():
    def other(rng):
        return [simulated.baseline(simulated.latent(rng, 50, 4, 0.5), 4, name) for name in "ab"]

    def same(rng):
        gaps = simulated.latent(rng, 200, 1, 0.0)
        return [simulated.baseline(each, 1, "a") for each in (gaps, simulated.fallen(rng, gaps, 0.05))]

    assert simulated.share_moved(40, other)[0] <= 0.1
    *_, among, alone, by_intervals = simulated.share_moved(10, same)
    assert by_intervals < 0.5 <= among <= alone


def test_p_is_adjusted_over_all_figures():
    old, new = of_gaps([1.0] * 170 + [-1.0] * 30), of_gaps([1.0] * 162 + [-1.0] * 38)
    for side in (old, new):
        side["figures"] += [side["figures"][0] | {"metric": f"a.figure {i}", "value": 0.5} for i in range(9)]
    assert "moved" not in set(drift(old, new, 0.05).verdict)  # 10 x 2/256 is above .05


def test_edits_are_compared_in_pairs_by_family():
    def side(deltas):
        made = baseline(1.0, gaps=[1.0] * 40)
        case = {"critic": "the critic", "aggregation": "mean", "side": "teacher", "family": "negation"}
        case |= {"position": "whole", "removed": "", "added": "not", "sign": -1}
        case |= {"command": "perturb", "kind": "control", "flip": 0}
        made["cases"] = [case | {"id": f"p{i}", "delta": d, "delta_over_sd": d / 2} for i, d in enumerate(deltas)]
        named = FIGURE | {"family": "negation", "position": "whole", "n": 40}
        made["figures"] = [
            named | {"metric": "perturb.right_order", "value": np.mean(deltas < 0), "low": 0.0, "high": 1.0},
            named
            | {"metric": "perturb.median_abs_delta_over_sd", "value": np.median(np.abs(deltas)) / 2}
            | {"low": None, "high": None},
        ]
        return made

    before = np.where(np.arange(40) < 36, -1.0, 1.0)
    after = np.where(np.arange(40) < 26, -1.0, 3.0)
    found = drift(side(before), side(after), 0.05).set_index("what")
    assert found.change["perturb.right_order mean negation whole"] == pytest.approx(-10 / 40)
    assert found.p_holm["perturb.right_order mean negation whole"] == pytest.approx(2 * 2 / 2**10)
    # The median did not move; 14 edits did, and no more is said than of the figure.
    assert list(found.index) == ["perturb.right_order mean negation whole"]


EDITS = [  # family, position, kind, sign, delta
    ("terminal-swap", "terminal", "invariance", 0, 1.0),
    ("edge-blank", "whole", "invariance", 0, 0.1),
    ("wrong-digit", "medial", "control", -1, -1.0),
    ("other-answer", "whole", "control", -1, -1.0),
    ("truncated-50", "whole", "control", -1, -1.0),
    ("sentence-repeated", "whole", "control", -1, 1.0),
]
HEADLINE = ("controls_right", "fault_right", "strongest_harmless", "harmless_per_wrong_fact")


def of_headline(swap=1.0, wrong=-1.0, blank=0.1, flips=0):
    """A baseline of edits of 40 prompts; of 20 of them these deltas, and so many flips."""
    made = baseline(1.0, gaps=[1.0] * 40, prompts=[f"{i:x}" for i in range(40)])
    made["figures"] = [
        FIGURE | {"metric": f"perturb.{name}", "value": value, "low": -9.0, "high": 9.0, "n": 40}
        for name, value in zip(HEADLINE, (-wrong, blank, swap, swap / wrong), strict=True)
    ]
    flip = {"metric": "perturb.flip_rate", "value": flips / 40, "low": 0.0, "high": 1.0, "n": 40}
    made["figures"].append(FIGURE | flip | {"family": "terminal-swap", "position": "terminal"})
    changed = {"terminal-swap": swap, "wrong-digit": wrong, "edge-blank": blank}
    made["cases"] = [
        {"critic": "the critic", "aggregation": "mean", "id": f"p{i}", "side": "teacher", "removed": "", "added": ""}
        | {"command": "perturb", "family": family, "position": position, "kind": kind, "sign": sign}
        | {"delta": own, "delta_over_sd": own, "flip": int(family == "terminal-swap" and i < flips)}
        for i in range(40)
        for family, position, kind, sign, delta in EDITS
        for own in (changed.get(family, delta) if i < 20 else delta,)
    ]
    return made


def test_what_a_headline_is_made_of_is_compared_in_pairs_where_both_chose_alike():
    found = drift(of_headline(), of_headline(swap=1.5, wrong=1.0, flips=12), 0.05).set_index("what")
    assert set(found.verdict) == {"moved"}
    assert found.change["perturb.flip_rate mean terminal-swap terminal"] == pytest.approx(12 / 40)
    assert found.change["perturb.strongest_harmless mean"] == pytest.approx(0.25)
    assert found.change["perturb.harmless_per_wrong_fact mean"] == pytest.approx(0.25)
    assert found.change["perturb.controls_right mean"] == pytest.approx(-20 / 160)
    # Made longer is ordered worst in both; wrong facts changed, and that figure is not theirs.
    assert "perturb.fault_right mean" not in found.index
    # Intervals of -9 to 9 tell nothing; another edit moves most, so the figure has no pairs.
    other = drift(of_headline(), of_headline(swap=0.1, blank=3.0), 0.05)
    assert "perturb.strongest_harmless mean" not in set(other.what)


def test_a_row_that_went_or_came_is_a_difference():
    old, new = baseline(gaps=[1.0, 1.0], data="y"), baseline()
    assert drift(old, new, 0.05).verdict.tolist() == ["other settings", "missing"]
    assert drift(new, old, 0.05).verdict.tolist() == ["other settings", "new"]
    old["figures"] = []
    assert drift(old, new, 0.05).verdict.tolist() == ["other settings", "new", "missing"]


def critics(**read):
    return {name: {"convention": "gad", "template": "raw", "value_position": "at"} | read for name in ("a", "b")}


def test_how_each_critic_was_read_is_a_setting_told_once():
    old, new = critics(), critics()
    new["b"] |= {"convention": "verl-ppo", "template": "chat:0123", "value_position": "before"}
    found = drift(baseline(1.0, critics=old), baseline(1.0, critics=new, value_position="at, before"), 0.05)
    assert found.what.tolist() == ["b convention", "b template", "b value_position"]
    assert set(found.verdict) == {"other settings"}


def test_what_an_older_baseline_does_not_tell_is_no_difference():
    old, new = baseline(1.0), baseline(1.0, critics=critics())
    assert drift(old, new, 0.05).empty
    new["settings"]["value_position"] = "before"
    assert drift(old, new, 0.05).what.tolist() == ["value_position"]


def test_a_check_tells_figures_of_another_convention(tmp_path, monkeypatch, critic_dir):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a?", "student": "It is.", "teacher": "no"}\n', encoding="utf-8")
    (tmp_path / "gates.toml").write_text('[[gates]]\nmetric = "compare.d_acc"\nmin = 0.0\n', encoding="utf-8")

    def check(*options):
        command = ["check", "pairs.jsonl", "-c", str(critic_dir), "--gates", "gates.toml", "--json", *options]
        result = CliRunner().invoke(app, command)
        assert result.exit_code in (0, 1), result.output
        return [row for row in json.loads(result.stdout)["drift"] or [] if row["verdict"] == "other settings"]

    check("--as", "gad", "--save-baseline", "gad.json")
    assert check("--as", "gad", "--baseline", "gad.json") == []
    [told] = check("--as", "hf", "--baseline", "gad.json")
    assert (told["what"], told["old"], told["new"]) == ("convention", "gad", "hf")
    [told] = check("--as", "gad", "--dtype", "bfloat16", "--baseline", "gad.json")
    assert (told["what"], told["old"], told["new"]) == ("dtype", "float32", "bfloat16")
    [told] = check("--as", "gad", "--value-position", "before", "--baseline", "gad.json")
    assert (told["what"], told["old"], told["new"]) == ("value_position", "at", "before")
