"""What `critic-probe score` costs: against one response at a time, and as a file grows.

    python benchmarks/scores.py [--json FILE] [N ...]
    python benchmarks/scores.py --show benchmarks/scores.json

The bundled critic `mean`, two read-outs, no cache, one thread. One at a time is what a script does: encode a response
behind its prompt, one forward pass, the same read-outs. Both ways score the same rows in one process, and must agree to
1e-4; times are CPU seconds, and those of `score` hold its checks, its noise floor and its file. Memory is that of the
whole command on N single responses, which writes Parquet with every token's value.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import critic_probe as cp
from critic_probe.measures.score import Score
from critic_probe.pairs import CandidateFile
from critic_probe.report.rows import ScoreRows
from critic_probe.workbench import run

WORDS = ["red", "green", "blue", "12.5", "seven,", "done.", "\n"]
SIZES = (2_000, 20_000)
LOADS = {"1 response a prompt of 40 words": (40, 1, 256), "8 responses a prompt of 150 words": (150, 8, 48)}


def write(path: Path, rows: int, prompt: int, responses: int, words: int = 40) -> Path:
    """Writes rows of so many responses of so many words to a prompt."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            texts = [" ".join(draw.choices(WORDS, k=k)) for k in (prompt, *[words] * responses)]
            file.write(json.dumps({"prompt": f"{i}: {texts[0]}", "responses": [f"So {t}" for t in texts[1:]]}) + "\n")
    return path


def as_score(critic: cp.Critic, path: Path) -> list[list[float]]:
    """The scores of all responses as `score` computes and writes them."""
    bench = cp.bench(critic, CandidateFile(path), cache=False)
    with ScoreRows([path.with_suffix(".scores.jsonl")]) as rows:
        measure = Score(rows)
        rows.write(measure.result(run([bench], [measure])).signature)
    lines = path.with_suffix(".scores.jsonl").read_text(encoding="utf-8").splitlines()
    return [[row["last_score"], row["mean_score"]] for row in map(json.loads, lines)]


def one_at_a_time(critic: cp.Critic, path: Path) -> list[list[float]]:
    """The same, a forward pass a response."""
    bench = cp.bench(critic, CandidateFile(path), cache=False)
    scores = []
    for record in bench.pairs:
        encoded = bench.encoder.candidates(record)
        for response in encoded.responses:
            values = critic.values(encoded.prompt_ids + response.ids)[len(encoded.prompt_ids) :]
            scores.append([bench.score(values, response, a) for a in bench.settings.aggregations])
    return scores


def ratio(critic: cp.Critic, name: str, folder: Path) -> dict[str, Any]:
    """CPU milliseconds a response of both ways."""
    prompt, responses, rows = LOADS[name]
    path = write(folder / "x.jsonl", rows, prompt, responses)
    taken, results = [], []
    for way in (as_score, one_at_a_time):
        begun = time.process_time()
        results.append(torch.tensor(way(critic, path)))
        taken.append(1000 * (time.process_time() - begun) / (rows * responses))
    assert (results[0] - results[1]).abs().max() < 1e-4
    ours, theirs = taken
    return {"load": name, "responses": rows * responses, "score_ms": ours, "alone_ms": theirs, "ratio": theirs / ours}


def growth(n: int, folder: Path) -> dict[str, float]:
    """CPU milliseconds a response and peak resident MB of the command; starting Python and torch is in both."""
    path = write(folder / f"{n}.jsonl", n, 4, 1, 6)
    command = [sys.executable, "-m", "critic_probe", "score", str(path), "-c", "bundled:mean", "--no-cache", "--values"]
    child = subprocess.Popen(
        [*command, "-o", str(folder / "s.parquet")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    cpu = 1000 * (usage.ru_utime + usage.ru_stime) / n
    return {"responses": n, "cpu_ms": cpu, "peak_mb": usage.ru_maxrss / 1024}


def table(found: dict[str, Any]) -> Iterator[str]:
    """Two Markdown tables."""
    yield "| load | responses | `score`, CPU ms a response | one at a time | times as fast |"
    yield "|---|---|---|---|---|"
    for row in found["ratios"]:
        times = f"{row['score_ms']:.2f} | {row['alone_ms']:.2f} | {row['ratio']:.1f}"
        yield f"| {row['load']} | {row['responses']:,} | {times} |"
    yield ""
    yield "| single responses | peak memory, MB | CPU, ms a response |"
    yield "|---|---|---|"
    for row in found["growth"]:
        yield f"| {row['responses']:,} | {row['peak_mb']:,.0f} | {row['cpu_ms']:.3g} |"


def main() -> None:
    """Prints the tables, measured or read."""
    parser = argparse.ArgumentParser(prog="python benchmarks/scores.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, metavar="N")
    parser.add_argument("--json", type=Path, help="also write what was measured")
    parser.add_argument("--show", type=Path, help="print what --json wrote, and measure nothing")
    options = parser.parse_args()
    if options.show:
        found = json.loads(options.show.read_text())
    else:
        torch.set_num_threads(1)
        critic = cp.load("bundled:mean", device="cpu")
        with tempfile.TemporaryDirectory() as folder:
            ratios = [ratio(critic, name, Path(folder)) for name in LOADS]
            found = {"ratios": ratios, "growth": [growth(n, Path(folder)) for n in options.sizes]}
    print("\n".join(table(found)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
