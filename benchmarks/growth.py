"""Cost as a file grows: CPU time a pair and peak memory of `critic-probe compare`, by the number of pairs.

    python benchmarks/growth.py [--json FILE] [N ...]
    python benchmarks/growth.py --show benchmarks/growth.json

Runs the command as users do, with the bundled critic `last`, one read-out and no cache, on N random pairs, one thread.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

WORDS = ["red", "green", "blue", "12.5", "seven,", "done."]
SIZES = (10, 100, 1000, 10_000)


def write(path: Path, n: int) -> None:
    """Writes n pairs of short texts."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            texts = {side: " ".join(draw.choices(WORDS, k=4)) for side in ("prompt", "student", "teacher")}
            file.write(json.dumps({"id": f"r{i}"} | texts) + "\n")


def measure(n: int) -> dict[str, float]:
    """CPU milliseconds a pair and peak resident MB of a run on n pairs; starting Python and torch is in both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        write(path, n)
        command = [sys.executable, "-m", "critic_probe", "compare", str(path), "-c", "bundled:last"]
        child = subprocess.Popen(
            [*command, "-a", "mean", "--no-cache", "--rows", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    return {"pairs": n, "cpu_ms": 1000 * (usage.ru_utime + usage.ru_stime) / n, "peak_mb": usage.ru_maxrss / 1024}


def table(rows: Sequence[dict[str, float]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| pairs | peak memory, MB | CPU, ms a pair |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {row['pairs']:,} | {row['peak_mb']:,.0f} | {row['cpu_ms']:.3g} |"


def main() -> None:
    """Prints a table, measured or read."""
    parser = argparse.ArgumentParser(prog="python benchmarks/growth.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, metavar="N")
    parser.add_argument("--json", type=Path, help="also write what was measured")
    parser.add_argument("--show", type=Path, help="print what --json wrote, and measure nothing")
    options = parser.parse_args()
    rows = json.loads(options.show.read_text()) if options.show else [measure(n) for n in options.sizes]
    print("\n".join(table(rows)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
