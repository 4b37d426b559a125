"""Whether a critic's matrices are still those of the model that it was trained from.

Training moves a matrix a little: the cosine between it and the base's stays near 1. That of one which is transposed,
whose rotary halves were never put in order, which a copy cut short or which is another model's is far from it, and its
shape is right.
"""

import math
from statistics import median

import torch
from torch import Tensor

from critic_probe.checkpoint.audit import Check
from critic_probe.checkpoint.layout import Layout, read_layout
from critic_probe.checkpoint.stored import OUTPUT_LAYER, Stored
from critic_probe.errors import CriticProbeError, parameter

_ROWS = 256  # of a matrix, evenly spaced
_ALIKE = 0.9  # a median of cosines from which on a critic was trained from its base
_UNLIKE = 0.5  # a cosine below which a matrix of such a critic is another one


def weights_base(layout: Layout) -> Check:
    """The check; it reads every matrix of both, one after the other."""
    name = "weights-base"
    if layout.base is not None:
        return Check(name, "ok", "an adapter adds to its base's matrices and replaces none")
    if layout.origin is None:
        what = "the model that it was trained from is not here"
        return Check(name, "not run", f"{what}; give it with {parameter('base')} to compare every matrix")
    try:
        theirs = {_bare(name): stored for name, stored in read_layout(layout.origin).tensors.items()}
    except CriticProbeError as error:
        return Check(name, "not run", str(error))
    cosines = {
        own: _cosine(stored, other)
        for own, stored in layout.tensors.items()
        if len(stored.shape) == 2 and stored.shape[0] > 1 and not OUTPUT_LAYER.search(own)  # no head, which is new
        if (other := theirs.get(_bare(own))) is not None and other.shape == stored.shape
    }
    if not cosines:
        return Check(name, "not run", f"{layout.origin} has no matrix of the same name and shape")
    middle = median(cosines.values())
    apart = sorted((cosine, own) for own, cosine in cosines.items() if cosine < _UNLIKE)
    if middle < _ALIKE:
        evidence = f"a cosine of {middle:.2f} in the middle of {len(cosines)} matrices: hardly trained from this one"
        return Check(name, "warn", f"{evidence} ({layout.origin})", "give the base that it was trained from")
    if apart:
        worst, own = apart[0]
        return Check(
            name,
            "fail",
            f"{len(apart)} of {len(cosines)} matrices are not the base's, first {own} with a cosine of {worst:.2f}, "
            f"where the one in the middle has {middle:.2f}: transposed, in another order, or of another model",
            "convert or copy the checkpoint again",
        )
    return Check(name, "ok", f"{len(cosines)} matrices have a cosine of at least {min(cosines.values()):.2f} with it")


def _bare(name: str) -> str:
    """A name that a backbone alone and one under a head share."""
    return name.removeprefix("model.").removeprefix("transformer.")


def _cosine(one: Stored, other: Stored) -> float:
    a, b = _rows(one), _rows(other)
    cosine = float((a * b).sum() / (a.norm() * b.norm()))
    return cosine if math.isfinite(cosine) else 0.0


def _rows(stored: Stored) -> Tensor:
    chosen = torch.linspace(0, stored.shape[0] - 1, min(_ROWS, stored.shape[0])).long()
    return stored.read()[chosen].float()
