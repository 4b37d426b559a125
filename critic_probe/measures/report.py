"""What a report shows beside the results of `compare`, `perturb` and `tokens`: figures by family, place and confidence,
and the values of every token behind its rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise as neighbours
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from critic_probe.encoding import EncodedPair, EncodedResponse, Group
from critic_probe.measures.compare import CompareResult
from critic_probe.measures.perturb import PerturbResult
from critic_probe.measures.result import Statement
from critic_probe.measures.tokens import TokensResult
from critic_probe.measures.variants import Edit, Plan, compared_texts, edit_of
from critic_probe.objective import TEMPERATURE
from critic_probe.pairs import Pair, Prompt, content_text
from critic_probe.stats import pairs as pairwise
from critic_probe.stats.headline import names_of
from critic_probe.stats.intervals import median_interval
from critic_probe.stats.rates import FEW
from critic_probe.workbench import Bench

BINS = 8
TRACED = 3_000_000  # token values that are kept; the page holds as many of them as its size allows
WORST = 5  # edits of a family that are traced
EXAMPLES = 3  # pairs that show the strongest harmless edit

_LEADING = {"strongest", "d_acc"}  # figures of the sentences that an answer begins with
_KEY = ["critic", "aggregation"]
_EDIT = ["id", "side", "family", "position", "left", "removed", "added", "right"]


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
        places: One row per critic, aggregation and position of harmless punctuation edits: median |delta| over SD,
            with its interval.
        reliability: One row per critic, aggregation and bin of pairs: the mean confidence sigmoid(|d| / T), the mean
            |gap| over SD, and d_acc with its interval.
        edits: One row per critic, aggregation and edit that is traced: the columns of `PerturbResult.cases`, and
            `edit`, one number an edit.
        examples: The edits, by their number, that show the strongest harmless one best: those that move the score of
            one read-out most, each of another pair.
        examples_under: The critic and the read-out.
        prompts: By id, what was asked.
        traces: Of the most disputed pairs, and of the edits.
    """

    compare: CompareResult
    perturb: PerturbResult
    tokens: TokensResult
    places: pd.DataFrame
    reliability: pd.DataFrame
    edits: pd.DataFrame
    examples: list[int]
    examples_under: tuple[str, str]
    prompts: dict[str, str]
    traces: list[Traced]

    def answer(self) -> list[Statement]:
        """What each critic reacts to most, whom it puts first, and what makes that doubtful, from `perturb` and
        `compare`; what to run next is left out, as a report shows it."""
        both = [*self.perturb.answer(), *self.compare.answer()]
        measured = [each for each in both if not each.text.startswith("Next: ")]
        return sorted(measured, key=lambda each: not _LEADING & {name.rpartition(".")[2] for name in each.figures})


class Keep:
    """Keeps the pairs that go by, whose tokens are shown once it is known which are worth it."""

    label = "pairs"
    needs_floors = False

    def __init__(self) -> None:
        self.pairs: dict[str, Pair] = {}

    def begin(self, _: Bench) -> None:
        """A critic's turn begins."""

    def ask(self, _: Bench, pair: EncodedPair) -> None:
        """Nothing: values are asked for later, from the cache."""
        self.pairs[pair.pair.id] = pair.pair

    def end(self, _: Bench) -> None:
        """Every pair of a critic went by."""


def report(
    benches: Iterable[Bench],
    pairs: Mapping[str, Pair],
    compared: CompareResult,
    perturbed: PerturbResult,
    along: TokensResult,
    plan: Plan,
    temperature: float = TEMPERATURE,
    traced: int = TRACED,
) -> ReportResult:
    """Gathers what a report shows.

    Args:
        benches: Those of the run, with the values that it kept; their critics may be gone.
        pairs: Those that were measured, by id.
        compared: What `compare` found.
        perturbed: What `perturb` found, with all its edits.
        along: What `tokens` found.
        plan: The edits.
        temperature: T of the loss that trains on these scores.
        traced: At most this many token values are kept, of all critics together.
    """
    best = perturbed.headline.sort_values("strongest_harmless", ascending=False).iloc[0]
    edits, examples = _worst_edits(perturbed.cases, best)
    kept = _most_disputed(compared.pairs, traced - _tokens_of(edits))
    order = compared.summary[_KEY]
    return ReportResult(
        compare=compared,
        perturb=perturbed,
        tokens=along,
        places=order.merge(_places(perturbed), on=_KEY),
        reliability=reliability(compared.pairs, temperature),
        edits=edits,
        examples=examples,
        examples_under=(best.critic, best.aggregation),
        prompts={key: _asked(pair.prompt) for key, pair in pairs.items()},
        traces=[trace for bench in benches for trace in _traces(bench, pairs, kept, edits, plan)],
    )


def reliability(scored: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """One row per critic, read-out and bin: how often verdicts of like confidence are right.

    Confidence is sigmoid(|d| / T), the probability that the discriminator's loss gives the verdict. Bins hold equally
    many pairs, `FEW` of them at least, and `BINS` is the most (Guo et al. 2017, arXiv 1706.04599, with equal mass).

    Args:
        scored: One row per critic, read-out and pair.
        temperature: T.
    """
    rows = []
    for (critic, aggregation), frame in scored.groupby(_KEY, sort=False):
        ordered = frame.iloc[frame.gap.abs().argsort(kind="stable")]
        count = int(np.clip(len(ordered) // FEW, 1, BINS))
        for start, end in neighbours(np.linspace(0, len(ordered), count + 1).astype(int)):
            part = ordered.iloc[start:end]
            interval = pairwise.d_acc(part)
            confidence = 1 / (1 + np.exp(-(part.gap.abs() / temperature).clip(upper=700)))
            rows.append(
                {
                    "critic": critic,
                    "aggregation": aggregation,
                    "n": len(part),
                    "confidence": float(confidence.mean()),
                    "abs_gap_over_sd": float(part.gap_over_sd.abs().mean()),
                    "d_acc": interval.value,
                    "d_acc_low": interval.low,
                    "d_acc_high": interval.high,
                }
            )
    return pd.DataFrame(rows)


def _places(perturbed: PerturbResult) -> pd.DataFrame:
    cases = perturbed.cases
    harmless = cases[(cases.kind == "invariance") & (cases.group == "punct")]
    rows = []
    for (critic, aggregation, position), part in harmless.groupby([*_KEY, "position"], sort=False):
        spread = perturbed.spreads[critic, aggregation]
        interval = median_interval(part.delta_over_sd.abs(), list(part.prompt_hash), spread)
        rows.append((critic, aggregation, position, len(part), *interval))
    return pd.DataFrame(rows, columns=[*_KEY, "position", "n", "median_abs_delta_over_sd", "low", "high"])


def _worst_edits(cases: pd.DataFrame, best: pd.Series) -> tuple[pd.DataFrame, list[int]]:
    """The examples, and the edits of each family under which any read-out does worst: harmless ones that move it most,
    others that move it the wrong way most. An edit that cannot be told from another of its pair is left out."""
    clear = cases[~cases.duplicated([*_KEY, *_EDIT], keep=False) & (cases.removed + cases.added != "")]
    moved = clear.delta_over_sd.where(clear.sign != 0, clear.delta_over_sd.abs())
    bad = moved.where(clear.sign == 0, -clear.delta_over_sd * clear.sign)
    worst = clear.assign(_bad=bad).groupby(_EDIT, sort=False)._bad.max().dropna().sort_values(ascending=False)
    examples = _examples(clear, best)
    chosen = pd.concat([examples, worst.reset_index().groupby("family", sort=False).head(WORST)[_EDIT]])
    chosen = chosen.drop_duplicates().assign(edit=lambda edits: range(len(edits)))
    return chosen.merge(clear, on=_EDIT, how="left"), list(range(len(examples)))


def _examples(clear: pd.DataFrame, best: pd.Series) -> pd.DataFrame:
    """The largest moves of the strongest harmless edit under the read-out that it moves most, which is a row of the
    headline; each of another pair, and of any harmless edit where none could be judged."""
    of_one = (clear.critic == best.critic) & (clear.aggregation == best.aggregation)
    harmless = clear[of_one & (clear.kind == "invariance")].dropna(subset="delta_over_sd")
    strongest = harmless[names_of(harmless).isin(best.strongest)]
    pool = strongest if len(strongest) else harmless
    order = pool.delta_over_sd.abs().sort_values(ascending=False, kind="stable").index
    return pool.loc[order].drop_duplicates("id")[_EDIT].head(EXAMPLES)


def _tokens_of(edits: pd.DataFrame) -> int:
    return int(2 * edits.drop_duplicates(["critic", "edit"]).tokens.sum())


def _most_disputed(scored: pd.DataFrame, values: int) -> set[str]:
    """The pairs, in the order of the table, whose values are no more than these."""
    once = scored.drop_duplicates(["critic", "id"])
    each = (once.student_tokens + once.teacher_tokens).groupby(once.id, sort=False).sum()
    return set(each.index[each.cumsum() <= values])


def _traces(
    bench: Bench, pairs: Mapping[str, Pair], kept: set[str], edits: pd.DataFrame, plan: Plan
) -> Iterator[Traced]:
    wanted: dict[str, dict[Edit, int]] = {}
    own = edits[edits.critic == bench.name].drop_duplicates("edit")
    for row in own.to_dict("records"):
        wanted.setdefault(row["id"], {})[edit_of(row)] = row["edit"]
    both = kept | set(wanted)
    step = bench.progress(f"{bench.name}: traces", len(both), bench.stats)
    for pair in bench.encoded(pair for key, pair in pairs.items() if key in both):
        step()
        sides: dict[int | None, tuple[EncodedResponse, EncodedResponse]] = {}
        if pair.pair.id in kept:
            sides[None] = (pair.student, pair.teacher)
        if pair.pair.id in wanted:
            texts = compared_texts(bench, pair, plan)
            sides |= {number: texts[key] for key, number in wanted[pair.pair.id].items() if key in texts}
        responses = tuple(dict.fromkeys(side.ids for two in sides.values() for side in two))
        values = dict(zip(responses, bench.again(Group(pair.prompt_ids, responses)), strict=True))
        for edit, two in sides.items():
            first, second = (_side(bench, side, values[side.ids]) for side in two)
            yield Traced(pair.pair.id, bench.name, edit, _asked(pair.pair.prompt), (first, second))


def _side(bench: Bench, response: EncodedResponse, values: Tensor) -> TracedSide:
    pieces = bench.encoder.pieces(response.ids)
    starts = list(dict.fromkeys(piece.start for piece in pieces))
    reads = {a.name: bench.token_read(values, response, a) for a in bench.settings.aggregations}
    return TracedSide(
        texts=[pieces[start].text for start in starts],
        sizes=[end - start for start, end in neighbours([*starts, len(pieces)])],
        values=values.float().cpu().numpy(),
        reads={name: index for name, index in reads.items() if index is not None},
        scores={a.name: bench.score(values, response, a) for a in bench.settings.aggregations},
    )


def _asked(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(map(content_text, prompt))
