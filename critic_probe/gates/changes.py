"""By how much every pair and edit behind a figure changed between two baselines, for tests in pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from critic_probe.gates.baseline import CASE, FIGURE, SCORE, name_of
from critic_probe.probes import WRONG_FACTS
from critic_probe.stats.chance import FAULTS, weakest
from critic_probe.stats.edits import order_of, right_order
from critic_probe.stats.headline import chosen_apart, worth_by_prompt
from critic_probe.stats.pairs import credit, matched

_EDIT = [*CASE, "command", "kind", "nth"]

Side = Mapping[str, Any]
"""A baseline, as `baseline.record` makes it."""


def changes(old: Side, new: Side) -> dict[str, pd.Series]:
    """New minus old of every pair or edit behind a figure: by the figure's name, with the prompts as index.

    0 where arithmetic alone could have moved the gap or delta, NaN where the figure is not of that pair.
    """
    pairs = pd.DataFrame(new["pairs"], columns=["id", "prompt_hash", "category"]).set_index("id")
    found: dict[str, pd.Series] = {}
    for rows, units in (("scores", _of_scores), ("cases", _of_cases)):
        if not (old[rows] and new[rows]):
            continue
        apart = units(new) - units(old)
        floors = [max(_floor(side, *key[:2]) for side in (old, new)) for key in apart.index]
        still = apart.move.abs() <= floors
        apart = apart.drop(columns="move")
        apart[still] *= 0.0
        place = apart.index.to_frame(index=False).join(pairs, on="id").fillna("")
        apart = apart.set_axis(place.prompt_hash)
        parts = pd.concat([place.assign(category=""), place[place.category != ""]])
        for (command, *keys), part in parts.groupby(["command", *FIGURE[1:]], sort=False):
            for column in apart:
                found[_name(f"{command}.{column}", *keys)] = apart[column].iloc[part.index]
    return found | (_of_headline(old, new, pairs.prompt_hash) if old["cases"] and new["cases"] else {})


def _name(*figure: str) -> str:
    return name_of(dict(zip(FIGURE, figure, strict=True)), FIGURE)


def _floor(side: Side, critic: str, aggregation: str) -> float:
    return float(side["noise_floor"].get(critic, {}).get(aggregation) or 0.0)


def _of_scores(side: Side) -> pd.DataFrame:
    """By critic, read-out and id, what the figures of `compare` are made of, named as they are."""
    rows = pd.DataFrame(side["scores"]).assign(command="compare", family="", position="")
    rows = rows.set_index([*SCORE, "command", "family", "position"])
    right, gap = credit(rows.verdict), (rows.teacher_score - rows.student_score).astype(float)
    return pd.DataFrame(
        {
            "d_acc": right,
            "beyond": right,  # the rule that reads no content is as right as it was
            "matched_d_acc": right.where(matched(rows)),
            "mean_gap": gap,
            "gap_over_sd": rows.gap_over_sd.astype(float),
            "median_abs_gap": gap.abs(),
            "move": gap,
        }
    )


def _cases(side: Side) -> pd.DataFrame:
    """By edit, what a baseline holds of it, with the noise floor."""
    rows = pd.DataFrame(side["cases"]).astype({"delta": float, "delta_over_sd": float})
    rows["nth"] = rows.groupby([*CASE, "command"]).cumcount()  # the same edit at several places of one response
    rows["floor"] = [_floor(side, *key) for key in zip(rows.critic, rows.aggregation, strict=True)]
    return rows.set_index(_EDIT)


def _of_cases(side: Side) -> pd.DataFrame:
    """By edit, what the figures of edits are made of, named as they are."""
    rows = _cases(side)
    return pd.DataFrame(
        {
            "median_abs_delta": rows.delta.abs(),
            "median_abs_delta_over_sd": rows.delta_over_sd.abs(),
            "mean_delta": rows.delta,
            "mean_delta_over_sd": rows.delta_over_sd,
            "flip_rate": rows.flip.astype(float),
            "right_order": right_order(rows, rows.delta).where(rows.sign != 0),
            "move": rows.delta,
        }
    )


def _of_headline(old: Side, new: Side, prompts: pd.Series) -> dict[str, pd.Series]:
    """The same of the headline's figures, of which some are of what each side chose: where both chose the same."""
    before, after = _cases(old), _cases(new)
    both = before.index.intersection(after.index)
    both = both[both.get_level_values("command") == "perturb"]
    before, after = (frame.loc[both].reset_index() for frame in (before, after))
    still = (after.delta - before.delta).abs() <= np.maximum(before.floor, after.floor)
    of_edits = prompts.reindex(after.id).set_axis(after.index)
    found: dict[str, pd.Series] = {}
    for (critic, aggregation), part in after.groupby(["critic", "aggregation"], sort=False):
        sides = [frame.loc[part.index].assign(prompt_hash=of_edits) for frame in (before, after)]

        def keep(figure: str, was: pd.Series, now: pd.Series) -> None:
            apart = (now - was).mask(still, 0.0)
            found[_name(f"perturb.{figure}", critic, aggregation, "", "", "")] = apart.set_axis(of_edits[apart.index])  # noqa: B023

        controls = [frame[frame.kind == "control"] for frame in sides]
        keep("controls_right", *(right_order(frame, frame.delta) for frame in controls))
        worst = {weakest(order_of(frame)[1]).fault for frame in controls}
        if len(worst) == 1:
            of_fault = [frame[frame.family.isin(FAULTS[min(worst)])] for frame in controls]
            keep("fault_right", *(right_order(frame, frame.delta) for frame in of_fault))
        samples = [chosen_apart(frame[frame.kind == "invariance"]) for frame in sides]
        if samples[0].index.equals(samples[1].index):
            keep("strongest_harmless", *(sample.delta_over_sd.abs() for sample in samples))
            wrong = [frame[frame.family.isin(WRONG_FACTS)] for frame in sides]
            worths = [worth_by_prompt(*frames) for frames in zip(samples, wrong, strict=True)]
            found[_name("perturb.harmless_per_wrong_fact", critic, aggregation, "", "", "")] = worths[1] - worths[0]
    return found
