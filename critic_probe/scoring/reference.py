"""The reference scorer: one sequence at a time, plainly right; every faster path must agree with it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group

_MASK_BYTES = 5  # a truth value and a float for every two tokens of a row
MASK_MEMORY = 4 << 30


class Scorer(Protocol):
    """Gives, in order, the values of every group.

    For each response of R tokens that is a tensor (1 + R,) in fp32: the value at the prompt's last token, then the
    value at every response token. Both value positions are slices of it, so they come from one forward pass: `at` is
    `[1:]`, `before` (the state's value, before the token) is `[:-1]`.
    """

    name: str

    def values(self, groups: Iterable[Group]) -> Iterator[list[Tensor]]:
        """Yields one list per group, one tensor per response."""
        ...


class ReferenceScorer:
    """Runs every sequence alone: no padding, no batch mates, nothing shared."""

    name = "reference"

    def __init__(self, critic: Critic) -> None:
        self._critic = critic

    def values(self, groups: Iterable[Group]) -> Iterator[list[Tensor]]:
        """Yields one list per group, one tensor (1 + R,) per response."""
        for group in groups:
            first = len(group.prompt_ids) - 1
            yield [self._critic.values(group.prompt_ids + response)[first:] for response in group.responses]


def pad_rows(
    sequences: Sequence[Sequence[int]], pad: int, side: Literal["left", "right"] = "right"
) -> tuple[Tensor, Tensor, list[slice]]:
    """Ids (B, T), mask (B, T) and where each sequence stands in its row."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad)
    mask = torch.zeros_like(ids)
    windows = [slice(len(s)) if side == "right" else slice(longest - len(s), None) for s in sequences]
    for row, (sequence, window) in enumerate(zip(sequences, windows, strict=True)):
        ids[row, window], mask[row, window] = torch.as_tensor(sequence), 1
    return ids, mask, windows


def padded_values(
    critic: Critic, sequences: Sequence[Sequence[int]], side: Literal["left", "right"] = "right"
) -> list[Tensor]:
    """Values of sequences in one padded batch with a mask, as training frameworks compute them.

    Raises:
        ValueError: The longest sequence would change the values of the others, so that no batch is a check on them; or
            it is so long that memory would not hold the mask.
    """
    lengths, steady = set(map(len, sequences)), critic.steady_length
    if steady is not None and len(lengths) > 1 and max(lengths) > steady:
        raise ValueError(f"above {steady} tokens its rotary frequencies follow the longest sequence of a batch")
    if (size := len(sequences) * max(lengths) ** 2 * _MASK_BYTES) > MASK_MEMORY:
        raise ValueError(f"the batch's attention mask would take {size / 1e9:,.0f} GB")
    ids, mask, windows = pad_rows(sequences, critic.tokenizer.pad_token_id or 0, side)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    values = critic.batch_values(ids, attention_mask=mask, position_ids=positions)
    return [row[window] for row, window in zip(values, windows, strict=True)]
