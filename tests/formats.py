"""Checkpoints in every format that a critic comes in, made of one tiny critic so that all must give its values.

FSDP shards, distributed checkpoints and adapters are written by torch and PEFT themselves; the others have the files
and tensor names that their frameworks write.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]


def copy_of(source: Path, target: Path, weights: Weights | None = None, **config: object) -> Path:
    """A copy of a checkpoint with other weights and changed entries of its config; None removes one."""
    shutil.copytree(source, target)
    content = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    if weights is not None:
        save_file({k: v.contiguous() for k, v in weights.items()}, target / "model.safetensors", {"format": "pt"})
    return target


def with_head(source: Path, target: Path, head: Weights, *, prefix: str = "", **config: object) -> Path:
    """The same backbone under another head."""
    weights = load_file(source / "model.safetensors")
    weights = {prefix + k: v for k, v in weights.items() if not k.startswith("score.")}
    return copy_of(source, target, weights | head, **{"architectures": ["Qwen3ForCausalLM"], "id2label": None} | config)


def head_of(source: Path) -> tuple[torch.Tensor, torch.Tensor]:
    weights = load_file(source / "model.safetensors")
    return weights["score.weight"], weights["score.bias"]


def trl_v_head(source: Path, target: Path, prefix: str = "") -> Path:
    weight, bias = head_of(source)
    lm_head = torch.zeros(259, 32)
    head = {"v_head.summary.weight": weight, "v_head.summary.bias": bias, f"{prefix}lm_head.weight": lm_head}
    return with_head(source, target, head, prefix=prefix)


def value_head_file(source: Path, target: Path, name: str) -> Path:
    weight, bias = head_of(source)
    with_head(source, target, {"lm_head.weight": torch.zeros(259, 32)})
    head = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    if name.endswith(".bin"):
        torch.save(head, target / name)
    else:
        save_file(head, target / name)
    return target


def mlp_as_linear(weight: torch.Tensor, bias: torch.Tensor, name: str) -> Weights:
    """A two-layer head with a ReLU that computes the linear one: relu(x) - relu(-x) = x."""
    return {
        f"{name}.0.weight": torch.cat([weight, -weight]),
        f"{name}.0.bias": torch.cat([bias, -bias]),
        f"{name}.2.weight": torch.tensor([[1.0, -1.0]]),
        f"{name}.2.bias": torch.zeros(1),
    }


def merged_by_verl(source: Path, target: Path) -> Path:
    return copy_of(source, target, architectures=["Qwen3ForCausalLM"], summary_dropout_prob=0.0, hidden_dropout="0")


def pytorch_bin(source: Path, target: Path) -> Path:
    copy_of(source, target)
    torch.save(load_file(target / "model.safetensors"), target / "pytorch_model.bin")
    (target / "model.safetensors").unlink()
    return target


def zero2(source: Path, target: Path) -> Path:
    copy_of(source, target)
    state = {"module": load_file(target / "model.safetensors"), "param_shapes": [{"score.weight": torch.Size([1, 32])}]}
    (target / "global_step7").mkdir()
    torch.save(state, target / "global_step7" / "mp_rank_00_model_states.pt")
    (target / "latest").write_text("global_step7")
    (target / "model.safetensors").unlink()
    return target


def dcp(source: Path, target: Path) -> Path:
    import torch.distributed.checkpoint as checkpoint

    copy_of(source, target)
    state = load_file(target / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        checkpoint.save({"model": state, "optim": {"score.weight": torch.zeros(1, 32)}}, checkpoint_id=target)
    (target / "model.safetensors").unlink()
    return target


def verl_w1(source: Path, target: Path) -> Path:
    critic = target / "global_step_7" / "critic"
    merged_by_verl(source, critic / "huggingface")
    torch.save(load_file(source / "model.safetensors"), critic / "model_world_size_1_rank_0.pt")
    (critic / "huggingface" / "model.safetensors").unlink()
    return target


def peft_adapter(source: Path, target: Path) -> Path:
    """A LoRA adapter with its head, trained for no step but with factors that are not zero, over a causal LM."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForTokenClassification

    base = copy_of(source, target / "base")
    model = AutoModelForTokenClassification.from_pretrained(base)
    peft = get_peft_model(
        model,
        LoraConfig(
            task_type="TOKEN_CLS",
            r=4,
            lora_alpha=6,
            target_modules=["q_proj", "down_proj"],
            rank_pattern={"layers.1.self_attn.q_proj": 2},
            alpha_pattern={"layers.1.self_attn.q_proj": 5},
        ),
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2)
    peft.save_pretrained(target / "adapter")
    settings = json.loads((target / "adapter" / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "an/absent-model"
    (target / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    merged = peft.merge_and_unload().eval()
    merged.save_pretrained(target / "merged")
    for file in base.glob("tokenizer*"):
        shutil.copy(file, target / "merged")
    weights = load_file(base / "model.safetensors")
    weights = {k: v for k, v in weights.items() if not k.startswith("score.")} | {
        "lm_head.weight": torch.zeros(259, 32)
    }
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    return target


FORMATS: dict[str, Callable[[Path, Path], Path]] = {
    "transformers": copy_of,
    "pytorch_model.bin": pytorch_bin,
    "verl merged": merged_by_verl,
    "verl one rank": verl_w1,
    "TRL v_head": trl_v_head,
    "TRL v_head under ZeRO-3": lambda s, t: trl_v_head(s, t, "pretrained_model."),
    "LLaMA-Factory": lambda s, t: value_head_file(s, t, "value_head.safetensors"),
    "ROLL": lambda s, t: value_head_file(s, t, "value_head.bin"),
    "trlx": lambda s, t: with_head(s, t, mlp_as_linear(*head_of(s), "v_head")),
    "Qwen2.5-Math-RM": lambda s, t: with_head(s, t, mlp_as_linear(*head_of(s), "score")),
    "DeepSpeed ZeRO-2": zero2,
    "torch DCP": dcp,
}
"""Formats whose values are those of the critic they are made of, bias and all."""

UNBIASED: dict[str, Callable[[Path, Path], Path]] = {
    "OpenRLHF": lambda s, t: with_head(
        s, t, {"points.weight": head_of(s)[0]}, value_head_prefix="points", architectures=["RewardModel"]
    ),
    "InternLM2": lambda s, t: with_head(s, t, {"v_head.weight": head_of(s)[0]}),
    "UltraRM": lambda s, t: with_head(s, t, {"regression_head.weight": head_of(s)[0]}),
    "classification without bias": lambda s, t: with_head(s, t, {"score.weight": head_of(s)[0]}),
    "one-row lm_head": lambda s, t: with_head(s, t, {"lm_head.weight": head_of(s)[0]}),
}
"""Formats without a bias: their values lie below by it."""

SHARDED = {"fsdp2": 2, "fsdp2-placements": 2, "fsdp1": 2, "fsdp1-no-mesh": 2, "hsdp": 4}
"""What `save_shards` writes, with the world size."""


def save_shards(source: Path, target: Path) -> Path:
    """Writes `target/MODE/global_step_N/critic` for every mode, by that many real processes."""
    torch.multiprocessing.set_forkserver_preload(["torch.distributed.fsdp", "transformers.models.qwen3.modeling_qwen3"])
    for world in sorted(set(SHARDED.values())):
        modes = [mode for mode, size in SHARDED.items() if size == world]
        arguments = (world, modes, source, target)
        torch.multiprocessing.start_processes(_rank, arguments, nprocs=world, start_method="forkserver")
    for mode in SHARDED:
        critic = target / mode / "global_step_20" / "critic"
        merged_by_verl(source, critic / "huggingface")
        (critic / "huggingface" / "model.safetensors").unlink()
    return target


def _rank(rank: int, world: int, modes: list[str], source: Path, target: Path) -> None:
    import torch.distributed as dist

    warnings.simplefilter("ignore")
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{target}/rendezvous-{world}", rank=rank, world_size=world)
    for mode in modes:
        out = target / mode / "global_step_20" / "critic"
        out.mkdir(parents=True, exist_ok=True)
        torch.save(_sharded_state(mode, world, source), out / f"model_world_size_{world}_rank_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _sharded_state(mode: str, world: int, source: Path) -> dict[str, object]:
    from torch.distributed.fsdp import FullyShardedDataParallel, ShardedStateDictConfig, StateDictType

    model = sharded_model(mode, world, source)
    if not isinstance(model, FullyShardedDataParallel):
        return model.state_dict()
    sharded = ShardedStateDictConfig(offload_to_cpu=True)
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.SHARDED_STATE_DICT, sharded):
        return model.state_dict()


def sharded_model(mode: str, world: int, source: Path) -> torch.nn.Module:
    """The critic under FSDP, placed as a mode says."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        FullyShardedDataParallel,
        ShardingStrategy,
        fully_shard,
    )
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy
    from torch.distributed.tensor import Shard
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(source)
    rotary = model.model.rotary_emb
    rotary.register_buffer("inv_freq", rotary.inv_freq, persistent=True)  # replicated on every rank
    flat = init_device_mesh("cpu", (world,), mesh_dim_names=("fsdp",))
    if mode.startswith("fsdp2"):

        def first_even_dim(parameter: torch.Tensor) -> Shard:  # as verl's workers 0.6.1 to 0.7.1 place parameters
            even = [dim for dim in range(parameter.dim()) if parameter.shape[dim] % world == 0]
            return Shard(even[0] if even else 0)

        options = {"shard_placement_fn": first_even_dim} if mode == "fsdp2-placements" else {}
        for layer in model.model.layers:
            fully_shard(layer, mesh=flat, **options)
        fully_shard(model, mesh=flat, **options)
        return model
    grid = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("ddp", "fsdp")) if mode == "hsdp" else None
    return FullyShardedDataParallel(
        model,
        device_mesh=grid if mode == "hsdp" else flat if mode == "fsdp1" else None,
        auto_wrap_policy=ModuleWrapPolicy({type(model.model.layers[0])}),
        sharding_strategy=ShardingStrategy.HYBRID_SHARD if mode == "hsdp" else ShardingStrategy.FULL_SHARD,
        device_id=torch.device("cpu"),
    )
