"""Pages that users type from: what docs/what-to-type.md says works, and docs/glossary.md explains the tables' words."""

import ast
import json
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import torch
from formats import FORMATS, UNBIASED
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.report import terminal
from critic_probe.report.terminal.glossary import PAGE, WORDS, explained

ROOT = Path(__file__).parents[1]
SECTIONS = dict(
    re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs/what-to-type.md").read_text("utf-8"), re.S | re.M)
)
ROWS = [
    {"id": f"p{i}", "prompt": f"What is {i} + 1?", "rejected": f"It is {i + 2}, so.", "chosen": f"It is {i + 1}."}
    for i in range(6)
]


def trl(make_critic, target, monkeypatch):
    """A sequence classifier with the trainer's arguments and card beside it, as RewardTrainer leaves them."""
    for name in ("trl", "trl.trainer", "trl.trainer.reward_config"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    arguments = type("RewardConfig", (), {"__module__": "trl.trainer.reward_config"})
    sys.modules["trl.trainer.reward_config"].RewardConfig = arguments
    make_critic(task="sequence", eos_token_id=256).rename(target)
    torch.save(arguments(), target / "training_args.bin")
    (target / "README.md").write_text("### Framework versions\n\n- TRL: 1.16.0\n")


MADE = {
    "TRL": (trl, "OUT", "trl"),
    "verl": (lambda make, target, _: FORMATS["verl one rank"](make(eos_token_id=256), target), "RUN", "gad"),
    "OpenRLHF": (lambda make, target, _: UNBIASED["OpenRLHF"](make(eos_token_id=256), target), "OUT", "openrlhf"),
    "LLaMA-Factory": (
        lambda make, target, _: FORMATS["LLaMA-Factory"](make(eos_token_id=256), target),
        "OUT",
        "llamafactory",
    ),
}


@pytest.mark.parametrize("framework", MADE)
def test_what_the_page_says_to_type_works_on_what_a_framework_writes(framework, make_critic, tmp_path, monkeypatch):
    make, name, convention = MADE[framework]
    monkeypatch.chdir(tmp_path)
    make(make_critic, tmp_path / name, monkeypatch)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", SECTIONS[framework], re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 3
    for line in lines:
        done = CliRunner().invoke(app, [*shlex.split(line)[1:], "--device", "cpu"], catch_exceptions=False)
        # a tiny random critic may well fail a check of its scores
        assert done.exit_code in ((0, 1) if " doctor " in line else (0,)), (line, done.output)
        if " doctor " not in line:
            asked = re.search(r"--as (\S+)", line)
            assert f"read as {asked[1] if asked else convention} (" in " ".join(done.stdout.split())


def test_every_framework_has_its_answer():
    assert set(SECTIONS) == {*MADE, "Then"}
    assert "(docs/what-to-type.md)" in (ROOT / "README.md").read_text("utf-8")


def test_the_glossary_explains_every_word_that_it_is_named_for():
    page = (ROOT / PAGE).read_text("utf-8").replace("\\|", "|").replace("|d| < 0.1", "|d| <0.1")
    assert not [word for word in WORDS if word not in page]


def headers():
    """What stands above the columns of the terminal's tables, as the source has it."""
    for file in sorted(Path(terminal.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("table_of", "Column"):
                yield from (text for argument in node.args for text in texts(argument))
            elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "cells_of_row":
                yield from texts(node.slice)


def texts(node):
    """The strings in a piece of source, those of keywords left out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.keyword):
            yield from texts(child)


def test_every_word_that_a_table_abbreviates_is_in_the_glossary():
    """Plain English needs no page; nor do columns that are named by a file or a figure of their result."""
    plain = {"", "n", "S", "T", "p", "mean", "count", "reason", "student", "teacher", "side", "original", "edited"}
    plain |= {"tokens", "shows", "teacher\nlonger", "teacher\nshorter", "too short\nor constant", "max\n/SD"}
    plain |= {"n = ", "score", "median", "min", "max", "5 %", "95 %"}
    plain |= {"first", "last", "steps", "checkpoint", "responses", "apart", "value", "bound", "logged", "over the run"}
    above = set(headers())
    assert {"d_acc", "more\nprompts", "p95\n/SD", "lag 1"} <= above
    assert not [header for header in above - plain if not explained([header])]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (["d_acc", "ties/n", "mean\ngap", "gap\n/SD"], ["d_acc", "ties", "gap", "gap/SD"]),
        (["soft\nd_acc", "over-\nlap", "satu-\nrated"], ["soft d_acc", "overlap", "saturated"]),
        (["n", "reason"], []),
    ],
)
def test_words_are_found_in_headers(headers, words):
    assert explained(headers) == words
