"""Whether logged scores are a checkpoint's: what was logged, scored again, and the factor that tells them apart."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from critic_probe.aggregation import parse
from critic_probe.checkpoint import Critic
from critic_probe.checkpoint.critic import stored_dtype
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.measures.result import Measured, Statement
from critic_probe.runs.faults import FAULTS, Told
from critic_probe.runs.logged import Rounding, chosen, rounding_of, told_of
from critic_probe.runs.maps import scale_of
from critic_probe.runs.record import Sample
from critic_probe.runs.replayed import Replayed
from critic_probe.runs.ways import LINEAR
from critic_probe.serving.factors import DTYPES
from critic_probe.stats.explain import FEWEST, Explanation, Fit, Floats, explain
from critic_probe.workbench import Bench, Settings, Signature, preflight, signature

MOST = 64  # samples of a log that are scored again
_STEPS = 8  # other steps of a log that are looked at where nothing explains those of one
_OF_STEP = 8  # samples of each
_UNRELATED = 0.05  # above this p a correlation, or an asymmetry, is none
_HOLDS = 0.01  # below this p what is left is not what a dropout leaves
_STEP_COLUMNS = ["step", "responses", "residual", "within"]
_COLUMNS = ["factors", "version", "residual", "worst", "residual_before", "within", "moved", "agrees", "named"]


@dataclass(frozen=True, repr=False)
class ReplayResult(Measured):
    """Whether logged scores are a checkpoint's.

    Attributes:
        verdict: One sentence: whether they agree, and by what.
        named: What brings them together, in words; several that do so equally well.
        cures: What mends it.
        left: Where nothing is named, what can be said of the difference.
        unseen: What these samples could not have shown.
        factors: One row per hypothesis that was tried and moves a score: factors, version, residual (median) and worst
            under it, residual_before, within (of all responses), moved, agrees (of those that it moves), named.
        scores: One row per response: id, side, step, tokens, expected (of the checkpoint), logged, residual, floor.
        steps: One row per step of the log that was looked at: step, responses, residual (median), within.
    """

    command = "replay"
    facts = ("agrees", "verdict", "named", "cures", "left", "unseen")
    tables = ("factors", "scores", "steps")
    main = "scores"

    verdict: list[str]
    named: list[str]
    cures: list[str]
    left: list[str]
    unseen: list[str]
    factors: pd.DataFrame
    scores: pd.DataFrame
    steps: pd.DataFrame

    @property
    def agrees(self) -> bool:
        """Whether the logged scores are the checkpoint's."""
        return not (self.cures or self.left)

    def answer(self) -> list[Statement]:
        """Whether they are the checkpoint's, what was done to them, what mends it, and what could not be seen."""
        count = {"responses": len(self.scores)}
        told = [Statement(sentence, count) for sentence in self.verdict]
        if self.named:
            equally = "Equally well explained: " if len(self.named) > 1 else ""
            words = equally + "; or ".join(self.named)
            told.append(Statement(f"{words[0].upper()}{words[1:]}.", {"named": list(self.named)}))
        if self.cures:
            told.append(Statement(f"Mend it: {'; '.join(self.cures)}.", {"cures": list(self.cures)}))
        told += [Statement(sentence, count) for sentence in self.left]
        if self.unseen:
            told.append(
                Statement(f"These samples could not have shown: {'; '.join(self.unseen)}.", {"unseen": [*self.unseen]})
            )
        return told


def replay(
    critics: Iterable[Critic],
    samples: Sequence[Sample],
    settings: Settings,
    *,
    read_out: str | None = None,
    log_step: int | None = None,
    every_step: bool = False,
    most: int = MOST,
    source: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> ReplayResult:
    """Holds logged scores against those of a checkpoint, and searches for what tells them apart.

    Args:
        critics: The checkpoint, and others that may have scored the same; all are held at once.
        samples: Those of the log.
        settings: How text becomes a score.
        read_out: The run's; None for what the checkpoint was trained under, where it says so, else last.
        log_step: The step of the log; None for the one that belongs to the checkpoint.
        every_step: Whether one frozen critic scored all steps.
        most: Samples that are scored again.
        source: The log, for the signature.
        progress: Told what is being done.

    Raises:
        CriticProbeError: The checkpoint cannot be read, or the log has nothing that can be scored again.
    """
    first, *rest = list(critics)
    notices = preflight(first)
    name = read_out or first.training.get("ends_as") or first.training.get("aggregation") or "last"
    settings = replace(settings, aggregations=(parse(name),))
    picked = chosen(samples, log_step, first.layout.step, every_step)
    bench = Bench(first, [], settings)
    told, lost = told_of(bench.encoder, first, picked.samples[:most])
    if not told:
        why = lost[0].message if lost else "no scores"
        raise CriticProbeError(f"{source or 'the log'}: nothing of {picked.why} can be scored: {why}")
    notices += lost
    if len(picked.samples) > most:
        notices.append(Notice("some-samples", f"the first {most} of {len(picked.samples)} samples are scored"))
    observed = np.array([sample.score for sample in told])
    rounding = rounding_of(observed)
    progress(f"{first.name}: {len(told)} responses of {picked.why}")
    replayed = replayed_of(bench, told, rounding, first.loading["dtype"])
    others = {}
    for critic in rest:
        other = Bench(critic, [], settings)
        theirs, _ = told_of(other.encoder, critic, picked.samples[:most])
        if [(t.id, t.side) for t in theirs] != [(t.id, t.side) for t in told]:
            raise CriticProbeError(
                f"{critic.name}: reads other samples of the log than {first.name}; compare critics of one tokenizer"
            )
        others[critic.name] = replayed_of(other, theirs, rounding, critic.loading["dtype"])
    replayed.others = others
    steps = pd.DataFrame(columns=_STEP_COLUMNS)
    if picked.step is not None and (np.abs(observed - replayed.expected) > replayed.limits).any():
        steps = _other_steps(bench, replayed, samples, picked.step)
    whole = steps[(steps.within == steps.responses) & (steps.responses >= FEWEST)]
    lost_eos = any(sample.eos_lost for sample in picked.samples[:most])
    result = judged(replayed, observed, rounding, picked.why, lost_eos, None if whole.empty else whole.iloc[0])
    result = replace(result, steps=steps)
    signed = signature(settings, _hash(told), [bench.record()])
    signed["log"] = source
    signed["log_step"] = picked.why
    return replace(result, notices=[*notices, *bench.encoder.notices, *result.notices], signature=signed)


def replayed_of(bench: Bench, told: Sequence[Told], rounding: Rounding, dtype: str = "auto") -> Replayed:
    """What a checkpoint gives for logged responses.

    Args:
        bench: The checkpoint, and how it is read.
        told: What was logged.
        rounding: How their scores were written down.
        dtype: What they should have been computed in; `auto` is the half type of the log, else that of the weights.
    """
    critic = bench.critic
    if dtype == "auto":
        dtype = rounding.dtype or str(stored_dtype(critic.layout)).removeprefix("torch.")
    exact = critic if critic.dtype == torch.float32 else critic.in_float32()
    read_out = bench.settings.aggregations[0]
    return Replayed(exact, told, bench.encoder, read_out, bench.position, dtype, rounding.halves)


def judged(
    replayed: Replayed,
    observed: Floats,
    rounding: Rounding,
    why: str,
    eos_lost: bool = False,
    other: Any = None,
) -> ReplayResult:
    """What logged scores are, held against what a checkpoint gives.

    Args:
        replayed: What it gives.
        observed: (N,), the scores.
        rounding: How they were written down.
        why: Which of the log's they are.
        eos_lost: Whether nobody can tell from the log which responses ended in EOS.
        other: Another step of the log, all of whose scores are the checkpoint's: step and responses.
    """
    told, n = replayed.samples, len(observed)
    apart = np.abs(observed - replayed.expected)
    floors = replayed.agreed.floor + rounding.halves
    before = f"median difference {np.median(apart):.2g}, largest {apart.max():.2g}"
    columns = {"id": [t.id for t in told], "side": [t.side for t in told], "step": [t.step for t in told]}
    scores = pd.DataFrame(columns | {"tokens": [len(t.fed.response.ids) for t in told]}).assign(
        expected=replayed.expected, logged=observed, residual=apart, floor=floors
    )
    result = ReplayResult(
        verdict=[],
        named=[],
        cures=[],
        left=[],
        unseen=[],
        factors=pd.DataFrame(columns=_COLUMNS),
        scores=scores,
        steps=pd.DataFrame(columns=_STEP_COLUMNS),
        notices=[],
        signature=Signature(),
    )
    if other is not None:
        step, n = int(other.step), int(other.responses)
        sentence = f"another step scored: all {n} logged scores of step {step} are the checkpoint's"
        cure = f"compare with that step ({parameter('log_step', step)}), or give this step's checkpoint"
        return replace(result, verdict=[_other(why, before)], named=[sentence], cures=[cure])
    prompts = len({t.prompt for t in told})
    if prompts < FEWEST:
        if (apart <= floors).all():
            return replace(result, verdict=[f"All {n} logged scores are the checkpoint's ({why}; {before})."])
        sentence = f"They are of {prompts} prompts: too few to search for a factor, which takes {FEWEST}."
        return replace(result, verdict=[_other(why, before)], left=[sentence])
    if not np.ptp(observed) and (apart > floors).any():
        sentence = f"All logged scores are {observed[0]:.6g}: what was done to them cannot be told from one value."
        return replace(result, verdict=[_other(why, before)], left=[sentence])
    explanation = explain(observed, [t.prompt for t in told], replayed.tiers(observed))
    rows = [explanation.row(fit) for fit in explanation.tried if fit.factors and np.isfinite(fit.residual)]
    factors = pd.DataFrame(rows, columns=_COLUMNS).astype({"named": bool})
    result = replace(result, factors=factors)
    only_eos = eos_lost and any(fit.factors == ("eos-in",) for fit in explanation.named)
    if explanation.agreement or only_eos:
        fit = next(fit for fit in explanation.named if not fit.factors or only_eos)
        with_eos = " with EOS, which the log does not show" if only_eos and fit.factors else ""
        level = replayed.own if (fit.floors <= 2 * replayed.own.floor + rounding.halves).all() else replayed.agreed
        here = f", {fit.label}" if fit.label else ""
        within = f"{level.floor:.2g}" + ("" if here else f" ({level.dtype})")
        evidence = (
            f"{fit.within} of {n} logged scores lie within {within} and the rounding of the "
            f"log ({rounding.words}) of the checkpoint's{with_eos}{here} ({why}; median difference {fit.residual:.2g}, "
            f"SD of the scores {np.std(replayed.expected):.2g})"
        )
        first = f"The logged scores are the checkpoint's: {evidence}."
        return replace(result, verdict=[first], unseen=list(_unseen(replayed, observed, level)))
    fresh = replayed.fresh_head(observed)
    if explanation.named and not (fresh and all("other-head" in fit.factors for fit in explanation.named)):
        named = [_told(fit, explanation, replayed, observed) for fit in explanation.named]
        cures = dict.fromkeys(_fault(name)[1] for fit in explanation.named for name in fit.factors)
        return replace(result, verdict=[_other(why, before)], named=named, cures=list(cures))
    if fresh:
        what = f"the head is random: the scores are what {fresh} gives over the checkpoint's states"
        cure = "load the head: a wrapper or another class of model left it out, and only a line of its log says so"
        return replace(result, verdict=[_other(why, before)], named=[f"{what} ({_related(explanation)})"], cures=[cure])
    return replace(result, verdict=[_other(why, before)], left=list(left_over(replayed, observed, explanation)))


def _other(why: str, before: str) -> str:
    return f"The logged scores are not the checkpoint's ({why}; {before})."


def _fault(name: str) -> tuple[str, str]:
    """A factor in words, and its cure."""
    if name.startswith("dtype-"):
        dtype = name.removeprefix("dtype-")
        return f"computed in {dtype}", f"score in the checkpoint's own type, or accept {dtype}"
    return FAULTS[name].what, FAULTS[name].cure


def _called(fit: Fit) -> str:
    words = " and ".join(_fault(name)[0] for name in fit.factors)
    return words + (f" ({fit.label})" if fit.label else "")


def _told(fit: Fit, explanation: Explanation, replayed: Replayed, observed: Floats) -> str:
    moved = f"median residual {explanation.nothing.residual:.2g} -> {fit.residual:.2g}"
    line = ""
    if fit.factors == ("scaled",):
        slope, intercept = scale_of(replayed.expected, observed)
        line = f"logged = {slope:.3g} x score {intercept:+.3g}; "
    return f"{_called(fit)} ({line}{moved}; {fit.agrees} of {fit.moved} responses that it moves say so)"


def _related(explanation: Explanation) -> str:
    r, p = explanation.correlation
    return "scores that do not vary" if r is None else f"rank correlation with the checkpoint's {r:.2f}, p = {p:.2g}"


def left_over(replayed: Replayed, observed: Floats, explanation: Explanation) -> Iterator[str]:
    """What can be said where nothing brings the scores together."""
    r, p = explanation.correlation
    tried = [fit for fit in explanation.tried if fit.factors]
    nearest = min(tried, key=lambda fit: fit.residual)
    near = f"nearest is {_called(nearest)} with a median residual of {nearest.residual:.2g}"
    if r is None or p is None or p > _UNRELATED:
        yield (
            f"No factor fits, and logged scores and the checkpoint's are uncorrelated ({_related(explanation)}): "
            f"another model scored, or the head is random; {near}."
        )
    else:
        yield f"No factor fits ({_related(explanation)}; {near})."
        if noise := _noise(replayed, observed):
            yield noise
            return
        yield (
            "What is left is no noise about the checkpoint's scores: another step of the training may have scored, or "
            "two factors that were not tried together."
        )
    if not replayed.can_fit_heads and replayed.read_out.kind in LINEAR:
        enough = replayed.enough_for_heads
        yield (
            f"Another head over the same states is told from more than {enough} responses only "
            f"({parameter('samples', enough // 2 + 1)})."
        )


def _noise(replayed: Replayed, observed: Floats) -> str | None:
    """What is left, if it is symmetrical about 0 and unrelated to the score and the length."""
    rest = observed - replayed.expected
    lengths = np.array([len(sample.fed.response.ids) for sample in replayed.samples])
    above = int((rest > 0).sum())
    even = float(stats.binomtest(above, len(rest)).pvalue)
    tests = [even, float(stats.wilcoxon(rest).pvalue), float(stats.skewtest(rest).pvalue) if len(rest) > 8 else 1.0]
    for other in (replayed.expected, lengths):
        if np.ptp(other):
            tests.append(float(stats.spearmanr(rest, other).pvalue))
    if min(tests) < _HOLDS:
        return None
    spread = f"SD {rest.std():.2g}, {rest.std() / replayed.expected.std():.0%} of the scores' SD"
    said = (
        f"What is left looks like noise: symmetrical about 0 ({above} of {len(rest)} above), unrelated to score and "
        f"length, {spread}. Scoring in train mode, with dropout, leaves such, and so does a type coarser than "
        f"{DTYPES[-1]}; the scores alone do not tell which"
    )
    if (share := replayed.head_dropout(observed)) is not None:
        said += f", but how it varies from response to response is what dropout of {share:.2g} before the head leaves"
    return said + "."


def _unseen(replayed: Replayed, observed: Floats, level: Any) -> Iterator[str]:
    """In words, the factors that would not have moved these scores."""
    for name in replayed.factors:
        if name not in ("scaled", "other-head", "other-checkpoint") and not replayed.moves(name, level, observed):
            yield FAULTS[name].what


def _other_steps(bench: Bench, replayed: Replayed, samples: Sequence[Sample], step: int) -> pd.DataFrame:
    """How the checkpoint's scores lie beside those of other steps of the log, the nearest ones."""
    steps = sorted({sample.step for sample in samples} - {step}, key=lambda other: abs(other - step))[:_STEPS]
    rows = []
    for other in sorted(steps):
        told, _ = told_of(bench.encoder, bench.critic, [s for s in samples if s.step == other][:_OF_STEP])
        if told:
            observed = np.array([sample.score for sample in told])
            apart = np.abs(observed - replayed.scores_of([sample.fed for sample in told]))
            within = int((apart <= replayed.agreed.floor + rounding_of(observed).halves).sum())
            rows.append({"step": other, "responses": len(told), "residual": float(np.median(apart)), "within": within})
    return pd.DataFrame(rows, columns=_STEP_COLUMNS)


def _hash(told: Sequence[Told]) -> str:
    content = [[t.fed.prompt, t.fed.response.ids, t.score] for t in told]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
