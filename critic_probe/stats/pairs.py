"""Everything that can be told from student and teacher scores alone; `docs/statistics.md` has each with its source.

All functions take the frame that `compare.with_verdicts` makes: one row per critic, read-out and pair.
"""

import itertools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.stats import mannwhitneyu
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

from critic_probe.objective import HARD, SATURATED
from critic_probe.stats.intervals import (
    Interval,
    Totals,
    apart,
    difference_over_sd,
    estimate,
    mean_interval,
    mean_over_sd,
    rate_difference_interval,
    rate_interval,
    totals,
)
from critic_probe.stats.paired import flips
from critic_probe.stats.rates import CREDIT, holm, too_few

MATCHED = 0.1  # lengths within this share of each other count as equal


def credit(verdicts: pd.Series) -> pd.Series:
    """1 for the teacher, 0 for the student, half for a tie."""
    return verdicts.map(CREDIT).astype(float)


def d_acc(frame: pd.DataFrame) -> Interval:
    """Hard d_acc: the share of verdicts `teacher`, a `tie` counting as half."""
    return rate_interval(credit(frame.verdict), list(frame.prompt_hash))


def spread(frame: pd.DataFrame) -> Totals:
    """`totals` of all scores of both sides, from their mean: what the SD of a read-out is estimated from."""
    scores = pd.concat([frame.student_score, frame.teacher_score])
    return totals(scores - scores.mean(), [*frame.prompt_hash] * 2)


def statistics(scored: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """One row per critic and read-out; see `CompareResult.statistics`.

    Args:
        scored: One row per critic, read-out and pair.
        temperature: T of the discriminator loss softplus(-d / T), for saturation and the gradient that is left.
    """
    rows = []
    for (critic, aggregation), frame in scored.groupby(["critic", "aggregation"], sort=False):
        gap, prompts = frame.gap, list(frame.prompt_hash)
        raw, scaled = mean_interval(gap, prompts), estimate(mean_over_sd, totals(gap, prompts), spread(frame)).interval
        student, teacher = frame.student_score, frame.teacher_score
        within, sets = _within_prompt_sd(frame)
        largest = float(pd.concat([student, teacher]).abs().max())
        rows.append(
            {
                "critic": critic,
                "aggregation": aggregation,
                "n": len(frame),
                "d_acc_ties_wrong": float((frame.verdict == "teacher").mean()),
                "d_acc_ties_right": float((frame.verdict != "student").mean()),
                "soft_d_acc": float(_sigmoid(gap).mean()),
                "auc": float(mannwhitneyu(teacher, student).statistic / len(frame) ** 2),
                "dz": gap.mean() / gap.std() if len(frame) > 1 and gap.std() > 0 else np.nan,
                "mean_gap_low": raw.low,
                "mean_gap_high": raw.high,
                "gap_over_sd_low": scaled.low,
                "gap_over_sd_high": scaled.high,
                "hard_samples_ratio": float((gap.abs() < HARD).mean()),
                "score_overlap": float(((teacher < student.mean()).mean() + (student > teacher.mean()).mean()) / 2),
                "within_prompt_sd": within,
                "prompts_with_sets": sets,
                "temperature": temperature,
                "saturated": float((gap.abs() / temperature > SATURATED).mean()),
                "gradient_weight": float(_sigmoid(-gap / temperature).mean()),
                "bf16_quantum": 2.0 ** (np.floor(np.log2(largest)) - 7) if largest > 0 else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _sigmoid(x: pd.Series) -> pd.Series:
    return 1 / (1 + np.exp(-x.clip(-700, 700)))


def _within_prompt_sd(frame: pd.DataFrame) -> tuple[float, int]:
    """Root mean variance of the distinct scores to one prompt, over prompts with more than the two of one pair."""
    scores = _responses(frame, "score").drop_duplicates(["prompt", "score"])
    by_prompt = scores.groupby("prompt").score.agg(["var", "size"])
    sets = by_prompt["var"][(frame.groupby("prompt_hash").size() > 1) & (by_prompt["size"] > 2)]
    return float(np.sqrt(sets.mean())), len(sets)


def _responses(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Both responses of every pair, one a row: its prompt, and what `student_` and `teacher_` columns hold of it."""
    sides = [
        pd.DataFrame({"prompt": frame.prompt_hash, "floor": frame.floor} | {c: frame[f"{side}_{c}"] for c in columns})
        for side in ("student", "teacher")
    ]
    return pd.concat(sides, ignore_index=True)


def contrasts(scored: pd.DataFrame) -> pd.DataFrame:
    """Read-out against read-out within a critic, and critic against critic under one read-out.

    Verdicts by the sign-flip test over prompts; margins are differences of the mean gap over SD, both SDs estimated; p
    is Holm's over the whole table.
    """
    frames = {key: frame.set_index("id") for key, frame in scored.groupby(["critic", "aggregation"], sort=False)}
    rows = []
    for a, b in itertools.combinations(frames, 2):
        if (a[0] == b[0]) == (a[1] == b[1]):
            continue
        both = frames[a].index.intersection(frames[b].index)
        one, other = frames[a].loc[both], frames[b].loc[both]
        prompts = list(one.prompt_hash)
        flipped, p = flips(one.verdict, other.verdict, prompts)
        gaps = ((totals(part.gap, prompts), spread(frames[key])) for key, part in ((a, one), (b, other)))
        margin = estimate(difference_over_sd, *itertools.chain(*gaps)).interval
        rows.append((*a, *b, len(both), len(set(prompts)), flipped, p, *margin))
    columns = ["critic", "aggregation", "other_critic", "other_aggregation", "n", "prompts", "flips", "p"]
    table = pd.DataFrame(rows, columns=[*columns, "margin", "margin_low", "margin_high"])
    table["p_holm"] = holm(table.p)
    return table


def against_rest(scored: pd.DataFrame) -> pd.DataFrame:
    """Each category against all other pairs of the same critic and read-out: is it right more or less often there?

    The p is that of `apart`, from Wilson intervals over prompts; prompts that have pairs on both sides are taken for
    different ones, which is cautious where pairs of a prompt are alike. `p_holm` is Holm's over the whole table. Where
    there are `too_few` cases or prompts on one side nothing is tested.
    """
    rows = []
    for (critic, aggregation), frame in scored.groupby(["critic", "aggregation"], sort=False):
        for category, part in frame[frame.category != ""].groupby("category", sort=False):
            rest = frame[frame.category != category]
            prompts = [side.prompt_hash.nunique() for side in (part, rest)]
            enough = not any(too_few(*size) for size in zip((len(part), len(rest)), prompts, strict=True))
            others = d_acc(rest)
            p = apart(d_acc(part), others, min(prompts))[1] if enough else np.nan
            rows.append((critic, aggregation, category, *others, p))
    columns = ["critic", "aggregation", "category", "rest_d_acc", "rest_low", "rest_high", "p"]
    table = pd.DataFrame(rows, columns=columns).astype({"p": float})
    table["p_holm"] = holm(table.p)
    return table


def beyond(scored: pd.DataFrame, rules: pd.DataFrame, best: str) -> pd.DataFrame:
    """How much more often each read-out is right than the best rule that reads no content, with an interval.

    Args:
        scored: One row per critic, read-out and pair.
        rules: One row per pair (index: its id) and one column per rule: 1 right, 0 wrong, half a tie.
        best: The rule to compare with.
    """
    rows = []
    for (critic, aggregation), frame in scored.groupby(["critic", "aggregation"], sort=False):
        rule = rules.loc[frame.id, best].to_numpy()
        interval = rate_difference_interval(credit(frame.verdict), rule, list(frame.prompt_hash))
        rows.append((critic, aggregation, best, *interval))
    return pd.DataFrame(rows, columns=["critic", "aggregation", "baseline", "beyond", "beyond_low", "beyond_high"])


def matched(frame: pd.DataFrame) -> pd.Series:
    """Whether the two responses of a pair are as long as each other, in tokens, within a share of the longer."""
    sides = frame[["student_tokens", "teacher_tokens"]]
    return (frame.teacher_tokens - frame.student_tokens).abs() <= MATCHED * sides.max(axis=1)


def lengths(scored: pd.DataFrame) -> pd.DataFrame:
    """What of a read-out's verdicts length could explain; see `CompareResult.lengths`. Lengths are in tokens."""
    rows = []
    for (critic, aggregation), all_pairs in scored.groupby(["critic", "aggregation"], sort=False):
        frame = all_pairs.dropna(subset=["student_tokens", "teacher_tokens"])
        if frame.empty:
            continue
        gap, alike = frame.teacher_tokens - frame.student_tokens, matched(frame)
        parts = {"matched": alike, "teacher_longer": ~alike & (gap > 0), "teacher_shorter": ~alike & (gap < 0)}
        controlled, why = length_controlled(frame)
        row: dict[str, Any] = {
            "critic": critic,
            "aggregation": aggregation,
            "length_ratio": float((frame.teacher_tokens / frame.student_tokens).mean()),
            "within_prompt_spearman": _within_prompt_spearman(frame),
        }
        for name, chosen in parts.items():
            part = frame[chosen]
            interval = d_acc(part)
            row |= {f"{name}_n": len(part), f"{name}_prompts": part.prompt_hash.nunique()}
            row |= {f"{name}_d_acc": interval.value}
            row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        rows.append(row | {"length_controlled": controlled, "not_controlled": why})
    return pd.DataFrame(rows)


def _within_prompt_spearman(frame: pd.DataFrame) -> float:
    """Mean over prompts of the rank correlation of length and score among a prompt's distinct responses.

    Scores no further apart than the noise floor share a rank: arithmetic alone must not order them. A score in several
    pairs has the smallest of their floors, and two scores the smaller of theirs.
    """
    responses = _responses(frame, "score", "tokens").sort_values(["prompt", "score"])
    floors = responses.groupby(["prompt", "score"]).floor.transform("min")
    apart = responses.score.diff() > np.fmin(floors, floors.shift())
    starts = responses.prompt != responses.prompt.shift()
    responses["level"] = (apart | starts).cumsum()
    distinct = responses.drop_duplicates(["prompt", "tokens", "level"])
    ranks = distinct.groupby("prompt")[["tokens", "level"]].rank()
    ranks = ranks - ranks.groupby(distinct.prompt).transform("mean")
    products = pd.DataFrame({"both": ranks.tokens * ranks.level, "tokens": ranks.tokens**2, "level": ranks.level**2})
    sums = products.groupby(distinct.prompt).sum()
    varied = sums[(sums.tokens > 0) & (sums.level > 0)]
    return float((varied.both / np.sqrt(varied.tokens * varied.level)).mean())


def length_controlled(frame: pd.DataFrame) -> tuple[float, str]:
    """Probability of the teacher's verdict at equal length: the intercept of a logit on the length gap.

    The regressor is tanh of the standardised gap, as in length-controlled win rates (Dubois et al. 2024, arXiv
    2404.04475). Ties are left out.

    Returns:
        The probability, or NaN and the reason why it cannot be fitted.
    """
    decided = frame[frame.verdict != "tie"]
    won = (decided.verdict == "teacher").astype(float)
    gap = (decided.teacher_tokens - decided.student_tokens).astype(float)
    if won.nunique() < 2:
        return np.nan, "all verdicts agree"
    if gap.nunique() < 2:
        return np.nan, "all length gaps are equal"
    design = np.column_stack([np.ones(len(gap)), np.tanh(gap / gap.std())])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fit = sm.Logit(won.to_numpy(), design).fit(disp=0)
        except (ConvergenceWarning, PerfectSeparationWarning, PerfectSeparationError, np.linalg.LinAlgError):
            return np.nan, "length separates the verdicts"
    return float(1 / (1 + np.exp(-fit.params[0]))), ""
