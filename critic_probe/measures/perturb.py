"""What edits of a response do to its score, and to the verdict of its pair."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from critic_probe.aggregation import Aggregation
from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.measures.reactions import answer
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.variants import SIDES, Plan, Variant, responses_of, variants_of
from critic_probe.pairs import Pairs
from critic_probe.probes import in_context
from critic_probe.scoring.reference import padded_values
from critic_probe.stats.edits import Spreads, contrasts, faults, read_aloud, summarise
from critic_probe.stats.headline import headline
from critic_probe.stats.intervals import Totals, sd_of, totals
from critic_probe.stats.rates import FEW, FEW_PROMPTS, too_few, verdict
from critic_probe.stats.rules import Traits, change, simple_rules, traits
from critic_probe.text import listed
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

AGAIN = ("again", "batch")  # ways of scoring a response a second time
TWICE = 8  # pairs whose responses are computed a second time, outside the tree and its cache


@dataclass(frozen=True, repr=False)
class PerturbResult(Measured):
    """What edits of a response do to its score.

    Attributes:
        summary: One row per critic, aggregation, family, position and kind: n; median, p95 and max of |delta|, raw and
            over the SD of the unedited scores; the signed mean; how often the student/teacher verdict flips; the share
            below the noise floor; the rate of the right order, also with the closing mark restored; the ending's
            effect; and the verdict with its figure, interval, preset floor, smallest detectable effect and, where it is
            `cannot tell`, about how many more prompts would tell.
        headline: One row per critic and aggregation: the strongest harmless edit (family and position, two where the
            halves of the prompts choose apart) with its effect in SD, what it is worth in wrong facts, the harmless
            edits that fail and those with a far tail, the controls' rate of the right order, the kind of fault that is
            ordered worst, the simple rule that explains most, and the word on these three.
        faults: How often each kind of fault scores lower than the answer without it; see `stats.chance`.
        rules: Rules that read no content, and how much of the moves and of the pairs' gaps each explains; see
            `stats.rules.simple_rules`.
        contrasts: Read-out against read-out and critic against critic, family by family: the difference of |delta| over
            SD with its interval, p and p_holm over all families; for controls and directions the p of the right orders.
        cases: One row per critic, aggregation and edit, the largest |delta| over SD first.
        pairs: One row per critic, aggregation and pair: the scores of both unedited sides.
        not_measured: Edits that were not scored: critic, family, reason, count.
        command: perturb, or completeness where only that was asked for.
        spreads: (critic, aggregation) -> totals over prompts of the unedited scores, whose SD deltas are set against.
    """

    tables = ("summary", "headline", "faults", "rules", "contrasts", "cases", "pairs", "not_measured")
    main = "cases"
    also = ("completeness",)

    summary: pd.DataFrame
    headline: pd.DataFrame
    faults: pd.DataFrame
    rules: pd.DataFrame
    contrasts: pd.DataFrame
    cases: pd.DataFrame
    pairs: pd.DataFrame
    not_measured: pd.DataFrame
    command: str = "perturb"
    spreads: Spreads = field(default_factory=dict)

    def answer(self) -> list[Statement]:
        """What each critic reacts to most, what it misses, and what to look at next."""
        return answer(self.headline, self.summary, self.cases, completeness=self.command == "completeness")

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its own tables and signature."""
        critics = self.signature["critics"]
        order = [critic["name"] for critic in critics]
        as_measured = self.cases.sort_values("critic", key=lambda names: names.map(order.index), kind="stable")
        return [*read_aloud(self.summary, self.headline, as_measured), floor_sentence(critics)]


class Scored(NamedTuple):
    """A case with its scores: edited; of the base, where it has one of its own; with the ending restored."""

    variant: Variant
    edited: float
    base: float | None
    restored: float | None


def perturb(
    critics: Iterable[Critic], pairs: Pairs, settings: Settings, plan: Plan, progress: Progress = silent
) -> PerturbResult:
    """Scores every edit of the responses of every pair, as variants in the pair's prompt group.

    Args:
        critics: Loaded one after the other, so that only one needs to be in memory.
        pairs: At least one.
        settings: How text becomes a score.
        plan: Which edits are made.
        progress: Told of every group scored.

    Raises:
        CriticProbeError: A pair cannot be scored honestly, or no edit applies to any response.
    """
    measure = Perturb(plan)
    with benches(critics, pairs, settings, progress) as made:
        return measure.result(run(made, [measure]))


def cases_of(bench: Bench, plan: Plan, ids: Container[str]) -> pd.DataFrame:
    """The cases of some pairs of a bench, with the other answers that the whole file offers; SDs are theirs alone."""
    measure = Perturb(plan)
    bench.measure([measure], (pair for pair in bench.pairs if pair.id in ids))
    return measure.cases


class Perturb:
    """The measurement behind `perturb` and `completeness`, for a loop that it shares with others.

    Original and variants are one group: what they share is computed once.

    Args:
        plan: Which edits are made.
        command: `perturb`, or `completeness` where only that was asked for.
    """

    label = "edits"
    needs_floors = True

    def __init__(self, plan: Plan, command: str = "perturb") -> None:
        self.plan = plan
        self._command = command
        self._frames: list[pd.DataFrame] = []
        self._pairs: list[dict[str, Any]] = []
        self._skips: list[tuple[str, str, str, int]] = []
        self.spreads: dict[tuple[str, str], Totals] = {}

    def begin(self, _: Bench) -> None:
        """A critic's turn begins."""
        self._seen = 0
        self.skipped: Counter[tuple[str, str]] = Counter()
        self._scores: dict[str, list[tuple[str, float]]] = {}
        self._rows: list[dict[str, Any]] = []

    def ask(self, bench: Bench, pair: EncodedPair) -> Ask:
        """Every edit of the pair that can be scored."""
        variants = variants_of(bench, pair, self.plan, self.skipped)

        def take(values: Values) -> None:
            again = twice(bench, pair, variants) if self._seen < TWICE else {}
            self._seen += 1
            for aggregation in bench.settings.aggregations:
                self._take(bench, aggregation, pair, variants, values, again)

        return Ask(responses_of(variants), take)

    def _take(
        self,
        bench: Bench,
        aggregation: Aggregation,
        pair: EncodedPair,
        variants: Sequence[Variant],
        values: Values,
        again: dict[tuple[str, int], Tensor],
    ) -> None:
        """One row per case, under one read-out."""

        def score(response: EncodedResponse | None) -> float | None:
            return None if response is None else bench.score(values[response.ids], response, aggregation)

        def scored() -> Iterator[Scored]:
            for variant in variants:
                scoring, ids = variant.case.scoring, variant.edited.ids
                read = again.get((scoring, variant.side)) if scoring in AGAIN else values[ids]
                if read is not None:
                    edited = bench.score(read, variant.edited, aggregation)
                    yield Scored(variant, edited, score(variant.base), score(variant.restored))

        both = [bench.score(values[side.ids], side, aggregation) for side in (pair.student, pair.teacher)]
        self.take(bench.name, aggregation, pair, both, scored())

    def take(
        self, critic: str, aggregation: Aggregation, pair: EncodedPair, both: Sequence[float], scored: Iterable[Scored]
    ) -> None:
        """Notes a pair's scores under one read-out, wherever they come from.

        Args:
            critic: By name.
            aggregation: The read-out.
            pair: Student and teacher.
            both: Their scores.
            scored: Its cases with theirs, in order.
        """
        self._pairs.append(
            {
                "critic": critic,
                "aggregation": aggregation.name,
                "id": pair.pair.id,
                "prompt_hash": prompt_hash(pair.pair),
                "student_score": both[0],
                "teacher_score": both[1],
                "change": change(_traits(pair.student), _traits(pair.teacher)),
            }
        )
        self._scores.setdefault(aggregation.name, []).extend((prompt_hash(pair.pair), score) for score in both)
        self._rows += (_row(critic, aggregation, pair, both, case) for case in scored)

    def end(self, bench: Bench) -> None:
        """Every edit of a critic's pairs is scored.

        Raises:
            CriticProbeError: There was none.
        """
        if not self._rows:
            reasons = ", ".join(sorted({reason for _, reason in self.skipped}))
            why = reasons or "nothing in them that a family edits"
            raise CriticProbeError(f"{bench.name}: no edit applies to any response ({why}); give other pairs")
        self.close(bench.name, bench.floors)

    def close(self, critic: str, floors: Mapping[str, float]) -> None:
        """All of a critic's cases are known.

        Args:
            critic: By name.
            floors: Of noise, by read-out.
        """
        for row in self._rows:
            row |= {"floor": floors[row["aggregation"]], **_turned(row.pop("gaps"), floors[row["aggregation"]])}
        cases = pd.DataFrame(self._rows)
        spreads = {}
        for name, of_all in self._scores.items():
            prompts, scores = zip(*of_all, strict=True)
            spreads[name] = totals(np.array(scores) - np.mean(scores), prompts)
        self.spreads |= {(critic, name): spread for name, spread in spreads.items()}
        sds = {name: float(sd_of(spread.rows.sum(0))) for name, spread in spreads.items()}
        # A score that does not vary has no spread to set a delta against.
        sds = {name: sd if sd > floors[name] else float("nan") for name, sd in sds.items()}
        sd = cases.aggregation.map(sds)
        cases.insert(cases.columns.get_loc("delta") + 1, "delta_over_sd", cases.delta / sd)
        cases.insert(cases.columns.get_loc("ending_effect") + 1, "ending_effect_over_sd", cases.ending_effect / sd)
        self._frames.append(cases)
        self._skips += ((critic, *why, count) for why, count in sorted(self.skipped.items()))

    @property
    def cases(self) -> pd.DataFrame:
        """One row per critic, read-out and case, in the order of the pairs."""
        return pd.concat(self._frames, ignore_index=True)

    def result(self, done: Run) -> PerturbResult:
        """The figures and verdicts over all critics."""
        drawn = {
            "families": [family.name for family in self.plan.families],
            "sides": list(self.plan.sides),
            "max_per_response": self.plan.most,
            "seed": self.plan.seed,
        }
        return self.judged(done.notices, done.signature(**drawn), done.input)

    def judged(self, notices: list[Notice], signed: Signature, shown: dict[str, Any]) -> PerturbResult:
        """The figures and verdicts of the cases.

        Args:
            notices: What was told so far.
            signed: What determined the scores.
            shown: The first pair as it is fed; see `Measured`.
        """
        skips = pd.DataFrame(self._skips, columns=["critic", "family", "reason", "count"])
        result = judged(self.cases, pd.DataFrame(self._pairs), self.spreads, skips, notices, signed)
        return replace(result, command=self._command, input=shown)


def judged(
    cases: pd.DataFrame,
    pairs: pd.DataFrame,
    spreads: Spreads,
    not_measured: pd.DataFrame,
    notices: list[Notice],
    signed: Signature,
) -> PerturbResult:
    """The figures and verdicts of scored cases."""
    gaps = pairs.assign(delta=pairs.teacher_score - pairs.student_score)
    # An empty response has nothing that a rule could count, and is read at its EOS by every read-out.
    rules = simple_rules(cases[(cases.kind != "identity") & (cases.family != "empty")], gaps)
    summary = summarise(cases, spreads)
    ratios = headline(cases, summary, rules, spreads)
    estimated = summary[summary.kind != "identity"]
    few = estimated[[bool(too_few(*size)) for size in zip(estimated.n, estimated.prompts, strict=True)]]
    if len(few):
        sizes = {f"{row.family} {row.position}": f"{row.n} of {row.prompts} prompts" for row in few.itertuples()}
        families = listed([f"{name} ({size})" for name, size in sorted(sizes.items())])
        demand = f"fewer than {FEW} edits or {FEW_PROMPTS} prompts, too few to conclude from"
        notices.append(Notice("few-cases", f"{demand}: {families}"))
    worst_first = cases.iloc[(-cases.delta_over_sd.abs()).argsort(kind="stable")].reset_index(drop=True)
    return PerturbResult(
        summary=summary,
        headline=ratios,
        faults=faults(cases),
        rules=rules,
        contrasts=contrasts(cases, spreads),
        cases=worst_first.drop(columns=["decided", "change"]),
        pairs=pairs.drop(columns="change"),
        not_measured=not_measured,
        notices=notices,
        signature=signed,
        reading=[*read_aloud(summary, ratios, cases), floor_sentence(signed["critics"])],
        spreads=spreads,
    )


def twice(bench: Bench, pair: EncodedPair, variants: Sequence[Variant]) -> dict[tuple[str, int], Tensor]:
    """Values (R,) of the pair's responses computed outside the tree, by way and side; {} where no family asks."""
    asked = {variant.case.scoring for variant in variants} & {*AGAIN}
    prompt, sides = pair.prompt_ids, (pair.student, pair.teacher)
    windows = [bench.window(len(prompt), len(response.ids)) for response in sides]
    sequences = [prompt + response.ids for response in sides]
    again = {}
    if "again" in asked:
        for side, ids in enumerate(sequences):
            again["again", side] = bench.critic.values(ids)[windows[side]]
    if "batch" in asked:
        mates = [*sequences, prompt, *(prompt + v.edited.ids for v in variants[:4])]
        with suppress(TypeError, ValueError):  # an architecture that takes no mask has no batches to differ by
            padded = list(padded_values(bench.critic, mates))
            for side in (0, 1):
                again["batch", side] = padded[side][windows[side]]
    return again


def _row(
    critic: str, aggregation: Aggregation, pair: EncodedPair, both: Sequence[float], scored: Scored
) -> dict[str, Any]:
    variant, edited, base, restored = scored
    case, original = variant.case, both[variant.side] if base is None else base
    moved = (edited, both[1]) if variant.side == 0 else (both[0], edited)
    own = (pair.student, pair.teacher)[variant.side] if variant.base is None else variant.base
    return {
        "critic": critic,
        "id": pair.pair.id,
        "prompt_hash": prompt_hash(pair.pair),
        "side": SIDES[variant.side],
        "family": case.family,
        "group": case.group,
        "position": case.position,
        # a read-out that keeps EOS may move where one is set, and should not
        "kind": "invariance" if case.scoring == "eos" and aggregation.kind.endswith("+eos") else case.kind,
        "sign": case.sign,
        "aggregation": aggregation.name,
        "original_score": original,
        "variant_score": edited,
        "delta": edited - original,
        "floor": nan,
        "restored_score": restored,
        "ending_effect": None if restored is None else edited - restored,
        "tokens": len(own.ids),
        "token_change": len(variant.edited.ids) - len(own.ids),
        "only_last_token": own.ids[:-1] == variant.edited.ids[:-1] and not own.closing,
        "flip": False,
        "decided": False,
        "change": change(_traits(own), _traits(variant.edited)),
        "gaps": None if base is not None else (both[1] - both[0], moved[1] - moved[0]),
        **in_context(case),
    }


def _traits(response: EncodedResponse) -> Traits:
    return traits(response.text, response.own_ids, any(response.eos))


def _turned(gaps: tuple[float, float] | None, floor: float) -> dict[str, bool]:
    """Whether an edit turned its pair's verdict, and whether there was one; what has a base of its own has no pair."""
    if gaps is None:
        return {}
    before, after = (verdict(gap, floor) for gap in gaps)
    return {"flip": {before, after} == {"student", "teacher"}, "decided": before != "tie"}
