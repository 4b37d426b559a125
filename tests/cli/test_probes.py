"""The probe suite as a user runs it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.report.files import read_result

PROGRAM = Path(sys.executable).with_name("critic-probe")


def run(*arguments):
    return CliRunner().invoke(app, arguments)


def run_with(installed, *arguments):
    """The program with one more distribution to be found."""
    environment = os.environ | {"PYTHONPATH": installed}
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, encoding="utf-8", env=environment)


def test_all_families_on_the_fixtures():
    result = run("perturb", "--all", "--max-per-response", "6", "--seed", "3", "-c", "bundled:mean", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert {row["kind"] for row in found["summary"]} >= {"identity", "invariance", "directional", "control"}
    assert {row["verdict"] for row in found["summary"]} <= {"pass", "fail", "cannot tell"}
    assert [row["aggregation"] for row in found["headline"]] == ["last", "mean"]
    per_response = {}
    for case in found["cases"]:
        per_response.setdefault((case["id"], case["side"], case["aggregation"]), []).append(case["family"])
    assert max(map(len, per_response.values())) <= 6
    assert found["signature"]["seed"] == 3
    again = run("perturb", "--all", "--max-per-response", "6", "--seed", "3", "-c", "bundled:mean", "--json")
    assert again.stdout == result.stdout


def test_identities_hold_and_a_control_runs_with_its_ending_restored():
    found = json.loads(
        run("perturb", "--eos", "--family", "truncated-50", "-c", "bundled:last", "-a", "last", "--json").stdout
    )
    identities = [row for row in found["summary"] if row["kind"] == "identity"]
    assert {row["family"] for row in identities} == {"same-ids", "batch-mates", "eos-toggled"}
    assert {row["verdict"] for row in identities} == {"pass"}
    [cut] = [row for row in found["summary"] if row["family"] == "truncated-50"]
    assert cut["ending_n"] > 20
    assert cut["right_order"] != cut["right_order_ending_restored"]


def test_eos_moves_a_read_out_that_keeps_it():
    found = json.loads(run("perturb", "--eos", "-c", "bundled:last", "-a", "last+eos", "--json").stdout)
    [toggled] = [row for row in found["summary"] if row["family"] == "eos-toggled"]
    assert (toggled["kind"], toggled["verdict"]) == ("invariance", "fail")


def test_one_side_is_edited_alone():
    found = json.loads(run("perturb", "--family", "terminal-drop", "--side", "teacher", "--json").stdout)
    assert {case["side"] for case in found["cases"]} == {"teacher"}
    wrong = run("perturb", "--punct", "--side", "both sides")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "--side 'both sides' is unknown; choose from student, teacher, both" in wrong.stderr


def test_completeness_takes_the_rows_own_texts(tmp_path):
    row = {
        "prompt": "2+2?",
        "student": "five it must be",
        "teacher": "four",
        "concise": "Four.",
        "complete": "It is four, of course.",
    }
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    found = json.loads(run("completeness", str(path), "-c", "bundled:mean", "-a", "mean", "--json").stdout)
    assert found["schema"] == "critic-probe/completeness/1"
    [of_row] = [case for case in found["cases"] if case["family"] == "to-complete"]  # both texts are one measurement
    assert (of_row["side"], of_row["sign"]) == ("teacher", 1)
    assert of_row["delta"] == of_row["variant_score"] - of_row["original_score"]


def test_what_the_controls_show_is_told_in_one_word_everywhere():
    arguments = ("perturb", "--controls", "--punct", "-c", "bundled:mean", "-a", "mean")
    found = json.loads(run(*arguments, "--json").stdout)
    [row] = found["headline"]
    worst = min(found["faults"], key=lambda fault: fault["low"])
    assert (row["controls_word"], row["fault"], row["fault_right"]) == ("above chance", worst["fault"], worst["right"])
    assert {fault["fault"] for fault in found["faults"]} == {
        "cut short",
        "made longer",
        "wrong facts",
        "another answer",
    }
    best = max(found["rules"], key=lambda rule: rule["explained"] or 0.0)  # None: nothing moved what it counts
    assert (row["rule"], row["rule_explains"]) == (best["says"], best["explained"])
    assert not any(rule["named"] for rule in found["rules"])
    shown = run(*arguments, "--full").stdout
    assert "above chance" in shown
    assert best["says"] in shown


def test_families_are_listed():
    shown = run("perturb", "--list").stdout
    assert "terminal-swap" in shown
    listed = json.loads(run("perturb", "--list", "--json").stdout)["families"]
    assert {family["kind"] for family in listed} == {
        "identity",
        "invariance",
        "directional",
        "control",
        "meaning-changing",
    }
    wrong = run("perturb", "--family", "nonesuch")
    assert wrong.exit_code == 2
    assert "'nonesuch' is not a known family; choose from terminal-swap" in wrong.stderr


PLUGIN = """
from critic_probe.probes import Change, Family

def shout(subject):
    yield Change("whole", subject.text.upper())

family = Family("shout", "layout", "invariance", 0, "everything in capitals", shout)
broken = Family("broken", "layout", "invariance", 0, "fails", lambda subject: 1 / 0)
"""


def plugin(folder, *names):
    folder.mkdir()
    (folder / "shouting.py").write_text(PLUGIN, encoding="utf-8")
    info = folder / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n", encoding="utf-8")
    points = "\n".join(f"{name} = shouting:{name}" for name in names)
    (info / "entry_points.txt").write_text(f"[critic_probe.families]\n{points}\n", encoding="utf-8")
    return str(folder)


def test_a_users_own_family_is_an_entry_point(tmp_path):
    path = plugin(tmp_path / "own", "family")
    found = json.loads(run_with(path, "perturb", "--family", "shout", "-c", "bundled:last", "--json").stdout)
    assert {case["family"] for case in found["cases"]} == {"shout"}
    broken = run_with(plugin(tmp_path / "bad", "broken"), "perturb", "--family", "broken")
    assert broken.returncode == 2
    assert "family 'broken' failed: ZeroDivisionError" in broken.stderr
    missing = run_with(plugin(tmp_path / "none", "nonesuch"), "perturb", "--punct")
    assert missing.returncode == 2
    assert "family 'nonesuch' (shouting:nonesuch) cannot be loaded" in missing.stderr


def test_tokens_on_the_fixtures():
    found = json.loads(run("tokens", "-c", "bundled:mean", "--json").stdout)
    assert [row["share"] for row in found["positions"] if row["aggregation"] == "last"] == [0.25, 0.5, 0.75, 1.0]
    [dependence] = found["dependence"]
    assert 1 <= dependence["effective_tokens"] <= dependence["tokens"]
    assert {row["token_class"] for row in found["classes"]} == {"content", "digit", "punctuation", "EOS"}


def test_what_compare_wrote_can_be_compared_again(tmp_path):
    path = tmp_path / "scores.csv"
    first = json.loads(run("compare", "-c", "bundled:last", "-o", str(path), "--json").stdout)
    second = json.loads(run("compare", str(path), "--json").stdout)
    for name in ("d_acc", "mean_gap", "gap_over_sd", "separation"):
        assert [row[name] for row in second["summary"]] == pytest.approx([row[name] for row in first["summary"]])
    assert second["signature"]["critics"][0]["fingerprint"] == "given scores"


def test_every_rule_is_planted_and_what_is_missed_is_shown():
    """On the result that tests/golden holds `selftest` to."""
    stored = Path(__file__).parents[1] / "golden" / "stored" / "selftest.json"
    checks = json.loads(stored.read_text(encoding="utf-8"))["checks"]
    assert {row["verdict"] for row in checks} == {"pass"}
    rules = {"digits", "capitals", "Markdown", "newlines", "blanks", "punctuation", "script", "repetition", "ending"}
    rules |= {"EOS", "courtesy", "word", "length"}
    for architecture in ("Llama", "Qwen3"):
        found = {row["found"] for row in checks if row["critic"].startswith(architecture)}
        assert found >= rules | {"above chance", "no rule"}
    found = read_result(stored)
    shown = str(found).splitlines()
    assert shown[0].split() == ["pass", "Llama,", "reads", "digits", "mean", "digits"]
    assert shown[-1] == "the probes found every planted rule, and no other"
    missed = str(replace(found, checks=found.checks.assign(verdict=["fail", *found.checks.verdict[1:]]))).splitlines()
    assert missed[0].split()[0] == "fail"
    assert missed[1].strip() == "-> expected: digits"
    assert missed[-1] == "1 of these do not hold"


EDITED = """{"id": "a", "prompt": "Why?", "student": "It is cold.", "teacher": "It is cold, I think."}
{"id": "b", "prompt": "Who?", "student": "我们回家。", "teacher": "Nobody\\u001b[31m knows."}
"""


def test_edits_are_shown_to_be_read_without_a_critic(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(EDITED, encoding="utf-8")
    show = ("perturb", str(pairs), "--show", "terminal-drop")
    shown = run(*show)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.count("[-") == 2  # one a pair
    assert run(*show).stdout == shown.stdout
    assert run(*show, "--rows", "1").stdout.count("[-") == 1
    draws = {run(*show, "--seed", str(seed), "--json").stdout for seed in range(6)}
    assert len(draws) > 1
    teachers = run(*show, "--side", "teacher").stdout
    assert "a, teacher, terminal\nIt is cold, I think[-.-]\n" in teachers
    assert "Nobody\\x1b[31m knows[-.-]" in teachers
    [edit, _] = json.loads(run(*show, "--side", "student", "--json").stdout)["edits"]
    assert edit["original"] == edit["edited"] + edit["original"][-1]
    for family in ("same-ids", "nonesuch"):
        wrong = run("perturb", str(pairs), "--show", family)
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert family in wrong.stderr


def test_what_is_far_from_an_edit_is_left_out_where_edits_are_shown(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    row = {
        "id": "a",
        "prompt": "Why?",
        "student": "x",
        "teacher": "very " * 400 + "# cold\n- so" + " very" * 4000 + ".",
    }
    pairs.write_text(json.dumps(row), encoding="utf-8")
    for family, changed in (("edge-newline", "⏎"), ("terminal-drop", "[-.-]")):
        shown = run("perturb", str(pairs), "--show", family, "--side", "teacher").stdout
        assert changed in shown
        assert len(shown) < 300
