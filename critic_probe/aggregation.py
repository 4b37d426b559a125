"""Read-outs: values (B, T) of the response tokens and their mask become scores (B,).

Pure, differentiable tensor functions, found by name. Training and scoring use the same ones.

`mask` is 1 on every response token, EOS included, and 0 on padding wherever that stands. `eos` marks the EOS tokens
inside it. Reads that leave EOS out skip one trailing EOS only where the name says "last token", and every EOS where it
says "all tokens"; a response that is a lone EOS keeps it, because there is nothing else to read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from critic_probe.errors import CriticProbeError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = (
    "last",
    "mean",
    "last+eos",
    "mean+eos",
    "mix:A",
    "min",
    "max",
    "median",
    "sum",
    "tail:K",
    "ema:G",
    "content",
)


@dataclass(frozen=True)
class Aggregation:
    """A read-out and the parameter that its name carries.

    Attributes:
        name: The canonical name, such as `mix:0.25`; equal names mean equal functions.
        kind: The part before the colon.
        parameter: A in `mix:A`, K in `tail:K`, G in `ema:G`; 0 elsewhere.
    """

    name: str
    kind: str
    parameter: float = 0.0

    @property
    def reads_punctuation_mask(self) -> bool:
        """Whether `aggregate` must be told which tokens are punctuation."""
        return self.kind == "content"


def parse(name: str) -> Aggregation:
    """Reads an aggregation's name.

    Raises:
        CriticProbeError: The name is unknown or its parameter is outside its range.
    """
    kind, colon, text = name.strip().partition(":")
    if kind in _PARAMETERS and colon:
        check, wanted = _PARAMETERS[kind]
        if not re.fullmatch(r"\d+(\.\d+)?", text) or not check(float(text)):
            raise CriticProbeError(f"aggregation '{name[:80]}': {wanted}, not '{text[:80]}'")
        return Aggregation(f"{kind}:{float(text):g}", kind, float(text))
    if not colon and kind in _READS and kind not in _PARAMETERS:
        return Aggregation(kind, kind)
    raise CriticProbeError(f"'{name[:80]}' is not a known aggregation; choose from {', '.join(NAMES)}")


def aggregate(
    name: str | Aggregation,
    values: Tensor,
    mask: Tensor,
    *,
    eos: Tensor | None = None,
    punctuation: Tensor | None = None,
) -> Tensor:
    """Scores (B,) of the responses whose token values are given.

    Args:
        name: An aggregation, or its name.
        values: (B, T) one value per token; entries outside the mask are never read.
        mask: (B, T) 1 on response tokens, EOS included.
        eos: (B, T) true on EOS tokens; None means that there are none.
        punctuation: (B, T) true on tokens that are punctuation only; needed by `content`.

    Raises:
        CriticProbeError: Shapes differ, a row has no response token, or `content` was not given `punctuation`.
    """
    import torch

    aggregation = parse(name) if isinstance(name, str) else name
    if values.ndim != 2 or values.shape != mask.shape:
        raise CriticProbeError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} must both be (B, T)")
    mask = mask.bool()
    if not bool(mask.any(dim=1).all()):
        raise CriticProbeError("a response without tokens has no score: every row of the mask needs at least one 1")
    if aggregation.reads_punctuation_mask and punctuation is None:
        raise CriticProbeError("aggregation 'content' needs to know which tokens are punctuation")
    no_eos, to_last = _without_eos(mask, eos)
    values = torch.where(mask, values, torch.zeros_like(values))
    return _READS[aggregation.kind](_Row(values, mask, no_eos, to_last, punctuation), aggregation.parameter)


def last_index(mask: Tensor, eos: Tensor | None = None) -> Tensor:
    """Index (B,) of the token that `last` reads: the last response token, one trailing EOS skipped."""
    return _last(_skip_one_eos(mask.bool(), eos))


def sequence_values(scores: Tensor, mask: Tensor) -> Tensor:
    """Writes each score at its row's last valid position of a zero tensor (B, T), as verl's critics return it.

    Summing over positions gives the score back, and its gradient reaches the values through `scores`.
    """
    mask = mask.bool()
    out = scores.new_zeros(mask.shape)
    return out.scatter(1, _last(mask).unsqueeze(1), scores.unsqueeze(1))


@dataclass(frozen=True)
class _Row:
    values: Tensor  # (B, T), zero outside `mask`
    mask: Tensor  # (B, T) every response token
    no_eos: Tensor  # (B, T) those that are not EOS; all of them in a row of EOS alone
    to_last: Tensor  # (B, T) all but one trailing EOS
    punctuation: Tensor | None  # (B, T)


def _last(mask: Tensor) -> Tensor:
    import torch

    positions = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, positions, -1).max(dim=1).values


def _without_eos(mask: Tensor, eos: Tensor | None) -> tuple[Tensor, Tensor]:
    if eos is None:
        return mask, mask
    import torch

    no_eos = mask & ~eos.bool()
    alone = ~no_eos.any(dim=1, keepdim=True)
    return torch.where(alone, mask, no_eos), _skip_one_eos(mask, eos)


def _skip_one_eos(mask: Tensor, eos: Tensor | None) -> Tensor:
    if eos is None:
        return mask
    import torch

    last = _last(mask).unsqueeze(1)  # (B, 1)
    skipped = eos.bool().gather(1, last) & (mask.sum(dim=1, keepdim=True) > 1)
    return mask & ~(torch.zeros_like(mask).scatter(1, last, True) & skipped)


def _mean_of(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _value_at_last(values: Tensor, mask: Tensor) -> Tensor:
    return values.gather(1, _last(mask).unsqueeze(1)).squeeze(1)


def _from_end(mask: Tensor) -> Tensor:
    return mask.flip(1).cumsum(dim=1).flip(1)  # 1 on the last token, 2 on the one before, ...


def _tail(row: _Row, k: float) -> Tensor:
    return _mean_of(row.values, row.no_eos & (_from_end(row.no_eos) <= k))


def _ema(row: _Row, g: float) -> Tensor:
    import torch

    # Weights G**(tokens after this one), normalised: the closed form of the bias-corrected moving average.
    weights = torch.where(row.no_eos, g ** (_from_end(row.no_eos) - 1).to(row.values.dtype), 0.0)
    return (row.values * weights).sum(dim=1) / weights.sum(dim=1)


def _content(row: _Row, _: float) -> Tensor:
    import torch

    assert row.punctuation is not None
    words = row.no_eos & ~row.punctuation.bool()
    alone = ~words.any(dim=1, keepdim=True)
    return _mean_of(row.values, torch.where(alone, row.no_eos, words))


_READS: dict[str, Callable[[_Row, float], Tensor]] = {
    "last": lambda row, _: _value_at_last(row.values, row.to_last),
    "mean": lambda row, _: _mean_of(row.values, row.no_eos),
    "last+eos": lambda row, _: _value_at_last(row.values, row.mask),
    "mean+eos": lambda row, _: _mean_of(row.values, row.mask),
    "mix": lambda row, a: (1 - a) * _mean_of(row.values, row.no_eos) + a * _value_at_last(row.values, row.to_last),
    "min": lambda row, _: row.values.masked_fill(~row.no_eos, math.inf).min(dim=1).values,
    "max": lambda row, _: row.values.masked_fill(~row.no_eos, -math.inf).max(dim=1).values,
    "median": lambda row, _: row.values.masked_fill(~row.no_eos, math.nan).nanquantile(0.5, dim=1),
    "sum": lambda row, _: (row.values * row.no_eos).sum(dim=1),
    "tail": _tail,
    "ema": _ema,
    "content": _content,
}

_PARAMETERS: dict[str, tuple[Callable[[float], bool], str]] = {
    "mix": (lambda a: 0 <= a <= 1, "A is a share from 0 (mean) to 1 (last)"),
    "tail": (lambda k: k >= 1 and k == int(k), "K is a whole number of tokens, 1 or more"),
    "ema": (lambda g: 0 < g < 1, "G is a decay between 0 and 1"),
}
