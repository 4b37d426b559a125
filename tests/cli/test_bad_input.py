"""Bad input ends in one line that names the place and the cure, and exit code 2."""

import json

import pytest
from typer.testing import CliRunner

from critic_probe.cli import app

GOOD = {"id": "a", "prompt": "p", "student": "s", "teacher": "t"}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


FILES = {
    "unknown fields": ("x.jsonl", lines({"question": "p", "left": "s", "right": "t"}), ["row 1", "--student-field"]),
    "a side missing": ("x.jsonl", lines(GOOD, {"id": "b", "prompt": "p", "student": "s"}), ["row 2", "teacher"]),
    "a side null": ("x.jsonl", lines(GOOD | {"teacher": None}), ["row 1", "teacher"]),
    "duplicate id": ("x.jsonl", lines(GOOD, GOOD), ["row 2", "'a'", "row 1"]),
    "bad json": ("x.jsonl", lines(GOOD) + b'{"id": \n', ["row 2", "JSON"]),
    "invalid utf-8": ("x.jsonl", lines(GOOD)[:-5] + b'\xff"}\n', ["UTF-8"]),
    "empty": ("x.jsonl", b"", ["empty"]),
    "suffix": ("x.txt", b"{}", [".jsonl", ".parquet"]),
    "repr": ("x.jsonl", lines(GOOD | {"prompt": "[{'role': 'user', 'content': 'p'}]"}), ["row 1", "list"]),
}


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", [["compare"], ["perturb", "--punct"], ["trace", "--id", "a"]])
def test_files_of_pairs(tmp_path, name, command):
    file, content, expected = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    result = invoke(*command, path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    for part in (file, *expected):
        assert part in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["compare", "-a", "avg"], "'avg' is not a known aggregation; choose from last, mean"),
        (["compare", "--eos", "maybe"], "--eos 'maybe' is unknown; choose from exclude, include"),
        (["compare", "--value-position", "after"], "choose from at, before"),
        (["compare", "--template", "x"], "choose from auto, chat, raw"),
        (["compare", "--on-too-long", "cut"], "choose from error, skip"),
        (["compare", "--device", "tpu"], "choose from auto, cpu, cuda"),
        (["compare", "--dtype", "int8"], "choose from auto, float32"),
        (["compare", "-c", "bundled:none"], "choose from bundled:last, bundled:mean"),
        (["compare", "-c", "/no/such/dir"], "no such checkpoint directory"),
        (["compare", "-o", "out.xlsx"], ".json"),
        (["compare", "nowhere.jsonl"], "nowhere.jsonl"),
        (["perturb"], "add --punct"),
        (["trace"], "--id"),
        (["trace", "--id", "nonesuch"], "no pair has the id 'nonesuch'"),
        (["trace", "--prompt", "p"], "--prompt, --student and --teacher together"),
    ],
)
def test_options(arguments, expected):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_an_unknown_option_is_a_usage_error():
    assert invoke("compare", "--nonsense").exit_code == 2


def test_hostile_text_in_an_error_is_neutralised(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(GOOD | {"id": "\x1b[31mred"}, GOOD | {"id": "\x1b[31mred"}))
    assert "\x1b" not in invoke("compare", path).stderr


def test_an_output_file_that_cannot_be_written_is_known_before_scoring(tmp_path):
    result = invoke("compare", "-o", tmp_path / "no" / "dir" / "out.json")
    assert result.exit_code == 2
    assert "out.json" in result.stderr


@pytest.mark.parametrize(
    "command", [("check", "--gates"), ("check", "--baseline"), ("compare", "--as"), ("verify",), ("logs", "--profile")]
)
def test_a_directory_where_a_file_should_be(tmp_path, command):
    name, *option = command
    log = ["metrics.jsonl"] if name == "logs" else []
    result = invoke(name, *log, *option, tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(tmp_path) in result.stderr
    assert result.stderr.count("\n") == 1
