"""Pairs and a critic become values, and values become scores: the one place where this happens."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
    encode_pairs,
)
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.pairs import Pair, data_hash
from critic_probe.scoring import ReferenceScorer, Scorer

Progress = Callable[[str, int], Callable[[], None]]
"""Called with a label and a total; returns what to call after each step."""


@dataclass(frozen=True)
class Settings:
    """How text becomes a score.

    Attributes:
        aggregations: The read-outs; the first is the one that others are compared with.
        eos: Whether responses given as text are closed with EOS.
        value_position: `at` the token (reward models, GAD) or `before` it (PPO critics: the state's value).
        template: How prompts are rendered.
        on_too_long: What becomes of pairs longer than the context.
    """

    aggregations: tuple[Aggregation, ...]
    eos: EosPolicy = "exclude"
    value_position: Literal["at", "before"] = "at"
    template: TemplateMode = "auto"
    on_too_long: Literal["error", "skip"] = "error"


class Reader:
    """One critic with one group of settings: encodes responses, gets their values, reads their scores.

    It owns the encoder's and scorer's caches for the time that a critic is loaded.
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
        self.scorer: Scorer = ReferenceScorer(critic)

    def values(self, groups: Sequence[Group], label: str, progress: Progress) -> Iterable[list[Tensor]]:
        """Per group and response the values (R,) at the chosen position, in order."""
        step = progress(f"{self.critic.name}: {label}", len(groups))
        window = slice(1, None) if self.settings.value_position == "at" else slice(None, -1)
        for group in self.scorer.values(groups):
            step()
            yield [values[window] for values in group]

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
            "format": critic.layout.format,
            "step": critic.layout.step,
            "normalisation": critic.head.normalisation,
        }


_READS_ONE = ("last", "last+eos", "min", "max")


@dataclass(frozen=True)
class Measured:
    """The pairs that a critic scored, with the values of both sides."""

    reader: Reader
    pairs: list[EncodedPair]
    values: list[list[Tensor]]
    notices: list[Notice]


def measure(reader: Reader, pairs: Sequence[Pair], progress: Progress) -> Measured:
    """Scores every pair that fits the context once.

    Raises:
        CriticProbeError: A pair cannot be encoded, is too long without leave to skip it, or none is left.
    """
    critic, settings = reader.critic, reader.settings
    notices = preflight(critic)
    encoded, too_long = encode_pairs(pairs, reader.encoder, on_too_long=settings.on_too_long)
    if not encoded:
        raise CriticProbeError(
            f"{critic.name}: all {len(pairs)} pairs are longer than its context of {critic.context_length} tokens; "
            "shorten them or use a critic with a longer context"
        )
    values = list(reader.values([pair.group for pair in encoded], "pairs", progress))
    return Measured(reader, encoded, values, [*notices, *_notices(reader, encoded, too_long)])


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


def signature(settings: Settings, pairs: Sequence[Pair], critics: Sequence[dict[str, Any]]) -> Signature:
    """Everything that determined the figures; two results with different signatures are not the same measurement."""
    return {
        "version": __version__,
        "critics": list(critics),
        "aggregations": [a.name for a in settings.aggregations],
        "eos": settings.eos,
        "value_position": settings.value_position,
        "engine": ReferenceScorer.name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "data": data_hash(pairs),
    }


def _notices(reader: Reader, pairs: Sequence[EncodedPair], too_long: Sequence[str]) -> list[Notice]:
    name, found = reader.critic.name, []
    if too_long:
        limit = reader.critic.context_length
        found.append(
            Notice("too-long", f"{name}: {len(too_long)} pairs longer than {limit} tokens were skipped", too_long)
        )
    one_side = [p.pair.id for p in pairs if p.student.eos[-1] != p.teacher.eos[-1]]
    if one_side:
        found.append(
            Notice(
                "eos-one-side",
                f"in {len(one_side)} pairs only one side ends in EOS: last+eos and mean+eos compare unlike "
                "endings there",
                one_side,
            )
        )
    lone = [p.pair.id for p in pairs if any(all(side.eos) for side in (p.student, p.teacher))]
    if lone:
        found.append(Notice("lone-eos", f"{len(lone)} pairs have a side of nothing but EOS; its value is read", lone))
    trained = reader.critic.training.get("max_trained_tokens")
    if trained:
        beyond = [p.pair.id for p in pairs if len(p.prompt_ids) + max(map(len, p.group.responses)) > 2 * trained]
        if beyond:
            found.append(
                Notice(
                    "longer-than-trained",
                    f"{name}: {len(beyond)} pairs are more than twice as long as anything it was trained on "
                    f"({trained} tokens): their scores show how it extrapolates",
                    beyond,
                )
            )
    return found
