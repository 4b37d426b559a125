"""`python -m benchmarks.drift`: how often `check --baseline` says that a figure moved, by simulation.

Latent scores of two read-outs, several pairs a prompt, become figures with the tool's intervals, and two baselines of
them are compared by `drift` itself. *Other pairs*: the same critic on two samples; anything that moved is wrong. *Same
pairs*: the second critic's d_acc is lower by .05 in truth, by verdicts that change in both directions. Last's d_acc
stands there among all figures, and alone: tested in pairs, and by both intervals, as an older baseline would be.
"""

import argparse
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from critic_probe.gates.baseline import FIGURE, UNPAIRED, name_of, record
from critic_probe.gates.drift import drift
from critic_probe.measures.compare import with_verdicts
from critic_probe.stats import pairs as pairwise
from critic_probe.stats.intervals import mean_interval

READ_OUTS = {"last": 0.85, "mean": 0.8}  # true d_acc
CATEGORIES = ("facts", "form")
NOISE = 0.15  # SD of what a second critic's gap differs by, in SD of the first one's; it changes verdicts both ways
Floats = NDArray[np.float64]
Gaps = dict[str, Floats]
_LAST = "compare.d_acc last"


def latent(rng: np.random.Generator, prompts: int, each: int, correlation: float) -> Gaps:
    """Gaps (prompts * each,) of unit SD around what makes the true d_acc, by read-out; prompts share a part."""
    shared, own = rng.standard_normal((len(READ_OUTS), prompts, 1)), rng.standard_normal((2, prompts, each))
    mixed = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return {name: (mixed[i] + norm.ppf(right)).ravel() for i, (name, right) in enumerate(READ_OUTS.items())}


def fallen(rng: np.random.Generator, gaps: Gaps, fall: float) -> Gaps:
    """The gaps of another critic, whose true d_acc is lower."""
    scale = np.sqrt(1 + NOISE**2)
    return {
        name: own + NOISE * rng.standard_normal(len(own)) + scale * norm.ppf(right - fall) - norm.ppf(right)
        for (name, right), own in zip(READ_OUTS.items(), gaps.values(), strict=True)
    }


def baseline(gaps: Gaps, each: int, sample: str) -> dict[str, Any]:
    """What `check --save-baseline` writes of such scores: eighteen figures with intervals, and every pair."""
    rows = [
        {"critic": "c", "aggregation": name, "id": f"{sample}{i}", "prompt_hash": f"{sample}{i // each}"}
        | {"category": CATEGORIES[i // each % len(CATEGORIES)], "student_score": -gap / 2, "teacher_score": gap / 2}
        | {"student_tokens": 8, "teacher_tokens": 8}
        for name, own in gaps.items()
        for i, gap in enumerate(own)
    ]
    scored = with_verdicts(pd.DataFrame(rows), dict.fromkeys(gaps, 1e-6))
    found = []
    for name, of_read_out in scored.groupby("aggregation"):
        for category, frame in (("", of_read_out), *of_read_out.groupby("category")):
            prompts = list(frame.prompt_hash)
            for metric, interval in (
                ("d_acc", pairwise.d_acc(frame)),
                ("mean_gap", mean_interval(frame.gap, prompts)),
                ("gap_over_sd", mean_interval(frame.gap_over_sd, prompts)),
            ):
                place = {"metric": f"compare.{metric}", "critic": "c", "aggregation": name, "category": category}
                found.append(place | interval._asdict() | {"family": "", "position": "", "n": len(frame)})
    signed: Any = {"critics": [{"name": "c", "noise_floor": dict.fromkeys(gaps, 1e-6)}], "data": sample}
    compared = SimpleNamespace(pairs=scored)
    return record({"compare": compared}, pd.DataFrame(found), signed, (None, 0))


def share_moved(runs: int, made: Callable[[np.random.Generator], tuple[dict[str, Any], dict[str, Any]]]) -> list[float]:
    """Over `runs` draws, the shares in which figures moved.

    Returns:
        Any of all; each on average; last's d_acc among all, alone, and alone by both intervals.
    """
    words = []
    for seed in range(runs):
        old, new = made(np.random.default_rng(seed))
        among = _moved(old, new)
        lone = [
            side | {"figures": [row for row in side["figures"] if name_of(row, FIGURE) == _LAST]} for side in (old, new)
        ]
        alone, unpaired = _moved(*lone), _moved(lone[0] | {"schema": UNPAIRED[-1]}, lone[1])
        words.append((any(among), len(among) / len(old["figures"]), _LAST in among, any(alone), any(unpaired)))
    return list(np.mean(words, axis=0))


def _moved(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    found = drift(old, new, np.inf)
    return set(found.what[found.verdict == "moved"])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="draws a line; a quarter of them on the same pairs")
    runs = parser.parse_args().runs
    heads = ("any figure moved", "each figure, on average", "last's d_acc moved", "alone", "alone, by both intervals")
    print(f"| | prompts x pairs | correlation | {' | '.join(heads)} |")
    print(f"|---|---|---|{'---|' * len(heads)}")
    for prompts, each, correlation in ((40, 1, 0.0), (50, 4, 0.5), (200, 1, 0.0)):

        def other(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
            one, two = (latent(rng, prompts, each, correlation) for _ in range(2))  # noqa: B023
            return baseline(one, each, "a"), baseline(two, each, "b")  # noqa: B023

        def same(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
            gaps = latent(rng, prompts, each, correlation)  # noqa: B023
            return baseline(gaps, each, "a"), baseline(fallen(rng, gaps, 0.05), each, "a")  # noqa: B023

        for word, made, draws in (
            ("other pairs, same critic", other, runs),
            ("same pairs, d_acc .05 lower", same, -(-runs // 4)),
        ):
            shares = " | ".join(f"{share:.3f}" for share in share_moved(draws, made))
            print(f"| {word} | {prompts} x {each} | {correlation:g} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
