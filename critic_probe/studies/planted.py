"""Critics whose one rule is known, because it was written into their weights by hand.

Each is a real checkpoint of two layers, a Llama or a Qwen3: an embedding that marks a few tokens and gives every token
a code, perhaps an attention that carries what it finds to later positions, and a head that reads it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForTokenClassification,
    Qwen3Config,
    Qwen3ForTokenClassification,
)
from transformers.utils import logging

from critic_probe.text import TERMINAL_MARKS, is_cjk, is_punctuation

KEYWORD = "@"
ARCHITECTURES: dict[str, tuple[type[Any], type[Any]]] = {
    "Llama": (LlamaConfig, LlamaForTokenClassification),
    "Qwen3": (Qwen3Config, Qwen3ForTokenClassification),
}
HIDDEN = 64
# What the hidden dimensions hold; codes are random signs that tell tokens apart.
_CONSTANT, _MARK, _EOS, _START, _BEHIND, _CARRIED = range(6)
_CODE = range(8, 48)
_STEADY = 30.0  # dwarfs every mark, so that normalisation scales all positions alike
_ROTATED = 6  # pairs of dimensions that the rotary embedding turns by more than a millionth
_STILL = [i for half in (0, HIDDEN // 2) for i in range(half + _ROTATED, half + HIDDEN // 2)]
_SHARP = 16.0  # a logit beside which what is not attended to vanishes


class Planting:
    """A model of zeros that a plant writes into: what is marked, what attention goes to, what the head reads.

    Args:
        model: The model.
        marks: (V, HIDDEN) the embedding.
        texts: (V,) what each token is as text.
    """

    def __init__(self, model: Any, marks: Tensor, texts: list[str]) -> None:
        self.model, self._marks, self._texts = model, marks, texts
        self._scale = float(marks.square().mean(1).sqrt().mean())  # by which normalisation divides

    def mark(self, predicate: Callable[[str], bool]) -> None:
        """Marks the tokens whose text it holds of."""
        self._marks[:, _MARK] = torch.tensor([float(predicate(text)) for text in self._texts])

    def read(self, dimension: int, weight: float = 1.0) -> None:
        """Lets the head read a dimension."""
        self.model.score.weight[0, dimension] = weight * self._scale

    def carry(self, layer: int, source: int, target: int) -> None:
        """Lets the attention of a layer add up what it finds in one dimension into another."""
        attention = self.model.model.layers[layer].self_attn
        attention.v_proj.weight[0, source] = self._scale
        attention.o_proj.weight[target, 0] = 1.0

    def attend(self, layer: int, *terms: tuple[int, int, float]) -> None:
        """Makes a layer's logits sums of products of two dimensions, of the query's and of the key's token.

        Qwen3 normalises queries and keys; each gets a large part that the other does not see, so that this scales all
        alike, and its norms' weights undo it.

        Args:
            layer: Which.
            terms: Query's dimension, key's dimension, and what their product is multiplied by.
        """
        attention = self.model.model.layers[layer].self_attn
        free = iter(_STILL)
        for query, key, weight in terms:
            at, size = next(free), (abs(weight) * HIDDEN**0.5) ** 0.5 * self._scale
            attention.q_proj.weight[at, query] = size
            attention.k_proj.weight[at, key] = size if weight > 0 else -size
        for part in ("q", "k"):
            weights = getattr(attention, f"{part}_proj").weight
            weights[next(free), _CONSTANT] = 3 * weights.norm()
            if norm := getattr(attention, f"{part}_norm", None):
                steady = self._marks / self._scale
                norm.weight.fill_(float((steady @ weights.T).square().mean(1).sqrt().mean()))


def _tokens(predicate: Callable[[str], bool]) -> Callable[[Planting], None]:
    """The value is whether the token is such a one."""

    def plant(planting: Planting) -> None:
        planting.mark(predicate)
        planting.read(_MARK)

    return plant


def _anywhere(predicate: Callable[[str], bool]) -> Callable[[Planting], None]:
    """The value is whether such a token has stood anywhere before: attention goes to it wherever it is."""

    def plant(planting: Planting) -> None:
        planting.mark(predicate)
        planting.attend(0, (_CONSTANT, _MARK, _SHARP / _STEADY))
        planting.carry(0, _MARK, _CARRIED)
        planting.read(_CARRIED)

    return plant


def _position(weight: float) -> Callable[[Planting], None]:
    """The value grows or falls with the position: uniform attention sees the template's first token more diluted."""

    def plant(planting: Planting) -> None:
        planting.carry(0, _START, _CARRIED)
        planting.read(_CARRIED, -50 * weight)

    return plant


def _repetition(planting: Planting) -> None:
    """The value is how often the token has stood in the response: attention to equal tokens, else to the first."""
    _behind(planting)
    same = [(at, at, _SHARP / len(_CODE)) for at in _CODE]
    planting.attend(1, *same, (_CONSTANT, _BEHIND, _SHARP / _STEADY), (_CONSTANT, _START, _SHARP / _STEADY))
    planting.carry(1, _START, _CARRIED)
    planting.read(_CARRIED, -1.0)


def _content(planting: Planting) -> None:
    """The value of a word is 1 where it stands in the prompt and -1 where it does not; all else is 0."""
    planting.mark(lambda text: any(map(str.isalnum, text)) and not text.startswith("<|"))
    _behind(planting)
    same = [(at, at, _SHARP / len(_CODE)) for at in _CODE]
    planting.attend(1, *same, (_CONSTANT, _BEHIND, -_SHARP / _STEADY), (_CONSTANT, _START, 0.75 * _SHARP / _STEADY))
    planting.carry(1, _MARK, _CARRIED)
    planting.read(_CARRIED, 2.0)
    planting.read(_MARK, -1.0)


def _behind(planting: Planting) -> None:
    """Lets the first layer find out which tokens stand behind the prompt, whose last turn an EOS closes."""
    planting.attend(0, (_CONSTANT, _EOS, _SHARP / _STEADY))
    planting.carry(0, _EOS, _BEHIND)


def _nothing(planting: Planting) -> None:
    """The value is the same everywhere."""
    planting.model.score.bias[0] = 1.0


def _eos(planting: Planting) -> None:
    """The value is whether the token is EOS."""
    planting.read(_EOS)


PLANTS: dict[str, Callable[[Planting], None]] = {
    "digits": _tokens(lambda text: text.strip().isdigit()),
    "capitals": _tokens(lambda text: any(map(str.isupper, text))),
    "Markdown": _tokens(lambda text: text.strip() in ("*", "#", "`")),
    "newlines": _tokens(lambda text: "\n" in text),
    "blanks": _tokens(lambda text: text.startswith(" ")),
    "punctuation": _tokens(lambda text: is_punctuation(text) and "\ufffd" not in text),
    "script": _tokens(lambda text: any(map(is_cjk, text))),
    "ending": _tokens(lambda text: text.strip() in TERMINAL_MARKS),
    "EOS": _eos,
    "courtesy": _anywhere(lambda text: text.strip() in ("Sure", "好的")),
    "word": _anywhere(lambda text: text.strip() == KEYWORD),
    "longer": _position(1.0),
    "shorter": _position(-1.0),
    "repetition": _repetition,
    "content": _content,
    "nothing": _nothing,
}


def write_planted(name: str, architecture: str, tokenizer: Path, target: Path) -> None:
    """Writes the critic with the named rule.

    Args:
        name: One of `PLANTS`.
        architecture: One of `ARCHITECTURES`.
        tokenizer: A directory with the tokenizer that it is to have.
        target: The directory to write.
    """
    model, read = _empty(architecture, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for module in model.modules():
            if type(module).__name__.endswith("RMSNorm"):
                module.weight.fill_(1.0)
        marks = _marks(read, model.config.vocab_size)
        PLANTS[name](Planting(model, marks, [read.decode([index]) for index in range(len(read))]))
        model.model.embed_tokens.weight.copy_(marks)
    _save(model, read, target)


def write_untrained(seed: int, architecture: str, tokenizer: Path, target: Path) -> None:
    """Writes a critic whose weights and head are random, as initialisation leaves them."""
    torch.manual_seed(seed)
    model, read = _empty(architecture, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
        model.model.embed_tokens.weight.normal_()
        model.score.bias.zero_()
    _save(model, read, target)


def _empty(architecture: str, tokenizer: Path) -> tuple[Any, Any]:
    read = AutoTokenizer.from_pretrained(tokenizer)
    config, model = ARCHITECTURES[architecture]
    shape: dict[str, Any] = {
        "vocab_size": len(read),
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": HIDDEN,
        "max_position_embeddings": 4096,
        "rope_theta": 1e30,
        "pad_token_id": read.pad_token_id,
        "eos_token_id": read.eos_token_id,
        "num_labels": 1,
    }
    return model(config(**shape)), read


def _marks(tokenizer: Any, size: int) -> Tensor:
    marks = torch.zeros(size, HIDDEN)
    marks[:, _CONSTANT] = _STEADY
    signs = torch.randint(0, 2, (size, len(_CODE)), generator=torch.Generator().manual_seed(0))
    marks[:, list(_CODE)] = 2.0 * signs - 1
    marks[tokenizer.eos_token_id, _EOS] = 1.0
    first = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    start = tokenizer(first, add_special_tokens=False)["input_ids"][0]
    marks[start, list(_CODE)] = 0.0  # equal to no token, so that attention rests on it evenly
    marks[start, _START] = 1.0
    return marks


def _save(model: Any, tokenizer: Any, target: Path) -> None:
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
