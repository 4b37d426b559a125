"""The values of one pair, token by token."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from critic_probe.checkpoint import Critic
from critic_probe.encoding import EncodedPair, EncodedResponse
from critic_probe.measures.result import Measured
from critic_probe.measures.variants import SIDES
from critic_probe.pairs import Pair
from critic_probe.workbench import Ask, Bench, Run, Settings, Values, benches, run


@dataclass(frozen=True, repr=False)
class TraceResult(Measured):
    """The values of one pair, token by token.

    Attributes:
        tokens: One row per critic, side and token: index, token_id, text (of its character group), value,
            running_mean, group (index of the group's first token), read_by.
        scores: One row per critic, side and aggregation.
        prompt: The prompt's text.
    """

    command = "trace"
    facts = ("prompt",)
    tables = ("tokens", "scores")
    main = "tokens"

    tokens: pd.DataFrame
    scores: pd.DataFrame
    prompt: str

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its signature."""
        return _reading(self.signature["value_position"])


def trace(critics: Iterable[Critic], pair: Pair, settings: Settings) -> TraceResult:
    """Tabulates every token's value on both sides, the running mean, and which read-outs read just that token.

    Raises:
        CriticProbeError: The pair cannot be scored honestly.
    """
    measure = Trace()
    with benches(critics, [pair], settings) as made:
        return measure.result(run(made, [measure]))


class Trace:
    """The measurement behind `trace`: of every pair that goes by, each token."""

    label = "traces"
    needs_floors = False

    def __init__(self) -> None:
        self._tokens: list[dict[str, Any]] = []
        self._scores: list[tuple[str, str, str, float, str]] = []
        self._prompt = ""

    def begin(self, _: Bench) -> None:
        """A critic's turn begins."""

    def ask(self, bench: Bench, pair: EncodedPair) -> Ask:
        """Both sides, and nothing else."""

        def take(values: Values) -> None:
            self._prompt = bench.encoder.decode(pair.prompt_ids)
            for side, response in zip(SIDES, (pair.student, pair.teacher), strict=True):
                self._take(bench, pair.pair.id, side, response, values[response.ids])

        return Ask((), take)

    def _take(self, bench: Bench, pair: str, side: str, response: EncodedResponse, values: Tensor) -> None:
        read_by: dict[int, list[str]] = {}
        for aggregation in bench.settings.aggregations:
            score = bench.score(values, response, aggregation)
            self._scores.append((bench.name, side, aggregation.name, score, pair))
            index = bench.token_read(values, response, aggregation)
            if index is not None:
                read_by.setdefault(index, []).append(aggregation.name)
        running = values.cumsum(0) / torch.arange(1, len(values) + 1)
        self._tokens += (
            {
                "critic": bench.name,
                "id": pair,
                "side": side,
                "index": index,
                "token_id": response.ids[index],
                "text": piece.text,
                "value": values[index].item(),
                "running_mean": running[index].item(),
                "group": piece.start,
                "read_by": ", ".join(read_by.get(index, [])),
            }
            for index, piece in enumerate(bench.encoder.pieces(response.ids))
        )

    def end(self, _: Bench) -> None:
        """Every pair of a critic is scored."""

    def result(self, done: Run) -> TraceResult:
        """The tables over all critics."""
        return TraceResult(
            tokens=pd.DataFrame(self._tokens),
            scores=pd.DataFrame(self._scores, columns=["critic", "side", "aggregation", "score", "id"]),
            prompt=self._prompt,
            notices=done.notices,
            signature=done.signature(),
            reading=_reading(done.signature()["value_position"]),
            input=done.input,
        )


def _reading(value_position: str) -> list[str]:
    words = {"at": "at the token", "before": "before the token (the state's value)"}
    position = words.get(value_position, "where each critic's convention has it")
    return [
        f"Each value is read {position}; the running mean is over all tokens so far.",
        "Tokens marked · belong to the character above them: one character can be several byte-level tokens.",
    ]
