"""A verl critic under another read-out, by one call: `docs/verl.md` has the lines to change.

verl's discriminator sums a critic's (B, R) output over positions. `sequence_values` writes each score at its response's
last position of a zero tensor of that shape, so that the sum is the score and every token that was read has its
gradient. `engine_values` and `engine_loss` are the same for the value engine of verl 0.9.1, whose output is nested.
"""

from collections.abc import Sequence
from typing import Any, Literal

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


def engine_values(
    values: Tensor,
    data: Any,
    eos_token_ids: int | Sequence[int],
    aggregation: str = "mean",
    step: int | None = None,
    value_position: Literal["at", "before"] = "at",
) -> Tensor:
    """`sequence_values` of what verl's value engine gives: stands where its trainer has `no_padding_2_padding`.

    Args:
        values: Nested (B, P + R), one value a token of prompt and response.
        data: The batch that they are of, a TensorDict: `prompts`, `responses` and `response_mask`, padded or nested.
        eos_token_ids: See `sequence_values`.
        aggregation: See `sequence_values`.
        step: See `sequence_values`; None for the batch's `global_steps`.
        value_position: `at` the token, or `before` it, where verl's PPO reads the state's value.

    Returns:
        (B, R) float32.

    Raises:
        CriticProbeError: As `sequence_values`.
    """
    from verl.utils.tensordict_utils import get_non_tensor_data
    from verl.workers.utils.padding import no_padding_2_padding

    flat = values.values() if values.is_nested else values  # (all tokens,); verl cuts [-R-1:-1] of each sequence
    read = no_padding_2_padding(torch.roll(flat, -1, 0) if value_position == "at" else flat, data)
    responses, mask = (_padded(data[name], read.shape[1]) for name in ("responses", "response_mask"))
    now = get_non_tensor_data(data=data, key="global_steps", default=None) if step is None else step
    return sequence_values(read, responses, mask, eos_token_ids, aggregation, now)


def engine_loss(
    config: Any,  # noqa: ARG001 (verl calls its losses with these names)
    model_output: dict[str, Tensor],
    data: Any,
    dp_group: Any = None,  # noqa: ARG001
    *,
    eos_token_ids: int | Sequence[int],
    aggregation: str = "mean",
    step: int | None = None,
    value_position: Literal["at", "before"] = "at",
    temperature: float | Literal["adaptive"] = objective.TEMPERATURE,
    range_penalty: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """The discriminator's loss for verl's value engine, in place of `verl.workers.utils.losses.value_loss`.

    The rows of a batch are student and teacher in turn. The loss is the mean over the pairs of a global mini-batch,
    however that is cut into micro-batches and processes, as verl's own losses are.

    Args:
        config: verl's; not read.
        model_output: Has `values`, nested (B, P + R).
        data: The micro-batch; see `engine_values`.
        dp_group: verl's; not read.
        eos_token_ids: See `engine_values`, as for the next three.
        aggregation: The read-out.
        step: The training step.
        value_position: Where a value is read.
        temperature: See `discriminator_loss`.
        range_penalty: See `discriminator_loss`.

    Returns:
        The loss and the metrics of `discriminator_loss`.

    Raises:
        CriticProbeError: Rows are no pairs: their number is odd, or the prompts of two in turn differ.
    """
    from verl.utils.tensordict_utils import get_non_tensor_data

    prompts = data["prompts"]
    rows = list(prompts.unbind()) if prompts.is_nested else list(prompts)
    if len(rows) % 2 or not all(map(torch.equal, rows[0::2], rows[1::2])):
        raise CriticProbeError(
            f"a micro-batch of {len(rows)} rows is not student and teacher in turn, two to a prompt; lay rows out so, "
            "do not shuffle, and set force_group_size=2"
        )
    scores = engine_values(model_output["values"], data, eos_token_ids, aggregation, step, value_position)
    loss, logged = discriminator_loss(scores[0::2], scores[1::2], temperature, range_penalty)
    whole = get_non_tensor_data(data=data, key="global_batch_size", default=None)
    if whole is not None:
        loss = loss * (len(rows) * get_non_tensor_data(data=data, key="dp_size", default=1) / whole)
    return loss, logged


def _padded(rows: Tensor, width: int) -> Tensor:
    """Nested rows (B, r) as (B, width), padded with 0 on the right; others are that already."""
    if not rows.is_nested:
        return rows
    padded = rows.to_padded_tensor(0)
    return torch.nn.functional.pad(padded, (0, width - padded.shape[1]))
