"""What determines a figure: the settings, and the signature that every result carries."""

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
import transformers

from critic_probe.aggregation import Aggregation
from critic_probe.checkpoint import Critic
from critic_probe.encoding import DATE, Convention, EosPolicy, TemplateMode
from critic_probe.pairs import Candidates, Pair, PairFile, Pairs, data_hash
from critic_probe.scoring.engine import Mode
from critic_probe.version import __version__


class CriticRecord(TypedDict, total=False):
    """What identifies a critic; of scores that were given only its name and the words `given scores`.

    Attributes:
        name: As results call it.
        fingerprint: Of its directory: all that a value depends on.
        head: Hash of its value head.
        tokenizer: Hash of its tokenizer's files.
        template: `raw`, or `chat:` with a hash of the template and what its renderings depend on.
        convention: As what it is read; of one from a file, the name that it signs with.
        convention_because: Why.
        value_position: `at` the token, or `before` it.
        eos_ids: The ids that end a response.
        dtype: What it computes in.
        device: Where.
        attention: transformers' implementation.
        engine: `tree` or `reference`.
        format: Of its directory.
        step: Of its training, where the directory is of a run.
        normalisation: Mean and SD that its framework takes off, or None.
        noise_floor: By read-out, where it was measured.
        left_out: How many rows are in no figure of it, by reason, where there are any.
    """

    name: str
    fingerprint: str
    head: str
    tokenizer: str
    template: str
    convention: str
    convention_because: str
    value_position: str
    eos_ids: list[int]
    dtype: str
    device: str
    attention: str
    engine: str
    format: str
    step: int | None
    normalisation: tuple[float, float] | None
    noise_floor: dict[str, float]
    left_out: dict[str, int]


class Signature(TypedDict, total=False):
    """Everything that determined the figures: two results with different ones are not the same measurement.

    Attributes:
        version: Of critic-probe.
        critics: In order.
        aggregations: The read-outs, in order.
        eos: The EOS policy.
        value_position: That of all critics; several where they differ.
        template_mode: `chat`, where it was asked for; a critic's own `template` tells the others.
        arguments: What the chat template was given beside the messages, where it was given any.
        date: The day that a template is told which reads the clock, where it is not the fixed one.
        torch: Its version.
        transformers: Its version.
        data: Hash of the pairs.
        temperature: T of the loss, where it matters.
        tie_within: Gaps up to it were ties, of scores that were given, where it was asked for.
        families: The families of edits.
        sides: The sides that were edited.
        max_per_response: At most so many edits a response.
        seed: Drew them.
        gradient_pairs: How many pairs went backward.
        heads: How many random heads.
        train: Hash of the pairs that were trained on, where they were scored too.
        trained: Fingerprints of critics that were trained for the result.
        sample: How many pairs were scored again.
        sample_seed: Drew them.
        endpoint: The server that was asked, and what it says it is.
        protocol: How it was asked.
        log: The log whose scores were compared.
        log_step: Which of its samples.
    """

    version: str
    critics: list[CriticRecord]
    aggregations: list[str]
    eos: str
    value_position: str
    template_mode: str
    arguments: dict[str, Any]
    date: str
    torch: str
    transformers: str
    data: str
    temperature: float
    tie_within: float
    families: list[str]
    sides: list[str]
    max_per_response: int | None
    seed: int
    gradient_pairs: int
    heads: int
    train: str
    trained: list[str]
    sample: int
    sample_seed: int
    endpoint: str
    protocol: str
    log: str
    log_step: str


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


def signature(settings: Settings, data: str, critics: Sequence[CriticRecord]) -> Signature:
    """Everything that determined the figures; two results with different signatures are not the same measurement."""
    signed: Signature = {
        "version": __version__,
        "critics": list(critics),
        "aggregations": [a.name for a in settings.aggregations],
        "eos": settings.eos,
        "value_position": ", ".join(dict.fromkeys(critic.get("value_position", "at") for critic in critics)) or "at",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "data": data,
    }
    if settings.template == "chat":
        signed["template_mode"] = settings.template
    if settings.arguments:
        signed["arguments"] = dict(settings.arguments)
    if settings.date != DATE:
        signed["date"] = settings.date.isoformat()
    return signed


def floor_sentence(records: Sequence[CriticRecord]) -> str:
    """How large a difference arithmetic alone makes, for the reader of a table."""
    floors = "; ".join(
        f"{record['name']} " + ", ".join(f"{name} {floor:.1g}" for name, floor in record["noise_floor"].items())
        for record in records
    )
    return f"A difference at or below the noise floor is shown as < floor and counts as a tie ({floors})."


def hash_of(pairs: Pairs) -> str:
    """The data hash of a result's signature; a file has its own already."""
    return pairs.hash if isinstance(pairs, PairFile) else data_hash(pairs)


def prompt_hash(pair: Pair | Candidates) -> str:
    """Twelve hex digits that pairs of one prompt share: what resampling keeps together."""
    return hashlib.sha256(json.dumps(pair.prompt, sort_keys=True, default=str).encode()).hexdigest()[:12]


def identity(critic: Critic) -> str:
    """Everything beside ids and engine that a value depends on: the name under which a cache keeps it."""
    parts = (critic.fingerprint, critic.head.hash, critic.head.normalisation, critic.dtype, critic.device.type)
    precision = torch.get_float32_matmul_precision()
    coarser = () if precision == "highest" else (precision,)
    vectors = (critic.vectors,) if critic.vectors else ()
    return repr((*map(str, parts), critic.attention, torch.__version__, transformers.__version__, *coarser, *vectors))
