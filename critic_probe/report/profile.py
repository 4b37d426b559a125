"""The reaction profile: all edits on one axis, in SD of the unedited scores, harmless and harmful ones together."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from critic_probe.stats.headline import names_of

EFFECT = "median_abs_delta_over_sd"
MARKS = {"invariance": "~", "control": "!", "meaning-changing": "!", "directional": "="}
CAPTION = "Median |Δ| in SD, by edit (~ harmless, ! worse, = the same facts)"


class Reaction(NamedTuple):
    """What one edit does to every critic and read-out.

    Attributes:
        name: The family, and the position unless it is the whole response.
        kind: Of the edit: one of `MARKS`.
        strength: The largest `EFFECT` of any critic and read-out, in SD; 0 where there is none.
        rows: (critic, read-out) -> its row of `PerturbResult.summary`.
    """

    name: str
    kind: str
    strength: float
    rows: dict[tuple[str, str], dict[Hashable, Any]]


def ranked(summary: pd.DataFrame) -> list[Reaction]:
    """Every edit, the one that moves a score most first.

    Args:
        summary: See `PerturbResult`; identities, which move nothing by design, are left out.
    """
    shown = summary[summary.kind.isin(MARKS)]
    reactions = []
    for (name, kind), part in shown.groupby([names_of(shown), "kind"], sort=False):
        rows = {(row["critic"], row["aggregation"]): row for row in part.to_dict("records")}
        strength = part[EFFECT].max()
        reactions.append(Reaction(name, kind, 0.0 if pd.isna(strength) else float(strength), rows))
    return sorted(reactions, key=lambda reaction: -reaction.strength)


def readers(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """Every critic and read-out, in the order of the table."""
    return list(dict.fromkeys(zip(summary.critic, summary.aggregation, strict=True)))


def ends(row: Mapping[Hashable, Any]) -> tuple[float, float]:
    """The interval of an edit's effect; the effect twice where it has none."""
    low, high = row[f"{EFFECT}_low"], row[f"{EFFECT}_high"]
    return (row[EFFECT],) * 2 if pd.isna(low) or pd.isna(high) else (low, high)
