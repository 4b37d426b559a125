"""What a run logged, as one table: a row a step, a column a name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from critic_probe.runs.record import Scalar

_SAME, _ROUNDED = 2e-3, 6e-4  # relative and absolute: consoles round to three decimals or four digits
_SAME_SHARE = 0.9


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
            mean stands.
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


def run_table(scalars: Iterable[Scalar]) -> RunTable:
    """The table of a run's scalars, in the order in which they were logged.

    Steps that go back are a restart, and the later run stands from there on; where both say the same, one file tells
    what another did, and nothing is left out.

    Args:
        scalars: Of one run, from one file or several.
    """
    columns: dict[str, pd.Series] = {}
    definitions, bad, restarts, repeated, left_out = [], [], [], [], []
    rows = pd.DataFrame(
        [(s.name, s.logged, s.definition, s.step, s.value) for s in scalars],
        columns=["name", "logged", "definition", "step", "value"],
    )
    for name, of_name in rows.groupby("name", sort=False):
        series = []
        for _, of_definition in of_name.groupby(["logged", "definition"], sort=False):
            kept, went_back = _without_restarts(of_definition)
            restarts += went_back
            series.append(kept)
        kept, beside = _one_definition(series)
        left_out += [{"name": name, **each} for each in beside]
        finite = np.isfinite(kept.value)
        bad += [{"name": name, "step": row.step, "value": row.value} for row in kept[~finite].itertuples()]
        by_step = kept.assign(value=kept.value.where(finite)).groupby("step")
        columns[str(name)] = by_step.value.mean()
        if several := int((by_step.size() > 1).sum()):
            repeated.append({"name": name, "steps": several})
        definitions += [{"name": name, **stretch} for stretch in _stretches(by_step.first())]
    values = pd.DataFrame(columns).sort_index().rename_axis("step")
    values.index = values.index.astype(int)
    return RunTable(
        values,
        pd.DataFrame(definitions, columns=["name", "logged", "definition", "first", "last"]),
        pd.DataFrame(bad, columns=["name", "step", "value"]),
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


def _one_definition(series: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """The rows under one definition a step: of definitions that share steps, that with most of them."""
    first, *others = sorted(series, key=len, reverse=True)
    kept, left = first, []
    for part in others:
        if shared := len(set(part.step) & set(kept.step)):
            left.append({"logged": part.logged.iloc[0], "definition": part.definition.iloc[0], "steps": shared})
            part = part[~part.step.isin(kept.step)] if shared < len(part) / 2 else part.iloc[:0]
        kept = pd.concat([kept, part])
    return kept.sort_values("step", kind="stable"), left


def _stretches(by_step: pd.DataFrame) -> list[dict[str, object]]:
    changes = (by_step[["logged", "definition"]] != by_step[["logged", "definition"]].shift()).any(axis=1).cumsum()
    return [
        {"logged": part.logged.iloc[0], "definition": part.definition.iloc[0]}
        | {"first": int(part.index[0]), "last": int(part.index[-1])}
        for _, part in by_step.groupby(changes)
    ]


def _together(restarts: list[dict[str, int]]) -> pd.DataFrame:
    table = pd.DataFrame(restarts, columns=["step", "until"])
    names = table.groupby("step").agg(until=("until", "max"), names=("until", "size"))
    return names.reset_index()
