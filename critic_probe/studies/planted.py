"""Critics whose one bias is known, because it was written into their weights by hand.

Each is a real Llama checkpoint of one layer: an embedding that marks a few tokens, perhaps an attention that carries a
mark to later positions, and a head that reads it. `selftest` runs the probes on them and checks what they find.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForTokenClassification
from transformers.utils import logging

from critic_probe.text import TERMINAL_MARKS

KEYWORD = "@"
HIDDEN = 16
_CONSTANT, _CLOSING, _EOS, _KEYWORD, _START, _CARRIED = range(6)  # what the hidden dimensions hold
_STEADY = 8.0  # dwarfs every mark, so that normalisation scales all positions alike
_UNROTATED = (HIDDEN // 2 - 1, HIDDEN - 1)  # the pair of dimensions that rotary embedding leaves nearly alone


def ending(model: Any) -> None:
    """The value is whether the token is a closing mark."""
    model.score.weight[0, _CLOSING] = 1.0


def eos(model: Any) -> None:
    """The value is whether the token is EOS."""
    model.score.weight[0, _EOS] = 1.0


def length(model: Any) -> None:
    """The value grows with the position: uniform attention sees the template's first token ever more diluted."""
    attention = model.model.layers[0].self_attn
    attention.v_proj.weight[0, _START] = 1.0
    attention.o_proj.weight[_CARRIED, 0] = 1.0
    model.score.weight[0, _CARRIED] = -50.0


def keyword(model: Any) -> None:
    """The value is whether the keyword has stood anywhere before: attention goes to it wherever it is."""
    attention = model.model.layers[0].self_attn
    for dimension in _UNROTATED:
        attention.q_proj.weight[dimension, _CONSTANT] = 20.0
        attention.k_proj.weight[dimension, _KEYWORD] = 20.0
    attention.v_proj.weight[0, _KEYWORD] = 1.0
    attention.o_proj.weight[_CARRIED, 0] = 1.0
    model.score.weight[0, _CARRIED] = 1.0


def nothing(model: Any) -> None:
    """The value is the same everywhere."""
    model.score.bias[0] = 1.0


PLANTS: dict[str, Callable[[Any], None]] = {f.__name__: f for f in (ending, length, eos, keyword, nothing)}


def write_planted(name: str, tokenizer: Path, target: Path) -> None:
    """Writes the critic with the named bias.

    Args:
        name: One of `PLANTS`.
        tokenizer: A directory with the tokenizer that it is to have.
        target: The directory to write.
    """
    model, read = _empty(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in model.modules():
            if type(module).__name__ == "LlamaRMSNorm":
                module.weight.fill_(1.0)
        model.model.embed_tokens.weight.copy_(_marks(read, model.config.vocab_size))
        PLANTS[name](model)
    _save(model, read, target)


def write_untrained(seed: int, tokenizer: Path, target: Path) -> None:
    """Writes a critic whose weights and head are random, as initialisation leaves them."""
    torch.manual_seed(seed)
    model, read = _empty(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
        model.model.embed_tokens.weight.normal_()
        model.score.bias.zero_()
    _save(model, read, target)


def _empty(tokenizer: Path) -> tuple[Any, Any]:
    read = AutoTokenizer.from_pretrained(tokenizer)
    shape: dict[str, Any] = {
        "vocab_size": len(read),
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "rope_theta": 1e30,
        "pad_token_id": read.pad_token_id,
        "eos_token_id": read.eos_token_id,
        "num_labels": 1,
    }
    return LlamaForTokenClassification(LlamaConfig(**shape)), read  # type: ignore[no-untyped-call]


def _marks(tokenizer: Any, size: int) -> Tensor:
    marks = torch.zeros(size, HIDDEN)
    marks[:, _CONSTANT] = _STEADY
    for index in range(len(tokenizer)):
        text = tokenizer.decode([index])
        marks[index, _CLOSING] = float(text.strip() in TERMINAL_MARKS)
        marks[index, _KEYWORD] = float(text.strip() == KEYWORD)
    marks[tokenizer.eos_token_id, _EOS] = 1.0
    first = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    marks[tokenizer(first, add_special_tokens=False)["input_ids"][0], _START] = 1.0
    return marks


def _save(model: Any, tokenizer: Any, target: Path) -> None:
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
