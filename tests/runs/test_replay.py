"""Replay names what was planted in a log, alone and in pairs, and nothing on sound logs."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks import replay as benchmark
from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.cli import app
from critic_probe.errors import CriticProbeError
from critic_probe.report.files import read_result
from critic_probe.runs.logged import chosen, rounding_of, told_of
from critic_probe.runs.record import Sample, Side
from critic_probe.runs.replay import left_over, replay
from critic_probe.stats.explain import explain
from critic_probe.studies.logged import DEFAULTS, scoring_log
from critic_probe.workbench import Settings

SETTINGS = Settings(aggregations=(parse("mean"),))


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return benchmark.llama_critic(tmp_path_factory.mktemp("critic") / "llama")


@pytest.fixture(scope="module")
def case(path) -> benchmark.Case:
    """A log's samples, the scorer that faults are planted in, and all that the critic gave; computed once."""
    return benchmark.Case("llama", path, "mean")


@pytest.mark.parametrize(
    "faults", [{}, {"bfloat16": ""}, {"bfloat16": "eager"}], ids=["float32", "bfloat16", "other kernels"]
)
def test_nothing_is_named_on_a_sound_log(faults, case):
    result = case.held(faults)
    assert result.agrees
    assert not result.named
    assert "The logged scores are the checkpoint's: 48 of 48" in result.answer()[0].text
    assert ("bfloat16 with 4 decimals" in result.answer()[0].text) == bool(faults)
    assert ("as bfloat16 computes here" in result.answer()[0].text) == (faults == {"bfloat16": ""})
    assert ("(bfloat16)" in result.answer()[0].text) == (faults == {"bfloat16": "eager"})


SINGLE = (
    "template-missing",
    "bos-doubled",
    "prompt-cut-start",
    "eos-in",
    "tail-sliced",
    "response-cut-end",
    "cut-start",
)
SINGLE += ("padding-attended", "token-before", "window-shifted", "prompt-read", "z-scored", "scaled")


@pytest.mark.parametrize("fault", SINGLE)
def test_a_planted_fault_is_named_alone_and_its_version(fault, case):
    value = benchmark.kinds(case)[fault]
    result = case.held({fault: value})
    assert benchmark.named(result) == [fault]
    assert not result.agrees
    [row] = result.factors[result.factors.named].to_dict("records")
    assert row["residual"] < row["residual_before"]
    assert row["agrees"] == row["moved"] > 0
    if "cut" in fault:
        assert row["version"] == f"to {value} tokens"
    assert result.cures


TOGETHER = [
    ({"think-added": "", "read-out": "last"}, {"think-added + read-out"}),
    ({"tail-sliced": "", "response-cut-end": "18"}, {"tail-sliced + response-cut-end"}),
    (  # prompts that are padded to one length are cut at one length of the response
        {"padding-attended": "longest", "cut-end": "125"},
        {"cut-end + padding-attended", "response-cut-end + padding-attended"},
    ),
]


@pytest.mark.parametrize(("faults", "names"), TOGETHER, ids=[" and ".join(faults) for faults, _ in TOGETHER])
def test_two_planted_faults_are_named_together(faults, names, case):
    few = ["think-added", "tail-sliced", "response-cut-end", "cut-end", "padding-attended", "read-out"]
    vars(case.replayed)["factors"] = few  # the benchmark has all of them
    result = case.held(faults)
    del vars(case.replayed)["factors"]
    assert set(benchmark.named(result)) == names


@pytest.mark.parametrize(("fault", "attention"), [("template-twice", ""), ("z-scored", ""), ("z-scored", "eager")])
def test_a_fault_is_named_in_a_half_type(fault, attention, case):
    """By the same kernels to the last digit; by others from how far half of the scores lie from the exact ones."""
    result = case.held({fault: "", "bfloat16": attention})
    assert benchmark.named(result) == [fault]
    [row] = result.factors[result.factors.named].to_dict("records")
    assert ("as bfloat16 computes here" in row["version"]) == (attention == "")


def test_a_factor_that_a_half_type_alone_would_show_is_not_named(case):
    """Positions that count padding move rotary scores by nothing but rounding."""
    observed = np.array(case.scorer.scores(case.rows, {"bfloat16": ""})).ravel()
    case.held({"bfloat16": ""})
    replayed = case._replayed["bfloat16"]
    [own, here, agreed] = replayed.levels
    shown = np.ones(len(observed), dtype=bool)
    prediction = replayed.hypothesis(("positions-shifted",), here, observed).predict(shown)
    assert np.isinf(prediction.seen).all()
    assert (own.floor, here.here) == (here.floor, True)
    assert agreed.floor > here.floor


def test_a_log_of_one_value_is_searched_for_nothing(case):
    result = case.held({"read-out": "sum", "sigmoid": ""})
    assert not result.agrees
    assert "All logged scores are 1: what was done to them cannot be told" in result.left[0]
    assert result.factors.empty


def test_a_random_head_is_called_one(case):
    assert "the head is random" in case.held({"random-head": "7"}).named[0]


def test_dropout_is_called_noise_and_no_factor(case):
    torch.manual_seed(0)
    observed = np.array(case.scorer.scores(case.rows, {"dropout": "0.1"})).ravel()
    replayed = case.replayed
    tiers = islice(replayed.tiers(observed), 2)  # pairs of factors take a while
    explanation = explain(observed, [each.prompt for each in replayed.samples], tiers)
    assert not explanation.named
    noise = list(left_over(replayed, observed, explanation))[1]
    assert "What is left looks like noise" in noise
    assert "dropout" in noise
    drift = list(left_over(replayed, replayed.expected * 0.5 + 3, explanation))[1]
    assert "no noise" in drift


def test_how_many_responses_tell_another_head_is_said_where_they_are_too_few(path):
    case = benchmark.Case("llama", path, "mean", 16)
    result = case.held({})
    replayed = case.replayed
    observed = replayed.expected**3
    explanation = explain(observed, [t.prompt for t in replayed.samples], islice(replayed.tiers(observed), 2))
    assert result.agrees
    said = list(left_over(replayed, observed, explanation))[-1]
    assert "told from more than 36 responses only (samples=19)" in said


def test_the_grid_of_a_log_is_told():
    scores = np.random.default_rng(0).normal(size=50) * 5
    half = torch.tensor(scores).bfloat16().double().numpy()
    assert rounding_of(scores)[:2] == (None, None)
    assert rounding_of(scores.round(4))[:2] == (None, 4)
    assert rounding_of(half.round(4))[:2] == ("bfloat16", 4)
    assert rounding_of(torch.tensor(scores).half().double().numpy()).dtype == "float16"
    large = torch.tensor(scores * 100).bfloat16().double().numpy().round(4)
    large = large[np.abs(large) > 128]  # integers all, and no log of integers
    assert rounding_of(large)[:2] == ("bfloat16", None)
    assert rounding_of(np.arange(1.0, 200))[:2] == (None, 0)
    moved = np.abs(half.round(4) - scores)
    assert (moved <= rounding_of(half.round(4)).halves).all()


def samples_of(case, step=1, faults=None, **changes) -> list[Sample]:
    """The case's samples as a log gives them."""
    scores = case.scorer.scores(case.rows, faults or {})
    samples = [case.sample(i, row, *pair) for i, (row, pair) in enumerate(zip(case.rows, scores, strict=True))]
    return [replace(sample, step=step, **changes) for sample in samples]


def test_the_step_after_the_checkpoint_s_is_compared(case):
    samples = [replace(sample, step=step) for step in (4, 5, 6) for sample in samples_of(case)]
    assert chosen(samples, None, 4).step == 5
    assert chosen(samples, None, 6).step == 6
    assert chosen(samples, None, None).step == 6
    assert chosen(samples, 4, 5).step == 4
    assert len(chosen(samples, None, None, every=True).samples) == 3 * len(samples_of(case))
    with pytest.raises(CriticProbeError, match="log_step=9: the log has steps 4 to 6"):
        chosen(samples, 9, None)
    with pytest.raises(CriticProbeError, match="no scored responses"):
        chosen([], None, None)


def test_a_checkpoint_of_another_step_of_the_log_is_recognised(path, case):
    others = samples_of(case, 7, {"other-head": "3"})
    critic = load_critic(path, device="cpu")
    few = [*samples_of(case, 3)[:6], *others[:6]]
    result = replay([critic], few, SETTINGS, read_out="mean", log_step=7)
    assert "all 12 logged scores of step 3 are the checkpoint's" in result.named[0]
    assert result.cures
    assert list(result.steps.step) == [3]


def test_another_checkpoint_that_scored_is_named(path, case, tmp_path):
    other = benchmark.llama_critic(tmp_path / "other", seed=1)
    critics = [load_critic(path, device="cpu"), load_critic(other, device="cpu")]
    scored = benchmark.Case("llama", other, "mean")
    result = replay(critics, samples_of(scored)[:8], SETTINGS, read_out="mean")
    assert benchmark.named(result) == ["other-checkpoint"]
    assert "(other)" in result.named[0]


def test_text_that_lost_characters_is_left_out_and_counted(case):
    encoder, critic = case.bench.encoder, case.bench.critic
    broken = Sample(1, "q?", None, Side("a\ufffdb", None, 1.0, None), Side("b", None, 2.0, None), "log line 3")
    unscored = Sample(1, "q?", None, Side("a", None, float("nan"), None), None, "log line 9")
    told, notices = told_of(encoder, critic, [broken, unscored])
    assert [(t.side, t.score, t.sampled) for t in told] == [("teacher", 2.0, False)]
    words = [notice.message for notice in notices]
    assert any(m.startswith("1 responses left out") and "U+FFFD" in m for m in words)
    assert any("without a finite score" in m for m in words)
    assert any("text alone" in m for m in words)


def test_a_dump_that_lost_eos_agrees_with_it(case, path):
    samples = [
        replace(s, student=replace(s.student, ids=s.student.ids[:-1]), eos_lost=True)
        for s in samples_of(case, 1, {"eos-in": "both"})
    ]
    result = replay([load_critic(path, device="cpu")], samples, SETTINGS, read_out="mean")
    assert result.agrees
    assert "with EOS, which the log does not show" in result.verdict[0]
    assert "eos-lost" in [notice.code for notice in result.notices]


def test_too_few_prompts_claim_nothing(case, path):
    critic = load_critic(path, device="cpu")
    sound, scaled = samples_of(case)[:3], samples_of(case, 1, {"scaled": "0.2"})[:3]
    assert replay([critic], sound, SETTINGS, read_out="mean").agrees
    result = replay([critic], scaled, SETTINGS, read_out="mean")
    assert not result.agrees
    assert "3 prompts: too few" in result.left[0]


def test_the_command_reads_a_log(path, case, tmp_path):
    written = {}
    for name, faults in {"sound": {}, "slid": {"tail-sliced": ""}}.items():
        scores = case.scorer.scores(case.rows, faults)
        written[name] = tmp_path / f"{name}.log"
        written[name].write_text(scoring_log(case.scorer, case.rows, scores, 12), encoding="utf-8")
    words = ["-c", str(path), "-a", "mean", "--device", "cpu"]
    sound = CliRunner().invoke(app, ["replay", str(written["sound"]), *words], env={"COLUMNS": "80"})
    assert sound.exit_code == 0, sound.output
    assert "The logged scores are the checkpoint's" in sound.stdout
    assert len(sound.stdout.splitlines()) <= 40
    out = tmp_path / "slid.json"
    slid = CliRunner().invoke(app, ["replay", str(written["slid"]), *words, "--log-step", "12", "-o", str(out)])
    assert slid.exit_code == 1
    assert "the window slid" in " ".join(slid.stdout.split())
    assert json.loads(out.read_text())["schema"] == "critic-probe/replay/1"
    assert read_result(out).named
    full = CliRunner().invoke(app, ["replay", str(written["sound"]), *words, "--full", "--samples", "8"])
    assert "the first 8 of 24 samples" in " ".join(full.stdout.split())
    for more, message in (
        (["--log-step", "next"], "give a step's number, or all"),
        (["--log-step", "3"], "the log has steps 12"),
        (["-a", "last"], "give one"),
    ):
        told = CliRunner().invoke(app, ["replay", str(written["slid"]), *words, *more])
        assert told.exit_code == 2
        assert message in told.stderr
    assert "no critic is named" in CliRunner().invoke(app, ["replay", str(written["slid"])]).stderr


def test_every_fault_that_can_be_planted_has_a_name():
    from critic_probe.runs.faults import FAULTS

    assert set(DEFAULTS) - set(FAULTS) == {"random-head", "dropout", "bfloat16"}
