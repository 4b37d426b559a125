"""The values of one pair on a terminal, token by token."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from critic_probe.measures.trace import TraceResult
from critic_probe.report.heat import BLUES, ORANGES, aligned, ground, line_view, share_of
from critic_probe.report.terminal.pieces import (
    WIDE,
    Record,
    bar,
    below,
    block,
    decimals_of,
    grouped,
    heading,
    label,
    number,
    print_blocks,
    quoted,
    rows_of,
    safe,
    table_of,
)
from critic_probe.report.terminal.tables import bare_table
from critic_probe.text import neutralise

_PROMPT = 400  # characters of a prompt that are shown


_TOKEN_COLUMNS: tuple[tuple[str, JustifyMethod, int], ...] = (
    ("#", "right", 3),
    ("text", "left", 8),
    ("id", "right", 5),
    ("value", "right", 5),
    ("running\nmean", "right", 5),
    ("", "left", 5),
    ("read by", "left", 5),
)


def print_trace(result: TraceResult, console: Console, view: str = "table") -> None:
    """Prints the value of every token of one pair, student and teacher side by side where there is room.

    Args:
        result: The values.
        console: Where to print.
        view: `table`, a row a token; or `line`, each response as text on grounds that show the values.
    """
    shown = _tokens if view == "table" else _heat
    print_blocks(
        console,
        block("Prompt", Text(neutralise(_cut(result.prompt, _PROMPT), newlines=True), overflow="fold")),
        *(shown(rows, console) for rows in grouped(rows_of(result.tokens), "critic")),
        _scores(result),
        *below(result.reading, result.notices, result.signature),
    )


def _tokens(rows: Sequence[Record], console: Console) -> RenderableType:
    decimals = decimals_of(*([row[name] for row in rows] for name in ("value", "running_mean")))
    largest = max((abs(row["value"]) for row in rows if math.isfinite(row["value"])), default=0.0)
    sides = {
        side: [_token(row, decimals, largest) for row in rows if row["side"] == side] for side in ("student", "teacher")
    }
    sides = {side: cells for side, cells in sides.items() if cells}
    if console.width < WIDE:
        tables = [block("", _token_table([side], cells, console)) for side, cells in sides.items()]
    else:
        tables = [_token_table(list(sides), [list(chain(*cells)) for cells in _side_by_side(rows, sides)], console)]
    critic = safe(rows[0]["critic"])
    return block(f"Value of every token: {critic}", *tables)


def _side_by_side(rows: Sequence[Record], sides: dict[str, list[list[Text]]]) -> Iterator[list[list[Text]]]:
    """The cells of both sides, equal tokens in one row."""
    texts = [[str(row["token_id"]) for row in rows if row["side"] == side] for side in sides]
    absent = [Text()] * len(_TOKEN_COLUMNS)
    if len(texts) == 1:
        yield from ([cells] for cells in next(iter(sides.values())))
        return
    for indices in aligned(*texts):
        yield [absent if i is None else cells[i] for i, cells in zip(indices, sides.values(), strict=True)]


def _heat(rows: Sequence[Record], console: Console) -> RenderableType:
    return block(f"Value of every token: {safe(rows[0]['critic'])}", line_view(rows, console.width))


def _token_table(sides: Sequence[str], rows: Iterable[Sequence[Text]], console: Console) -> Table:
    table = bare_table(console.width)
    for side in sides:
        for name, justify, width in _TOKEN_COLUMNS:
            table.add_column(
                f"{side}\n{name}" if name == "text" else name,
                justify=justify,
                min_width=width,
                overflow="fold",
                no_wrap=name not in ("text", "read by"),
            )
    for cells in rows:
        table.add_row(*cells)
    return table


def _token(row: Record, decimals: int, largest: float) -> list[Text]:
    value = row["value"]
    share = share_of(value, largest)
    return [
        Text(str(row["index"]), style="dim"),
        Text(quoted(row["text"])) if row["group"] == row["index"] else Text(" ·", style="dim"),
        Text(str(row["token_id"]), style="dim"),
        Text(number(value, decimals), style=ground(value, share)),
        Text(number(row["running_mean"], decimals)),
        Text(bar(value, share), style=(BLUES if value > 0 else ORANGES)[-1] if share else ""),
        Text(row["read_by"], style="bold"),
    ]


def _scores(result: TraceResult) -> RenderableType | None:
    rows = rows_of(result.scores)
    if not rows:
        return None
    decimals = decimals_of(result.scores["score"])
    table = table_of("student", "teacher")
    for of_critic in grouped(rows, "critic"):
        table.add_row(heading(of_critic[0]["critic"]))
        for scores in grouped(of_critic, "aggregation"):
            by_side = {row["side"]: row["score"] for row in scores}
            table.add_row(
                label(scores[0]["aggregation"]),
                *(number(by_side.get(side), decimals) for side in ("student", "teacher")),
            )
    return block("Scores", table)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"
