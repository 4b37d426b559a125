"""Student against teacher on a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

from critic_probe.measures.compare import CompareResult
from critic_probe.measures.compared import standing_out
from critic_probe.report.terminal.pieces import (
    MISSING,
    Record,
    above_floor,
    below,
    block,
    decimals_of,
    effect,
    fitting,
    grouped,
    heading,
    interval,
    label,
    largest_of,
    lines_of,
    missing,
    namer,
    number,
    p_value,
    part_of,
    plain,
    print_blocks,
    quoted,
    rows_of,
    table_of,
)

_VERDICT_STYLES = {"student": "dark_orange", "tie": "dim"}


def print_compare(result: CompareResult, console: Console, rows: int = 10) -> None:
    """Prints student against teacher: accuracy beside its baselines, categories, disputed pairs, then more statistics.

    Args:
        result: What the comparison found.
        console: Where to print.
        rows: How many pairs to show.
    """
    print_blocks(
        console,
        _compare_summary(result),
        _categories(result),
        _pairs(result, rows),
        _statistics(result),
        _lengths(result),
        _contrasts(result),
        *below(result.reading, result.notices, result.signature),
    )


def first_compare(
    result: CompareResult, console: Console, rows: int | None, room: int
) -> Sequence[RenderableType | None]:
    """What stands below the answer: accuracy, a category that stands out if it has room, the most disputed pairs.

    Args:
        result: What the comparison found.
        console: Where to print.
        rows: How many pairs to show; None for as many as have room, three at most.
        room: The lines that there are.
    """
    shown = [_compare_summary(result, full=False)]
    unlike = [_categories(result, category) for category in standing_out(result.categories).get("category", ())]
    if lines_of(console, *shown, *unlike) <= room:
        shown += unlike
    return fitting(lambda count: (*shown, _pairs(result, count)), 3, console, room, rows)


def _compare_summary(result: CompareResult, *, full: bool = True) -> RenderableType | None:
    rows, baselines = rows_of(result.summary), rows_of(result.baselines) if full else []
    if not rows:
        return None
    gap = decimals_of(result.summary["mean_gap"], result.summary["sd"])
    table = table_of("d_acc", "ties/n", "mean\ngap", "SD", "gap\n/SD", "separ-\nation", Column("flips", justify="left"))
    for of_critic in grouped(rows, "critic"):
        table.add_row(heading(of_critic[0]["critic"]))
        for row in of_critic:
            table.add_row(
                label(row["aggregation"]),
                interval(row["d_acc"], row["d_acc_low"], row["d_acc_high"]),
                part_of(row["ties"], row["n"]),
                number(row["mean_gap"], gap, signed=True),
                number(row["sd"], gap),
                number(row["gap_over_sd"], signed=True),
                number(row["separation"], signed=True),
                _flips(row["flips"], row["flips_p"]),
            )
    if baselines:
        table.add_row(heading("baselines"))
    for row in baselines:
        table.add_row(
            label(row["baseline"]),
            interval(row["accuracy"], row["low"], row["high"]),
            part_of(row["ties"], row["n"]),
        )
    return block("Teacher over student (gap = teacher - student)", table)


def _statistics(result: CompareResult) -> RenderableType | None:
    rows = rows_of(result.statistics)
    if not rows:
        return None
    named = namer(result.statistics)
    table = table_of(
        *("d_acc,\nties wrong-right", "soft\nd_acc", "AUC", "dz", "gap/SD", "|d|\n<0.1"),
        *("over-\nlap", "satu-\nrated", "grad.\nleft", "beyond best\nbaseline"),
    )
    for row in rows:
        ends = f"[{number(row['gap_over_sd_low'])}, {number(row['gap_over_sd_high'])}]"
        bounds = f"{number(row['d_acc_ties_wrong'])}-{number(row['d_acc_ties_right'])}"
        beyond = interval(row.get("beyond"), row.get("beyond_low"), row.get("beyond_high"))
        effects = (number(row[key]) for key in ("soft_d_acc", "auc", "dz"))
        shares = (number(row[key]) for key in ("hard_samples_ratio", "score_overlap", "saturated", "gradient_weight"))
        table.add_row(plain(named(row)), bounds, *effects, ends, *shares, beyond)
    return block(f"Statistics (T = {rows[0]['temperature']:g})", table)


def _lengths(result: CompareResult) -> RenderableType | None:
    rows = rows_of(result.lengths)
    if not rows:
        return None
    named = namer(result.lengths)
    table = table_of("rho", "d_acc,\nsame length", "n", "teacher\nlonger", "n", "teacher\nshorter", "n", "logit")
    for row in rows:
        cells = [interval(row["matched_d_acc"], row["matched_low"], row["matched_high"]), number(row["matched_n"], 0)]
        for name in ("teacher_longer", "teacher_shorter"):
            cells += [number(row[f"{name}_d_acc"]), number(row[f"{name}_n"], 0)]
        rho = number(row["within_prompt_spearman"], signed=True)
        table.add_row(plain(named(row)), rho, *cells, number(row["length_controlled"]))
    title = "Length (rho: with the score, within a prompt; logit: d_acc at equal length)"
    return block(title, table)


def _contrasts(result: CompareResult) -> RenderableType | None:
    rows = rows_of(result.contrasts)
    if not rows:
        return None
    table = table_of("flips", "p", "p (Holm)", "margin in gap/SD")
    for row in rows:
        a, b = (f"{row[f'{other}critic']}/{row[f'{other}aggregation']}" for other in ("", "other_"))
        margin = interval(row["margin"], row["margin_low"], row["margin_high"])
        table.add_row(plain(f"{a} - {b}"), number(row["flips"], 0), p_value(row["p"]), p_value(row["p_holm"]), margin)
    return block("One against another (p: sign-flip test over prompts)", table)


def _categories(result: CompareResult, only: str | None = None) -> RenderableType | None:
    """Every category against the rest, or one of them."""
    rows = [row for row in rows_of(result.categories) if only in (None, row["category"])]
    if not rows:
        return None
    gap = decimals_of(result.categories["mean_gap"])
    named = namer(result.categories)
    tested = [Column("p (Holm)", justify="right")] if result.categories.p.count() else []
    table = table_of("d_acc", "ties/n", "mean\ngap", "gap\n/SD", *tested, Column("", justify="left"))
    largest = largest_of(result.categories["gap_over_sd"])
    for of_category in grouped(rows, "category"):
        table.add_row(heading(of_category[0]["category"]))
        for row in of_category:
            table.add_row(
                label(named(row)),
                interval(row["d_acc"], row["d_acc_low"], row["d_acc_high"]),
                part_of(row["ties"], row["n"]),
                number(row["mean_gap"], gap, signed=True),
                number(row["gap_over_sd"], signed=True),
                *(p_value(row["p_holm"]) for _ in tested),
                effect(row["gap_over_sd"], largest),
            )
    return block("By category (p: against all other pairs)" if tested else "By category", table)


def _pairs(result: CompareResult, limit: int) -> RenderableType | None:
    records = rows_of(result.pairs)
    pairs = grouped(records, "id")
    shown = pairs[: max(limit, 0)]
    if not shown:
        return None
    score = decimals_of(result.pairs["student_score"], result.pairs["teacher_score"], result.pairs["gap"])
    named = namer(result.pairs)
    reads_token = any(_token_read(row) is not None for rows in shown for row in rows)
    table = table_of("S", "T", "gap", "gap\n/SD", Column("verdict", justify="left"))
    if reads_token:
        table.columns.append(Column("token read\nS | T", overflow="fold"))
    for rows in shown:
        table.add_row(heading(rows[0]["id"], rows[0]["category"]))
        for row in rows:
            table.add_row(
                label(named(row)),
                number(row["student_score"], score),
                number(row["teacher_score"], score),
                above_floor(row, "gap", score),
                above_floor(row, "gap_over_sd"),
                Text(row["verdict"], style=_VERDICT_STYLES.get(row["verdict"], "")),
                *([_token_read(row) or ""] if reads_token else []),
            )
    return block(f"Most disputed pairs ({len(shown)} of {len(pairs)}; S student, T teacher)", table)


def _token_read(row: Record) -> Text | None:
    tokens = (row["student_token_read"], row["teacher_token_read"])
    if all(missing(token) for token in tokens):
        return None
    return Text(" | ".join(MISSING if missing(token) else quoted(token) for token in tokens))


def _flips(flips: Any, p: Any) -> Text:
    if missing(flips):
        return Text(MISSING)
    if missing(p):
        return Text(f"{int(flips)}")
    return Text(f"{int(flips)} (p < 0.001)" if p < 0.001 else f"{int(flips)} (p = {p:.3f})")
