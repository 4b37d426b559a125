"""Statistics of given scores, against scipy, statsmodels or a closed form."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import spearmanr, ttest_rel
from statsmodels.stats.multitest import multipletests

from critic_probe.measures.compare import with_verdicts
from critic_probe.stats import pairs as pairwise


def scored(student, teacher, *, critic="c", aggregation="last", prompts=None, tokens=None, floor=1e-6):
    n = len(student)
    frame = pd.DataFrame(
        {
            "critic": critic,
            "id": [f"p{i}" for i in range(n)],
            "prompt_hash": prompts or [f"h{i}" for i in range(n)],
            "category": "",
            "aggregation": aggregation,
            "student_score": np.asarray(student, float),
            "teacher_score": np.asarray(teacher, float),
            "student_tokens": np.asarray(tokens[0] if tokens else [5] * n, float),
            "teacher_tokens": np.asarray(tokens[1] if tokens else [5] * n, float),
        }
    )
    return with_verdicts(frame, {aggregation: floor})


@pytest.fixture
def random_scores():
    rng = np.random.default_rng(0)
    return rng.normal(size=60), rng.normal(0.7, size=60)


def test_d_acc_has_both_bounds_and_a_soft_name_of_its_own():
    row = pairwise.statistics(scored([0, 0, 0, 0], [1, 0, -1, 2]), 5.0).iloc[0]
    assert (row.d_acc_ties_wrong, row.d_acc_ties_right) == (0.5, 0.75)
    assert row.soft_d_acc == pytest.approx(np.mean(1 / (1 + np.exp([-1.0, 0.0, 1.0, -2.0]))))


def test_auc_counts_every_teacher_against_every_student(random_scores):
    student, teacher = random_scores
    row = pairwise.statistics(scored(student, teacher), 5.0).iloc[0]
    assert row.auc == pytest.approx(np.mean(np.subtract.outer(teacher, student) > 0))


def test_dz_is_the_paired_t_over_root_n(random_scores):
    student, teacher = random_scores
    row = pairwise.statistics(scored(student, teacher), 5.0).iloc[0]
    assert row.dz == pytest.approx(ttest_rel(teacher, student).statistic / np.sqrt(len(student)))


def test_hard_samples_overlap_saturation_and_the_gradient_that_is_left():
    row = pairwise.statistics(scored([0, 0, 0, 0], [0.05, 1, 30, -30]), 5.0).iloc[0]
    assert row.hard_samples_ratio == 0.25
    assert row.saturated == 0.5
    assert row.gradient_weight == pytest.approx(np.mean(1 / (1 + np.exp(np.array([0.05, 1, 30, -30]) / 5))))
    assert row.score_overlap == pytest.approx((1 / 4 + 0 / 4) / 2)
    assert row.bf16_quantum == 0.125  # between 16 and 32 bfloat16 has steps of 1/8


def test_within_prompt_sd_needs_a_set_of_responses():
    alone = pairwise.statistics(scored([0, 1], [2, 3]), 5.0).iloc[0]
    assert np.isnan(alone.within_prompt_sd)
    sets = pairwise.statistics(scored([0, 0, 1], [1, 2, 2], prompts=["h"] * 3), 5.0).iloc[0]
    assert sets.within_prompt_sd == pytest.approx(1.0)  # 0, 1 and 2
    assert sets.prompts_with_sets == 1


def test_repeated_prompts_widen_the_interval_of_d_acc(random_scores):
    student, teacher = random_scores
    alone = pairwise.d_acc(scored(student, teacher))
    copies = pairwise.d_acc(scored(np.tile(student, 4), np.tile(teacher, 4), prompts=[f"h{i}" for i in range(60)] * 4))
    assert copies.value == alone.value
    assert copies.high - copies.low == pytest.approx(alone.high - alone.low, rel=0.2)


def test_contrasts_pair_read_outs_of_a_critic_and_critics_under_a_read_out(random_scores):
    student, teacher = random_scores
    frames = [
        scored(student, teacher, critic="a", aggregation="last"),
        scored(student, teacher * 2, critic="a", aggregation="mean"),
        scored(teacher, student, critic="b", aggregation="last"),
        scored(teacher, student, critic="b", aggregation="mean"),
    ]
    table = pairwise.contrasts(pd.concat(frames, ignore_index=True))
    assert len(table) == 4
    assert table.p_holm.tolist() == pytest.approx(list(multipletests(table.p, method="holm")[1]))
    against = table[(table.critic == "a") & (table.other_critic == "b") & (table.aggregation == "last")].iloc[0]
    assert against.flips == 60
    gap = (teacher - student) / pd.concat([pd.Series(student), pd.Series(teacher)]).std()
    assert against.margin == pytest.approx(2 * gap.mean())
    assert against.margin_low < against.margin < against.margin_high


def test_beyond_the_best_rule_is_a_paired_difference():
    frame = scored([0] * 4, [1, 1, 1, -1])
    rules = pd.DataFrame({"longer wins": [1.0, 0.5, 0.0, 0.0]}, index=[f"p{i}" for i in range(4)])
    row = pairwise.beyond(frame, rules, "longer wins").iloc[0]
    assert row.beyond == pytest.approx(0.75 - 0.375)


def test_length_matched_bins_and_the_rank_correlation_within_prompts():
    frame = scored([0, 0, 0, 1], [1, 1, -1, 0], tokens=([10, 10, 10, 30], [10, 20, 20, 10]))
    row = pairwise.lengths(frame).iloc[0]
    assert (row.matched_n, row.teacher_longer_n, row.teacher_shorter_n) == (1, 2, 1)
    assert (row.matched_d_acc, row.teacher_longer_d_acc, row.teacher_shorter_d_acc) == (1.0, 0.5, 0.0)
    assert row.within_prompt_spearman == pytest.approx(np.mean([1.0, -1.0, 1.0]))
    assert row.length_ratio == pytest.approx(np.mean([1, 2, 2, 1 / 3]))
    several = scored([0, 0, 1], [1, 3, 3], prompts=["h"] * 3, tokens=([1, 1, 5], [5, 4, 4]))
    expected = spearmanr([1, 5, 4], [0, 1, 3]).statistic
    assert pairwise.lengths(several).iloc[0].within_prompt_spearman == pytest.approx(expected)


@pytest.mark.parametrize("last_digit", [0.0, 1e-7, -1e-7])
def test_scores_that_only_arithmetic_sets_apart_share_a_rank(last_digit):
    frame = scored([0, 0], [0, 1], tokens=([1, 2], [2, 3])).assign(floor=1e-6)
    frame.loc[0, "teacher_score"] += last_digit  # a tie, whichever side it favours
    assert pairwise.lengths(frame).iloc[0].within_prompt_spearman == pytest.approx(1.0)


def test_accuracy_at_equal_length_is_the_intercept_of_a_logit():
    rng = np.random.default_rng(5)
    gap = rng.integers(-20, 20, size=300)
    wins = rng.random(300) < 1 / (1 + np.exp(-(0.4 + 0.15 * gap)))
    frame = scored(np.zeros(300), np.where(wins, 1.0, -1.0), tokens=([50] * 300, 50 + gap))
    found, why = pairwise.length_controlled(frame)
    design = sm.add_constant(np.tanh(gap / gap.std(ddof=1)))
    expected = sm.GLM(wins.astype(float), design, family=sm.families.Binomial()).fit().params[0]
    assert (found, why) == (pytest.approx(1 / (1 + np.exp(-expected)), abs=1e-6), "")


@pytest.mark.parametrize(
    ("teacher", "lengths", "reason"),
    [
        ([1, 1, 1, 1], [3, 6, 7, 8], "all verdicts agree"),
        ([1, -1, 1, -1], [5, 5, 5, 5], "all length gaps are equal"),
        ([-1, -1, 1, 1], [2, 3, 8, 9], "length separates the verdicts"),
    ],
)
def test_what_no_logit_can_tell_is_said(teacher, lengths, reason):
    found, why = pairwise.length_controlled(scored([0] * 4, teacher, tokens=([5] * 4, lengths)))
    assert np.isnan(found)
    assert why == reason
