"""What each option of `warmup` does to a few steps of training, through the command line."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from tiny import save_critic
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from critic_probe.cli import app


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    return save_critic(tmp_path_factory.mktemp("lm"), task="causal")


@pytest.fixture
def train(language_model, tmp_path):
    """`train(*options)` runs three steps of four pairs; returns what was logged by step, and the saved weights."""
    rng = random.Random(0)
    rows = []
    for index in range(16):
        text = " ".join(rng.choices(["red", "blue", "green", "small"], k=4))
        rows.append({"prompt": f"Say {text} ({index})", "student": f"{text},", "teacher": f"{text}."})
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fixed = ["--batch-size", "4", "--rising-steps", "0", "--keep-order", "--held-out", "0", "--device", "cpu"]
    usual = {"--steps": "3", "--learning-rate": "1e-3", "--weight-decay": "0"}

    def run(*options):
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        chosen = [word for name, value in usual.items() if name not in options for word in (name, value)]
        arguments = ["warmup", str(pairs), "--backbone", str(language_model), "-o", str(out), *fixed, *chosen, *options]
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        return {line["step"]: line for line in lines}, load_file(out / "model.safetensors")

    return run


def moved(before, after, of_head):
    """The largest change of a weight, of the head or of the rest."""
    names = [name for name in before if name.startswith("score.") == of_head]
    return max(float((after[name] - before[name]).abs().max()) for name in names)


def logged(run, tag):
    return [line[f"critic/{tag}"] for line in run[0].values()]


def test_the_head_has_a_rate_of_its_own(train):
    still = train("--learning-rate", "1e-30")
    head = train("--learning-rate", "1e-30", "--head-learning-rate", "1e-2")
    assert moved(still[1], head[1], of_head=False) == 0
    assert moved(still[1], head[1], of_head=True) > 1e-2


def test_accumulated_batches_are_one_step(train):
    two, one, whole = (
        train("--gradient-accumulation", "2", "--steps", "2"),
        train("--steps", "2"),
        train("--batch-size", "8", "--steps", "2"),
    )
    assert logged(two, "grad_norm") == pytest.approx(logged(whole, "grad_norm"), rel=1e-3)
    assert logged(two, "grad_norm")[0] != pytest.approx(logged(one, "grad_norm")[0], rel=1e-2)


def test_a_clipped_gradient_moves_less(train):
    """AdamW takes steps of one size whatever the gradient, but where that is far below its epsilon of 1e-8."""
    still = train("--learning-rate", "1e-30")
    free, clipped = train(), train("--max-grad-norm", "1e-12")
    assert moved(still[1], free[1], of_head=False) > 1e-3
    assert moved(still[1], clipped[1], of_head=False) < 1e-5
    assert logged(clipped, "grad_norm")[0] == pytest.approx(logged(free, "grad_norm")[0])  # told as it was


def test_weights_decay(train):
    free, decayed = train(), train("--weight-decay", "100")  # by a tenth a step
    for name, weight in free[1].items():
        if weight.ndim == 2:
            assert float(decayed[1][name].norm()) < 0.9 * float(weight.norm()), name


def test_the_temperature_is_that_of_the_loss(train):
    runs = {name: train("--temperature", name, "--learning-rate", "1e-30") for name in ("1", "50", "adaptive")}
    assert logged(runs["1"], "d_loss") == pytest.approx(logged(runs["1"], "loss_at_1"), rel=1e-4)
    assert logged(runs["50"], "d_loss") == pytest.approx([0.6931] * 3, abs=1e-2)
    assert {name: logged(run, "temperature")[0] for name, run in runs.items()} == {
        "1": 1.0,
        "50": 50.0,
        "adaptive": pytest.approx(0.5, abs=2.5),
    }
    assert logged(runs["adaptive"], "temperature")[0] >= 0.5


def test_scores_outside_the_range_cost(train):
    losses = [logged(train("--range-penalty", weight, "--learning-rate", "1e-30"), "d_loss") for weight in "012"]
    for none, one, two in zip(*losses, strict=True):
        assert one > none
        assert two - none == pytest.approx(2 * (one - none), rel=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_saved_in_the_type_that_was_asked_for(train, dtype):
    _, weights = train("--save-dtype", dtype, "--steps", "1")
    assert {weight.dtype for weight in weights.values()} == {getattr(torch, dtype)}


class Products(TorchDispatchMode):
    """Counts matrix products by the type that they are computed in."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.counts[found.dtype] = self.counts.get(found.dtype, 0) + 1
        return found


def counted(train, *options):
    with Products() as products:
        run = train(*options)
    return run, products.counts


def test_bf16_computes_in_bfloat16_and_keeps_weights_in_float32(train):
    exact, counts = counted(train, "--steps", "1")
    rounded, halves = counted(train, "--steps", "1", "--bf16")
    assert torch.bfloat16 not in counts
    assert halves[torch.bfloat16] == counts[torch.float32] - halves[torch.float32] > 0  # the rest is before the steps
    assert logged(rounded, "d_loss") == pytest.approx(logged(exact, "d_loss"), abs=0.02)
    assert {weight.dtype for weight in rounded[1].values()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
def test_checkpointed_activations_are_computed_again_and_change_nothing(train):
    kept, once = counted(train)
    again, twice = counted(train, "--gradient-checkpointing")
    assert twice[torch.float32] > once[torch.float32]
    assert logged(again, "d_loss") == pytest.approx(logged(kept, "d_loss"), abs=1e-5)
