"""A loaded critic: backbone, head and tokenizer, ready to give one value per token."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from critic_probe.checkpoint.head import Head, head_keys, read_head
from critic_probe.checkpoint.layout import Layout, fingerprint, read_json, read_layout, tokenizer_hash
from critic_probe.errors import CriticProbeError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Buffers that older transformers versions saved and newer ones compute; they carry nothing that was trained.
_STALE_BUFFER = re.compile(r"(rotary_emb\.inv_freq|attn\.bias|masked_bias|attention\.bias)$")


@dataclass(frozen=True)
class Critic:
    """A decoder-only transformer with a scalar head, in eval mode and without gradients.

    Attributes:
        name: A short name that is unique within a run.
        path: The checkpoint directory.
        backbone: The transformer without any head.
        head: The value head, as stored.
        tokenizer: The directory's tokenizer.
        device: Where it runs.
        dtype: The dtype that it computes in.
        context_length: `max_position_embeddings`, or None where the architecture has no limit.
        vocabulary: Rows of the embedding; every id must be below it.
        eos_ids: The ids that end a response: the tokenizer's and those of the configs.
        fingerprint: Tells this checkpoint from every other.
        tokenizer_hash: Tells its tokenizer files from every other.
        training: The contents of `critic_probe.json`, empty where there is none.
    """

    name: str
    path: Path
    backbone: nn.Module
    head: Head
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    context_length: int | None
    vocabulary: int
    eos_ids: frozenset[int]
    fingerprint: str
    tokenizer_hash: str
    training: dict[str, Any]

    @torch.inference_mode()
    def values(self, ids: Sequence[int]) -> Tensor:
        """The value (T,) at every token of one sequence (T,), in fp32 on the CPU."""
        hidden = self.backbone(
            input_ids=torch.tensor([ids], dtype=torch.long, device=self.device), use_cache=False
        ).last_hidden_state[0]  # (T, H), after the final norm
        bias = None if self.head.bias is None else self.head.bias.to(hidden)
        return F.linear(hidden, self.head.weight.to(hidden), bias).squeeze(-1).float().cpu()

    @property
    def attention(self) -> str:
        """The attention implementation that transformers chose."""
        return str(getattr(self.backbone.config, "_attn_implementation", "unknown"))


def load_critic(
    path: str | Path,
    *,
    name: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Critic:
    """Loads a token- or sequence-classification critic from a Hugging Face directory.

    Args:
        path: The directory; nothing is ever downloaded.
        name: How results call the critic; the directory's name by default.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        dtype: `auto` (the checkpoint's on a GPU, float32 on a CPU), `float32`, `bfloat16` or `float16`.
        trust_remote_code: Whether code in the directory may run.

    Raises:
        CriticProbeError: There is no head, config and weights disagree, or the model is no decoder.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where = resolve_device(device)
    layout = read_layout(Path(path))
    trust: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    with _quiet():
        try:
            config = transformers.AutoConfig.from_pretrained(layout.path, **trust)
            tokenizer = transformers.AutoTokenizer.from_pretrained(layout.path, **trust)
        except Exception as error:  # any class of error: remote code, unknown model types, broken tokenizer files
            raise CriticProbeError(f"{layout.path}: {_one_line(error)}") from error
        text_config = config.get_text_config()
        if getattr(config, "is_encoder_decoder", False):
            raise CriticProbeError(
                f"{layout.path}: {config.model_type} is an encoder-decoder; give a decoder-only critic"
            )
        head = read_head(layout, text_config.hidden_size)
        backbone = _load_backbone(layout, head, _dtype(dtype, where), trust)
    backbone.eval().requires_grad_(False).to(where)
    critic = Critic(
        name=name or layout.path.resolve().name,
        path=layout.path,
        backbone=backbone,
        head=head,
        tokenizer=tokenizer,
        device=where,
        dtype=next(backbone.parameters()).dtype,
        context_length=getattr(text_config, "max_position_embeddings", None),
        vocabulary=backbone.get_input_embeddings().weight.shape[0],
        eos_ids=_eos_ids(layout.path, tokenizer, text_config),
        fingerprint=fingerprint(layout),
        tokenizer_hash=tokenizer_hash(layout.path),
        training=_training(layout.path),
    )
    _require_causal(critic)
    return critic


def resolve_device(name: str) -> torch.device:
    """The torch device of a `--device` value; `auto` is a GPU where there is one, else the CPU.

    Raises:
        CriticProbeError: The name is unknown or the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise CriticProbeError(f"--device '{name}' is unknown; choose from auto, cpu, cuda, cuda:N, mps")
    device = torch.device(name)
    missing_cuda = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if missing_cuda or (device.type == "mps" and not torch.backends.mps.is_available()):
        raise CriticProbeError(
            f"--device {name} is not available ({torch.cuda.device_count()} CUDA devices found); use --device cpu"
        )
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype | str:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in DTYPES:
        raise CriticProbeError(f"--dtype '{name}' is unknown; choose from auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def _load_backbone(layout: Layout, head: Head, dtype: torch.dtype | str, trust: dict[str, Any]) -> Any:
    from transformers import AutoModel

    try:
        # Mismatches are let through here only to be listed and refused below.
        backbone, info = AutoModel.from_pretrained(
            layout.path,
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
            **trust,
        )
    except Exception as error:  # transformers raises every class of error here; each means that the critic did not load
        raise CriticProbeError(f"{layout.path}: transformers cannot load the backbone: {_one_line(error)}") from error
    mismatched = [str(item[0] if isinstance(item, tuple) else item) for item in info["mismatched_keys"]]
    spare = re.compile(r"(^|\.)(lm_head|embed_out|output_layer)\.")
    unexpected = [
        key
        for key in info["unexpected_keys"]
        if key not in head_keys(head) and not spare.search(key) and not _STALE_BUFFER.search(key)
    ]
    for keys, what in (
        (mismatched, "have another shape than config.json asks for"),
        (list(info["missing_keys"]), "are in the config's model but not in the weights"),
        (unexpected, "are in the weights but not in the config's model"),
    ):
        if keys:
            listed = ", ".join(sorted(keys)[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
            raise CriticProbeError(
                f"{layout.path}: config and weights disagree: {len(keys)} tensors {what} ({listed}); "
                "give the config.json that belongs to these weights"
            )
    return backbone


def _require_causal(critic: Critic) -> None:
    """Refuses a model in which a later token moves an earlier value: it is an encoder, or its mask is broken."""
    ids = [i % critic.vocabulary for i in range(1, 9)]
    changed = [*ids[:-1], (ids[-1] + 1) % critic.vocabulary]
    try:
        a, b = critic.values(ids), critic.values(changed)
    except TypeError as error:  # an encoder that knows no key-value cache
        raise CriticProbeError(
            f"{critic.path}: not a decoder-only critic ({_one_line(error)}); "
            "give a causal language model with a scalar head"
        ) from error
    if not torch.isfinite(a).all():
        raise CriticProbeError(
            f"{critic.path}: values are NaN or infinite in {critic.dtype}; try --dtype float32, "
            "else the weights are damaged"
        )
    drift = (a[:-1] - b[:-1]).abs().max().item()
    if drift > 64 * torch.finfo(critic.dtype).eps * max(1.0, a.abs().max().item()):
        raise CriticProbeError(
            f"{critic.path}: not a decoder-only critic: changing the last token moves earlier values by {drift:.2g}; "
            "give a causal language model with a scalar head"
        )


def _eos_ids(path: Path, tokenizer: Any, config: Any) -> frozenset[int]:
    found = [tokenizer.eos_token_id, getattr(config, "eos_token_id", None)]
    generation = path / "generation_config.json"
    if generation.exists():
        found.append(read_json(generation, "generation settings").get("eos_token_id"))
    ids: set[int] = set()
    for item in found:
        ids.update(item if isinstance(item, list) else [] if item is None else [item])
    return frozenset(ids)


def _training(path: Path) -> dict[str, Any]:
    file = path / "critic_probe.json"
    return read_json(file, "how the critic was trained") if file.exists() else {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers while it loads: its load report calls a head that we read ourselves unexpected."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
