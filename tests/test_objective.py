"""The discriminator's loss, its schedule, and the call that a verl critic makes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from critic_probe.aggregation import aggregate
from critic_probe.errors import CriticProbeError
from critic_probe.integrations.verl import discriminator_loss, sequence_values
from critic_probe.objective import loss, metrics, scheduled

EOS = 9
RESPONSES = torch.tensor([[1, 2, 3, EOS, 0], [4, 5, 0, 0, 0], [EOS, 0, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
VALUES = torch.tensor([[1.0, 2.0, 4.0, 8.0, 99.0], [3.0, 5.0, 99.0, 99.0, 99.0], [7.0, 99.0, 99.0, 99.0, 99.0]])
LAST_VALID = torch.tensor([3, 1, 0])


@pytest.mark.parametrize(
    ("name", "expected"), [("last", [4.0, 5.0, 7.0]), ("mean", [7 / 3, 4.0, 7.0]), ("mean+eos", [15 / 4, 4.0, 7.0])]
)
def test_sequence_values_hold_each_score_once_at_the_last_valid_position(name, expected):
    shaped = sequence_values(VALUES, RESPONSES, MASK, EOS, name)
    assert shaped.shape == VALUES.shape
    torch.testing.assert_close(shaped.sum(-1), torch.tensor(expected))
    torch.testing.assert_close(shaped.gather(1, LAST_VALID[:, None])[:, 0], torch.tensor(expected))
    assert int((shaped != 0).sum()) == len(VALUES)


def test_the_gradient_of_mean_is_g_over_n_on_every_token_and_of_last_on_one():
    for name, share in (
        ("mean", [[1 / 3] * 3 + [0, 0], [0.5, 0.5, 0, 0, 0]]),
        ("last", [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]),
    ):
        values = VALUES[:2].clone().requires_grad_()
        shaped = sequence_values(values, RESPONSES[:2], MASK[:2], EOS, name)
        outer = torch.tensor([0.3, -2.0])
        (shaped.sum(-1) * outer).sum().backward()
        torch.testing.assert_close(values.grad, torch.tensor(share) * outer[:, None])


def test_bfloat16_values_are_summed_in_float32():
    values = (1 + torch.arange(300) / 256).bfloat16()[None]
    ones = torch.ones(1, 300, dtype=torch.long)
    found = sequence_values(values, ones, ones, EOS, "mean").sum()
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(values.double().mean()), rel=1e-6)


def test_progressive_goes_from_mean_to_last_and_stays():
    shares = [scheduled("progressive", step).parameter for step in (1, 253, 254, 377, 500, 9000)]
    assert shares == [0, 0, 0, pytest.approx(0.5), 1, 1]
    ends = [sequence_values(VALUES, RESPONSES, MASK, EOS, "progressive", step) for step in (1, 377, 500)]
    pure = [sequence_values(VALUES, RESPONSES, MASK, EOS, name) for name in ("mean", "mix:0.5", "last")]
    for one, other in zip(ends, pure, strict=True):
        torch.testing.assert_close(one, other)
    assert scheduled("progressive", 15, start=10, end=20).parameter == 0.5


@given(
    st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=8),
    st.floats(0.1, 10),
)
def test_the_loss_is_the_mean_of_softplus(pairs, temperature):
    student, teacher = torch.tensor(pairs, dtype=torch.float64).T
    found, used = loss(student, teacher, temperature)
    assert used == temperature
    wanted = [math.log1p(math.exp(-(t - s) / temperature)) for s, t in pairs]
    assert float(found) == pytest.approx(sum(wanted) / len(wanted), abs=1e-9)


def test_an_adaptive_temperature_follows_the_gaps_within_bounds_and_has_no_gradient():
    student = torch.zeros(2, requires_grad=True)
    for gap, expected in ((0.01, 0.5), (3.0, 1.5), (40.0, 3.0)):
        found, used = loss(student, torch.full((2,), gap), "adaptive")
        assert used == pytest.approx(expected)
        [gradient] = torch.autograd.grad(found, student)
        torch.testing.assert_close(gradient, torch.full((2,), 1 / (1 + math.exp(gap / used)) / used / 2))


def test_the_range_penalty_counts_both_sides_beyond_0_and_10():
    student, teacher = torch.tensor([-1.0, 5.0]), torch.tensor([4.0, 13.0])
    plain, _ = loss(student, teacher)
    found, _ = loss(student, teacher, range_penalty=0.1)
    assert float(found - plain) == pytest.approx(0.1 * (1 / 2 + 9 / 2))


def test_metrics_by_their_stated_definitions():
    student, teacher = torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, -1.0, 30.0])
    found = metrics(student, teacher, 5.0)
    assert found["critic/d_acc"] == (1 + 0.5 + 0 + 1) / 4
    assert found["critic/score_diff"] == 29 / 4
    assert found["critic/hard_samples_ratio"] == 0.25
    assert found["critic/saturated"] == 0.25  # 29 / 5 > 4
    assert found["critic/loss_at_1"] == pytest.approx(float(loss(student, teacher, 1.0)[0]), rel=1e-6)


def test_the_verl_loss_is_that_of_the_scores():
    sides = [sequence_values(VALUES + shift, RESPONSES, MASK, EOS, "mean") for shift in (0, 2)]
    found, logged = discriminator_loss(*sides, temperature=2.0)
    assert float(found) == pytest.approx(math.log1p(math.exp(-1)))
    assert logged["critic/d_loss"] == float(found)
    assert logged["critic/d_acc"] == 1.0
    assert logged["critic/temperature"] == 2.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sequence_values(VALUES, RESPONSES, MASK, EOS, "progressive"), "needs to know the step"),
        (lambda: sequence_values(VALUES, RESPONSES[:2], MASK, EOS), "must both be"),
        (lambda: sequence_values(VALUES, RESPONSES, MASK * 0, EOS), "a response without tokens has no score"),
        (lambda: sequence_values(VALUES, RESPONSES, MASK, EOS, "men"), "'men' is not a known aggregation"),
        (lambda: loss(torch.zeros(2), torch.zeros(3)), "must both be"),
        (lambda: loss(torch.zeros(2), torch.zeros(2), 0), "must be above 0"),
        (lambda: scheduled("progressive", 3, start=9, end=9), "steps in order"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(CriticProbeError, match=message):
        call()


def test_training_and_scoring_read_with_one_function():
    eos = RESPONSES == EOS
    for name in ("last", "mean", "last+eos", "mix:0.25", "tail:2", "ema:0.9", "median"):
        shaped = sequence_values(VALUES, RESPONSES, MASK, [EOS], name)
        torch.testing.assert_close(shaped.sum(-1), aggregate(name, VALUES, MASK, eos=eos))
