"""A response as a line of text whose ground shows each token's value, readable without colour too."""

import math
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from critic_probe.text import neutralise

# Four steps either way, black on them legible; blue and orange differ for every kind of colour vision.
BLUES = ("#c6dbef", "#9ecae1", "#6baed6", "#4292c6")
ORANGES = ("#fdd0a2", "#fdae6b", "#fd8d3c", "#e6701a")
_LEVELS = "▁▂▃▄▅▆▇█"
_SPARK_CELLS = 40
_EXTREMES = 3
_INDENT = 2

Row = dict[str, Any]


def share_of(value: float, largest: float) -> float:
    """|value| over the largest one; 0 where either says nothing."""
    return abs(value) / largest if largest and math.isfinite(value) else 0.0


def sparkline(values: Iterable[float], low: float, high: float) -> str:
    """A curve in one line, a cell a value, between two ends; a blank where there is no value."""
    span = high - low
    levels = (None if math.isnan(value) else (value - low) / span if span > 0 else 0.0 for value in values)
    return "".join(
        " " if level is None else _LEVELS[min(max(int(level * len(_LEVELS)), 0), len(_LEVELS) - 1)] for level in levels
    )


def ground(value: float, share: float) -> str:
    """The style of a cell by its value: blue above zero, orange below, the terminal's own ground near it."""
    shades = BLUES if value > 0 else ORANGES
    step = min(int(share * (len(shades) + 1)), len(shades))
    return f"#000000 on {shades[step - 1]}" if step else ""


def aligned(student: Sequence[str], teacher: Sequence[str]) -> Iterator[tuple[int | None, int | None]]:
    """Indices of both sides side by side: what both have stands in one row, what one alone has in a row of its own."""
    matcher = SequenceMatcher(None, student, teacher, autojunk=False)
    for kind, a0, a1, b0, b1 in matcher.get_opcodes():
        if kind == "equal":
            yield from zip(range(a0, a1), range(b0, b1), strict=True)
        else:
            both = min(a1 - a0, b1 - b0)
            yield from zip(range(a0, a0 + both), range(b0, b0 + both), strict=True)
            yield from ((i, None) for i in range(a0 + both, a1))
            yield from ((None, i) for i in range(b0 + both, b1))


class _Cell(NamedTuple):
    text: str
    value: float
    alone: bool  # the other side has no such character group here
    read: bool


def line_view(rows: Sequence[Row], width: int) -> RenderableType:
    """Both responses of one critic as lines, with their running means and their extreme tokens.

    Above a line stand the digits of positive values, below it those of negative ones (9 is the largest |value| of both
    sides), and ~ under what the other side does not have. A character of several tokens shows their mean.

    Args:
        rows: The critic's rows of `TraceResult.tokens`.
        width: Columns that there are.
    """
    largest = max((abs(row["value"]) for row in rows if math.isfinite(row["value"])), default=0.0)
    sides = {side: [row for row in rows if row["side"] == side] for side in ("student", "teacher")}
    groups = {side: _cells(of_side) for side, of_side in sides.items()}
    alone = _alone(*([cell.text for cell in cells] for cells in groups.values()))
    running = [row["running_mean"] for row in rows if math.isfinite(row["running_mean"])]
    scale = (min(running, default=0.0), max(running, default=0.0))
    decimals = 2 if largest < 100 else 1
    parts: list[RenderableType] = [
        Text(
            f"digits above: value > 0, below: < 0; 9 is {largest:.{decimals}f}. ~ not on the other side. "
            "^ read by a read-out",
            style="dim",
        )
    ]
    for side, of_side in sides.items():
        cells = [cell._replace(alone=i in alone[side]) for i, cell in enumerate(groups[side])]
        parts += [Text(), Text(side, style="bold"), *_lines(cells, largest, max(8, width - _INDENT))]
        parts += _facts(of_side, scale, decimals)
    return Group(*parts)


def _cells(rows: Sequence[Row]) -> list[_Cell]:
    by_group: dict[int, list[Row]] = {}
    for row in rows:
        by_group.setdefault(row["group"], []).append(row)
    return [
        _Cell(
            _visible(of_group[0]["text"]),
            sum(row["value"] for row in of_group) / len(of_group),
            False,
            any(row["read_by"] for row in of_group),
        )
        for of_group in by_group.values()
    ]


def _visible(text: str) -> str:
    shown = neutralise(text.replace("\n", "⏎").replace("\t", "⇥"))
    return shown if cell_len(shown) else "·"


def _alone(student: Sequence[str], teacher: Sequence[str]) -> dict[str, set[int]]:
    alone: dict[str, set[int]] = {"student": set(range(len(student))), "teacher": set(range(len(teacher)))}
    for a, b in aligned(student, teacher):
        if a is not None and b is not None and student[a] == teacher[b]:
            alone["student"].discard(a)
            alone["teacher"].discard(b)
    return alone


def _lines(cells: Sequence[_Cell], largest: float, width: int) -> Iterator[Text]:
    line: list[_Cell] = []
    used = 0
    for cell in cells:
        cell = cell._replace(text=cell.text if cell_len(cell.text) <= width else cell.text[: width // 2 - 1] + "…")
        if line and used + cell_len(cell.text) > width:
            yield from _line(line, largest)
            line, used = [], 0
        line.append(cell)
        used += cell_len(cell.text)
    if line:
        yield from _line(line, largest)


def _line(cells: Sequence[_Cell], largest: float) -> Iterator[Text]:
    above, text, below, marks = (Text(" " * _INDENT, no_wrap=True, end="") for _ in range(4))
    for cell in cells:
        width, share = cell_len(cell.text), share_of(cell.value, largest)
        level = str(min(9, math.ceil(share * 9))) if share >= 0.5 / 9 else ""
        above.append((level if cell.value > 0 else "").ljust(width))
        below.append((level if cell.value < 0 else "").ljust(width))
        text.append(cell.text, style=ground(cell.value, share))
        marks.append(("^" if cell.read else "~" if cell.alone else "").ljust(width, "~" if cell.alone else " "))
    for row in (above, text, below, marks):
        row.end = "\n"
        if row is text or row.plain.strip():
            yield row


def _facts(rows: Sequence[Row], scale: tuple[float, float], decimals: int) -> Iterator[Text]:
    known = [row for row in rows if math.isfinite(row["value"])]
    means = [row["running_mean"] for row in known]
    if not known:
        return
    step = max(1, math.ceil(len(means) / _SPARK_CELLS))
    sampled = [*means[:-1:step], means[-1]]
    ends = f"{means[0]:+.{decimals}f} to {means[-1]:+.{decimals}f}"
    yield Text(f"running mean {sparkline(sampled, *scale)} {ends}")
    ordered = sorted(known, key=lambda row: row["value"])
    highest = [row for row in reversed(ordered) if row["value"] > 0][:_EXTREMES]
    lowest = [row for row in ordered if row["value"] < 0][:_EXTREMES]
    for name, extremes in (("highest", highest), ("lowest", lowest)):
        if extremes:
            listed = ", ".join(f"'{_visible(r['text'])}' #{r['index']} {r['value']:+.{decimals}f}" for r in extremes)
            yield Text(f"{name}: {listed}", overflow="fold")
    for row in known:
        if row["read_by"]:
            token = f"'{_visible(row['text'])}' #{row['index']} {row['value']:+.{decimals}f}"
            yield Text(f"{row['read_by']} reads {token}", overflow="fold")
