"""The study of training, on a backbone of two random layers."""

import json
import sys
from collections import Counter

import pytest
import torch
from tiny import save_critic

from critic_probe.studies import findings
from critic_probe.studies.findings import Backbone, Run, asked_pairs, measure, runs, train
from critic_probe.studies.synthetic import is_held_out
from critic_probe.studies.synthetic_pairs import training_pairs
from critic_probe.training.options import Options


def test_what_is_done_at_any_time_is_balanced():
    order = runs(["a", "b"])
    assert len(order) == len(set(order)) == 42
    assert [run.seed for run in order] == sorted(run.seed for run in order)
    for a, b in zip(order[::2], order[1::2], strict=True):
        assert a == b._replace(backbone="a")


@pytest.mark.parametrize("in_full", [False, True])
def test_each_question_has_pairs_of_its_own_in_the_form_that_was_trained(in_full):
    pairs = asked_pairs(["zh"], in_full=in_full)
    counts = Counter(pair.category for pair in pairs)
    assert counts.pop("case-1-comma") == counts.pop("case-2-complete") == counts.pop("case-3-json") == 1
    assert set(counts.values()) == {findings.PROMPTS}
    assert all(is_held_out(str(pair.prompt)) for pair in pairs)
    of = {name: [pair for pair in pairs if pair.category == name] for name in counts}
    assert all(pair.teacher.endswith("。") and pair.student == pair.teacher[:-1] + "，" for pair in of["case 1"])
    assert all(("一共" in pair.teacher) == in_full for pair in of["case 1"])
    assert all("一共" in pair.student and "一共" not in pair.teacher for pair in of["case 2"])  # whatever was trained
    assert all("\n" in pair.student and "\n" not in pair.teacher for pair in of["case 3"])
    for name in ("wrong first number", "wrong last number"):
        assert all(len(pair.student) == len(pair.teacher) and pair.student != pair.teacher for pair in of[name])


def test_complete_teachers_have_the_defects_of_terse_ones():
    terse, full = training_pairs(0, 300), training_pairs(0, 300, in_full=True)
    assert [pair.prompt for pair in terse[:90]] == [pair.prompt for pair in full[:90]]
    texts = [pair for pair in full if not pair.teacher.startswith("{")]
    assert all(pair.teacher.endswith(("项。", "样。", " in all.")) for pair in texts)
    assert {pair.student[-1] for pair in texts} > {"。", "，", ".", ","}
    assert any(pair.student == short.teacher for pair in texts for short in terse if pair.prompt == short.prompt)


def test_a_run_is_trained_and_measured_once(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    monkeypatch.setitem(
        findings.BACKBONES, "tiny", Backbone(("en",), Options(steps=3, batch_size=4, head_learning_rate=1e-3))
    )
    save_critic(tmp_path / "tiny-base", task="causal", max_position_embeddings=2048)
    run = Run("tiny", "complete", "mean", 0)
    train(run, tmp_path)
    weights = (tmp_path / run.name / "model.safetensors").read_bytes()
    train(run, tmp_path)
    assert (tmp_path / run.name / "model.safetensors").read_bytes() == weights
    out = tmp_path / "runs.jsonl"
    arguments = ["findings", "--work", str(tmp_path), "-o", str(out), "--backbone", "tiny", "--only", "measure"]
    monkeypatch.setattr(sys, "argv", arguments)
    for _ in range(2):
        findings.main()
    torch.use_deterministic_algorithms(False)
    [line] = out.read_text().splitlines()
    row = json.loads(line)
    assert Run(*(row[field] for field in Run._fields)) == run
    named = {(figure["read"], figure["name"]): figure for figure in row["figures"]}
    assert {read for read, _ in named} == {"last", "mean"}
    for name in ("d_acc", "gap", "case 1: gap", "case 2: gap", "case 3: gap", "closing mark: median |delta|"):
        assert named["mean", name]["n"] >= 20
    gap = named["last", "gap"]
    assert gap["value"] / gap["over_sd"] == pytest.approx(
        named["last", "case 1: gap"]["value"] / named["last", "case 1: gap"]["over_sd"]
    )
    assert json.dumps(measure(run, tmp_path)) == line
