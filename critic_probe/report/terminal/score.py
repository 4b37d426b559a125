"""Scores of single responses on a terminal."""

from collections.abc import Sequence

from rich.console import Console, RenderableType

from critic_probe.measures.score import ScoreResult
from critic_probe.report.terminal.pieces import (
    above_floor,
    below,
    block,
    decimals_of,
    fitting,
    grouped,
    heading,
    interval,
    label,
    lines_of,
    namer,
    number,
    part_of,
    plain,
    print_blocks,
    rows_of,
    table_of,
)


def first_score(result: ScoreResult, console: Console, rows: int | None, room: int) -> Sequence[RenderableType | None]:
    """What stands below the answer: the best of N where it was asked for, how scores are distributed where not.

    Args:
        result: What was scored.
        console: Where to print.
        rows: How many prompts over whose best read-outs disagree; None for as many as have room, three at most.
        room: The lines that there are.
    """
    scores, best, accuracy = _scores(result), _best_of(result), _accuracy(result)
    if rows is not None or best is None:
        return scores, best, accuracy, _winners(result, rows or 0)
    kept = next(
        (parts for parts in ((scores, best, accuracy), (best, accuracy)) if lines_of(console, *parts) <= room),
        (best,) if accuracy is None or lines_of(console, accuracy) > room else (accuracy,),
    )
    return fitting(lambda most: (*kept, _winners(result, most)), 3, console, room)


def print_score(result: ScoreResult, console: Console, rows: int = 10) -> None:
    """Prints how scores are distributed, the best of N, and prompts over whose best read-outs disagree.

    Args:
        result: What was scored.
        console: Where to print.
        rows: How many prompts to show.
    """
    print_blocks(
        console,
        _scores(result),
        _best_of(result),
        _accuracy(result),
        _winners(result, rows),
        *below(result.reading, result.notices, result.signature),
    )


def _scores(result: ScoreResult) -> RenderableType:
    places = ("min", "p5", "median", "p95", "max")
    table = table_of("n", "mean", "SD", "min", "5 %", "median", "95 %", "max", "floor")
    for of_critic in grouped(rows_of(result.scores), "critic"):
        table.add_row(heading(of_critic[0]["critic"]))
        for row in of_critic:
            decimals = decimals_of(row[name] for name in places)
            figures = (number(row[name], decimals) for name in ("mean", "sd", *places))
            table.add_row(label(row["aggregation"]), f"{row['n']:,}", *figures, f"{row['floor']:.1g}")
    return block("Scores of all responses", table)


def _best_of(result: ScoreResult) -> RenderableType | None:
    rows = rows_of(result.best_of)
    if not rows:
        return None
    named = namer(result.best_of)
    table = table_of("another\nbest", "beyond\nfloor", "within\nfloor", "median\nlead", "lead\n/SD")
    for row in rows:
        first = row["first"] == row["aggregation"]
        other = "" if first else part_of(row["disagree"], row["prompts"])
        told = "" if first else part_of(row["told"], row["prompts"])
        lead = number(row["lead"], decimals_of(result.best_of.lead))
        table.add_row(
            plain(named(row)), other, told, part_of(row["ties"], row["prompts"]), lead, number(row["lead_over_sd"])
        )
    return block(f"Best of {rows[0]['n']} (another best than under {rows[0]['first']})", table)


def _accuracy(result: ScoreResult) -> RenderableType | None:
    rows = rows_of(result.accuracy)
    if not rows:
        return None
    sizes = sorted(result.accuracy["n"].unique())
    table = table_of(*(f"n = {size}" for size in sizes))
    for of_critic in grouped(rows, "critic"):
        table.add_row(heading(of_critic[0]["critic"]))
        for of_one in grouped(of_critic, "aggregation"):
            cells = (interval(row["accuracy"], row["low"], row["high"]) for row in of_one)
            table.add_row(label(of_one[0]["aggregation"]), *cells)
    return block("How good the best of n is, by the labels", table)


def _winners(result: ScoreResult, limit: int) -> RenderableType | None:
    """The prompts whose winner depends on the read-out, those with the largest lead first."""
    if limit < 1 or not len(result.winners):
        return None
    prompts = [
        of_prompt
        for of_prompt in grouped(rows_of(result.winners), "critic", "prompt")
        if len({(row["id"], row["response"]) for row in of_prompt}) > 1
    ]
    if not prompts:
        return None
    prompts.sort(key=lambda of_prompt: -min(row["lead_over_sd"] for row in of_prompt))
    decimals = decimals_of(result.winners.score)
    table = table_of("score", "lead", "lead\n/SD")
    for of_prompt in prompts[:limit]:
        table.add_row(heading(of_prompt[0]["id"], of_prompt[0]["critic"]))
        for row in of_prompt:
            name = f"{row['aggregation']}: {row['id']} {row['response']}"
            lead = above_floor(row, "lead", decimals), above_floor(row, "lead_over_sd")
            table.add_row(label(name), number(row["score"], decimals), *lead)
    return block(f"Prompts over whose best read-outs disagree ({len(prompts[:limit])} of {len(prompts)})", table)
