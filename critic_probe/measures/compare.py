"""Student against teacher under every critic and read-out."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from critic_probe.aggregation import Aggregation
from critic_probe.checkpoint import Critic
from critic_probe.encoding import Encoded, EncodedPair, EncodedResponse
from critic_probe.errors import Notice
from critic_probe.measures import compared
from critic_probe.measures.blind import Texts, baselines, rules_of
from critic_probe.measures.compared import reading, warnings
from critic_probe.measures.result import Measured, Statement
from critic_probe.objective import TEMPERATURE
from critic_probe.pairs import Pairs
from critic_probe.stats import pairs as pairwise
from critic_probe.stats.paired import flips
from critic_probe.stats.rates import separation, too_few, verdict
from critic_probe.text import reader
from critic_probe.workbench import (
    Ask,
    Bench,
    Progress,
    Run,
    Settings,
    Signature,
    Values,
    benches,
    floor_sentence,
    prompt_hash,
    run,
    silent,
)

GIVEN_SCORES = "given scores"  # the fingerprint of scores that no checkpoint was asked for
GIVEN = "The scores were given, not computed: nothing here says how they came about."


@dataclass(frozen=True, repr=False)
class CompareResult(Measured):
    """Student against teacher, under every critic and read-out.

    Attributes:
        summary: One row per critic and aggregation: n pairs of so many prompts, d_acc (ties count as half) with its
            interval, ties, mean_gap, sd (of all scores of both sides), gap_over_sd, separation; flips (verdicts that
            differ from the critic's first aggregation) with the p of the sign-flip test over prompts.
        statistics: One row per critic and aggregation: d_acc with ties wrong and right, soft_d_acc (mean sigmoid(d)),
            auc, dz, intervals of mean_gap and gap_over_sd, hard_samples_ratio, score_overlap, within_prompt_sd,
            saturation and gradient weight at the temperature, bf16_quantum, and the accuracy beyond the best baseline.
        lengths: One row per critic and aggregation: length_ratio, within_prompt_spearman, accuracy where lengths match
            within 10 % and where the teacher is longer or shorter, and the accuracy at equal length (a logit).
        contrasts: Read-out against read-out and critic against critic: p (sign-flip test), p_holm, margin in gap/SD.
        categories: The same accuracy and gap by category; sd is the one of the summary. rest_d_acc with its interval is
            that of all other pairs, p and p_holm of no difference between both.
        baselines: Accuracy of rules that never read the content.
        pairs: One row per critic, aggregation and pair, the most disputed pair first.
    """

    command = "compare"
    tables = ("summary", "statistics", "lengths", "contrasts", "categories", "baselines", "pairs")
    main = "pairs"

    summary: pd.DataFrame
    statistics: pd.DataFrame
    lengths: pd.DataFrame
    contrasts: pd.DataFrame
    categories: pd.DataFrame
    baselines: pd.DataFrame
    pairs: pd.DataFrame

    def answer(self) -> list[Statement]:
        """Whom each critic puts first, whether its read-outs disagree, and what makes that doubtful."""
        return compared.answer(self.summary, self.statistics, self.lengths, self.contrasts, self.categories)

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its own tables and signature."""
        critics = self.signature["critics"]
        floor = GIVEN if critics[0]["fingerprint"] == GIVEN_SCORES else floor_sentence(critics)
        return [
            *reading(self.summary, self.statistics, self.baselines),
            *warnings(self.statistics, self.lengths),
            floor,
        ]


def compare(
    critics: Iterable[Critic],
    pairs: Pairs,
    settings: Settings,
    progress: Progress = silent,
    temperature: float = TEMPERATURE,
) -> CompareResult:
    """Scores all pairs with each critic in turn and tabulates what the read-outs make of them.

    Args:
        critics: Loaded one after the other, so that only one needs to be in memory.
        pairs: At least one.
        settings: How text becomes a score.
        progress: Told of every pair scored.
        temperature: T of the loss that trains on these scores, for what saturation leaves of its gradient.

    Raises:
        CriticProbeError: A pair cannot be scored honestly.
    """
    measure = Compare(temperature)
    with benches(critics, pairs, settings, progress) as made:
        return measure.result(run(made, [measure]))


def scores_of(bench: Bench, ids: Container[str]) -> pd.DataFrame:
    """Some pairs of a bench scored: the rows of `with_verdicts`, their SDs theirs alone."""
    measure = Compare()
    bench.measure([measure], (pair for pair in bench.pairs if pair.id in ids))
    return measure.scored


class Compare:
    """The measurement behind `compare`, for a loop that it shares with others.

    Args:
        temperature: See `compare`.
    """

    label = "pairs"
    needs_floors = True

    def __init__(self, temperature: float = TEMPERATURE) -> None:
        self._temperature = temperature
        self._frames: list[pd.DataFrame] = []
        self._texts: dict[str, Texts] = {}
        self._rows: list[dict[str, Any]] = []

    def begin(self, _: Bench) -> None:
        """A critic's turn begins."""
        self._rows = []

    def ask(self, bench: Bench, pair: EncodedPair) -> Ask:
        """Both sides, and nothing else."""

        def take(values: Values) -> None:
            self.take(pair, score_pair(bench, pair, [values[ids] for ids in pair.group.responses]))

        return Ask((), take)

    def take(self, pair: EncodedPair, rows: Iterable[dict[str, Any]]) -> None:
        """Notes a pair's scores, wherever they come from: rows of `score_pair`."""
        self._texts.setdefault(pair.pair.id, Texts.of(pair))
        self._rows += rows

    def end(self, bench: Bench) -> None:
        """Every pair of a critic is scored."""
        self.close(bench.name, bench.floors)

    def close(self, _: str, floors: Mapping[str, float]) -> None:
        """All of a critic's pairs are known; `floors` are those of noise, by read-out."""
        self._frames.append(with_verdicts(pd.DataFrame(self._rows), floors))

    @property
    def scored(self) -> pd.DataFrame:
        """One row per critic, read-out and pair, in the order of the pairs."""
        return pd.concat(self._frames, ignore_index=True)

    def result(self, done: Run) -> CompareResult:
        """The tables over all critics."""
        return self.judged(done.notices, done.signature(temperature=self._temperature), done.input)

    def judged(self, notices: list[Notice], signed: Signature, shown: dict[str, Any]) -> CompareResult:
        """The tables over the scores.

        Args:
            notices: What was told so far.
            signed: What determined the scores.
            shown: The first pair as it is fed; see `Measured`.
        """
        floor = floor_sentence(signed["critics"])
        result = tabulated(self.scored, self._texts, notices, signed, floor, self._temperature)
        return replace(result, input=shown)


def tabulated(
    scored: pd.DataFrame,
    texts: Mapping[str, "Texts"],
    notices: list[Notice],
    signed: Signature,
    floor: str,
    temperature: float,
) -> CompareResult:
    """Everything that follows from the scores.

    Args:
        scored: The rows of `with_verdicts`, of all critics.
        texts: By id, what rules that read no content need; pairs whose texts are not known are missing.
        notices: What was told so far.
        signed: What determined the scores.
        floor: The sentence on the noise floor.
        temperature: See `compare`.
    """
    summary, categories = summarise(scored), _by_category(scored)
    rules = rules_of(texts)
    prompts = scored.drop_duplicates("id").set_index("id").prompt_hash
    blind = baselines(rules, list(prompts[rules.index]))
    figures = pairwise.statistics(scored, temperature)
    if len(blind):
        best = str(blind.baseline[blind.accuracy.idxmax()])
        known = scored[scored.id.isin(rules.index)]
        figures = figures.merge(pairwise.beyond(known, rules, best), on=["critic", "aggregation"], how="left")
    lengths, contrasts = pairwise.lengths(scored), pairwise.contrasts(scored)
    notices += _pair_notices(scored, texts)
    return CompareResult(
        summary=summary,
        statistics=figures,
        lengths=lengths,
        contrasts=contrasts,
        categories=categories,
        baselines=blind,
        pairs=_most_disputed_first(scored),
        notices=notices,
        signature=signed,
        reading=[*reading(summary, figures, blind), *warnings(figures, lengths), floor],
    )


def score_pair(bench: Bench, pair: EncodedPair, values: Sequence[Tensor]) -> Iterator[dict[str, Any]]:
    """One row per aggregation: both scores, raw ones too where the critic normalises, and the tokens read."""
    both = list(zip(values, (pair.student, pair.teacher), strict=True))
    for aggregation in bench.settings.aggregations:
        scores = [bench.score(v, side, aggregation) for v, side in both]
        tokens = [read_text(bench, pair, v, side, aggregation) for v, side in both]
        row = row_of(bench.name, pair, aggregation, scores, tokens)
        if bench.critic.head.normalisation is not None:
            mean, std = bench.critic.head.normalisation
            raw = [bench.score(v * std + mean, side, aggregation) for v, side in both]
            row |= {"student_raw_score": raw[0], "teacher_raw_score": raw[1]}
        yield row


def row_of(
    critic: str, pair: EncodedPair, aggregation: Aggregation, scores: Sequence[float], tokens: Sequence[str | None]
) -> dict[str, Any]:
    """A pair's row under one read-out, from the scores of student and teacher and the tokens that they were read at."""
    return {
        "critic": critic,
        "id": pair.pair.id,
        "prompt_hash": prompt_hash(pair.pair),
        "category": pair.pair.category,
        "aggregation": aggregation.name,
        "student_score": scores[0],
        "teacher_score": scores[1],
        "student_tokens": len(pair.student.ids),
        "teacher_tokens": len(pair.teacher.ids),
        "student_token_read": tokens[0],
        "teacher_token_read": tokens[1],
    }


def with_verdicts(scored: pd.DataFrame, floors: Mapping[str, float] | pd.Series) -> pd.DataFrame:
    """Rows of `score_pair` with gap, gap over the SD of all scores of the read-out, noise floor and verdict.

    Args:
        scored: One row per read-out and pair.
        floors: The largest gap that is a tie, of each read-out or of each row.
    """
    frames = []
    scored = scored.assign(floor=scored.aggregation.map(floors) if isinstance(floors, Mapping) else floors)
    for _, frame in scored.groupby("aggregation", sort=False):
        gap = frame.teacher_score - frame.student_score
        sd = pd.concat([frame.student_score, frame.teacher_score]).std()
        floor = frame.pop("floor")
        frame = frame.assign(gap=gap, sd=sd, gap_over_sd=gap / sd, floor=floor)
        frames.append(frame.assign(verdict=[verdict(*both) for both in zip(gap, floor, strict=True)]))
    return pd.concat(frames, ignore_index=True)


def summarise(scored: pd.DataFrame) -> pd.DataFrame:
    """One row per critic and aggregation, see `CompareResult.summary`."""
    rows = []
    for _, by_critic in scored.groupby("critic", sort=False):
        first = None
        for (critic, name), frame in by_critic.groupby(["critic", "aggregation"], sort=False):
            verdicts = frame.set_index("id").verdict
            first = verdicts if first is None else first
            flipped, p = (None, None) if first is verdicts else flips(first, verdicts, list(frame.prompt_hash))
            rows.append(
                {
                    "critic": critic,
                    "aggregation": name,
                    **_accuracy_columns(frame),
                    "sd": frame.sd.iloc[0],
                    "gap_over_sd": frame.gap_over_sd.mean(),
                    "separation": separation(frame.student_score, frame.teacher_score),
                    "flips": flipped,
                    "flips_p": p,
                }
            )
    return pd.DataFrame(rows).astype({"flips": "Int64", "flips_p": "float64"})


def _accuracy_columns(frame: pd.DataFrame) -> dict[str, Any]:
    interval = pairwise.d_acc(frame)
    return {
        "n": len(frame),
        "prompts": frame.prompt_hash.nunique(),
        "d_acc": interval.value,
        "d_acc_low": interval.low,
        "d_acc_high": interval.high,
        "ties": int((frame.verdict == "tie").sum()),
        "mean_gap": frame.gap.mean(),
    }


def _by_category(scored: pd.DataFrame) -> pd.DataFrame:
    named = scored[scored.category != ""]
    rows = [
        {
            "critic": critic,
            "aggregation": aggregation,
            "category": category,
            **_accuracy_columns(frame),
            "gap_over_sd": frame.gap_over_sd.mean(),
        }
        for (category, critic, aggregation), frame in named.groupby(["category", "critic", "aggregation"], sort=False)
    ]
    columns = ["critic", "aggregation", "category", "n", "prompts", "d_acc", "d_acc_low", "d_acc_high", "ties"]
    table = pd.DataFrame(rows, columns=[*columns, "mean_gap", "gap_over_sd"])
    return table.merge(pairwise.against_rest(scored), on=columns[:3])


def _most_disputed_first(scored: pd.DataFrame) -> pd.DataFrame:
    """Pairs over which critics and read-outs differ most in gap / SD come first; with one of them, its worst misses."""
    spread = scored.groupby("id", sort=False).gap_over_sd.agg(["min", "max", "size"])
    dispute = (spread["max"] - spread["min"]).where(spread["size"] > 1, -spread["min"])
    scored = scored.assign(dispute=scored.id.map(dispute))
    rank = dispute.fillna(-np.inf).rank(ascending=False, method="first")
    return scored.iloc[scored.id.map(rank).argsort(kind="stable")].drop(columns="sd").reset_index(drop=True)


def read_text(
    bench: Bench, pair: Encoded, values: Tensor, side: EncodedResponse, aggregation: Aggregation
) -> str | None:
    """The decoded token at which a single-token read-out took its value."""
    index = bench.token_read(values, side, aggregation)
    if index is None:
        return None
    if bench.position == "before":
        index -= 1
    ids = side.ids if index >= 0 else pair.prompt_ids  # the state before the first token is at the prompt's last
    return bench.encoder.pieces(ids)[index].text


def _pair_notices(scored: pd.DataFrame, texts: Mapping[str, Texts]) -> list[Notice]:
    notices = []
    count = scored.id.nunique()
    if why := too_few(count, scored.prompt_hash.nunique()):
        notices.append(Notice("few-pairs", f"{why}: nothing is concluded, and the doubt is at least the intervals'"))
    same = [key for key, pair in texts.items() if pair.same]
    for (critic, aggregation), frame in scored[scored.id.isin(same)].groupby(["critic", "aggregation"], sort=False):
        apart = frame[frame.verdict != "tie"]
        if len(apart):
            notices.append(
                Notice(
                    "identical-text-apart",
                    f"{reader(critic, aggregation)}: {len(apart)} of {len(frame)} pairs of identical text score up to "
                    f"{apart.gap.abs().max():.2f} ({apart.gap_over_sd.abs().max():.2f} SD) apart: the ids differ, "
                    "look for EOS on one side",
                    list(apart.id),
                )
            )
    for (critic, aggregation), frame in scored.groupby(["critic", "aggregation"], sort=False):
        if frame.sd.iloc[0] == 0 or (len(frame) == 1 and frame.gap.iloc[0] == 0):
            told = f"{reader(critic, aggregation)}: every score is the same; nothing can be told"
            notices.append(Notice("constant", told))
    return notices
