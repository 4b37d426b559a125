"""The reference scorer: one sequence at a time, plainly right; every faster path must agree with it."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from torch import Tensor

from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group


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
