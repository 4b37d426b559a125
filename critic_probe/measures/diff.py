"""One critic against another: paired tests on the same pairs and the same edits, and the verdicts that flipped."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from critic_probe.measures.compare import CompareResult
from critic_probe.measures.perturb import PerturbResult
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.wording import beside
from critic_probe.stats.intervals import of_test, would_tell
from critic_probe.stats.rates import holm
from critic_probe.text import listed

ALPHA = 0.05


@dataclass(frozen=True, repr=False)
class DiffResult(Measured):
    """One critic against another on the same pairs and the same edits; every difference is the new minus the old.

    Attributes:
        pairs: One row per aggregation: n, old and new d_acc, flips with the p of the sign-flip test over prompts and
            p_holm, and the difference of the margins (gap over SD) with its interval.
        families: One row per aggregation and family of edits, the largest difference first: n, old and new mean of
            |delta| over SD, their difference with interval, p and p_holm over all of them; for controls and directions
            the old and new rate of the right order, ties as half, with the p of the same test.
        flipped: One row per aggregation and pair whose verdict went from one side to the other, with both margins, the
            largest change first.
    """

    command = "diff"
    tables = ("pairs", "families", "flipped")
    main = "families"

    pairs: pd.DataFrame
    families: pd.DataFrame
    flipped: pd.DataFrame

    def answer(self) -> list[Statement]:
        """Whether verdicts changed, and to what the new critic reacts otherwise."""
        new = self.signature["critics"][1]["name"]
        said = [Statement(text, figures) for text, figures in _found(new, self.pairs, self.families)]
        return [*said, Statement("Next: trace shows a pair that flipped, token by token.", {})]

    def read_aloud(self) -> list[str]:
        """Plain sentences on how to read it, from its own tables and signature."""
        old, new = (critic["name"] for critic in self.signature["critics"])
        return [_reading(old, new)]


def diff(compared: CompareResult, edited: PerturbResult) -> DiffResult:
    """What changed from the first critic of two results to the second.

    Args:
        compared: The pairs under both critics.
        edited: Edits of their responses under both critics.
    """
    old, new = compared.summary.critic.unique()
    pairs, families = _pairs(compared, old, new), _families(edited)
    flipped = _flipped(compared.pairs, old, new)
    return DiffResult(
        pairs=pairs,
        families=families,
        flipped=flipped,
        notices=[*compared.notices, *(n for n in edited.notices if n not in compared.notices)],
        signature=edited.signature,
        reading=[_reading(old, new)],
        input=compared.input,
    )


def _between_critics(contrasts: pd.DataFrame) -> pd.DataFrame:
    return contrasts[contrasts.critic != contrasts.other_critic].reset_index(drop=True)


def _pairs(compared: CompareResult, old: str, new: str) -> pd.DataFrame:
    rows = _between_critics(compared.contrasts)
    d_acc = compared.summary.set_index(["critic", "aggregation"]).d_acc
    return pd.DataFrame(
        {
            "aggregation": rows.aggregation,
            "n": rows.n,
            "prompts": rows.prompts,
            "old_d_acc": [d_acc[old, name] for name in rows.aggregation],
            "new_d_acc": [d_acc[new, name] for name in rows.aggregation],
            "flips": rows.flips,
            "p": rows.p,
            "p_holm": holm(rows.p),
            "margin": -rows.margin,
            "margin_low": -rows.margin_high,
            "margin_high": -rows.margin_low,
        }
    )


def _families(edited: PerturbResult) -> pd.DataFrame:
    rows = _between_critics(edited.contrasts)
    table = pd.DataFrame(
        {
            "aggregation": rows.aggregation,
            "family": rows.family,
            "n": rows.n,
            "prompts": rows.prompts,
            "old": rows.mean_abs,
            "new": rows.other_mean_abs,
            "difference": -rows.difference,
            "low": -rows.high,
            "high": -rows.low,
            "p": rows.p,
            "p_holm": holm(rows.p),
            "old_right": rows.right,
            "new_right": rows.other_right,
            "right_flips": rows.right_flips,
            "right_p": rows.right_p,
            "right_p_holm": holm(rows.right_p),
        }
    )
    return table.iloc[(-table.difference.abs()).argsort(kind="stable")].reset_index(drop=True)


def _flipped(scored: pd.DataFrame, old: str, new: str) -> pd.DataFrame:
    columns = ["aggregation", "id", "category", "verdict", "gap_over_sd"]
    before, after = (scored.loc[scored.critic == critic, columns] for critic in (old, new))
    both = before.merge(after, on=columns[:3], suffixes=("_old", "_new"))
    sides = ("student", "teacher")
    changed = both[both.verdict_old.isin(sides) & both.verdict_new.isin(sides) & (both.verdict_old != both.verdict_new)]
    table = changed.rename(
        columns={
            "verdict_old": "old_verdict",
            "verdict_new": "new_verdict",
            "gap_over_sd_old": "old_gap_over_sd",
            "gap_over_sd_new": "new_gap_over_sd",
        }
    )
    change = (table.new_gap_over_sd - table.old_gap_over_sd).abs()
    return table.iloc[(-change).argsort(kind="stable")].reset_index(drop=True)


def _reading(old: str, new: str) -> str:
    return (
        f"Every difference is {new} minus {old}, over the same pairs and the same edits, in SD of each critic's own "
        "scores: raw scores of two critics have no common scale. p is Holm's over its table."
    )


def _found(new: str, pairs: pd.DataFrame, families: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in pairs.to_dict("records"):
        unsure = "" if row["p_holm"] < ALPHA else _would_tell(row, pairs)
        word = "differ" if row["p_holm"] < ALPHA else "cannot be told apart"
        flipped = f"{row['flips']} of {row['n']} pairs flipped sides"
        d_acc = f"d_acc {row['old_d_acc']:.2f} -> {row['new_d_acc']:.2f}"
        text = f"{row['aggregation']}: the verdicts {word}{beside([flipped, d_acc, unsure])}."
        yield text, {name: row[name] for name in ("aggregation", "flips", "n", "old_d_acc", "new_d_acc", "p_holm")}
    for aggregation, frame in families.groupby("aggregation", sort=False):
        changed = frame[frame.p_holm < ALPHA]
        more, less = (list(changed.family[side]) for side in (changed.difference > 0, changed.difference < 0))
        parts = [f"{word} to {listed(names)}" for word, names in (("more", more), ("less", less)) if names]
        reacts = f"{new} reacts {'; '.join(parts)}" if parts else _none_apart(frame, families)
        yield f"{aggregation}: {reacts}.", {"aggregation": aggregation, "more": more, "less": less}
        right = frame[frame.right_p_holm < ALPHA]
        better, worse = (
            list(right.family[side]) for side in (right.new_right > right.old_right, right.new_right < right.old_right)
        )
        for word, names in (("more", better), ("less", worse)):
            if names:
                yield (
                    f"{aggregation}: {new} orders rightly {word} often: {listed(names)}.",
                    {"aggregation": aggregation, f"right_{word}": names},
                )


def _would_tell(row: Mapping[Hashable, Any], table: pd.DataFrame) -> str:
    """About how many more prompts would tell a row of a table by its test."""
    return would_tell(of_test(row["p"], table.p.count()), 0.0, row["n"], row["prompts"])


def _none_apart(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    """That no family can be told apart, and how many more prompts would tell the one that is nearest to it."""
    nearest = frame.loc[frame.p.idxmin()].to_dict() if frame.p.notna().any() else frame.iloc[0].to_dict()
    more = _would_tell(nearest, table)
    return "no family of edits can be told apart" + beside([more and f"{more} {nearest['family']}"])
