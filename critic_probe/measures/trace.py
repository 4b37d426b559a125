"""The values of one pair, token by token."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
import torch

from critic_probe.bench import Reader, Settings, Signature, signature, survey
from critic_probe.checkpoint import Critic
from critic_probe.errors import Notice
from critic_probe.measures.result import Result
from critic_probe.pairs import Pair, data_hash


@dataclass(frozen=True, repr=False)
class TraceResult(Result):
    """The values of one pair, token by token.

    Attributes:
        tokens: One row per critic, side and token: index, token_id, text (of its character group), value,
            running_mean, group (index of the group's first token), read_by.
        scores: One row per critic, side and aggregation.
        prompt: The prompt's text.
        notices: Warnings that belong to the figures.
        signature: Everything that determined the figures.
        reading: Plain sentences on how to read them.
    """

    command = "trace"
    facts = ("prompt",)
    tables = ("tokens", "scores")
    main = "tokens"

    tokens: pd.DataFrame
    scores: pd.DataFrame
    prompt: str
    notices: list[Notice]
    signature: Signature
    reading: list[str] = field(default_factory=list)

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its signature."""
        return _reading(self.signature["value_position"])


def trace(critics: Iterable[Critic], pair: Pair, settings: Settings) -> TraceResult:
    """Tabulates every token's value on both sides, the running mean, and which read-outs read just that token.

    Raises:
        CriticProbeError: The pair cannot be scored honestly.
    """
    tokens, scores, notices, records, prompt = [], [], [], [], ""
    for critic in critics:
        reader = Reader(critic, settings)
        surveyed = survey(reader, [pair])
        [encoded] = surveyed.sample
        [values] = reader.values([encoded.group])
        prompt = reader.encoder.prompt_text(pair.prompt)
        for side, response, side_values in zip(
            ("student", "teacher"), (encoded.student, encoded.teacher), values, strict=True
        ):
            read_by: dict[int, list[str]] = {}
            for aggregation in settings.aggregations:
                scores.append((critic.name, side, aggregation.name, reader.score(side_values, response, aggregation)))
                index = reader.token_read(side_values, response, aggregation)
                if index is not None:
                    read_by.setdefault(index, []).append(aggregation.name)
            running = side_values.cumsum(0) / torch.arange(1, len(side_values) + 1)
            for index, piece in enumerate(reader.encoder.pieces(response.ids)):
                tokens.append(
                    {
                        "critic": critic.name,
                        "id": pair.id,
                        "side": side,
                        "index": index,
                        "token_id": response.ids[index],
                        "text": piece.text,
                        "value": side_values[index].item(),
                        "running_mean": running[index].item(),
                        "group": piece.start,
                        "read_by": ", ".join(read_by.get(index, [])),
                    }
                )
        notices += [n for n in (*surveyed.notices, *reader.notices()) if n not in notices]
        records.append(reader.record())
        reader.close()
        del critic, reader  # before the next critic is loaded
    return TraceResult(
        tokens=pd.DataFrame(tokens),
        scores=pd.DataFrame(scores, columns=["critic", "side", "aggregation", "score"]).assign(id=pair.id),
        prompt=prompt,
        notices=notices,
        signature=signature(settings, data_hash([pair]), records),
        reading=_reading(settings.value_position),
    )


def _reading(value_position: str) -> list[str]:
    position = "at the token" if value_position == "at" else "before the token (the state's value)"
    return [
        f"Each value is read {position}; the running mean is over all tokens so far.",
        "Tokens marked · belong to the character above them: one character can be several byte-level tokens.",
    ]
