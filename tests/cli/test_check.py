"""A sample repository whose build checks a critic."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import xmlschema
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.probes import BUILT_IN

PROGRAM = Path(sys.executable).with_name("critic-probe")
SCHEMA = Path(__file__).with_name("junit.xsd")
GATES = """
[project]
name = "a-team-with-a-critic"

[[tool.critic-probe.gates]]
metric = "compare.d_acc"
aggregation = "mean"
min = 0.6

[[tool.critic-probe.gates]]
metric = "perturb.median_abs_delta_over_sd"
aggregation = "mean"
family = "terminal-swap"
max = 0.5
"""


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "pyproject.toml").write_text(GATES, encoding="utf-8")
    return tmp_path


def build(folder, *arguments, **environment):
    return subprocess.run(
        [PROGRAM, "check", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env=os.environ | environment,
    )


def check(folder, *arguments, **environment):
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, ["check", *arguments], env=environment, catch_exceptions=False)
    return SimpleNamespace(returncode=result.exit_code, stdout=result.stdout, stderr=result.stderr)


def junit(path):
    """The suite of a file that is valid under the schema that Jenkins and GitLab read by, and that counts rightly."""
    xmlschema.XMLSchema(SCHEMA).validate(path)
    [suite] = ElementTree.parse(path).getroot()
    found = {"tests": len(suite), "errors": 0}
    found |= {"failures": len(suite.findall("*/failure")), "skipped": len(suite.findall("*/skipped"))}
    assert {key: int(suite.get(key)) for key in found} == found
    return suite


@pytest.mark.parametrize(
    ("tests", "cases", "valid"),
    [
        ("1", '<testcase classname="c" name="n"/>', True),
        ("one", '<testcase classname="c" name="n"/>', False),
        ("1", '<testcase name="n"/>', False),
        ("1", "<case/>", False),
        ("2", '<testcase classname="c" name="n"/><testcase classname="c" name="n"/>', False),
    ],
)
def test_the_schema_refuses_what_readers_refuse(tests, cases, valid):
    suite = f'<testsuite name="a" tests="{tests}" failures="0" errors="0">{cases}</testsuite>'
    assert xmlschema.XMLSchema(SCHEMA).is_valid(f"<testsuites>{suite}</testsuites>") is valid


def test_the_build_passes_with_the_mean_critic_and_fails_with_the_last_one(repository):
    passed = build(repository, "-c", "bundled:mean", "--junit", "junit.xml", "--json")
    assert passed.returncode == 0, passed.stdout
    found = json.loads(passed.stdout)
    assert {gate["verdict"] for gate in found["gates"]} == {"pass"}
    assert {"gate", "metric", "aggregation", "value", "low", "high", "bound", "verdict"} <= set(found["gates"][0])
    suite = junit(repository / "junit.xml")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")

    failed = build(
        repository,
        *("-c", "bundled:last", "--junit", "junit.xml", "--markdown", "summary.md"),
        GITHUB_STEP_SUMMARY=str(repository / "step.md"),
    )
    assert failed.returncode == 1
    assert "fail" in failed.stdout
    assert "-> look at" in failed.stdout
    suite = junit(repository / "junit.xml")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    [case] = [case for case in suite if case.find("failure") is not None]
    assert case.get("classname") == "perturb.median_abs_delta_over_sd"
    assert "must be <= 0.5" in case.find("failure").get("message")
    markdown = (repository / "summary.md").read_text(encoding="utf-8")
    assert markdown.startswith("### critic-probe: failed (pyproject.toml)")
    assert "| fail | perturb.median\\_abs" in markdown or "| fail | perturb.median_abs_delta_over_sd" in markdown
    assert (repository / "step.md").read_text(encoding="utf-8") == markdown


def test_what_cannot_be_told_counts_as_asked(repository, tmp_path):
    rows = [{"prompt": f"p{i}", "student": "No.", "teacher": f"Yes, {i}."} for i in range(4)]
    pairs = tmp_path / "few.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = '[[gates]]\nmetric = "compare.d_acc"\nmin = 0.5\n'
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    options = (str(pairs), "-c", "bundled:mean", "-a", "mean", "--gates", "own.toml", "--json")
    strict, lenient = (check(repository, *options, "--on-unclear", word) for word in ("fail", "pass"))
    assert [gate["verdict"] for gate in json.loads(strict.stdout)["gates"]] == ["cannot tell"]
    assert (strict.returncode, lenient.returncode) == (1, 0)


@pytest.mark.parametrize("gate", ["compare.d_acc", "doctor.fails"])
def test_the_warnings_of_a_checkpoint_are_carried(repository, critic_dir, gate):
    (repository / "own.toml").write_text(f'[[gates]]\nmetric = "{gate}"\nmin = 0\nat = "value"\n', encoding="utf-8")
    options = ("-c", str(critic_dir), "--gates", "own.toml", "--device", "cpu", "--markdown", "summary.md")
    done = check(repository, *options, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["warnings"]
    [untrained] = [notice["message"] for notice in told if notice["code"] == "head-untrained"]
    assert [notice["message"] for notice in told if notice["code"] == "bundled-pairs"]
    assert "head-untrained" in check(repository, *options).stdout
    shown = check(repository, *options, "--full").stdout
    for text in (shown, (repository / "summary.md").read_text(encoding="utf-8").replace("\\", "")):
        assert f"head-untrained: {untrained}" in " ".join(text.split())


def test_a_gate_on_completeness_that_names_no_family_is_held_against_every_one_of_it(repository):
    rows = [
        {"prompt": f"{i} + 1?", "student": f"{i + 2}.", "teacher": f"{i + 1}."}
        | {"concise": f"{i + 1}.", "complete": f"The sum of {i} and 1 is {i + 1}."}
        for i in range(4)
    ]
    (repository / "few.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = '[[gates]]\nmetric = "completeness.right_order"\nmin = 0.5\n'
    (repository / "own.toml").write_text(text, encoding="utf-8")
    found = check(repository, "few.jsonl", "-c", "bundled:mean", "-a", "mean", "--gates", "own.toml", "--json")
    families = {gate["family"] for gate in json.loads(found.stdout)["gates"]}
    assert families
    assert all(BUILT_IN[name].group == "completeness" for name in families)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "nonesuch"], "profile 'nonesuch' is unknown; choose from default"),
        (["--profile", "seed", "--gates", "x.toml"], "give --profile or --gates, not both"),
        (["--gates", "nonesuch.toml"], "nonesuch.toml: cannot be read"),
        (["--on-unclear", "maybe"], "--on-unclear 'maybe' is unknown; choose from pass, fail"),
        (["--junit", "no/such/folder/x.xml"], "its directory does not exist"),
        (["-a", "men"], "'men' is not a known aggregation"),
    ],
)
def test_bad_usage(tmp_path, arguments, message):
    result = check(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def test_profiles_are_shown_as_they_can_be_used(tmp_path):
    shown = CliRunner().invoke(app, ["profiles", "show", "strict"]).stdout
    (tmp_path / "mine.toml").write_text(shown, encoding="utf-8")
    own = check(tmp_path, "--gates", "mine.toml", "-c", "bundled:mean", "-a", "mean", "--json")
    shipped = check(tmp_path, "--profile", "strict", "-c", "bundled:mean", "-a", "mean", "--json")
    assert json.loads(own.stdout)["gates"] == json.loads(shipped.stdout)["gates"]


def test_a_baseline_holds_for_the_same_critic_and_not_for_another(repository):
    options = ("-a", "mean", "--on-unclear", "pass")
    first = check(repository, "-c", "bundled:mean", *options, "--save-baseline", "base.json")
    assert first.returncode == 0
    kept = (repository / "base.json").read_bytes()
    for cache in ({}, {"CRITIC_PROBE_CACHE": str(repository / "fresh.db")}):
        again = check(repository, "-c", "bundled:mean", *options, "--save-baseline", "again.json", **cache)
        assert again.returncode == 0
        assert (repository / "again.json").read_bytes() == kept

    same = check(repository, "-c", "bundled:mean", *options, "--baseline", "base.json", "--json")
    assert (same.returncode, json.loads(same.stdout)["drift"]) == (0, [])

    (repository / "lenient.toml").write_text(
        GATES.replace("tool.critic-probe.gates", "gates").replace("max = 0.5", "max = 9"), encoding="utf-8"
    )
    other = check(
        repository,
        *("-c", "bundled:last", *options, "--gates", "lenient.toml", "--baseline", "base.json", "--junit", "j.xml"),
        "--json",
    )
    found = json.loads(other.stdout)
    assert {gate["verdict"] for gate in found["gates"]} == {"pass"}
    assert other.returncode == 1  # the gates hold, the figures are not those of the baseline
    assert {"moved", "flipped"} <= {row["verdict"] for row in found["drift"]}
    assert junit(repository / "j.xml").get("failures") == "1"

    accepted = check(
        repository,
        *("-c", "bundled:last", *options, "--gates", "lenient.toml", "--baseline", "base.json", "--accept"),
    )
    assert accepted.returncode == 0
    assert "moved: " in accepted.stdout
    assert (repository / "base.json").read_bytes() != kept


def test_other_data_than_the_baselines_is_a_regression(repository, tmp_path):
    rows = [{"id": f"p{i}", "prompt": f"p{i}", "student": "No.", "teacher": f"Yes, {i}."} for i in range(4)]
    pairs = tmp_path / "few.jsonl"
    options = ("-c", "bundled:mean", "-a", "mean", "--on-unclear", "pass")
    for count, option in ((4, "--save-baseline"), (3, "--baseline")):
        pairs.write_text("\n".join(map(json.dumps, rows[:count])), encoding="utf-8")
        result = check(repository, str(pairs), *options, option, "base.json", "--json")
    drift = json.loads(result.stdout)["drift"]
    assert result.returncode == 1
    assert {"what": "data", "verdict": "other settings"}.items() <= drift[0].items()
    assert any(row["verdict"] == "missing" and "p3" in row["what"] for row in drift)


def test_a_file_that_is_no_baseline_is_refused(repository):
    (repository / "base.json").write_text("{}", encoding="utf-8")
    for arguments, message in (
        (["--baseline", "base.json"], "is no critic-probe/baseline/3"),
        (["--baseline", "nonesuch.json"], "write one with --save-baseline"),
        (["--accept"], "--accept needs --baseline FILE"),
    ):
        result = check(repository, "-c", "bundled:mean", *arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert message in result.stderr
