"""Saves a critic with DeepSpeed ZeRO-2 and ZeRO-3 in two gloo processes. Usage: save_deepspeed.py CRITIC TARGET."""

import os
import sys

import torch


def run(rank: int, stage: int, source: str, target: str) -> None:
    """One rank."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "DS_ACCELERATOR": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29600 + stage)}
    torch.set_num_threads(1)
    import deepspeed
    import torch.distributed as dist
    from transformers import AutoModelForTokenClassification

    dist.init_process_group("gloo", init_method=f"file://{target}/rendezvous-{stage}", rank=rank, world_size=2)
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    model = AutoModelForTokenClassification.from_pretrained(source)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.0),
        config={
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": stage, "reduce_scatter": False},
            "zero_allow_untested_optimizer": True,
        },
    )
    engine.save_checkpoint(f"{target}/{stage}", tag="global_step7")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    source, target = sys.argv[1:]
    for stage in (2, 3):
        torch.multiprocessing.spawn(run, (stage, source, target), nprocs=2)
