"""The benchmark at a small size: it compares every way's values and counts distinct prefixes before it takes a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_a_small_run_agrees_and_computes_each_prefix_once(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--scale", "0.05", "--only", "tiny"]
    done = subprocess.run([*command, "--json", tmp_path / "b.json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for rows in json.loads((tmp_path / "b.json").read_text())["backbones"].values():
        assert set(rows) == {"W1", "W2", "W3"}
        assert all(0 < row["computed"] < row["tokens"] for row in rows.values())
        assert rows["W2"]["computed"] < 0.5 * rows["W2"]["tokens"]


@pytest.mark.parametrize("script", ["growth", "load_memory"])
def test_the_memory_in_the_docs_is_what_was_measured(script):
    command = [sys.executable, f"benchmarks/{script}.py", "--show", f"benchmarks/{script}.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") > 4
    assert done.stdout in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_growth_measures_what_it_shows(tmp_path):
    command = [sys.executable, "benchmarks/growth.py", "2", "--json", str(tmp_path / "g.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    [row] = json.loads((tmp_path / "g.json").read_text())
    assert row["pairs"] == 2
    assert f"| 2 | {row['peak_mb']:,.0f} | {row['cpu_ms']:.3g} |" in done.stdout
