"""Paired tests when prompts repeat."""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from critic_probe.stats.rates import CREDIT, FEW_PROMPTS

DRAWS = 10_000
_ENUMERATED = 13  # prompts of which all sign patterns are looked at
_BLOCK = 256  # prompts whose signs are drawn at once


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
    codes, prompts = pd.factorize(np.fromiter(clusters, object, len(data))[kept])
    if len(prompts) < FEW_PROMPTS:
        return np.nan
    sums = np.bincount(codes, data[kept])
    total = abs(sums.sum())
    sums = np.abs(sums[sums != 0])
    halves = np.rint(2 * sums)
    if np.allclose(halves, 2 * sums, rtol=0, atol=1e-9):
        return _exact(halves.astype(int), round(2 * total))
    if len(sums) <= _ENUMERATED:
        patterns = 2.0 * (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1) - 1
        return float((np.abs(patterns @ sums) >= total * (1 - 1e-9)).mean())
    drawn = signed_sums(sums[:, None])[:, 0]
    return float(((np.abs(drawn) >= total * (1 - 1e-6)).sum() + 1) / (DRAWS + 1))


def signed_sums(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(DRAWS, K) sums of rows (P, K) over prompts, each prompt's row under one random sign."""
    drawn = np.zeros((DRAWS, rows.shape[1]))
    for start in range(0, len(rows), _BLOCK):
        some = rows[start : start + _BLOCK]
        drawn += _signs(start // _BLOCK)[:, : len(some)] @ some.astype(np.float32)
    return drawn


@lru_cache(maxsize=4)
def _signs(block: int) -> NDArray[np.float32]:
    """(DRAWS, _BLOCK) 1 or -1, the same in every process."""
    bits = np.random.default_rng(block).integers(256, size=(DRAWS, _BLOCK // 8), dtype=np.uint8)
    return np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1


def flips(before: pd.Series, after: pd.Series, clusters: Sequence[Hashable]) -> tuple[int, float]:
    """Pairs whose verdict changes sides, and the p that neither of both is right more often, ties as half.

    Args:
        before: (n,) teacher, student or tie.
        after: (n,) the same pairs.
        clusters: (n,) the prompt of each pair.
    """
    turned = {"teacher", "student"}
    both = list(zip(before, after, strict=True))
    change = [CREDIT[b] - CREDIT[a] for a, b in both]
    return sum({a, b} == turned for a, b in both), paired_p(change, clusters)


def _exact(sums: NDArray[np.int_], total: int) -> float:
    """P(|T| >= total) of T, the sum of the integers under random signs, from its whole distribution."""
    share = np.ones(1)
    for step in sums:
        share = np.concatenate([share, np.zeros(2 * step)]) / 2
        share[2 * step :] += share[: len(share) - 2 * step].copy()
    far = np.abs(np.arange(len(share)) - sums.sum()) >= total
    return min(float(share[far].sum()), 1.0)
