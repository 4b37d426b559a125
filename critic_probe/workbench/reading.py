"""As what a critic is read: the convention that its directory tells, or the one that was asked for."""

from typing import Any

from critic_probe.checkpoint import Anatomy
from critic_probe.encoding import Convention, Encoder
from critic_probe.encoding.trained import trained_convention
from critic_probe.workbench.signature import Settings


def read_as(anatomy: Anatomy, settings: Settings) -> tuple[Convention, str]:
    """The convention, and why it is this one.

    Raises:
        CriticProbeError: The directory's own files cannot be read.
    """
    if settings.convention is not None:
        return settings.convention, "asked for"
    trained = trained_convention(anatomy)
    return trained.convention, trained.reason


def make_encoder(tokenizer: Any, convention: Convention, settings: Settings, **limits: Any) -> Encoder:
    """A critic's encoder.

    Args:
        tokenizer: The critic's.
        convention: As what it is read.
        settings: How text becomes a score.
        limits: `eos_ids`, `vocabulary`, `context_length` and `pad_id` of `Encoder`.
    """
    return Encoder(
        tokenizer,
        template=settings.template,
        eos=settings.eos,
        convention=convention,
        arguments=settings.arguments,
        date=settings.date,
        **limits,
    )
