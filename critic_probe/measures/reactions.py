"""What edits show in words: what a score reacts to most, what it misses, and where a median hides the tail."""

from typing import Any

import pandas as pd

from critic_probe.measures.result import Statement
from critic_probe.measures.wording import in_sd, statement
from critic_probe.probes import all_families
from critic_probe.stats.edits import INVARIANCE_FLOOR, of_controls
from critic_probe.stats.headline import TAIL_FLOOR
from critic_probe.text import listed

_STRONGEST = ("strongest_harmless", "strongest_harmless_low", "strongest_harmless_high")
_WORTH = ("harmless_per_wrong_fact", "harmless_per_wrong_fact_low", "harmless_per_wrong_fact_high")


def answer(headline: pd.DataFrame, worst: pd.DataFrame) -> list[Statement]:
    """What each critic reacts to most, what it misses, and what to look at next.

    Args:
        headline: See `PerturbResult`.
        worst: Its cases, the largest |delta| over SD first.
    """
    rows = headline.to_dict("records")
    statements = [_strongest(row) for row in rows if row["strongest"]]
    for row in rows:
        figures = {key: row[key] for key in ("critic", "aggregation", "controls_right", "fault_right", "rule_explains")}
        statements += [Statement(f"{_name(row)}: {text}.", figures) for text in of_controls(row)]
    tails: dict[str, list[str]] = {}
    for row in rows:
        for edit in row["tails"]:
            tails.setdefault(edit, []).append(_name(row))
    if tails:
        where = "; ".join(f"{edit} ({listed(names)})" for edit, names in tails.items())
        far = f"one edit in twenty moves the score by more than {TAIL_FLOOR:g} SD, though its median passes"
        statements.append(Statement(f"Of {where} {far}.", dict(tails)))
    if len(worst):
        first = str(worst.id.iloc[0])
        statements.append(Statement(f"Next: trace {first} shows where in that answer the largest move is.", {}))
    return statements


def _strongest(row: dict[str, Any]) -> Statement:
    """The strongest harmless edit, whether it moves the score, what it is worth, and how many fail."""
    low, high = row["strongest_harmless_low"], row["strongest_harmless_high"]
    moved = in_sd(row["strongest_harmless"], low, high)
    edit = " or ".join(row["strongest"])
    if len(row["strongest"]) == 1:
        edit += f" ({all_families()[edit.split()[0]].description})"
    word = "" if low > INVARIANCE_FLOOR or high < INVARIANCE_FLOOR else f", not told apart from {INVARIANCE_FLOOR:g}"
    text = f"{_name(row)}: of harmless edits {edit} moves the score most, by {moved}{word}"
    if high < INVARIANCE_FLOOR:
        text = (
            f"{_name(row)}: no harmless edit moves the score by {INVARIANCE_FLOOR:g} SD; the most, {edit}, by {moved}"
        )
    worth, least, most = (row[name] for name in _WORTH)
    if not pd.isna(worth):
        text += f", worth {worth:.2f} [{least:.2f}, {most:.2f}] wrong facts"
    if row["harmless_fails"]:
        text += f"; {row['harmless_fails']} harmless edit{'s' if row['harmless_fails'] > 1 else ''} fail"
        text += "s" if row["harmless_fails"] == 1 else ""
    return statement(text + ".", row, "strongest", *_STRONGEST, *_WORTH, "harmless_fails", "failing")


def _name(row: dict[str, Any]) -> str:
    return f"{row['critic']}/{row['aggregation']}"
