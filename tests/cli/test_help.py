"""What the help shows first, how it is grouped, and that its examples work."""

import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.cli.panels import PANELS
from critic_probe.pairs import read_pairs
from critic_probe.studies.logged import Scorer, scoring_log

ROOT = get_command(app)


def commands(command=ROOT, path=()):
    inner = getattr(command, "commands", {})
    return (
        {path: command} if not inner else {k: v for n, c in inner.items() for k, v in commands(c, (*path, n)).items()}
    )


def examples(command):
    return [line for line in (command.epilog or "").split("\n\n") if line.startswith("critic-probe ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory, fixtures):
    """A directory with a file of pairs as users have it, in text; what was computed is kept between the examples."""
    folder = tmp_path_factory.mktemp("pasted")
    rows = [row for row in (fixtures / "pairs.jsonl").read_text("utf-8").splitlines(True) if "_ids" not in row]
    (folder / "pairs.jsonl").write_text("".join(rows), encoding="utf-8")
    scorer = Scorer(fixtures / "critics" / "mean", "mean")
    logged = [scorer.row(pair.prompt, pair.student, pair.teacher) for pair in read_pairs(fixtures / "pairs.jsonl")[:4]]
    log = scoring_log(scorer, logged, scorer.scores(logged, {}), 1)
    (folder / "scoring.log").write_text(log, encoding="utf-8")
    return folder


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_the_examples_of_a_command_work_when_they_are_pasted(path, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("CRITIC_PROBE_CACHE", str(place / "values.sqlite"))
    lines = examples(commands()[path])
    assert any(shlex.split(line)[1 : 1 + len(path)] == list(path) for line in lines)
    for line in lines:
        assert len(line) <= 78  # it stands on one line at 80 columns
        if path == ("selftest",):  # takes minutes, and what it shows is held in tests/golden
            continue
        if "--endpoint" in line:  # asks a server; tests/serving has one
            continue
        done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, (line, done.output)


def test_without_arguments_four_commands_are_shown_with_what_each_answers():
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 0
    shown = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  critic-probe ")]
    assert shown == ["doctor", "compare", "perturb", "trace"]
    assert done.stdout.count("?\n") >= 4
    assert len(done.stdout.splitlines()) <= 24
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_commands_and_options_stand_under_headings():
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert [shown.index(f" {panel} ") for panel in PANELS] == sorted(shown.index(f" {panel} ") for panel in PANELS)
    assert " Commands " not in shown
    for path, command in commands().items():
        loose = [p.name for p in command.params if p.param_type_name == "option" and not p.rich_help_panel]
        assert not loose, path
    order = [" What is scored ", " How it is read ", " Which pairs ", " Output "]
    for name in ("compare", "perturb", "completeness", "tokens", "audit", "doctor"):
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"}).stdout
        assert sorted(order, key=shown.index) == order, name


def test_help_keeps_what_stands_in_brackets():
    shown = CliRunner().invoke(app, ["check", "--help"], env={"COLUMNS": "200"}).stdout
    assert "a pyproject.toml with [tool.critic-probe]." in shown
