"""What the renderers of several results share: blocks, tables, names, numbers, bars, and what stands below a result.

Rows stand under a heading (a critic, a pair, a kind of edit), so that long names have a line of their own and the
numbers keep their columns. Text from a file is neutralised and never read as markup.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from critic_probe.errors import Notice, parameter
from critic_probe.report.heat import share_of
from critic_probe.report.terminal.tables import FigureTable
from critic_probe.text import listed, neutralise, reader
from critic_probe.workbench import Signature

WIDE = 100  # columns from which two sides stand beside each other
MISSING = "–"
VERDICT_STYLES = {
    "pass": "green",
    "ok": "green",
    "warn": "bold yellow",
    "fail": "bold red",
    "cannot tell": "bold yellow",
    "not run": "dim",
}
FIRST = ("other-read-out", "other-eos", "other-value-position")  # notices that change how a result is read
_NAMED = 5  # a signature names at most this many families
_EIGHTHS = " ▏▎▍▌▋▊▉█"

Record = dict[str, Any]


# Blocks


def print_blocks(console: Console, *blocks: RenderableType | None) -> None:
    """Prints blocks with an empty line between them; None takes no room."""
    for count, part in enumerate(part for part in blocks if part is not None):
        if count:
            console.print()
        console.print(part)


def lines_of(console: Console, *blocks: RenderableType | None) -> int:
    """The lines that blocks take, with an empty one below each."""
    return sum(len(console.render_lines(part)) + 1 for part in blocks if part is not None)


def fitting(
    blocks: Callable[[int], Sequence[RenderableType | None]],
    most: int,
    console: Console,
    room: int,
    rows: int | None = None,
) -> Sequence[RenderableType | None]:
    """Blocks that show as many rows as have room, or as were asked for.

    Args:
        blocks: Makes them with so many rows.
        most: Rows where there is room enough.
        console: Where to print.
        room: The lines that there are.
        rows: Those that were asked for, whatever the room; None for as many as have it.
    """
    if rows is not None:
        return blocks(rows)
    made = blocks(most)
    while most and lines_of(console, *made) > room:
        most -= 1
        made = blocks(most)
    return made


def block(title: str, *content: RenderableType) -> RenderableType:
    """What belongs together under a title."""
    return Group(Text(title, style="bold", overflow="fold"), *content)


def below(
    reading: Sequence[str], notices: Sequence[Notice], signature: Signature
) -> tuple[RenderableType | None, RenderableType | None, RenderableType]:
    """What stands below the tables of a result: how to read them, warnings, and the signature."""
    read = block("How to read it", *(item(Text(neutralise(s))) for s in reading)) if reading else None
    warned = block("Warnings", *(item(warning(notice)) for notice in notices)) if notices else None
    return read, warned, signed(signature)


def in_short(notices: Sequence[Notice], signature: Signature) -> tuple[RenderableType | None, RenderableType]:
    """What stands below a first screen: the warnings by name, and where the rest is."""
    codes = ", ".join(dict.fromkeys(notice.code for notice in notices))
    warned = Text.assemble(("Warnings", "bold yellow"), f": {codes}", overflow="fold") if codes else None
    critics = listed(f"{c.get('name', '')}@{_short(c.get('fingerprint'))}" for c in signature.get("critics", ()))
    parts = [f"critic-probe {signature.get('version', '')}".strip(), safe(critics), _short(signature.get("data", ""))]
    line = " | ".join(part for part in (*parts, f"{parameter('full', True)} prints the rest") if part)
    return warned, Text(line, style="dim", overflow="fold")


def read_as(signature: Signature) -> Iterator[Text]:
    """A line for each way in which critics are read, and why."""
    named: dict[tuple[str, str], list[str]] = {}
    for critic in signature.get("critics", ()):
        if "convention" in critic:
            named.setdefault((critic["convention"], critic["convention_because"]), []).append(critic["name"])
    for (convention, because), names in named.items():
        yield Text(f"{safe(listed(names))}: read as {safe(convention)} ({safe(because)})", overflow="fold")


def signed(signature: Signature) -> Text:
    """The signature line as it stands below a result."""
    return Text(signature_line(signature), style="dim", overflow="fold")


def warning(notice: Notice) -> Text:
    """A notice with the first of the pairs that it names."""
    return Text.assemble(
        (notice.code, "bold yellow"),
        f": {neutralise(notice.message)}",
        (f" ({safe(listed(notice.ids))})" if notice.ids else "", "dim"),
        overflow="fold",
    )


def item(text: Text) -> RenderableType:
    """A line of a list."""
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_row("-", text)
    return line


# Tables


def table_of(*columns: str | Column, label: str = "") -> FigureTable:
    """A table of figures behind names, where a column is numbers unless it says otherwise."""
    return FigureTable(label, [c if isinstance(c, Column) else Column(c, justify="right") for c in columns])


def checks_table(checks: pd.DataFrame) -> Table:
    """Verdict, check and evidence a row, and under the evidence the cure where there is one."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows_of(checks):
        evidence = Text(safe(row["evidence"]), overflow="fold")
        if row.get("cure"):
            evidence.append(f"\n-> {safe(row['cure'])}", style="bold")
        table.add_row(
            Text(row["verdict"], style=VERDICT_STYLES[row["verdict"]]), Text(neutralise(row["check"])), evidence
        )
    return table


def rows_of(frame: pd.DataFrame) -> list[Record]:
    """The rows of a table, by the names of its columns."""
    return [{str(key): value for key, value in record.items()} for record in frame.to_dict("records")]


def grouped(rows: Iterable[Record], *keys: str) -> list[list[Record]]:
    """The rows that agree in `keys` brought together, in the order in which they first appear."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(key)) for key in keys), []).append(row)
    return list(groups.values())


# Names


def heading(name: Any, detail: Any = "") -> Text:
    """The line above the rows of one thing, with what else is known of it."""
    text = Text(safe(name), style="bold", overflow="fold")
    if not missing(detail) and detail != "":
        text.append(f", {safe(detail)}", style="not bold")
    return text


def label(name: Any) -> RenderableType:
    """What a row under a heading is of."""
    return Padding(plain(name), (0, 0, 0, 2), expand=False)


def namer(frame: pd.DataFrame) -> Callable[[Record], str]:
    """How a row's read-out is called: with its critic only where there are several."""
    several = frame["critic"].nunique() > 1
    return lambda row: reader(row["critic"], row["aggregation"]) if several else str(row["aggregation"])


def plain(text: Any) -> Text:
    """Text from a file as a cell that folds where room is short."""
    return Text(safe(text), overflow="fold")


def quoted(token: str) -> str:
    """A token in quotes, so that its blanks are seen."""
    return f"'{safe(token)}'"


def safe(text: Any) -> str:
    """Text from a file without anything that a terminal would obey; newlines stay."""
    return neutralise(str(text), newlines=True)


# Numbers


def missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NA or NaN."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def decimals_of(*columns: Iterable[Any]) -> int:
    """Two; more where the largest magnitude is small, fewer where it is in the thousands.

    One number serves columns that are read together.
    """
    sizes = [abs(value) for column in columns for value in column if not missing(value) and math.isfinite(value)]
    largest = max(sizes, default=0.0)
    exponent = math.floor(math.log10(largest)) if largest else 0
    return min(max(2 - exponent, min(2, 4 - exponent), 0), 6)


def number(value: Any, decimals: int = 2, *, signed: bool = False) -> str:
    """A number in its column; a dash where there is none."""
    if missing(value):
        return MISSING
    # The sign of what rounds to nothing is kept, because the verdict follows it; only a true zero has none.
    sign = "+" if signed and value else ""
    if math.isfinite(value) and abs(value) >= 1e6:
        return f"{value:{sign}.2e}"
    return f"{value or 0:{sign}.{decimals}f}"


def above_floor(row: Record, name: str, decimals: int = 2) -> str:
    """A difference, or `< floor` where arithmetic alone can make it."""
    within = abs(row[name.removesuffix("_over_sd")]) <= row["floor"]
    return "< floor" if within else number(row[name], decimals, signed=True)


def interval(value: Any, low: Any, high: Any) -> str:
    """A figure with the ends of its interval."""
    if missing(value):
        return MISSING
    return f"{value:.2f} [{number(low)}, {number(high)}]"


def part_of(part: Any, whole: Any) -> str:
    """How many of how many."""
    return f"{number(part, 0)}/{number(whole, 0)}"


def p_value(p: float) -> str:
    """The p of a test."""
    if missing(p):
        return MISSING
    return "< 0.001" if p < 0.001 else number(p, 3)


# Bars


def bar(value: float, share: float) -> str:
    """A sign and a bar of four cells at most.

    Args:
        value: Decides the sign.
        share: From 0 to 1, how much of the four cells is filled.
    """
    if not share:
        return ""
    cells, eighths = divmod(round(share * 32), 8)
    return ("+" if value > 0 else "-") + "█" * cells + _EIGHTHS[eighths].strip()


def effect(value: Any, largest: float) -> str:
    """An effect size as a bar on one scale with those beside it."""
    return "" if missing(value) else bar(value, share_of(value, largest))


def largest_of(*columns: pd.Series) -> float:
    """The largest magnitude of columns that are drawn on one scale; 0 where they hold nothing."""
    largest = pd.concat(columns).abs().max()
    return 0.0 if missing(largest) else float(largest)


# The signature


def signature_line(signature: Signature) -> str:
    """Everything that determined the figures in one line: two results compare if their lines agree."""
    rest: dict[str, Any] = dict(signature)
    critics = rest.pop("critics", [])

    def of_critics(key: str) -> str:
        return ",".join(dict.fromkeys(_short(critic[key]) for critic in critics if critic.get(key) is not None))

    def named(word: str, value: Any) -> str:
        return f"{word} {_short(value)}" if value not in (None, "") else ""

    families = rest.pop("families", ())
    named_all = ",".join(families)
    rest["families"] = named_all if len(families) <= _NAMED else f"{len(families)}:{zlib.crc32(named_all.encode()):08x}"
    names = [
        f"{critic.get('name', '')}@{_short(critic.get('fingerprint'))} {_tagged('head', critic.get('head'))}"
        for critic in critics
    ]
    parts = [
        named("critic-probe", rest.pop("version", None)),
        named("critics", ", ".join(names)) if len(names) != 1 else f"critic {names[0]}",
        named("read-outs", rest.pop("aggregations", None)),
        named("eos", f"{rest.pop('eos', '')} ({of_critics('eos_ids')})".removesuffix(" ()")),
        named("as", of_critics("convention")),
        _short(rest.pop("value_position", "")),
        named("tokenizer", of_critics("tokenizer")),
        named("template", of_critics("template")),
        *(of_critics(key) for key in ("dtype", "device", "attention")),
        named("engine", of_critics("engine")),
        *(named(key, rest.pop(key, None)) for key in ("torch", "transformers", "data")),
        *(named(key, value) for key, value in rest.items()),
    ]
    return safe(" | ".join(part for part in parts if part))


def _tagged(tag: str, value: Any) -> str:
    return f"{tag}:{_short(value)}" if value not in (None, "") else ""


def _short(value: Any) -> str:
    """A hash by its first twelve digits, a list by its items."""
    if isinstance(value, list | tuple):
        return ",".join(_short(item) for item in value)
    text = "" if value is None else str(value)
    return text[:12] if len(text) >= 32 and all(c in "0123456789abcdef" for c in text) else text
