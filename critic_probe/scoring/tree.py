"""The attention of the prefix tree: each chain of new tokens attends to its own path from the root.

transformers calls any function registered under a config's attention name, with the model's extra arguments, and makes
no mask for a name that its mask registry does not know. So the plan of a row travels as an argument, no model code is
touched, and linear layers run once over the row. Not every architecture takes part: see `TreeAttention.complaint`.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from critic_probe.scoring.trie import Row

NAME = "critic_probe_tree"
_BLOCK = 512  # queries that share one mask
_LOCAL = re.compile("sliding|chunk|local|window")  # in the name of a layer's type
# What architectures pass that changes nothing here; anything else that is not None must be applied, so it is refused.
_HARMLESS = {
    "position_ids",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "is_causal",
    "head_mask",
    "cache_position",
    "return_dict",
}


Kernel = Literal["chains", "flex"]


class TreeAttention:
    """The plan of one row for all layers, and a witness that every layer used it.

    Args:
        row: The row.
        device: Where queries and keys are.
        dtype: Of the masks that are added to attention scores.
        kernel: `chains` runs scaled dot-product attention chain by chain; `flex` runs FlexAttention once over the row
            with the trie as its block mask, compiled on a GPU.
    """

    def __init__(self, row: Row, device: torch.device, dtype: torch.dtype, kernel: Kernel = "chains") -> None:
        self.calls = 0
        self.unknown: set[str] = set()
        self.windows: set[int] = set()
        self._row = row
        self._device = device
        self._dtype = dtype
        self._kernel = kernel
        self._blocks: dict[int | None, list[_Block]] = {}
        self._masks: dict[int | None, Tensor] = {}
        self._block_masks: dict[int | None, Any] = {}

    def complaint(self, layers: int, promised: Collection[int] = ()) -> str | None:
        """Why the values cannot be trusted: a layer that did not come here, or one that wanted more than was done.

        Args:
            layers: Of the model.
            promised: The windows and chunks that its config names, which must have come with the calls.
        """
        if self.unknown:
            return f"its attention needs {', '.join(sorted(self.unknown))}"
        if unseen := set(promised) - self.windows:
            sizes = ", ".join(map(str, sorted(unseen)))
            return f"its config promises windows or chunks of {sizes}, which no layer asked for"
        if self.calls != layers:
            return f"{self.calls} of its {layers} layers use the attention interface"
        return None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor:
        """Attention of a row: (1, Hq, N, D), (1, Hkv, N, D) and (1, Hkv, N, E) to (1, N, Hq, E)."""
        if self._kernel == "flex":
            return self._flex(query, key, value, scaling, window)
        heads, kv_heads = query.shape[1], key.shape[1]
        groups = heads // kv_heads
        parts = []  # in row order and without gaps; joined at the end, so that a gradient flows through one operation
        for block in self._plan(window):
            rows = slice(block.start, block.start + block.length)
            q = query[:, :, rows]
            if block.path is None:  # a chain from the root: its path is the chain itself
                k, v = key[:, :, rows], value[:, :, rows]
                parts.append(
                    F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=groups > 1)
                )
                continue
            # Key heads stand in the batch, so that the query heads that share one need no copy of it, nor of the mask.
            k, v = (
                tensor.index_select(2, block.path).transpose(0, 1).expand(kv_heads, groups, -1, -1)
                for tensor in (key, value)
            )
            q = q.reshape(kv_heads, groups, block.length, -1)
            part = F.scaled_dot_product_attention(q, k, v, attn_mask=block.mask, scale=scaling)
            parts.append(part.reshape(1, heads, block.length, -1))
        return torch.cat(parts, dim=2).transpose(1, 2)

    def _flex(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor:
        from torch.nn.attention.flex_attention import create_block_mask

        if window not in self._block_masks:
            ends, depths = self._row.ends.to(self._device), self._row.depths.to(self._device)
            reach = torch.iinfo(torch.int64).max if window is None else window

            def sees(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
                return (k <= q) & (q < ends[k]) & (depths[q] - depths[k] < reach)

            length = len(ends)
            self._block_masks[window] = create_block_mask(sees, None, None, length, length, device=self._device)
        run = _flex_attention(self._device.type == "cuda")
        out: Tensor = run(
            query,
            key,
            value,
            block_mask=self._block_masks[window],
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out.transpose(1, 2)

    def _plan(self, window: int | None) -> "list[_Block]":
        if window not in self._blocks:
            self._blocks[window] = list(self._make(window))
        return self._blocks[window]

    def _make(self, window: int | None) -> "Iterator[_Block]":
        for chain in self._row.chains:
            above = len(chain.path) - chain.length
            if above == 0 and (window is None or chain.length <= window):
                yield _Block(chain.start, chain.length, None, None)
                continue
            for begin in range(0, chain.length, _BLOCK):
                length = min(_BLOCK, chain.length - begin)
                deepest = above + begin + length
                first = 0 if window is None else max(0, above + begin - window + 1)
                path = chain.path[first:deepest].to(self._device)
                yield _Block(chain.start + begin, length, path, self._mask(length, len(path), window))

    def _mask(self, queries: int, keys: int, window: int | None) -> Tensor | None:
        """Added to scores: each of the last `queries` positions sees keys up to itself, at most a window of them.

        All blocks' masks are windows on one, since only the distance of query and key matters.
        """
        if queries == 1:
            return None
        if window not in self._masks:
            above = max(len(chain.path) for chain in self._row.chains)
            ahead = torch.arange(above + _BLOCK) - above - torch.arange(_BLOCK)[:, None]  # key - query position
            hidden = ahead > 0 if window is None else (ahead > 0) | (ahead <= -window)
            mask = torch.zeros(hidden.shape, dtype=self._dtype).masked_fill(hidden, -torch.inf)
            self._masks[window] = mask.to(self._device)
        whole = self._masks[window]
        first = whole.shape[1] - _BLOCK - (keys - queries)
        return whole[:queries, first : first + keys]


def promised_windows(config: Any) -> set[int]:
    """The tokens that a config's windowed or chunked layers attend within; empty where every layer sees all."""
    types = getattr(config, "layer_types", None)
    if types is not None and not any(_LOCAL.search(str(kind)) for kind in types):
        return set()
    sizes = {getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")}
    return {size for size in sizes if isinstance(size, int) and size > 0}


@lru_cache
def _flex_attention(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention


class _Block(NamedTuple):
    start: int
    length: int
    path: Tensor | None
    mask: Tensor | None


def _attention(
    module: nn.Module,  # noqa: ARG001  # transformers calls with these names
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  # some models make one although the registry has none
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    critic_probe_tree: TreeAttention | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer."""
    assert critic_probe_tree is not None
    plan = critic_probe_tree
    plan.calls += 1
    if sliding_window is not None:
        plan.windows.add(sliding_window)
    plan.unknown |= {name for name, given in more.items() if given is not None and name not in _HARMLESS}
    if dropout:  # a model in training that drops attention weights
        plan.unknown.add("dropout")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return plan.attend(query, key, value, scaling, sliding_window), None


@contextmanager
def tree_attention(backbone: nn.Module) -> Iterator[None]:
    """Runs a backbone under the tree's attention, and puts its own back."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    config: Any = backbone.config
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
