"""How often the rule for the best checkpoint errs.

`python -m benchmarks.steps` simulates runs of checkpoints whose verdicts on a pair are alike, with several pairs a
prompt too, and prints how often a step is called worse although none is better, by the rule and by the plain test of
each step against the highest, how many steps the rule keeps, and how often the 95 % interval of the accuracy holds the
true one: of the step that the rule takes, which a gate on `best` bounds, and of the highest.
"""

import argparse

import numpy as np
from scipy.stats import norm

from critic_probe.stats.best import best_of_steps
from critic_probe.stats.intervals import rate_interval
from critic_probe.stats.paired import paired_p
from critic_probe.stats.rates import ALPHA

_SHARED, _OF_PROMPT = (
    0.7,
    0.15,
)  # of a gap's variance: what all steps share, and a prompt's pairs at one step


def drawn(rng: np.random.Generator, accuracies: np.ndarray, prompts: int, pairs: int) -> np.ndarray:
    """(prompts * pairs, K) whether each step is right, with these true accuracies."""
    count = len(accuracies)
    shared = np.repeat(rng.normal(size=(prompts, 1)), pairs, 0) + rng.normal(size=(prompts * pairs, 1))
    own = np.repeat(rng.normal(size=(prompts, count)), pairs, 0)
    rest = rng.normal(size=(prompts * pairs, count))
    gap = (_SHARED / 2) ** 0.5 * shared + _OF_PROMPT**0.5 * own + (1 - _SHARED - _OF_PROMPT) ** 0.5 * rest
    return (gap + norm.ppf(accuracies) > 0).astype(float)


def measured(runs: int, accuracies: np.ndarray, prompts: int, pairs: int, seed: int = 0) -> dict[str, float]:
    """Shares of the runs in which a best step is called worse, by the rule and plainly; the number kept; coverage."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(prompts), pairs)
    best = accuracies == accuracies.max()
    wrong = plain = kept = taken = highest = 0.0
    for _ in range(runs):
        right = drawn(rng, accuracies, prompts, pairs)
        found = best_of_steps(right, clusters)
        wrong += not found.alike[best].all()
        top = right[:, [found.highest]]
        plain += any(paired_p((top - right)[:, k], clusters) <= ALPHA for k in np.flatnonzero(best))
        kept += found.alike.sum()
        taken += covered(right, accuracies, clusters, found.earliest)
        highest += covered(right, accuracies, clusters, found.highest)
    counts = {"wrong": wrong, "plain": plain, "kept": kept, "taken": taken, "highest": highest}
    return {name: count / runs for name, count in counts.items()}


def covered(right: np.ndarray, accuracies: np.ndarray, clusters: np.ndarray, step: int) -> bool:
    """Whether the interval of a step's accuracy holds the true one."""
    interval = rate_interval(right[:, step], list(clusters))
    return interval.low <= accuracies[step] <= interval.high


def main() -> None:
    """Prints a row a setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    print(f"{runs} runs a row; a best step is called worse: by the rule, by plain tests; steps kept")
    print("intervals that hold the true accuracy: of the step that the rule takes, of the highest")
    for steps in (3, 8, 20):
        for prompts, pairs in ((20, 1), (60, 1), (60, 3), (200, 2)):
            for name, accuracies in (
                ("all 0.75", np.full(steps, 0.75)),
                ("one of 0.80, others 0.75 to 0.55", np.r_[0.8, np.linspace(0.75, 0.55, steps - 1)]),
            ):
                row = measured(runs, accuracies, prompts, pairs)
                print(
                    f"{steps:>3} steps, {prompts:>3} prompts of {pairs}: {name:<34}"
                    f"{row['wrong']:.3f}  {row['plain']:.3f}  {row['kept']:.1f} of {steps}"
                    f"  {row['taken']:.3f}  {row['highest']:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
