"""The values of one pair, token by token."""

from collections.abc import Iterable

import pandas as pd
import torch

from critic_probe.analysis.measure import Reader, Settings, signature, survey
from critic_probe.analysis.results import TraceResult
from critic_probe.checkpoint import Critic
from critic_probe.pairs import Pair, data_hash


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
        prompt = reader.encoder.decode(encoded.prompt_ids)
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
    position = "at the token" if settings.value_position == "at" else "before the token (the state's value)"
    return TraceResult(
        tokens=pd.DataFrame(tokens),
        scores=pd.DataFrame(scores, columns=["critic", "side", "aggregation", "score"]).assign(id=pair.id),
        prompt=prompt,
        notices=notices,
        signature=signature(settings, data_hash([pair]), records),
        reading=[
            f"Each value is read {position}; the running mean is over all tokens so far.",
            "Tokens marked · belong to the character above them: one character can be several byte-level tokens.",
        ],
    )
