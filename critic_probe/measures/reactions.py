"""What edits show in words: what a score reacts to most, what it misses, and where a median hides the tail."""

from typing import Any

import pandas as pd

from critic_probe.measures.result import Statement
from critic_probe.measures.wording import counted, in_sd, statement, would_tell
from critic_probe.probes import all_families
from critic_probe.stats.edits import INVARIANCE_FLOOR, of_controls
from critic_probe.stats.headline import TAIL_FLOOR
from critic_probe.text import listed

_STRONGEST = ("strongest_harmless", "strongest_harmless_low", "strongest_harmless_high")
_CONTROLS = ("controls_right", "fault", "fault_right", "fault_right_low", "fault_right_high", "rule_explains")
_WORTH = ("harmless_per_wrong_fact", "harmless_per_wrong_fact_low", "harmless_per_wrong_fact_high")


def answer(headline: pd.DataFrame, worst: pd.DataFrame) -> list[Statement]:
    """What each critic reacts to most, what it misses, and what to look at next.

    Args:
        headline: See `PerturbResult`.
        worst: Its cases, the largest |delta| over SD first.
    """
    rows = headline.to_dict("records")
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["strongest"]:
            alike.setdefault((row["critic"], *row["strongest"], _still(row)), []).append(row)
    statements = [_strongest(of_edit) for of_edit in alike.values()]
    statements += _controls(rows)
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


def _still(row: dict[str, Any]) -> bool:
    """Whether not even the strongest harmless edit moves the score."""
    return bool(row["strongest_harmless_high"] < INVARIANCE_FLOOR)


def _strongest(rows: list[dict[str, Any]]) -> Statement:
    """The strongest harmless edit of a critic under read-outs that share it: whether it moves them, and how far."""
    critic, names = rows[0]["critic"], rows[0]["strongest"]
    edit = " or ".join(names)
    if len(names) == 1:
        edit += f" ({all_families()[names[0].split()[0]].description})"
    far = " and by ".join(map(_far, rows))
    text = f"{critic}: of harmless edits {edit} moves the score most, by {far}."
    if _still(rows[0]):
        text = f"{critic}: no harmless edit moves the score by {INVARIANCE_FLOOR:g} SD; the most, {edit}, by {far}."
    of_each = (*_STRONGEST, *_WORTH, "harmless_fails", "failing", "strongest_prompts")
    figures = {f"{row['aggregation']}.{name}": row[name] for row in rows for name in of_each}
    return Statement(text, {"critic": critic, "strongest": names, **figures})


def _far(row: dict[str, Any]) -> str:
    """How far the strongest harmless edit moves one read-out, what it is worth, and how many harmless edits fail."""
    low, high = row["strongest_harmless_low"], row["strongest_harmless_high"]
    unsure = low <= INVARIANCE_FLOOR <= high
    text = f"{in_sd(row['strongest_harmless'], low, high)} read as {row['aggregation']}"
    worth, least, most = (row[name] for name in _WORTH)
    more = would_tell(row["strongest_prompts"], row["strongest_harmless"], low, high, INVARIANCE_FLOOR)
    notes = [f"not told apart from {INVARIANCE_FLOOR:g}", *filter(None, [more])] if unsure else []
    notes += [] if pd.isna(worth) else [f"worth {worth:.2f} [{least:.2f}, {most:.2f}] wrong facts"]
    fail = counted([(row["harmless_fails"], "harmless edit fails", "harmless edits fail")])
    notes += [fail] if fail else []
    return text + (f" ({'; '.join(notes)})" if notes else "")


def _controls(rows: list[dict[str, Any]]) -> list[Statement]:
    """What the order of controls shows of each read-out; those of a critic that order every kind rightly share one."""
    above: dict[str, list[dict[str, Any]]] = {}
    statements = []
    for row in rows:
        if row["controls_word"] == "above chance":
            above.setdefault(row["critic"], []).append(row)
        else:
            statements += [statement(f"{_name(row)}: {text}.", row, *_CONTROLS) for text in of_controls(row)]
    for critic, alike in above.items():
        least = [
            f"{row['fault_right']:.2f} [{row['fault_right_low']:.2f}, {row['fault_right_high']:.2f}] of "
            f"'{row['fault']}' read as {row['aggregation']}"
            for row in alike
        ]
        text = f"{critic}: controls are above chance in every kind of fault (the least: {'; '.join(least)})."
        figures = {f"{row['aggregation']}.{name}": row[name] for row in alike for name in _CONTROLS}
        statements.append(Statement(text, {"critic": critic, **figures}))
    return statements


def _name(row: dict[str, Any]) -> str:
    return f"{row['critic']}/{row['aggregation']}"
