"""The claims of the original proposal, against independent autograd and on critics whose truth is known."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import t
from tiny import byte_tokenizer
from transformers import AutoModelForTokenClassification

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.measures.compare import compare
from critic_probe.measures.tokens import effective_tokens, tokens, variance_ratio, variance_terms
from critic_probe.pairs import Pair, PairFile, TokenIds
from critic_probe.probes import BUILT_IN
from critic_probe.stats.intervals import Interval
from critic_probe.studies.audit import READ_OUTS, audit
from critic_probe.studies.claims import CLAIMS
from critic_probe.studies.gradients import gradients
from critic_probe.studies.planted import write_planted
from critic_probe.studies.untrained import HEADS, untrained
from critic_probe.workbench import Bench, Settings

SETTINGS = Settings((parse("last"), parse("mean")))
EOS = 258
PAIRS = [
    Pair("a", "ask", TokenIds((*byte_tokenizer()("No idea at all")["input_ids"], EOS)), "Four, of course."),
    Pair("b", "why?", "Because it is so. Really.", "It is."),
    Pair("c", "why?", "x", "Four."),
]


def quiet(label, total, stats):
    return lambda: None


@pytest.fixture(scope="module")
def critic(critic_dir):
    return load_critic(critic_dir, name="tiny", device="cpu")


@pytest.fixture(scope="module")
def measured(critic):
    bench = Bench(critic, PAIRS, SETTINGS)
    encoded = list(bench.encoded(PAIRS))
    return gradients(critic, bench, encoded), encoded


def by_hand(path, pair, read_out):
    """By transformers alone: norm of d gap / d parameters, how many get one, norms (R,) at the embeddings a side."""
    model = AutoModelForTokenClassification.from_pretrained(path).eval()
    kept = []

    def keep(module, given, out):
        out.retain_grad()
        kept.append(out)

    model.get_input_embeddings().register_forward_hook(keep)
    scores = []
    for response in (pair.student, pair.teacher):
        ids = torch.tensor([pair.prompt_ids + response.ids])
        values = model(input_ids=ids).logits[0, len(pair.prompt_ids) :, 0]
        body = values[: len(values) - response.eos[-1]]
        scores.append(body[-1] if read_out == "last" else body.mean())
    (scores[1] - scores[0]).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()
    reached = sum(int(p.grad.count_nonzero()) for p in model.parameters() if p.grad is not None)
    return norm, reached, [out.grad[0, len(pair.prompt_ids) :].norm(dim=1) for out in kept]


@pytest.mark.parametrize("read_out", ["last", "mean"])
def test_gradients_are_those_of_transformers_own_class(critic_dir, measured, read_out):
    found, encoded = measured
    sides = found.sides[found.sides.aggregation == read_out].set_index(["id", "side"])
    pairs = found.pairs[found.pairs.aggregation == read_out].set_index("id")
    for pair in encoded:
        norm, reached, at_embeddings = by_hand(critic_dir, pair, read_out)
        row = pairs.loc[pair.pair.id]
        assert row.norm == pytest.approx(norm, rel=1e-4)
        model = AutoModelForTokenClassification.from_pretrained(critic_dir)
        assert row.reached == pytest.approx(reached / sum(p.numel() for p in model.parameters()), rel=1e-3)
        left = torch.sigmoid(torch.tensor(-row.gap / 5.0)).item() / 5.0
        assert row.loss_norm == pytest.approx(left * norm, rel=1e-4)
        for side, response, norms in zip(
            ("student", "teacher"), (pair.student, pair.teacher), at_embeddings, strict=True
        ):
            body = norms[: len(norms) - response.eos[-1]].numpy()
            share = sides.loc[(pair.pair.id, side), "embeddings"]
            if len(body) == 1:
                assert np.isnan(share)
            else:
                assert share == pytest.approx(body[:-1].sum() / body.sum(), rel=1e-4)
                assert share > 0.05


def test_the_values_get_what_the_closed_form_says(measured):
    found, encoded = measured
    assert (found.sides.closed_form_error < 1e-5).all()
    by_read_out = dict(list(found.sides.groupby("aggregation")))
    assert (by_read_out["last"][["values", "top output"]].dropna() == 0).all(axis=None)
    counts = np.array([len(r.ids) - r.eos[-1] for pair in encoded for r in (pair.student, pair.teacher)])
    shares = by_read_out["mean"]["values"].to_numpy()
    assert shares[counts > 1] == pytest.approx(1 - 1 / counts[counts > 1])


def test_the_critic_is_left_as_it_was(critic):
    ids = (1, 2, 3)
    before = critic.values(ids)
    bench = Bench(critic, PAIRS, SETTINGS)
    gradients(critic, bench, list(bench.encoded(PAIRS[:1])))
    leaves = [*critic.backbone.parameters(), *critic.head.weights]
    assert not any(leaf.requires_grad or leaf.grad is not None for leaf in leaves)
    assert torch.equal(critic.values(ids), before)


def test_a_random_head_scores_as_it_would_in_a_checkpoint(critic, make_critic):
    pairs = [Pair("a", "ask", "No idea", "Four, of course."), Pair("b", "why?", "So.", "It is, and that is all.")]
    bench = Bench(critic, pairs, SETTINGS)
    found = untrained(critic, bench, list(bench.encoded(pairs)), [BUILT_IN["terminal-drop"]], seed=7)
    heads = torch.randn(32, HEADS, generator=torch.Generator().manual_seed(7))
    path = make_critic()
    weights = load_file(path / "model.safetensors")
    weights["score.weight"], weights["score.bias"] = heads[:, 3:4].T.contiguous(), torch.zeros(1)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    edited = [*pairs, Pair("c", "ask", "No idea", "Four, of course"), Pair("d", "why?", "So", "It is, and that is all")]
    scored = compare([load_critic(path, device="cpu")], edited, SETTINGS, quiet).pairs
    for read_out in ("last", "mean"):
        rows = scored[scored.aggregation == read_out].set_index("id")
        both = rows.loc[["a", "b"], ["student_score", "teacher_score"]].to_numpy()
        assert found.scores[read_out][:, :, 3] == pytest.approx(both, abs=1e-4)
        dropped = (
            rows.teacher_score["c"] - rows.teacher_score["a"],
            rows.student_score["d"] - rows.student_score["b"],
            rows.teacher_score["d"] - rows.teacher_score["b"],
        )
        assert found.deltas[read_out][:, 3] == pytest.approx(np.array(dropped), abs=1e-4)


def test_the_variance_ratio_is_one_for_independent_values_and_n_for_constant_ones():
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 30, size=800)
    drawn = [rng.normal(size=n) for n in lengths]

    def ratio(responses):
        sums = (np.array([f(v) for v in responses]) for f in (np.sum, lambda v: (v**2).sum()))
        return variance_ratio(variance_terms(range(len(lengths)), lengths.astype(float), *sums).rows.sum(0))

    assert ratio(drawn) == pytest.approx(1, abs=0.15)
    levels = [3 * rng.normal() + v for v in drawn]  # independent values, each response about a level of its own
    assert ratio(levels) > 10
    assert np.mean(lengths) / np.mean([effective_tokens(v) for v in levels]) == pytest.approx(1.15, abs=0.05)
    flat = ratio([np.full(n, v[0]) for n, v in zip(lengths, drawn, strict=True)])
    assert flat == pytest.approx(1 / np.mean(1 / lengths), rel=0.1)


VERDICTS = [
    ("garbage-below", Interval(0.9, 0.8, 0.95), 40, 10, "holds"),
    ("garbage-below", Interval(0.6, 0.5, 0.7), 40, 10, "does not hold"),
    ("garbage-below", Interval(0.8, 0.7, 0.9), 40, 10, "cannot tell"),
    ("garbage-below", Interval(1.0, 0.9, 1.0), 19, 10, "cannot tell"),
    ("garbage-below", Interval(1.0, 0.9, 1.0), 40, 1, "cannot tell"),
    ("garbage-below", Interval(np.nan, np.nan, np.nan), 0, 0, "cannot tell"),
    ("variance-over-n", Interval(1.0, 0.8, 1.3), 40, 10, "holds"),
    ("variance-over-n", Interval(4.0, 2.5, 5.0), 40, 10, "does not hold"),
    ("variance-over-n", Interval(1.2, 1.1, 9.0), 40, 10, "cannot tell"),  # the most is signal, or dependence
    ("dilution", Interval(1e-4, 1e-4, 1e-4), 1, 1, "holds"),
    ("progressive-keeps", Interval(-0.3, -0.4, -0.2), 40, 10, "cannot tell"),
    ("progressive-keeps", Interval(0.3, 0.2, 0.4), 40, 10, "does not hold"),
]


@pytest.mark.parametrize(("name", "found", "n", "prompts", "wanted"), VERDICTS)
def test_a_verdict_follows_from_the_whole_interval(name, found, n, prompts, wanted):
    assert CLAIMS[name].verdict(found, n, prompts) == wanted


def test_more_prompts_tell_what_is_estimated_and_not_what_lies_between_two_bounds():
    assert CLAIMS["garbage-below"].would_tell(Interval(0.8, 0.7, 0.9), 40, 40).startswith("about ")
    assert CLAIMS["garbage-below"].would_tell(Interval(1.0, 0.9, 1.0), 19, 19) == "about 1 more prompt would tell"
    assert CLAIMS["variance-over-n"].would_tell(Interval(1.2, 1.1, 9.0), 40, 40) == ""
    assert CLAIMS["above-zero"].would_tell(Interval(0.0, 0.0, 0.0), 5, 5) == ""


@pytest.fixture(scope="module")
def planted(tmp_path_factory, fixtures):
    """Verdict by claim of each critic with a planted bias; none of them reads content."""
    pairs = list(PairFile(str(fixtures / "pairs.jsonl")))[:40]
    paths = {name: tmp_path_factory.mktemp(name) for name in ("ending", "eos", "keyword", "nothing")}
    for name, path in paths.items():
        write_planted({"eos": "EOS", "keyword": "word"}.get(name, name), "Qwen3", fixtures / "critics" / "last", path)
    critics = (load_critic(path, name=name, device="cpu") for name, path in paths.items())
    found = audit(critics, pairs, SETTINGS, quiet).claims
    return {name: frame.set_index("claim") for name, frame in found.groupby("critic")}


def test_without_attention_the_last_token_does_starve_the_others(planted):
    assert planted["ending"].verdict["last-starves-tokens"] == "holds"
    assert planted["ending"].figure["last-starves-tokens"] == 0
    assert planted["keyword"].verdict["last-starves-tokens"] == "does not hold"


def test_a_mask_that_holds_eos_shows_where_a_critic_reads_it(planted):
    assert planted["eos"].verdict["eos-excluded"] == "does not hold"
    assert planted["eos"].figure["eos-excluded"] == 1
    row = planted["nothing"].loc["eos-excluded"]  # none of 40 prompts moves: no proof yet that fewer than .05 would
    assert (row.figure, row.verdict) == (0, "cannot tell")
    assert row.high == pytest.approx(t.ppf(0.975, 39) ** 2 / (40 + t.ppf(0.975, 39) ** 2))


def test_a_critic_that_reads_no_content_is_never_said_to(planted):
    for found in planted.values():
        assert found.verdict["mean-reads-content"] != "holds"
        assert found.verdict["above-zero"] == "does not hold"
    assert planted["ending"].verdict["dilution"] == "holds"
    row = planted["ending"].loc["punctuation-gap"]  # mean's SD hangs on a few short responses, and is an estimate
    assert (row.figure < 0, row.verdict) == (True, "cannot tell")
    told = planted["ending"].told["punctuation-gap"]
    assert re.fullmatch(re.escape(CLAIMS["punctuation-gap"].caveat) + r" About [\d,]+ more prompts? would tell\.", told)
    assert planted["ending"].told["above-zero"] == CLAIMS["above-zero"].instead


def test_a_score_that_does_not_vary_tells_nothing(planted):
    found = planted["nothing"]
    for name in ("punctuation-gap", "complete-not-penalised", "mean-stronger-signal-sd", "variance-over-n"):
        assert found.verdict[name] == "cannot tell"


def test_few_pairs_decide_only_what_is_arithmetic(critic):
    found = audit([critic], [PAIRS[1], replace(PAIRS[2], teacher="four")], SETTINGS, quiet)
    decided = found.claims[found.claims.verdict != "cannot tell"]
    assert set(decided.claim) <= {name for name, claim in CLAIMS.items() if claim.exact}
    assert list(found.claims.claim) == list(CLAIMS)
    assert found.signature["aggregations"] == list(READ_OUTS)


def test_identical_sides_are_no_evidence_of_a_signal(critic):
    same = [Pair(f"s{i}", f"ask {i}", "It is so.", "It is so.") for i in range(3)]
    signal = audit([critic], [*same, PAIRS[1]], SETTINGS, quiet).claims.set_index("claim").loc["mean-stronger-signal"]
    alone = audit([critic], [PAIRS[1]], SETTINGS, quiet).claims.set_index("claim").loc["mean-stronger-signal"]
    assert (signal.n, alone.n) == (1, 1)
    assert signal.figure == pytest.approx(alone.figure)


def test_half_precision_and_the_state_before_a_token(critic_dir, measured):
    half = load_critic(critic_dir, name="half", device="cpu", dtype="bfloat16")
    before = replace(SETTINGS, value_position="before")
    found = audit([half], PAIRS[:2], before, quiet)
    assert half.dtype == torch.bfloat16
    figures = found.figures.set_index("name").value
    assert figures["last: share on earlier tokens, values"] == 0
    assert figures["last: share on earlier tokens, embeddings"] > 0.05
    told = found.claims.set_index("claim")
    assert told.figure["mean-spreads-evenly"] < 1e-5


def test_dependence_is_that_of_tokens(critic):
    pairs = [
        Pair(f"p{i}", f"ask {i}", f"No idea about {i * 37} at all", f"It is {i * 91}, of course.") for i in range(6)
    ]
    found = audit([critic], pairs, SETTINGS, quiet)
    row = tokens([critic], pairs, SETTINGS, quiet).dependence.iloc[0]
    claim = found.claims.set_index("claim").loc["variance-over-n"]
    # The ratio that `tokens` prints used to decide the claim; it has the differences between responses in it too, so it
    # is the upper end now.
    assert claim.figure == pytest.approx(row.tokens / row.effective_tokens)
    figures = found.figures.set_index("name")
    whole = figures.loc["at most: differences between responses included"]
    assert whole.value == pytest.approx(row.variance_ratio)
    assert claim.low < claim.figure < whole.value < whole.high == claim.high
    figures = figures.value
    assert figures["effective tokens of a response"] == pytest.approx(row.effective_tokens)
    assert figures["lag-1 autocorrelation"] == pytest.approx(row.lag1)
