"""The benchmark at a small size: it compares every way's values and counts distinct prefixes before it takes a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binomtest

from benchmarks.gpu.__main__ import table

ROOT = Path(__file__).parents[1]


def test_a_small_run_agrees_and_computes_each_prefix_once(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--scale", "0.05", "--only", "tiny"]
    done = subprocess.run([*command, "--json", tmp_path / "b.json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for rows in json.loads((tmp_path / "b.json").read_text())["backbones"].values():
        assert set(rows) == {"W1", "W2", "W3"}
        assert all(0 < row["computed"] < row["tokens"] for row in rows.values())
        assert rows["W2"]["computed"] < 0.5 * rows["W2"]["tokens"]


def test_heads_that_learnt_nothing_are_seldom_called_above_chance():
    """The committed figures, as `--show` prints them; half of the heads would pass an interval over all controls."""
    command = [sys.executable, "-m", "benchmarks.untrained_heads", "--show"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line]
    untrained = [line for line in lines if line[0].startswith("untrained ") or line[0] == "SmolLM2"]
    assert {line[0] for line in untrained} == {"untrained Llama", "untrained Qwen3", "SmolLM2"}
    for _, _, heads, by_interval, above in untrained:
        assert int(heads) >= 100
        assert float(by_interval.rstrip("%")) > 10
        assert float(above.rstrip("%")) <= 5
    trained = [line for line in lines if line[0].startswith("bundled:") and len(line) == 6]
    assert len(trained) == 4
    assert {line[-1] for line in trained} == {"above chance"}


def test_what_is_said_of_the_strongest_edit_is_seldom_wrong():
    """The committed run of `benchmarks.headline`, which the docs print: critics that no harmless edit moves."""
    shown = (ROOT / "benchmarks" / "headline.txt").read_text(encoding="utf-8")
    assert shown.strip() in (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if "|" in line][2:]
    still = [line for line in lines if line[0] in ("none: all 0.02", "all 0.2")]
    assert len(still) == 12
    runs = int(shown.split()[0])
    for _, _, _, _, fitted, _ in still:
        assert binomtest(round(float(fitted) * runs), runs, 0.05, alternative="greater").pvalue > 0.01
    assert max(float(line[3]) for line in still) > 0.05  # read where it was chosen


@pytest.mark.parametrize("script", ["growth", "load_memory", "memory", "scores"])
def test_the_memory_in_the_docs_is_what_was_measured(script):
    command = [sys.executable, f"benchmarks/{script}.py", "--show", f"benchmarks/{script}.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") > 4
    assert done.stdout in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_the_docs_show_what_a_gpu_gave(capsys):
    table(json.loads((ROOT / "benchmarks" / "gpu" / "h200.json").read_text(encoding="utf-8"))["parts"])
    shown = capsys.readouterr().out
    assert "WRONG" not in shown
    assert shown in (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_growth_measures_what_it_shows(tmp_path):
    command = [sys.executable, "benchmarks/growth.py", "2", "--json", str(tmp_path / "g.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    [row] = json.loads((tmp_path / "g.json").read_text())
    assert row["pairs"] == 2
    assert f"| 2 | {row['peak_mb']:,.0f} | {row['cpu_ms']:.3g} |" in done.stdout


@pytest.mark.long
def test_memory_is_held_against_what_a_dry_run_says(tmp_path):
    command = [sys.executable, "benchmarks/memory.py", "a pair", "--json", str(tmp_path / "m.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    [row] = json.loads((tmp_path / "m.json").read_text())
    assert 0.7 < row["peak_mb"] / row["foreseen_mb"] < 1
    assert f"| {row['peak_mb']:,.0f} | {row['foreseen_mb']:,.0f} |" in done.stdout
