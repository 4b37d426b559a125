"""Every decoder-only architecture of transformers, tiny and random, against its own class: is a value silently wrong?

    python benchmarks/architectures.py [--blocks] [NAME ...]

Each is scored by the default engine on texts that are longer than every window, chunk and original context of its
config, mixed with shorter ones. The right values are those of a forward pass of transformers' own class over one
sequence at a time, freshly loaded, under eager and under scaled dot-product attention. With --blocks our plain pass
takes a few queries at a time, as it does on long texts. Prints one line a variant; the exit code is 1 where a value is
wrong.
"""

import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from critic_probe.checkpoint import blocks, load_critic
from critic_probe.encoding import Group
from critic_probe.errors import CriticProbeError
from critic_probe.scoring.engine import Engine

MOST = 20_000_000  # parameters of a config that counts as tiny
WINDOW, ORIGINAL = 8, 32  # tokens; the texts have up to 90
TINY: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "d_model": 32,
    "word_embed_proj_dim": 32,
    "embedding_size": 32,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "ffn_hidden_size": 64,
    "decoder_ffn_dim": 64,
    "num_hidden_layers": 4,
    "num_layers": 4,
    "decoder_layers": 2,
    "num_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "max_position_embeddings": 512,
    "original_max_position_embeddings": ORIGINAL,
    "initializer_range": 0.3,
    "init_std": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 258,
    "sliding_window": WINDOW,
    "window_size": WINDOW,
    "attention_window_size": WINDOW,
    "attention_chunk_size": WINDOW,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_k": 2,
    "moe_topk": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
    "expert_ffn_hidden_size": 32,
    "intermediate_size_mlp": 64,
    "shared_expert_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_ssm": 64,
    "mamba_d_state": 8,
    "state_size": 8,
    "lru_width": 32,
    "dt_rank": 4,
    "time_step_rank": 4,
    "query_pre_attn_scalar": 8,
    "index_head_dim": 8,
    "index_n_heads": 2,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 259,
    "dropout": 0.0,
}
LATENT = {"num_key_value_heads": 4}  # every head has keys of its own where they come out of a latent
FAMILIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note_text"), LATENT),
    **dict.fromkeys(("glm4_moe_lite", "glm_moe_dsa", "longcat_flash", "minicpm3", "youtu"), LATENT),
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "altup_num_inputs": 2,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0] * 4,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
    },
    "gemma4_text": {"num_kv_shared_layers": 0},
    "gemma4_unified_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "mamba2": {"num_heads": 8},
    "zaya": {"num_experts_per_tok": 1},
}


class Result(NamedTuple):
    """One variant of one architecture.

    Attributes:
        name: transformers' model type, and what was changed.
        engine: `tree`, `reference`, or `refused`.
        why: The reason of a fallback or refusal.
        eager: The largest difference from the class under eager attention, per largest value.
        sdpa: The same under scaled dot-product attention; NaN where the class has none.
        wrong: Whether it agrees with neither.
    """

    name: str
    engine: str
    why: str
    eager: float
    sdpa: float
    wrong: bool


def configs(name: str) -> Iterator[tuple[str, Any]]:
    """The tiny configs of an architecture: as it comes, and with whatever depends on a length switched on."""
    cls = transformers.CONFIG_MAPPING[name]
    default = cls()
    known = default.to_dict()
    names = {key: cls.attribute_map.get(key, key) for key in TINY}
    tiny = {names[key]: value for key, value in TINY.items() if names[key] in known}
    tiny |= {key: None for key in ("layer_types", "mlp_layer_types", "layers_block_type") if key in known}
    tiny |= FAMILIES.get(name, {})
    for variant, changes in variants(known).items():
        yield f"{name}{variant}", lambda changes=changes: cls(**tiny | changes)


def variants(known: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What to change in a config, by the name of the variant."""
    found: dict[str, dict[str, Any]] = {"": {}}
    if "use_sliding_window" in known:
        found[", window"] = {"use_sliding_window": True, "max_window_layers": 1}
    if "rope_parameters" in known:
        rotary = {"rope_theta": 10000.0, "factor": 4.0}
        factors = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "original_max_position_embeddings": ORIGINAL}
        scales = {"short_mscale": 1.0, "long_mscale": 1.3}
        found[", longrope"] = {"rope_parameters": rotary | factors | scales | {"rope_type": "longrope"}}
        found[", dynamic"] = {
            "rope_parameters": rotary | {"rope_type": "dynamic"},
            "max_position_embeddings": ORIGINAL,
        }
        yarn = {"rope_type": "yarn", "original_max_position_embeddings": ORIGINAL}
        found[", yarn"] = {"rope_parameters": rotary | yarn}
        nested = {kind: part for kind, part in (known["rope_parameters"] or {}).items() if isinstance(part, dict)}
        for changes in found.values():  # some have frequencies for each type of layer
            if nested and "rope_parameters" in changes:
                changes["rope_parameters"] = {kind: part | changes["rope_parameters"] for kind, part in nested.items()}
    return found


def groups(seed: int = 0) -> list[Group]:
    """Short and long texts side by side, so that one row of the tree holds both."""
    draw = random.Random(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(2, 256) for _ in range(length))

    prompt = ids(6)
    return [Group(prompt, (ids(4), ids(84))), Group(prompt + ids(3), (ids(20), ids(50), ids(2)))]


def save(config: Any, target: Path) -> None:
    """A random backbone with a head, and a tokenizer that the loader wants but nothing uses."""
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    config.num_labels = 1
    with torch.device("meta"):
        size = sum(p.numel() for p in transformers.AutoModel.from_config(config).parameters())
    if size > MOST:
        raise ValueError(f"{size / 1e6:.0f} million parameters are left: its sizes have names of their own")
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(target)
    file = target / "model.safetensors"
    size = config.get_text_config().hidden_size
    head = torch.randn(1, size) / size**0.5
    save_file(load_file(file) | {"score.weight": head}, file, {"format": "pt"})
    words = {chr(256 + i): i for i in range(259)}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab=words, merges=[])), eos_token=words and chr(256 + 258)
    ).save_pretrained(target)


def plain(path: Path, attention: str, sequences: list[tuple[int, ...]]) -> list[torch.Tensor]:
    """The class's own values of each sequence, from a model that has seen no other."""
    head = load_file(path / "model.safetensors")["score.weight"]
    values = []
    for sequence in sequences:
        model = transformers.AutoModel.from_pretrained(path, attn_implementation=attention).eval().float()
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([sequence]), use_cache=False).last_hidden_state
        values.append((hidden[0] @ head.T)[:, 0])
    return values


def compare(name: str, config: Any, target: Path) -> Result:
    """Scores one variant by the default engine and by its own class."""
    save(config, target)
    texts = groups()
    sequences = [sequence for group in texts for sequence in group.sequences]
    try:
        critic = load_critic(target, device="cpu", dtype="float32")
        engine = Engine(critic)
        ours = [v for of_group in engine.values(texts) for v in of_group]
    except CriticProbeError as error:
        told = str(error).replace(f"{target}: ", "").replace(str(target), "")
        return Result(name, "refused", told[:140], torch.nan, torch.nan, False)
    firsts = [len(group.prompt_ids) - 1 for group in texts for _ in group.responses]
    errors = []
    for attention in ("eager", "sdpa"):
        try:
            theirs = [v[first:] for v, first in zip(plain(target, attention, sequences), firsts, strict=True)]
        except ValueError:  # the class has no such attention
            errors.append(torch.nan)
            continue
        scale = max(1.0, *(float(v.abs().max()) for v in theirs))
        errors.append(max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) / scale)
    wrong = not any(error <= 2e-5 for error in errors)
    return Result(name, engine.name, "; ".join(engine.notices).rpartition(": ")[2][:100], *errors, wrong)


def sweep(names: list[str]) -> Iterator[Result]:
    """All variants of the architectures named; one that cannot be made tiny is told and counts as nothing."""
    for name in names:
        try:
            found = list(configs(name))
        except Exception as error:
            yield Result(name, "not built", " ".join(str(error).split())[:100], torch.nan, torch.nan, False)
            continue
        for variant, make in found:
            with tempfile.TemporaryDirectory() as target:
                try:
                    yield compare(variant, make(), Path(target))
                except Exception as error:
                    told = f"{type(error).__name__}: {' '.join(str(error).split())}"[:100]
                    yield Result(variant, "not built", told, torch.nan, torch.nan, False)


def main() -> int:
    """Prints the table."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}\n")
    print("| architecture | engine | eager | sdpa | |\n|---|---|---|---|---|")
    wrong = 0
    names = [name for name in sys.argv[1:] if name != "--blocks"]
    if names != sys.argv[1:]:
        blocks.AT_ONCE, blocks._BLOCK = 0, 1 << 13
    for result in sweep(names or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)):
        wrong += result.wrong
        mark = "WRONG " if result.wrong else ""
        print(
            f"| {result.name} | {result.engine} | {result.eager:.1e} | {result.sdpa:.1e} | {mark}{result.why} |",
            flush=True,
        )
    print(f"\n{wrong} silently wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
