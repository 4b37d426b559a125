"""What edits do to scores, on a terminal."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Column
from rich.text import Text

from critic_probe.errors import parameter
from critic_probe.measures.perturb import PerturbResult
from critic_probe.report.edits import change
from critic_probe.report.profile import CAPTION, EFFECT, MARKS, ends, ranked, readers
from critic_probe.report.terminal.pieces import (
    MISSING,
    WIDE,
    Record,
    above_floor,
    below,
    block,
    decimals_of,
    grouped,
    heading,
    interval,
    label,
    missing,
    namer,
    number,
    plain,
    print_blocks,
    rows_of,
    safe,
    table_of,
)


def first_perturb(
    result: PerturbResult, console: Console, rows: int | None, room: int
) -> Iterator[RenderableType | None]:
    """What stands below the answer: how far the strongest edits move the score, and the worst cases.

    Args:
        result: What the edits did.
        console: Where to print.
        rows: How many of the worst cases to show; None for one, where it has room.
        room: The lines that there are.
    """
    worst = _cases(result, 1 if rows is None else rows)
    room -= _PROFILE + (len(console.render_lines(worst)) if worst else 0)
    if rows is None and room < _FEWEST:
        worst = None
    yield _profile(result, console, max(room, _FEWEST))
    yield worst


def print_perturb(result: PerturbResult, console: Console, rows: int = 10) -> None:
    """Prints what edits do to scores: all of them on one axis, verdicts, the worst cases and what was not measured.

    Args:
        result: What the edits did.
        console: Where to print.
        rows: How many of the worst cases to show.
    """
    print_blocks(
        console,
        _profile(result, console),
        _shown(result),
        *(_by_kind(result, kind, title, console) for kind, title in _KINDS),
        _cases(result, rows),
        _not_measured(result),
        *below(result.reading, result.notices, result.signature),
    )


_PROFILE = 7  # lines of the reaction profile beside its edits
_FEWEST = 5  # edits of the reaction profile that a first screen shows, room or not
_KINDS = (
    ("identity", "Identities: the same response once more (must move by nothing)"),
    ("invariance", "Invariances: the meaning stays, so should the score (|Δ|/SD)"),
    ("directional", "Completeness: the same facts, complete against terse"),
    ("control", "Controls: the answer gets worse, so should the score"),
    ("meaning-changing", "Punctuation that changes the meaning: must be seen"),
)


def _profile(result: PerturbResult, console: Console, most: int | None = None) -> RenderableType | None:
    """All edits on one axis, the one that moves a score most first: a bar in SD, shaded over its interval."""
    reactions = ranked(result.summary)
    if not reactions:
        return None
    columns = readers(result.summary)
    cells = min(max((console.width - _LABEL) // len(columns) - 6, 4), 24)
    table = table_of(*(Column(_reader(result, reader), justify="left") for reader in columns), label="edit")
    largest = max(reactions[0].strength, 1e-9)
    shown = reactions[:most]
    for reaction in shown:
        colour = _COLOURS[MARKS[reaction.kind]]
        table.add_row(
            Text(f"{MARKS[reaction.kind]} {reaction.name}", style=colour),
            *(_bar(reaction.rows.get(reader), largest, cells, colour) for reader in columns),
        )
    left = len(reactions) - len(shown)
    rest = [Text(f"... and {left} edits that move it less: {parameter('full', True)}", style="dim")] if left else []
    return block(CAPTION, table, *rest)


_COLOURS = {"~": "dark_orange", "!": "blue", "=": "cyan"}
_LABEL = 28  # columns of an edit's name


def _reader(result: PerturbResult, reader: tuple[str, str]) -> str:
    return reader[1] if result.summary.critic.nunique() == 1 else "\n".join(map(safe, reader))


def _bar(row: Mapping[Hashable, Any] | None, largest: float, cells: int, colour: str) -> Text:
    """The figure and its bar: full up to the interval's low end, shaded from there to its high end."""
    if row is None or missing(row[EFFECT]):
        return Text(MISSING)
    full, shaded = (min(round(cells * end / largest), cells) for end in ends(row))
    return Text.assemble(f"{row[EFFECT]:4.2f} ", ("█" * full + "▒" * (shaded - full), colour))


def _shown(result: PerturbResult) -> RenderableType | None:
    """What the controls show: the kind of fault that is ordered worst, the rule that explains most, and the word."""
    rows = [row for row in rows_of(result.headline) if row["controls"] or row["rule"]]
    if not rows:
        return None
    names, rule = (
        Column(name, justify="left", overflow="fold") for name in ("weakest fault", "rule that explains most")
    )
    orders = table_of(names, "right order", Column("shows", justify="left"))
    rules = table_of(rule, "of the moves", "of the gaps")
    for of_critic in grouped(rows, "critic"):
        for table in (orders, rules):
            table.add_row(heading(of_critic[0]["critic"]))
        for row in of_critic:
            order = interval(row["fault_right"], row["fault_right_low"], row["fault_right_high"])
            orders.add_row(label(row["aggregation"]), plain(row["fault"]), order, plain(row["controls_word"]))
            share = interval(row["rule_explains"], row["rule_explains_low"], row["rule_explains_high"])
            rules.add_row(label(row["aggregation"]), plain(row["rule"]), share, number(row["rule_gaps"]))
    with_controls = any(row["controls"] for row in rows)
    return block(
        "What that shows (each kind of fault above 0.5, no simple rule above 0.5)",
        *((orders, Text()) if with_controls else ()),
        rules,
    )


def _by_kind(result: PerturbResult, kind: str, title: str, console: Console) -> RenderableType | None:
    frame = result.summary[result.summary.kind == kind]
    rows = rows_of(frame)
    if not rows:
        return None
    named = namer(result.summary)
    raw = decimals_of(frame["median_abs_delta"], frame["p95_abs_delta"])
    unclear = any(row["more_prompts"] for row in rows)
    ordered, wide = kind not in ("identity", "invariance"), console.width >= WIDE

    def cells(row: Record) -> dict[str, str]:
        """Cells by heading; those that only a wide console has room for are left out of a narrow one."""
        cells_of_row = {"n": number(row["n"], 0)}
        if wide or not ordered:
            cells_of_row["median\n|Δ|"] = number(row["median_abs_delta"], raw)
        if ordered:
            cells_of_row["mean\nΔ/SD"] = number(row["mean_delta_over_sd"], signed=True)
            cells_of_row["right order"] = interval(row["figure"], row["low"], row["high"])
            cells_of_row["ending\nrestored"] = number(row["right_order_ending_restored"])
        else:
            scaled = number(row["median_abs_delta_over_sd"])
            cells_of_row["median |Δ|\n/SD"] = (
                interval(row["figure"], row["low"], row["high"]) if row["preset"] else scaled
            )
            cells_of_row["p95\n/SD"] = number(row["p95_abs_delta_over_sd"])
        if wide:
            cells_of_row["max\n/SD"] = number(row["max_abs_delta_over_sd"])
            cells_of_row["below\nfloor"] = number(row["below_floor"])
        if wide or not ordered:
            cells_of_row["flip\nrate"] = number(row["flip_rate"])
        cells_of_row["MDE"] = number(row["detectable"])
        if unclear:
            cells_of_row["more\nprompts"] = number(row["more_prompts"] or None, 0)
        return cells_of_row | {"verdict": row["verdict"]}

    table = table_of(*cells(rows[0]))
    for of_edit in grouped(rows, "family", "position"):
        position = of_edit[0]["position"]
        table.add_row(heading(of_edit[0]["family"], "" if position == "whole" else position))
        for row in of_edit:
            table.add_row(label(named(row)), *cells(row).values())
    floor = rows[0]["preset"]
    demand = f"; must be {'above' if ordered else 'below'} {floor:g}" if floor else ""
    return block(title + demand, table)


def _cases(result: PerturbResult, limit: int) -> RenderableType | None:
    shown = rows_of(result.cases.head(max(limit, 0)))
    if not shown:
        return None
    score = decimals_of(*(result.cases[name] for name in ("original_score", "variant_score", "delta")))
    named = namer(result.cases)
    table = table_of("original", "edited", "Δ", "Δ/SD", Column("flip", justify="left"), label="edit")
    for row in shown:
        what = ", ".join(str(row[name]) for name in ("family", "position", "kind") if not missing(row[name]))
        table.add_row(
            Group(heading(row["id"], f"{row['side']}, {named(row)}"), plain(what), _edit(row)),
            number(row["original_score"], score),
            number(row["variant_score"], score),
            above_floor(row, "delta", score),
            above_floor(row, "delta_over_sd"),
            "" if missing(row["flip"]) else "yes" if row["flip"] else "no",
        )
    return block(f"Worst cases ({len(shown)} of {len(result.cases)})", table)


def _edit(row: Record) -> Text:
    """The edit in its context."""
    left, removed, added, right = (
        "" if missing(row[name]) else safe(row[name]) for name in ("left", "removed", "added", "right")
    )
    return Text.assemble(left, change(removed, added), right, overflow="fold")


def _not_measured(result: PerturbResult) -> RenderableType | None:
    rows = rows_of(result.not_measured)
    if not rows:
        return None
    table = table_of("count", Column("reason", overflow="fold"), label="family")
    critics = grouped(rows, "critic")
    for of_critic in critics:
        if len(critics) > 1:
            table.add_row(heading(of_critic[0]["critic"]))
        for row in of_critic:
            table.add_row(plain(row["family"]), number(row["count"], 0), plain(row["reason"]))
    return block("Not measured", table)
