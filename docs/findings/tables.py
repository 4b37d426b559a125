"""Prints the tables of `docs/findings.md` from two results of `audit --train`: `python docs/findings/tables.py`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = ("tiny", "smollm2")
COLUMNS = (("last", "last"), ("last", "mean"), ("mean", "mean"), ("progressive", "last"), ("progressive", "mean"))

Row = dict[str, Any]


def training_table(rows: list[Row]) -> Iterator[str]:
    """Per expectation a line of raw figures, and one in SD where there is one; columns are trained / read."""
    yield "| | expected | " + " | ".join(f"{trained} / {read}" for trained, read in COLUMNS) + " |"
    yield "|---|---|" + "---|" * len(COLUMNS)
    for name in dict.fromkeys(row["name"] for row in rows):
        of_name = {(row["trained"], row["read"]): row for row in rows if row["name"] == name}
        first = of_name[COLUMNS[0]]
        low, high = first["expected_low"], first["expected_high"]
        expected = f"above {low:g}" if high is None else f"{low:g} to {high:g}"
        cells = [_figure(of_name[column], "figure", "low", "high") for column in COLUMNS]
        yield f"| {name}: {_escaped(first['what'])} | {expected} | " + " | ".join(cells) + " |"
        if first["over_sd"] is not None:
            cells = [_figure(of_name[column], "over_sd", "over_sd_low", "over_sd_high") for column in COLUMNS]
            yield f"| {name}, in SD | | " + " | ".join(cells) + " |"


def claims_table(rows: list[Row]) -> Iterator[str]:
    """Per claim the figure and verdict of each critic."""
    critics = list(dict.fromkeys(row["critic"] for row in rows))
    yield "| claim | holds if | " + " | ".join(f"`{critic}`" for critic in critics) + " |"
    yield "|---|---|" + "---|" * len(critics)
    for claim in dict.fromkeys(row["claim"] for row in rows):
        of_claim = {row["critic"]: row for row in rows if row["claim"] == claim}
        first = of_claim[critics[0]]
        cells = [
            f"**{row['verdict']}** {_figure(row, 'figure', 'low', 'high')}"
            for row in map(of_claim.__getitem__, critics)
        ]
        bound = _escaped(f"{first['measured']} {first['holds_if']}")
        yield f"| {first['says']} | {bound} | " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _figure(row: Row, name: str, low: str, high: str) -> str:
    if row[name] is None:
        return "–"
    if row[low] is None or row[low] == row[high]:
        return f"{row[name]:.3g}"
    return f"{row[name]:.3g} ({row[low]:.3g} to {row[high]:.3g})"


def main() -> None:
    """Prints every table."""
    for name in RESULTS:
        found = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
        for title, table in (
            ("claims", claims_table(found["claims"])),
            ("training", training_table(found["training"])),
        ):
            print(f"\n{name}: {title}\n")
            print("\n".join(table))


if __name__ == "__main__":
    main()
