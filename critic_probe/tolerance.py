"""How far arithmetic may move what, and why: the one place that says so.

The same sum in another order, in a matrix of another shape or on another machine differs in its last digits. Two facts
size that. A rounding step of 1 is the `eps` of the type that products are computed in, and what is off by it is the
largest number that meets it: limits are steps times the largest |value|, at least 1, since smaller values are sums of
terms of that size. And steps add up over terms and layers, as a random walk does: 16 of them hold what one way of
computing moves a value by against another. Only sums of thousands of terms in float32, over dozens of layers, take
more: two correct implementations agree to 2e-5, which is 168 steps.
"""

from typing import Any

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
TF32 = EPS["float16"]  # float32 with a mantissa of ten bits
AGREEMENT = 2e-5  # of two correct implementations in float32, relative to the largest value
STEPS = 16  # that a score is moved by where nothing but the order of its sums differs


def eps(dtype: Any, *, tf32: bool = False) -> float:
    """The rounding step of 1.

    Args:
        dtype: A torch.dtype, or its name.
        tf32: Whether products of float32 are computed in TF32.
    """
    name = str(dtype).removeprefix("torch.")
    return TF32 if tf32 and name == "float32" else EPS[name]


def of_ways(dtype: Any, largest: float, *, tf32: bool = False, steps: int = STEPS) -> float:
    """How far two ways of computing the same values may differ: a tree and single sequences, a batch and its rows.

    Args:
        dtype: What the critic computes in.
        largest: The largest |value|.
        tf32: As in `eps`.
        steps: Of half precision and TF32.
    """
    if eps(dtype, tf32=tf32) <= EPS["float32"]:
        return AGREEMENT * max(1.0, largest)
    return steps * eps(dtype, tf32=tf32) * max(1.0, largest)


def of_batches(dtype: Any, largest: float, *, tf32: bool = False) -> float:
    """The same where a miss condemns a checkpoint: what each of both ways may be off by, not one.

    The engine asks for `of_ways`: a miss there costs it time alone.
    """
    return of_ways(dtype, largest, tf32=tf32, steps=2 * STEPS)


def of_earlier_values(dtype: Any, largest: float) -> float:
    """How far a later token may move the values before it: one shape, so that hardly a sum is in another order.

    Four times `STEPS` in every type, because a miss refuses a critic; an encoder moves them by far more.
    """
    return 4 * STEPS * eps(dtype) * max(1.0, largest)


def of_scores(dtype: Any, largest: float) -> float:
    """Below it scores are equal where no noise was measured: `AGREEMENT`, in half precision one step.

    A step of half precision is already more than 16 of the float32 in which values become a score.
    """
    return max(AGREEMENT, eps(dtype)) * max(1.0, largest)


def of_given_scores(dtype: Any, largest: Any) -> Any:
    """The same for scores that were computed elsewhere, a pair's by its own larger |score|; numbers or series.

    They have no scale but their own, however small, and one large score says nothing of how the others were rounded.
    """
    return _steps(dtype) * largest


def of_noise(spread: float, spread_to_exact: float, largest: float, dtype: Any) -> float:
    """The noise floor: how far arithmetic alone moves a score, or the gap of two, anywhere in a run.

    Twice what it was seen to move one score, since a gap has two ends. Among ways that differ in the order of sums
    alone twice that again, since the largest of n normal draws grows as sqrt(2 ln n): thousands of responses meet about
    2.4 times what a sample of eight shows, and an identity must hold in all of them. At least `STEPS` of float32 or one
    step of half precision at the run's largest value: a sample of smaller values, or one that happened to round alike,
    shows less.

    Args:
        spread: The largest difference of one response's scores among ways of computing it in the critic's type.
        spread_to_exact: The same with float32 among the ways.
        largest: The largest |value| of the run.
        dtype: What the critic computes in.
    """
    return max(4 * spread, 2 * spread_to_exact, _steps(dtype) * max(1.0, largest))


def of_served(spread_to_exact: float, largest: float, dtype: Any) -> float:
    """How far the score of a server that computes in `dtype` may be from the checkpoint's exact one.

    Twice what the same type moves these very scores by here: its kernels are others, and round as much. At least one
    step of half precision, or `STEPS` of float32, at the largest score.

    Args:
        spread_to_exact: The largest difference of one response's scores between `dtype` here and the exact ones.
        largest: The largest |score|.
        dtype: What the server computes in.
    """
    return max(2 * spread_to_exact, _steps(dtype) * max(1.0, largest))


def of_records(floors: Any, largest: float, dtype: Any) -> Any:
    """How far a score that was recorded may be from the same one, computed in another row; numbers or series.

    The floors, which a sample sized; in float32 at least what two correct implementations differ by, since a few
    responses among thousands are conditioned far worse than those of any sample.

    Args:
        floors: The record's noise floors.
        largest: The largest |score|.
        dtype: What the critic computes in.
    """
    return floors.clip(lower=of_ways(dtype, largest)) if eps(dtype) <= EPS["float32"] else floors


def of_dilution(mean: Any, last: Any, tokens: Any) -> Any:
    """How far N times the mean's delta may be from last's where only the last of N tokens changed; numbers or series.

    Args:
        mean: The noise floor of the mean, which N times its delta is off by N times.
        last: That of the last.
        tokens: N.
    """
    return mean * tokens + last


def _steps(dtype: Any) -> float:
    """What a score of 1 is off by: sums of float32 by `STEPS`; a value rounded to half precision by one of its own."""
    return (STEPS if eps(dtype) <= EPS["float32"] else 1) * eps(dtype)
