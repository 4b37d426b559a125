"""Values along responses, on a terminal."""

from collections.abc import Iterator

from rich.console import Console, RenderableType

from critic_probe.measures.tokens import TokensResult
from critic_probe.report.terminal.pieces import (
    below,
    block,
    decimals_of,
    grouped,
    heading,
    interval,
    label,
    lines_of,
    number,
    part_of,
    plain,
    print_blocks,
    rows_of,
    table_of,
)


def first_tokens(result: TokensResult, console: Console, room: int) -> Iterator[RenderableType]:
    """What stands below the answer: accuracy by position, and how dependent values are where that has room.

    Args:
        result: What was found.
        console: Where to print.
        room: The lines that there are.
    """
    positions, dependence = _positions(result), _dependence(result)
    yield positions
    if room > lines_of(console, positions, dependence):
        yield dependence


def print_tokens(result: TokensResult, console: Console) -> None:
    """Prints values along responses: accuracy by position, dependence of tokens, values by token class.

    Args:
        result: What was found.
        console: Where to print.
    """
    print_blocks(
        console,
        _positions(result),
        _dependence(result),
        _classes(result),
        *below(result.reading, result.notices, result.signature),
    )


def _positions(result: TokensResult) -> RenderableType:
    table = table_of(*result.positions.aggregation.unique())
    for of_critic in grouped(rows_of(result.positions), "critic"):
        table.add_row(heading(of_critic[0]["critic"]))
        for rows in grouped(of_critic, "share"):
            cells = [interval(r["d_acc"], r["d_acc_low"], r["d_acc_high"]) for r in rows]
            table.add_row(label(f"{rows[0]['share']:.0%}"), *cells)
    return block("d_acc when read after a share of each response's tokens", table)


def _dependence(result: TokensResult) -> RenderableType:
    table = table_of("tokens", "lag 1", "effective\ntokens", "Var(mean) over\nsigma^2/N", "too short\nor constant")
    for row in rows_of(result.dependence):
        cells = [number(row[name], 1) for name in ("tokens", "lag1", "effective_tokens", "variance_ratio")]
        table.add_row(plain(row["critic"]), *cells, part_of(row["too_short"] + row["constant"], row["responses"]))
    return block("How dependent the values of one response are", table)


def _classes(result: TokensResult) -> RenderableType:
    table = table_of("side", "n", "mean", "SD", "mean, in SD of\nits response")
    decimals = decimals_of(result.classes["mean"], result.classes["sd"])
    for rows in grouped(rows_of(result.classes), "critic"):
        table.add_row(heading(rows[0]["critic"]))
        for row in rows:
            cells = [number(row[name], decimals) for name in ("mean", "sd")]
            scaled = number(row["mean_over_response_sd"], signed=True)
            table.add_row(label(row["token_class"]), row["side"], number(row["n"], 0), *cells, scaled)
    return block("Value by kind of token", table)
