"""A critic split over two processes of torchrun: the values of one process, written once."""

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from tiny import save_critic
from typer.testing import CliRunner

from critic_probe.cli import app

ROWS = [
    {
        "id": f"p{i}",
        "prompt": f"What is {i} and {i}?",
        "student": f"{2 * i}" + "!" * (i % 3),
        "teacher": f"It is {2 * i}.",
    }
    for i in range(8)
]
LIMIT = 300  # seconds
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "critic_probe"]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), encoding="utf-8")
    return file


def split(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TORCHRUN, *words, "--engine", "torchrun"], capture_output=True, text=True, timeout=LIMIT)


@pytest.mark.cluster
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_two_processes_give_the_values_of_one_and_write_them_once(family, pairs, tmp_path):
    critic = save_critic(tmp_path / family, family)
    words = ["score", str(pairs), "-c", str(critic), "--values", "-o"]
    done = split(*words, str(tmp_path / "there.jsonl"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("16 responses to 8 prompts are scored") == 1
    CliRunner().invoke(app, [*words, str(tmp_path / "here.jsonl"), "--no-cache"])
    here, there = (pd.read_json(tmp_path / f"{name}.jsonl", lines=True) for name in ("here", "there"))
    assert len(there) == 2 * len(ROWS)
    for score in ("last_score", "mean_score"):
        assert there[score].tolist() == pytest.approx(here[score].tolist(), abs=5e-6)
    values = [list(chain.from_iterable(rows["values"])) for rows in (there, here)]
    assert values[0] == pytest.approx(values[1], abs=5e-6)


@pytest.mark.cluster
def test_critics_follow_one_another_and_are_loaded_again_in_float32(pairs, tmp_path):
    critics = [str(save_critic(tmp_path / f"critic-{seed}", "llama", seed=seed)) for seed in (0, 1)]
    words = ["compare", str(pairs), "-c", critics[0], "-c", critics[1], "--dtype", "bfloat16", "--json"]
    done = split(*words)
    assert done.returncode == 0, done.stderr
    here = json.loads(CliRunner().invoke(app, [*words, "--no-cache"]).stdout)
    there = json.loads(done.stdout)
    for ours, theirs in zip(here["signature"]["critics"], there["signature"]["critics"], strict=True):
        assert theirs["attention"] == "sdpa, in 2 processes"
        floors = zip(ours["noise_floor"].values(), theirs["noise_floor"].values(), strict=True)
        assert all(0.1 < a / b < 10 for a, b in floors)  # measured against float32


@pytest.mark.cluster
def test_heads_that_do_not_divide_are_told_of(pairs, tmp_path):
    critic = save_critic(tmp_path / "critic", "llama", num_key_value_heads=1)
    done = split("compare", str(pairs), "-c", str(critic))
    assert "1 num_key_value_heads do not divide among 2 processes" in done.stderr
    assert done.stderr.count("critic-probe: error") == 1


@pytest.mark.cluster
def test_an_architecture_without_a_plan_is_told_of(pairs, tmp_path):
    from tiny import byte_tokenizer
    from transformers import GPT2Config, GPT2ForTokenClassification

    config = GPT2Config(vocab_size=259, n_embd=16, n_layer=1, n_head=2, num_labels=1)
    GPT2ForTokenClassification(config).save_pretrained(tmp_path / "critic")
    byte_tokenizer().save_pretrained(tmp_path / "critic")
    done = split("compare", str(pairs), "-c", str(tmp_path / "critic"))
    assert "has no tensor-parallel plan for gpt2; use --device-map auto" in done.stderr


def test_one_process_is_no_torchrun(pairs):
    refused = CliRunner().invoke(app, ["compare", str(pairs), "--engine", "torchrun"])
    assert refused.exit_code == 2
    assert "--engine torchrun: this is no torchrun of several processes; start it as" in refused.stderr
