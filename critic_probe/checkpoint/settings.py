"""Fields of a config that fit any weights in shape and change every value: against a base's, and in other versions.

Norms' epsilon, the activation, rotary frequencies and windows have no tensor that would disagree with them.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from critic_probe.checkpoint.critic import Critic
from critic_probe.checkpoint.stored import OUTPUT_LAYER

# What no value depends on once a model is loaded for evaluation, or what its tensors' shapes would contradict.
_NEUTRAL = {
    *("_name_or_path", "architectures", "auto_map", "chunk_size_feed_forward", "classifier_activation", "dtype"),
    *("bos_token_id", "cls_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id", "sep_token_id"),
    *("finetuning_task", "gradient_checkpointing", "id2label", "initializer_range", "is_decoder", "is_encoder_decoder"),
    *("label2id", "max_position_embeddings", "num_labels", "output_attentions", "output_hidden_states"),
    *("pretraining_tp", "problem_type", "quantization_config", "return_dict", "tie_word_embeddings", "torch_dtype"),
    *("tokenizer_class", "transformers_version", "use_bfloat16", "use_cache", "vocab_size"),
}
_NO_VALUE = ("_attn_implementation", "dropout", "_pdrop", "router_aux_loss_coef", "output_router_logits")
_EPSILON = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "layernorm_epsilon")
_ACTIVATION = ("hidden_act", "hidden_activation", "activation_function", "activation")
_USUAL_EPSILON = (1e-6, 1e-5)  # which weights cannot tell apart
_USUAL_ACTIVATION = ("silu", "gelu_pytorch_tanh", "relu")  # those of one name differ by little
_BASES = (1e4, 1e5, 5e5, 1e6)  # of rotary frequencies
_NEVER = 1 << 24  # tokens: a window that reaches over any text


class Variant(NamedTuple):
    """A config that fits the same weights.

    Attributes:
        kind: norm, activation, rotary or window.
        says: What it changes, as messages name it.
        config: With the change.
    """

    kind: str
    says: str
    config: Any


def differences(config: Any, base: Any) -> list[str]:
    """The fields that change values and are not the base's, each with both values.

    Args:
        config: Of the critic.
        base: Of the model that it was trained from.
    """
    ours, theirs = (c.get_text_config().to_dict() for c in (config, base))
    names = sorted({*ours, *theirs} - _NEUTRAL)
    return [
        f"{name} is {ours.get(name)!r}, the base has {theirs.get(name)!r}"
        for name in names
        if ours.get(name) != theirs.get(name) and not any(part in name for part in _NO_VALUE)
    ]


def variants(config: Any) -> Iterator[Variant]:
    """Usual settings that the config does not have: other epsilons, activations, rotary bases, no window.

    What a variant sets is what models of the field have; what a checkpoint had cannot be known from it.
    """
    text = config.get_text_config()
    for name in _EPSILON:
        if getattr(text, name, None) not in (None, *_USUAL_EPSILON):
            yield _changed(config, "norm", {name: _USUAL_EPSILON[0]}, f"{name}={_USUAL_EPSILON[0]}")
    for name in _ACTIVATION:
        if (now := getattr(text, name, None)) is not None:
            others = [value for value in _USUAL_ACTIVATION if value[:4] != now[:4]]
            yield from (_changed(config, "activation", {name: value}, f"{name}={value}") for value in others)
    yield from _rotary(config)
    if getattr(text, "sliding_window", None):
        yield _changed(config, "window", {"sliding_window": _NEVER}, "no sliding window")


def reconfigured(backbone: nn.Module, config: Any) -> nn.Module:
    """The backbone under another config, over the same tensors: nothing is copied but what the config itself sizes."""
    with _weightless():
        twin = type(backbone)(config)
    device = next(backbone.parameters()).device
    for name, parameter in backbone.named_parameters(remove_duplicate=False):
        module, _, last = name.rpartition(".")
        twin.get_submodule(module)._parameters[last] = parameter
    for part in twin.modules():
        part._buffers.update({name: None if b is None else b.to(device) for name, b in part._buffers.items()})
    return twin.eval().requires_grad_(False)


def output_embedding(critic: Critic) -> Tensor | None:
    """The output layer's weights (V, H) where they are known: stored with the critic, or tied to its embedding."""
    of_head = {name for layer in critic.head.layers for name in layer}
    for name, stored in critic.layout.tensors.items():
        if OUTPUT_LAYER.search(name) and name.endswith(".weight") and name not in of_head:
            return stored.read().to(critic.device)
    config: Any = critic.backbone.config
    if getattr(config.get_text_config(), "tie_word_embeddings", False):
        return critic.backbone.get_input_embeddings().weight  # type: ignore[operator, no-any-return]
    return None


def _changed(config: Any, kind: str, changes: Mapping[str, Any], says: str) -> Variant:
    twin = copy.deepcopy(config)
    for name, value in changes.items():
        setattr(twin.get_text_config(), name, value)
    return Variant(kind, says, twin)


def _rotary(config: Any) -> Iterator[Variant]:
    """Other bases, and frequencies that are not scaled; layers of several types have settings of their own."""
    text = config.get_text_config()
    given = getattr(text, "rope_parameters", None)
    if given is None:  # before transformers 5
        now = getattr(text, "rope_theta", None)
        others: list[tuple[dict[str, Any], str]]
        others = [({"rope_theta": b}, f"rope_theta={b:g}") for b in _BASES if now not in (None, b)]
        others += [({"rope_scaling": None}, "no rope_scaling")] if getattr(text, "rope_scaling", None) else []
        yield from (_changed(config, "rotary", change, says) for change, says in others)
        return
    parts = {"": given} if "rope_type" in given else given
    for kind, part in parts.items():
        of = f" in layers of {kind}" if kind else ""
        others = [
            ({"rope_theta": b}, f"rope_theta={b:g}{of}") for b in _BASES if part.get("rope_theta") not in (None, b)
        ]
        if part["rope_type"] != "default":
            others.append(({"rope_type": "default"}, f"rope_type=default{of}"))
        for change, says in others:
            changed = {**part, **change}
            yield _changed(config, "rotary", {"rope_parameters": {**given, kind: changed} if kind else changed}, says)


@contextmanager
def _weightless() -> Iterator[None]:
    """Modules that are made keep their buffers, which configs size, and get parameters without memory."""
    register = nn.Module.register_parameter

    def without(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, None if parameter is None else nn.Parameter(parameter.to("meta"), requires_grad=False))

    nn.Module.register_parameter = without  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
