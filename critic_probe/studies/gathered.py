"""What the audit gathers while pairs go by: some drawn pairs, and a row of figures a response."""

import random
from typing import Any

import numpy as np
import pandas as pd

from critic_probe.aggregation import parse
from critic_probe.encoding import EncodedPair
from critic_probe.measures.tokens import SHORTEST, autocorrelation, effective_tokens
from critic_probe.measures.variants import SIDES
from critic_probe.workbench import Ask, Bench, Values, prompt_hash


class Drawn:
    """Keeps pairs drawn from all, the same whatever the critic."""

    label = "pairs"
    needs_floors = False

    def __init__(self, most: int, seed: int) -> None:
        self._most, self._seed = most, seed
        self.pairs: list[EncodedPair] = []

    def begin(self, bench: Bench) -> None:
        """A critic's turn begins."""
        ids = bench.survey.ids
        chosen = random.Random(self._seed).sample(range(len(ids)), min(self._most, len(ids)))
        self._chosen = {ids[index] for index in chosen}

    def ask(self, _: Bench, pair: EncodedPair) -> None:
        """Nothing of its values."""
        if pair.pair.id in self._chosen:
            self.pairs.append(pair)

    def end(self, _: Bench) -> None:
        """Every pair went by."""


class Responses:
    """One row per response: prompt_hash, side, tokens, sum and squares of the values that are not EOS's, how dependent
    they are (NaN where that cannot be told), and the score under `last` and `mean`."""

    label = "pairs"
    needs_floors = False

    def begin(self, _: Bench) -> None:
        """A critic's turn begins."""
        self._rows: list[dict[str, Any]] = []

    def ask(self, bench: Bench, pair: EncodedPair) -> Ask:
        """Both sides, and nothing else."""

        def take(values: Values) -> None:
            for side, response in zip(SIDES, (pair.student, pair.teacher), strict=True):
                v = values[response.ids]
                body = v.double().numpy()[np.array(response.without_eos)]
                varied = len(body) >= SHORTEST and body.std() > 0
                self._rows.append(
                    {
                        "prompt_hash": prompt_hash(pair.pair),
                        "side": side,
                        "tokens": len(body),
                        "sum": body.sum(),
                        "squares": (body**2).sum(),
                        "lag1": autocorrelation(body)[1] if varied else np.nan,
                        "effective": effective_tokens(body) if varied else np.nan,
                        **{name: bench.score(v, response, parse(name)) for name in ("last", "mean")},
                    }
                )

        return Ask((), take)

    def end(self, _: Bench) -> None:
        """Every pair of a critic is scored."""
        self.table = pd.DataFrame(self._rows)
