"""Estimators, each with its source; intervals are 95 % throughout."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

FEW = 20  # cases below which nothing is concluded
FEW_PROMPTS = 10  # prompts below which nothing is tested or concluded


class Rate(NamedTuple):
    """A share with its interval."""

    value: float
    low: float
    high: float


def rate(count: float, n: int) -> Rate:
    """Share with Wilson's 95 % interval (Wilson 1927); `count` may be a half-integer. NaN throughout for n = 0."""
    if n == 0:
        return Rate(np.nan, np.nan, np.nan)
    low, high = proportion_confint(count, n, alpha=0.05, method="wilson")
    return Rate(count / n, float(low), float(high))


def accuracy(verdicts: pd.Series) -> Rate:
    """Hard d_acc: the share of verdicts `teacher`, a `tie` counting as half."""
    return rate(float((verdicts == "teacher").sum() + 0.5 * (verdicts == "tie").sum()), len(verdicts))


def verdict(gap: float, floor: float) -> str:
    """Which side a gap d = s_T - s_S is for: `teacher`, `student`, or `tie` where |d| is not above the floor."""
    return "tie" if abs(gap) <= floor else "teacher" if gap > 0 else "student"


def flips(before: pd.Series, after: pd.Series) -> tuple[int, float]:
    """Pairs whose verdict changes sides, and the exact two-sided McNemar p (McNemar 1947).

    A pair tied on either hand has changed no side and leaves the test. p is 1 where nothing flips.
    """
    lost = int(((before == "teacher") & (after == "student")).sum())
    won = int(((before == "student") & (after == "teacher")).sum())
    if lost + won == 0:
        return 0, 1.0
    return lost + won, float(mcnemar([[0, lost], [won, 0]], exact=True).pvalue)


def holm(p: pd.Series) -> pd.Series:
    """p adjusted for all tests of a table by Holm's step-down (1979); NaN stays NaN and counts as no test."""
    adjusted, tested = p.astype(float), p.notna()
    if tested.any():
        adjusted[tested] = multipletests(p[tested], method="holm")[1]
    return adjusted


def separation(student: pd.Series, teacher: pd.Series) -> float:
    """(mean T - mean S) / (SD T + SD S + 1e-8): the score separation of GAD training logs."""
    return float((teacher.mean() - student.mean()) / (teacher.std() + student.std() + 1e-8))
