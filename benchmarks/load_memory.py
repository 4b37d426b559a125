"""Peak memory of loading a critic over the size of its weights, per dtype.

    python benchmarks/load_memory.py [--json FILE] DIR [DIR ...]
    python benchmarks/load_memory.py --show benchmarks/load_memory.json

Linux only: reads the process's high-water mark from /proc. Each measurement runs in a process of its own, after a first
load of the bundled critic has brought in the code.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16")


def peak() -> int:
    """The high-water mark of this process's resident memory, in bytes."""
    match = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


def measure(path: Path, dtype: str) -> dict[str, Any]:
    """Bytes of the weights, and how much the peak grew while they were loaded."""
    import scipy.stats  # noqa: F401
    import torch

    from critic_probe.checkpoint import load_critic

    torch.set_num_threads(1)
    load_critic(Path(__file__).parents[1] / "fixtures" / "critics" / "last", device="cpu")
    before = peak()
    backbone = load_critic(path, device="cpu", dtype=dtype).backbone
    weights = sum(p.numel() * p.element_size() for p in backbone.parameters())
    return {"critic": path.name, "dtype": dtype, "weights": weights, "peak": peak() - before}


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| critic | dtype | weights, MB | peak over the weights |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {row['critic']} | {row['dtype']} | {row['weights'] / 1e6:,.0f} | {row['peak'] / row['weights']:.2f} |"


def main() -> None:
    """Prints a table, measured or read."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/load_memory.py", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("critics", type=Path, nargs="*", metavar="DIR")
    parser.add_argument("--json", type=Path, help="also write what was measured")
    parser.add_argument("--show", type=Path, help="print what --json wrote, and measure nothing")
    parser.add_argument("--one", choices=DTYPES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.critics[0], options.one)))
        return
    rows = json.loads(options.show.read_text()) if options.show else []
    for path in options.critics:
        for dtype in DTYPES:
            command = [sys.executable, __file__, str(path), "--one", dtype]
            rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    print("\n".join(table(rows)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
