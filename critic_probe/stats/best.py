"""Which of several critics is best on the same pairs, and which ones cannot be told from it."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from critic_probe.stats.intervals import Floats, by_prompt
from critic_probe.stats.paired import signed_sums
from critic_probe.stats.rates import ALPHA, too_few


class Best(NamedTuple):
    """Which of K critics is best.

    Attributes:
        highest: The one with the highest mean, the earliest of equal ones.
        p: (K,) of being worse than another one, over all comparisons; NaN where nothing is tested.
        alike: (K,) bool: not told to be worse than any other.
    """

    highest: int
    p: Floats
    alike: NDArray[np.bool_]

    @property
    def earliest(self) -> int:
        """The first that is not told to be worse than any other."""
        return int(np.flatnonzero(self.alike)[0])


def best_of_steps(credits: ArrayLike, clusters: Sequence[Hashable]) -> Best:
    """Holds each of K critics against every other one on the same n pairs.

    The statistic of two critics is the sum of their differences over the root of the sum of squares, prompts being the
    sample. If neither is right more often, the signs of a prompt's differences may be turned together; the largest
    statistic of all K (K - 1) / 2 comparisons under random signs bounds them all at once (max-T: Westfall and Young
    1993, Resampling-Based Multiple Testing, section 2.6). So whichever is really best is among those alike in at least
    95 % of samples, and with equal critics nobody is called worse in at least 95 %: `python -m benchmarks.steps`.

    Args:
        credits: (n, K) what each is right by, from 0 to 1; of `too_few` pairs or prompts nothing is told.
        clusters: (n,) the prompt of each pair.
    """
    data = np.asarray(credits, float)
    highest = int(data.mean(0).argmax())
    sums = by_prompt(clusters, data).rows
    prompts, count = sums.shape
    if count < 2 or too_few(len(data), prompts):
        return Best(highest, np.full(count, np.nan), np.ones(count, dtype=bool))
    products = sums.T @ sums
    squares = np.diag(products)[:, None] + np.diag(products) - 2 * products
    norms = np.sqrt(np.where(squares > 1e-9, squares, np.inf))
    total = sums.sum(0)
    worse = ((total - total[:, None]) / norms).max(1)  # (K,) against the one that is most clearly better
    drawn = signed_sums(sums)  # (draws, K)
    largest = np.zeros(len(drawn))
    for one in range(count):
        np.maximum(largest, (np.abs(drawn - drawn[:, [one]]) / norms[one]).max(1), out=largest)
    p = ((largest[:, None] >= worse * (1 - 1e-6)).sum(0) + 1) / (len(largest) + 1)
    return Best(highest, p, p > ALPHA)
