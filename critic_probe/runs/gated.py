"""Gates on a run: they bound the figures of the step that the rule takes, and of the last one."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from critic_probe.gates.figures import figures
from critic_probe.gates.gate import Plan, evaluate
from critic_probe.runs.figures import FIGURES, OF_TRAINING, PLACES
from critic_probe.runs.steps import Step


def gated(
    gates: Plan, unnamed: Collection[str], steps: Sequence[Step], rows: pd.DataFrame, best: pd.DataFrame, lost: int
) -> Iterator[dict[str, Any]]:
    """What gates say of a run, a row a gate and figure; see `gates.gate.evaluate`, with the step that the figure is of.

    Args:
        gates: On `track.NAME`.
        unnamed: The read-outs that a gate bounds which names none.
        steps: In order.
        rows: The table `steps` of `TrackResult`.
        best: Its table of that name.
        lost: The last step that could not be scored, or -1. Where it is the run's last, nothing is known of that one.
    """
    if not gates.gates:
        return
    last = max(steps[-1].step, lost)
    by_step = {step.step: step for step in steps}
    known = {(row["step"], row["aggregation"]): row for row in rows.to_dict("records")}
    places = [
        (place, step, chosen["aggregation"])
        for chosen in best.to_dict("records")
        for place, step in zip(PLACES, (chosen["best"], last), strict=True)
    ]
    table = pd.DataFrame(
        {
            **{"figure": name, "critic": f"step {step}", "aggregation": aggregation, "position": place},
            **_figure(name, by_step.get(step), known.get((step, aggregation), {}), aggregation),
        }
        for place, step, aggregation in places
        for name in (*FIGURES, *OF_TRAINING)
    )
    for row in evaluate(gates, figures({"track": table}), list(unnamed)).to_dict("records"):
        yield {"step": int(row["critic"].removeprefix("step ")), **row}


def _figure(name: str, step: Step | None, row: dict[str, Any], aggregation: str) -> dict[str, Any]:
    """A step's figure with its interval and how many cases of how many prompts it is of."""
    n, prompts = 0, 0
    if name in FIGURES and step is not None:
        metric, family, _ = FIGURES[name]
        measured = step.figures_of(aggregation).get((metric, family), {"n": 0, "prompts": 0})
        n, prompts = measured["n"], measured["prompts"]
    elif name == "train_d_acc":
        n, prompts = row.get("train_n", 0), row.get("train_prompts", 0)
    elif "train_n" in row:  # of a difference, those of the smaller side
        n, prompts = min(row["train_n"], row["n"]), min(row["train_prompts"], row["prompts"])
    value, low, high = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high"))
    return {"value": value, "low": low, "high": high, "n": n, "prompts": prompts}
