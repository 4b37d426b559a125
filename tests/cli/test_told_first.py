"""What is wrong with a command line is told before anything is loaded that is slow to load."""

import json
import subprocess
import sys

import pytest

RUN = """
import json, sys
from typer.testing import CliRunner
from critic_probe.cli import app
for arguments in json.load(sys.stdin):
    done = CliRunner().invoke(app, arguments)
    slow = [name for name in ("torch", "transformers", "pandas", "scipy", "pyarrow") if name in sys.modules]
    print(json.dumps([done.exit_code, done.stderr, slow]))
"""
CRITIC = ["-c", "no/such/critic"]
READ_OUT = ["-c", "bundled:last", "-a", "avg"]
FILE = ["-c", "bundled:last", "-o", "no/such/folder/x.json"]
SUFFIX = ["-c", "bundled:last", "-o", "x.xlsx"]
TOLD = {
    "no/such/critic": "no/such/critic: no such checkpoint directory",
    "no/such/run": "no/such/run: no such directory",
    "avg": "'avg' is not a known aggregation",
    "no/such/folder/x.json": "no/such/folder/x.json: its directory does not exist",
    "no/such/folder/x.html": "no/such/folder/x.html: its directory does not exist",
    "x.xlsx": "x.xlsx: cannot tell the format",
    "http://127.0.0.1:9": "http://127.0.0.1:9/version: cannot be reached",
    "x.gif": "x.gif: cannot make a picture of '.gif'",
    "a-file": "a-file: is a file; name a directory",
    "a-file/run": "a-file: is a file; name a directory",
    "a-run": "a-run: holds an earlier warm-up; use --resume to go on, or give another directory",
    "no-run": "no-run: no whole checkpoint to resume",
    "another-run": "another-run: --resume goes on with what the run began with, but",
}
ALL = (CRITIC, READ_OUT, FILE, SUFFIX)
COMMANDS = {
    ("compare",): ALL,
    ("score",): ALL,
    ("perturb", "--punct"): ALL,
    ("completeness",): ALL,
    ("tokens",): (CRITIC, FILE, SUFFIX),
    ("audit",): (CRITIC, FILE, SUFFIX),
    ("trace", "--id", "case-1-comma"): (*ALL, ["--export", "x.gif"]),
    ("diff", "bundled:last", "bundled:mean"): (READ_OUT[2:], FILE[2:], SUFFIX[2:]),
    ("diff", "bundled:last", "no/such/critic"): ([],),
    ("track", "no/such/run"): ([],),
    ("track", "a-run"): (READ_OUT[2:], FILE[2:], SUFFIX[2:], ["-o", "no/such/folder/x.html"]),
    ("check",): (CRITIC, READ_OUT, ["--junit", "no/such/folder/x.json"]),
    ("report",): (CRITIC, READ_OUT, ["-o", "no/such/folder/x.html"]),
    ("doctor",): (*ALL, ["-c", "bundled:last", "--endpoint", "http://127.0.0.1:9"]),
    ("doctor", "no/such/critic"): ([],),
    ("inspect",): (CRITIC,),
    ("inspect", "no/such/critic"): ([],),
    ("warmup", "pairs.jsonl", "--backbone", "tiny"): (
        ["-o", "a-file"],
        ["-o", "a-file/run"],
        ["-o", "a-run"],
        ["--resume", "-o", "no-run"],
        ["--steps", "5", "--resume", "-o", "another-run"],
    ),
}


CASES = [[*command, *wrong] for command, cases in COMMANDS.items() for wrong in cases]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """By command line: exit code, stderr, and what slow packages are loaded by then; all in one fresh process."""
    folder = tmp_path_factory.mktemp("nothing")
    (folder / "a-file").write_text("")
    (folder / "pairs.jsonl").write_text('{"prompt": "2+2?", "student": "5", "teacher": "4"}\n')
    for name, file in (
        ("a-run", "model.safetensors"),
        ("another-run", "warmup.json"),
        ("another-run/checkpoint-1", "trainer_state.json"),
    ):
        (folder / name).mkdir()
        (folder / name / file).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(CASES),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(map(tuple, CASES), map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_a_wrong_critic_read_out_or_file_is_told_before_torch_is_loaded(arguments, told):
    code, message, slow = told[tuple(arguments)]
    assert TOLD[arguments[-1]] in message
    assert (code, slow) == (2, [])
