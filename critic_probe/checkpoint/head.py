"""The value head, found by tensor name and shape; `config.architectures` decides nothing."""

import hashlib
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from critic_probe.checkpoint.layout import Layout
from critic_probe.errors import CriticProbeError

# `score` is the head of sequence classification everywhere and of token classification in newer model families;
# older families (GPT-2, Bloom, Falcon, GPT-NeoX) call the token head `classifier`.
_HEAD = re.compile(r"(?:^|\.)(score|classifier)\.(weight|bias)$")
_HEAD_LIKE = re.compile(
    r"(?:^|\.)(score|classifier|v_head|value_head|reward_head|score_head|regression_head|regression_layer|out_proj_head"
    r"|gating|lm_head)\b"
)


@dataclass(frozen=True)
class Head:
    """A linear value head.

    Attributes:
        name: The weight's tensor name.
        weight: (1, H).
        bias: (1,), or None where the checkpoint has none.
    """

    name: str
    weight: Tensor
    bias: Tensor | None

    @property
    def hash(self) -> str:
        """Eight hex digits of the SHA-256 of weight and bias in fp32."""
        parts = [self.weight] if self.bias is None else [self.weight, self.bias]
        data = b"".join(part.float().contiguous().numpy().tobytes() for part in parts)
        return hashlib.sha256(data).hexdigest()[:8]


def read_head(layout: Layout, hidden_size: int) -> Head:
    """Finds and reads the head.

    Args:
        layout: The checkpoint's headers.
        hidden_size: H of the config, which the head must agree with.

    Raises:
        CriticProbeError: There is no head, more than one, one of another shape than [1, H], or one that is not finite.
    """
    weights = [name for name in layout.shapes if _HEAD.search(name) and name.endswith("weight")]
    if not weights:
        raise CriticProbeError(
            f"{layout.path}: no value head: none of its {len(layout.shapes)} tensors is a score.weight or "
            f"classifier.weight; head-like tensors found: {_listed(layout)}. A critic without its head has random "
            "values, so none is made up; give the checkpoint that the critic's training saved"
        )
    if len(weights) > 1:
        raise CriticProbeError(
            f"{layout.path}: several heads ({_listed(layout)}); keep the one that training used and remove the others"
        )
    [name] = weights
    shape = layout.shapes[name]
    if shape != (1, hidden_size):
        cause = "num_labels was not 1 in training" if shape[1:] == (hidden_size,) else "config and weights disagree"
        raise CriticProbeError(
            f"{layout.path}: head {name} has shape {list(shape)}, expected [1, {hidden_size}] (one value from the "
            f"config's hidden size): {cause}; give a critic with a single value per token"
        )
    bias_name = name.removesuffix("weight") + "bias"
    if bias_name in layout.shapes and layout.shapes[bias_name] != (1,):
        raise CriticProbeError(
            f"{layout.path}: head bias {bias_name} has shape {list(layout.shapes[bias_name])}, expected [1]; "
            "the checkpoint is damaged, save it again"
        )
    head = Head(name, layout.tensor(name), layout.tensor(bias_name) if bias_name in layout.shapes else None)
    for tensor_name, tensor in ((name, head.weight), (bias_name, head.bias)):
        if tensor is not None and not bool(torch.isfinite(tensor.float()).all()):
            raise CriticProbeError(
                f"{layout.files[tensor_name]}: {tensor_name} holds NaN or infinity; the training diverged or the file "
                "is damaged, use an earlier checkpoint"
            )
    labels = _declared_labels(layout)
    if labels is not None and labels != 1:
        raise CriticProbeError(
            f"{layout.path / 'config.json'}: declares {labels} labels but {name} has shape {list(shape)}; "
            "set num_labels to 1 (one id2label entry) if the weights are the critic's, else give the right config"
        )
    return head


def head_keys(head: Head) -> set[str]:
    """The tensor names that belong to the head."""
    return {head.name, head.name.removesuffix("weight") + "bias"}


def _declared_labels(layout: Layout) -> int | None:
    labels = layout.config.get("id2label")
    if isinstance(labels, dict):
        return len(labels)
    count = layout.config.get("num_labels")
    return count if isinstance(count, int) else None


def _listed(layout: Layout) -> str:
    found = [f"{name} {list(shape)}" for name, shape in sorted(layout.shapes.items()) if _HEAD_LIKE.search(name)]
    return ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "") if found else "none"
