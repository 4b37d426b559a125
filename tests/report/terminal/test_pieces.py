import io
import math

import pandas as pd
import pytest
from rich.console import Console

from critic_probe.errors import Notice
from critic_probe.report.terminal import signature_line
from critic_probe.report.terminal.pieces import (
    above_floor,
    below,
    decimals_of,
    grouped,
    interval,
    namer,
    number,
    p_value,
    part_of,
    print_blocks,
)

SIGNATURE = {
    "version": "0.1.0",
    "critics": [
        {
            "name": "tiny-last",
            "fingerprint": "ab12" * 16,
            "head": "cd34" * 16,
            "tokenizer": "ef56" * 16,
            "template": "chat:1a2b3c",
            "eos_ids": [151643, 151645],
            "dtype": "float32",
            "device": "cpu",
            "attention": "sdpa",
            "engine": "reference",
        }
    ],
    "aggregations": ["last", "mean"],
    "eos": "exclude",
    "value_position": "at",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "data": "0099" * 16,
}


def test_a_warning_names_five_pairs_and_counts_the_rest():
    notices = [
        Notice("eos-one-side", "Only \x1b[31mstudents", [f"pair-{i}" for i in range(12)]),
        Notice("few", "Eight."),
    ]
    console = Console(file=io.StringIO(), width=200)
    print_blocks(console, None, *below([], notices, SIGNATURE))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines[0] == "Warnings"
    named = "(pair-0, pair-1, pair-2, pair-3, pair-4 and 7 more)"
    assert lines[1:3] == [f"- eos-one-side: Only \\x1b[31mstudents {named}", "- few: Eight."]


def test_signature_line():
    assert signature_line(SIGNATURE) == (
        "critic-probe 0.1.0 | critic tiny-last@ab12ab12ab12 head:cd34cd34cd34 | read-outs last,mean"
        " | eos exclude (151643,151645) | at"
        " | tokenizer ef56ef56ef56 | template chat:1a2b3c | float32 | cpu | sdpa | engine reference | torch 2.13.0"
        " | transformers 5.23.0 | data 009900990099"
    )
    [critic] = SIGNATURE["critics"]
    two = signature_line({"critics": [critic, {**critic, "name": "b", "dtype": "bfloat16"}], "seed": 7})
    assert two.startswith("critics tiny-last@ab12ab12ab12 head:cd34cd34cd34, b@ab12ab12ab12 head:cd34cd34cd34 | ")
    assert " | float32,bfloat16 | " in two
    assert two.endswith(" | seed 7")
    assert signature_line({}) == ""


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.00123, 0.0456], ["0.0012", "0.0456"]),
        ([3.06, -0.449], ["3.06", "-0.45"]),
        ([-12345.678, 99.5], ["-12346", "100"]),
        ([0.0, math.nan], ["0.00", "–"]),
    ],
)
def test_columns_that_are_read_together_share_their_decimals(values, shown):
    assert [number(value, decimals_of(values)) for value in values] == shown


def test_numbers_keep_their_columns_and_their_signs():
    assert number(-1.5e9) == "-1.50e+09"
    assert number(float("inf")) == "inf"
    assert [number(value, signed=True) for value in (1.0, 0.0, -1e-9, None, pd.NA)] == [
        "+1.00",
        "0.00",
        "-0.00",
        "–",
        "–",
    ]


def test_a_difference_that_arithmetic_makes_is_below_the_floor():
    row = {"gap": -1e-9, "gap_over_sd": -2e-9, "floor": 1e-5}
    assert (above_floor(row, "gap"), above_floor(row, "gap_over_sd")) == ("< floor", "< floor")
    assert above_floor(row | {"floor": 1e-10}, "gap") == "-0.00"


def test_intervals_shares_and_p():
    assert interval(0.8875, 0.8, math.nan) == "0.89 [0.80, –]"
    assert interval(None, 0.8, 0.9) == "–"
    assert part_of(3.0, 80) == "3/80"
    assert [p_value(p) for p in (1e-7, 0.0031, 1.0, math.nan)] == ["< 0.001", "0.003", "1.000", "–"]


def test_rows_of_one_thing_come_together_in_their_first_order():
    rows = [{"id": "b", "n": 1}, {"id": "a", "n": 2}, {"id": "b", "n": 3}]
    assert [[row["n"] for row in group] for group in grouped(rows, "id")] == [[1, 3], [2]]


def test_critics_are_named_only_where_there_are_several():
    row = {"critic": "a", "aggregation": "last"}
    assert namer(pd.DataFrame([row]))(row) == "last"
    assert namer(pd.DataFrame([row, row | {"critic": "b"}]))(row) == "a/last"
