"""Cost as a file grows: milliseconds a pair and peak memory of `critic-probe compare`. Usage: growth.py [N ...].

Runs the command as users do, with the bundled critic `last`, one read-out and no cache, on N random pairs.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = ["red", "green", "blue", "12.5", "seven,", "done."]


def write(path: Path, n: int) -> None:
    """Writes n pairs of short texts."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            texts = {side: " ".join(draw.choices(WORDS, k=4)) for side in ("prompt", "student", "teacher")}
            file.write(json.dumps({"id": f"r{i}"} | texts) + "\n")


def main() -> None:
    """Prints one line a size."""
    for n in [int(given) for given in sys.argv[1:]] or [10, 100, 1000, 10_000]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.jsonl"
            write(path, n)
            command = [sys.executable, "-m", "critic_probe", "compare", str(path), "-c", "bundled:last"]
            begun = time.perf_counter()
            child = subprocess.Popen(
                [*command, "-a", "mean", "--no-cache", "--rows", "0"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - begun
            assert status == 0
            assert usage.ru_maxrss >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(
                f"{n:>9,} pairs: {1000 * seconds / n:>8.2f} ms a pair, peak {usage.ru_maxrss / 1024:,.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
