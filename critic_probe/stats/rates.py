"""Verdicts, what is too few to conclude from, and corrections for many tests."""

import numpy as np
import pandas as pd

FEW = 20  # cases below which nothing is concluded
FEW_PROMPTS = 10  # prompts below which nothing is tested or concluded
ALPHA = 0.05  # of every test, after Holm's correction

CREDIT = {"teacher": 1.0, "tie": 0.5, "student": 0.0}  # what a verdict adds to d_acc


def too_few(n: int, prompts: int) -> str:
    """Why nothing is concluded from so many cases of so many prompts; empty where it may be."""
    short = ((prompts, FEW_PROMPTS, "prompts"), (n, FEW, "cases"))
    return " and ".join(f"too few {what} ({count}, under {least})" for count, least, what in short if count < least)


def verdict(gap: float, floor: float) -> str:
    """Which side a gap d = s_T - s_S is for: `teacher`, `student`, or `tie` where |d| is not above the floor."""
    return "tie" if abs(gap) <= floor else "teacher" if gap > 0 else "student"


def holm(p: pd.Series) -> pd.Series:
    """p adjusted for all tests of a table by Holm's step-down (1979); NaN stays NaN and counts as no test."""
    ordered = p.dropna().astype(float).sort_values(kind="stable")
    return (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1.0).reindex(p.index)


def separation(student: pd.Series, teacher: pd.Series) -> float:
    """(mean T - mean S) / (SD T + SD S + 1e-8): the score separation of GAD training logs."""
    return float((teacher.mean() - student.mean()) / (teacher.std() + student.std() + 1e-8))
