"""Whether the order of controls is more than what heads that learnt nothing get, and than what a simple rule gets.

Under one head, edits of all families share the few directions in which a backbone's states differ, so that a random
head orders them together, rightly or wrongly: intervals over prompts know nothing of that. Random heads on the same
states do.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from critic_probe.stats.intervals import Interval
from critic_probe.stats.rates import FEW

LEVEL = 0.025  # on either hand: 5 % of the critics that are random heads themselves

Floats = NDArray[np.float64]


class Heads(NamedTuple):
    """What random heads make of the same controls.

    Attributes:
        edits: How many were held against them.
        own: The critic's own rate of the right order on these.
        low: The rate that 2.5 % of the heads do not reach.
        high: The rate that 2.5 % of them exceed.
        as_good: The share of random heads whose rate is the critic's or better, its own head counted as one of them.
        as_bad: The same of those whose rate is the critic's or worse.
    """

    edits: int = 0
    own: float = np.nan
    low: float = np.nan
    high: float = np.nan
    as_good: float = np.nan
    as_bad: float = np.nan


def against_heads(own: Floats, deltas: Floats, floor: float) -> Heads:
    """Holds the right orders of controls against those of random heads: a permutation test over heads.

    A head and its negative are equally likely, so each counts with both signs.

    Args:
        own: (E,) 1, 0, or half where the critic's delta is noise.
        deltas: (E, H) of the same edits under random heads.
        floor: Deltas of random heads within it are half right.
    """
    if len(own) < FEW:
        return Heads(len(own))
    moved = np.where(np.abs(deltas) > floor, np.sign(deltas), 0.0)
    right = (1 - moved.mean(axis=0)) / 2
    both = np.concatenate([right, 1 - right])
    rate, exact = float(own.mean()), 1e-12  # equal rates are sums in another order
    low, high = np.quantile(both, [LEVEL, 1 - LEVEL])
    as_good = (1 + (both >= rate - exact).sum()) / (1 + len(both))
    as_bad = (1 + (both <= rate + exact).sum()) / (1 + len(both))
    return Heads(len(own), rate, float(low), float(high), float(as_good), float(as_bad))


def controls_word(right: Interval, n: int, heads: Heads, rule: str) -> str:
    """The one word on the order of controls; every sentence and table takes it from here.

    Args:
        right: Their rate of the right order, over prompts.
        n: How many controls there are.
        heads: What random heads make of them.
        rule: The simple rule that explains the moves; empty where none does.
    """
    if rule:
        return "a simple rule"
    if n < FEW:
        return "too few" if n else ""
    if not (right.low > 0.5 or right.high < 0.5):
        return "at chance"
    if np.isnan(heads.as_good):
        return "not compared"
    above = right.low > 0.5
    if (heads.as_good if above else heads.as_bad) > LEVEL:
        return "as random heads"
    return "above chance" if above else "below chance"
