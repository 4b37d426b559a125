"""A critic whose layers are split over the processes of one torchrun: transformers' tensor parallelism.

The first process runs the command as it would alone. The others hold their part of every critic that it loads, and take
part in every pass of it, since a pass needs all of them. They read no pairs, keep no values and write nothing.
"""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
import torch.distributed as dist
from torch import Tensor

from critic_probe.checkpoint import Critic, load_critic
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.scoring.tree import NAME, tree_attention
from critic_probe.text import listed

_STUCK = timedelta(minutes=5)  # that a process waits for the others within a pass
_IDLE = timedelta(days=30)  # that it waits for the next one


def torchrun() -> "Ranks":
    """The processes of this torchrun; in all but the first it does not return.

    Raises:
        CriticProbeError: This is not one of several processes that torchrun started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "LOCAL_RANK" not in os.environ:
        raise CriticProbeError(
            f"{parameter('engine', 'torchrun')}: this is no torchrun of several processes; start it as "
            "`torchrun --nproc-per-node N -m critic_probe COMMAND ...`"
        )
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if 0 < gpus < here:
        raise CriticProbeError(
            f"{parameter('engine', 'torchrun')}: {here} processes were started here, each needs a GPU of its own, and "
            f"there {'is' if gpus == 1 else 'are'} {gpus}; start fewer, or set CUDA_VISIBLE_DEVICES= to run on the CPU"
        )
    ranks = Ranks()
    if ranks.rank:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # the first one tells what happened
        ranks.follow()
        sys.exit(0)
    atexit.register(ranks.end)
    return ranks


class Ranks:
    """The processes, as one of them sees them."""

    def __init__(self) -> None:
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo", timeout=_STUCK)
        self.size, self.rank = dist.get_world_size(), dist.get_rank()
        self._words = dist.new_group(backend="gloo", timeout=_IDLE)
        self._held: WeakValueDictionary[int, Critic] = WeakValueDictionary()
        self._loaded = 0
        self._apart = False  # whether the others may be at another place than this one

    def critics(self, paths: Mapping[str, Path], loading: dict[str, Any]) -> "Iterator[SharedCritic]":
        """Loads one critic after the other, each in place of the one before.

        Raises:
            CriticProbeError: One cannot be loaded, or transformers cannot split it.
        """
        for name, path in paths.items():
            yield self.load({"path": path, "name": name, **loading})

    def load(self, loading: dict[str, Any]) -> "SharedCritic":
        """Loads a critic in all processes."""
        critic = self.all(0, load_critic, **loading | {"ranks": self.size})
        self._loaded += 1
        shared = SharedCritic(**vars(critic), ranks=self, number=self._loaded)
        self._held[self._loaded] = shared
        return shared

    def all(self, number: int, does: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """What a function comes to, while the other processes call it too.

        Args:
            number: The critic that it is given first; 0 for none.
            does: The function.
            given: What it takes.
            named: The same by name.

        Raises:
            CriticProbeError: It fails in some of the processes, which ends the run.
        """
        if self._apart:
            raise CriticProbeError("the processes of torchrun are no longer together; start the run again")
        self._apart = True  # an interrupt within leaves it so
        if does is load_critic:
            gc.collect()  # layers that transformers split refer to themselves
        self._say((set(self._held), number, does, given, named))
        answer = self._same(self._held, number, does, given, named)
        self._apart = False
        if isinstance(answer, Exception):
            raise answer
        return answer

    def follow(self) -> None:
        """Does what the first process asks for, until it has done with everything."""
        held: dict[int, Critic] = {}
        while (asked := self._said()) is not None:
            alive, number, does, given, named = asked
            held = {key: critic for key, critic in held.items() if key in alive}
            if does is load_critic:
                gc.collect()  # as above
            answer = self._same(held, number, does, given, named)
            if isinstance(answer, Critic):
                self._loaded += 1
                held[self._loaded] = answer

    def end(self) -> None:
        """Lets the others go."""
        if not self._apart:
            with suppress(RuntimeError):  # they have gone
                self._say(None)

    def _same(
        self,
        held: Mapping[int, Critic],
        number: int,
        does: Callable[..., Any],
        given: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:
        """What all processes come to: an answer each, or an error each; see `all`."""
        answer: Any
        try:
            answer = does(*([held[number]] if number else []), *given, **named)
        except Exception as error:  # of whatever kind
            answer = error
        has_failed, all_failed = isinstance(answer, Exception), [False] * self.size
        dist.all_gather_object(all_failed, has_failed, group=self._words)
        if len(set(all_failed)) == 1:
            return answer
        if self.rank and has_failed:
            print(f"process {self.rank}: {' '.join(str(answer).split())[:300]}", file=sys.stderr)
        failed = listed([str(rank) for rank, each in enumerate(all_failed) if each])
        why = f" ({' '.join(str(answer).split())[:300]})" if has_failed else ""
        raise CriticProbeError(
            f"of {self.size} processes only {failed} failed{why}; use more of them, {parameter('dtype', 'bfloat16')} "
            "or shorter pairs; what was scored is kept"
        )

    def _say(self, asked: Any) -> None:
        dist.broadcast_object_list([asked], src=0, group=self._words)

    def _said(self) -> Any:
        asked = [None]
        dist.broadcast_object_list(asked, src=0, group=self._words)
        return asked[0]


@dataclass(frozen=True)
class SharedCritic(Critic):
    """A critic of which every process holds a part; this one computes with all of them.

    Attributes:
        ranks: The processes.
        number: What they know it by.
    """

    ranks: Ranks
    number: int

    def with_states(self, ids: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
        """See `Critic`."""
        is_tree = self.backbone.config._attn_implementation == NAME  # type: ignore[union-attr]
        answer: tuple[Tensor, Tensor] = self.ranks.all(self.number, _with_states, is_tree, ids, **inputs)
        return answer

    def in_float32(self) -> "SharedCritic":
        """See `Critic`."""
        return self.ranks.load({"path": self.layout.path, "name": self.name, **self.loading, "dtype": "float32"})

    @property
    def attention(self) -> str:
        """See `Critic`; sums over processes round otherwise, so that values belong to the number of them."""
        return f"{super().attention}, in {self.ranks.size} processes"


def _with_states(critic: Critic, is_tree: bool, ids: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
    with tree_attention(critic.backbone) if is_tree else nullcontext():
        return Critic.with_states(critic, ids, **inputs)
