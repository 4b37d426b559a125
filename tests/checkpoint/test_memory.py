import subprocess
import sys
from pathlib import Path

import pytest
import torch
from formats import merged_by_verl, verl_w1
from safetensors.torch import load_file

MEASURE = r"""
import re, sys
from pathlib import Path
import torch, scipy.stats
torch.set_num_threads(1)
from critic_probe.checkpoint import load_critic
peak = lambda: int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
load_critic(sys.argv[1], device="cpu")  # what loading brings in of code
before = peak()
backbone = load_critic(sys.argv[2], device="cpu", dtype=sys.argv[3]).backbone
print((peak() - before) / sum(p.numel() * p.element_size() for p in backbone.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("format", [merged_by_verl, verl_w1])
def test_loading_needs_little_more_memory_than_the_weights(make_critic, critic_dir, tmp_path, format, dtype):
    source = make_critic(hidden_size=768, intermediate_size=3072, num_hidden_layers=6)  # 190 MB in float32
    path: Path = format(source, tmp_path / "c")
    assert all(weight.dtype == torch.float32 for weight in load_file(source / "model.safetensors").values())
    command = [sys.executable, "-c", MEASURE, str(critic_dir), str(path), dtype]
    ratio = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0.9 < ratio < 1.3
