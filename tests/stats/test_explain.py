"""The search: what is named, and that nothing is claimed on the samples that it was chosen on."""

import numpy as np
import pytest

from critic_probe.stats.explain import Hypothesis, Prediction, explain

N = 40
PROMPTS = [i // 2 for i in range(N)]
FLOOR = 1e-3


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape or N)


TRUE = drawn(0)


def gives(factors, *rows, floor=FLOOR, labels=None):
    values = np.stack(rows)
    names = labels or [f"version {i}" if len(rows) > 1 else "" for i in range(len(rows))]
    prediction = Prediction(values, np.full(values.shape, floor), names)
    return Hypothesis(factors, lambda _: prediction)


NONE = gives((), TRUE)
SHIFTED, DOUBLED, BOTH = (
    gives(("shift",), TRUE + 1),
    gives(("double",), 2 * TRUE),
    gives(("shift", "double"), 2 * TRUE + 2),
)
TIERS = [[NONE], [SHIFTED, DOUBLED], [BOTH]]


def named(observed, tiers=TIERS):
    return [fit.factors for fit in explain(observed, PROMPTS, tiers).named]


def test_scores_within_the_floor_agree_and_no_factor_is_named():
    found = explain(TRUE + FLOOR * np.tanh(drawn(1)), PROMPTS, TIERS)
    assert found.agreement
    assert found.nothing.within == N
    assert found.correlation == (None, None)


@pytest.mark.parametrize(
    ("observed", "factors"), [(TRUE + 1, ("shift",)), (2 * TRUE, ("double",)), (2 * TRUE + 2, ("shift", "double"))]
)
def test_a_factor_alone_is_named_before_a_pair(observed, factors):
    found = explain(observed, PROMPTS, TIERS)
    [fit] = found.named
    assert fit.factors == factors
    assert fit.residual <= FLOOR < found.nothing.residual
    assert fit.agrees == fit.moved >= N - 1


def test_two_that_explain_equally_well_are_both_named():
    assert named(TRUE + 1, [[NONE], [SHIFTED, gives(("also",), TRUE + 1 + 1e-5)]]) == [("shift",), ("also",)]


def test_a_wider_floor_explains_less():
    assert named(TRUE + 1, [[NONE], [SHIFTED, gives(("rough",), TRUE + 1, floor=1.0)]]) == [("shift",)]


def test_nothing_is_claimed_on_the_samples_that_it_was_chosen_on():
    versions = [drawn(seed) for seed in range(20)]
    half = [p in set(PROMPTS[::4]) for p in PROMPTS]
    for seed, version in enumerate(versions):  # each fits some prompts exactly
        version[half] = drawn(99)[half] if seed == 3 else version[half]
    found = explain(drawn(99), PROMPTS, [[NONE], [gives(("many",), *versions)]])
    assert not found.named
    r, p = found.correlation
    assert abs(r) < 0.5
    assert p > 0.05


def test_a_version_is_named_where_both_halves_choose_it():
    versions = [np.minimum(TRUE, cap) for cap in (-0.5, 0.0, 0.5)]
    [fit] = explain(np.minimum(TRUE, 0.0), PROMPTS, [[NONE], [gives(("cap",), *versions)]]).named
    assert fit.label == "version 1"
    assert fit.moved == fit.agrees == (TRUE > FLOOR).sum()


def test_what_moves_no_sample_cannot_be_shown():
    found = explain(TRUE + 1, PROMPTS, [[NONE], [gives(("idle",), TRUE), SHIFTED]])
    assert found.idle == [("idle",)]
    assert [fit.factors for fit in found.named] == [("shift",)]


def test_a_few_samples_that_are_apart_are_not_passed_over():
    observed = TRUE.copy()
    observed[:2] += 1  # 5 % of them
    found = explain(observed, PROMPTS, [[NONE], [gives(("idle", "two"), TRUE, TRUE)], [DOUBLED]])
    assert not found.named
    r, p = found.correlation
    assert r > 0.8
    assert p < 0.05


def rough(factors, values, floor, typical):
    """At a level whose floor is what the largest of some responses shows, and half of them far less."""
    seen = np.full((1, N), FLOOR)
    return Hypothesis(factors, lambda _: Prediction(values[None], np.full((1, N), floor), ("",), seen, typical))


def test_an_outlier_of_noise_names_no_factor_that_happens_to_move_it():
    noise = np.clip(drawn(3), -1.9, 1.9) * 0.01
    noise[7] = 0.023
    by_chance = TRUE.copy()
    by_chance[[7, 9]] += 0.01
    tiers = [[NONE], [rough((), TRUE, 0.02, 0.01)], [rough(("tiny",), by_chance, 0.02, 0.01)]]
    assert not named(TRUE + noise, tiers)
    assert named(TRUE + noise + 1, [*tiers, [rough(("shift",), TRUE + 1, 0.03, 0.01)]]) == [("shift",)]


def test_what_lies_under_the_floor_is_told_by_the_typical_difference():
    noise = np.clip(drawn(3), -2, 2) * 0.01
    tiers = [[NONE], [rough((), TRUE, 0.5, 0.01)], [rough(("shift",), TRUE + 0.2, 0.5, 0.01)]]
    assert named(TRUE + 0.2 + noise, tiers) == [("shift",)]
    assert named(TRUE + noise, tiers) == [()]


@pytest.mark.parametrize("seed", range(4))
def test_a_version_that_both_halves_allow_is_taken_where_they_choose_others(seed):
    rows = [TRUE + 1 + 1e-4 * np.abs(drawn(version)) for version in range(8)]
    [fit] = explain(TRUE + 1, PROMPTS, [[NONE], [gives(("shift",), *rows)]], seed=seed).named
    assert fit.within == N
    none_apart = explain(np.where(np.arange(N) < 2, TRUE + 1, TRUE), PROMPTS, [[NONE], [gives(("shift",), *rows)]])
    assert not none_apart.named


def test_one_that_leaves_more_is_not_named_beside_one_that_leaves_less():
    partly = TRUE + 1
    partly[3] += 1
    observed = TRUE + 1
    assert named(observed, [[NONE], [gives(("partly",), partly), SHIFTED]]) == [("shift",)]


def test_a_claim_needs_prompts():
    with pytest.raises(ValueError, match="at least 4"):
        explain(TRUE[:6], PROMPTS[:6], TIERS)
