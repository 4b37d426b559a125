"""Tiny random critics of many architectures, split over the processes of a torchrun, against one process.

    torchrun --nproc-per-node 2 -m benchmarks.tensor_parallel [NAME ...]

Prints how far the values of one text lie apart, or why a critic is not split. It exits with 1 where they lie further
apart than two ways to compute them may.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import torch.distributed as dist
import transformers

from benchmarks.architectures import configs, save
from critic_probe import tolerance
from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError

NAMES = """
cohere cohere2 deepseek_v3 falcon gemma gemma2 gemma3_text glm4 glm4_moe gpt2 gpt_neox gpt_oss granite llama
llama4_text mamba mistral mixtral olmo2 olmo3 phi phi3 qwen2 qwen3 qwen3_moe qwen3_next smollm3 stablelm starcoder2
"""
IDS = range(3, 60)


def compared(name: str, folder: Path) -> tuple[str, bool]:
    """What to print of an architecture, and whether its values are wrong."""
    path = folder / name
    if dist.get_rank() == 0:
        _, config = next(configs(name))
        save(config(), path)
    dist.barrier()
    try:
        values = load_critic(path, ranks=dist.get_world_size()).values(IDS)
    except CriticProbeError as error:
        return str(error).removeprefix(f"{path}: "), False
    right = load_critic(path).values(IDS)
    apart, largest = float((values - right).abs().max()), float(right.abs().max())
    return f"{apart:.1e} of {largest:.1f}", apart > tolerance.of_ways("float32", largest)


def main() -> None:
    """Prints the table."""
    dist.init_process_group("gloo")
    transformers.logging.set_verbosity_error()
    folder = [tempfile.mkdtemp()]
    dist.broadcast_object_list(folder)
    any_wrong = False
    for name in sys.argv[1:] or NAMES.split():
        line, is_wrong = compared(name, Path(folder[0]))
        any_wrong |= is_wrong
        if dist.get_rank() == 0:
            print(f"| {name} | {line} |", flush=True)
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(folder[0])
    sys.exit(any_wrong)


if __name__ == "__main__":
    main()
