"""Prints the tables of `docs/findings.md` from the results beside it: `python docs/findings/tables.py [--write]`.

With `--write` they replace those in the document and in the README, each between `<!-- NAME -->` and `<!-- end -->`.

`runs.jsonl` is what `python -m critic_probe.studies.findings` measured of trained critics, a line a run; the other
results are those of `critic-probe audit`.
"""

import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from critic_probe.stats.rates import too_few
from critic_probe.studies.before_after import EXPECTATIONS
from critic_probe.studies.claims import UNCLEAR, judged
from critic_probe.studies.findings import BACKBONES, READ, SEEDS, runs

HERE = Path(__file__).parent
AUDITS = ("tiny", "smollm2", "gemma3")
CONDITIONS = {
    "terse": "Terse teachers, the first learning rate",
    "faster": "Terse teachers, three times the learning rate",
    "complete": "Complete teachers, the first learning rate",
}
TRAINED = ("last", "mean", "progressive")
DISAGREE = "seeds disagree"

Row = dict[str, Any]
Column = tuple[str, str]  # trained, read


class Measured:
    """The figures of the trained critics of one backbone."""

    def __init__(self, rows: list[Row]) -> None:
        self.runs = len(rows)
        self._figures: dict[tuple[str, Column, str], dict[int, Row]] = {}
        for row in rows:
            for figure in row["figures"]:
                key = (row["condition"], (row["trained"], figure["read"]), figure["name"])
                self._figures.setdefault(key, {})[row["seed"]] = figure

    def seeds(self, condition: str, column: Column, name: str) -> dict[int, Row]:
        """By seed."""
        return self._figures.get((condition, column, name), {})

    def columns(self, condition: str) -> list[Column]:
        """Trained / read, of what was trained so far."""
        wanted = [(trained, read) for trained in TRAINED for read in READ]
        return [column for column in wanted if self.seeds(condition, column, "d_acc")]

    def measured(self, condition: str, name: str) -> bool:
        """Whether there is such a figure."""
        return any((where, what) == (condition, name) for where, _, what in self._figures)


class Statement(NamedTuple):
    """What was said of the read-outs, and the figure of trained critics that it stands or falls with.

    Attributes:
        says: In words.
        figure: What is measured, and on which columns.
        low: It holds for figures above this.
        high: It holds for figures below this.
        of: The figure of one seed, from a lookup of (column, name) -> figure; None where something is missing.
        conditions: Where it is asked.
        in_readme: Whether the README tells it.
    """

    says: str
    figure: str
    low: float
    high: float
    of: Callable[[Callable[[Column, str], Row]], tuple[float, Row]]
    conditions: tuple[str, ...] = ("terse", "faster")
    in_readme: bool = False

    @property
    def holds_if(self) -> str:
        """The bound as text."""
        if self.low == -INFINITE:
            return f"< {self.high:g}"
        return f"> {self.low:g}" if self.high == INFINITE else f"{self.low:g} to {self.high:g}"


INFINITE = float("inf")
# What the tables of trained critics show: name, whether raw too (raw figures of two read-outs have no common scale).
SHOWN = (
    ("d_acc", True),
    ("gap", True),
    ("separation", True),
    ("closing mark: median |delta|", True),
    ("closing mark: mean |delta|", False),
    ("closing mark dropped: median |delta|", False),
    ("case 1: gap", True),
    ("case-1-comma: gap", True),
    ("case 2: gap", True),
    ("case-2-complete: gap", True),
    ("case 3: gap", True),
    ("case-3-json: gap", True),
    ("complete: score", True),
    ("wrong first number: gap", False),
    ("wrong last number: gap", False),
    ("wrong item: gap", False),
    ("wrong first number: teacher above", True),
    ("wrong last number: teacher above", True),
    ("wrong item: teacher above", True),
    ("lead-in: median |delta|", False),
    ("harmless edits: median |delta|", False),
    ("worse: lower", True),
    ("sentence-repeated: lower", True),
)
LAST, MEAN = ("last", "last"), ("mean", "mean")
# The mean, not the median: effects fall into groups by the kind of answer, and a median jumps from one to the other.
MARK, TWICE = "closing mark: mean |delta|", "sentence-repeated: lower"


def _one(column: Column, name: str, field: str = "over_sd") -> Any:
    def of(look: Callable[[Column, str], Row]) -> tuple[float, Row]:
        found = look(column, name)
        return found[field], found

    return of


def _ratio(top: tuple[Column, str], bottom: tuple[Column, str]) -> Any:
    def of(look: Callable[[Column, str], Row]) -> tuple[float, Row]:
        above, below = look(*top), look(*bottom)
        return above["over_sd"] / below["over_sd"], min(above, below, key=lambda figure: figure["n"])

    return of


STATEMENTS = (
    Statement(
        "The mean cures the punctuation gap.", "closing mark in SD, mean / mean", -INFINITE, 0.2, _one(MEAN, MARK),
        in_readme=True,
    ),
    Statement("The raw gap is 0.3 at most.", "closing mark, raw, mean / mean", 0, 0.3, _one(MEAN, MARK, "value")),
    Statement(
        "Trained and read as a mean, a critic reacts less to the mark than one trained and read at the last token.",
        "closing mark in SD, mean / mean over last / last", -INFINITE, 1, _ratio((MEAN, MARK), (LAST, MARK)),
        in_readme=True,
    ),
    Statement(
        "Training under the mean is enough: read at the last token, it halves the reaction.",
        "closing mark in SD, mean / last over last / last", -INFINITE, 0.5,
        _ratio((("mean", "last"), MARK), (LAST, MARK)), in_readme=True,
    ),
    Statement(
        "Reading as a mean is enough: trained at the last token, it halves the reaction.",
        "closing mark in SD, last / mean over last / last", -INFINITE, 0.5,
        _ratio((("last", "mean"), MARK), (LAST, MARK)), in_readme=True,
    ),
    Statement(
        "A complete answer is not penalised under the mean.", "case 2 in SD, mean / mean", -INFINITE, 0.2,
        _one(MEAN, "case 2: gap"), in_readme=True,
    ),
    Statement(
        "With complete teachers, the last token puts the complete answer above the terse one.",
        "case 2 in SD, last / last, complete teachers", -INFINITE, 0, _one(LAST, "case 2: gap"),
        ("complete",), in_readme=True,
    ),
    Statement(
        "With complete teachers, the mean puts the complete answer above the terse one.",
        "case 2 in SD, mean / mean, complete teachers", -INFINITE, 0, _one(MEAN, "case 2: gap"),
        ("complete",), in_readme=True,
    ),
    Statement(
        "The same JSON on several lines gets the same score.", "case 3 in SD, mean / mean", -0.2, 0.2,
        _one(MEAN, "case 3: gap"),
    ),
    Statement(
        "Progressive keeps the mean's benefit: read at the last token, it halves the reaction.",
        "closing mark in SD, progressive / last over last / last", -INFINITE, 0.5,
        _ratio((("progressive", "last"), MARK), (LAST, MARK)), ("terse",), in_readme=True,
    ),
    Statement("d_acc is 0.70 to 0.85.", "d_acc, mean / mean", 0.70, 0.85, _one(MEAN, "d_acc", "value")),
    Statement("The gap is 1 to 3.", "mean gap, raw, mean / mean", 1, 3, _one(MEAN, "gap", "value")),
    Statement("Separation is 1 to 2.", "separation, mean / mean", 1, 2, _one(MEAN, "separation", "value")),
    Statement(
        "The mean dilutes late errors.", "a wrong last number over a wrong first, in SD, mean / mean", -INFINITE, 1,
        _ratio((MEAN, "wrong last number: gap"), (MEAN, "wrong first number: gap")),
    ),
    Statement(
        "The last token dilutes late errors.", "a wrong last number over a wrong first, in SD, last / last",
        -INFINITE, 1, _ratio((LAST, "wrong last number: gap"), (LAST, "wrong first number: gap")),
    ),
    Statement(
        "A courtesy before the answer moves the mean further than the last token.",
        "lead-in in SD, mean / mean over last / last", 1, INFINITE,
        _ratio((MEAN, "lead-in: median |delta|"), (LAST, "lead-in: median |delta|")),
    ),
    Statement(
        "Under the mean, a sentence said twice scores lower.", "share that scores lower, mean / mean", 0.75, INFINITE,
        _one(MEAN, TWICE, "value"),
    ),
    Statement(
        "At the last token, a sentence said twice scores lower.", "share that scores lower, last / last",
        0.75, INFINITE, _one(LAST, TWICE, "value"),
    ),
    Statement(
        "Other harmless edits move the mean less than the last token.",
        "harmless edits in SD, mean / mean over last / last", -INFINITE, 1,
        _ratio((MEAN, "harmless edits: median |delta|"), (LAST, "harmless edits: median |delta|")),
    ),
)  # fmt: skip


def statements_table(measured: dict[str, Measured]) -> Iterator[str]:
    """Per statement and backbone the word, and the figure over seeds and learning rates."""
    yield "| said | figure, trained / read | holds if | " + " | ".join(measured) + " |"
    yield "|---|---|---|" + "---|" * len(measured)
    for statement in STATEMENTS:
        cells = [" ".join(_stated(statement, of_backbone)) for of_backbone in measured.values()]
        figure = _escaped(statement.figure)
        yield f"| {statement.says} | {figure} | {statement.holds_if} | " + " | ".join(cells) + " |"


def _stated(statement: Statement, measured: Measured) -> Iterator[str]:
    """The word that all seeds at all learning rates agree on, and the range of the figure."""
    values: list[float] = []
    seeds: set[int] = set()
    few = False
    for condition, seed in itertools.product(statement.conditions, range(SEEDS)):
        try:
            value, figure = statement.of(lambda c, n, at=condition, of=seed: measured.seeds(at, c, n)[of])
        except KeyError:  # not trained yet, or no case of it
            continue
        values.append(value)
        seeds.add(seed)
        few = few or bool(too_few(figure["n"], figure["prompts"]))
    words = {judged(value, value, statement.low, statement.high) for value in values}
    yield f"**{UNCLEAR if few or len(seeds) < 2 else words.pop() if len(words) == 1 else DISAGREE}**"
    if values:
        yield _over_seeds(values)
        yield f"[{len(values)}]"


def training_table(measured: Measured, condition: str) -> Iterator[str]:
    """Per figure a line of raw values, and one in SD where there is a unit; columns are trained / read."""
    expected = {e.name: f"above {e.low:g}" if e.high == INFINITE else f"{e.low:g} to {e.high:g}" for e in EXPECTATIONS}
    expected["closing mark"] = expected.pop("punctuation")
    columns = measured.columns(condition)
    yield "| | n | expected | " + " | ".join(f"{trained} / {read}" for trained, read in columns) + " |"
    yield "|---|---|---|" + "---|" * len(columns)
    for name, raw in SHOWN:
        if not measured.measured(condition, name):
            continue
        of_name = {column: measured.seeds(condition, column, name) for column in columns}
        first = next(figure for of_seed in of_name.values() for figure in of_seed.values())
        count = f"{first['n']}" + (" (few)" if too_few(first["n"], first["prompts"]) else "")
        for field, unit in (("value", ""), ("over_sd", ", in SD")):
            if field in first and (raw or unit):
                cells = [_over_seeds([figure[field] for figure in of_name[column].values()]) for column in columns]
                hoped = "" if unit else expected.get(name.split(":")[0], "")
                yield f"| {_escaped(name)}{unit} | {count} | {hoped} | " + " | ".join(cells) + " |"


def claims_table(rows: list[Row]) -> Iterator[str]:
    """Per claim the figure and verdict of each critic."""
    critics = list(dict.fromkeys(row["critic"] for row in rows))
    yield "| claim | holds if | " + " | ".join(f"`{critic}`" for critic in critics) + " |"
    yield "|---|---|" + "---|" * len(critics)
    for claim in dict.fromkeys(row["claim"] for row in rows):
        of_claim = {row["critic"]: row for row in rows if row["claim"] == claim}
        first = of_claim[critics[0]]
        cells = [f"**{row['verdict']}** {_interval(row, 'figure')}" for row in map(of_claim.__getitem__, critics)]
        bound = _escaped(f"{first['measured']} {first['holds_if']}")
        yield f"| {first['says']} | {bound} | " + " | ".join(cells) + " |"


def figures_table(rows: list[Row], claim: str, name: str) -> Iterator[str]:
    """The figures of one claim whose name has a word in it, a column a critic."""
    chosen = [row for row in rows if row["claim"] == claim and name in row["name"]]
    critics = list(dict.fromkeys(row["critic"] for row in chosen))
    yield "| | " + " | ".join(f"`{critic}`" for critic in critics) + " |"
    yield "|---|" + "---|" * len(critics)
    for name in dict.fromkeys(row["name"] for row in chosen):
        of_name = {row["critic"]: row for row in chosen if row["name"] == name}
        cells = [_interval(of_name.get(critic), "value") for critic in critics]
        yield f"| {_escaped(name)} | " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _over_seeds(values: list[float]) -> str:
    """Mean, least and most."""
    if not values:
        return "–"
    mean = f"{sum(values) / len(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} to {max(values):.3g})"


def _interval(row: Row | None, name: str) -> str:
    if row is None or row[name] is None:
        return "–"
    if row["low"] is None or row["low"] == row["high"]:
        return f"{row[name]:.3g}"
    return f"{row[name]:.3g} ({row['low']:.3g} to {row['high']:.3g})"


def tables() -> dict[str, str]:
    """Every table by its name in the documents."""
    rows = [json.loads(line) for line in (HERE / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    measured = {name: Measured([row for row in rows if row["backbone"] == name]) for name in BACKBONES}
    trained = {name: found for name, found in measured.items() if found.runs}
    found = {
        "statements": "\n".join(statements_table(trained)),
        "in short": "\n".join(in_short(trained)),
        "runs": "Done so far: "
        + ", ".join(f"{of.runs} of {len(runs([n]))} runs of {n}" for n, of in measured.items())
        + ".",
    }
    for name, of_backbone in trained.items():
        parts = [
            f"{title}:\n\n" + "\n".join(training_table(of_backbone, condition))
            for condition, title in CONDITIONS.items()
            if of_backbone.columns(condition)
        ]
        found[name] = "\n\n".join(parts)
    files = {name: HERE / f"{name}.json" for name in AUDITS}
    audits = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    for name, audited in audits.items():
        found[f"claims of {name}"] = "\n".join(claims_table(audited["claims"]))
    figures = [row for audited in audits.values() for row in audited["figures"]]
    found["gradient"] = "\n".join(figures_table(figures, "last-starves-tokens", "earlier tokens"))
    found["variance"] = "\n".join(figures_table(figures, "variance-over-n", ""))
    return found


def in_short(measured: dict[str, Measured]) -> Iterator[str]:
    """The statements of the README, a line each."""
    for statement in STATEMENTS:
        if statement.in_readme:
            words = {name: next(_stated(statement, of_backbone)) for name, of_backbone in measured.items()}
            told = next(iter(words.values())) if len(set(words.values())) == 1 else ""
            yield f"- {statement.says} " + (told or ", ".join(f"{name}: {word}" for name, word in words.items())) + "."


def main() -> None:
    """Prints every table, or writes them into the documents."""
    found = tables()
    if "--write" not in sys.argv[1:]:
        print("\n".join(f"\n{name}\n\n{table}" for name, table in found.items()))
        return
    for document in (HERE.parent / "findings.md", HERE.parents[1] / "README.md"):
        text = document.read_text(encoding="utf-8")
        for name, table in found.items():
            block = re.compile(rf"(<!-- {name} -->\n)(?:(?!<!-- ).*\n)*(<!-- end -->)")
            text = block.sub(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
        document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
