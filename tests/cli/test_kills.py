"""Runs that are killed at any moment and started again, until one ends: the bytes of a run that nothing disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

COMMANDS = {
    "compare": ("compare", "json"),
    "perturb": ("perturb", "--punct", "json"),
    "score": ("score", "jsonl"),
}
ROWS = [
    {"id": f"r{i}", "prompt": f"What is {i} + {i}?", "student": f"It is {2 * i}, so.", "teacher": f"{2 * i}."}
    for i in range(150)
]


def started(command, pairs, critic, out, cache):
    words = [sys.executable, "-m", "critic_probe", *command, pairs, "-c", critic, "--device", "cpu", "-o", out]
    here = os.environ | {"CRITIC_PROBE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*map(str, words)], env=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.kills
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("seed", range(20))
def test_a_run_that_is_killed_at_any_moment_ends_as_any_other(make_critic, tmp_path, name, seed):
    *command, suffix = COMMANDS[name]
    critic = make_critic(hidden_size=64, intermediate_size=256, num_hidden_layers=4)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    begun = time.monotonic()
    whole = started(command, pairs, critic, tmp_path / f"whole.{suffix}", tmp_path / "a.sqlite")
    assert whole.wait() == 0
    took = time.monotonic() - begun
    out, rng = tmp_path / f"killed.{suffix}", random.Random(seed)
    for _ in range(3):
        running = started(command, pairs, critic, out, tmp_path / "b.sqlite")
        try:
            running.wait(rng.uniform(0.2, 1.0) * took)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
        assert not out.exists() or out.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert started(command, pairs, critic, out, tmp_path / "b.sqlite").wait() == 0
    assert out.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []
