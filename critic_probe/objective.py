"""The discriminator's loss and what training logs of it: pure functions of the two sides' scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from critic_probe.aggregation import Aggregation, parse
from critic_probe.errors import CriticProbeError

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 5.0  # GAD's
PROGRESSIVE = "progressive"
PROGRESSIVE_START, PROGRESSIVE_END = 254, 500  # GAD's steps
RANGE = (0.0, 10.0)  # GAD's later versions
HARD = 0.1  # a pair whose |gap| is smaller counts as hard in GAD's logs
_LINEAR = 40.0  # where softplus is the identity in float64 too; torch's own 20 is off by 2e-9
SATURATED = 4.0  # |d| / T beyond which a pair has next to no gradient left


def scheduled(name: str, step: int | None, start: int = PROGRESSIVE_START, end: int = PROGRESSIVE_END) -> Aggregation:
    """The read-out of a step: the one that is named, or for `progressive` the mixture that its schedule has reached.

    `progressive` is `mix:A` with A = 0 up to step `start`, (step - start) / (end - start) up to `end`, and 1 after:
    from the mean of all tokens to the last one (GAD's warm-up schedule).

    Args:
        name: An aggregation's name, or `progressive`.
        step: The step, from 1; only `progressive` needs it.
        start: The last step of the mean alone.
        end: The first step of the last token alone.

    Raises:
        CriticProbeError: The name is unknown, or `progressive` was given no step or bounds out of order.
    """
    if name != PROGRESSIVE:
        return parse(name)
    if step is None:
        raise CriticProbeError("aggregation 'progressive' needs to know the step")
    if not 0 <= start < end:
        raise CriticProbeError(f"progressive: start {start} and end {end} must be steps in order")
    share = min(max((step - start) / (end - start), 0.0), 1.0)
    return Aggregation(f"mix:{share:g}", "mix", share)


def loss(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Literal["adaptive"] = TEMPERATURE,
    range_penalty: float = 0.0,
) -> tuple[Tensor, float]:
    """Bradley-Terry: the mean of softplus(-(s_T - s_S) / T), scalar; and the T that was used.

    The loss of GAD (Generative Adversarial Distillation), of Ouyang et al. 2022 (arXiv 2203.02155) at T = 1.
    `adaptive` is T = clip(E|d| / 2, 0.5, 3) of the batch, detached, as in GAD's later versions; losses of different T
    do not compare. The penalty is `range_penalty` times the mean over pairs of the sum of squares by which both
    scores leave [0, 10].

    Args:
        student: (B,) scores.
        teacher: (B,) scores of the same pairs.
        temperature: T, above 0, or `adaptive`.
        range_penalty: Its weight; GAD's later versions use 0.1.

    Raises:
        CriticProbeError: Shapes differ or T is not above 0.
    """
    from torch.nn import functional as F

    if student.shape != teacher.shape or student.ndim != 1:
        raise CriticProbeError(f"scores {tuple(student.shape)} and {tuple(teacher.shape)} must both be (B,)")
    gap = teacher - student
    used = _adapted(gap) if temperature == "adaptive" else float(temperature)
    if not used > 0:
        raise CriticProbeError(f"temperature {used:g} must be above 0")
    cost = F.softplus(-gap / used, threshold=_LINEAR).mean()
    if range_penalty:
        low, high = RANGE
        cost = cost + range_penalty * sum(
            (F.relu(scores - high) ** 2 + F.relu(low - scores) ** 2).mean() for scores in (student, teacher)
        )
    return cost, used


def _adapted(gap: Tensor) -> float:
    return float((gap.detach().abs().mean() / 2).clamp(0.5, 3.0))


def metrics(student: Tensor, teacher: Tensor, temperature: float) -> dict[str, float]:
    """What a training step logs of its batch, under verl's tag names.

    `critic/d_acc` counts a tie as half; logs elsewhere count it as wrong, or as right, or mean `critic/soft_d_acc`.
    `critic/loss_at_1` is the loss at T = 1, which compares across steps whatever T does.

    Args:
        student: (B,) scores.
        teacher: (B,) scores of the same pairs.
        temperature: The T that the loss used.
    """
    import torch
    from torch.nn import functional as F

    student, teacher = student.detach().double(), teacher.detach().double()
    gap = teacher - student
    spread = (student.std() + teacher.std()) if len(gap) > 1 else torch.tensor(torch.nan)
    figures = {
        "d_acc": ((gap > 0).double() + (gap == 0).double() / 2).mean(),
        "soft_d_acc": torch.sigmoid(gap).mean(),
        "score_diff": gap.mean(),
        "student_score_mean": student.mean(),
        "teacher_score_mean": teacher.mean(),
        "score_separation": gap.mean() / (spread + 1e-8),
        "hard_samples_ratio": (gap.abs() < HARD).double().mean(),
        "saturated": (gap.abs() / temperature > SATURATED).double().mean(),
        "gradient_weight": torch.sigmoid(-gap / temperature).mean(),
        "loss_at_1": F.softplus(-gap).mean(),
        "temperature": torch.tensor(temperature),
    }
    return {f"critic/{name}": float(value) for name, value in figures.items()}
