"""The model that a warm-up trains: a backbone with a fresh or continued value head, LoRA, frozen layers."""

import random
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from critic_probe.checkpoint import Critic, Start, load_start
from critic_probe.checkpoint.head import Head, Layer
from critic_probe.checkpoint.layout import Layout
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.scoring.engine import disagreement
from critic_probe.scoring.reference import pad_rows
from critic_probe.scoring.tree import TreeAttention, promised_windows, tree_attention
from critic_probe.scoring.trie import Ids, lay_out

HEAD_STD = 0.02  # of a fresh head, as transformers initialises one
_TINY_VOCABULARY = 2048
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Trainee:
    """A token-classification model with one label, ready to train.

    Attributes:
        model: Gives `logits` (B, T, 1); a PEFT model where LoRA is asked for.
        tokenizer: Its tokenizer.
        eos_ids: The ids that end a response.
        context_length: The longest sequence it takes; None for no limit.
        start: What was loaded; None for a model from scratch.
    """

    model: Any
    tokenizer: Any
    eos_ids: frozenset[int]
    context_length: int | None
    start: Start | None

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding."""
        return int(self.model.get_input_embeddings().weight.shape[0])


def open_trainee(backbone: Path, *, seed: int, base: Path | None = None) -> Trainee:
    """A directory's model with its own value head, or a fresh one where it is a language model.

    A fresh head is normal with standard deviation 0.02 and zero bias, as transformers initialises one.

    Raises:
        CriticProbeError: It cannot be loaded, or transformers has no token-classification class with a linear `score`.
    """
    start = load_start(backbone, base=base)
    config = start.config.get_text_config()
    config.num_labels = 1
    config.classifier_dropout = 0.0  # as verl does: a score with dropout is random
    classifier = _classifier(type(config))
    if classifier is None:
        raise CriticProbeError(
            f"{backbone}: transformers has no token-classification class for {config.model_type}; start from a Llama, "
            "Qwen2, Qwen3, Mistral, Gemma, Phi or SmolLM model"
        )
    with torch.device("meta"):
        model = classifier(config)
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise CriticProbeError(
            f"{backbone}: {type(model).__name__} has no linear `score`; start from a Llama, Qwen2, Qwen3, Mistral, "
            "Gemma, Phi or SmolLM model"
        )
    setattr(model, model.base_model_prefix, start.backbone)
    model.score = _head(start, config.hidden_size, seed)
    return Trainee(model, start.tokenizer, start.eos_ids, getattr(config, "max_position_embeddings", None), start)


def _classifier(config: type) -> Any:
    """transformers' token-classification class of a family; None where there is none, nor a way to make it.

    Of some families, Gemma 3 among them, transformers has the class for sequences alone, by its generic recipe; the one
    for tokens is made by that recipe then.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    from transformers.modeling_layers import GenericForSequenceClassification, GenericForTokenClassification

    if config in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        return MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[config]
    of_sequences: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(config, object)
    if not issubclass(of_sequences, GenericForSequenceClassification):
        return None
    name = of_sequences.__name__.replace("Sequence", "Token")
    return type(name, (GenericForTokenClassification, *of_sequences.__bases__[1:]), {})


def _head(start: Start, hidden_size: int, seed: int) -> nn.Linear:
    layer = nn.Linear(hidden_size, 1)
    with torch.no_grad():
        layer.bias.zero_()
        if start.head is None:
            layer.weight.normal_(std=HEAD_STD, generator=torch.Generator().manual_seed(seed))
            return layer
        if len(start.head.weights) != 1:
            raise CriticProbeError(
                f"{start.layout.path}: its head has two layers, a token-classification model has one; start from its "
                "language model"
            )
        layer.weight.copy_(start.head.weights[0])
        if start.head.biases[0] is not None:
            layer.bias.copy_(start.head.biases[0])
    return layer


def tiny_trainee(texts: Iterable[str], *, seed: int) -> Trainee:
    """A random Qwen3 of 4 layers and hidden size 128 with a tokenizer learnt from these texts.

    The tokenizer is a byte-level BPE of up to 2,048 tokens that keeps digits and marks apart from their neighbours.
    """
    tokenizer = byte_bpe(texts, [r"\d|[\p{P}\p{S}]| ?\p{L}+|\s+"], _TINY_VOCABULARY)
    model = tiny_model(len(tokenizer), seed, pad=0, eos=2)
    return Trainee(model, tokenizer, frozenset({2}), model.config.max_position_embeddings, None)


def byte_bpe(texts: Iterable[str], apart: Sequence[str], vocabulary: int, markers: Sequence[str] = ()) -> Any:
    """A byte-level BPE learnt from texts, with ChatML for a template.

    Args:
        texts: What it learns from.
        apart: What no token may straddle, as regular expressions, one after the other.
        vocabulary: At most so many tokens.
        markers: Special tokens behind the pad (0), the begin (1) and the end of a turn (2), which is EOS.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *markers]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in apart),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=specials[0], eos_token=specials[2])  # type: ignore[no-untyped-call]
    tokenizer.chat_template = CHATML
    return tokenizer


def tiny_model(vocabulary: int, seed: int, *, pad: int, eos: int) -> Any:
    """A random Qwen3ForTokenClassification of 4 layers, hidden size 128, with one label."""
    from transformers import Qwen3Config, Qwen3ForTokenClassification

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
        "pad_token_id": pad,
        "bos_token_id": None,
        "eos_token_id": eos,
        "num_labels": 1,
        "classifier_dropout": 0.0,
    }
    return Qwen3ForTokenClassification(Qwen3Config(**settings))  # type: ignore[no-untyped-call]


def freeze(model: Any, layers: int) -> None:
    """Keeps the embeddings and the lowest layers as they are.

    Args:
        model: A token-classification model, before LoRA.
        layers: How many layers from the bottom.

    Raises:
        CriticProbeError: There are not that many layers.
    """
    stack = model.base_model.layers
    if layers > len(stack):
        raise CriticProbeError(f"{parameter('freeze_layers', layers)}: the model has {len(stack)} layers")
    if layers:
        model.get_input_embeddings().requires_grad_(False)
    for layer in stack[:layers]:
        layer.requires_grad_(False)


def with_lora(model: Any, rank: int, frozen_layers: int, base: str) -> Any:
    """The model with LoRA factors on every linear layer above the frozen ones; its head is trained whole and saved.

    Args:
        model: A token-classification model.
        rank: r of the factors; alpha is 2 r.
        frozen_layers: Layers from the bottom that get no factors.
        base: What `adapter_config.json` names as the model under the adapter.

    Raises:
        CriticProbeError: PEFT is not installed.
    """
    if find_spec("peft") is None:
        raise CriticProbeError(f"{parameter('lora')} needs PEFT; install it with `pip install peft`")
    from peft import LoraConfig, TaskType, get_peft_model

    layers = model.base_model.layers
    linear = {name.rpartition(".")[2] for name, module in layers.named_modules() if isinstance(module, nn.Linear)}
    config = LoraConfig(
        task_type=TaskType.TOKEN_CLS,  # PEFT then saves the head beside the factors
        r=rank,
        lora_alpha=2 * rank,
        target_modules=sorted(linear),
        layers_to_transform=list(range(frozen_layers, len(layers))),
    )
    model.name_or_path = model.config._name_or_path = base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT reads an attribute that transformers has renamed
        return get_peft_model(model, config)


def token_values(model: Any, sequences: Sequence[Ids], firsts: Sequence[int], *, tree: bool, pad: int) -> list[Tensor]:
    """Values (L - first,) of each sequence (L,) from position `first` on, with their gradient.

    Args:
        model: Gives `logits` (B, T, 1); wrapped for data parallelism or not.
        sequences: Token ids.
        firsts: Where each sequence's values begin.
        tree: Compute every distinct prefix of the sequences once, inside `scoring.tree.tree_attention`, which must last
            until the backward pass is done; else one padded row each.
        pad: The id that fills rows.
    """
    device = next(model.parameters()).device
    if tree:
        row = lay_out(sequences)
        plan = TreeAttention(row)
        logits = model(
            input_ids=row.ids[None].to(device),
            position_ids=row.depths[None].to(device),
            critic_probe_tree=plan,
            use_cache=False,
        ).logits
        config = backbone_of(model).config
        if complaint := plan.complaint(config.num_hidden_layers, promised_windows(config)):
            raise CriticProbeError(
                f"the prefix tree cannot serve this model ({complaint}); use {parameter('engine', 'padded')}"
            )
        values = logits[0, :, 0].float()
        return [values[path[first:].to(device)] for path, first in zip(row.paths, firsts, strict=True)]
    ids, mask, _ = pad_rows(sequences, pad)
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
    return [
        logits[index, first : len(sequence), 0].float()
        for index, (sequence, first) in enumerate(zip(sequences, firsts, strict=True))
    ]


def backbone_of(model: Any) -> Any:
    """The transformer inside a token-classification model, a PEFT model, or a wrapper for data parallelism."""
    model = getattr(model, "module", model)
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return model.base_model


@torch.no_grad()
def why_no_tree(trainee: Trainee, sequences: Sequence[Ids]) -> str | None:
    """Why the prefix tree cannot serve a model, or None: its values on these sequences are held against single ones."""
    model = trainee.model
    training = model.training
    model.eval()
    try:
        firsts, device = [0] * len(sequences), next(model.parameters()).device
        with tree_attention(backbone_of(model)):
            tree = token_values(model, sequences, firsts, tree=True, pad=0)
        alone = [model(input_ids=torch.tensor([s], device=device), use_cache=False).logits[0, :, 0] for s in sequences]
    except (CriticProbeError, TypeError, ValueError) as error:
        return " ".join(str(error).split())[:200]
    finally:
        model.train(training)
    return disagreement([v.cpu() for v in tree], [v.float().cpu() for v in alone], torch.float32)


def sample_sequences(sequences: Sequence[Ids], count: int = 6, longest: int = 256) -> list[Ids]:
    """A few sequences, shortened, on which the prefix tree is tried."""
    chosen = random.Random(0).sample(list(sequences), min(count, len(sequences)))
    return [s[:longest] for s in chosen]


def live_critic(trainee: Trainee, name: str) -> Critic:
    """The model as it is now, as a critic that every probe can score; its weights are shared, not copied."""
    model = trainee.model
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    score = inner.score.modules_to_save["default"] if hasattr(inner.score, "modules_to_save") else inner.score
    backbone = backbone_of(model)
    start = trainee.start
    return Critic(
        name=name,
        layout=start.layout if start else Layout(Path(name), "huggingface", Path(name), {}, {}),
        backbone=backbone,
        head=Head(
            (Layer("score.weight", "score.bias"),),
            (score.weight.detach().float().cpu(),),
            (score.bias.detach().float().cpu(),),
        ),
        tokenizer=trainee.tokenizer,
        device=score.weight.device,
        dtype=score.weight.dtype,
        context_length=trainee.context_length,
        vocabulary=trainee.vocabulary,
        eos_ids=trainee.eos_ids,
        fingerprint=name,
        tokenizer_hash=name,
        training={},
        loading={},
        vectors="",
    )
