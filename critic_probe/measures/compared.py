"""What a comparison says in words: its answer, how to read its tables, and what makes them doubtful."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from critic_probe.measures.result import Statement
from critic_probe.measures.wording import beside, percent, statement
from critic_probe.objective import SATURATED
from critic_probe.stats.intervals import NOTHING, Interval, of_test, would_tell
from critic_probe.stats.rates import too_few
from critic_probe.text import listed, reader

_CRITICS = 3  # of which an answer speaks one by one
_LEVEL = 0.05
_SIDES = ("longer", "shorter")


def answer(
    summary: pd.DataFrame,
    statistics: pd.DataFrame,
    lengths: pd.DataFrame,
    contrasts: pd.DataFrame,
    categories: pd.DataFrame,
) -> list[Statement]:
    """Whom each critic puts first, whether its read-outs disagree, what category is unlike the rest, what to doubt.

    Args:
        summary: See `CompareResult`, as are the others.
        statistics: With the accuracy beyond the best rule that reads no content, where texts are known.
        lengths: Empty where lengths are not known.
        contrasts: Of read-outs and critics.
        categories: Each against the rest.
    """
    wide = summary.merge(statistics.drop(columns="n"), on=["critic", "aggregation"])
    statements = []
    critics = list(summary.critic.unique())
    for critic in critics[:_CRITICS]:
        rows = wide[wide.critic == critic].to_dict("records")
        statements.append(_ordered(rows))
        within = [row for row in contrasts.to_dict("records") if {row["critic"], row["other_critic"]} == {critic}]
        statements += [_read_outs(row, contrasts.p.count()) for row in within[:1]]
    if len(critics) > _CRITICS:
        statements.append(Statement(f"{len(critics) - _CRITICS} more critics stand in the table.", {}))
    unlike = standing_out(categories).to_dict("records")
    statements[1:1] = [_unlike(row, categories.p.count()) for row in unlike]
    doubts = warnings(statistics, lengths)
    statements += [Statement(doubt, {}) for doubt in doubts[:1]]
    statements.append(Statement("Next: perturb shows what moves these scores, trace shows where in an answer.", {}))
    return statements


def _ordered(rows: list[dict[str, Any]]) -> Statement:
    """How often a critic puts the teacher first under each read-out, and the best rule that reads no content."""
    shares = [percent(row["d_acc"], row["d_acc_low"], row["d_acc_high"]) for row in rows]
    read = [f"{each} read as {row['aggregation']}" for each, row in zip(shares, rows, strict=True)]
    text = f"{rows[0]['critic']} puts the teacher first in {listed(read)} (n = {rows[0]['n']})"
    named = ("d_acc", "d_acc_low", "d_acc_high", "beyond", "beyond_low", "beyond_high")
    figures = {f"{row['aggregation']}.{name}": row[name] for row in rows for name in named if name in row}
    if isinstance(rows[0].get("baseline"), str):
        words: dict[str, list[str]] = {}
        for row in rows:
            word = "more" if row["beyond_low"] > 0 else "less" if row["beyond_high"] < 0 else "no more"
            words.setdefault(f"{word} often than", []).append(row["aggregation"])
        several = len(words) > 1
        orders = [f"{word} ({listed(names)})" if several else word for word, names in words.items()]
        text += f": {listed(orders)} the rule '{rows[0]['baseline']}', which reads no content"
        more = [(row["aggregation"], _beyond_would_tell(row)) for row in rows]
        text += beside([(f"{said} read as {name}" if len(rows) > 1 else said) for name, said in more if said])
    return Statement(text + ".", {"critic": rows[0]["critic"], **figures})


def _beyond_would_tell(row: Mapping[str, Any]) -> str:
    """How many more prompts would tell a read-out from the best rule that reads no content."""
    beyond = Interval(*(row[name] for name in ("beyond", "beyond_low", "beyond_high")))
    return would_tell(beyond, 0.0, row["n"], row["prompts"])


def _read_outs(row: dict[str, Any], tests: int) -> Statement:
    """Whether two read-outs of a critic order pairs differently, by one of so many tests."""
    first, other = row["aggregation"], row["other_aggregation"]
    text = f"{row['critic']}: {first} and {other} give {row['flips']} of {row['n']} pairs to different sides"
    if pd.isna(row["p_holm"]):
        text += f"; too few prompts to test it{beside([would_tell(NOTHING, 0.0, row['n'], row['prompts'])])}."
    elif row["p_holm"] < _LEVEL:
        text += f" (p = {row['p_holm']:.3f}): they do not order pairs alike."
    else:
        more = would_tell(of_test(row["p"], tests), 0.0, row["n"], row["prompts"])
        text += f" (p = {row['p_holm']:.2f}): nothing here tells them apart{beside([more])}."
    return statement(text, row, "other_aggregation", "flips", "n", "p_holm")


def standing_out(categories: pd.DataFrame) -> pd.DataFrame:
    """The row of the category that is most surely unlike all other pairs; none where none is by Holm's p."""
    if categories.empty:  # read back, it has no columns either
        return categories
    sure = categories[categories.p_holm.astype(float) < _LEVEL]
    return sure.sort_values("p_holm", kind="stable").head(1)


def _unlike(row: dict[str, Any], tests: int) -> Statement:
    """That a category is unlike the rest, and the test that says so."""
    own = percent(row["d_acc"], row["d_acc_low"], row["d_acc_high"])
    rest = percent(row["rest_d_acc"], row["rest_low"], row["rest_high"])
    text = (
        f"{row['critic']} read as {row['aggregation']}: category {row['category']} stands out, with the teacher first "
        f"in {own} of its {row['n']} pairs and {rest} of the others (p = {row['p_holm']:.2g}, Holm over {tests} tests)."
    )
    named = ("d_acc", "d_acc_low", "d_acc_high", "rest_d_acc", "rest_low", "rest_high", "n", "p_holm")
    return statement(text, row, "category", *named)


def reading(summary: pd.DataFrame, statistics: pd.DataFrame, baselines: pd.DataFrame) -> list[str]:
    """How to read the tables."""
    sentences = [
        "d_acc is the share of pairs whose teacher scores above the student (a tie counts as half), with a 95 % "
        "interval that counts prompts, not pairs.",
        "Compare gap/SD, not raw gaps, across read-outs: averaging N values shrinks every gap and the SD with it.",
    ]
    if len(baselines):
        best = baselines.loc[baselines.accuracy.idxmax()]
        sure = summary.merge(statistics.drop(columns="n"), on=["critic", "aggregation"], how="left")
        matched = [
            reader(row["critic"], row["aggregation"]) + beside([_beyond_would_tell(row)])
            for row in sure.to_dict("records")
            if too_few(row["n"], row["prompts"]) or not row["beyond_low"] > 0
        ]
        rule = f"The rule '{best.baseline}', which reads no content, is right in {best.accuracy:.2f} of the pairs"
        sentences.append(
            f"{rule}; {', '.join(matched)} cannot be told from it or {_do(matched)} worse." if matched else f"{rule}."
        )
    for _, frame in summary.groupby("critic", sort=False):
        for a, b in itertools.combinations(frame.itertuples(), 2):
            if (abs(a.mean_gap) - abs(b.mean_gap)) * (abs(a.gap_over_sd) - abs(b.gap_over_sd)) < 0:
                raw, scaled = (a, b) if abs(a.mean_gap) > abs(b.mean_gap) else (b, a)
                sentences.append(
                    f"{a.critic}: {raw.aggregation} has the larger raw gap, {scaled.aggregation} the larger gap/SD: "
                    "the raw figure shows a scale, not a better separation."
                )
    return sentences


def warnings(statistics: pd.DataFrame, lengths: pd.DataFrame) -> list[str]:
    """What makes the figures doubtful."""
    sentences = []
    saturated = [row for row in statistics.itertuples() if row.saturated > 0.5]
    if saturated:
        shares = ", ".join(f"{reader(r.critic, r.aggregation)} {100 * r.saturated:.0f} %" for r in saturated)
        sentences.append(
            f"At T = {saturated[0].temperature:g} more than half of the pairs are saturated (|d|/T > "
            f"{SATURATED:g}) and train no more: {shares}."
        )
    for row in lengths.itertuples():
        sides = ((getattr(row, f"teacher_{name}_n"), getattr(row, f"teacher_{name}_prompts")) for name in _SIDES)
        if any(too_few(*side) for side in sides):
            continue
        if row.teacher_longer_low > row.teacher_shorter_high or row.teacher_shorter_low > row.teacher_longer_high:
            better = "longer" if row.teacher_longer_d_acc > row.teacher_shorter_d_acc else "shorter"
            shares = f"{row.teacher_longer_d_acc:.2f} of the pairs whose teacher is longer"
            shares += f" and in {row.teacher_shorter_d_acc:.2f} where it is shorter"
            sentences.append(
                f"{reader(row.critic, row.aggregation)}: right in {shares}: it favours the {better} answer."
            )
    return sentences


def _do(names: Sequence[str]) -> str:
    return "does" if len(names) == 1 else "do"
