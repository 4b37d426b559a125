"""What determines a figure: the settings, and the signature that every result carries."""

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from critic_probe.aggregation import Aggregation
from critic_probe.checkpoint import Critic
from critic_probe.encoding import DATE, Convention, EosPolicy, TemplateMode
from critic_probe.pairs import Pair, PairFile, Pairs, data_hash
from critic_probe.scoring.engine import Mode
from critic_probe.version import __version__

Signature = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How text becomes a score.

    Attributes:
        aggregations: The read-outs; the first is the one that others are compared with.
        eos: Whether responses given as text are closed with EOS.
        value_position: `at` the token (reward models, GAD) or `before` it (PPO critics: the state's value); None for
            the convention's.
        template: How prompts are rendered.
        convention: How training fed and read a critic; None for what its directory tells.
        arguments: What the chat template is given beside the messages.
        date: The day that a template is told which reads the clock.
        on_too_long: What becomes of pairs longer than the context.
        engine: How values are computed.
        cache: The file that keeps them; None keeps none.
    """

    aggregations: tuple[Aggregation, ...]
    eos: EosPolicy = "exclude"
    value_position: Literal["at", "before"] | None = None
    template: TemplateMode = "auto"
    convention: Convention | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    date: datetime.date = DATE
    on_too_long: Literal["error", "skip"] = "error"
    engine: Mode = "auto"
    cache: Path | None = None


def signature(settings: Settings, data: str, critics: Sequence[dict[str, Any]]) -> Signature:
    """Everything that determined the figures; two results with different signatures are not the same measurement."""
    return {
        "version": __version__,
        "critics": list(critics),
        "aggregations": [a.name for a in settings.aggregations],
        "eos": settings.eos,
        "value_position": ", ".join(dict.fromkeys(critic.get("value_position", "at") for critic in critics)) or "at",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "data": data,
    }


def floor_sentence(records: Sequence[dict[str, Any]]) -> str:
    """How large a difference arithmetic alone makes, for the reader of a table."""
    floors = "; ".join(
        f"{record['name']} " + ", ".join(f"{name} {floor:.1g}" for name, floor in record["noise_floor"].items())
        for record in records
    )
    return f"A difference at or below the noise floor is shown as < floor and counts as a tie ({floors})."


def hash_of(pairs: Pairs) -> str:
    """The data hash of a result's signature; a file has its own already."""
    return pairs.hash if isinstance(pairs, PairFile) else data_hash(pairs)


def prompt_hash(pair: Pair) -> str:
    """Twelve hex digits that pairs of one prompt share: what resampling keeps together."""
    return hashlib.sha256(json.dumps(pair.prompt, sort_keys=True).encode()).hexdigest()[:12]


def identity(critic: Critic) -> str:
    """Everything beside ids and engine that a value depends on: the name under which a cache keeps it."""
    parts = (critic.fingerprint, critic.head.hash, critic.head.normalisation, critic.dtype, critic.device.type)
    return repr((*map(str, parts), critic.attention, torch.__version__, transformers.__version__))
