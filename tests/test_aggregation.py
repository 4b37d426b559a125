import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from critic_probe.aggregation import NAMES, aggregate, last_index, parse, sequence_values
from critic_probe.errors import CriticProbeError

EXAMPLES = [name.replace(":A", ":0.25").replace(":K", ":2").replace(":G", ":0.9") for name in NAMES]

# Two rows: [1, 2, 3, 4(EOS)] and [5, 6, pad, pad]; the second ends without EOS.
VALUES = torch.tensor([[1.0, 2.0, 3.0, 40.0], [5.0, 6.0, 99.0, 99.0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
EOS = torch.tensor([[False, False, False, True], [False] * 4])
PUNCTUATION = torch.tensor([[False, True, False, False], [False, False, False, False]])


def rows():
    return st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("last", [3.0, 6.0]),
        ("mean", [2.0, 5.5]),
        ("last+eos", [40.0, 6.0]),
        ("mean+eos", [11.5, 5.5]),
        ("mix:0.25", [2.25, 5.625]),
        ("min", [1.0, 5.0]),
        ("max", [3.0, 6.0]),
        ("median", [2.0, 5.5]),
        ("sum", [6.0, 11.0]),
        ("tail:2", [2.5, 5.5]),
        ("ema:0.5", [(1 / 4 + 2 / 2 + 3) / 1.75, (5 / 2 + 6) / 1.5]),
        ("content", [2.0, 5.5]),
    ],
)
def test_each_read_out_on_a_row_with_eos_and_a_padded_row_without(name, expected):
    scores = aggregate(name, VALUES, MASK, eos=EOS, punctuation=PUNCTUATION)
    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.parametrize("name", EXAMPLES)
def test_padding_is_never_read_wherever_it_stands(name):
    values = torch.tensor([[torch.nan, 1.0, -2.0, torch.inf]], requires_grad=True)
    mask = torch.tensor([[0, 1, 1, 0]])
    punctuation = torch.zeros(1, 4, dtype=torch.bool)
    score = aggregate(name, values, mask, punctuation=punctuation)
    alone = aggregate(name, torch.tensor([[1.0, -2.0]]), torch.ones(1, 2), punctuation=punctuation[:, :2])
    torch.testing.assert_close(score, alone)
    score.sum().backward()
    assert values.grad[0, 0] == values.grad[0, 3] == 0
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_lone_eos_is_kept_because_there_is_nothing_else(name):
    score = aggregate(
        name,
        torch.tensor([[7.0]]),
        torch.tensor([[1]]),
        eos=torch.tensor([[True]]),
        punctuation=torch.tensor([[False]]),
    )
    assert score.item() == 7.0


def test_last_skips_one_trailing_eos_and_mean_skips_all():
    values, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3)
    eos = torch.tensor([[False, True, True]])
    assert aggregate("last", values, mask, eos=eos).item() == 2.0
    assert aggregate("mean", values, mask, eos=eos).item() == 1.0
    assert last_index(mask, eos).item() == 1


@given(rows(), st.floats(-10, 10, width=32))
def test_a_change_of_the_final_token_moves_the_mean_by_that_change_over_n(row, change):
    before = torch.tensor([row], dtype=torch.float64)
    after = before.clone()
    after[0, -1] += change
    mask = torch.ones_like(before)
    moved_last = aggregate("last", after, mask) - aggregate("last", before, mask)
    moved_mean = aggregate("mean", after, mask) - aggregate("mean", before, mask)
    torch.testing.assert_close(moved_mean, moved_last / len(row), rtol=1e-12, atol=1e-12)


@given(rows(), st.booleans())
def test_mix_ends_at_mean_and_last(row, ends_in_eos):
    values = torch.tensor([row])
    mask = torch.ones_like(values)
    eos = torch.zeros_like(values, dtype=torch.bool)
    eos[0, -1] = ends_in_eos
    for mixed, pure in (("mix:0", "mean"), ("mix:1", "last")):
        assert torch.equal(aggregate(mixed, values, mask, eos=eos), aggregate(pure, values, mask, eos=eos))


@given(st.lists(rows(), min_size=1, max_size=4))
def test_the_verl_shaped_tensor_sums_to_the_score_and_reaches_every_value_as_one_over_n(batch):
    width = max(map(len, batch)) + 1
    values = torch.zeros(len(batch), width, dtype=torch.float64)
    mask = torch.zeros(len(batch), width)
    for i, row in enumerate(batch):
        values[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
    values.requires_grad_()
    scores = aggregate("mean", values, mask)
    shaped = sequence_values(scores, mask)
    assert shaped.shape == values.shape
    assert ((shaped != 0) <= (torch.arange(width) == mask.sum(1, keepdim=True) - 1)).all()
    torch.testing.assert_close(shaped.sum(1), scores)
    shaped.sum().backward()
    torch.testing.assert_close(values.grad, (mask / mask.sum(1, keepdim=True)).double())


def test_values_computed_at_any_precision_keep_their_dtype():
    assert aggregate("mean", VALUES.bfloat16(), MASK).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("avg", r"'avg' is not a known aggregation; choose from last, mean, .*content"),
        ("mix", "choose from"),
        ("mix:2", "A is a share from 0"),
        ("mix:x", "A is a share from 0"),
        ("tail:0", "K is a whole number"),
        ("tail:1.5", "K is a whole number"),
        ("ema:1", "G is a decay"),
        ("last:3", "choose from"),
    ],
)
def test_an_unknown_name_or_parameter_says_what_is_allowed(name, message):
    with pytest.raises(CriticProbeError, match=message):
        parse(name)


def test_equal_names_are_equal_read_outs():
    assert parse("mix:0.50") == parse("mix:.5".replace(":.", ":0."))
    assert parse(" tail:4 ").name == "tail:4"


def test_input_that_has_no_score_is_refused():
    with pytest.raises(CriticProbeError, match="without tokens has no score"):
        aggregate("last", VALUES, torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]))
    with pytest.raises(CriticProbeError, match=r"\(2, 4\) and mask \(1, 4\)"):
        aggregate("last", VALUES, MASK[:1])
    with pytest.raises(CriticProbeError, match="which tokens are punctuation"):
        aggregate("content", VALUES, MASK)
