"""Sequences that share prefixes, laid out so that every distinct prefix is one token of one row.

Sorted sequences form a trie in depth-first order: each adds one contiguous chain, the part that it does not share with
the one before it. Row position k and the tokens below it are then the contiguous range [k, end[k]), so that token q may
see token k exactly if k <= q < end[k].
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Chain:
    """A run of new tokens under a path of shared ones.

    Attributes:
        start: Row position of its first token.
        length: Its tokens.
        path: Row positions (P + length,) from the root to its end.
    """

    start: int
    length: int
    path: Tensor


@dataclass(frozen=True)
class Row:
    """One forward pass.

    Attributes:
        ids: (N,) token ids, each a distinct prefix.
        depths: (N,) how many tokens lie above each: its position in every sequence through it.
        ends: (N,) where the tokens below each end.
        chains: In order of their start.
        paths: For each sequence put in, in the order given, its tokens' row positions.
    """

    ids: Tensor
    depths: Tensor
    ends: Tensor
    chains: tuple[Chain, ...]
    paths: tuple[Tensor, ...]


def shared(a: Ids, b: Ids) -> int:
    """How many leading tokens two sequences have in common."""
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    low, high = 0, limit  # a[:low] == b[:low], a[:high] != b[:high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


def distinct(sequences: Iterable[Ids]) -> int:
    """Distinct prefixes of the sequences: the nodes of their trie, the fewest tokens that can be computed."""
    total = 0
    before: Ids = ()
    for sequence in sorted(sequences):
        total += len(sequence) - shared(before, sequence)
        before = sequence
    return total


def lay_out(sequences: Sequence[Ids]) -> Row:
    """One row with every distinct prefix of the sequences once.

    Args:
        sequences: At least one, none empty; equal ones share everything.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    ids: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    chains: list[Chain] = []
    paths: list[Tensor] = [torch.empty(0, dtype=torch.long)] * len(sequences)
    before: Ids = ()
    path = torch.empty(0, dtype=torch.long)
    open_: list[int] = []  # row positions from the root to the last token put in
    for index in order:
        sequence = sequences[index]
        common = shared(before, sequence)
        for position in open_[common:]:
            ends[position] = len(ids)
        del open_[common:]
        new = len(sequence) - common
        if new:
            start = len(ids)
            added = range(start, start + new)
            ids.extend(sequence[common:])
            depths.extend(range(common, len(sequence)))
            ends.extend([0] * new)
            open_.extend(added)
            path = torch.cat([path[:common], torch.arange(start, start + new)])
            chains.append(Chain(start, new, path))
        paths[index] = path[: len(sequence)]
        before = sequence
    for position in open_:
        ends[position] = len(ids)
    return Row(torch.tensor(ids), torch.tensor(depths), torch.tensor(ends), tuple(chains), tuple(paths))


def pack(sequences: Iterable[Ids], budget: int) -> Iterator[list[int]]:
    """Cuts sequences in the order given into rows of at most `budget` distinct tokens; yields their indices.

    A sequence that is longer than the budget has a row of its own. What two rows share is computed in both, so the
    order should keep sequences with a long common head together.
    """
    row: list[int] = []
    members: list[Ids] = []
    size = 0
    for index, sequence in enumerate(sequences):
        # Against the nearest neighbours in sorted order alone, which share the most.
        place = bisect_left(members, sequence)
        near = [members[i] for i in (place - 1, place) if 0 <= i < len(members)]
        new = len(sequence) - max((shared(other, sequence) for other in near), default=0)
        if row and size + new > budget:
            yield row
            row, members, size, place, new = [], [], 0, 0, len(sequence)
        members.insert(place, sequence)
        row.append(index)
        size += new
    if row:
        yield row
