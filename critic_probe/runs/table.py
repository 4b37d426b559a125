"""What a run logged, as one table: a row a step, a column a name."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from critic_probe.runs.record import Column, Figures

_SAME, _ROUNDED = 2e-3, 6e-4  # relative and absolute: consoles round to three decimals or four digits
_SAME_SHARE = 0.9
_BAD = ["name", "step", "value"]


@dataclass(frozen=True)
class RunTable:
    """Everything that a run logged, each step once.

    Attributes:
        values: Index step, a column a name; NaN where nothing was logged or what was is no finite number.
        definitions: One row per name and stretch of steps under one definition: name, logged, definition, first, last.
        not_finite: One row per NaN or infinity that was logged: name, step, value.
        restarts: One row per restart: step (the first of the later run), until (the last of the earlier one), names.
            What the earlier run logged from `step` on is left out.
        repeated: One row per name that logged several figures under a step, as micro-batches do: name, steps. Their
            mean stands. One figure that several files tell is not meant.
        left_out: One row per name that was logged under two definitions at once: name, logged, definition, steps. The
            one with most steps stands.
    """

    values: pd.DataFrame
    definitions: pd.DataFrame
    not_finite: pd.DataFrame
    restarts: pd.DataFrame
    repeated: pd.DataFrame
    left_out: pd.DataFrame

    def between(self, first: float, last: float) -> "RunTable":
        """The rows of steps `first` to `last`, both included."""
        bad = self.not_finite
        return replace(
            self, values=self.values.loc[first:last], not_finite=bad[(bad.step >= first) & (bad.step <= last)]
        )

    def redefined(self, names: Sequence[str]) -> list[int]:
        """The steps from which on one of these names is logged under another definition than before."""
        own = self.definitions[self.definitions.name.isin(names)]
        return sorted({int(step) for step in own.loc[own.name.duplicated(), "first"]})


@dataclass
class _Block:
    """Records of the same columns: their places among all, their steps, and their values row by row."""

    columns: tuple[Column, ...]
    places: "array[int]" = field(default_factory=lambda: array("q"))
    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))


class Collected:
    """The figures of records as bare numbers, 8 bytes a figure and 16 a row."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}  # by the identity of their columns
        self._rows = 0

    def add(self, figures: Figures) -> None:
        """Takes one more record."""
        columns, steps, values = figures
        block = self._blocks.get(id(columns))
        if block is None:
            block = self._blocks[id(columns)] = _Block(columns)
        block.places.extend(range(self._rows, self._rows + len(steps)))
        block.steps.extend(steps)
        block.values.extend(values)
        self._rows += len(steps)

    def series(self) -> dict[Column, pd.DataFrame]:
        """What each column logged, in the order in which it was: step, value."""
        parts: dict[Column, list[pd.DataFrame]] = {}
        for block in self._blocks.values():
            rows = {"place": np.asarray(block.places), "step": np.asarray(block.steps)}
            values = np.asarray(block.values).reshape(len(block.steps), len(block.columns))
            for column, own in zip(block.columns, values.T, strict=True):
                parts.setdefault(column, []).append(pd.DataFrame({**rows, "value": own}))
        return {
            column: pd.concat(each).sort_values("place", ignore_index=True)[["step", "value"]]
            for column, each in parts.items()
        }


def run_table(series: Mapping[Column, pd.DataFrame]) -> RunTable:
    """The table of a run's figures.

    Steps that go back are a restart, and the later run stands from there on; where both say the same, one file tells
    what another did, and nothing is left out.

    Args:
        series: Of one run, from one file or several; see `Collected.series`.
    """
    columns: dict[str, pd.Series] = {}
    definitions, bad, restarts, repeated, left_out = [], [], [], [], []
    by_name: dict[str, list[Column]] = {}
    for column in series:
        by_name.setdefault(column.name, []).append(column)
    for name, of_name in by_name.items():
        parts = []
        for place, column in enumerate(of_name):
            kept, went_back = _without_restarts(series[column])
            restarts += went_back
            parts.append(kept.assign(column=place))
        kept, beside = _one_definition(parts)
        left_out += [{**of_name[place]._asdict(), "steps": steps} for place, steps in beside]
        finite = np.isfinite(kept.value)
        bad.append(kept.loc[~finite, ["step", "value"]].assign(name=name)[_BAD])
        by_step = kept.assign(value=kept.value.where(finite)).groupby("step")
        columns[name] = by_step.value.mean()
        low, high = by_step.value.min(), by_step.value.max()
        if several := int((~np.isclose(low, high, rtol=_SAME, atol=0, equal_nan=True)).sum()):
            repeated.append({"name": name, "steps": several})
        for place, first, last in _stretches(by_step.column.first()):
            definitions.append({**of_name[place]._asdict(), "first": first, "last": last})
    values = pd.DataFrame(columns).sort_index().rename_axis("step")
    values.index = values.index.astype(int)
    return RunTable(
        values,
        pd.DataFrame(definitions, columns=["name", "logged", "definition", "first", "last"]),
        pd.concat(bad, ignore_index=True) if bad else pd.DataFrame(columns=_BAD),
        _together(restarts),
        pd.DataFrame(repeated, columns=["name", "steps"]),
        pd.DataFrame(left_out, columns=["name", "logged", "definition", "steps"]),
    )


def _without_restarts(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, int]]]:
    """The rows (of one name and definition, in order) that no later run replaces; and where runs began again."""
    went_back: list[dict[str, int]] = []
    lives = (rows.step.diff() < 0).cumsum()
    if not lives.iloc[-1]:
        return rows, went_back
    kept = rows.iloc[:0]
    for _, life in rows.groupby(lives):
        first = life.step.iloc[0]
        if not len(kept) or first > kept.step.max():
            kept = pd.concat([kept, life]) if len(kept) else life
        elif _agree(kept, life):
            kept = pd.concat([kept[~kept.step.isin(life.step)], life]).sort_values("step", kind="stable")
        else:
            went_back.append({"step": int(first), "until": int(kept.step.max())})
            kept = pd.concat([kept[kept.step < first], life])
    return kept, went_back


def _agree(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    both = one.groupby("step").value.mean().to_frame("a").join(other.groupby("step").value.mean(), how="inner")
    same = np.isclose(both.a, both.value, rtol=_SAME, atol=_ROUNDED, equal_nan=True)
    return bool(len(both)) and bool(same.mean() >= _SAME_SHARE)


def _one_definition(parts: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[tuple[int, int]]]:
    """The rows under one definition a step: of columns that share steps, that with most of them.

    Returns:
        The rows in order of steps; and columns that were left out, with how many steps they share.
    """
    kept, *others = sorted(parts, key=len, reverse=True)
    left = []
    for part in others:
        if shared := len(set(part.step) & set(kept.step)):
            left.append((int(part.column.iloc[0]), shared))
            part = part[~part.step.isin(kept.step)] if shared < len(part) / 2 else part.iloc[:0]
        kept = pd.concat([kept, part])
    return kept.sort_values("step", kind="stable"), left


def _stretches(columns: pd.Series) -> Iterator[tuple[int, int, int]]:
    """Stretches of steps (the index) under one column: it, the first step, and the last."""
    for _, part in columns.groupby((columns != columns.shift()).cumsum()):
        yield int(part.iloc[0]), int(part.index[0]), int(part.index[-1])


def _together(restarts: list[dict[str, int]]) -> pd.DataFrame:
    table = pd.DataFrame(restarts, columns=["step", "until"])
    names = table.groupby("step").agg(until=("until", "max"), names=("until", "size"))
    return names.reset_index()
