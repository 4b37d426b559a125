"""What the comparisons score, and which of them this environment can make."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
import transformers

PROMPT = [257, 117, 115, 101, 114, 198, 72, 105, 258]
RESPONSES = [[104, 101, 108, 108, 111, 46, 258], [104, 105, 258], [89, 101, 115, 44, 32, 105, 116, 32, 105, 115]]


def stack(**wanted: str) -> None:
    """Skips a comparison whose framework is not in this environment, and says which one has it."""
    for package, wants in wanted.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "none"
        if not found.startswith(wants):
            pytest.skip(f"needs {package} {wants} (found {found}); tests/parity/run makes both environments")


TEXTS = [
    {"id": "short", "prompt": "1 + 1?", "student": "It is 2,", "teacher": "It is 2."},
    {"id": "long", "prompt": "Name two fruits.", "student": "Apples", "teacher": "Apples and pears, in that order."},
]
"""Pairs as users write them."""


def by_cli(path: Path, *options: str) -> torch.Tensor:
    """Student and teacher scores of `TEXTS` by read-out, as `critic-probe compare --json` prints them: text in."""
    rows = "".join(json.dumps(row) + "\n" for row in TEXTS)
    command = [sys.executable, "-m", "critic_probe", "compare", "-", "-c", str(path), "--json", "--no-cache", *options]
    hermetic = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, input=rows, capture_output=True, text=True, env=hermetic)
    assert done.returncode == 0, done.stderr
    pairs = json.loads(done.stdout)["pairs"]
    found = sorted(pairs, key=lambda row: (row["aggregation"], [t["id"] for t in TEXTS].index(row["id"])))
    return torch.tensor([[row["student_score"], row["teacher_score"]] for row in found])


def encoded(home: Path) -> list[tuple[list[int], list[int]]]:
    """Prompt and response ids of `TEXTS` by transformers' own tokenizer, in the order of `by_cli`'s scores.

    Args:
        home: The tokenizer's directory.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(home)
    found = []
    for row in TEXTS:
        chat = [{"role": "user", "content": row["prompt"]}]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        for side in ("student", "teacher"):
            found.append((ids, tokenizer(row[side], add_special_tokens=False)["input_ids"]))
    return found


def conversations(home: Path) -> list[list[int]]:
    """The ids of whole conversations of `TEXTS` by transformers' own template, in the order of `by_cli`'s scores."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(home)
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row[side]}],
            tokenize=True,
            return_dict=False,
        )
        for row in TEXTS
        for side in ("student", "teacher")
    ]


def last_and_mean(values: Callable[[Sequence[int]], torch.Tensor], home: Path, *, before: bool = False) -> torch.Tensor:
    """What `by_cli(path, "-a", "last", "-a", "mean")` must print, from a framework's values (T,) of a sequence."""
    read = []
    for prompt, response in encoded(home):
        start = len(prompt) - before
        read.append(values(prompt + response)[start : start + len(response)])
    return torch.stack([v[-1] for v in read] + [v.mean() for v in read])
