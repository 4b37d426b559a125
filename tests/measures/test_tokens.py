"""Values along a response."""

import numpy as np
import pytest
from tiny import byte_tokenizer

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.measures.compare import compare
from critic_probe.measures.tokens import autocorrelation, effective_tokens, tokens
from critic_probe.pairs import Pair, TokenIds
from critic_probe.workbench import Bench, Settings

SETTINGS = Settings((parse("last"), parse("mean")))
PAIRS = [
    Pair("a", "问", "好，是的，", "好，是的。"),
    Pair("b", "ask", "No idea", "Four, of course."),
    Pair("c", "ask", "Because it is so. Really.", "It is."),
]


def quiet(label, total, stats):
    return lambda: None


@pytest.fixture(scope="module")
def critic(critic_dir):
    return load_critic(critic_dir, name="tiny", device="cpu")


def test_independent_values_are_worth_their_number():
    rng = np.random.default_rng(0)
    found = np.mean([effective_tokens(rng.normal(size=400)) for _ in range(20)])
    assert found == pytest.approx(400, rel=0.15)


def test_an_autoregressive_series_is_worth_what_theory_says():
    rng, phi = np.random.default_rng(0), 0.8
    found = []
    for _ in range(20):
        noise = rng.normal(size=2000)
        series = np.zeros(2000)
        for i in range(1, 2000):
            series[i] = phi * series[i - 1] + noise[i]
        found.append(effective_tokens(series))
        assert autocorrelation(series)[1] == pytest.approx(phi, abs=0.07)
    assert np.mean(found) == pytest.approx(2000 * (1 - phi) / (1 + phi), rel=0.2)


def test_the_whole_response_gives_the_accuracy_of_compare(critic):
    found = tokens([critic], PAIRS, SETTINGS, quiet)
    whole = found.positions[found.positions["share"] == 1.0].set_index("aggregation").d_acc
    assert whole.to_dict() == compare([critic], PAIRS, SETTINGS, quiet).summary.set_index("aggregation").d_acc.to_dict()


def test_the_floors_are_those_of_last_and_mean_whatever_the_read_outs_are(critic):
    """A gate on `tokens.*` may stand beside any read-outs; the signature carries every floor that was used."""
    usual, other = (
        tokens([critic], PAIRS, Settings(names), quiet) for names in (SETTINGS.aggregations, (parse("max"),))
    )
    assert other.positions.equals(usual.positions)
    [before], [after] = usual.signature["critics"], other.signature["critics"]
    assert {name: after["noise_floor"][name] for name in ("last", "mean")} == before["noise_floor"]
    assert list(after["noise_floor"]) == ["max", "last", "mean"]


def test_an_early_read_takes_the_value_at_that_token(critic):
    text = ("abcdefgh", "ABCDEFGH")
    found = tokens([critic], [Pair("x", "ask", *text)], SETTINGS, quiet).positions
    half = found[(found["share"] == 0.5) & (found.aggregation == "last")].iloc[0]
    early = compare([critic], [Pair("x", "ask", *(side[:4] for side in text))], SETTINGS, quiet).summary
    assert half.d_acc == early.d_acc[0]


def test_tokens_are_classed_and_a_closing_eos_is_a_class_of_its_own(critic):
    pair = Pair("x", "ask", TokenIds((*byte_tokenizer()("ab 12.")["input_ids"], 258), None), "ok")
    found = tokens([critic], [pair], SETTINGS, quiet).classes
    counts = found[found.side == "student"].set_index("token_class").n.to_dict()
    assert counts == {"content": 3, "digit": 2, "punctuation": 1, "EOS": 1}
    assert found[found.side == "teacher"].token_class.tolist() == ["content"]


def test_dependence_is_that_of_all_values_at_once(critic):
    long = ["a rather long answer, of many words", "another one that goes on for a while."]
    pairs = [Pair("x", "ask", *long), Pair("y", "why", long[1] + " Yes.", long[0] + "?")]
    found = tokens([critic], pairs, SETTINGS, quiet).dependence.iloc[0]
    bench = Bench(critic, pairs, SETTINGS)
    groups = (pair.group for pair in bench.encoded(pairs))
    values = [v.double().numpy() for group in bench.values(groups) for v in group]
    means = np.array([v.mean() for v in values])
    independent = np.mean([np.concatenate(values).var(ddof=1) / len(v) for v in values])
    assert found.responses == 4
    assert found.lag1 == pytest.approx(np.mean([autocorrelation(v)[1] for v in values]))
    assert found.effective_tokens == pytest.approx(np.mean([effective_tokens(v) for v in values]))
    assert found.variance_ratio == pytest.approx(means.var(ddof=1) / independent)


def test_a_constant_response_is_not_called_short(make_critic):
    import torch
    from safetensors.torch import load_file, save_file

    path = make_critic()
    weights = load_file(path / "model.safetensors")
    weights["score.weight"] = torch.zeros_like(weights["score.weight"])
    weights["score.bias"] = torch.ones(1)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    found = tokens(
        [load_critic(path, device="cpu")], [Pair("x", "ask", "a long enough answer", "No.")], SETTINGS, quiet
    )
    row = found.dependence.iloc[0]
    assert (row.responses, row.too_short, row.constant) == (2, 1, 1)
    assert any("1 have one value throughout: dependence cannot be told" in line for line in found.reading)
