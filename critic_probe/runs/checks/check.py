"""What a check of a run is, what it is given, and what it gives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from critic_probe.runs.profile import Bounds, Profile
from critic_probe.runs.table import RunTable
from critic_probe.stats.trend import noise, onset

Verdict = Literal["fail", "warn", "info", "skipped"]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


SHARES = frozenset(f"critic/{name}" for name in ("d_acc", "eval_acc", "saturated", "hard_samples")) | {"data/truncated"}


class Finding(NamedTuple):
    """What a check says of a run.

    Attributes:
        check: Its name.
        verdict: `skipped` where what it needs was not logged, or not for long enough.
        step: At which step it began; None where that cannot be said.
        evidence: What was measured, with figures and steps.
        causes: What it usually comes from, the likeliest first.
        confirm: The command that would tell, with PAIRS, DIR (a checkpoint), RUN_DIR and LOG to be filled in.
    """

    check: str
    verdict: Verdict
    step: int | None
    evidence: str
    causes: tuple[str, ...] = ()
    confirm: str = ""


class Series(NamedTuple):
    """One figure, where it was logged.

    Attributes:
        name: Its name.
        steps: (n,) in order.
        values: (n,) finite.
        level: (n,) running medians; means of shares, whose medians are biased where batches are small.
    """

    name: str
    steps: NDArray[np.int64]
    values: Floats
    level: Floats

    def __bool__(self) -> bool:
        return len(self.values) > 0

    def from_on(self, step: float) -> "Series":
        """What was logged at that step and later."""
        part = self.steps >= step
        return Series(self.name, self.steps[part], self.values[part], self.level[part])


@dataclass(frozen=True)
class Run:
    """What a check is given: figures of a run under one definition each.

    Attributes:
        table: Of the part of the run that is looked at.
        scores: One row a logged response: step, side, length, score; may be empty.
        profile: The bounds.
        begins: The first step of the whole run.
        redefined: Whether the run has other parts, under other definitions.
        going_on: Whether the run may still be writing, and will be judged again.
    """

    table: RunTable
    scores: pd.DataFrame
    profile: Profile
    begins: int
    redefined: bool = False
    going_on: bool = False

    @property
    def first(self) -> int:
        """The part's first step."""
        return int(self.table.values.index[0])

    @property
    def last(self) -> int:
        """The part's last step."""
        return int(self.table.values.index[-1])

    @property
    def concluding(self) -> int:
        """The step from which on something may be concluded."""
        return self.first + int(self.profile["general"]["steps"])

    @property
    def points(self) -> int:
        """So many logged steps in a row are a state."""
        return int(self.profile["general"]["points"])

    def until(self, step: float) -> "Run":
        """The run as it was at that step."""
        return replace(self, table=self.table.between(self.first, step), scores=self.scores[self.scores.step <= step])

    def series(self, *names: str) -> Series:
        """The first of these names that was logged; without values where none was."""
        name = next((name for name in names if name in self.table.values and self.table.values[name].count()), "")
        column = self.table.values[name].dropna() if name else pd.Series(dtype=float, index=pd.Index([], dtype=int))
        window = column.rolling(int(self.profile["general"]["smooth"]), center=True, min_periods=1)
        level = window.mean() if name in SHARES else window.median()
        return Series(name, column.index.to_numpy(), column.to_numpy(float), level.to_numpy(float))

    def joined(self, *names: str) -> pd.DataFrame:
        """The steps at which all of these were logged; empty where one never was."""
        if not set(names) <= set(self.table.values):
            return pd.DataFrame(columns=list(names), dtype=float)
        return self.table.values[list(names)].dropna()

    def spread(self) -> pd.Series:
        """The SD of scores by step: of both sides' SDs, else of all scores; empty where none was logged."""
        sides = self.joined("critic/teacher_std", "critic/student_std")
        if len(sides):
            return pd.Series(np.sqrt((sides**2).mean(axis=1)))
        return pd.Series(self.joined("critic/score_std").squeeze(axis=1))


Judged = Iterator[tuple[Verdict, int | None, str]]
"""Verdicts with the step of onset and the evidence."""
Judge = Callable[[Run, Bounds], Judged]


@dataclass(frozen=True)
class Check:
    """A check on runs.

    Attributes:
        name: As profiles and findings have it.
        asks: What it looks for, in a sentence.
        needs: What must have been logged: names, `a or b` where either does. `scores` are single responses'.
        judge: Gives findings of a run under the check's bounds.
        causes: The likeliest first.
        confirm: The command that would tell.
        early: Whether a run of any length is judged.
    """

    name: str
    asks: str
    needs: tuple[str, ...]
    judge: Callable[[Run, Bounds], Iterator[Finding]] = field(repr=False)
    causes: tuple[str, ...] = ()
    confirm: str = ""
    early: bool = False

    @property
    def names(self) -> list[str]:
        """Every figure that it may look at."""
        return [name for need in self.needs for name in need.split(" or ") if name != "scores"]

    def lacks(self, run: Run) -> list[str]:
        """Which of its needs were not logged."""
        values = run.table.values
        logged = set(values.columns[values.notna().any()])
        if len(run.scores):
            logged.add("scores")
        return [need for need in self.needs if not logged & set(need.split(" or "))]


CHECKS: dict[str, Check] = {}


def check(
    name: str, *needs: str, causes: Sequence[str] = (), confirm: str = "", early: bool = False
) -> Callable[[Judge], Judge]:
    """Makes a function a check, whose docstring is what it asks."""

    def registered(judge: Judge) -> Judge:
        def findings(run: Run, bounds: Bounds) -> Iterator[Finding]:
            for verdict, step, evidence in judge(run, bounds):
                yield Finding(name, verdict, None if step is None else int(step), evidence, tuple(causes), confirm)

        CHECKS[name] = Check(name, judge.__doc__ or "", needs, findings, tuple(causes), confirm, early)
        return judge

    return registered


def stretches(flags: Flags) -> list[slice]:
    """All stretches of true flags in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int)))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def stretch(flags: Flags, least: int) -> slice | None:
    """The first stretch of at least so many true flags in a row; None where there is none."""
    return next((each for each in stretches(flags) if each.stop - each.start >= least), None)


def at_end(flags: Flags, least: int) -> slice | None:
    """The stretch of at least so many true flags that lasts to the end; None where there is none."""
    start = len(flags) - int(np.argmin(flags[::-1])) if not flags.all() else 0
    return slice(start, len(flags)) if len(flags) - start >= least and len(flags) else None


def logarithm(values: Floats) -> Floats:
    """Of figures that are above 0 and whose noise grows with them."""
    return np.asarray(np.log(np.maximum(values, 1e-12)))


def began(series: Series, seen: int, *, log: bool = False) -> int:
    """The step at which the change began that was seen at an index; of logarithms where growth is by a factor."""
    return int(series.steps[onset(logarithm(series.values) if log else series.values, seen)])


def sd_of_step(values: Floats) -> float:
    """The noise of single logged values."""
    return noise(values).sd


def figure(value: float) -> str:
    """A figure as evidence has it."""
    return f"{value:.3g}"
