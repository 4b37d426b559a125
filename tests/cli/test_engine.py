"""The engine as users meet it: kept values, killed runs, prices, Ctrl-C."""

import contextlib
import fcntl
import json
import os
import random
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.scoring.cache import cache_path


def write_pairs(path: Path, n: int, seed: int = 0) -> Path:
    draw = random.Random(seed)
    words = ["red", "green", "blue", "12.5", "seven,", "done."]

    def text() -> str:
        return " ".join(draw.choices(words, k=draw.randint(4, 30)))

    rows = ({"id": f"r{i}", "prompt": text(), "student": text(), "teacher": text()} for i in range(n))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def values_kept() -> int:
    return json.loads(run("cache", "info", "--json"))["responses"]


def test_values_are_computed_once_for_all_commands(critic_dir, tmp_path):
    pairs = write_pairs(tmp_path / "p.jsonl", 30)
    options = ("-c", critic_dir, "--device", "cpu", "--json")
    assert values_kept() == 0
    first = run("compare", pairs, *options)
    assert values_kept() == 60
    assert run("compare", pairs, *options) == first
    run("trace", pairs, "--id", "r3", *options)
    assert values_kept() == 60
    run("perturb", "--punct", pairs, *options)
    edits = json.loads(run("perturb", "--punct", pairs, *options))["cases"]
    assert values_kept() > 60 + len(edits) / 2 * 0.5
    run("cache", "clear")
    assert values_kept() == 0
    without = json.loads(run("compare", pairs, *options, "--no-cache"))
    assert values_kept() == 0
    assert without["summary"][0]["d_acc"] == json.loads(first)["summary"][0]["d_acc"]


def test_the_three_engines_agree(critic_dir, tmp_path):
    pairs = write_pairs(tmp_path / "p.jsonl", 20)
    found = {
        name: json.loads(run("compare", pairs, "-c", critic_dir, "--device", "cpu", "--json", "--engine", name))
        for name in ("auto", "tree", "reference")
    }
    assert [found[name]["signature"]["critics"][0]["engine"] for name in found] == ["tree", "tree", "reference"]
    floors = found["auto"]["signature"]["critics"][0]["noise_floor"]
    assert 0 < floors["last"] < 1e-4
    for a, b in zip(found["tree"]["pairs"], found["reference"]["pairs"], strict=True):
        assert a["student_score"] == pytest.approx(b["student_score"], abs=2e-5)
        assert a["verdict"] == b["verdict"]


def start(pairs: Path, critic: Path, out: Path, cache: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "critic_probe", "compare", pairs, "-c", critic, "--device", "cpu", "-o", out]
    here = os.environ | {"CRITIC_PROBE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        list(map(str, command)), env=here, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


# Gets a signal in the midst of scoring: at the next forward pass once so many values are kept.
INTERRUPTED = """
import os, sqlite3, sys
from pathlib import Path
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

cache, kept, number = Path(sys.argv.pop(1)), int(sys.argv.pop(1)), int(sys.argv.pop(1))

def interrupt(module, *_):
    if isinstance(module, nn.Embedding) and cache.exists():
        with sqlite3.connect(cache) as db:
            if db.execute('SELECT COUNT(*) FROM "values"').fetchone()[0] >= kept:
                os.kill(os.getpid(), number)

register_module_forward_hook(interrupt)
from critic_probe.cli import main
main()
"""


def interrupted(
    number: int, kept: int, pairs: Path, critic: Path, out: Path, cache: Path
) -> subprocess.CompletedProcess:
    words = [cache, kept, int(number), "compare", pairs, "-c", critic, "--device", "cpu", "-o", out]
    here = os.environ | {"CRITIC_PROBE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", INTERRUPTED, *map(str, words)]
    return subprocess.run(command, env=here, capture_output=True, text=True)


def finish(process: subprocess.Popen) -> int:
    process.communicate()
    return process.returncode


@pytest.fixture(scope="module")
def slow_critic(make_critic) -> Path:
    return make_critic(hidden_size=128, intermediate_size=512, num_hidden_layers=4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_how_far_it_came_and_how_to_go_on(slow_critic, tmp_path, number):
    """A scheduler's signal does what Ctrl-C does."""
    pairs = write_pairs(tmp_path / "p.jsonl", 1200)
    running = interrupted(number, 100, pairs, slow_critic, tmp_path / "out.json", tmp_path / "c.sqlite")
    assert (running.returncode, running.stdout) == (130, "")
    told = running.stderr.splitlines()
    assert told[0].endswith("pairs")  # the price of a long run
    assert "of 1200); what was scored is kept, run the same command again to go on" in told[-1]


def test_a_terminal_sees_tokens_per_second_and_what_the_tree_saves(slow_critic, tmp_path):
    pairs = write_pairs(tmp_path / "p.jsonl", 120)
    reader, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    command = [
        sys.executable,
        "-m",
        "critic_probe",
        "compare",
        pairs,
        "-c",
        slow_critic,
        "--no-cache",
        "--device",
        "cpu",
    ]
    here = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
    running = subprocess.Popen(list(map(str, command)), env=here, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # how a pseudo-terminal ends
        while part := os.read(reader, 65536):
            shown += part
    os.close(reader)
    assert running.wait() == 0
    told = re.findall(r"([\d,]+) tokens/s, (\d+)% saved", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()))
    assert told
    assert int(told[-1][0].replace(",", "")) > 0
    assert 0 < int(told[-1][1]) < 100  # two sides of a pair share their prompt


def test_two_processes_share_a_cache(slow_critic, tmp_path):
    pairs = write_pairs(tmp_path / "p.jsonl", 60)
    both = [start(pairs, slow_critic, tmp_path / f"{i}.json", tmp_path / "c.sqlite") for i in range(2)]
    assert [finish(process) for process in both] == [0, 0]
    a, b = (json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2))
    assert a["summary"][0]["d_acc"] == b["summary"][0]["d_acc"]


@pytest.mark.parametrize("damage", ["header", "schema", "empty", "other"])
def test_a_damaged_cache_is_set_aside_and_rebuilt(critic_dir, tmp_path, damage):
    pairs = write_pairs(tmp_path / "p.jsonl", 20)
    options = (pairs, "-c", critic_dir, "--device", "cpu", "--json")
    first = json.loads(run("compare", *options))
    path = cache_path()
    if damage == "header":
        path.write_bytes(b"not a database at all" + path.read_bytes()[21:])
    elif damage == "schema":  # SQLite quotes it in its error, and it is no text
        path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CR\xa0ATE TABLE"))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        path.write_text("a text file")
        for log in path.parent.glob("*-wal"):  # else SQLite rebuilds the file from it
            log.unlink()
    again = json.loads(run("compare", *options))
    assert again["pairs"] == first["pairs"]
    told = [w["message"] for w in again["warnings"] if w["code"] == "cache"]
    if damage != "empty":  # an empty file is an empty database
        assert "the cache was damaged" in told[0]
        assert list(path.parent.glob("*.damaged-*"))
    assert values_kept() == 40


def of_another_program(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text TEXT)")


UNUSABLE = {
    "a directory": (Path.mkdir, "unable to open"),
    "in a file": (lambda path: path.parent.write_text(""), "File exists|Not a directory"),
    "another program's": (of_another_program, "another program's database"),
    "on a full disk": (lambda path: path.symlink_to("/dev/full"), "disk"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_cache_that_cannot_be_used_is_done_without(critic_dir, tmp_path, monkeypatch, name):
    spoil, reason = UNUSABLE[name]
    path = tmp_path / "here" / "values.sqlite"
    if name != "in a file":
        path.parent.mkdir()
    spoil(path)
    pairs = write_pairs(tmp_path / "p.jsonl", 4)
    options = (pairs, "-c", critic_dir, "--device", "cpu", "--json")
    monkeypatch.setenv("CRITIC_PROBE_CACHE", str(path))
    found = json.loads(run("compare", *options))
    [told] = [w["message"] for w in found["warnings"] if w["code"] == "cache"]
    assert re.search(f"cannot be used .*({reason}).* kept for this run alone", told)
    assert found["pairs"] == json.loads(run("compare", *options, "--no-cache"))["pairs"]
    if name == "another program's":
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert [row[0] for row in db.execute("SELECT name FROM sqlite_master")] == ["notes"]


def test_a_dry_run_tells_the_price_and_scores_nothing(critic_dir, tmp_path):
    pairs = write_pairs(tmp_path / "p.jsonl", 12)
    options = (pairs, "-c", critic_dir, "--device", "cpu", "--dry-run")
    [price] = json.loads(run("perturb", "--punct", *options, "--json"))["price"]
    assert price["pairs"] == 12
    assert price["responses"] > 24
    assert 0 < price["tokens_after_sharing"] < price["tokens"]
    assert price["seconds"] == pytest.approx(price["tokens_after_sharing"] / price["tokens_per_second"])
    told = run("compare", *options)
    assert "after sharing" in told
    number = r"[\d,]+"
    parts = ", ".join(f"{part} {number}" for part in ("program", "weights", "largest batch", "tables"))
    assert re.search(f"; up to {number} MB of memory: {parts}$", told)
    assert values_kept() == 0


def test_half_precision_reports_what_rounding_does(critic_dir, tmp_path):
    pairs = write_pairs(tmp_path / "p.jsonl", 20)
    found = json.loads(run("compare", pairs, "-c", critic_dir, "--device", "cpu", "--dtype", "bfloat16", "--json"))
    [told] = [w["message"] for w in found["warnings"] if w["code"] == "half-precision"]
    assert "bfloat16 moves the scores of 32 responses against float32 by last" in told
    assert found["signature"]["critics"][0]["noise_floor"]["last"] > 1e-3
