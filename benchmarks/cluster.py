"""Replicas on this machine against the engine in one process: pairs a second, what Ray costs a pair, peak memory.

    python -m benchmarks.cluster [--json FILE] [--pairs N] [--many N]
    python -m benchmarks.cluster --show benchmarks/cluster.json

Each way is a process of its own that scores N pairs without a cache, one thread a critic, and times the loop alone, not
the start of Python or of Ray. `--many` scores that many pairs in two replicas; peak memory is that of the process that
feeds them. What a million pairs would take is computed from the measured rates, and so is the table of GPUs, from the
rate that `benchmarks.gpu` saw on one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.growth import write

CRITIC = "bundled:mean"
MILLION = 1_000_000
# A forward pass takes 2 FLOP a parameter and token; what a GPU gave for them was measured with 8B.
ON_GPU = Path(__file__).parent / "gpu" / "h200.json"
PAIR_TOKENS = 1200  # a prompt of 400 tokens, shared, and two responses of 400


def one(pairs: Path, replicas: int) -> dict[str, float]:
    """Scores a file, here or in replicas; seconds of the loop, and this process's peak memory."""
    from critic_probe.aggregation import parse
    from critic_probe.bundled import find_critics
    from critic_probe.measures.compare import Compare
    from critic_probe.pairs import PairFile
    from critic_probe.scoring.replicas import Cluster
    from critic_probe.workbench import Settings, benches, run

    found = find_critics([CRITIC])
    critics = Cluster(None, replicas, replicas).critics(found.paths, {}) if replicas else found.load()
    measure = Compare(5.0)
    with benches(critics, PairFile(str(pairs)), Settings((parse("mean"),))) as made:
        begun = time.perf_counter()
        done = run(made, [measure])
        seconds = time.perf_counter() - begun
        count = len(measure.result(done).pairs)
    return {"pairs": count, "seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measured(count: int, replicas: int) -> dict[str, float]:
    """`one` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        write(path, count)
        command = [sys.executable, "-m", "benchmarks.cluster", "--one", str(path), str(replicas)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    return {"replicas": replicas, **json.loads(done.stdout.splitlines()[-1])}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown tables."""
    here = rows[0]["seconds"] / rows[0]["pairs"]
    yield "| replicas | pairs | pairs a second | of one process's | ms a pair more | peak, MB | a million pairs, h |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        each = row["seconds"] / row["pairs"]
        more = "" if not row["replicas"] else f"{1000 * (each - here / row['replicas']):.2g}"
        cells = (row["replicas"] or "one process", f"{row['pairs']:,}", f"{1 / each:,.0f}", f"{here / each:.2f}", more)
        yield f"| {' | '.join(map(str, cells))} | {row['peak_mb']:,.0f} | {MILLION * each / 3600:.2f} |"
    yield ""
    yield "| GPUs | 8B, pairs an hour | 14B, pairs an hour |"
    yield "|---|---|---|"
    fast = json.loads(ON_GPU.read_text(encoding="utf-8"))["parts"]["fast"]
    reached = 1e12 * fast["matrix rate in bfloat16"]["TFLOP/s"] * fast["Qwen3 8B, W1"]["share of matrix rate"]
    for gpus in (1, 8, 64):
        rates = [gpus * reached / (2 * billions * 1e9 * PAIR_TOKENS) * 3600 for billions in (8, 14)]
        yield f"| {gpus} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |"


def main() -> None:
    """Prints the tables, measured or read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="also write what was measured")
    parser.add_argument("--show", type=Path, help="print what --json wrote, and measure nothing")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(Path(options.one[0]), int(options.one[1]))))
        return
    if options.show:
        rows = json.loads(options.show.read_text())
    else:
        rows = [measured(options.pairs, replicas) for replicas in (0, 1, 2)]
        if options.many:
            rows.append(measured(options.many, 2))
    print("\n".join(table(rows)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
