"""As what a critic is read: the convention that its directory tells, or the one that was asked for."""

from typing import TYPE_CHECKING, Any

from critic_probe.checkpoint import Anatomy
from critic_probe.checkpoint.critic import embedding_rows, eos_ids
from critic_probe.encoding import Convention, Encoder
from critic_probe.encoding.trained import trained_convention
from critic_probe.errors import Notice
from critic_probe.workbench.signature import Settings

if TYPE_CHECKING:
    from critic_probe.workbench.loop import Bench


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


def encoder_of(anatomy: Anatomy, settings: Settings) -> tuple[Encoder, str]:
    """The encoder of a critic whose weights are not loaded, and why it reads as it does."""
    convention, because = read_as(anatomy, settings)
    config = anatomy.config.get_text_config()
    encoder = make_encoder(
        anatomy.tokenizer,
        convention,
        settings,
        eos_ids=eos_ids(anatomy.layout, anatomy.tokenizer, config),
        vocabulary=embedding_rows(anatomy.layout) or config.vocab_size,
        context_length=getattr(config, "max_position_embeddings", None),
        pad_id=getattr(anatomy.config, "pad_token_id", None),
    )
    return encoder, because


def read_otherwise(bench: "Bench") -> list[Notice]:
    """What is read otherwise than the critic was trained to be read, by its convention or the record of `warmup`."""
    critic, settings = bench.critic, bench.settings
    notices = []
    trained = critic.training.get("ends_as") or critic.training.get("aggregation")
    if bench.convention.reads != "read-outs":
        trained = "last"  # the convention's own token
    others = [a.name for a in settings.aggregations if a.name != trained]
    if trained and others:
        message = f"{critic.name}: trained to be read under {trained}; {', '.join(others)} read it otherwise"
        notices.append(Notice("other-read-out", message))
    closes = settings.eos == "include" or "eos" in bench.convention.closing
    for name, value in (("eos", "include" if closes else "exclude"), ("value_position", bench.position)):
        if critic.training.get(name, value) != value:
            message = f"{critic.name}: trained with {name} {critic.training[name]}, read with {value}"
            notices.append(Notice(f"other-{name.replace('_', '-')}", message))
    return notices
