"""The attention of the prefix tree: each chain of new tokens attends to its own path from the root.

transformers calls any function registered under a config's attention name, with the model's extra arguments, and makes
no mask for a name that its mask registry does not know. So the plan of a row travels as an argument, no model code is
touched, and linear layers run once over the row. Not every architecture takes part: see `TreeAttention.complaint`.
"""

import re
from collections.abc import Callable, Collection, Iterator
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
_TILE = 128  # rows and columns of FlexAttention's blocks
_COMPILATIONS = 64  # of one function; beyond torch's limit of 8 it falls back to all N x N scores without a word
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
        kernel: `chains` runs scaled dot-product attention chain by chain; `flex` runs FlexAttention once over the row
            with the trie as its block mask, compiled on a GPU.
    """

    def __init__(self, row: Row, kernel: Kernel = "chains") -> None:
        self.calls = 0
        self.unknown: set[str] = set()
        self.windows: set[int] = set()
        self.kernel = kernel
        self._row = row
        # By window and device, since layers may be spread over devices; masks by the dtype that they are added to too.
        self._blocks: dict[tuple[int | None, torch.device, torch.dtype], list[_Block]] = {}
        self._masks: dict[tuple[int | None, torch.device, torch.dtype], Tensor] = {}
        self._block_masks: dict[tuple[int | None, torch.device], Any] = {}

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

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, softcap: float | None
    ) -> Tensor:
        """Attention of a row: (1, Hq, N, D), (1, Hkv, N, D) and (1, Hkv, N, E) to (1, N, Hq, E)."""
        if self.kernel == "flex":
            return self._flex(query, key, value, scaling, window, softcap)
        heads, kv_heads = query.shape[1], key.shape[1]
        groups = heads // kv_heads
        parts = []  # in row order and without gaps; joined at the end, so that a gradient flows through one operation
        for block in self._plan(window, query):
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

    def _flex(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, softcap: float | None
    ) -> Tensor:
        place = window, query.device
        if place not in self._block_masks:
            self._block_masks[place] = block_mask(self._row, window, query.device)
        out: Tensor = _flex_attention(query.is_cuda)(
            query,
            key,
            value,
            score_mod=None if softcap is None else _capped(softcap, query.device),
            block_mask=self._block_masks[place],
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out.transpose(1, 2)

    def _plan(self, window: int | None, query: Tensor) -> "list[_Block]":
        place = window, query.device, query.dtype
        if place not in self._blocks:
            self._blocks[place] = list(self._make(*place))
        return self._blocks[place]

    def _make(self, window: int | None, device: torch.device, dtype: torch.dtype) -> "Iterator[_Block]":
        for chain in self._row.chains:
            above = len(chain.path) - chain.length
            if above == 0 and (window is None or chain.length <= window):
                yield _Block(chain.start, chain.length, None, None)
                continue
            for begin in range(0, chain.length, _BLOCK):
                length = min(_BLOCK, chain.length - begin)
                deepest = above + begin + length
                first = 0 if window is None else max(0, above + begin - window + 1)
                path = chain.path[first:deepest].to(device)
                yield _Block(chain.start + begin, length, path, self._mask(length, len(path), window, device, dtype))

    def _mask(
        self, queries: int, keys: int, window: int | None, device: torch.device, dtype: torch.dtype
    ) -> Tensor | None:
        """Added to scores: each of the last `queries` positions sees keys up to itself, at most a window of them.

        All blocks' masks are windows on one, since only the distance of query and key matters.
        """
        if queries == 1:
            return None
        place = window, device, dtype
        if place not in self._masks:
            above = max(len(chain.path) for chain in self._row.chains)
            above = above if window is None else min(above, window)  # the most that a block is given
            k, q = torch.arange(above + _BLOCK), above + torch.arange(_BLOCK)[:, None]
            hidden = k > q if window is None else (k > q) | (k <= q - window)
            mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)
            self._masks[place] = mask.to(device)
        whole = self._masks[place]
        first = whole.shape[1] - _BLOCK - (keys - queries)
        mask = whole[:queries, first : first + keys]
        if device.type == "cpu":
            return mask
        return F.pad(mask, (0, -keys % 16))[:, :keys]  # CUDA's kernels want each of its rows to begin at 16 bytes


def block_mask(row: Row, window: int | None, device: torch.device) -> Any:
    """FlexAttention's mask of a row: query q sees key k if k <= q < end[k] and k is less than a window above it.

    A tile of 128 x 128 is skipped, computed whole, or computed under the mask. The tiles' extremes decide that, where
    `create_block_mask` would fill a matrix of N x N integers, half a GB at 8,192 tokens.
    """
    from torch.nn.attention.flex_attention import BlockMask

    length = len(row.ids)
    ends = row.ends.to(device)
    depths = row.depths.to(device)
    beyond = depths + (length if window is None else window)  # a tensor: a number would be compiled into the kernel

    def sees(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (q < ends[k]) & (depths[q] < beyond[k])

    starts = torch.arange(0, length, _TILE)
    tiles = torch.arange(len(starts))

    def extremes(values: Tensor) -> tuple[Tensor, Tensor]:
        parts = F.pad(values, (0, -length % _TILE), value=int(values[-1])).view(-1, _TILE)
        return parts.amin(1), parts.amax(1)

    end_low, end_high = extremes(row.ends)
    depth_low, depth_high = extremes(row.depths)
    reach = length if window is None else window
    below = tiles[None, :] < tiles[:, None]  # (query tile, key tile)
    seen = (tiles[None, :] == tiles[:, None]) | (
        below & (end_high[None, :] > starts[:, None]) & (depth_low[:, None] - depth_high[None, :] < reach)
    )
    whole = below & (end_low[None, :] >= starts[:, None] + _TILE) & (depth_high[:, None] - depth_low[None, :] < reach)

    def listed(tiles: Tensor) -> tuple[Tensor, Tensor]:
        """How many key tiles each query tile has, (1, 1, Tq), and which, in the first places of (1, 1, Tq, Tk)."""
        order = tiles.int().argsort(dim=1, descending=True, stable=True)
        return tiles.sum(1, dtype=torch.int32)[None, None], order.int()[None, None]

    made = BlockMask.from_kv_blocks(
        *listed(seen & ~whole), *listed(whole), BLOCK_SIZE=_TILE, mask_mod=sees, seq_lengths=(length, length)
    )
    return made.to(device)


def promised_windows(config: Any) -> set[int]:
    """The tokens that a config's windowed or chunked layers attend within; empty where every layer sees all."""
    types = getattr(config, "layer_types", None)
    if types is not None and not any(_LOCAL.search(str(kind)) for kind in types):
        return set()
    sizes = {getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")}
    return {size for size in sizes if isinstance(size, int) and size > 0}


def _capped(softcap: float, device: torch.device) -> Callable[..., Tensor]:
    """FlexAttention's change of a score; the cap is a tensor, since a second number would break the compilation."""
    cap = torch.full((), softcap, device=device)

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return capped


@lru_cache
def _flex_attention(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    if not compiled:
        return flex_attention
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _COMPILATIONS)
    return torch.compile(flex_attention)


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
    softcap: float | None = None,
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
    if softcap is not None and plan.kernel == "chains":  # PyTorch's own attention cannot
        plan.unknown.add("softcap")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return plan.attend(query, key, value, scaling, sliding_window, softcap), None


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
