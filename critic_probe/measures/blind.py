"""Rules that never read what is said: how well length, a closing mark or EOS alone would order pairs."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from critic_probe.encoding import EncodedPair
from critic_probe.stats.intervals import rate_interval
from critic_probe.text import ends_in_terminal


class Texts(NamedTuple):
    """What rules that read no content need of a pair's two texts."""

    lengths: tuple[int, int]
    closed: tuple[bool, bool]
    eos: tuple[bool, bool]
    same: bool

    @classmethod
    def of(cls, pair: EncodedPair) -> "Texts":
        """Those of a pair."""
        student, teacher = pair.student.text, pair.teacher.text
        return cls(
            (len(student), len(teacher)),
            (ends_in_terminal(student), ends_in_terminal(teacher)),
            (pair.student.eos[-1], pair.teacher.eos[-1]),
            student == teacher,
        )


def rules_of(texts: Mapping[str, Texts]) -> pd.DataFrame:
    """One row per pair and one column per rule that reads no content: 1 right, 0 wrong, half where it cannot tell."""
    made: dict[str, Callable[[Texts], float]] = {
        "longer wins": lambda pair: pair.lengths[1] - pair.lengths[0],
        "shorter wins": lambda pair: pair.lengths[0] - pair.lengths[1],
        "ends in terminal punctuation wins": lambda pair: float(pair.closed[1]) - float(pair.closed[0]),
        "ends in EOS wins": lambda pair: float(pair.eos[1]) - float(pair.eos[0]),
    }
    rows = {key: {name: (np.sign(rule(pair)) + 1) / 2 for name, rule in made.items()} for key, pair in texts.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(made))


def baselines(rules: pd.DataFrame, prompts: Sequence[str]) -> pd.DataFrame:
    """One row per rule: baseline, n, accuracy (a tie counts as half) with its interval, ties.

    Args:
        rules: See `rules_of`.
        prompts: The prompt of each pair.
    """
    rows = []
    for name in rules.columns if len(rules) else ():
        right = rate_interval(rules[name], prompts)
        ties = int((rules[name] == 0.5).sum())
        rows.append((name, len(rules), right.value, right.low, right.high, ties))
    return pd.DataFrame(rows, columns=["baseline", "n", "accuracy", "low", "high", "ties"])
