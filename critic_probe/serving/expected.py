"""What a checkpoint gives: its values and states, how exactly each type computes them, and heads over its states.

What may have been done to texts and scores on the way is said by those who build on it: `served` for servers,
`runs.replayed` for training runs.
"""

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from critic_probe import tolerance
from critic_probe.checkpoint import Critic, load_critic
from critic_probe.serving.factors import DTYPES, Ids
from critic_probe.stats.explain import Bools, Floats, Hypothesis, Prediction

SHORTEST = 8  # tokens to which a text may have been cut, and directions in which a drawn head can be told
_GAIN = 5.0  # of the log-likelihood, that a drawn head must have over noise
_NO_DRAW = 0.01  # below this p scores are not those of a head drawn afresh

Scored = TypeVar("Scored")


class Level(NamedTuple):
    """How exactly scores are computed.

    Attributes:
        dtype: The type.
        floor: How far a score of this type may be from the checkpoint's own, in the largest score.
        typical: How far half of them are at most.
        here: Whether they are held against what the checkpoint gives in that type here, not against its exact scores.
    """

    dtype: str
    floor: float
    typical: float = np.inf
    here: bool = False


class Reading(NamedTuple):
    """One forward pass.

    Attributes:
        values: (T,), at every token.
        state: (H,), the last token's.
    """

    values: Floats
    state: Floats


class Expected(Generic[Scored]):
    """What a checkpoint gives for samples, as they should have been scored.

    Args:
        critic: The checkpoint, in float32.
        samples: What was scored.
        dtype: What the scores should be computed in.

    Attributes:
        expected: (N,), the checkpoint's scores.
        largest: The largest magnitude of them.
    """

    expected: Floats
    largest: float

    def __init__(self, critic: Critic, samples: Sequence[Scored], dtype: str) -> None:
        self.critic, self.samples = critic, samples
        self._dtype = dtype
        self._read: dict[Hashable, Reading] = {}
        self._other = critic  # the one that was loaded last
        self._halves: dict[str, tuple[Floats, Level]] = {}
        self.expected = self.scores_by(critic)
        self.largest = float(np.abs(self.expected).max())

    def scores_by(self, critic: Critic) -> Floats:
        """The scores (N,) that a loaded form of the checkpoint gives with nothing done to them."""
        raise NotImplementedError

    # Levels

    @cached_property
    def own(self) -> Level:
        """How exactly the checkpoint is computed here."""
        return Level("float32", tolerance.of_ways("float32", self.largest))

    @cached_property
    def agreed(self) -> Level:
        """How exactly the scores should be computed."""
        return self.own if self._dtype == "float32" else self._half(self._dtype)[1]

    @cached_property
    def coarser(self) -> list[tuple[Level, Floats]]:
        """The types that are coarser than the agreed one, with the checkpoint's scores in them."""
        names = DTYPES[DTYPES.index(self.agreed.dtype) + 1 :]
        return [(self._half(name)[1], self._half(name)[0]) for name in names]

    def critic_in(self, dtype: str) -> Critic:
        """The checkpoint in a type; beside the exact one, the one that was asked for last is kept."""
        if dtype == "float32":
            return self.critic
        critic = self.critic
        if self._other is critic or self._other.loading["dtype"] != dtype:
            self._other = critic  # its memory is the next one's
            self._other = load_critic(critic.layout.path, name=critic.name, **critic.loading | {"dtype": dtype})
        return self._other

    def _half(self, name: str) -> tuple[Floats, Level]:
        """The scores in a half type, and how far those of another implementation may be from the exact ones."""
        if name not in self._halves:
            scores = self.scores_by(self.critic_in(name))
            apart = np.abs(scores - self.expected) if np.isfinite(scores).all() else np.full(len(scores), np.inf)
            floor = tolerance.of_served(float(apart.max()), self.largest, name)
            typical = 2 * float(np.median(apart)) + tolerance.eps(name) * float(np.median(np.abs(self.expected)))
            self._halves[name] = scores, Level(name, floor, typical)
        return self._halves[name]

    def in_type(self, level: Level, scores: Floats, rounding: Floats | float = 0.0) -> Hypothesis:
        """The checkpoint in a coarser type.

        Args:
            level: The type.
            scores: The scores (N,) in it.
            rounding: How far writing down may have moved an observed score.
        """
        seen = np.full((1, len(scores)), self.own.floor) + rounding
        typical = level.typical + float(np.median(rounding))
        prediction = Prediction(scores[None], np.full((1, len(scores)), level.floor) + rounding, ("",), seen, typical)
        return Hypothesis((f"dtype-{level.dtype}",), lambda _: prediction)

    # Heads

    @property
    def width(self) -> int:
        """H of the states."""
        return int(self.critic.head.weights[0].shape[1])

    @property
    def enough_for_heads(self) -> int:
        """How many samples leave a head open: half of them must settle its weights and its bias, and one be left."""
        return 2 * (self.width + 2)

    def drawn_head(
        self, states: Floats, observed: Floats, ones: Floats | None = None, rounding: float = 0.0
    ) -> str | None:
        """The initialisation whose heads give such scores over these states; None where none does.

        Scores of a head drawn from N(0, v) over states X are normal with the covariance v X X'. In the directions of
        its eigenvectors that lie above what arithmetic moves, a draw has as many independent standard normals, whose
        squares sum to a chi-square and whose values a Kolmogorov-Smirnov test takes for normal; in the others it has
        nothing. Both tests at 1 %; and the draw must explain the scores e^5 times as well as normal noise that knows
        nothing of states. `python -m benchmarks.serving` prints how often all this holds.

        Args:
            states: (N, H).
            observed: The scores (N,).
            ones: (N,), by what a bias enters each score; None for 1.
            rounding: How far writing a score down moved it.
        """
        from scipy import stats

        if not np.ptp(observed):
            return None
        width = states.shape[1]
        spread = float(getattr(self.critic.backbone.config, "initializer_range", 0.02))
        draws = {f"normal with standard deviation {std:g}": (std**2, 0.0) for std in dict.fromkeys((0.02, spread))}
        draws["uniform in +-1/sqrt(H)"] = (1 / (3 * width), 1 / (3 * width))
        ones = np.ones(len(observed)) if ones is None else ones
        for draw, (weight, bias) in draws.items():
            sizes, directions = np.linalg.eigh(weight * states @ states.T + bias * np.outer(ones, ones))
            scale = self.agreed.floor / max(1.0, self.largest) * max(1.0, float(np.abs(observed).max())) + rounding
            seen = sizes > (10 * scale) ** 2
            drawn = directions.T @ observed
            if seen.sum() < SHORTEST or (np.abs(drawn[~seen]) > 10 * scale).any():
                continue
            normal = drawn[seen] / np.sqrt(sizes[seen])
            total = sizes + scale**2
            gain = len(observed) * (1 + np.log(observed.var())) - (drawn**2 / total + np.log(total)).sum()
            tail = float(stats.chi2.cdf((normal**2).sum(), len(normal)))
            if (
                gain > 2 * _GAIN
                and 2 * min(tail, 1 - tail) > _NO_DRAW
                and stats.kstest(normal, "norm").pvalue > _NO_DRAW
            ):
                return f"a draw {draw}"
        return None

    # Values

    def reading(self, ids: Ids, dtype: str = "float32") -> Reading:
        """The values and the last state of ids in a type, computed once."""
        if (ids, dtype) not in self._read:
            with torch.inference_mode():
                row = torch.tensor([ids], dtype=torch.long)
                values, states = self.critic_in(dtype).with_states(row)
            self._read[ids, dtype] = Reading(values[0].double().numpy(), states[0, -1].double().cpu().numpy())
        return self._read[ids, dtype]


def cut_lengths(longest: int) -> list[int]:
    """Lengths to which texts may have been cut: two and three times powers of two, up to the longest."""
    lengths = sorted({base << n for base in (2, 3) for n in range(longest.bit_length())})
    return [k for k in lengths if SHORTEST <= k < longest] or [longest]


def sigmoid(values: Floats) -> Floats:
    """Scores that a sigmoid was put over."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -700, 700))))


def logit(scores: Floats) -> Floats:
    """Before the sigmoid."""
    inside = np.clip(scores, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(inside / (1 - inside)))


def in_half(typed: Floats, exact: Floats, dtype: str) -> tuple[Floats, Floats]:
    """How far scores that another machine computes in a half type may be from those that are computed so here.

    Args:
        typed: (C, N), the scores in it.
        exact: (C, N), the same in float32.
        dtype: The type.

    Returns:
        (C, 1), how far any of them, as `Level.floor`; and (C,), how far half of them, as `Level.typical`.
    """
    apart = np.nan_to_num(np.abs(typed - exact), nan=np.inf)
    eps, sizes = tolerance.eps(dtype), np.abs(exact)
    floors = np.maximum(2 * apart.max(axis=1), eps * sizes.max(axis=1))
    return floors[:, None], 2 * np.median(apart, axis=1) + eps * np.median(sizes, axis=1)


def fitted(design: Floats, scores: Floats, shown: Bools) -> tuple[Floats, Floats]:
    """Least squares of the scores that are shown: all scores (1, N) by it, and how errors reach each.

    An error of 1 in every score that is shown, independent of the others, is in the fitted score of a sample the norm
    of its row of X X_shown^+; its own comes beside it.

    Args:
        design: (N, P), what scores are linear in.
        scores: (N,).
        shown: (N,), which may be looked at.
    """
    hat = design @ np.linalg.pinv(design[shown])
    values = hat @ scores[shown]
    return values[None], np.sqrt(1 + (hat**2).sum(axis=1))[None]
