"""A model's own attention over a long text, some queries at a time, so that no tensor holds every pair of tokens.

transformers makes the mask of a windowed, chunked or padded text for all pairs at once, and eager attention the scores
of every head: 100 GB at 100,000 tokens. Both are functions that a model looks up by the name of its attention, so here
the same two are called for a block of queries and the keys that it may see. What a model makes of an unknown name is
seen on a short text first; where that changes a value, all pairs are computed at once as before.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from critic_probe import tolerance

NAME = "critic_probe_blocks"
AT_ONCE = 1 << 30  # bytes that all pairs may take
_BLOCK = 1 << 27  # bytes that a block's pairs should take
_MASK_BYTES = 10  # of a pair of tokens, while its mask is made and becomes a number
_SCORES = 8  # times that eager attention holds each score: scaled, capped, masked, in float32, as weights
_PLAIN_SCORES = 3  # times that PyTorch holds each, in float32, where it has no kernel
_TRIED: WeakKeyDictionary[nn.Module, dict[str, bool]] = WeakKeyDictionary()  # by the name of its attention
_TRIAL, _TRIAL_BLOCK = 48, 16  # tokens of a short text, and queries of its blocks


def pair_bytes(backbone: nn.Module) -> int:
    """What a pair of tokens takes at most while attention runs: a mask, and where it is eager a score of every head."""
    config: Any = backbone.config
    heads: int = getattr(config.get_text_config(), "num_attention_heads", 0)  # RWKV has none
    if config._attn_implementation == "eager":
        return _MASK_BYTES + _SCORES * 4 * heads
    return _MASK_BYTES + _PLAIN_SCORES * 4 * heads * _is_float32_on_cuda(backbone)


def _is_float32_on_cuda(backbone: nn.Module) -> bool:
    """Where PyTorch attends with grouped heads and no mask by holding every score: 60 GB at 20,000 tokens."""
    embedding: Tensor = backbone.get_input_embeddings().weight  # type: ignore[operator]
    return embedding.is_cuda and embedding.dtype == torch.float32


def attention_bytes(backbone: nn.Module, rows: int, length: int) -> int:
    """What the pairs of tokens of a batch take at most, in bytes."""
    whole = rows * length**2 * pair_bytes(backbone)
    return whole if whole <= AT_ONCE or not _agrees(backbone) else _BLOCK


@contextmanager
def in_blocks(backbone: nn.Module, rows: int, length: int) -> Iterator[None]:
    """Runs a backbone on a batch in blocks of queries where the batch is long, and puts its attention back."""
    of_a_query = rows * length * pair_bytes(backbone)
    if of_a_query * length <= AT_ONCE or not _agrees(backbone):
        yield
        return
    with _attending(backbone, max(1, _BLOCK // of_a_query)):
        yield


def _agrees(backbone: nn.Module) -> bool:
    """Whether blocks leave the states of a short text as they are."""
    config: Any = backbone.config
    own = config._attn_implementation
    if own not in ("sdpa", "eager"):
        return False
    known = _TRIED.setdefault(backbone, {})
    if own not in known:
        known[own] = _tried(backbone)
    return known[own]


def _tried(backbone: nn.Module) -> bool:
    embedding = backbone.get_input_embeddings().weight  # type: ignore[operator]
    ids = (torch.arange(1, _TRIAL + 1, device=embedding.device) % embedding.shape[0])[None]
    mask = torch.ones_like(ids)
    mask[:, -_TRIAL_BLOCK // 2 :] = 0  # so that a mask is made

    def states() -> Tensor:
        with torch.inference_mode():
            hidden: Tensor = backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return hidden[:, mask[0].bool()].float()

    try:
        plain = states()
        with _attending(backbone, _TRIAL_BLOCK):
            blocks = states()
    except Exception:  # models refuse in any way there is
        return False
    apart, largest = float((plain - blocks).abs().max()), float(plain.abs().max())
    return apart <= tolerance.of_ways(embedding.dtype, largest)


class _Mask:
    """A mask that is made when a block of queries asks for its rows.

    Args:
        make: What makes the model's masks.
        arguments: That it is called with for all queries.
    """

    def __init__(self, make: Callable[..., Tensor], arguments: dict[str, Any]) -> None:
        self._make, self._arguments = make, arguments | {"allow_is_causal_skip": False}
        is_plain = arguments.get("allow_is_causal_skip", True)  # no mask of the model's own widens the window
        self._window = arguments.get("local_size") if is_plain else None

    def first(self, begin: int) -> int:
        """The first key that a query or one behind it may see."""
        return 0 if self._window is None else max(0, begin - self._window + 1)

    def rows(self, begin: int, end: int) -> Tensor:
        """(B, 1, end - begin, end - first) for these queries."""
        first = self.first(begin)
        given = self._arguments | {"kv_length": end - first, "kv_offset": first}
        if "cache_position" in given:  # before transformers 5
            given["cache_position"] = given["cache_position"][begin:end]
        else:
            given |= {"q_length": end - begin, "q_offset": begin}
        return self._make(**given)


@contextmanager
def _attending(backbone: nn.Module, queries: int) -> Iterator[None]:
    """Puts blocks of so many queries around a backbone's own attention."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    config: Any = backbone.config
    own = config._attn_implementation

    def mask(**arguments: Any) -> _Mask | None:
        length, window, padding = (arguments.get(name) for name in ("kv_length", "local_size", "attention_mask"))
        whole = (padding is None or bool(padding.all())) and (window is None or length < window)
        has_kernel = own == "sdpa" and not _is_float32_on_cuda(backbone)
        if has_kernel and whole and arguments.get("allow_is_causal_skip", True):
            return None  # nothing is masked but the future, which its kernel knows without a mask
        return _Mask(ALL_MASK_ATTENTION_FUNCTIONS[own], arguments)

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: _Mask | None, **more: Any
    ) -> tuple[Tensor, None]:
        if own == "eager":
            attend = sys.modules[type(module).__module__].eager_attention_forward
        else:
            attend = ALL_ATTENTION_FUNCTIONS[own]
        if attention_mask is None:
            return attend(module, query, key, value, None, **more)[0], None
        parts = []
        for begin in range(0, query.shape[2], queries):
            end = min(begin + queries, query.shape[2])
            keys = slice(attention_mask.first(begin), end)
            q, k, v = query[:, :, begin:end], key[:, :, keys], value[:, :, keys]
            parts.append(attend(module, q, k, v, attention_mask.rows(begin, end).to(q.device), **more)[0])
        return torch.cat(parts, dim=1), None

    AttentionMaskInterface.register(NAME, mask)
    AttentionInterface.register(NAME, attention)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = own
