import json
import runpy

import pytest


@pytest.fixture(scope="module")
def module(fixtures):
    return runpy.run_path(str(fixtures.parent / "docs" / "findings" / "tables.py"))


def test_the_tables_of_the_documents_are_those_that_were_measured(fixtures, module):
    root = fixtures.parent
    written = "".join((root / name).read_text(encoding="utf-8") for name in ("docs/findings.md", "README.md"))
    tables = module["tables"]()
    assert {"statements", "in short", "runs", "smollm2", "gemma3", "gradient", "variance"} <= set(tables)
    assert [name for name, table in tables.items() if f"<!-- {name} -->\n{table}\n<!-- end -->" not in written] == []


def test_every_column_of_a_run_is_in_the_tables(fixtures, module):
    rows = [json.loads(line) for line in (fixtures.parent / "docs/findings/runs.jsonl").read_text().splitlines()]
    tables = module["tables"]()
    for row in rows:
        for read in {figure["read"] for figure in row["figures"]}:
            assert f" {row['trained']} / {read} |" in tables[row["backbone"]]


def made(seeds: dict[int, float], n: int = 30, prompts: int = 30):
    """Runs trained and read as a mean, by seed with this effect of the closing mark."""

    def figure(value):
        return {"name": "closing mark: mean |delta|", "value": value, "over_sd": value, "n": n, "prompts": prompts}

    return [
        {"condition": "terse", "trained": "mean", "seed": seed, "figures": [{"read": "mean", **figure(value)}]}
        for seed, value in seeds.items()
    ]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (made({0: 0.1, 1: 0.15}), "**holds** 0.125 (0.1 to 0.15) [2]"),
        (made({0: 0.3, 1: 0.4, 2: 0.5}), "**does not hold** 0.4 (0.3 to 0.5) [3]"),
        (made({0: 0.1, 1: 0.3}), "**seeds disagree** 0.2 (0.1 to 0.3) [2]"),
        (made({0: 0.1}), "**cannot tell** 0.1 [1]"),
        (made({0: 0.1, 1: 0.15}, n=19), "**cannot tell** 0.125 (0.1 to 0.15) [2]"),
        (made({0: 0.1, 1: 0.15}, prompts=9), "**cannot tell** 0.125 (0.1 to 0.15) [2]"),
        ([], "**cannot tell**"),
    ],
)
def test_a_statement_is_made_where_all_seeds_agree(module, rows, wanted):
    cures = next(line for line in module["statements_table"]({"x": module["Measured"](rows)}) if "cures" in line)
    assert cures.split(" | ")[-1] == f"{wanted} |"
