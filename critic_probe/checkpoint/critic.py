"""A loaded critic: backbone, head and tokenizer, ready to give one value per token.

Loading stands beside what is loaded, in one file longer than others: what a critic may be is what loading lets through.
"""

import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from critic_probe import tolerance
from critic_probe.checkpoint.blocks import in_blocks
from critic_probe.checkpoint.finite import first_not_finite
from critic_probe.checkpoint.head import NORMALIZER, Head, has_head, read_head, state_width
from critic_probe.checkpoint.layout import Layout, fingerprint, read_json, read_layout, tokenizer_hash, vectors_hash
from critic_probe.checkpoint.quantised import NO_NUMBERS
from critic_probe.checkpoint.stored import OUTPUT_LAYER
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.text import listed

Answer = TypeVar("Answer")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Buffers that older transformers versions saved and newer ones compute; they carry nothing that was trained.
_STALE_BUFFER = re.compile(r"(rotary_emb\.inv_freq|attn\.bias|masked_bias|attention\.bias)$")
_EMBEDDING = re.compile(r"(embed_tokens|wte|word_embeddings|embed_in)\.weight$")


class _Generation(TypedDict, total=False):
    """What is read of a `generation_config.json`."""

    eos_token_id: int | list[int] | None


class _Tokenizer(TypedDict, total=False):
    """What is read of a `tokenizer_config.json` beside what transformers reads, which does not look."""

    model_max_length: float | None


class Training(TypedDict, total=False):
    """What is read of the `critic_probe.json` that `warmup` writes."""

    aggregation: str
    ends_as: str
    eos: str
    value_position: str
    max_trained_tokens: int


@dataclass(frozen=True)
class Critic:
    """A decoder-only transformer with a scalar head, in eval mode and without gradients.

    Attributes:
        name: A short name that is unique within a run.
        layout: What its directory holds.
        backbone: The transformer without any head.
        head: The value head, as stored.
        tokenizer: The directory's tokenizer.
        device: Where ids go in.
        dtype: The dtype that it computes in.
        context_length: `max_position_embeddings`, or None where the architecture has no limit.
        vocabulary: Rows of the embedding; every id must be below it.
        eos_ids: The ids that end a response: the tokenizer's and those of the configs.
        fingerprint: Tells this checkpoint from every other.
        tokenizer_hash: Tells its tokenizer files from every other.
        training: The contents of `critic_probe.json`, empty where there is none.
        loading: The options that it was loaded with.
        vectors: Tells norms and biases from others where the fingerprint, of a large checkpoint, may not.
    """

    name: str
    layout: Layout
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
    loading: dict[str, Any]
    vectors: str

    @torch.inference_mode()
    def values(self, ids: Sequence[int]) -> Tensor:
        """The value (T,) at every token of one sequence (T,), in fp32 on the CPU."""
        return self.batch_values(torch.tensor([ids], dtype=torch.long))[0]

    @torch.inference_mode()
    def batch_values(self, ids: Tensor, **inputs: Any) -> Tensor:
        """The values (B, T) of rows of ids (B, T), in fp32 on the CPU, normalised where the framework normalises.

        Args:
            ids: Rows of token ids.
            inputs: What else the backbone takes, such as `attention_mask` or `position_ids`.
        """
        return self.with_states(ids, **inputs)[0]

    @torch.inference_mode()
    def with_states(self, ids: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
        """As `batch_values`, and beside them the states (B, T, H) that the head is given, on the critic's device."""
        inputs = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
        if self.steady_length is not None:
            _forget_lengths(self.backbone)
        with in_blocks(self.backbone, *ids.shape):
            hidden = self.backbone(input_ids=ids.to(self.device), use_cache=False, **inputs).last_hidden_state
        values = self.head.values(hidden).cpu()  # after the final norm
        if self.head.normalisation is None:
            return values, hidden
        mean, std = self.head.normalisation
        return (values - mean) / std, hidden

    @torch.inference_mode()
    def why_not_finite(self, ids: Sequence[int]) -> str:
        """Where a value of one sequence that is NaN or infinite arises, and whether float32 has it finite."""
        row = torch.tensor([ids], dtype=torch.long, device=self.device)
        if self.loading.get("ranks", 1) > 1:  # where a part of a layer is not finite is known to one process alone
            return f"in {_name(self.dtype)}; score it in one process to be told where that begins"
        where = f"in {_name(self.dtype)}, first in {first_not_finite(self.backbone, row) or 'the head'}"
        if self.dtype == torch.float32:
            return f"{where}; the training diverged or the weights are damaged, use an earlier checkpoint"
        if bool(self.in_float32().values(ids).isfinite().all()):
            overflow = " (float16 overflows above 65,504)" if self.dtype == torch.float16 else ""
            return f"{where}, where float32 is finite{overflow}; use {parameter('dtype', 'float32')} or bfloat16"
        return f"{where}, and in float32 too; the training diverged or the weights are damaged"

    def in_float32(self) -> "Critic":
        """The same critic, loaded once more, computing in float32; on the CPU where its GPU has no room beside this."""
        changes: dict[str, Any] = {"dtype": "float32"}
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            if 1.2 * 4 * sum(p.numel() for p in self.backbone.parameters()) > free:
                changes |= {"device": "cpu", "device_map": None}
        return load_critic(self.layout.path, name=self.name, **self.loading | changes)

    def where_loaded(self, does: Callable[..., Answer], *given: Any) -> Answer:
        """What a function of a critic comes to in the process that holds its backbone."""
        return does(self, *given)

    @property
    def steady_length(self) -> int | None:
        """Above it the rotary frequencies follow the longest position of a batch (LongRoPE, dynamic NTK); else None."""
        config: Any = self.backbone.config.get_text_config()  # type: ignore[operator, union-attr]
        settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
        nested = [part for part in settings.values() if isinstance(part, dict)]  # one per type of layer
        for part in (settings, *nested):
            if part.get("rope_type", part.get("type")) in ("longrope", "dynamic"):
                original = part.get("original_max_position_embeddings")
                return int(
                    original or getattr(config, "original_max_position_embeddings", 0) or self.context_length or 0
                )
        return None

    @property
    def attention(self) -> str:
        """The attention implementation that transformers chose."""
        return str(getattr(self.backbone.config, "_attn_implementation", "unknown"))


def load_critic(
    path: str | Path,
    *,
    name: str | None = None,
    base: str | Path | None = None,
    step: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    device_map: str | None = None,
    trust_remote_code: bool = False,
    head_row: str | None = None,
    layout: Layout | None = None,
    ranks: int = 1,
) -> Critic:
    """Loads a critic from whatever its training framework wrote; `docs/checkpoints.md` lists the formats.

    Args:
        path: The directory; nothing is ever downloaded.
        name: How results call the critic; the directory's name by default.
        base: For an adapter, the directory of the model under it.
        step: The step to read from a run's directory; the newest by default.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        dtype: `auto` (the checkpoint's on a GPU, float32 on a CPU), `float32`, `bfloat16` or `float16`.
        device_map: `auto` spreads the backbone over all GPUs (with accelerate), in place of `device`.
        trust_remote_code: Whether code in the directory may run.
        head_row: Of a head with several rows the one to read, `N`, or `N-M` for the difference of two (of labels 1 and
            0, the log-odds); without any head, a row of the output layer.
        layout: What `read_layout` says of the path, where it was asked already.
        ranks: The processes of torch.distributed that hold a part of the backbone each; all of them must call this, and
            whatever computes values, together.

    Raises:
        CriticProbeError: There is no head, config and weights disagree, or the model is no decoder.
    """
    if ranks > 1 and (device, device_map) != ("auto", None):
        raise CriticProbeError(
            f"each of {ranks} processes has a device of its own; leave {parameter('device')} and "
            f"{parameter('device_map')} out"
        )
    where = resolve_device(device)
    critic = without_backbone(
        path,
        name=name,
        base=base,
        step=step,
        trust_remote_code=trust_remote_code,
        head_row=head_row,
        layout=layout,
    )
    layout, config = critic.layout, critic.backbone.config
    of_head = {name for layer in critic.head.layers for name in layer}
    with _quiet():
        backbone = _load_backbone(
            layout, of_head, config, _dtype(dtype, where, layout), device_map, trust_remote_code, ranks
        )
    backbone.eval().requires_grad_(False)
    if device_map is None and ranks == 1:
        backbone.to(where)
    embedding = backbone.get_input_embeddings().weight
    critic = replace(
        critic,
        backbone=backbone,
        device=embedding.device,
        dtype=embedding.dtype,
        vocabulary=embedding.shape[0],
        loading=critic.loading | {"device": device, "dtype": dtype, "device_map": device_map, "ranks": ranks},
    )
    _require_causal(critic)
    return critic


class Absent(nn.Module):
    """Stands where a backbone is not loaded: its config, and no weights."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


def without_backbone(
    path: str | Path,
    *,
    name: str | None = None,
    base: str | Path | None = None,
    step: int | None = None,
    trust_remote_code: bool = False,
    head_row: str | None = None,
    layout: Layout | None = None,
) -> Critic:
    """Reads all of a critic but its backbone, so that it can be asked for everything but values; see `load_critic`.

    Raises:
        CriticProbeError: There is no head, or a file is missing or broken.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    layout = layout or read_layout(path, base=base, step=step)
    with _quiet():
        config, tokenizer = read_config(layout, trust_remote_code), read_tokenizer(layout, trust_remote_code)
        text_config = config.get_text_config()
        rows = embedding_rows(layout)
        if layout.format == "peft-adapter" and rows is not None:  # an adapter may bring a longer embedding
            text_config.vocab_size = rows
        head = read_head(layout, state_width(text_config), head_row)
    return Critic(
        name=name or layout.path.resolve().name,
        layout=layout,
        backbone=Absent(config),
        head=head,
        tokenizer=tokenizer,
        device=torch.device("meta"),
        dtype=stored_dtype(layout),
        context_length=getattr(text_config, "max_position_embeddings", None),
        vocabulary=text_config.vocab_size,
        eos_ids=eos_ids(layout, tokenizer, text_config),
        fingerprint=fingerprint(layout),
        tokenizer_hash=tokenizer_hash(layout.home),
        training=_training(layout.path),
        loading={"base": base, "trust_remote_code": trust_remote_code, "head_row": head_row},
        vectors=vectors_hash(layout),
    )


@dataclass(frozen=True)
class Start:
    """What a critic's training starts from.

    Attributes:
        layout: What the directory holds.
        config: Its transformers config.
        backbone: The transformer without any head, in fp32 on the CPU, its parameters trainable.
        head: The directory's value head; None where it is a language model, which has none yet.
        tokenizer: The directory's tokenizer.
        eos_ids: The ids that end a response.
    """

    layout: Layout
    config: Any
    backbone: nn.Module
    head: Head | None
    tokenizer: Any
    eos_ids: frozenset[int]


def load_start(path: Path, *, base: Path | None = None) -> Start:
    """Loads a language model, or a critic of any format, to train a critic from it.

    Raises:
        CriticProbeError: Config and weights disagree, or a head is there but is not one value a token.
    """
    layout = read_layout(path, base=base)
    with _quiet():
        config, tokenizer = read_config(layout), read_tokenizer(layout)
        text_config = config.get_text_config()
        head = read_head(layout, state_width(text_config)) if has_head(layout) else None
        of_head = {name for layer in head.layers for name in layer} if head else set()
        backbone = _load_backbone(layout, of_head, config, torch.float32, None, False)
    return Start(layout, config, backbone, head, tokenizer, eos_ids(layout, tokenizer, text_config))


def read_config(layout: Layout, trust_remote_code: bool = False) -> Any:
    """The transformers config of a checkpoint.

    Raises:
        CriticProbeError: transformers does not know the model, or it is an encoder-decoder.
    """
    from transformers import AutoConfig

    _require_trust(layout, trust_remote_code)
    try:
        config = AutoConfig.from_pretrained(
            layout.config_file.parent, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # any class of error: remote code, unknown model types, broken files
        raise CriticProbeError(f"{layout.config_file.parent}: {_one_line(error)}") from error
    if getattr(config, "is_encoder_decoder", False):
        raise CriticProbeError(
            f"{layout.config_file.parent}: {config.model_type} is an encoder-decoder; give a decoder-only critic"
        )
    return config


def _require_trust(layout: Layout, trust_remote_code: bool) -> None:
    from transformers import CONFIG_MAPPING

    if layout.config.get("model_type") not in CONFIG_MAPPING and "auto_map" in layout.config and not trust_remote_code:
        raise CriticProbeError(
            f"{layout.config_file.parent}: its model is code in the directory itself ({layout.config['auto_map']}); "
            f"read that code, then give {parameter('trust_remote_code', True)}"
        )


def read_tokenizer(layout: Layout, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        CriticProbeError: Its files are broken, or its class is not known.
    """
    from transformers import AutoTokenizer

    if (settings := layout.home / "tokenizer_config.json").exists():
        read_json(settings, "the tokenizer's settings", _Tokenizer)
    try:
        return AutoTokenizer.from_pretrained(layout.home, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # as above
        raise CriticProbeError(f"{layout.home}: {_one_line(error)}") from error


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
        raise CriticProbeError(f"{parameter('device')} '{name}' is unknown; choose from auto, cpu, cuda, cuda:N, mps")
    device = torch.device(name)
    missing_cuda = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if missing_cuda or (device.type == "mps" and not torch.backends.mps.is_available()):
        raise CriticProbeError(
            f"{parameter('device', name)} is not available ({torch.cuda.device_count()} CUDA devices found); use "
            f"{parameter('device', 'cpu')}"
        )
    return device


def _dtype(name: str, device: torch.device, layout: Layout) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else stored_dtype(layout)
    if name not in DTYPES:
        raise CriticProbeError(f"{parameter('dtype')} '{name}' is unknown; choose from auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def stored_dtype(layout: Layout) -> torch.dtype:
    """The dtype that most of a checkpoint's floating tensors are stored in."""
    dtypes = [stored.dtype for stored in layout.tensors.values() if stored.dtype.is_floating_point]
    return max(set(dtypes), key=dtypes.count)


def _load_backbone(
    layout: Layout,
    of_head: Collection[str | None],
    config: Any,
    dtype: torch.dtype,
    device_map: str | None,
    trust_remote_code: bool,
    ranks: int = 1,
) -> Any:
    import transformers

    config = copy(config)
    for part in (config, config.get_text_config()):
        if hasattr(part, "quantization_config"):  # the weights are plain by now, whatever they were
            del part.quantization_config
    lazy = int(transformers.__version__.partition(".")[0]) >= 5  # older versions want tensors at once
    try:
        with torch.device("meta"):
            skeleton = transformers.AutoModel.from_config(  # type: ignore[no-untyped-call]
                config, trust_remote_code=trust_remote_code
            )
        # Mismatches are let through here only to be listed and refused below.
        kind = type(skeleton.base_model)
        split = _split(layout, skeleton, ranks) if ranks > 1 else {}
        kept = {*(kind._keep_in_fp32_modules or ()), *(kind._keep_in_fp32_modules_strict or ())}
        # Gemma 3 before transformers 5 does not say the prefix under which a model with a head keeps its backbone.
        unsaid = "" if kind.base_model_prefix else "model."
        _refuse_misnamed(layout, skeleton, kind.base_model_prefix or "model")
        state = {
            name.removeprefix(unsaid): stored if kept.intersection(name.split(".")) else stored.to(dtype)
            for name, stored in layout.tensors.items()
            if name not in of_head and not OUTPUT_LAYER.search(name) and not name.startswith(NORMALIZER)
        }
        with _tensor_by_tensor():
            backbone, info = kind.from_pretrained(
                None,
                config=config,
                state_dict=state if lazy else {name: stored.read() for name, stored in state.items()},
                dtype=dtype,
                device_map=device_map,
                attn_implementation=_attention(config),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **split,
            )
    except CriticProbeError:
        raise
    except Exception as error:  # transformers raises every class of error here; each means that the critic did not load
        raise CriticProbeError(f"{layout.path}: transformers cannot load the backbone: {_one_line(error)}") from error
    mismatched = [str(item[0] if isinstance(item, tuple) else item) for item in info["mismatched_keys"]]
    unexpected = [key for key in info["unexpected_keys"] if not _STALE_BUFFER.search(key)]
    rows, said = embedding_rows(layout), config.get_text_config().vocab_size
    if rows not in (None, said) and len(mismatched) == 1 and _EMBEDDING.search(mismatched[0]):
        raise CriticProbeError(
            f"{layout.path}: its embedding has {rows} rows, config.json says vocab_size {said}; set it to {rows} in "
            f"{layout.config_file}"
        )
    for keys, what in (
        (mismatched, "have another shape than config.json asks for"),
        (list(info["missing_keys"]), "are in the config's model but not in the weights"),
        (unexpected, "are in the weights but not in the config's model"),
    ):
        if keys:
            raise CriticProbeError(
                f"{layout.path}: config and weights disagree: {len(keys)} tensors {what} ({listed(sorted(keys))}); "
                "give the config.json that belongs to these weights"
            )
    return backbone


def _refuse_misnamed(layout: Layout, skeleton: nn.Module, prefix: str) -> None:
    """Refuses two tensors that are one of the backbone's, with its prefix and without, and one that is no number."""
    own: dict[str, str] = {}
    parameters = dict(skeleton.named_parameters())
    for name, stored in layout.tensors.items():
        bare = name.removeprefix(f"{prefix}.")
        if bare not in parameters:
            continue
        if bare in own:
            raise CriticProbeError(
                f"{stored.file}: {name} is also there as {own[bare]}, and which of them counts is not known; save the "
                "checkpoint again"
            )
        own[bare] = name
        if not stored.dtype.is_floating_point:
            raise CriticProbeError(f"{stored.file}: {name} is stored as {_name(stored.dtype)}, {NO_NUMBERS}")


def _split(layout: Layout, skeleton: Any, ranks: int) -> dict[str, Any]:
    """What transformers is told so that each process holds a part of every layer.

    Raises:
        CriticProbeError: This version cannot, has no plan for the architecture, or the heads do not divide.
    """
    import transformers
    from transformers.distributed.configuration_utils import DistributedConfig

    config = skeleton.config.get_text_config()
    here = f"{layout.path}: transformers {transformers.__version__}"
    instead = f"use {parameter('device_map', 'auto')} in one process instead"
    if not {"tp_size", "tp_plan"} <= set(signature(DistributedConfig).parameters):
        raise CriticProbeError(f"{here} splits no layers of a model from tensors; take 5.17 or later, or {instead}")
    if not getattr(skeleton, "_tp_plan", None):
        raise CriticProbeError(f"{here} has no tensor-parallel plan for {config.model_type}; {instead}")
    heads = {name: getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads")}
    for name, count in heads.items():
        if isinstance(count, int) and count % ranks:
            raise CriticProbeError(
                f"{layout.path}: {count} {name} do not divide among {ranks} processes; start fewer, or {instead}"
            )
    return {"distributed_config": DistributedConfig(tp_size=ranks, tp_plan="auto")}


def _forget_lengths(backbone: nn.Module) -> None:
    """Undoes what a longer text left in dynamic rotary frequencies: no value may depend on what came before."""
    for module in backbone.modules():
        if hasattr(module, "max_seq_len_cached") and hasattr(module, "original_max_seq_len"):
            for name in [n for n in dir(module) if n.endswith("original_inv_freq")]:
                current = name.replace("original_inv_freq", "inv_freq")
                setattr(module, current, getattr(module, name).to(getattr(module, current).device, copy=True))
            for name in [n for n in dir(module) if n.endswith("max_seq_len_cached")]:
                setattr(module, name, module.original_max_seq_len)


def _attention(config: Any) -> str | None:
    """What to attend with where transformers chooses wrongly: its sdpa drops Gemma 2's softcap in several versions."""
    return "eager" if getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None else None


def embedding_rows(layout: Layout) -> int | None:
    """Rows of the embedding as stored; None where no tensor is named like one."""
    return next((stored.shape[0] for name, stored in layout.tensors.items() if _EMBEDDING.search(name)), None)


@contextmanager
def _tensor_by_tensor() -> Iterator[None]:
    """Keeps transformers from reading tensors ahead in threads, which would hold several at once."""
    variable = "HF_DEACTIVATE_ASYNC_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _require_causal(critic: Critic) -> None:
    """Refuses a model in which a later token moves an earlier value: it is an encoder, or its mask is broken."""
    ids = [i % critic.vocabulary for i in range(1, 9)]
    changed = [*ids[:-1], (ids[-1] + 1) % critic.vocabulary]
    try:
        a, b = critic.values(ids), critic.values(changed)
    except TypeError as error:
        if "unexpected keyword" not in str(error):  # an encoder knows no key-value cache
            raise CriticProbeError(
                f"{critic.layout.path}: the model does not run ({_one_line(error)}); its config lacks a setting, or "
                "holds one that this version of transformers does not take"
            ) from error
        raise CriticProbeError(
            f"{critic.layout.path}: not a decoder-only critic ({_one_line(error)}); "
            "give a causal language model with a scalar head",
            check="causal",
        ) from error
    if not torch.isfinite(a).all():
        raise CriticProbeError(f"{critic.layout.path}: values are NaN or infinite {critic.why_not_finite(ids)}")
    drift = (a[:-1] - b[:-1]).abs().max().item()
    if drift > tolerance.of_earlier_values(critic.dtype, a.abs().max().item()):
        raise CriticProbeError(
            f"{critic.layout.path}: not a decoder-only critic: changing the last token moves earlier values by "
            f"{drift:.2g}; give a causal language model with a scalar head",
            check="causal",
        )


def eos_ids(layout: Layout, tokenizer: Any, config: Any) -> frozenset[int]:
    """The ids that end a response: the tokenizer's, the config's and the generation config's."""
    given = [tokenizer.eos_token_id, getattr(config, "eos_token_id", None)]
    homes = dict.fromkeys((layout.home, layout.config_file.parent))
    for generation in [file for home in homes if (file := home / "generation_config.json").exists()]:
        given.append(read_json(generation, "generation settings", _Generation).get("eos_token_id"))
    ids: set[int] = set()
    for item in given:
        for eos in item if isinstance(item, list) else [] if item is None else [item]:
            if not isinstance(eos, int) or isinstance(eos, bool):
                raise CriticProbeError(f"{layout.config_file}: eos_token_id {eos!r:.40} is no id; give a whole number")
            ids.add(eos)
    return frozenset(ids)


def _training(path: Path) -> dict[str, Any]:
    file = path / "critic_probe.json"
    return dict(read_json(file, "how the critic was trained", Training)) if file.exists() else {}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
