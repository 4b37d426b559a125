"""Groups become values: every distinct prefix of a row once, checked against the plain path, kept, resumed.

The engine decides by itself. It tries the prefix tree on the first groups against one sequence at a time, and again on
every text that is longer than any before, since windows, chunks and rotary frequencies change with length; an
architecture that cannot take part, or values that differ, fall back to the plain path with a reason.

One file, longer than others: how rows are chosen, checked and packed must be read side by side.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from critic_probe import tolerance
from critic_probe.checkpoint import Critic
from critic_probe.encoding import Group
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.scoring.cache import Cache
from critic_probe.scoring.tree import Kernel, TreeAttention, promised_windows, tree_attention
from critic_probe.scoring.trie import Ids, distinct, lay_out, pack, shared

Mode = Literal["auto", "tree", "reference"]

WINDOW = 64  # groups that are laid out together
MOST_TOKENS = 8192  # of a row
MERGED_TOKENS = 2048  # up to which small groups are merged on a CPU: a longer row leaves its caches for no gain
FEWEST_TOKENS = 256
SAMPLE = 3  # groups on which the tree is checked: their first two responses, with what stands before them
CHECKED = 512  # tokens of each


@dataclass
class Stats:
    """What was computed, in tokens.

    Attributes:
        given: Of all sequences, prompt and response, as a framework would compute them.
        computed: Positions that went through the model.
        cached: Of sequences that were found in the cache.
        rows: Forward passes.
        replicas: That compute; 0 where it is done here.
    """

    given: int = 0
    computed: int = 0
    cached: int = 0
    rows: int = 0
    replicas: int = 0


@dataclass
class _Row:
    """One forward pass: some responses of a window of groups.

    Attributes:
        window: The groups.
        done: By prompt and response the values (1 + R,), None where they are not there yet.
        members: Prompt and response of each sequence.
        is_last: Whether the window is complete with it.
        known: Values of each sequence, as far as they are there.
        missing: The sequences that the cache lacked.
        engine: The way that they are computed.
        take: Gives all values of the missing ones.
    """

    window: list[Group]
    done: dict[Ids, dict[Ids, Tensor | None]]
    members: list[tuple[Ids, Ids]]
    is_last: bool
    known: list[Tensor | None] = field(init=False)
    missing: list[int] = field(init=False)
    engine: str = field(init=False)
    take: Callable[[], list[Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        self.sequences = [prompt + response for prompt, response in self.members]
        self.firsts = [len(prompt) - 1 for prompt, _ in self.members]
        self.known = [None] * len(self.members)

    @property
    def keys(self) -> Iterator[tuple[Ids, int]]:
        """Names its sequences, as the cache does."""
        return zip(self.sequences, self.firsts, strict=True)


@dataclass
class Engine:
    """A critic's scorer.

    Args:
        critic: The loaded critic.
        mode: `auto`, `tree` (an error where it cannot be used), or `reference`.
        cache: Where values are kept; None keeps none.
        budget: Distinct tokens of a row; None takes it from the free memory.
        kernel: How the tree attends; None tries FlexAttention first on a GPU.
        on_bad: What becomes of a group with a value that is NaN or infinite: an error, or `skip`, which yields an empty
            list in its place.

    Attributes:
        stats: What was computed so far.
        bad: The ids of the groups that were skipped, in order.
        notices: What users must know, as they happen: a fallback, a smaller budget.
    """

    critic: Critic
    mode: Mode = "auto"
    cache: Cache | None = None
    budget: int | None = None
    kernel: Kernel | None = None
    on_bad: Literal["error", "skip"] = "error"
    stats: Stats = field(default_factory=Stats)
    notices: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    name: str = ""
    ahead: int = 0  # rows that are begun before the values of an earlier one are taken
    _tried: int = 0  # tokens of the longest text that the tree was tried on
    _flying: set[tuple[Ids, int]] = field(default_factory=set)  # begun, and not yet in the cache

    def __post_init__(self) -> None:
        self.budget = self.budget or row_budget(self.critic)
        if self.cache is not None:  # a resumed run must lay out the same rows
            self.budget = int(self.cache.setting("row budget", str(self.budget)))
        if self.mode == "reference":
            self.name = "reference"

    def values(self, groups: Iterable[Group]) -> Iterator[list[Tensor]]:
        """Yields per group, in order, one tensor (1 + R,) per response: see `Scorer`.

        Raises:
            CriticProbeError: A value is NaN or infinite, and such groups are not skipped; or memory does not hold one
                sequence.
        """
        started: deque[_Row] = deque()
        for row in self._planned(iter(groups)):
            while started and self._flying.intersection(row.keys):  # its values come from the cache, as they do here
                yield from self._finish(started.popleft())
            self._start(row)
            started.append(row)
            if len(started) > self.ahead:
                yield from self._finish(started.popleft())
        while started:
            yield from self._finish(started.popleft())

    def _planned(self, groups: Iterator[Group]) -> Iterator["_Row"]:
        """The rows of all groups, window after window; a response that is asked for again keeps its values."""
        done: dict[Ids, dict[Ids, Tensor | None]] = {}
        while window := list(islice(groups, WINDOW)):
            if self.name != "reference":
                self._try(window)
            first = window[0].prompt_ids
            done = {first: done.get(first, {})}
            rows = list(self._rows(window))
            for number, row in enumerate(rows, 1):
                asked = [(window[g].prompt_ids, window[g].responses[r]) for g, r in row]
                self.stats.given += sum(len(prompt) + len(response) for prompt, response in asked)
                new = [(prompt, response) for prompt, response in asked if response not in done.get(prompt, ())]
                for prompt, response in new:
                    done.setdefault(prompt, {})[response] = None
                yield _Row(window, done, new, is_last=number == len(rows))

    def _start(self, row: "_Row") -> None:
        """Looks a row up in the cache, and begins to compute what it lacks."""
        sequences = row.sequences
        if self.cache is not None:
            row.known = self.cache.get(sequences, row.firsts, self.name)
            self._flying.update(row.keys)
        row.missing = [i for i, values in enumerate(row.known) if values is None]
        self.stats.cached += sum(len(s) for s, values in zip(sequences, row.known, strict=True) if values is not None)
        row.engine = self.name
        if row.missing:
            row.take = self._begin([sequences[i] for i in row.missing])

    def _begin(self, sequences: Sequence[Ids]) -> Callable[[], list[Tensor]]:
        """Begins to compute a row; here that is done when its values are taken."""
        return partial(self.compute, sequences)

    def _finish(self, row: "_Row") -> Iterator[list[Tensor]]:
        """Takes a row's values and keeps them; yields those of its window's groups when it is the last of them."""
        sequences, firsts = row.sequences, row.firsts
        if row.missing:
            kept: list[tuple[Ids, int, Tensor]] = []
            for i, values in zip(row.missing, row.take(), strict=True):
                new = values[firsts[i] :].clone()
                if not bool(new.isfinite().all()) and row.engine != "reference":  # a row mate's, or its own?
                    new = self.critic.values(sequences[i])[firsts[i] :].clone()
                row.known[i] = new
                if bool(new.isfinite().all()):
                    kept.append((sequences[i], firsts[i], new))
            if self.cache is not None and kept:
                whole, begin, data = zip(*kept, strict=True)
                self.cache.put(whole, begin, row.engine, data)
        self._flying.difference_update(row.keys)
        for (prompt, response), of_response in zip(row.members, row.known, strict=True):
            row.done[prompt][response] = of_response
        if row.is_last:
            for group in row.window:
                known = row.done[group.prompt_ids]
                of_responses = [v for response in group.responses if (v := known[response]) is not None]
                yield of_responses if self._finite(group, of_responses) else []

    def _finite(self, group: Group, values: Sequence[Tensor]) -> bool:
        """Whether a group can be used; one that cannot is an error, or counted."""
        bad = [r for r, of_response in enumerate(values) if not bool(of_response.isfinite().all())]
        if not bad:
            return True
        if self.on_bad == "error":
            where = f"pair {group.id}" if group.id else "a text"
            raise CriticProbeError(
                f"{self.critic.name}: {where}: {len(bad)} of its {len(values)} responses have values that are NaN or "
                f"infinite {self.critic.why_not_finite(group.sequences[bad[0]])}; or leave such pairs out with "
                f"{parameter('on_bad_row', 'skip')}"
            )
        self.bad.append(group.id)
        return False

    def _rows(self, window: Sequence[Group]) -> Iterator[list[tuple[int, int]]]:
        """Whole groups up to the budget, those with a common head side by side; a group above it is split."""
        assert self.budget is not None
        if self.name == "reference":
            yield from ([(g, r)] for g, group in enumerate(window) for r in range(len(group.responses)))
            return
        merged = self.merged
        row: list[tuple[int, int]] = []
        size = 0
        before: Ids = ()
        for g in sorted(range(len(window)), key=lambda g: window[g].prompt_ids):
            group = window[g]
            sequences = group.sequences
            alone = distinct(sequences)
            members = [(g, r) for r in range(len(sequences))]
            new = alone - (shared(before, group.prompt_ids) if row else 0)
            if row and size + new > merged:
                yield row
                row, size, new = [], 0, alone
            if new > self.budget:
                order = sorted(range(len(sequences)), key=lambda r: sequences[r])
                for part in pack([sequences[r] for r in order], self.budget):
                    yield [(g, order[i]) for i in part]
                continue
            row += members
            size, before = size + new, group.prompt_ids
        if row:
            yield row

    @property
    def merged(self) -> int:
        """Tokens up to which whole groups share a row."""
        assert self.budget is not None
        return self.budget if self.critic.device.type == "cuda" else min(self.budget, MERGED_TOKENS)

    def widest(self, longest: int, group: int, total: int) -> int:
        """Tokens, at most, of the widest row that texts make or are tried in.

        Args:
            longest: Tokens of the longest sequence.
            group: Distinct tokens of the largest group.
            total: Of all groups.
        """
        assert self.budget is not None
        if self.mode == "reference":
            return longest
        return max(longest + min(2 * SAMPLE * CHECKED, total), min(total, self.merged), min(group, self.budget))

    def compute(self, sequences: Sequence[Ids]) -> list[Tensor]:
        """All values of each sequence; a row that memory does not hold is halved until it does."""
        assert self.budget is not None
        try:
            if self.name == "reference":
                return [self._reference(sequence) for sequence in sequences]
            return self._tree(sequences)[0]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if len(sequences) == 1:
                raise self._too_long(sequences[0]) from error
        if self.critic.device.type == "cuda":
            torch.cuda.empty_cache()
        self.budget = max(FEWEST_TOKENS, min(self.budget, distinct(sequences)) // 2)
        self.notices.append(f"out of memory: rows are now at most {self.budget} tokens; nothing was lost")
        order = sorted(range(len(sequences)), key=lambda i: sequences[i])
        half = len(order) // 2
        values: dict[int, Tensor] = {}
        for part in (order[:half], order[half:]):
            values |= dict(zip(part, self.compute([sequences[i] for i in part]), strict=True))
        return [values[i] for i in range(len(sequences))]

    def _reference(self, sequence: Ids) -> Tensor:
        self.stats.computed += len(sequence)
        self.stats.rows += 1
        return self.critic.values(sequence)

    def _tree(self, sequences: Sequence[Ids]) -> tuple[list[Tensor], TreeAttention]:
        row = lay_out(sequences)
        critic = self.critic
        plan = TreeAttention(row, self.kernel or "chains")
        with tree_attention(critic.backbone):
            values = critic.batch_values(row.ids[None], position_ids=row.depths[None], critic_probe_tree=plan)[0]
        self.stats.computed += len(row.ids)
        self.stats.rows += 1
        return [values[path] for path in row.paths], plan

    def _try(self, window: Sequence[Group]) -> None:
        """Tries the tree where it is new, or where a text is longer than any it was tried on.

        Texts up to a length that was tried lie within the windows, chunks and contexts that the longest one crossed,
        and rows that were computed before held no longer ones; so no value needs to be taken back.
        """
        longest = max((s for group in window for s in group.sequences), key=len)
        if len(longest) <= self._tried:
            return
        before = Stats(**vars(self.stats))
        sample = [(g.prompt_ids + response)[-CHECKED:] for g in window[:SAMPLE] for response in g.responses[:2]]
        self.choose([*sample, longest])
        self._tried = len(longest)
        vars(self.stats).update(vars(before))  # whoever watches it keeps it

    def choose(self, sequences: Sequence[Ids]) -> None:
        """Takes the tree if it gives the plain path's values of these texts, else the plain path with the reason."""
        kernels: tuple[Kernel, ...] = ("flex", "chains") if self.critic.device.type == "cuda" else ("chains",)
        reason = before = None
        for kernel in (self.kernel,) if self.kernel else kernels:
            self.kernel, before = kernel, reason
            if not (reason := self._why_not(sequences)):
                break
        if before and not reason:
            self.notices.append(f"the prefix tree goes chain by chain, because FlexAttention cannot be used: {before}")
        self.name = "reference" if reason else "tree"
        if reason and self.mode == "tree":
            raise CriticProbeError(
                f"{self.critic.name}: {parameter('engine', 'tree')}: {reason}; use {parameter('engine', 'auto')} or "
                "reference"
            )
        if reason:
            self.notices.append(f"one sequence at a time, because the prefix tree cannot be used: {reason}")

    def _why_not(self, sequences: Sequence[Ids]) -> str | None:
        config = self.critic.backbone.config.get_text_config()  # type: ignore[operator, union-attr]
        try:
            values, plan = self._tree(sequences)
        except Exception as error:  # models, and compilers on a GPU, refuse in any way there is
            if _out_of_memory(error):
                if len(sequences) == 1:
                    raise self._too_long(sequences[0]) from error
                return self._why_not(sequences[: len(sequences) // 2]) or self._why_not(
                    sequences[len(sequences) // 2 :]
                )
            return f"its layers do not take the plan ({' '.join(str(error).split())[:120] or type(error).__name__})"
        if complaint := plan.complaint(config.num_hidden_layers, promised_windows(config)):
            return complaint
        try:
            alone = [self.critic.values(sequence) for sequence in sequences]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise self._too_long(max(sequences, key=len)) from error
        return disagreement(values, alone, self.critic.dtype)

    def _too_long(self, sequence: Ids) -> CriticProbeError:
        return CriticProbeError(
            f"{self.critic.name}: a sequence of {len(sequence)} tokens does not fit into memory "
            f"({self.critic.device}, {self.critic.dtype}); use {parameter('dtype', 'bfloat16')} or shorter pairs"
        )


def disagreement(
    values: Sequence[Tensor],
    reference: Sequence[Tensor],
    dtype: torch.dtype,
    limit: Callable[..., float] = tolerance.of_ways,
) -> str | None:
    """How two ways to compute the same values differ by more than a limit of `tolerance`, or None."""
    apart, largest = [], []
    for a, b in zip(values, reference, strict=True):
        finite = b.isfinite()  # where the plain path itself has no value, there is nothing to agree on
        apart.append(float((a - b)[finite].abs().nan_to_num(torch.inf).amax()) if finite.any() else 0.0)
        largest.append(float(b[finite].abs().amax()) if finite.any() else 0.0)
    if max(apart) <= limit(dtype, max(largest), tf32=tf32()):
        return None
    return f"its values differ from those of single sequences by {max(apart):.2g}"


def tf32() -> bool:
    """Whether PyTorch was told to compute products of float32 in TF32."""
    return torch.get_float32_matmul_precision() != "highest"


def row_budget(critic: Critic) -> int:
    """Tokens of a row that a quarter of the free memory holds, a power of two."""
    devices = {p.device for p in critic.backbone.parameters() if p.device.type == "cuda"}
    if devices:  # what PyTorch has reserved and does not use is free too
        free = min(
            torch.cuda.mem_get_info(d)[0] + torch.cuda.memory_reserved(d) - torch.cuda.memory_allocated(d)
            for d in devices
        )
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fits = max(FEWEST_TOKENS, free // 4 // token_bytes(critic))
    return int(min(MOST_TOKENS, 1 << (fits.bit_length() - 1)))


def token_bytes(critic: Critic) -> int:
    """Memory that one more token of a row needs in the widest layer, in bytes."""
    config = critic.backbone.config.get_text_config()  # type: ignore[operator, union-attr]
    hidden = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    inner = max(inner) if isinstance(inner, list | tuple) else inner  # one per layer in Gemma 3n
    return int(critic.dtype.itemsize * (12 * hidden + 4 * inner) + 8 * hidden)


def _out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
        or "status_alloc_failed" in text  # of cuBLAS and cuDNN
    )
