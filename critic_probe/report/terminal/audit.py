"""The claims of the original proposal on a terminal, and what training gave."""

import math
from collections.abc import Iterator
from itertools import chain

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from critic_probe.report.terminal.pieces import (
    MISSING,
    Record,
    below,
    block,
    grouped,
    heading,
    label,
    missing,
    number,
    plain,
    print_blocks,
    rows_of,
    safe,
    table_of,
)
from critic_probe.studies.audit import AuditResult

_CLAIM_STYLES = {"holds": "green", "does not hold": "bold red", "cannot tell": "bold yellow"}


def first_audit(result: AuditResult) -> Iterator[RenderableType]:
    """What stands below the answer: a line a claim, with what decided it.

    Args:
        result: What was measured.
        console: Where to print.
    """
    claims = rows_of(result.claims)
    critics = list(dict.fromkeys(row["critic"] for row in claims))
    table = table_of(*(Column(safe(critic), overflow="fold") for critic in critics), label="claim")
    for of_claim in grouped(claims, "claim"):
        by_critic = {
            row["critic"]: Text.assemble((row["verdict"], _CLAIM_STYLES[row["verdict"]]), f" {row['figure']:.3g}")
            for row in of_claim
        }
        table.add_row(plain(of_claim[0]["claim"]), *(by_critic.get(critic, MISSING) for critic in critics))
    yield table


def print_audit(result: AuditResult, console: Console) -> None:
    """Prints every claim with its figure, verdict, what is true instead and how to reproduce it; then other figures.

    Args:
        result: What was measured.
        console: Where to print.
    """
    print_blocks(
        console,
        block("What was claimed, and what was measured", *chain.from_iterable(_claims(result))),
        _before_after(result),
        _audit_figures(result),
        *below(result.reading, result.notices, result.signature),
    )


def _claims(result: AuditResult) -> Iterator[list[RenderableType]]:
    rows = rows_of(result.claims)
    width = max((len(safe(row["critic"])) for row in rows), default=0)
    for of_claim in grouped(rows, "claim"):
        first = of_claim[0]
        measured = Table.grid(Column(min_width=width), Column(min_width=13), "", "", padding=(0, 2, 0, 0))
        for row in of_claim:
            verdict = Text(row["verdict"], style=_CLAIM_STYLES[row["verdict"]])
            measured.add_row(plain(row["critic"]), verdict, _estimate(row, "figure"), f"n = {number(row['n'], 0)}")
        sentences = dict.fromkeys((row["verdict"], row["told"]) for row in of_claim if row["told"])
        yield [
            Text(),
            heading(first["says"]),
            label(f"{first['measured']}; holds if {first['holds_if']}"),
            Padding(measured, (0, 0, 0, 2)),
            *(label(f"-> {verdict}: {words}") for verdict, words in sentences),
            label(f"$ {first['reproduce']}"),
        ]


def _before_after(result: AuditResult) -> RenderableType | None:
    rows = rows_of(result.training)
    if not rows:
        return None
    blocks: list[RenderableType] = []
    for of_name in grouped(rows, "name"):
        first = of_name[0]
        saw = "" if missing(first["before"]) else f"; under the last token it saw {first['before']:.2f}"
        ends = (first["expected_low"], math.inf if missing(first["expected_high"]) else first["expected_high"])
        bounds = " to ".join(f"{end:g}" for end in ends)  # a result's JSON has no infinity
        table = Table.grid(*(Column(min_width=width) for width in (18, 13, 20, 20)), "", padding=(0, 2, 0, 0))
        for row in of_name:
            over = "" if missing(row["over_sd_low"]) else f" [{row['over_sd_low']:.2f}, {row['over_sd_high']:.2f}]"
            in_sd = "" if missing(row["over_sd"]) else f"{row['over_sd']:.2f}{over} SD"
            case = "" if missing(row["the_case"]) else f"the case {row['the_case']:.3g}"
            verdict = Text(row["verdict"], style=_CLAIM_STYLES[row["verdict"]])
            table.add_row(f"{row['trained']} / {row['read']}", verdict, _estimate(row, "figure"), in_sd, case)
        blocks += [
            Text(),
            heading(f"{first['name']}: {first['what']}"),
            label(f"expected {bounds}{saw}; n = {first['n']}; trained / read:"),
            Padding(table, (0, 0, 0, 2)),
        ]
    seeds = f"{rows[0]['seeds']} seeds: mean [least, most]" if rows[0]["seeds"] > 1 else "one seed, 95 % intervals"
    return block(f"What training was expected to give, and gave ({seeds})", *blocks)


def _audit_figures(result: AuditResult) -> RenderableType | None:
    rows = rows_of(result.figures)
    if not rows:
        return None
    critics = list(dict.fromkeys(row["critic"] for row in rows))
    table = table_of(*(Column(safe(critic), justify="right", overflow="fold") for critic in critics))
    for of_claim in grouped(rows, "claim"):
        table.add_row(heading(of_claim[0]["claim"]))
        for of_name in grouped(of_claim, "name"):
            by_critic = {row["critic"]: _estimate(row, "value") for row in of_name}
            table.add_row(label(of_name[0]["name"]), *(by_critic.get(critic, MISSING) for critic in critics))
    return block("What else was measured", table)


def _estimate(row: Record, name: str) -> str:
    """Three digits, since an audit's figures run from rounding errors to whole scores."""
    if missing(row[name]):
        return MISSING
    if missing(row["low"]) or row["low"] == row["high"]:
        return f"{row[name]:.3g}"
    return f"{row[name]:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
