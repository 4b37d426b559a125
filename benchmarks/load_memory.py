"""Peak memory of loading a critic over the size of its weights, per dtype. Usage: load_memory.py DIR [DIR ...].

Linux only: reads the process's high-water mark from /proc. Each measurement runs in a process of its own, after a first
load of the bundled critic has brought in the code.
"""

import re
import subprocess
import sys
from pathlib import Path


def peak() -> int:
    """The high-water mark of this process's resident memory, in bytes."""
    match = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


def measure(path: str, dtype: str) -> float:
    """Extra peak memory over weight bytes."""
    import scipy.stats  # noqa: F401
    import torch

    from critic_probe.checkpoint import load_critic

    torch.set_num_threads(1)
    load_critic(Path(__file__).parents[1] / "fixtures" / "critics" / "last", device="cpu")
    before = peak()
    backbone = load_critic(path, device="cpu", dtype=dtype).backbone
    return (peak() - before) / sum(p.numel() * p.element_size() for p in backbone.parameters())


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(f"{measure(sys.argv[2], sys.argv[3]):.2f}")
        sys.exit()
    for path in sys.argv[1:]:
        for dtype in ("float32", "bfloat16"):
            command = [sys.executable, __file__, "--one", path, dtype]
            ratio = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            print(f"{path} {dtype}: peak {ratio} times the weights")
