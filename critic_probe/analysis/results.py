"""What the commands find out, as tables; every renderer takes these and computes nothing."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from critic_probe.errors import Notice

Signature = dict[str, Any]


@dataclass(frozen=True)
class CompareResult:
    """Student against teacher, under every critic and read-out.

    Attributes:
        summary: One row per critic and aggregation: n, d_acc (ties count as half) with a Wilson 95 % interval, ties,
            mean_gap, sd (of all scores of both sides), gap_over_sd, separation; flips (verdicts that differ from the
            critic's first aggregation) with the exact McNemar p.
        statistics: One row per critic and aggregation: d_acc with ties wrong and right, soft_d_acc (mean sigmoid(d)),
            auc, dz, intervals of mean_gap and gap_over_sd, hard_samples_ratio, score_overlap, within_prompt_sd,
            saturation and gradient weight at the temperature, bf16_quantum, and the accuracy beyond the best baseline.
        lengths: One row per critic and aggregation: length_ratio, within_prompt_spearman, accuracy where lengths match
            within 10 % and where the teacher is longer or shorter, and the accuracy at equal length (a logit).
        contrasts: Read-out against read-out and critic against critic: exact McNemar p, p_holm, margin in gap/SD.
        categories: The same accuracy and gap by category; sd is the one of the summary.
        baselines: Accuracy of rules that never read the content.
        pairs: One row per critic, aggregation and pair, the most disputed pair first.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    summary: pd.DataFrame
    statistics: pd.DataFrame
    lengths: pd.DataFrame
    contrasts: pd.DataFrame
    categories: pd.DataFrame
    baselines: pd.DataFrame
    pairs: pd.DataFrame
    notices: list[Notice]
    signature: Signature
    reading: list[str]


@dataclass(frozen=True)
class PerturbResult:
    """What edits of a response do to its score.

    Attributes:
        summary: One row per critic, aggregation, family, position and kind: n; median, p95 and max of |delta|, raw and
            over the SD of the unedited scores; the signed mean; how often the student/teacher verdict flips; the share
            below the noise floor; the rate of the right order, also with the closing mark restored; the ending's
            effect; and the verdict with its figure, interval, preset floor and smallest detectable effect.
        headline: One row per critic and aggregation: median |delta| of controls and invariances, raw and in SD, their
            ratio (signal to noise), punctuation over wrong facts, and the controls' rate of the right order.
        contrasts: Read-out against read-out and critic against critic, family by family: the difference of |delta| over
            SD with its interval, p and p_holm over all families; for controls and directions the exact McNemar p.
        cases: One row per critic, aggregation and edit, the largest |delta| over SD first.
        not_measured: Edits that were not scored: critic, family, reason, count.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    summary: pd.DataFrame
    headline: pd.DataFrame
    contrasts: pd.DataFrame
    cases: pd.DataFrame
    not_measured: pd.DataFrame
    notices: list[Notice]
    signature: Signature
    reading: list[str]


@dataclass(frozen=True)
class DiffResult:
    """One critic against another on the same pairs and the same edits; every difference is the new minus the old.

    Attributes:
        pairs: One row per aggregation: n, old and new d_acc, flips with the exact McNemar p and p_holm, and the
            difference of the margins (gap over SD) with its interval.
        families: One row per aggregation and family of edits, the largest difference first: n, old and new mean of
            |delta| over SD, their difference with interval, p and p_holm over all of them; for controls and directions
            the old and new share of the right order with the exact McNemar p.
        flipped: One row per aggregation and pair whose verdict went from one side to the other, with both margins, the
            largest change first.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    pairs: pd.DataFrame
    families: pd.DataFrame
    flipped: pd.DataFrame
    notices: list[Notice]
    signature: Signature
    reading: list[str]


@dataclass(frozen=True)
class TokensResult:
    """Values along a response.

    Attributes:
        positions: One row per critic, aggregation and share of the response read: d_acc with its interval.
        dependence: One row per critic: lag1 autocorrelation and effective_tokens (means over responses) beside the mean
            number of tokens, the variance of responses' means against sigma^2/N, and how many responses were too_short
            or constant to tell.
        classes: One row per critic, token class and side: n, mean, sd, and the mean in SD from the response's own.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    positions: pd.DataFrame
    dependence: pd.DataFrame
    classes: pd.DataFrame
    notices: list[Notice]
    signature: Signature
    reading: list[str]


@dataclass(frozen=True)
class AuditResult:
    """The claims of the original proposal, measured.

    Attributes:
        claims: One row per claim and critic: critic, claim (its short name), says, measured (what the figure is),
            figure, low, high (95 %; equal to the figure where it follows from arithmetic), holds_if (the bound), n,
            prompts, verdict (holds, does not hold, cannot tell), told (what is true instead, or what to mind),
            reproduce.
        figures: What was measured beside the deciding figures: critic, claim, name, value, low, high, n. Low and high
            are NaN where there is no interval; over random heads they are the range of 95 % of the heads.
        training: What the proposal expected of training, and what training gave; see `before_after`. Empty where
            nothing was trained.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    claims: pd.DataFrame
    figures: pd.DataFrame
    training: pd.DataFrame
    notices: list[Notice]
    signature: Signature
    reading: list[str]


@dataclass(frozen=True)
class SelftestResult:
    """Whether the probes find what was planted, and nothing else.

    Attributes:
        checks: One row per critic and read-out: critic, aggregation, expected, found, verdict (pass, fail).
    """

    checks: pd.DataFrame


@dataclass(frozen=True)
class VerifyResult:
    """Whether a record is what a checkpoint gives.

    Attributes:
        checks: One row per check: check, verdict (pass, fail, not run), evidence.
        signature: The record's, with how the sample was drawn.
    """

    checks: pd.DataFrame
    signature: Signature

    @property
    def holds(self) -> bool:
        """Whether every check ran and passed."""
        return bool((self.checks.verdict == "pass").all())


@dataclass(frozen=True)
class DoctorResult:
    """Whether a critic's values can be trusted.

    Attributes:
        checks: One row per check: check, verdict (ok, warn, fail, not run), evidence, cure.
        notices: Warnings that belong to the report.
        signature: Everything that determined it.
    """

    checks: pd.DataFrame
    notices: list[Notice]
    signature: Signature


@dataclass(frozen=True)
class TraceResult:
    """The values of one pair, token by token.

    Attributes:
        tokens: One row per critic, side and token: index, token_id, text (of its character group), value,
            running_mean, group (index of the group's first token), read_by.
        scores: One row per critic, side and aggregation.
        prompt: The prompt's text.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    tokens: pd.DataFrame
    scores: pd.DataFrame
    prompt: str
    notices: list[Notice]
    signature: Signature
    reading: list[str] = field(default_factory=list)


class TracedSide(NamedTuple):
    """One response as a critic reads it.

    Attributes:
        texts: By character group; one group is one token, or the tokens that only together are a character.
        sizes: How many tokens each group has.
        values: (tokens,) as they were computed.
        reads: Read-out -> the one token whose value it takes; read-outs of many tokens are missing.
        scores: Read-out -> the score.
    """

    texts: list[str]
    sizes: list[int]
    values: NDArray[np.float32]
    reads: dict[str, int]
    scores: dict[str, float]


@dataclass(frozen=True)
class Traced:
    """Two responses to one prompt, token by token, under one critic.

    Attributes:
        id: The pair.
        critic: The critic.
        edit: The row of `ReportResult.edits` that it shows; None for student against teacher.
        prompt: The prompt's text.
        sides: Student and teacher, or original and edited.
    """

    id: str
    critic: str
    edit: int | None
    prompt: str
    sides: tuple[TracedSide, TracedSide]


@dataclass(frozen=True)
class ReportResult:
    """Everything that a report shows.

    Attributes:
        compare: Student against teacher.
        perturb: Edits of punctuation and controls.
        tokens: Values along responses.
        signal: One row per critic, aggregation and harmless family: median |delta| of the controls over that of the
            family, with its interval.
        places: One row per critic, aggregation and position of harmless punctuation edits: median |delta| over SD,
            with its interval.
        reliability: One row per critic, aggregation and bin of pairs: the mean confidence sigmoid(|d| / T), the mean
            |gap| over SD, and d_acc with its interval.
        edits: One row per critic, aggregation and edit that is traced: the columns of `PerturbResult.cases`, and
            `edit`, one number an edit.
        prompts: By id, what was asked.
        traces: Of the most disputed pairs, and of the edits.
        verdict: What was found, in plain words.
    """

    compare: CompareResult
    perturb: PerturbResult
    tokens: TokensResult
    signal: pd.DataFrame
    places: pd.DataFrame
    reliability: pd.DataFrame
    edits: pd.DataFrame
    prompts: dict[str, str]
    traces: list[Traced]
    verdict: list[str]
