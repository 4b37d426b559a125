"""Tiny critics made on the spot: real model classes, random weights, a byte-level tokenizer, nothing downloaded."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Gemma3TextConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)
from transformers.utils import logging

logging.disable_progress_bar()

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TASKS = {
    "token": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
    "causal": AutoModelForCausalLM,
}


def byte_tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """One token a byte, so that a CJK character is three tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)  # ids 256, 257, 258
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIALS,
    )
    fast.chat_template = CHATML if chat else None
    return fast


def bos_tokenizer() -> PreTrainedTokenizerFast:
    """The same with a BOS, id 259, which both its template and itself write."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|bos|>"})
    adds = TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = adds
    tokenizer.chat_template = "{{ bos_token }}" + CHATML
    return tokenizer


def tiny_config(family: str = "qwen3", **changes: object) -> PretrainedConfig:
    shape = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "num_labels": 1,
        "classifier_dropout": 0.0,
        "initializer_range": 0.3,
        "pad_token_id": 256,
        "bos_token_id": None,
        "eos_token_id": 258,
    }
    return {"qwen3": Qwen3Config, "llama": LlamaConfig, "gemma3": Gemma3TextConfig}[family](**(shape | changes))


def save_critic(
    path: Path, family: str = "qwen3", task: str = "token", *, seed: int = 0, chat: bool = True, **changes: object
) -> Path:
    """Saves a tiny random model with its tokenizer."""
    torch.manual_seed(seed)
    TASKS[task].from_config(tiny_config(family, **changes)).save_pretrained(path)
    byte_tokenizer(chat).save_pretrained(path)
    return path
