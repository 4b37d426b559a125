"""However much is measured, a critic is loaded once, and the file is gone through at most three times."""

import json
from collections import Counter

import pytest
import torch
from typer.testing import CliRunner

from critic_probe.aggregation import parse
from critic_probe.checkpoint import critic as loading
from critic_probe.checkpoint import load_critic
from critic_probe.cli import app
from critic_probe.measures.compare import Compare
from critic_probe.pairs import Pair, files
from critic_probe.scoring.cache import cache_path
from critic_probe.workbench import Settings, benches, run

GATES = """
[[gates]]
metric = "compare.d_acc"
min = 0
[[gates]]
metric = "tokens.d_acc"
min = 0
[[gates]]
metric = "completeness.right_order"
min = 0
[[gates]]
metric = "perturb.median_abs_delta_over_sd"
max = 100
[[gates]]
metric = "doctor.fails"
max = 100
at = "value"
"""


@pytest.fixture(scope="module")
def two(make_critic):
    return str(make_critic(seed=1)), str(make_critic(seed=2))


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """`counted(*arguments)` runs a command; the loads by directory, and how often the file was gone through."""
    rows = [
        {"id": f"p{i}", "prompt": f"What is {i} + 1?", "student": f"It is {i + 2}, so.", "teacher": f"It is {i + 1}."}
        for i in range(6)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "gates.toml").write_text(GATES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    loads, passes = Counter(), []
    read, entries = loading._load_backbone, files.RowFile.entries

    def load(layout, *arguments, **options):
        loads[str(layout.path)] += 1
        return read(layout, *arguments, **options)

    def through(self):
        passes.append(self.name)
        yield from entries(self)

    monkeypatch.setattr(loading, "_load_backbone", load)
    monkeypatch.setattr(files.RowFile, "entries", through)

    def run(*arguments):
        loads.clear()
        passes.clear()
        result = CliRunner().invoke(app, [*arguments, "--device", "cpu"], catch_exceptions=False)
        assert result.exit_code in (0, 1), result.output
        assert set(passes) == {"pairs.jsonl"}
        return dict(loads), len(passes)

    return run


ONE = {
    "compare": ["compare", "pairs.jsonl"],
    "perturb": ["perturb", "pairs.jsonl", "--all", "--max-per-response", "1"],
    "completeness": ["completeness", "pairs.jsonl"],
    "tokens": ["tokens", "pairs.jsonl"],
    "audit": ["audit", "pairs.jsonl"],
    "doctor": ["doctor", "pairs.jsonl"],
    "check": ["check", "pairs.jsonl", "--gates", "gates.toml", "--on-unclear", "pass"],
    "report": ["report", "pairs.jsonl", "--gates", "gates.toml", "-o", "page.html"],
    "report --no-cache": ["report", "pairs.jsonl", "-o", "page.html", "--no-cache"],
}


@pytest.mark.parametrize("command", ONE)
def test_one_load_and_three_passes(counted, two, command):
    loads, passes = counted(*ONE[command], "-c", two[0])
    assert loads == {two[0]: 1}
    assert passes <= 3


def test_each_of_two_critics_is_loaded_once(counted, two):
    both = [word for path in two for word in ("-c", path)]
    for command in (["diff", *two, "pairs.jsonl"], ["report", "pairs.jsonl", "-o", "page.html", *both]):
        loads, passes = counted(*command)
        assert loads == dict.fromkeys(two, 1)
        assert passes <= 5  # one that checks the file, and two a critic


def test_what_a_released_critic_computed_is_given_again(two):
    pairs = [Pair("a", "What is 1 + 1?", "It is 3, so.", "It is 2."), Pair("b", "What is 2 + 1?", "3", "It is 3.")]
    settings = Settings((parse("last"),), cache=cache_path())
    critics = [load_critic(path, name=path, device="cpu") for path in two]
    with benches(critics, pairs, settings) as made:
        done = run(made, [Compare()])
        for critic, bench in zip(critics, done.benches, strict=True):
            assert bench.released
            for pair in bench.encoded(pairs):
                for side, values in zip(pair.group.responses, bench.again(pair.group), strict=True):
                    expected = critic.values(pair.prompt_ids + side)[len(pair.prompt_ids) :]
                    torch.testing.assert_close(values, expected, rtol=0, atol=2e-5)
