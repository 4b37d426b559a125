"""Logged responses as they should have been scored: which of a log's, how they were rounded, and what was fed."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from critic_probe.checkpoint import Critic
from critic_probe.encoding import Encoder
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.pairs import BadRowError, Candidates
from critic_probe.runs.faults import Fed, Told
from critic_probe.runs.record import Sample, Side
from critic_probe.stats.explain import FEWEST, Floats

_BY_CHANCE = 1e-4
_EQUAL = 1e-9


class Rounding(NamedTuple):
    """How scores were written down.

    Attributes:
        dtype: The half type on whose grid all lie; None for finer ones.
        decimals: With how many; None where they are as exact as the type.
        halves: (N,), how far that moved each at most.
    """

    dtype: str | None
    decimals: int | None
    halves: Floats

    @property
    def words(self) -> str:
        """For a sentence."""
        parts = [self.dtype or "", f"{self.decimals} decimals" if self.decimals is not None else ""]
        return " with ".join(part for part in parts if part) or "full precision"


def rounding_of(scores: Floats) -> Rounding:
    """How scores (N,) were rounded, by the grids on which all of them lie.

    A half type is taken where all lie on its grid, at least `FEWEST` different ones on one that is coarser than the
    decimals, and scores of another type would by chance at odds below `_BY_CHANCE`: each about as often as the ratio of
    both grids.
    """
    decimals = next((d for d in range(8) if (np.abs(scores - scores.round(d)) < _EQUAL).all()), None)
    printed = 0.0 if decimals is None else 0.5 * 10.0**-decimals
    for name, bits, least in (("bfloat16", 8, -126), ("float16", 11, -14)):
        exponent = np.maximum(np.frexp(scores)[1] - 1, least)
        grid = np.exp2((exponent - bits + 1).astype(np.float64))
        off = np.abs(scores - np.round(scores / grid) * grid)
        _, first = np.unique(scores, return_index=True)
        odds = np.minimum(1.0, (2 * printed + _EQUAL) / grid[first])
        coarser = (odds < 1).sum() >= FEWEST and np.log(odds).sum() < np.log(_BY_CHANCE)
        if coarser and (off <= printed + _EQUAL).all():
            exact = bool((off <= _EQUAL).all())  # all digits of the type were written down
            return Rounding(name, None if exact else decimals, grid / 2 + (0.0 if exact else printed))
    return Rounding(None, decimals, np.full(len(scores), printed))


class Chosen(NamedTuple):
    """The samples of a log that are scored again.

    Attributes:
        samples: Of it.
        why: How the step was chosen, for a sentence.
        step: Theirs; None for several.
    """

    samples: list[Sample]
    why: str
    step: int | None


def chosen(samples: Iterable[Sample], wanted: int | None, trained: int | None, every: bool = False) -> Chosen:
    """The samples of one step of a log.

    A checkpoint of step N has been updated N times, and scores the samples of step N + 1 before the next update.

    Args:
        samples: Those of the log.
        wanted: The step that was asked for.
        trained: The checkpoint's step, where its directory tells.
        every: Whether all steps are taken together, because one frozen critic scored them.

    Raises:
        CriticProbeError: The log scores nothing, or has no such step.
    """
    by_step: dict[int, list[Sample]] = {}
    for sample in samples:
        if any(_score(side) is not None for side in (sample.student, sample.teacher)):
            by_step.setdefault(sample.step, []).append(sample)
    if not by_step:
        raise CriticProbeError(
            "the log holds no scored responses; give a scoring-detail log, a dump of responses, or rollouts"
        )
    if every:
        return Chosen([sample for group in by_step.values() for sample in group], "all steps, as asked", None)
    steps = f"{min(by_step)} to {max(by_step)}" if len(by_step) > 1 else str(min(by_step))
    if wanted is not None and wanted not in by_step:
        raise CriticProbeError(f"{parameter('log_step', wanted)}: the log has steps {steps}")
    if wanted is not None:
        return Chosen(by_step[wanted], f"step {wanted} of the log, as asked", wanted)
    if trained is not None:
        for step in (trained + 1, trained):
            if step in by_step:
                return Chosen(by_step[step], f"step {step} of the log, for a checkpoint of step {trained}", step)
    if len(by_step) == 1:
        [(step, group)] = by_step.items()
        return Chosen(group, f"step {step}, the log's only one", step)
    enough = [step for step, group in by_step.items() if len({_asked(s) for s in group}) >= FEWEST] or [*by_step]
    last = max(enough)
    return Chosen(by_step[last], f"step {last}, the last of the log's ({steps})", last)


def told_of(encoder: Encoder, critic: Critic, samples: Iterable[Sample]) -> tuple[list[Told], list[Notice]]:
    """Logged responses as they should have been scored, and what was left out.

    Ids are taken where the log has them; text is tokenised as training would have. A text with U+FFFD was another one
    before it was logged, and is left out.

    Args:
        encoder: The checkpoint's.
        critic: The checkpoint.
        samples: Of the log.
    """
    told: list[Told] = []
    lost: dict[str, list[str]] = {}
    as_text: list[str] = []
    eos_lost: list[str] = []
    for sample in samples:
        sides = [("student" if sample.teacher else "response", sample.student), ("teacher", sample.teacher)]
        for name, side in sides:
            if side is None:
                continue
            score = _score(side)
            if score is None:
                lost.setdefault("without a finite score", []).append(sample.place)
                continue
            try:
                fed, turns = _fed(encoder, critic, sample, side)
            except BadRowError as fault:
                lost.setdefault(str(fault), []).append(sample.place)
                continue
            if encoder.context_length is not None and len(fed.ids) > encoder.context_length:
                lost.setdefault("longer than the critic's context", []).append(sample.place)
                continue
            if side.ids is None:
                as_text.append(sample.place)
            if sample.eos_lost:
                eos_lost.append(sample.place)
            told.append(Told(sample.place, name, sample.step, _asked(sample), fed, turns, side.ids is not None, score))
    notices = [
        Notice("left-out", f"{len(ids)} responses left out: {why}", list(dict.fromkeys(ids)))
        for why, ids in lost.items()
    ]
    if as_text:
        message = (
            f"{len(as_text)} responses are logged as text alone, which was tokenised anew: sampled ids may be others"
        )
        notices.append(Notice("no-ids", message))
    if eos_lost:
        message = (
            f"{len(eos_lost)} responses lost their special tokens in the log: with EOS and without were both tried"
        )
        notices.append(Notice("eos-lost", message))
    return told, notices


def _fed(encoder: Encoder, critic: Critic, sample: Sample, side: Side) -> tuple[Fed, Any]:
    if side.ids is None and "\ufffd" in (side.text or ""):
        raise BadRowError("broken text", "its text holds U+FFFD, where the log lost part of a character")
    if side.ids is None and side.text is None:
        raise BadRowError("no response", "neither text nor ids")
    ids = (
        None
        if side.ids is None
        else encoder.exact(side.ids, "", closing=int(side.ids[-1:] != () and side.ids[-1] in critic.eos_ids))
    )
    if ids is not None:
        ids = replace(ids, text=encoder.decode(ids.own_ids))
    if sample.prompt_ids is not None:
        text = str(critic.tokenizer.decode(list(sample.prompt_ids), skip_special_tokens=True))
        turns = encoder.turns_of(text, decoded=True)
        if turns is not None and encoder.prompt(turns) != sample.prompt_ids:
            turns = None
        return Fed(sample.prompt_ids, ids or encoder.response(side.text or "")), turns
    if sample.prompt is None:
        raise BadRowError("no prompt", "the log has no prompt")
    if "\ufffd" in sample.prompt:
        raise BadRowError("broken text", "its prompt holds U+FFFD, where the log lost part of a character")
    turns = _turns(encoder, sample.prompt)
    prompt = sample.prompt if turns is None else turns
    if ids is not None:
        return Fed(encoder.prompt(prompt), ids), turns
    encoded = encoder.candidates(Candidates(sample.place, prompt, (side.text or "",), ("response",)))
    return Fed(encoded.prompt_ids, encoded.responses[0]), turns


def _turns(encoder: Encoder, prompt: str) -> Any:
    """The messages of a logged prompt, whose last line break a log may have lost; None where it stays text."""
    for text in dict.fromkeys((prompt, f"{prompt}\n", f"{prompt}\n\n")):
        turns = encoder.turns_of(text, decoded=True)
        if turns is None or turns != encoder.turns_of(text):
            return turns
    return encoder.turns_of(prompt)


def _score(side: Side | None) -> float | None:
    return side.score if side is not None and side.score is not None and np.isfinite(side.score) else None


def _asked(sample: Sample) -> str:
    """Equal for samples of one prompt."""
    said = sample.prompt if sample.prompt_ids is None else json.dumps(sample.prompt_ids)
    return hashlib.sha256(str(said).encode()).hexdigest()[:12]
