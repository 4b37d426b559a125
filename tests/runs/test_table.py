"""A run's scalars as one table."""

import math

import pytest

from critic_probe.runs.record import Column, Figures
from critic_probe.runs.table import Collected
from critic_probe.runs.table import run_table as table_of


def rows(name, values, first=1, definition="", logged="tag"):
    columns = (Column(name, logged, definition),)
    return [Figures(columns, (first + i,), (value,)) for i, value in enumerate(values)]


def run_table(records):
    collected = Collected()
    for record in records:
        collected.add(record)
    return table_of(collected.series())


def test_a_column_a_name_and_a_row_a_step():
    table = run_table(rows("critic/d_acc", [0.5, 0.6]) + rows("critic/loss", [0.7], first=2))
    assert table.values.index.tolist() == [1, 2]
    assert table.values["critic/d_acc"].tolist() == [0.5, 0.6]
    assert math.isnan(table.values["critic/loss"][1])
    assert all(left.empty for left in (table.restarts, table.repeated, table.left_out))
    assert run_table([]).values.empty


def test_micro_batches_are_averaged_and_said():
    table = run_table(rows("critic/d_acc", [0.5]) + rows("critic/d_acc", [0.7]))
    assert table.values["critic/d_acc"].tolist() == [0.6]
    assert table.repeated.to_dict("records") == [{"name": "critic/d_acc", "steps": 1}]
    same = run_table(rows("critic/d_acc", [0.5]) + rows("critic/d_acc", [0.5 + 1e-8]))  # as an event file has it
    assert same.repeated.empty


def test_of_a_restart_the_later_run_stands_also_where_it_is_shorter():
    before, after = rows("critic/loss", [9.0] * 20), rows("critic/loss", [1.0] * 5, first=11)
    table = run_table(before + after)
    assert table.values["critic/loss"].tolist() == [9.0] * 10 + [1.0] * 5
    assert table.restarts.to_dict("records") == [{"step": 11, "until": 20, "names": 1}]
    assert table.restarts[["step", "until"]].to_dict("records") == [{"step": 11, "until": 20}]


def test_one_run_in_two_files_is_no_restart():
    console = rows("critic/loss", [round(1 / (i + 1), 3) for i in range(20)], logged="tag")
    table = run_table(rows("critic/loss", [1 / (i + 1) for i in range(30)]) + console)
    assert table.restarts.empty
    assert len(table.values) == 30


def test_nan_and_infinities_are_counted_and_kept_out():
    table = run_table(rows("critic/loss", [1.0, math.nan, math.inf, 2.0]))
    assert table.values["critic/loss"].tolist()[::3] == [1.0, 2.0]
    assert table.values["critic/loss"].isna().sum() == 2
    assert table.not_finite.step.tolist() == [2, 3]
    assert table.between(3, 4).not_finite.step.tolist() == [3]


def test_where_a_definition_changes_and_what_is_left_out_of_two_at_once():
    old, new = (
        rows("critic/d_acc", [0.5] * 5, definition="ties wrong"),
        rows("critic/d_acc", [0.9] * 5, first=6, definition="ties right"),
    )
    table = run_table(old + new)
    assert table.definitions[["definition", "first", "last"]].values.tolist() == [
        ["ties wrong", 1, 5],
        ["ties right", 6, 10],
    ]
    assert table.redefined(["critic/d_acc"]) == [6]
    assert table.redefined(["critic/loss"]) == []
    both = run_table(old + rows("critic/d_acc", [0.9] * 3, definition="ties right"))
    assert both.values["critic/d_acc"].tolist() == [0.5] * 5
    assert both.left_out.to_dict("records") == [
        {"name": "critic/d_acc", "logged": "tag", "definition": "ties right", "steps": 3}
    ]
    assert both.left_out[["logged", "steps"]].to_dict("records") == [{"logged": "tag", "steps": 3}]


@pytest.mark.parametrize("name", ["critic/loss", "reward/score_mean"])
def test_figures_of_other_networks_stand_beside_each_other(name):
    assert run_table(rows(name, [1.0])).values.columns.tolist() == [name]
