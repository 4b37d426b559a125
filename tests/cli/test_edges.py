"""What users meet at the edges: notices on pairs, exit codes, pipes that close."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from tiny import save_critic
from typer.testing import CliRunner

from critic_probe import cli
from critic_probe.bundled import find_critics
from critic_probe.cli import app

EOS = 258  # of the byte tokenizer


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """What `main` sets for a whole process is set back."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def notices(*arguments):
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return {notice["code"]: notice for notice in json.loads(result.stdout)["warnings"]}


def test_a_pair_longer_than_the_critic_was_trained_on_is_named(tmp_path):
    language_model = save_critic(tmp_path / "lm", task="causal")
    rows = [{"id": f"p{i}", "prompt": f"Say {i}", "student": f"{i},", "teacher": f"{i}."} for i in range(8)]
    pairs, trained = write(tmp_path / "pairs.jsonl", rows), str(tmp_path / "trained")
    options = ["--steps", "1", "--batch-size", "4", "--held-out", "0", "--device", "cpu"]
    done = CliRunner().invoke(app, ["warmup", pairs, "--backbone", str(language_model), "-o", trained, *options])
    assert done.exit_code == 0, done.output
    assert "longer-than-trained" not in notices("compare", pairs, "-c", trained)
    longer = write(tmp_path / "longer.jsonl", [*rows, rows[0] | {"id": "long", "teacher": "one, " * 20}])
    assert notices("compare", longer, "-c", trained)["longer-than-trained"]["ids"] == ["long"]


def test_a_side_of_nothing_but_eos_is_named(tmp_path, critic_dir):
    rows = [
        {"id": "spoken", "prompt": "2+2?", "student": "Five", "teacher": "Four."},
        {"id": "silent", "prompt": "2+2?", "student_ids": [EOS], "teacher": "Four."},
    ]
    found = notices("compare", write(tmp_path / "pairs.jsonl", rows), "-c", str(critic_dir))
    assert found["lone-eos"]["ids"] == ["silent"]


def test_a_critic_is_given_once(critic_dir):
    for first, same in (("bundled:last", "bundled:last"), (str(critic_dir), f"{critic_dir}/")):
        result = CliRunner().invoke(app, ["compare", "-c", first, "-c", same])
        assert (result.exit_code, result.stdout) == (2, "")
        assert "is given twice; give each critic once" in result.stderr


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["rm_a/final", "rm_plain/final"], ["rm_a/final", "rm_plain/final"]),
        (["rm_a/final", "rm_plain/final", "other"], ["rm_a/final", "rm_plain/final", "other"]),
        (["x/run/final", "y/run/final", "y/walk/final"], ["x/run/final", "y/run/final", "walk/final"]),
        (["rm_a/final", "bundled:last"], ["final", "bundled:last"]),
    ],
)
def test_critics_of_one_name_are_all_told_apart_by_what_stands_before_it(paths, names):
    assert list(find_critics(paths).paths) == names


def test_a_directory_that_is_a_whole_path_is_told_from_one_that_ends_like_it():
    assert list(find_critics(["/final", "/a/final"]).paths) == ["/final", "a/final"]


def test_an_error_that_no_one_foresaw_exits_with_3_and_keeps_its_traceback(monkeypatch, capsys):
    def broken():
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert "ZeroDivisionError: unforeseen" in told
    assert told.splitlines()[-1] == "critic-probe: internal error: please report the lines above"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing was written"),
        (MemoryError(), 2, "error: out of memory; give the process more"),
        (ImportError("libtorch.so: failed to map segment from shared object"), 2, "error: out of memory"),
        (OSError(errno.EMFILE, "Too many open files", "x.json"), 2, "error: x.json: Too many open files; "),
    ],
)
def test_what_the_machine_does_not_give_is_one_line(monkeypatch, capsys, error, code, line):
    def failing():
        raise error

    monkeypatch.setattr(cli, "app", failing)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert ended.value.code == code
    assert told.startswith(f"critic-probe: {line}")
    assert told.count("\n") == 1


def test_ctrl_c_before_a_command_begins_is_one_line(monkeypatch, capsys):
    """Typer ends then without a word."""

    class Pressed:
        def __format__(self, _):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["critic-probe", "--version"])
    monkeypatch.setattr(cli, "__version__", Pressed())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "critic-probe: interrupted; nothing was written\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("perturb", "--list"),  # lines
        ("inspect", "bundled:last"),  # a table
        ("inspect", "bundled:last", "--json"),
        ("compare", "--help"),
        ("check", "-c", "bundled:mean", "--profile", "strict"),  # a gate fails
    ],
)
def test_a_pipe_whose_reader_has_gone_is_no_error_and_no_verdict(arguments):
    """Neither a passed gate (0) nor a failed one (1): what a shell says of any program that SIGPIPE ends."""
    reader, writer = os.pipe()
    os.close(reader)
    running = subprocess.run(
        [sys.executable, "-m", "critic_probe", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (running.returncode, running.stderr) == (141, "")


def test_what_training_gave_is_shown(tmp_path):
    backbone = save_critic(tmp_path / "lm", task="causal")
    rows = [{"id": f"p{i}", "prompt": f"Say {i}", "student": f"It is {i},", "teacher": f"It is {i}."} for i in range(8)]
    pairs = write(tmp_path / "pairs.jsonl", rows)
    options = ["--on", pairs, "--work", str(tmp_path / "work"), "--seeds", "1", "--steps", "3", "--batch-size", "2"]
    arguments = ["audit", pairs, "-c", "bundled:mean", "--device", "cpu", "--train", str(backbone), *options, "--full"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert "Nothing was trained here" not in result.stdout
    assert "What training was expected to give, and gave (one seed" in result.stdout
