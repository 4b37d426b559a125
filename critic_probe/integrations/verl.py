"""A verl critic under another read-out, by one call: `docs/verl.md` has the lines to change.

verl's discriminator sums a critic's (B, R) output over positions. `sequence_values` writes each score at its response's
last position of a zero tensor of that shape, so that the sum is the score and every token that was read has its
gradient.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from critic_probe import aggregation as readouts
from critic_probe import objective
from critic_probe.errors import CriticProbeError


def sequence_values(
    values: Tensor,
    responses: Tensor,
    response_mask: Tensor,
    eos_token_ids: int | Sequence[int],
    aggregation: str = "mean",
    step: int | None = None,
) -> Tensor:
    """Scores of responses in the shape of verl's values: (B, R) float32, zero but at each row's last valid position.

    Args:
        values: (B, R) one value per response token, padding included; its dtype may be bfloat16, sums are float32.
        responses: (B, R) token ids, padded on the right.
        response_mask: (B, R) 1 on response tokens, their EOS included, as verl makes it.
        eos_token_ids: The ids that end a response; `last` skips one that closes it, `mean` skips all.
        aggregation: A read-out's name, or `progressive`, which goes from mean to last.
        step: The training step; only `progressive` needs it.

    Raises:
        CriticProbeError: Shapes differ, a row has no response token, or the read-out is unknown.
    """
    if values.shape != responses.shape:
        raise CriticProbeError(
            f"values {tuple(values.shape)} and responses {tuple(responses.shape)} must both be (B, R)"
        )
    ids = [eos_token_ids] if isinstance(eos_token_ids, int) else list(eos_token_ids)
    eos = torch.isin(responses, torch.tensor(ids, device=responses.device, dtype=responses.dtype))
    chosen = objective.scheduled(aggregation, step)
    scores = readouts.aggregate(chosen, values.float(), response_mask, eos=eos)
    return readouts.sequence_values(scores, response_mask)


def discriminator_loss(
    student_values: Tensor,
    teacher_values: Tensor,
    temperature: float | Literal["adaptive"] = objective.TEMPERATURE,
    range_penalty: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Bradley-Terry loss of both sides' `sequence_values`, and what to log of it under verl's tag names.

    Args:
        student_values: (B, R) of `sequence_values`.
        teacher_values: (B, R') of `sequence_values`, the same pairs.
        temperature: T of softplus(-d / T), or `adaptive`.
        range_penalty: Weight of the penalty on scores outside [0, 10].

    Returns:
        The loss, a scalar, and the metrics: `critic/d_loss`, `critic/d_acc`, `critic/score_diff` and more.

    Raises:
        CriticProbeError: The sides do not pair up, or T is not above 0.
    """
    student, teacher = student_values.sum(dim=-1), teacher_values.sum(dim=-1)
    cost, used = objective.loss(student, teacher, temperature, range_penalty)
    return cost, {"critic/d_loss": float(cost.detach()), **objective.metrics(student, teacher, used)}
