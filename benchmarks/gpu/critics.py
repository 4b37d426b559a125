"""Critics of real shapes with random weights, made on the device itself."""

import gc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    Gemma2Config,
    MistralConfig,
    PretrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from critic_probe.checkpoint import Critic
from critic_probe.training.model import Trainee, live_critic

TOKENIZER = Path(__file__).parents[2] / "fixtures" / "critics" / "last"
_KINDS: dict[str, type[PretrainedConfig]] = {
    "Qwen3 0.6B": Qwen3Config,
    "Qwen3 4B": Qwen3Config,
    "Qwen3 8B": Qwen3Config,
    "mixture of experts": Qwen3MoeConfig,  # Qwen3-30B-A3B, a quarter of its layers
    "sliding window": MistralConfig,
    "softcap": Gemma2Config,
}
_SHAPES: dict[str, dict[str, Any]] = {
    "Qwen3 0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "Qwen3 4B": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
    "Qwen3 8B": {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32},
    "mixture of experts": {
        "hidden_size": 2048,
        "moe_intermediate_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
    },
    "sliding window": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_attention_heads": 16,
        "sliding_window": 128,
    },
    "softcap": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_attention_heads": 16,
        "sliding_window": 256,
        "attn_logit_softcapping": 2.0,
        "attn_implementation": "eager",  # older versions of transformers choose one that leaves the softcap out
        "query_pre_attn_scalar": 128,
    },
}
_TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "head_dim": 16,
    "sliding_window": 24,
    "query_pre_attn_scalar": 16,
    "initializer_range": 0.1,
}


def shape(name: str, *, tiny: bool, **changes: int) -> PretrainedConfig:
    """A config by name, with changes such as fewer layers; a tiny one keeps its kind alone."""
    common = {"vocab_size": 1024, "num_labels": 1, "classifier_dropout": 0.0, "pad_token_id": 0}
    settings = common | {"max_position_embeddings": 8192, "num_key_value_heads": 8, "head_dim": 128} | _SHAPES[name]
    kept = {"num_hidden_layers", "initializer_range", *settings}
    settings |= {key: value for key, value in _TINY.items() if key in kept} if tiny else changes
    return _KINDS[name](**settings)


def random_model(config: PretrainedConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """A token-classification model in eval mode, its weights drawn on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForTokenClassification.from_config(config, dtype=dtype).eval()


def copied(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The same weights elsewhere; buffers such as rotary frequencies keep the precision that the dtype's model has."""
    other = random_model(model.config, device, dtype)
    other.load_state_dict(model.state_dict())
    return other


@torch.no_grad()
def rounded(model: Any) -> Any:
    """The model with weights that bf16 holds exactly, so that precisions differ by their arithmetic alone."""
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16())
    return model


def critic_of(model: Any, name: str) -> Critic:
    """The model as a critic."""
    return live_critic(Trainee(model, tokenizer(), frozenset({1}), 8192, None), name)


@cache
def tokenizer() -> Any:
    """A byte-level one; the workloads are ids and need only its padding."""
    return AutoTokenizer.from_pretrained(TOKENIZER)


def save(model: Any, target: Path) -> Path:
    """A critic's directory."""
    model.save_pretrained(target)
    tokenizer().save_pretrained(target)
    return target


def peak(device: torch.device, run: Callable[[], object]) -> int:
    """Bytes that something takes on a GPU beside what is held there."""
    release(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - held


def release(device: torch.device) -> None:
    """Gives the device back what nobody holds."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
