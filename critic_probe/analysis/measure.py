"""Pairs and a critic become values, and values become scores: the one place where this happens."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import transformers
from torch import Tensor

from critic_probe import __version__
from critic_probe.aggregation import Aggregation, aggregate
from critic_probe.analysis.results import Signature
from critic_probe.checkpoint import Anatomy, Critic, audit
from critic_probe.encoding import (
    EncodedPair,
    EncodedResponse,
    Encoder,
    EosPolicy,
    Group,
    TemplateMode,
    encode_pair,
)
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import Pair, PairFile, Pairs, data_hash
from critic_probe.scoring import Cache, Engine, Mode, Stats, distinct, padded_values

_T = TypeVar("_T")

SAMPLE = 4  # pairs on which noise is measured

Progress = Callable[[str, int, Stats], Callable[[], None]]
"""Called with a label, a total and the engine's count of tokens; returns what to call after each step."""


@dataclass(frozen=True)
class Settings:
    """How text becomes a score.

    Attributes:
        aggregations: The read-outs; the first is the one that others are compared with.
        eos: Whether responses given as text are closed with EOS.
        value_position: `at` the token (reward models, GAD) or `before` it (PPO critics: the state's value).
        template: How prompts are rendered.
        on_too_long: What becomes of pairs longer than the context.
        engine: How values are computed.
        cache: The file that keeps them; None keeps none.
    """

    aggregations: tuple[Aggregation, ...]
    eos: EosPolicy = "exclude"
    value_position: Literal["at", "before"] = "at"
    template: TemplateMode = "auto"
    on_too_long: Literal["error", "skip"] = "error"
    engine: Mode = "auto"
    cache: Path | None = None


class Reader:
    """One critic with one group of settings: encodes pairs, gets their values, reads their scores.

    It owns the encoder's caches and the engine for the time that a critic is loaded.
    """

    def __init__(self, critic: Critic, settings: Settings) -> None:
        self.critic = critic
        self.settings = settings
        self.encoder = Encoder(
            critic.tokenizer,
            eos_ids=critic.eos_ids,
            vocabulary=critic.vocabulary,
            context_length=critic.context_length,
            template=settings.template,
            eos=settings.eos,
        )
        self.cache = None if settings.cache is None else Cache(settings.cache, _identity(critic))
        self.engine = Engine(critic, settings.engine, self.cache)

    def encoded(self, pairs: Iterable[Pair]) -> Iterator[EncodedPair]:
        """The pairs that fit the context, one after the other."""
        limit = self.encoder.context_length
        for pair in pairs:
            encoded = encode_pair(pair, self.encoder)
            if limit is None or encoded.length <= limit:
                yield encoded

    def values(self, groups: Iterable[Group]) -> Iterator[list[Tensor]]:
        """Per group and response the values (R,) at the chosen position, in order."""
        window = slice(1, None) if self.settings.value_position == "at" else slice(None, -1)
        for group in self.engine.values(groups):
            yield [values[window] for values in group]

    def window(self, prompt: Sequence[int], response: EncodedResponse) -> slice:
        """Where in the sequence of prompt and response the values of the response's tokens are read."""
        start = len(prompt) - (self.settings.value_position == "before")
        return slice(start, start + len(response.ids))

    def scored(self, items: Iterable[tuple[Group, _T]]) -> Iterator[tuple[_T, list[Tensor]]]:
        """Values of groups beside what they belong to; only what the engine has in hand is held."""
        waiting: deque[_T] = deque()

        def groups() -> Iterator[Group]:
            for group, item in items:
                waiting.append(item)
                yield group

        for values in self.values(groups()):
            yield waiting.popleft(), values

    def score(self, values: Tensor, response: EncodedResponse, aggregation: Aggregation) -> float:
        """The score of one response under one read-out."""
        needs_marks = aggregation.reads_punctuation_mask
        marks = torch.tensor([self.encoder.punctuation(response)]) if needs_marks else None
        eos = torch.tensor([response.eos])
        return aggregate(aggregation, values[None], torch.ones_like(eos), eos=eos, punctuation=marks).item()

    def token_read(self, values: Tensor, response: EncodedResponse, aggregation: Aggregation) -> int | None:
        """Index of the one token whose value is the score; None for a read-out of many tokens."""
        if aggregation.kind not in _READS_ONE:
            return None
        indices = torch.arange(len(response.ids), dtype=torch.float64)
        if aggregation.kind in ("min", "max"):
            score = self.score(values, response, aggregation)
            return next(i for i, v in enumerate(values.tolist()) if v == score and (not response.eos[i] or i == 0))
        eos = torch.tensor([response.eos])
        return int(aggregate(aggregation, indices[None], torch.ones_like(eos), eos=eos).item())

    def close(self) -> None:
        """Lets the cache's file go."""
        if self.cache is not None:
            self.cache.close()

    def notices(self) -> list[Notice]:
        """What happened while scoring."""
        told = [*self.engine.notices, *(self.cache.notices if self.cache else ())]
        return [Notice("engine", f"{self.critic.name}: {message}") for message in told]

    def record(self) -> dict[str, Any]:
        """What identifies this critic in a signature."""
        critic = self.critic
        return {
            "name": critic.name,
            "fingerprint": critic.fingerprint,
            "head": critic.head.hash,
            "tokenizer": critic.tokenizer_hash,
            "template": self.encoder.template_name,
            "eos_ids": sorted(critic.eos_ids),
            "dtype": str(critic.dtype).removeprefix("torch."),
            "device": critic.device.type,
            "attention": critic.attention,
            "engine": self.engine.name,
            "format": critic.layout.format,
            "step": critic.layout.step,
            "normalisation": critic.head.normalisation,
        }


_READS_ONE = ("last", "last+eos", "min", "max")


def preflight(critic: Critic) -> list[Notice]:
    """What `doctor` can tell of a critic without a forward pass, as notices.

    Raises:
        CriticProbeError: One of its checks fails.
    """
    checks = audit(Anatomy(critic.layout, critic.backbone.config, critic.tokenizer, critic.head))
    for check in checks:
        if check.verdict == "fail":
            raise CriticProbeError(f"{critic.layout.path}: {check.check}: {check.evidence}; {check.cure}")
    notices = [Notice(c.check, f"{critic.name}: {c.evidence}") for c in checks if c.verdict == "warn"]
    if critic.head.normalisation is not None:
        mean, std = critic.head.normalisation
        told = (
            f"scores are normalised as OpenRLHF does, (raw - {mean:g}) / {std:g}; raw ones stand beside them in files"
        )
        notices.append(Notice("normalised", f"{critic.name}: {told}"))
    return notices


@dataclass(frozen=True)
class Survey:
    """What a first pass over the pairs tells of them, before anything is scored.

    Attributes:
        pairs: How many will be scored.
        tokens: Of both sides with their prompts: what a framework would compute.
        distinct: Of them, those that the prefix tree computes.
        sample: The first pairs, on which noise is measured.
        notices: Warnings that belong to the figures.
    """

    pairs: int
    tokens: int
    distinct: int
    sample: list[EncodedPair]
    notices: list[Notice]


def survey(reader: Reader, pairs: Pairs) -> Survey:
    """Encodes every pair once and keeps counts.

    Raises:
        CriticProbeError: A check of `doctor` fails, a pair cannot be encoded, is too long without leave to skip it, or
            none is left.
    """
    critic, settings = reader.critic, reader.settings
    name, limit = critic.name, reader.encoder.context_length
    notices = preflight(critic)
    trained = critic.training.get("max_trained_tokens")
    too_long: list[str] = []
    one_side: list[str] = []
    lone: list[str] = []
    beyond: list[str] = []
    sample: list[EncodedPair] = []
    count = tokens = unique = longest = 0
    for pair in pairs:
        encoded = encode_pair(pair, reader.encoder)
        if limit is not None and encoded.length > limit:
            too_long.append(pair.id)
            longest = max(longest, encoded.length)
            continue
        count += 1
        sides = encoded.group.sequences
        tokens += sum(map(len, sides))
        unique += distinct(sides)
        if len(sample) < SAMPLE:
            sample.append(encoded)
        if encoded.student.eos[-1] != encoded.teacher.eos[-1]:
            one_side.append(pair.id)
        if any(all(side.eos) for side in (encoded.student, encoded.teacher)):
            lone.append(pair.id)
        if trained and encoded.length > 2 * trained:
            beyond.append(pair.id)
    if too_long and settings.on_too_long == "error":
        listed = ", ".join(too_long[:5]) + (f" and {len(too_long) - 5} more" if len(too_long) > 5 else "")
        raise CriticProbeError(
            f"{len(too_long)} of {len(pairs)} pairs are longer than the critic's context of {limit} tokens "
            f"(longest {longest}): {listed}; nothing is cut: shorten them, or use --on-too-long skip",
            check="truncation",
        )
    if not count:
        raise CriticProbeError(
            f"{name}: all {len(pairs)} pairs are longer than its context of {limit} tokens; "
            "shorten them or use a critic with a longer context"
        )
    for code, ids, told in (
        ("too-long", too_long, f"{name}: {len(too_long)} pairs longer than {limit} tokens were skipped"),
        (
            "eos-one-side",
            one_side,
            f"in {len(one_side)} pairs only one side ends in EOS: last+eos and mean+eos compare unlike endings there",
        ),
        ("lone-eos", lone, f"{len(lone)} pairs have a side of nothing but EOS; its value is read"),
        (
            "longer-than-trained",
            beyond,
            f"{name}: {len(beyond)} pairs are more than twice as long as anything it was trained on ({trained} "
            "tokens): their scores show how it extrapolates",
        ),
    ):
        if ids:
            notices.append(Notice(code, told, ids))
    return Survey(count, tokens, unique, sample, notices)


def measure_floors(reader: Reader, sample: Sequence[EncodedPair]) -> tuple[dict[str, float], list[Notice]]:
    """The noise floor of each read-out: how far arithmetic alone moves a score.

    The sample's responses are scored as the run scores them, each alone, and in one padded batch; in half precision
    also by the same critic in float32. The floor is twice the largest difference of a response's scores, since a gap
    has two ends, and at least sixteen rounding steps of the largest score.

    Returns:
        The floor by read-out, and in half precision what it does to scores.
    """
    critic = reader.critic
    before = reader.settings.value_position == "before"
    window = slice(None, -1) if before else slice(1, None)
    sides = [(pair.prompt_ids, side) for pair in sample for side in (pair.student, pair.teacher)]
    sequences = [prompt + side.ids for prompt, side in sides]

    def cut(values: Sequence[Tensor]) -> list[Tensor]:
        return [v[len(prompt) - 1 :][window] for v, (prompt, _) in zip(values, sides, strict=True)]

    ways = [[v for group in reader.values(pair.group for pair in sample) for v in group]]
    ways.append(cut([critic.values(ids) for ids in sequences]))
    # An architecture that takes no mask has no batches to differ by, nor has one whose batch memory does not hold.
    with suppress(TypeError, ValueError, torch.OutOfMemoryError):
        ways.append(cut(padded_values(critic, sequences)))
    if critic.dtype != torch.float32:
        exact = critic.in_float32()
        ways.append(cut([exact.values(ids) for ids in sequences]))
        del exact
    floors, biases = {}, []
    for aggregation in reader.settings.aggregations:
        scores = torch.tensor(
            [[reader.score(v, side, aggregation) for v, (_, side) in zip(way, sides, strict=True)] for way in ways],
            dtype=torch.float64,
        )
        spread = float((scores.max(0).values - scores.min(0).values).max())
        steps = 16 * torch.finfo(torch.float32).eps * max(1.0, float(scores.abs().max()))
        floors[aggregation.name] = max(2 * spread, steps)
        if critic.dtype != torch.float32:
            moved = scores[0] - scores[-1]
            biases.append(f"{aggregation.name} {float(moved.mean()):+.2g} (at most {float(moved.abs().max()):.2g})")
    told = ", ".join(biases)
    name = str(critic.dtype).removeprefix("torch.")
    message = f"{critic.name}: {name} moves the scores of {len(sides)} responses against float32 by {told}"
    return floors, [Notice("half-precision", message)] if biases else []


def floor_sentence(records: Sequence[dict[str, Any]]) -> str:
    """How large a difference arithmetic alone makes, for the reader of a table."""
    floors = "; ".join(
        f"{record['name']} " + ", ".join(f"{name} {floor:.1g}" for name, floor in record["noise_floor"].items())
        for record in records
    )
    return f"A difference at or below the noise floor is shown as < floor and counts as a tie ({floors})."


def signature(settings: Settings, data: str, critics: Sequence[dict[str, Any]]) -> Signature:
    """Everything that determined the figures; two results with different signatures are not the same measurement."""
    return {
        "version": __version__,
        "critics": list(critics),
        "aggregations": [a.name for a in settings.aggregations],
        "eos": settings.eos,
        "value_position": settings.value_position,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "data": data,
    }


def hash_of(pairs: Pairs) -> str:
    """The data hash of a result's signature; a file has its own already."""
    return pairs.hash if isinstance(pairs, PairFile) else data_hash(pairs)


def prompt_hash(pair: Pair) -> str:
    """Twelve hex digits that pairs of one prompt share: what resampling keeps together."""
    return hashlib.sha256(json.dumps(pair.prompt, sort_keys=True).encode()).hexdigest()[:12]


def _identity(critic: Critic) -> str:
    """Everything beside ids and engine that a value depends on: the name under which a cache keeps it."""
    parts = (critic.fingerprint, critic.head.hash, critic.head.normalisation, critic.dtype, critic.device.type)
    return repr((*map(str, parts), critic.attention, torch.__version__, transformers.__version__))
