"""Paired tests when prompts repeat."""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from critic_probe.stats.rates import FEW_PROMPTS

DRAWS = 20_000
SEED = 0
_ENUMERATED = 14  # prompts of which all sign patterns are looked at


def paired_p(differences: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Two-sided p that paired differences centre on 0: the sign-flip randomisation test over whole prompts.

    If neither of a pair is favoured, the sum of a prompt's differences is as likely as its opposite, however its cases
    depend on each other. p is the share of all sign patterns whose total is at least as far from 0 (Fisher 1935,
    section 21; Winkler et al. 2014, NeuroImage 92, for whole blocks). Of verdicts, which differ by halves, and of few
    prompts it is exact; with one case a prompt the first is the exact McNemar test. Else `DRAWS` seeded patterns stand
    for all.

    Args:
        differences: (n,) one a case; NaN is left out.
        clusters: (n,) the prompt of each case.

    Returns:
        p; 1 where nothing differs, NaN below `FEW_PROMPTS` prompts.
    """
    data = np.asarray(differences, float)
    kept = ~np.isnan(data)
    codes, prompts = pd.factorize(pd.Series(list(clusters), dtype=object)[kept])
    if len(prompts) < FEW_PROMPTS:
        return np.nan
    sums = np.bincount(codes, data[kept])
    total = abs(sums.sum())
    sums = np.abs(sums[sums != 0])
    halves = np.rint(2 * sums)
    if np.allclose(halves, 2 * sums, rtol=0, atol=1e-9):
        return _exact(halves.astype(int), round(2 * total))
    if len(sums) <= _ENUMERATED:
        patterns = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs(_totals(patterns, sums)) >= total * (1 - 1e-9)).mean())
    width = -(-len(sums) // 8)
    drawn = np.random.default_rng(SEED).integers(256, size=(DRAWS, width), dtype=np.uint8)
    far = np.abs(_totals(np.unpackbits(drawn, axis=1)[:, : len(sums)], sums)) >= total * (1 - 1e-9)
    return float((far.sum() + 1) / (DRAWS + 1))


def _exact(sums: NDArray[np.int_], total: int) -> float:
    """P(|T| >= total) of T, the sum of the integers under random signs, from its whole distribution."""
    share = np.ones(1)
    for step in sums:
        share = np.concatenate([share, np.zeros(2 * step)]) / 2
        share[2 * step :] += share[: len(share) - 2 * step].copy()
    far = np.abs(np.arange(len(share)) - sums.sum()) >= total
    return min(float(share[far].sum()), 1.0)


def _totals(patterns: NDArray[np.integer], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return (2.0 * patterns - 1) @ sums
