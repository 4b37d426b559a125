"""How long a critic takes to load straight to the device, and what host memory it needs on the way."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.critics import random_model, release, save, shape
from benchmarks.gpu.right import Record, Step, ran

CHILD = """
import json, re, sys, threading, time
import torch
from critic_probe.checkpoint import load_critic

def now(name):
    return int(re.search(name + r":\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024

path, device, device_map, warm = sys.argv[1:]
load_critic(warm, device=device, dtype="bfloat16")
before, most, done = now("RssAnon"), [0], threading.Event()
def watch():
    while not done.wait(0.01):
        most[0] = max(most[0], now("RssAnon"))
threading.Thread(target=watch, daemon=True).start()
begun = time.perf_counter()
critic = load_critic(path, device=device, dtype="bfloat16", device_map=device_map or None)
if critic.device.type == "cuda":
    torch.cuda.synchronize()
taken = time.perf_counter() - begun
done.set()
size = sum(p.numel() * p.element_size() for p in critic.backbone.parameters())
print(json.dumps({"seconds": taken, "weights, bytes": size, "host memory, bytes": max(0, most[0] - before),
                  "with mapped files, bytes": now("VmHWM"), "device": str(critic.device), "dtype": str(critic.dtype)}))
"""


def steps(device: torch.device, tiny: bool) -> Iterator[Step]:
    """One directory of Qwen3 8B, loaded with `--device` and with `--device-map auto`."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        yield "Qwen3 8B is written in bfloat16", lambda: written(target, device, tiny)
        if not (target / "large" / "config.json").exists():
            return
        yield "Qwen3 8B, --device", lambda: loaded(target, device, "")
        yield "Qwen3 8B, --device-map auto", lambda: loaded(target, device, "auto")


def written(target: Path, device: torch.device, tiny: bool) -> Record:
    """Writes it where the disk has room."""
    free = shutil.disk_usage(target).free
    if not tiny and free < 24e9:
        return {"not measured": f"{free / 1e9:.0f} GB of disk are free, 24 are needed"}
    save(random_model(shape("Qwen3 8B", tiny=True), device, torch.bfloat16), target / "small")
    save(random_model(shape("Qwen3 8B", tiny=tiny), device, torch.bfloat16), target / "large")
    release(device)
    return {"bytes": sum(file.stat().st_size for file in (target / "large").iterdir())}


def loaded(target: Path, device: torch.device, device_map: str) -> Record:
    """In a process of its own, after a small critic has brought in the code."""
    done = ran("-c", CHILD, str(target / "large"), str(device), device_map, str(target / "small"))
    if done.returncode:
        return {"wrong": [done.stderr[-2000:]]}
    found: Record = json.loads(done.stdout.splitlines()[-1])
    found["host memory over weights"] = found["host memory, bytes"] / found["weights, bytes"]
    return found
