"""Whether the strongest of many harmless edits is said to move a score that none of them moves.

`python -m benchmarks.headline` simulates critics whose harmless families all have the same true effect (no effect, or
one exactly at the bound of 0.2 SD) and prints how often the cross-fitted interval of the strongest lies above it,
beside the naive one, which is measured where it was chosen; then how often the interval holds the true effect where one
family is the strongest.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from critic_probe.stats.edits import INVARIANCE_FLOOR
from critic_probe.stats.headline import chosen_apart
from critic_probe.stats.intervals import median_interval

FAMILIES = 12
_PER_PROMPT = 2  # edits of a family in a prompt: both sides of its pair
_MEDIAN = norm.ppf(0.75)  # of the absolute value of a standard normal


def drawn(rng: np.random.Generator, prompts: int, effects: Sequence[float], correlation: float) -> pd.DataFrame:
    """Cases of one critic: |delta| over SD with this median in each family, alike within a prompt.

    Args:
        rng: Draws them.
        prompts: How many.
        effects: The true median of each family.
        correlation: Of two edits in one prompt, before the absolute value is taken.
    """
    frames = []
    names = [f"{number:08x}" for number in rng.choice(2**32, prompts, replace=False)]
    for family, effect in enumerate(effects):
        shared = np.repeat(rng.normal(size=prompts), _PER_PROMPT)
        own = rng.normal(size=prompts * _PER_PROMPT)
        size = np.abs(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own) * effect / _MEDIAN
        frames.append(
            pd.DataFrame(
                {"family": f"family-{family:02d}", "prompt_hash": np.repeat(names, _PER_PROMPT), "delta": size}
            )
        )
    return pd.concat(frames, ignore_index=True).assign(position="whole", delta_over_sd=lambda frame: frame.delta)


def measured(runs: int, prompts: int, correlation: float, effects: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Shares of the runs in which the claim is made, naively and cross-fitted, and in which the true effect is held."""
    rng = np.random.default_rng(seed)
    naive = fitted = held = named = 0
    for _ in range(runs):
        cases = drawn(rng, prompts, effects, correlation)
        medians = cases.groupby("family").delta.median()
        strongest = cases[cases.family == medians.idxmax()]
        naive += median_interval(strongest.delta, list(strongest.prompt_hash)).low > INVARIANCE_FLOOR
        sample = chosen_apart(cases)
        interval = median_interval(sample.delta, list(sample.prompt_hash))
        fitted += interval.low > INVARIANCE_FLOOR
        held += interval.low <= max(effects) <= interval.high
        named += set(sample.family) == {f"family-{int(np.argmax(effects)):02d}"}
    return {"naive": naive / runs, "cross-fitted": fitted / runs, "held": held / runs, "named": named / runs}


def table(runs: int) -> str:
    """The table that `docs/statistics.md` prints."""
    lines = [
        f"{runs} runs, {FAMILIES} harmless families, {_PER_PROMPT} edits a prompt in each",
        "",
        "| true effects in SD | prompts | correlation | moves: naive | moves: cross-fitted | interval holds |",
        "|---|---|---|---|---|---|",
    ]
    one = [1.0] + [0.05] * (FAMILIES - 1)
    for said, effects in (
        ("none: all 0.02", [0.02] * FAMILIES),
        ("all 0.2", [0.2] * FAMILIES),
        ("one 1.0, others 0.05", one),
    ):
        for prompts in (20, 40, 80):
            for correlation in (0.0, 0.5):
                row = measured(runs, prompts, correlation, effects)
                moves = f"{row['naive']:.3f} | {row['cross-fitted']:.3f}"
                holds = f"{row['held']:.3f}" if effects is one else ""
                lines.append(f"| {said} | {prompts} | {correlation:g} | {moves} | {holds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulated critics a line")
    print(table(parser.parse_args().runs))
