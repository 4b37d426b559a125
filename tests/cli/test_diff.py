"""One critic against another from the command line."""

import json

import pytest
from typer.testing import CliRunner

from critic_probe.cli import app


@pytest.fixture(scope="module")
def changed():
    result = CliRunner().invoke(app, ["diff", "bundled:last", "bundled:mean", "-a", "last", "-a", "mean", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_mean_critic_reacts_less_to_a_dropped_mark_and_orders_cut_answers_better(changed):
    families = {(row["aggregation"], row["family"]): row for row in changed["families"]}
    dropped = families["last", "terminal-drop"]
    assert dropped["new"] < dropped["old"]
    assert dropped["low"] < dropped["high"] < 0
    assert dropped["p_holm"] < 0.05
    assert dropped["old_right"] is None  # an invariance has no right order
    cut = families["last", "truncated-25"]
    assert cut["new_right"] > cut["old_right"]
    assert cut["right_p_holm"] < 0.05


def test_figures_are_those_of_compare_and_perturb(changed):
    compared = json.loads(CliRunner().invoke(app, ["compare", "--json"]).stdout)
    d_acc = {(row["critic"], row["aggregation"]): row["d_acc"] for row in compared["summary"]}
    for row in changed["pairs"]:
        assert row["old_d_acc"] == d_acc["bundled:last", row["aggregation"]]
        assert row["new_d_acc"] == d_acc["bundled:mean", row["aggregation"]]
        assert sum(r["aggregation"] == row["aggregation"] for r in changed["flipped"]) == row["flips"]
    verdicts = {(row["critic"], row["aggregation"], row["id"]): row["verdict"] for row in compared["pairs"]}
    for row in changed["flipped"]:
        assert verdicts["bundled:last", row["aggregation"], row["id"]] == row["old_verdict"] != row["new_verdict"]
        assert verdicts["bundled:mean", row["aggregation"], row["id"]] == row["new_verdict"]


def test_the_other_way_round_every_difference_changes_its_sign(changed):
    back = json.loads(
        CliRunner().invoke(app, ["diff", "bundled:mean", "bundled:last", "-a", "last", "-a", "mean", "--json"]).stdout
    )
    there = {(row["aggregation"], row["family"]): row for row in changed["families"]}
    for row in back["families"]:
        other = there[row["aggregation"], row["family"]]
        assert row["difference"] == pytest.approx(-other["difference"], abs=1e-6)
        assert row["low"] == pytest.approx(-other["high"], abs=1e-6)
        assert row["old_right"] == other["new_right"]


def test_bad_usage(critic_dir):
    for arguments, message in (
        (["diff", "bundled:last", "bundled:mean", "-"], "stdin"),
        (["diff", "bundled:last", "no/such/critic"], "no/such/critic"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.output
        assert message in result.stderr
