"""The value head, found by tensor name and shape; `config.architectures` decides nothing."""

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from critic_probe.checkpoint.layout import Layout
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.text import listed

# What frameworks call the head. `classifier` is the token head of older families (GPT-2, Bloom, Falcon, GPT-NeoX);
# the output layer of a language model is a value head where it has a single row.
_NAMES = "score|classifier|v_head|value_head|reward_head|score_head|regression_head"
_OUTPUT_LAYERS = "lm_head|output_layer|embed_out|output_projection|head"
_OUTSIDE_LAYERS = r"^(?:(?!\d+\.)[^.]+\.)*"  # a router in a layer may be called classifier
_HEAD_LIKE = re.compile(rf"{_OUTSIDE_LAYERS}(?:{_NAMES}|{_OUTPUT_LAYERS}|regression_layer|out_proj_head|gating)\b")
NORMALIZER = "normalizer."  # Safe-RLHF's buffers beside its head
_GATED = re.compile(r"(?:^|\.)(?:gating\.|regression_layer\.weight$)")
_WIDEST = 100.0  # factor by which training may have widened a head's weights
_NO_FIT = 0.05  # below this p the head is not a draw from an initialisation


class Layer(NamedTuple):
    """One linear layer of a head: the names of its tensors."""

    weight: str
    bias: str | None


@dataclass(frozen=True)
class Head:
    """A value head: one linear layer, or two with a ReLU between them.

    Attributes:
        layers: The names of its tensors, in order.
        weights: Per layer (out, in); the last one has a single row, the one chosen where the file has several.
        biases: Per layer (out,), or None where the checkpoint has none.
        normalisation: Mean and standard deviation by which the framework normalises its scores when it scores
            (OpenRLHF's `normalize_reward`, Safe-RLHF's `do_normalize`), None where it does not.
        row: Which row of the stored head was chosen, or which difference of two; None where it has a single one.
    """

    layers: tuple[Layer, ...]
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]
    normalisation: tuple[float, float] | None = None
    row: str | None = None

    @property
    def name(self) -> str:
        """The last weight's tensor name."""
        return self.layers[-1].weight

    @property
    def hash(self) -> str:
        """Eight hex digits of the SHA-256 of all weights and biases in fp32."""
        parts = [t for pair in zip(self.weights, self.biases, strict=True) for t in pair if t is not None]
        data = b"".join(part.float().contiguous().numpy().tobytes() for part in parts)
        return hashlib.sha256(data).hexdigest()[:8]

    def values(self, hidden: Tensor) -> Tensor:
        """Raw values (T,) in fp32 of final-normed hidden states (T, H), computed in their dtype."""
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if index:
                hidden = F.relu(hidden)
            hidden = F.linear(hidden, weight.to(hidden), None if bias is None else bias.to(hidden))
        return hidden.squeeze(-1).float()


def has_head(layout: Layout) -> bool:
    """Whether any tensor is named and shaped like a value head; a language model has none."""
    return bool(_candidates(layout))


def state_width(config: Any) -> int:
    """H of the states that a backbone gives, which the head takes: OPT projects them to another width."""
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


def find_head(layout: Layout, hidden_size: int, row: str | None = None) -> tuple[Layer, ...]:
    """Finds the head among the tensors' names and shapes; nothing is read.

    Args:
        layout: The checkpoint's headers.
        hidden_size: H of the states that the head takes.
        row: Of a head with several rows the one to read, `N`, or `N-M` for the difference of two. Without any head, of
            the language model's output layer, where NeMo's exports keep a reward.

    Raises:
        CriticProbeError: There is no head, more than one, or one that is not a scalar head of this model.
    """
    gated = [name for name in layout.tensors if _GATED.search(name)]
    if gated:
        raise CriticProbeError(
            f"{layout.path}: {gated[0]} belongs to a multi-objective reward model (ArmoRM, QRM), whose gated sum of "
            "objectives at one token is no value per token; score it with its own code",
            check="head-shape",
        )
    heads = _candidates(layout)
    if not heads and row is not None:
        heads = _candidates(layout, rows_of_outputs=True)
    if not heads:
        raise CriticProbeError(_no_head(layout), check="head-present")
    if len(heads) > 1:
        raise CriticProbeError(
            f"{layout.path}: several heads ({_listed(layout)}); keep the one that training used and remove the others",
            check="head-present",
        )
    [(base, indices)] = heads.items()
    if indices not in ([""], [".0", ".2"]):
        raise CriticProbeError(
            f"{layout.path}: the head {base} has layers {', '.join(i.lstrip('.') for i in indices)}; only a linear "
            "layer, or two with a ReLU between them (0 and 2), are known; score it with its own code",
            check="head-shape",
        )
    layers = []
    wanted_in = hidden_size
    for number, index in enumerate(indices, 1):
        weight, bias = f"{base}{index}.weight", f"{base}{index}.bias"
        shape = layout.tensors[weight].shape
        last = number == len(indices)
        if not (last and _has_rows(layout, weight, shape, wanted_in, row)):
            _check_shape(layout, weight, shape, wanted_in, last=last)
        if bias in layout.tensors and layout.tensors[bias].shape != shape[:1]:
            raise CriticProbeError(
                f"{layout.path}: head bias {bias} has shape {list(layout.tensors[bias].shape)}, expected "
                f"{list(shape[:1])}; the checkpoint is damaged, save it again",
                check="head-shape",
            )
        layers.append(Layer(weight, bias if bias in layout.tensors else None))
        wanted_in = shape[0]
    labels = _declared_labels(layout)
    if labels not in (None, 1) and layout.tensors[layers[-1].weight].shape[0] == 1:
        raise CriticProbeError(
            f"{layout.config_file}: declares {labels} labels but {layers[-1].weight} has a single row; "
            "set num_labels to 1 (one id2label entry) if the weights are the critic's, else give the right config",
            check="head-config",
        )
    return tuple(layers)


def read_head(layout: Layout, hidden_size: int, row: str | None = None) -> Head:
    """Finds and reads the head; the arguments are those of `find_head`.

    Raises:
        CriticProbeError: As `find_head`; or the head or its normalisation is not finite.
    """
    layers = find_head(layout, hidden_size, row)
    tensors = {name: layout.tensors[name].read() for layer in layers for name in layer if name is not None}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.float()).all()):
            raise CriticProbeError(
                f"{layout.tensors[name].file}: {name} holds NaN or infinity; the training diverged or the file is "
                "damaged, use an earlier checkpoint",
                check="head-finite",
            )
    weights = [tensors[layer.weight] for layer in layers]
    biases = [None if layer.bias is None else tensors[layer.bias] for layer in layers]
    if len(weights[-1]) > 1:
        weights[-1] = _row(weights[-1], str(row))
        biases[-1] = None if biases[-1] is None else _row(biases[-1], str(row))
    else:
        row = None
    return Head(layers, tuple(weights), tuple(biases), normalisation(layout.config, layout), row)


def _row(stored: Tensor, row: str) -> Tensor:
    """The chosen row, or the difference of two, of a head's weights (rows, H) or biases (rows,)."""
    first, *second = (int(n) for n in row.split("-"))
    chosen = stored[first : first + 1]
    return chosen.float() - stored[second[0] : second[0] + 1].float() if second else chosen.clone()


def _has_rows(layout: Layout, name: str, shape: tuple[int, ...], wanted_in: int, row: str | None) -> bool:
    """Whether a head has several rows and one of them is chosen.

    Raises:
        CriticProbeError: The choice names no row of it, or it has a single one.
    """
    if row is None or len(shape) != 2 or shape[1] != wanted_in:
        return False
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", row)
    rows = [int(n) for n in match.groups() if n is not None] if match else []
    if not rows or max(rows) >= shape[0] or len(set(rows)) < len(rows):
        raise CriticProbeError(
            f"{layout.path}: {parameter('head_row', row)} names no row of {name} {list(shape)}; give one of "
            f"{_rows(layout, shape)}, or a difference of two such as 1-0",
            check="head-shape",
        )
    return shape[0] > 1


def _rows(layout: Layout, shape: tuple[int, ...]) -> str:
    """The rows of a head with the names of its labels."""
    labels = layout.config.get("id2label")
    names = labels if isinstance(labels, dict) else {}
    listed = [f"{i} ({names[str(i)]})" if str(i) in names else str(i) for i in range(min(shape[0], 20))]
    return ", ".join(listed) + (f" to {shape[0] - 1}" if shape[0] > 20 else "")


def normalisation(config: dict[str, Any], layout: Layout) -> tuple[float, float] | None:
    """Mean and standard deviation of OpenRLHF's `normalize_reward` or Safe-RLHF's `do_normalize`.

    OpenRLHF's are taken from the config: its buffers are not saved, and transformers leaves them uninitialised.
    Safe-RLHF saves its buffers; it subtracts the mean of rewards, only scales costs, and leaves a critic's values.

    Raises:
        CriticProbeError: It is asked for without a mean and a positive standard deviation.
    """
    if config.get("do_normalize") and any(name.startswith(("score_head.", NORMALIZER)) for name in layout.tensors):
        kind = config.get("score_type", "reward")
        if kind == "critic":
            return None
        if lost := [name for what in ("mean", "var") if (name := NORMALIZER + what) not in layout.tensors]:
            raise CriticProbeError(
                f"{layout.path}: do_normalize is on, but the weights hold no {' and no '.join(lost)}; set it to "
                "false in config.json for raw scores",
                check="head-config",
            )
        if layout.tensors[f"{NORMALIZER}var"].shape not in ((), (1,)):
            raise CriticProbeError(
                f"{layout.path}: do_normalize is on, but {NORMALIZER}var is no single number; set it to false in "
                "config.json for raw scores",
                check="head-config",
            )
        centre, variance = (layout.tensors[NORMALIZER + what].read().float().item() for what in ("mean", "var"))
        if not (math.isfinite(centre) and math.isfinite(variance) and variance > 0):
            raise CriticProbeError(
                f"{layout.path}: do_normalize is on but {NORMALIZER}mean is {centre} and {NORMALIZER}var {variance}; "
                "set do_normalize to false in config.json for raw scores",
                check="head-config",
            )
        return (centre if kind == "reward" else 0.0, variance**0.5 + 1e-8)
    if not config.get("normalize_reward"):
        return None
    mean, std = config.get("mean"), config.get("std")
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in (mean, std))
    if not numbers or std <= 0:  # type: ignore[operator]
        raise CriticProbeError(
            f"{layout.config_file}: normalize_reward is on but mean is {mean} and std is {std}; give the "
            "numbers that training wrote, or set normalize_reward to false for raw scores",
            check="head-config",
        )
    return float(mean), float(std)  # type: ignore[arg-type]


class Fresh(NamedTuple):
    """An initialisation that a head cannot be told from.

    Attributes:
        draw: What its weights would be a draw from, in words.
        unseen: The SD of changes to its weights up to which a trained head would look the same.
    """

    draw: str
    unseen: float


def looks_untrained(head: Head, initializer_range: float) -> Fresh | None:
    """The fresh initialisation that every layer of a head looks like a draw from, or None.

    Fresh heads of transformers are normal with the config's `initializer_range` (0.02 by default) and zero bias; a
    fresh `nn.Linear` is uniform in +-1/sqrt(H). That a Kolmogorov-Smirnov test cannot tell the weights from such a draw
    is no proof: a training that changed them by less than `unseen` passes it too.
    """
    from scipy import stats

    def normal(std: float) -> bool:
        return all(
            stats.kstest((w.flatten().double() / std).numpy(), "norm").pvalue > _NO_FIT and (b is None or not b.any())
            for w, b in zip(head.weights, head.biases, strict=True)
        )

    def uniform() -> bool:
        for w, b in zip(head.weights, head.biases, strict=True):
            bound = w.shape[1] ** -0.5
            share = (w.flatten().double() / bound + 1) / 2
            drawn = stats.kstest(share.numpy(), "uniform").pvalue > _NO_FIT
            if not drawn or w.abs().max() > bound or (b is not None and b.abs().max() > bound):
                return False
        return True

    for std in dict.fromkeys((0.02, initializer_range)):
        if normal(std):
            unseen = min(_unseen_in_normal(w.numel(), std) for w in head.weights)
            return Fresh(f"normal with standard deviation {std:g} and zero bias", unseen)
    if uniform():
        return Fresh("uniform in +-1/sqrt(H)", min(_unseen_in_uniform(w.numel(), w.shape[1]) for w in head.weights))
    return None


def _unseen_in_normal(n: int, std: float) -> float:
    """The SD of changes to n normal weights that the test notices in about 95 % of draws.

    Changes that do not depend on the weights widen them by a factor r; the distribution functions are then at most
    D(r) apart, and with sqrt(n) D = 1.3 the test notices 95 % (`python -m benchmarks.fresh_head`).
    """
    from scipy import optimize, stats

    wanted = 1.3 / n**0.5

    def apart(r: float) -> float:
        x = (2 * math.log(r) / (1 - r**-2)) ** 0.5  # where both densities are equal
        return float(stats.norm.cdf(x) - stats.norm.cdf(x / r))

    if wanted >= apart(_WIDEST):
        return math.inf
    r = optimize.brentq(lambda r: apart(r) - wanted, 1 + 1e-6, _WIDEST)
    return float(std * (r**2 - 1) ** 0.5)


def _unseen_in_uniform(n: int, width: int) -> float:
    """The same for uniform weights, of which three are then expected beyond the bound 1/sqrt(width): one is enough.

    A change of SD s carries a weight over either end with probability s / (sqrt(2 pi) bound).
    """
    return float(3 * (2 * math.pi) ** 0.5 * width**-0.5 / n)


def _candidates(layout: Layout, *, rows_of_outputs: bool = False) -> dict[str, list[str]]:
    """Each head's name with the indices of its layers; a single layer has the index ``.

    Args:
        layout: The checkpoint's headers.
        rows_of_outputs: Whether an output layer counts that has more than one row.
    """
    prefix = layout.config.get("value_head_prefix")
    names = f"{_NAMES}|{re.escape(prefix)}" if isinstance(prefix, str) and prefix else _NAMES
    pattern = re.compile(rf"({_OUTSIDE_LAYERS}(?:({names})|{_OUTPUT_LAYERS})(?:\.summary)?)(\.\d+)?\.weight$")
    indices_of: dict[str, list[str]] = {}
    for name, stored in layout.tensors.items():
        match = pattern.match(name)
        if match and (match[2] or rows_of_outputs or stored.shape[:1] == (1,)):
            indices_of.setdefault(match[1], []).append(match[3] or "")
    return {base: sorted(indices) for base, indices in indices_of.items()}


def _check_shape(layout: Layout, name: str, shape: tuple[int, ...], wanted_in: int, *, last: bool) -> None:
    if len(shape) == 2 and shape[1] == wanted_in and (shape[0] == 1 or not last):
        return
    cause = "config and weights disagree; give a critic with a single value per token"
    if last and shape[1:] == (wanted_in,) and shape[0] == 2:
        cause = (
            "num_labels was left at its default of 2 in training, or it is a process reward model with two labels, "
            f"whose softmax at step marks is no value per token; its rows are {_rows(layout, shape)}: read one with "
            f"{parameter('head_row', '1')}, or their log-odds with {parameter('head_row', '1-0')}"
        )
    elif last and shape[1:] == (wanted_in,):
        cause = (
            f"num_labels was not 1 in training: {shape[0]} values per token; its rows are {_rows(layout, shape)}: read "
            f"one with {parameter('head_row')} N, or a difference of two with {parameter('head_row')} N-M"
        )
    elif last and math.prod(shape) == wanted_in:
        cause = "it was saved reshaped (Open-Reasoner-Zero#63); save it again as weight.reshape(1, -1)"
    raise CriticProbeError(
        f"{layout.path}: head {name} has shape {list(shape)}, expected [{1 if last else 'any'}, {wanted_in}]: {cause}",
        check="head-shape",
    )


def _no_head(layout: Layout) -> str:
    if layout.format == "peft-adapter":
        return (
            f"{layout.path}: an adapter without a head, over a base without one ({layout.base}): the head was trained "
            "but never saved (OpenRLHF#1342), so it cannot be recovered; train again with task_type TOKEN_CLS or "
            'SEQ_CLS, or modules_to_save=["score"]'
        )
    return (
        f"{layout.path}: no value head: none of its {len(layout.tensors)} tensors is one (score, classifier, v_head, "
        f"value_head, reward_head, score_head, regression_head, or an lm_head of one row); head-like tensors found: "
        f"{_listed(layout)}. A critic without its head has random values, so none is made up; give the checkpoint that "
        "the critic's training saved"
    )


def _declared_labels(layout: Layout) -> int | None:
    if layout.format == "peft-adapter":  # the config is the base's
        return None
    labels = layout.config.get("id2label")
    if isinstance(labels, dict):
        return len(labels)
    count = layout.config.get("num_labels")
    return count if isinstance(count, int) else None


def _listed(layout: Layout) -> str:
    shapes = [f"{name} {list(s.shape)}" for name, s in sorted(layout.tensors.items()) if _HEAD_LIKE.search(name)]
    return listed(shapes) or "none"
