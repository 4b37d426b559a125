"""Saves a critic with verl's own checkpoint manager, once per placement. Usage: save_verl.py CRITIC TARGET."""

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from formats import SHARDED, sharded_model

MODES = SHARDED | {"one rank": 1, "fsdp1 one rank": 1}
ONE_RANK = {"one rank": "fsdp2", "fsdp1 one rank": "fsdp1"}


def run(rank: int, world: int, modes: list[str], source: str, target: str) -> None:
    """One rank."""
    import torch.distributed as dist
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer
    from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{target}/rendezvous-{world}", rank=rank, world_size=world)
    for mode in modes:
        model = sharded_model(ONE_RANK.get(mode, mode), world, Path(source))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        manager = FSDPCheckpointManager(
            model=model,
            optimizer=optimizer,
            lr_scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
            processing_class=AutoTokenizer.from_pretrained(source),
            checkpoint_config=OmegaConf.create({"save": ["model"], "load": ["model"]}),
        )
        manager.save_checkpoint(f"{target}/{mode}/global_step_20/critic", global_step=20)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    source, target = sys.argv[1:]
    for world in sorted(set(MODES.values())):
        modes = [mode for mode, size in MODES.items() if size == world]
        torch.multiprocessing.spawn(run, (world, modes, source, target), nprocs=world)
