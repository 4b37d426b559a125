"""`critic-probe logs`: one table of a run, its samples as pairs, and what its exit code says."""

import json
import math
import random
import signal

import pandas as pd
import pytest
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.pairs import TokenIds, read_pairs
from critic_probe.report.files import read_result
from critic_probe.runs.logs import read_logs
from tests.runs import write
from tests.runs.write import Block, Scored


def run(*arguments):
    return CliRunner().invoke(app, ["logs", *map(str, arguments)], catch_exceptions=False)


def console_log(path, loss=0.5, steps=80, **more):
    draw = random.Random(0)
    figures = {"critic/d_acc": 0.75, "critic/d_loss": loss, "critic/score_diff": 1.5, "critic/grad_norm": 2.0}
    lines = [
        write.console(i, {name: value * (1 + draw.gauss(0, 0.002)) for name, value in (figures | more).items()})
        for i in range(1, steps + 1)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def folder(tmp_path):
    """A run's directory: the console of 80 steps and scoring details of some."""
    console_log(tmp_path / "train.log", steps=30, **{"timing_s/step": 3.0})
    samples = [
        [(f"q{step}", Scored("s", step / 10, [1, 2]), Scored("t", step / 5)), ("r", Scored("a", 1.0), Scored("b", 0.5))]
        for step in (1, 2)
    ]
    blocks = [Block(1, samples[0]), Block(1, samples[1]), Block(2, samples[1])]
    (tmp_path / "scores.log").write_text(write.scoring(blocks), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("nothing\n")
    return tmp_path


def test_the_first_screen_shows_figures_of_networks_and_full_shows_the_rest(folder):
    shown = run(folder).stdout
    assert "2 files: 8 known figures over 30 steps, 1 to 30." in " ".join(shown.split())
    lines = [line.split() for line in shown.splitlines() if line.startswith("  d_acc")]
    assert len(lines[0][1]) == 16  # a bar for its part of the steps
    assert lines[0][-2:] == ["30", "–"]  # too few steps to tell a trend
    assert "timing_s/step" not in shown
    full = "".join(run(folder, "--full").stdout.split())  # long paths are folded
    assert "timing_s/step" in full
    assert "train.log:consolelines,gad" in full
    assert "scores.log:scoringdetails" in full
    assert "critic/score_diff" in full
    assert "1otherfilesarenologs" in full
    assert "skipped" in full


def test_figures_of_whole_steps_stand_before_those_of_micro_batches(folder):
    result = read_logs([folder])
    rows = result.metrics.set_index("name")
    assert rows.loc["critic/d_acc", "steps"] == 30
    assert rows.loc["critic/score_max", "steps"] == 2
    assert any(notice.code == "whole-steps" for notice in result.notices)
    alone = read_logs([folder / "scores.log"]).metrics.set_index("name")
    assert alone.loc["critic/d_acc", "definition"] == "ties wrong, of a micro-batch"


def test_a_contradiction_fails_and_a_sound_run_does_not(tmp_path):
    sound = console_log(tmp_path / "sound.log")
    assert run(sound).exit_code == 0
    wrong = console_log(tmp_path / "wrong.log", loss=math.log(2), **{"critic/d_acc": 0.97})
    done = run(wrong, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)["findings"]
    assert {"check": "contradiction-loss", "verdict": "fail"}.items() <= found[0].items()


def test_gates_bound_figures_of_the_run(tmp_path):
    path = console_log(tmp_path / "run.log", steps=30)
    gates = tmp_path / "gates.toml"
    bound = '[[gates]]\nmetric = "logs.{}"\n{} = {}\nat = "value"\n'
    gates.write_text(bound.format("critic/d_acc", "min", 0.9) + bound.format("fails", "max", 0))
    done = run(path, "--gates", gates, "--junit", tmp_path / "j.xml", "--markdown", tmp_path / "m.md")
    assert done.exit_code == 1
    assert "Gates: 1 fail, 1 pass." in done.stdout
    assert 'failures="1"' in (tmp_path / "j.xml").read_text()
    assert "| fail | logs.critic/d_acc | 0.75" in (tmp_path / "m.md").read_text()
    gates.write_text(bound.format("critic/d_acc", "min", 0.7))
    assert run(path, "--gates", gates).exit_code == 0
    without = run(path, "--junit", tmp_path / "j.xml")
    assert without.exit_code == 2
    assert "there are no gates to write; give --gates FILE" in without.stderr


def test_a_live_run_is_followed_to_a_signal(tmp_path, monkeypatch):
    """Where the command rests, the run goes on: to a contradiction, to more of it, and to its end."""
    path = tmp_path / "run.log"
    path.touch()
    sound = console_log(tmp_path / "sound", steps=40).read_text().splitlines(keepends=True)
    wrong = console_log(tmp_path / "wrong", loss=math.log(2), steps=120, **{"critic/d_acc": 0.97}).read_text()
    lines = sound + wrong.splitlines(keepends=True)[40:]
    parts = iter([lines[:40], lines[40:100], [], lines[100:]])

    def rest(seconds):
        assert seconds >= 0.05
        if (part := next(parts, None)) is None:
            signal.raise_signal(signal.SIGTERM)
        with path.open("a") as file:
            file.writelines(part)

    monkeypatch.setattr("critic_probe.cli.logs.time.sleep", rest)
    done = run(path, "--watch", "--every", "0.05", "--json")
    assert done.exit_code == 1
    assert done.stderr.count("fail contradiction-loss from step 41: ") == 1  # once, however often it was read
    assert done.stderr.endswith("ended by a signal; this is what was logged\n")
    made = json.loads(done.stdout)
    assert made["findings"][0]["check"] == "contradiction-loss"
    assert len(made["steps"]) == 120
    assert run(path, "--watch", "--profile", "none").exit_code == 2
    assert run(tmp_path / "none", "--watch").exit_code == 2


def test_a_run_that_has_written_nothing_yet_is_waited_for(tmp_path, monkeypatch):
    rests = iter([console_log, lambda _: signal.raise_signal(signal.SIGTERM)])
    monkeypatch.setattr("critic_probe.cli.logs.time.sleep", lambda _: next(rests)(tmp_path / "run.log"))
    done = run(tmp_path, "--watch")
    assert done.exit_code == 0
    assert "known figures over 80 steps" in done.stdout


def test_the_answer_says_how_many_checks_were_skipped_and_why(tmp_path):
    shown = " ".join(run(console_log(tmp_path / "short.log", steps=40)).stdout.split())
    assert "1 file: 4 known figures over 40 steps, 1 to 40." in shown
    assert "Nothing to report" in shown
    assert "(nothing is concluded from fewer than 60 steps)" in shown
    assert "(their figures were not logged)" in shown
    early = " ".join(run(console_log(tmp_path / "early.log", **{"critic/d_acc": 0.99})).stdout.split())
    assert "1 warning: early from step 1 on: d_acc is 0.9" in early


def test_a_profile_holds_the_run_against_other_bounds(tmp_path):
    path = console_log(tmp_path / "run.log", **{"critic/d_acc": 0.9})
    default = read_logs([path])
    seed = read_logs([path], profile="seed")
    assert set(default.findings["check"]) != set(seed.findings["check"])
    done = run(path, "--profile", "none")
    assert done.exit_code == 2
    assert "choose from default, seed" in done.output


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_samples_are_pairs_with_their_ids_and_scores(folder, suffix):
    path = folder / f"pairs.{suffix}"
    done = run(folder / "scores.log", "--to-pairs", path)
    assert "6 pairs written" in done.stderr
    pairs = read_pairs(path)
    assert [pair.id for pair in pairs] == ["1-1", "1-2", "1-3", "1-4", "2-1", "2-2"]
    assert pairs[0].student == TokenIds((1, 2))
    assert (pairs[0].prompt, pairs[0].teacher) == ("q1", "t")
    compared = CliRunner().invoke(app, ["compare", str(path), "--json"], catch_exceptions=False)
    (row,) = json.loads(compared.stdout)["summary"]
    assert (row["n"], row["d_acc"]) == (6, 0.5)


def test_samples_that_are_no_pairs_are_counted(tmp_path):
    path = tmp_path / "5.jsonl"
    path.write_text(write.rollouts(5, [("a", "b", 0.5)]))
    done = run(path, "--to-pairs", tmp_path / "p.jsonl")
    assert done.exit_code == 2
    assert "no pairs to write (1 of one response)" in done.output
    assert [file.name for file in tmp_path.iterdir()] == ["5.jsonl"]
    assert run(path).exit_code == 0  # samples alone are a log too


def test_results_are_saved_and_read_back(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert run(folder, "-o", out / "r.json", "-o", out / "r.csv").exit_code == 0
    table = pd.read_csv(out / "r.csv")
    assert list(table["step"]) == list(range(1, 31))
    assert "critic/d_acc" in table
    again = read_result(out / "r.json")
    assert str(again) == str(read_logs([folder]))


def test_a_page_has_a_curve_a_figure_and_no_table_of_steps(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "page.html"
    assert run(folder, "-o", path).exit_code == 0
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == 8
    assert 'id="picture-critic-d_acc"' in page
    assert "<script" not in page
    assert "timing_s/step" in page  # in the table of figures
    assert "<h2>Steps</h2>" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.log"], "no such file"),
        (["notes.txt"], "nothing in it that runs log"),
        (["train.log", "--to-pairs", "p.csv"], "cannot tell the format from '.csv'; use .jsonl, .parquet"),
        (["train.log", "--to-pairs", "none/p.jsonl"], "its directory does not exist"),
        (["train.log", "-o", "x.txt"], "cannot tell the format"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_new_definition_is_a_change_and_is_shown(tmp_path):
    old = write.file_logger(dict.fromkeys(range(1, 5), write.VERL))
    new = write.file_logger({i: write.VERL | {"response/aborted_ratio": 0.0} for i in range(5, 9)})
    (tmp_path / "run.jsonl").write_text(old + new)
    result = read_logs([tmp_path])
    changes = result.changes.set_index("name")
    assert changes.loc["reward/score_mean", "step"] == 5
    assert changes.loc["reward/score_mean", "definition_before"] == "empty responses counted"
    assert "reward/score_mean from step 5" in run(tmp_path, "--full").stdout


def test_text_of_a_log_is_neutralised(tmp_path):
    (tmp_path / "m.jsonl").write_text(
        json.dumps({"step": 1, "evil/\x1b[31m[bold]": 1.0}) + "\n" + '{"step": 2, "a/b": 1}\n'
    )
    shown = run(tmp_path, "--full").stdout
    assert "\x1b" not in shown
    assert "[bold]" in shown
