"""The claims of the original proposal ("change last to mean"), measured on a critic and its pairs; `docs/audit.md`.

One file, longer than others, because what decides the claims is measured together, in one pass over the pairs.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from critic_probe.aggregation import parse
from critic_probe.checkpoint import Critic
from critic_probe.errors import Notice, parameter
from critic_probe.measures.perturb import Perturb, PerturbResult
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.tokens import variance_ratio, variance_terms
from critic_probe.measures.variants import Plan
from critic_probe.measures.wording import counted
from critic_probe.objective import TEMPERATURE, loss
from critic_probe.pairs import Pairs
from critic_probe.probes import BUILT_IN, WRONG_FACTS, Family
from critic_probe.stats.edits import dilution, right_order
from critic_probe.stats.headline import per_wrong_fact
from critic_probe.stats.intervals import (
    NOTHING,
    Floats,
    Interval,
    Totals,
    by_prompt,
    difference_over_sd,
    estimate,
    mean_interval,
    mean_of,
    mean_over_sd,
    median_interval,
    rate_interval,
    sd_of,
    totals,
)
from critic_probe.stats.rates import FEW, FEW_PROMPTS
from critic_probe.studies.claims import CLAIMS, FAILS, READING_TRAINED, READING_UNTRAINED, UNCLEAR
from critic_probe.studies.gathered import Drawn, Responses
from critic_probe.studies.gradients import LEVELS, SIDES, Gradients, gradients
from critic_probe.studies.untrained import HEADS, Untrained, untrained
from critic_probe.text import listed
from critic_probe.workbench import CriticRecord, Progress, Settings, Signature, benches, run

READ_OUTS = ("last", "mean", "mix:0.5", "last+eos", "mean+eos")
_OWN = ("few-cases", "other-read-out")  # said better by the verdicts, or by what is asked
GRADIENT_PAIRS = 32  # drawn for backward passes; some are ties
HEAD_PAIRS = 64  # drawn for random heads
ENDINGS = ("terminal-swap", "terminal-drop")
COMPLETENESS = "to-complete"
GARBAGE = ("gibberish", "other-answer", "empty", "master-key")
# Same content in another form; a typo and a letter that only looks the same are other texts.
FORMS = tuple(f.name for f in BUILT_IN.values() if f.group == "layout" and f.name not in ("typo", "homoglyph"))


_WORDS = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "cannot tell": ("cannot be told", "cannot be told"),
}
"""Verdict -> what one claim does, and what several do."""


@dataclass(frozen=True, repr=False)
class AuditResult(Measured):
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
    """

    command = "audit"
    tables = ("claims", "figures", "training")
    main = "claims"

    claims: pd.DataFrame
    figures: pd.DataFrame
    training: pd.DataFrame

    def answer(self) -> list[Statement]:
        """Of each critic, how many claims hold, do not hold and cannot be told, and what more prompts would tell."""
        said = []
        for critic, frame in self.claims.groupby("critic", sort=False):
            by_word = {word: list(frame.claim[frame.verdict == word]) for word in _WORDS}
            counts = counted((len(by_word[word]), *verbs) for word, verbs in _WORDS.items())
            text = f"{critic}: of {len(frame)} claims {counts}."
            said.append(Statement(text, {"critic": critic, **by_word}))
            unclear = frame[frame.verdict == UNCLEAR].to_dict("records")
            more = [f"{words} {row['claim']}" for row in unclear if (words := _would_tell(row))]
            if more:
                said.append(Statement(f"{critic}: {listed(more)}.", {"critic": critic}))
        next_ = f"Next: {parameter('full', True)} says what is true instead, and which command shows each figure."
        return [*said, Statement(next_, {})]

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it."""
        return [*_READING, *(READING_TRAINED if len(self.training) else READING_UNTRAINED)]


def audit(
    critics: Iterable[Critic], pairs: Pairs, settings: Settings, progress: Progress, seed: int = 0
) -> AuditResult:
    """Measures every claim on each critic in turn.

    Args:
        critics: Loaded one after the other; of one in half precision a float32 copy is loaded beside it.
        pairs: At least one.
        settings: How text becomes a score; its read-outs are replaced by those that the claims are about.
        progress: Told of every pair scored.
        seed: Draws the pairs for gradients and random heads, the heads, and what edits leave to chance.

    Raises:
        CriticProbeError: A pair cannot be scored honestly, or the backbone hides its layers' states.
    """
    settings = replace(settings, aggregations=tuple(map(parse, READ_OUTS)))
    plan = Plan(_families(*ENDINGS, *FORMS, "eos-toggled", COMPLETENESS, *GARBAGE, *WRONG_FACTS), seed=seed)
    claims: list[pd.DataFrame] = []
    figures: list[pd.DataFrame] = []
    notices: list[Notice] = []
    records: list[CriticRecord] = []
    signed = Signature()
    shown: dict[str, Any] | None = None
    with benches(critics, pairs, settings, progress) as made:
        for bench in made:
            findings = _Findings(bench.name)
            edits, responses = Perturb(plan), Responses()
            of_gradients, of_heads = (Drawn(most, seed) for most in (GRADIENT_PAIRS, HEAD_PAIRS))
            done = run([bench], [edits, responses, of_gradients, of_heads])
            edited = edits.result(done)
            signed, shown = edited.signature, edited.input
            records += done.records
            notices += [n for n in edited.notices if n not in notices and n.code not in _OWN]
            sds = _deviations(responses.table, bench.floors)
            exact = bench.critic if bench.critic.dtype == torch.float32 else bench.critic.in_float32()
            spreads = {name: edited.spreads[bench.name, name] for name in ("last", "mean")}
            _of_gradients(findings, gradients(exact, bench, of_gradients.pairs), spreads, bench.floors)
            random_heads = untrained(exact, bench, of_heads.pairs, _families(*ENDINGS), seed)
            _of_dependence(findings, responses.table, random_heads)
            _of_untrained(findings, random_heads)
            _of_edits(findings, edited, responses.table, sds["mean"])
            claims.append(pd.DataFrame(findings.claims))
            figures.append(pd.DataFrame(findings.figures))
            del exact  # before the next critic is loaded
    return AuditResult(
        claims=_in_order(claims),
        figures=_in_order(figures),
        training=pd.DataFrame(),
        notices=notices,
        signature={**signed, "critics": records, "gradient_pairs": GRADIENT_PAIRS, "heads": HEADS},
        reading=[*_READING, *READING_UNTRAINED],
        input=shown,
    )


def _would_tell(row: Mapping[Hashable, Any]) -> str:
    """About how many more prompts would tell a row of `AuditResult.claims`."""
    figure = Interval(row["figure"], row["low"], row["high"])
    return CLAIMS[row["claim"]].would_tell(figure, row["n"], row["prompts"])


class _Findings:
    """What was found of one critic."""

    def __init__(self, critic: str) -> None:
        self._critic = critic
        self.claims: list[dict[str, Any]] = []
        self.figures: list[dict[str, Any]] = []

    def decide(self, name: str, figure: Interval, n: int, prompts: int) -> None:
        """The figure that decides a claim."""
        claim = CLAIMS[name]
        verdict = claim.verdict(figure, n, prompts)
        more = claim.would_tell(figure, n, prompts) if verdict == UNCLEAR else ""
        beside = claim.instead if verdict == FAILS else claim.caveat
        self.claims.append(
            {
                "critic": self._critic,
                "claim": name,
                "says": claim.says,
                "measured": claim.measured,
                "figure": figure.value,
                "low": figure.low,
                "high": figure.high,
                "holds_if": claim.holds_if,
                "n": n,
                "prompts": prompts,
                "verdict": verdict,
                "told": " ".join(filter(None, (beside, more and f"{more.capitalize()}."))),
                "reproduce": claim.reproduce,
            }
        )

    def note(self, claim: str, name: str, figure: Interval, n: int) -> None:
        """A figure beside it."""
        named = {"critic": self._critic, "claim": claim, "name": name}
        self.figures.append({**named, "value": figure.value, "low": figure.low, "high": figure.high, "n": n})


def _of_gradients(
    findings: _Findings, measured: Gradients, spreads: dict[str, Totals], floors: dict[str, float]
) -> None:
    claim = "last-starves-tokens"
    for read_out, sides in measured.sides.groupby("aggregation", sort=False):
        prompts = list(sides.prompt_hash)
        for level in LEVELS:
            share = mean_interval(sides[level], prompts)
            findings.note(
                claim, f"{read_out}: share on earlier tokens, {level}", share, int(sides[level].notna().sum())
            )
        of_pairs = measured.pairs[measured.pairs.aggregation == read_out]
        reached = mean_interval(of_pairs.reached, list(of_pairs.prompt_hash))
        findings.note(claim, f"{read_out}: share of parameters with a gradient", reached, len(of_pairs))
        for of, column in (("gap", "norm"), ("loss", "loss_norm")):
            norm = median_interval(of_pairs[column], list(of_pairs.prompt_hash))
            name = f"{read_out}: median norm of d {of} / d parameters"
            findings.note("mean-stronger-signal", name, norm, len(of_pairs))
        error = float(sides.closed_form_error.max())
        name = f"{read_out}: largest error of the closed form"
        findings.note("mean-spreads-evenly", name, Interval(error, error, error), len(sides))
        if read_out == "mean":
            findings.decide(
                "mean-spreads-evenly", Interval(error, error, error), len(sides), sides.prompt_hash.nunique()
            )
        else:
            with_embeddings = sides.dropna(subset=["embeddings"])
            share = mean_interval(with_embeddings.embeddings, list(with_embeddings.prompt_hash))
            findings.decide(claim, share, len(with_embeddings), with_embeddings.prompt_hash.nunique())
    # Where a gap is a tie, as between identical sides, the gradients of the two sides cancel but for rounding.
    beyond = measured.pairs[measured.pairs.gap.abs() > measured.pairs.aggregation.map(floors)]
    wide = beyond.pivot(index=["id", "prompt_hash"], columns="aggregation", values=["norm", "loss_norm"])
    wide = wide.reindex(columns=[(of, name) for of in ("norm", "loss_norm") for name in ("last", "mean")])
    wide = wide[(wide > 0).all(axis=1)]
    prompts = list(wide.index.get_level_values("prompt_hash"))
    ratios = {column: np.log(wide[column, "mean"] / wide[column, "last"]) for column in ("norm", "loss_norm")}
    raw = Interval(*np.exp(mean_interval(ratios["norm"], prompts)))
    findings.decide("mean-stronger-signal", raw, len(wide), len(set(prompts)))
    of_loss = Interval(*np.exp(mean_interval(ratios["loss_norm"], prompts)))
    findings.note("mean-stronger-signal", "mean over last, of the loss (saturation included)", of_loss, len(wide))
    both = (spreads["last"], spreads["mean"])
    logs = totals(ratios["norm"], prompts)
    over_sd = estimate(lambda norms, last, mean: mean_of(norms) + np.log(sd_of(last) / sd_of(mean)), logs, *both)
    scaled = Interval(*np.exp(over_sd.interval))
    findings.decide("mean-stronger-signal-sd", scaled, len(wide), len(set(prompts)))


def _of_dependence(findings: _Findings, responses: pd.DataFrame, heads: Untrained) -> None:
    claim = "variance-over-n"
    long = responses.dropna(subset=["lag1"])
    prompts = list(long.prompt_hash)
    columns = [long[name].to_numpy(float) for name in ("tokens", "sum", "squares")]
    terms = variance_terms(prompts, *columns)
    least = whole = NOTHING
    if len(terms.prompts) > 1:
        sizes = (totals(columns[0], prompts), totals(long.effective, prompts))
        least = estimate(lambda tokens, effective: mean_of(tokens) / mean_of(effective), *sizes).interval
        whole = estimate(variance_ratio, terms).interval
    # Autocorrelations within short responses are biased low; differences between responses are signal as well as noise.
    findings.decide(claim, least._replace(high=max(least.high, whole.high)), len(long), len(terms.prompts))
    findings.note(claim, "at most: differences between responses included", whole, len(long))
    for name, column in (
        ("tokens of a response", long.tokens),
        ("effective tokens of a response", long.effective),
        ("lag-1 autocorrelation", long.lag1),
    ):
        findings.note(claim, name, mean_interval(column, list(long.prompt_hash)), len(long))
    if len(heads.tokens) > 1:
        together, of_heads = [""] * len(heads.tokens), zip(heads.sums.T, heads.squares.T, strict=True)
        of_all = [variance_terms(together, heads.tokens, *of_head).rows for of_head in of_heads]
        ratios = variance_ratio(np.concatenate(of_all))
        findings.note(claim, f"variance ratio over {HEADS} random heads", _over_heads(ratios), len(heads.tokens))


def _of_untrained(findings: _Findings, heads: Untrained) -> None:
    won: dict[str, Totals] = {}  # by prompt: pairs, and wins of each head
    effects: dict[str, Floats] = {}
    for read_out, scores in heads.scores.items():
        gaps = scores[:, 1] - scores[:, 0]  # (P, H)
        right = (np.sign(gaps) + 1) / 2
        won[read_out] = by_prompt(heads.prompts, np.insert(right, 0, 1.0, axis=1))
        findings.note("untrained-d_acc", f"{read_out}: d_acc over random heads", _over_heads(right.mean(0)), len(gaps))
        sd = scores.reshape(-1, HEADS).std(axis=0, ddof=1)
        effects[read_out] = np.abs(heads.deltas[read_out]) / np.where(sd > 0, sd, np.nan)
        if len(effects[read_out]):
            over_heads = _over_heads(np.median(effects[read_out], axis=0))
            findings.note(
                "untrained-punctuation", f"{read_out}: median |delta| / SD", over_heads, len(effects[read_out])
            )

    def steadiness(mean: Floats, last: Floats) -> Floats:
        top, bottom = ((row[..., 1:] / row[..., :1]).std(axis=-1) for row in (mean, last))
        ratio: Floats = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
        return ratio

    steady = estimate(steadiness, won["mean"], won["last"]).interval
    findings.decide("untrained-d_acc", steady, len(heads.prompts), len(won["mean"].prompts))
    apart = (effects["mean"] - effects["last"]).mean(axis=1)
    difference = mean_interval(apart, heads.edited_prompts)
    findings.decide("untrained-punctuation", difference, len(apart), len(set(heads.edited_prompts)))


def _of_edits(findings: _Findings, edited: PerturbResult, responses: pd.DataFrame, sd: float) -> None:
    cases = edited.cases
    spreads = {name: edited.spreads[edited.cases.critic.iloc[0], name] for name in READ_OUTS}
    _of_endings(findings, edited, spreads)
    _above_zero(findings, cases, responses, sd)

    def of(read_out: str, *families: str) -> tuple[pd.DataFrame, list[str]]:
        frame = cases[(cases.aggregation == read_out) & cases.family.isin(families)]
        return frame, list(frame.prompt_hash)

    def tell(name: str, read_out: str, interval: Interval, clusters: list[str], decides: str = "mean") -> None:
        findings.note(name, read_out, interval, len(clusters))
        if read_out == decides:
            findings.decide(name, interval, len(clusters), len(set(clusters)))

    for read_out in ("last", "mean"):
        frame, prompts = of(read_out, COMPLETENESS)
        signed = estimate(mean_over_sd, totals(frame.delta * frame.sign, prompts), spreads[read_out]).interval
        tell("complete-not-penalised", read_out, signed, prompts)
        for name, families in (("garbage-below", GARBAGE), ("mean-reads-content", WRONG_FACTS)):
            frame, prompts = of(read_out, *families)
            tell(name, read_out, rate_interval(right_order(frame, frame.delta), prompts), prompts)
            for family in families:
                frame, prompts = of(read_out, family)
                if len(frame):
                    rate = rate_interval(right_order(frame, frame.delta), prompts)
                    findings.note(name, f"{read_out}: {family}", rate, len(frame))
        for name, forms in (("same-content", FORMS), ("same-json", ("json-layout",))):
            frame, prompts = of(read_out, *forms)
            tell(name, read_out, median_interval(frame.delta_over_sd.abs(), prompts, spreads[read_out]), prompts)
            findings.note(name, f"{read_out}, raw", median_interval(frame.delta.abs(), prompts), len(frame))
    for read_out in ("last", "mean", "last+eos", "mean+eos"):
        frame, prompts = of(read_out, "eos-toggled")
        moved = rate_interval((frame.delta.abs() > frame.floor).astype(float), prompts)
        tell("eos-excluded", read_out, moved, prompts, decides="mean+eos")
        size = median_interval(frame.delta_over_sd.abs(), prompts, spreads[read_out])
        findings.note("eos-excluded", f"{read_out}: median |delta| / SD", size, len(frame))


def _of_endings(findings: _Findings, edited: PerturbResult, spreads: dict[str, Totals]) -> None:
    endings = edited.cases[edited.cases.family.isin(ENDINGS)]
    keys = ["id", "side", "family", "left", "removed", "added", "prompt_hash"]
    wide = endings.assign(size=endings.delta_over_sd.abs(), raw=endings.delta.abs())
    wide = wide.groupby([*keys, "aggregation"], sort=False)[["size", "raw"]].mean().unstack("aggregation")
    prompts = list(wide.index.get_level_values("prompt_hash"))
    n, distinct = len(wide), len(set(prompts))
    nothing = pd.Series(np.nan, wide.index)
    size = {name: wide.get(("size", name), nothing) for name in READ_OUTS}
    raw = {name: wide.get(("raw", name), nothing) for name in READ_OUTS}
    parts = {name: (totals(raw[name].where(size[name].notna()), prompts), spreads[name]) for name in READ_OUTS}
    apart = estimate(difference_over_sd, *parts["mean"], *parts["last"]).interval
    findings.decide("punctuation-gap", apart, n, distinct)
    findings.decide("progressive-keeps", Interval(-apart.value, -apart.high, -apart.low), n, distinct)
    for name in ("last", "mean"):
        findings.note("punctuation-gap", f"{name}: median |delta|, raw", median_interval(raw[name], prompts), n)
        means = estimate(mean_over_sd, *parts[name]).interval
        findings.note("punctuation-gap", f"{name}: mean |delta| / SD", means, n)
        medians = median_interval(size[name], prompts, spreads[name])
        findings.note("punctuation-gap", f"{name}: median |delta| / SD", medians, n)
    cases = edited.cases
    for name in ("last", "mean"):
        own = cases[cases.aggregation == name]
        ratio, _ = per_wrong_fact(own[own.family.isin(ENDINGS)], own[own.family.isin(WRONG_FACTS)])
        findings.note("punctuation-gap", f"{name}: |delta| of closing marks over wrong facts", ratio, n)
    for share, name in ((0, "mean"), (0.5, "mix:0.5"), (1, "last")):
        means = estimate(mean_over_sd, *parts[name]).interval
        findings.note("progressive-keeps", f"A = {share:g}: mean |delta| / SD", means, n)
    checked = dilution(edited.cases)
    error = float(checked.over_noise.iloc[0]) if len(checked) else np.nan
    n = int(checked.n.iloc[0]) if len(checked) else 0
    findings.decide("dilution", Interval(error, error, error), n, distinct)


def _above_zero(findings: _Findings, cases: pd.DataFrame, responses: pd.DataFrame, sd: float) -> None:
    """The loss of all pairs before and after a constant is added to every score, and the share above 0."""
    shift = sd if sd > 0 else 1.0
    student, teacher = (torch.tensor(responses[responses.side == side]["mean"].to_numpy(float)) for side in SIDES)
    before, after = (float(loss(student + by, teacher + by)[0]) for by in (0.0, shift))
    change = abs(after - before) / before if before else 0.0
    findings.decide("above-zero", Interval(change, change, change), len(student), responses.prompt_hash.nunique())
    texts = cases[(cases.aggregation == "mean") & (cases.family == COMPLETENESS)]
    for by, shifted in ((0.0, "as scored"), (shift, "1 SD added to every score")):
        above = rate_interval((texts.variant_score + by > 0).astype(float), list(texts.prompt_hash))
        findings.note("above-zero", f"share of complete answers above 0, {shifted}", above, len(texts))


def _in_order(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Claim by claim, critics in the order in which they were asked for."""
    order = {name: index for index, name in enumerate(CLAIMS)}
    together = pd.concat(frames, ignore_index=True)
    return together.sort_values("claim", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _over_heads(figures: Floats) -> Interval:
    """Mean and the range of 95 % of the heads."""
    low, high = np.quantile(figures, [0.025, 0.975])
    return Interval(float(figures.mean()), float(low), float(high))


def _families(*names: str) -> list[Family]:
    return [family for family in BUILT_IN.values() if family.name in names]


def _deviations(responses: pd.DataFrame, floors: dict[str, float]) -> dict[str, float]:
    """SD of all scores under `last` and `mean`; NaN where a score does not vary."""
    sds = {name: float(responses[name].std()) for name in ("last", "mean")}
    return {name: sd if sd > floors[name] else float("nan") for name, sd in sds.items()}


_READING = [
    "A claim holds where the whole interval lies within its bound, and does not hold where none of it does; all else, "
    f"fewer than {FEW} cases or {FEW_PROMPTS} prompts, is 'cannot tell'. Figures that follow from arithmetic have no "
    "interval.",
    "Intervals are 95 %, over prompts. SD is that of all unedited scores under the same critic and read-out, so that "
    "figures compare across read-outs; raw ones do not.",
    f"Gradients are those of {GRADIENT_PAIRS} pairs at T = {TEMPERATURE:g} in float32, one pair at a time, without "
    f"dropout; random heads are {HEADS} normal draws on the states of {HEAD_PAIRS} pairs.",
]
