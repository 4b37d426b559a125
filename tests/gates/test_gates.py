"""Gates on figures: what passes, what fails, and what cannot be told."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from critic_probe.errors import CriticProbeError
from critic_probe.gates.baseline import load, save
from critic_probe.gates.figures import GONE, METRICS
from critic_probe.gates.gate import Gate, Plan, evaluate, exit_code, load_gates
from critic_probe.gates.shipped import profile_names, profile_text

FAMILIES = ("terminal-swap", "terminal-drop", "wrong-digit", "other-answer", "to-complete")


def figure(
    value, low=None, high=None, *, metric="compare.d_acc", aggregation="mean", n=50, prompts=50, floor=math.nan, **place
):
    row = {"metric": metric, "critic": "c", "aggregation": aggregation, "family": "", "position": "", "category": ""}
    return (
        row
        | {"value": value, "low": low, "high": high, "n": n, "prompts": prompts, "floor": floor, "ids": ["worst"]}
        | place
    )


def verdicts(gate, *rows, unnamed=("last", "mean")):
    return evaluate(Plan("test", (gate,)), pd.DataFrame(rows), unnamed)


@pytest.mark.parametrize(
    ("gate", "row", "word"),
    [
        (Gate("compare.d_acc", min=0.6), figure(0.8, 0.7, 0.9), "pass"),
        (Gate("compare.d_acc", min=0.6), figure(0.5, 0.4, 0.55), "fail"),
        (Gate("compare.d_acc", min=0.6), figure(0.65, 0.5, 0.8), "cannot tell"),
        (Gate("compare.d_acc", max=0.6), figure(0.5, 0.4, 0.55), "pass"),
        (Gate("compare.d_acc", min=0.6, max=0.85), figure(0.9, 0.87, 0.95), "fail"),
        (Gate("compare.d_acc", min=0.6, at="value"), figure(0.65, 0.5, 0.8), "pass"),
        (Gate("compare.auc", min=0.6, at="value"), figure(0.65, metric="compare.auc"), "pass"),
        (Gate("compare.dz", min=0.6, at="value"), figure(math.nan, metric="compare.dz"), "cannot tell"),
        (Gate("compare.d_acc", min=0.6), figure(0.65, math.nan, math.nan), "cannot tell"),
        (Gate("compare.d_acc", min=0.6), figure(0.9, 0.8, 0.95, n=3), "cannot tell"),
        (Gate("compare.d_acc", min=0.6), figure(0.9, 0.8, 0.95, prompts=9), "cannot tell"),
    ],
)
def test_a_bound_applies_to_the_value_or_to_both_ends_of_its_interval(gate, row, word):
    found = verdicts(gate, row)
    assert found.verdict.tolist() == [word]
    assert found.ids.tolist() == [[] if word == "pass" else ["worst"]]


def test_a_gate_bounds_every_figure_that_it_does_not_tell_apart():
    rows = [
        figure(value, low, high, metric="perturb.median_abs_delta_over_sd", family=family, position=position)
        for family, position, value, low, high in [
            ("terminal-swap", "terminal", 0.1, 0.05, 0.15),
            ("clause-swap", "initial", 0.6, 0.5, 0.7),
            ("clause-swap", "medial", 0.1, 0.05, 0.15),
        ]
    ]
    named = Gate("perturb.median_abs_delta_over_sd", max=0.3, family="clause-swap")
    assert verdicts(named, *rows).verdict.tolist() == ["fail", "pass"]
    medial = Gate("perturb.median_abs_delta_over_sd", max=0.3, family="clause-swap", position="medial")
    assert verdicts(medial, *rows).verdict.tolist() == ["pass"]
    assert len(verdicts(Gate("perturb.median_abs_delta_over_sd", max=0.3), *rows)) == 3


def test_a_gate_without_a_read_out_bounds_those_that_are_asked_for():
    rows = [figure(0.9, 0.8, 1.0, aggregation=name) for name in ("last", "mean", "sum")]
    assert verdicts(Gate("compare.d_acc", min=0.5), *rows, unnamed=("mean",)).aggregation.tolist() == ["mean"]
    assert verdicts(Gate("compare.d_acc", min=0.5, aggregation="sum"), *rows).aggregation.tolist() == ["sum"]


@pytest.mark.parametrize(
    ("row", "note"),
    [
        (figure(0.65, 0.5, 0.8), r"the interval spans the bound: about \d+ more prompts would tell"),
        (figure(0.9, 0.8, 0.95, prompts=9), r"too few prompts \(9, under 10\): about 1 more prompt would tell"),
        (figure(0.65, math.nan, math.nan, n=20, prompts=1), "too few prompts for an interval: about 9 more .*"),
    ],
)
def test_what_cannot_be_told_says_how_many_more_prompts_would_tell(row, note):
    assert re.fullmatch(note, verdicts(Gate("compare.d_acc", min=0.6), row).note[0])


def test_what_was_not_measured_cannot_be_told():
    found = verdicts(Gate("perturb.flip_rate", max=0.1, family="typo"), figure(0.9, 0.8, 1.0)).iloc[0]
    assert (found.verdict, found.note) == ("cannot tell", "nothing was measured of family 'typo': there is none")


def test_a_figure_below_the_noise_floor_is_said_to_be():
    found = verdicts(
        Gate("compare.median_abs_gap", max=0.5), figure(1e-7, 0.0, 2e-7, metric="compare.median_abs_gap", floor=1e-5)
    )
    assert found.note.tolist() == ["below the noise floor"]


def test_an_interval_is_asked_only_of_a_figure_that_has_one():
    with pytest.raises(CriticProbeError, match='has no interval; bound it with at = "value"'):
        verdicts(Gate("compare.auc", min=0.5), figure(0.7, metric="compare.auc"))


@pytest.mark.parametrize(
    ("words", "severity", "on_unclear", "code"),
    [
        (["pass"], "fail", "fail", 0),
        (["fail"], "fail", "pass", 1),
        (["fail"], "warn", "fail", 0),
        (["cannot tell"], "fail", "fail", 1),
        (["cannot tell"], "fail", "pass", 0),
    ],
)
def test_the_exit_code(words, severity, on_unclear, code):
    assert exit_code(pd.DataFrame({"verdict": words, "severity": severity}), on_unclear) == code


def test_every_profile_that_ships_is_valid():
    assert profile_names() == ["default", "seed", "strict", "warmup"]
    for name in profile_names():
        plan = load_gates(name, None, FAMILIES)
        assert plan.gates
        assert {gate.metric for gate in plan.gates} <= METRICS
    assert "unsound" in profile_text("seed")
    with pytest.raises(CriticProbeError, match="profile 'nonesuch' is unknown; choose from default, seed"):
        profile_text("nonesuch")


def test_what_stands_in_the_place_of_a_figure_that_is_gone_can_be_bounded():
    assert not GONE.keys() & METRICS
    assert {name for names in GONE.values() for name in names.split(", ")} <= METRICS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gates = 3", "holds no gates"),
        ("[[gates]", "not valid TOML"),
        ("[[gates]]\nmetric = 'compare.acc'\nmin = 1", "metric 'compare.acc' is unknown; choose from compare.auc"),
        (
            "[[gates]]\nmetric = 'perturb.signal_to_noise'\nmin = 1",
            r"'perturb.signal_to_noise' is gone, .*; bound perturb.strongest_harmless, perturb.controls_right",
        ),
        (
            "[[gates]]\nmetric = 'perturb.punct_over_wrong_fact'\nmax = 1",
            "'perturb.punct_over_wrong_fact' is gone, .*; bound perturb.harmless_per_wrong_fact",
        ),
        ("[[gates]]\nmetric = 'compare.d_acc'", "has no bound; give min or max"),
        ("[[gates]]\nmetric = 'compare.d_acc'\nmin = 1\nmax = 0", "min 1 is above max 0"),
        ("[[gates]]\nmetric = 'compare.d_acc'\nmin = 'much'", "'min' is 'much', not a number"),
        ("[[gates]]\nmetric = 'compare.d_acc'\nmin = 1\nat = 'end'", "'at' is 'end', not 'value' or 'ci'"),
        ("[[gates]]\nmetric = 'compare.d_acc'\nmin = 1\nbound = 2", "'bound' is unknown; choose from metric"),
        (
            "[[gates]]\nmetric = 'perturb.flip_rate'\nmin = 1\nfamily = 'commas'",
            "family 'commas' is unknown; choose from other-answer",
        ),
        ("[[gates]]\nmetric = 'compare.d_acc'\nmin = 1\naggregation = 'men'", "'men' is not a known aggregation"),
    ],
)
def test_a_gate_that_cannot_be_meant_names_its_place_and_the_cure(tmp_path, text, message):
    path = tmp_path / "gates.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CriticProbeError, match=message) as caught:
        load_gates(None, path, FAMILIES)
    assert "gates.toml" in str(caught.value)


def test_gates_are_found_in_a_projects_own_pyproject(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_gates(None, None, FAMILIES).source == "profile default"
    text = "[project]\nname = 'x'\n[[tool.critic-probe.gates]]\nmetric = 'compare.d_acc'\nmin = 0.5\n"
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    plan = load_gates(None, None, FAMILIES)
    assert (plan.source, plan.gates) == ("pyproject.toml", (Gate("compare.d_acc", min=0.5),))
    assert load_gates("strict", None, FAMILIES).source == "profile strict"


@pytest.mark.parametrize("bound", [{"max": 70}, {"min": -0.1}])
def test_a_bound_that_no_share_can_miss_is_refused(tmp_path, bound):
    lines = "\n".join(f"{key} = {value}" for key, value in bound.items())
    (tmp_path / "gates.toml").write_text(f'[[gates]]\nmetric = "compare.d_acc"\n{lines}\n')
    with pytest.raises(CriticProbeError, match=r"gate 1: compare\.d_acc is a share between 0 and 1, which .* does not"):
        load_gates(None, tmp_path / "gates.toml", FAMILIES)


@pytest.mark.parametrize(
    ("gate", "note"),
    [
        (Gate("compare.d_acc", min=0.1, category="mth"), "nothing was measured of category 'mth': there is math"),
        (Gate("compare.d_acc", min=0.1, position="end"), "nothing was measured of position 'end': there is none"),
    ],
)
def test_a_gate_on_what_is_not_there_says_what_is(gate, note):
    assert verdicts(gate, figure(0.9, 0.8, 1.0, category="math")).note.tolist() == [note]


def test_a_baseline_that_was_changed_since_is_refused_and_one_without_a_digest_is_not(tmp_path):
    """By hand, or by a merge of two, whose rows stand a line each."""
    file, text = tmp_path / "base.json", (Path(__file__).parents[2] / "fixtures" / "baseline.json").read_text("utf-8")
    whole = {key: value for key, value in json.loads(text).items() if key != "digest"}
    save(file, whole)
    assert load(file) == whole
    written = json.loads(file.read_text("utf-8"))
    written["scores"][0]["student_score"] += 1
    file.write_text(json.dumps(written), "utf-8")
    with pytest.raises(CriticProbeError, match="was changed after it was written, by hand or by a merge"):
        load(file)
    file.write_text(json.dumps(whole), "utf-8")
    assert load(file) == whole
