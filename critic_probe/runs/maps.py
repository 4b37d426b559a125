"""What may have been done to scores once they were read: divided, centred, squashed, scaled."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from critic_probe import tolerance
from critic_probe.runs.faults import Told
from critic_probe.runs.ways import Way
from critic_probe.serving.expected import Level, fitted, sigmoid
from critic_probe.stats.explain import Bools, Floats, Prediction

MAPS = ("divided-by-length", "divided-twice", "z-scored", "sigmoid", "not-normalised", "scaled")


class Logged(NamedTuple):
    """Scores of a log, and how they were written down.

    Attributes:
        samples: N of them.
        scores: (N,).
        rounding: (N,), how far writing a score down moved it at most.
        shown: (N,), which may be looked at.
    """

    samples: Sequence[Told]
    scores: Floats
    rounding: Floats
    shown: Bools

    def some(self, which: NDArray[Any]) -> "Logged":
        """Those at some indices, all of which may be looked at."""
        samples = [self.samples[i] for i in which]
        return Logged(samples, self.scores[which], self.rounding[which], np.ones(len(samples), dtype=bool))


def mapped(
    name: str | None,
    ways: Sequence[Way],
    values: Floats,
    logged: Logged,
    level: Level,
    largest: float,
    normalisation: tuple[float, float] | None,
) -> Prediction:
    """Scores (C, N) under a map, with its versions behind each other; the floors hold for what was written down.

    Args:
        name: The map.
        ways: C of them.
        values: Their scores before it.
        logged: The scores (N,) that they are held against.
        level: How exactly they were computed.
        largest: The largest |score| that the level's floor holds for.
        normalisation: The mean and the SD that the checkpoint's scores are normalised by.
    """
    rounding = logged.rounding
    scale = np.maximum(1.0, np.nanmax(np.abs(values), axis=1, initial=0.0)) / max(1.0, largest)
    floors = level.floor * scale[:, None] + np.zeros_like(values)
    labels = [way.label for way in ways]

    def versions(*each: tuple[str, Floats, Floats]) -> Prediction:
        named = [", ".join(part for part in (label, more) if part) for more, _, _ in each for label in labels]
        rows, limits = (np.concatenate([part[i] for part in each]) for i in (1, 2))
        usual = level.typical * float(np.median(limits) / level.floor) + float(np.median(rounding))
        return Prediction(rows, limits + rounding, named, typical=usual)

    match name:
        case "divided-by-length" | "divided-twice":
            power = 2 if name == "divided-twice" else 1
            whole = np.array([[len(fed.response.ids) for fed in way.feds] for way in ways], dtype=float)
            read = np.array([[max(1, sum(fed.response.without_eos)) for fed in way.feds] for way in ways], float)
            of_closing = [("EOS counted", whole)] if (whole != read).any() else []
            each = [("", read), *of_closing]
            return versions(*((label, values / n**power, floors / n**power) for label, n in each))
        case "z-scored":
            return versions(*_centred(values, floors, logged.samples))
        case "sigmoid":
            squashed = sigmoid(values)
            step = tolerance.eps("float32" if level.here else level.dtype)
            return versions(("", squashed, floors * squashed * (1 - squashed) + step * squashed))
        case "not-normalised":
            assert normalisation is not None
            mean, std = normalisation
            return versions(("", values * std + mean, floors * std))
        case "scaled":
            shown, scores = logged.shown, logged.scores
            known = np.nan_to_num(values)
            fits = [fitted(np.column_stack([row, np.ones(len(row))]), scores, shown) for row in known]
            size = [abs(scale_of(row[shown], scores[shown])[0]) for row in known]
            limits = np.concatenate(
                [(a * f + rounding) * reach for a, f, (_, reach) in zip(size, floors, fits, strict=True)]
            )
            return Prediction(np.concatenate([fit for fit, _ in fits]), limits, labels)
    return versions(("", values, floors))


def _centred(values: Floats, floors: Floats, samples: Sequence[Told]) -> Iterator[tuple[str, Floats, Floats]]:
    """Scores less their mean and over their SD, in each of the groups in which that is done."""
    sides = np.array([sample.side for sample in samples])
    steps = np.array([sample.step for sample in samples])
    prompts = np.array([sample.prompt for sample in samples])
    groupings = {
        "over all": [np.ones(len(sides), dtype=bool)],
        "a prompt": [prompts == p for p in np.unique(prompts)],
    }
    if len(np.unique(steps)) > 1:
        groupings["a step"] = [steps == step for step in np.unique(steps)]
    if len(np.unique(sides)) > 1:
        groupings["a side"] = [sides == side for side in np.unique(sides)]
        if len(np.unique(steps)) > 1:
            groupings["a side and step"] = [
                (sides == side) & (steps == step) for side in np.unique(sides) for step in np.unique(steps)
            ]
    for label, groups in groupings.items():
        for ddof, kind in ((1, ""), (0, " (of the population)")):
            if any(group.sum() <= ddof for group in groups):
                continue
            centred, limits = np.empty_like(values), np.empty_like(floors)
            for group in groups:
                part = values[:, group]
                with np.errstate(divide="ignore", invalid="ignore"):
                    sd = part.std(axis=1, ddof=ddof, keepdims=True)
                    centred[:, group] = (part - part.mean(axis=1, keepdims=True)) / sd
                    limits[:, group] = 2 * floors[:, group] / sd
            yield label + kind, centred, limits


def scale_of(values: Floats, observed: Floats) -> tuple[float, float]:
    """Slope and intercept of the least squares line from values to what was observed."""
    slope, intercept = np.polyfit(values, observed, 1) if np.ptp(values) else (0.0, float(observed.mean()))
    return float(slope), float(intercept)
