"""The benchmark at a small size: it compares every way's values and counts distinct prefixes before it takes a time."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_small_run_agrees_and_computes_each_prefix_once(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--scale", "0.05", "--only", "tiny"]
    done = subprocess.run([*command, "--json", tmp_path / "b.json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for rows in json.loads((tmp_path / "b.json").read_text())["backbones"].values():
        assert set(rows) == {"W1", "W2", "W3"}
        assert all(0 < row["computed"] < row["tokens"] for row in rows.values())
        assert rows["W2"]["computed"] < 0.5 * rows["W2"]["tokens"]
