"""What counts as a difference from a baseline."""

import json

import pytest
from typer.testing import CliRunner

from critic_probe.cli import app
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
    [told] = check("--as", "gad", "--value-position", "before", "--baseline", "gad.json")
    assert (told["what"], told["old"], told["new"]) == ("value_position", "at", "before")
