"""The best of N candidates: which it is, by how much, and how good."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from critic_probe.stats.intervals import mean_interval, rate_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BestOf:
    """The best of N under each read-out of a critic.

    Attributes:
        table: See `ScoreResult.best_of`.
        accuracy: See `ScoreResult.accuracy`.
        winners: See `ScoreResult.winners`.
        wins: By read-out, whether each response is its prompt's winner; of responses that took no part False.
    """

    table: pd.DataFrame
    accuracy: pd.DataFrame
    winners: pd.DataFrame
    wins: dict[str, NDArray[np.bool_]]


def best_of(
    critic: str, scored: pd.DataFrame, names: Sequence[tuple[str, str]], floors: Mapping[str, float], n: int
) -> BestOf:
    """The best of the first n responses to each prompt; prompts with fewer take no part.

    Args:
        critic: Its name.
        scored: One row a response, in order: prompt, label, tokens and a column a read-out; NaN is unknown.
        names: Id and name of each response.
        floors: By read-out; the first is the one that the others are held against. Those that not every response has
            are left out.
        n: At least 2.
    """
    place = scored.groupby("prompt", sort=False).cumcount()
    size = scored.groupby("prompt")["prompt"].transform("size")
    taken = scored[(place < n) & (size >= n)].sort_values("prompt", kind="stable")
    floors = {name: floor for name, floor in floors.items() if scored[name].notna().all()}
    at = taken.index.to_numpy().reshape(-1, n)

    def by_prompt(name: str) -> Floats:
        column: Floats = taken[name].to_numpy(dtype=float).reshape(-1, n)
        return column

    first = next(iter(floors))
    labels, prompts = by_prompt("label"), list(range(len(at)))
    rows, winners = [], []
    wins = {name: np.zeros(len(scored), dtype=bool) for name in floors}
    chosen = {name: winner(by_prompt(name)) for name in floors}
    for name, floor in floors.items():
        best, lead = chosen[name]
        told = lead > floor
        other = best != chosen[first][0]
        by_both = other & told & (chosen[first][1] > floors[first])
        facts = {"critic": critic, "aggregation": name, "first": first, "n": n, "prompts": len(at)}
        counts = {"ties": int((~told).sum()), "disagree": int(other.sum()), "told": int(by_both.sum())}
        median = float(np.median(lead)) if len(lead) else np.nan
        sd = scored[name].std()
        if len(at):
            rows.append({**facts, **counts, "lead": median, "lead_over_sd": median / sd, "floor": floor})
        each = at[prompts, best]
        wins[name][each] = True
        winners += [
            {
                "critic": critic,
                "aggregation": name,
                "prompt": int(scored.prompt[i]),
                "id": names[i][0],
                "response": names[i][1],
                "score": scored[name][i],
                "lead": by,
                "lead_over_sd": by / sd,
                "floor": floor,
                "label": scored.label[i],
            }
            for i, by in zip(each.tolist(), lead.tolist(), strict=True)
        ]
    measured = [*((name, by_prompt(name)) for name in floors), ("longest", by_prompt("tokens")), ("best label", labels)]
    accuracy = list(_accuracy(critic, measured, labels)) if len(at) and not np.isnan(labels).any() else []
    return BestOf(pd.DataFrame(rows), pd.DataFrame(accuracy), pd.DataFrame(winners), wins)


def _accuracy(critic: str, measured: Sequence[tuple[str, Floats]], labels: Floats) -> Iterator[dict[str, Any]]:
    prompts = range(len(labels))
    interval = rate_interval if labels.min() >= 0 and labels.max() <= 1 else mean_interval
    for name, scores in measured:
        for n in powers(labels.shape[1]):
            value, low, high = interval(expected_best(scores, labels, n), prompts)
            counts = {"n": n, "prompts": len(labels)}
            yield {"critic": critic, "aggregation": name, **counts, "accuracy": value, "low": low, "high": high}


def winner(scores: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Each prompt's candidate of the highest score (P, N >= 2), the first of several, and its lead over the next."""
    two = np.partition(scores, -2, axis=1)[:, -2:]
    return scores.argmax(axis=1), two[:, 1] - two[:, 0]


def expected_best(scores: Floats, labels: Floats, n: int) -> Floats:
    """How good the candidate of the highest score is among n drawn without replacement, on average over draws.

    The i-th best of N is the best of n in C(N - i, n - 1) of C(N, n) draws: the unbiased estimator of Nakano et al.
    (2021, WebGPT, appendix I); with the labels for scores it is pass@n (Chen et al. 2021). Candidates of equal score
    are as likely to be taken.

    Args:
        scores: (P, N) of each prompt's candidates.
        labels: (P, N) how good each is.
        n: From 1 to N.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered, good = np.take_along_axis(scores, order, 1), np.take_along_axis(labels, order, 1)
    for row in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        _, ties = np.unique(-ordered[row], return_inverse=True)
        good[row] = (np.bincount(ties, good[row]) / np.bincount(ties))[ties]
    return good @ _weights(scores.shape[1], n)


def _weights(most: int, n: int) -> Floats:
    """The share of draws in which the i-th best of all is the best of n: n / N, then by ratios of binomials."""
    weights = [n / most]
    for i in range(1, most):
        weights.append(weights[-1] * max(most - i - n + 1, 0) / (most - i))
    return np.array(weights)


def powers(most: int) -> list[int]:
    """1, 2, 4, ... up to a number, and the number itself."""
    return sorted({*(2**i for i in range(most.bit_length())), most})
