"""How far arithmetic may move what: the limits, and that real critics keep them."""

import subprocess
import sys

import pytest
import torch

from critic_probe import tolerance
from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError
from critic_probe.measures.compare import compare
from critic_probe.measures.perturb import Plan, perturb
from critic_probe.pairs import Pair, read_pairs
from critic_probe.probes import BUILT_IN
from critic_probe.workbench import Settings, silent

IDENTITIES = Plan([family for family in BUILT_IN.values() if family.kind == "identity"])
WORDS = "red green blue 12.5 seven, done. 是的，".split()  # noqa: SIM905


def pairs(count: int, words: int = 12) -> list[Pair]:
    """The first are short, so that a sample of them shows less than the run meets."""
    draw = torch.Generator().manual_seed(0)

    def text(most: int) -> str:
        return " ".join(WORDS[i] for i in torch.randint(len(WORDS), (most,), generator=draw).tolist())

    sizes = [1 if i < 4 else 1 + i % words for i in range(count)]
    return [Pair(f"p{i}", text(3), text(size), text(size)) for i, size in enumerate(sizes)]


def settings(*names: str, **options: object) -> Settings:
    return Settings(tuple(map(parse, names or ("last", "mean", "min"))), **options)


@pytest.mark.parametrize("name", tolerance.EPS)
def test_a_type_may_be_given_by_name(name):
    dtype = getattr(torch, name)
    assert tolerance.eps(name) == tolerance.eps(dtype) == torch.finfo(dtype).eps


def test_nothing_of_torch_is_needed():
    found = "import sys; from critic_probe import tolerance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", found]).returncode == 0


@pytest.mark.parametrize(
    ("limit", "float32", "bfloat16"),
    [
        (tolerance.of_ways, 2e-5, 16 * 2**-7),
        (tolerance.of_batches, 2e-5, 32 * 2**-7),
        (tolerance.of_earlier_values, 64 * 2**-23, 64 * 2**-7),
        (tolerance.of_scores, 2e-5, 2**-7),
        (tolerance.of_given_scores, 16 * 2**-23, 2**-7),
    ],
)
def test_limits_follow_the_type_and_the_largest_value(limit, float32, bfloat16):
    for dtype, expected in (("float32", float32), ("bfloat16", bfloat16)):
        assert limit(dtype, 1.0) == pytest.approx(expected)
        assert limit(dtype, 50.0) == pytest.approx(50 * expected)
        if limit is not tolerance.of_given_scores:
            assert limit(dtype, 0.01) == pytest.approx(expected)


def test_tf32_has_the_steps_of_float16():
    assert tolerance.of_ways("float32", 3.0, tf32=True) == tolerance.of_ways("float16", 3.0)


def moved(critic, given: list[Pair], **options: object) -> list[dict[str, object]]:
    cases = perturb([critic], given, settings("last", "mean", **options), IDENTITIES, silent).cases
    assert len(cases) > 2 * len(given)
    found = cases[(cases.kind == "identity") & (cases.delta.abs() > cases.floor)]
    return found[["id", "family", "aggregation", "delta", "floor"]].to_dict("records")


@pytest.mark.parametrize("engine", ["tree", "reference"])
def test_identities_of_a_run_stay_within_the_floor_of_a_sample_that_shows_less(make_critic, engine):
    """Eight layers; the first four pairs are short, and another length is another order of sums."""
    shape = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 8, "head_dim": 16}
    critic = load_critic(make_critic(num_attention_heads=8, **shape), device="cpu")
    assert moved(critic, pairs(40), engine=engine) == []


def test_a_score_that_rounds_to_the_next_bfloat16_is_no_finding(fixtures):
    """The first four pairs round alike under every way of computing them; others differ by one step of bfloat16."""
    critic = load_critic(fixtures / "critics" / "mean", device="cpu", dtype="bfloat16")
    assert moved(critic, read_pairs(fixtures / "pairs.jsonl")[:30], engine="reference") == []


def test_the_floor_follows_the_largest_value_of_the_run(critic_dir):
    critic = load_critic(critic_dir, device="cpu")
    given = [Pair(letter, "ask", letter, letter.upper()) for letter in "abcdefghijklmnopqrstuvwxyz"]
    found = compare([critic], given, settings("last"), silent).pairs.set_index("id")
    size = found[["student_score", "teacher_score"]].abs().max(axis=1)
    smallest_first = sorted(given, key=lambda pair: size[pair.id])
    assert size[[pair.id for pair in smallest_first[:4]]].max() < 0.7 * size.max()
    [record] = compare([critic], smallest_first, settings("last"), silent).signature["critics"]
    assert record["noise_floor"]["last"] >= 16 * 2**-23 * size.max()


@pytest.mark.parametrize(
    ("spread", "to_exact", "largest", "dtype", "floor"),
    [
        (1e-3, 1e-3, 1.0, "float32", 4e-3),  # two ends, and the largest of many draws
        (1e-3, 0.5, 1.0, "bfloat16", 1.0),
        (0.4, 0.5, 1.0, "bfloat16", 1.6),
        (0.0, 0.0, 50.0, "float32", 50 * 16 * 2**-23),
        (0.0, 0.0, 50.0, "bfloat16", 50 * 2**-7),
    ],
)
def test_the_floor_is_what_a_sample_shows_and_at_least_some_steps(spread, to_exact, largest, dtype, floor):
    assert tolerance.of_noise(spread, to_exact, largest, dtype) == pytest.approx(floor)


def changed(critic, how):
    """The critic with its last hidden states changed by `how(states, inputs)`."""

    def hook(_, __, inputs, found):
        found.last_hidden_state = how(found.last_hidden_state, inputs)
        return found

    critic.backbone.register_forward_hook(hook, with_kwargs=True)
    return critic


def test_a_padded_batch_that_gives_other_scores_is_told_and_makes_no_ties(critic_dir):
    def padded(states, inputs):
        return states + 0.5 * (inputs.get("attention_mask") is not None and len(states) > 1)

    before = compare([load_critic(critic_dir, device="cpu")], pairs(12), settings(), silent)
    after = compare([changed(load_critic(critic_dir, device="cpu"), padded)], pairs(12), settings(), silent)
    assert after.signature["critics"][0]["noise_floor"] == before.signature["critics"][0]["noise_floor"]
    assert after.pairs.verdict.tolist() == before.pairs.verdict.tolist()
    told = {notice.code: notice.message for notice in after.notices}
    assert "in a padded batch its values differ from those of single sequences by" in told["unsteady-values"]
    assert "unsteady-values" not in {notice.code for notice in before.notices}


def test_a_run_whose_values_are_not_those_of_single_sequences_is_refused(critic_dir):
    calls = iter(range(10**6))
    random = changed(load_critic(critic_dir, device="cpu"), lambda states, _: states * (1 + 0.01 * (next(calls) % 7)))
    with pytest.raises(CriticProbeError, match="more than rounding can make; use engine='reference' and cache=False"):
        compare([random], pairs(12), settings(), silent)
