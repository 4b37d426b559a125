"""What edits show in words: what a score reacts to most, what it misses, and where a median hides the tail."""

from typing import Any

import pandas as pd

from critic_probe.measures.result import Statement
from critic_probe.measures.wording import beside, counted, in_sd, percent, statement
from critic_probe.probes import all_families
from critic_probe.stats.edits import INVARIANCE_FLOOR, ORDER_FLOOR, of_controls
from critic_probe.stats.headline import TAIL_FLOOR
from critic_probe.stats.intervals import Interval, would_tell
from critic_probe.text import listed, reader

_STRONGEST = ("strongest_harmless", "strongest_harmless_low", "strongest_harmless_high")
_CONTROLS = ("controls_right", "fault", "fault_right", "fault_right_low", "fault_right_high", "rule_explains")
_WORTH = ("harmless_per_wrong_fact", "harmless_per_wrong_fact_low", "harmless_per_wrong_fact_high")


def answer(
    headline: pd.DataFrame, summary: pd.DataFrame, worst: pd.DataFrame, *, completeness: bool
) -> list[Statement]:
    """What each critic reacts to most, what it misses, and what to look at next.

    Args:
        headline: See `PerturbResult`.
        summary: Its verdicts, by family.
        worst: Its cases, the largest |delta| over SD first.
        completeness: Whether complete answers are what was asked about, and so what comes first.
    """
    rows = headline.to_dict("records")
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["strongest"]:
            alike.setdefault((row["critic"], *row["strongest"], _still(row)), []).append(row)
    strongest = [_strongest(of_edit) for of_edit in alike.values()]
    in_full = _in_full(summary[summary.kind == "directional"])
    statements = [*in_full, *strongest] if completeness else [*strongest, *in_full]
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
    effect = Interval(*(row[name] for name in _STRONGEST))
    unsure = effect.low <= INVARIANCE_FLOOR <= effect.high
    text = f"{in_sd(*effect)} read as {row['aggregation']}"
    worth, least, most = (row[name] for name in _WORTH)
    more = would_tell(effect, INVARIANCE_FLOOR, row["strongest_n"], row["strongest_prompts"])
    notes = [f"not told apart from {INVARIANCE_FLOOR:g}", more] if unsure else []
    notes += [] if pd.isna(worth) else [f"worth {worth:.2f} [{least:.2f}, {most:.2f}] wrong facts"]
    notes.append(counted([(row["harmless_fails"], "harmless edit fails", "harmless edits fail")]))
    return text + beside(notes)


def _in_full(summary: pd.DataFrame) -> list[Statement]:
    """How often each critic scores the same facts higher where they are told in full."""
    statements = []
    for critic, frame in summary.groupby("critic", sort=False):
        rows = frame.to_dict("records")
        text = f"{critic}: told in full, the same facts score higher in {' and '.join(map(_share, rows))}"
        text += f" (n = {rows[0]['n']})."
        figures = {f"{row['aggregation']}.{name}": row[name] for row in rows for name in ("figure", "low", "high", "n")}
        statements.append(Statement(text, {"critic": critic, **figures}))
    return statements


def _share(row: dict[str, Any]) -> str:
    """How often one read-out does, and how many more prompts would tell it from its bound."""
    share = Interval(row["figure"], row["low"], row["high"])
    text = f"{percent(*share)} read as {row['aggregation']}"
    if row["verdict"] != "cannot tell":
        return text
    more = would_tell(share, ORDER_FLOOR, row["n"], row["prompts"])
    return text + beside([f"not told apart from {100 * ORDER_FLOOR:.0f} %", more])


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
    return reader(row["critic"], row["aggregation"])
