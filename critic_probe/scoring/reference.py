"""The reference scorer: one sequence at a time, plainly right; every faster path must agree with it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group

PADDED_TOKENS = 1 << 15  # of a batch, where two sequences take no more


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
    """Values of sequences in padded batches with a mask, as training frameworks compute them.

    All are one batch where that has at most `PADDED_TOKENS`; else they go side by side, no fewer than two of them.

    Raises:
        ValueError: The longest sequence would change the values of the others, so that no batch is a check on them.
    """
    lengths, steady = set(map(len, sequences)), critic.steady_length
    if steady is not None and len(lengths) > 1 and max(lengths) > steady:
        raise ValueError(f"above {steady} tokens its rotary frequencies follow the longest sequence of a batch")
    most = rows_of_a_batch(sequences)
    values: list[Tensor] = []
    while len(values) < len(sequences):
        left = len(sequences) - len(values)
        batch = sequences[len(values) :][: left if left <= most + 1 else most]  # nobody is left alone
        ids, mask, windows = pad_rows(batch, critic.tokenizer.pad_token_id or 0, side)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        rows = critic.batch_values(ids, attention_mask=mask, position_ids=positions)
        values += [row[window] for row, window in zip(rows, windows, strict=True)]
    return values


def rows_of_a_batch(sequences: Sequence[Sequence[int]]) -> int:
    """How many of them `padded_values` puts into one batch; the last has one more rather than leave it alone."""
    return max(2, PADDED_TOKENS // max(map(len, sequences)))
