"""`python -m benchmarks.logs`: how fast logs of each kind are read and their figures held, in MB/s of CPU time.

Every file is written by the generator that the tests use, about as large as `--megabytes` says; the best of three
rounds counts, and it ends with 1 where one reader is slower than it must be.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from critic_probe.runs.read import Records
from critic_probe.runs.record import Figures
from critic_probe.runs.table import Collected
from tests.runs import write

MUST = 20.0
_WORDS = ["the", "answer", "is", "that", "a", "critic", "reads", "every", "token", "of", "it", "and", "then", "some"]
_MORE = {f"timing_s/part_{i}": 1.0 for i in range(20)} | {f"perf/figure_{i}": 2.0 for i in range(20)}


def figures(draw: random.Random, names: dict[str, float]) -> dict[str, float]:
    """What a step logs: float32 values as Python writes them."""
    return {name: value * draw.uniform(0.5, 1.5) for name, value in names.items()}


def text(draw: random.Random, words: int) -> str:
    """Some lines of a text."""
    return " ".join("\n" if draw.random() < 0.05 else draw.choice(_WORDS) for _ in range(words))


def scoring(draw: random.Random, path: Path, size: int) -> None:
    """A scoring-detail log with token lists."""
    with path.open("w", encoding="utf-8") as file:
        step = 0
        while file.tell() < size:
            step += 1
            sides = [
                write.Scored(text(draw, 150), draw.uniform(-5, 5), [draw.randrange(150_000) for _ in range(180)])
                for _ in range(4)
            ]
            file.write(
                write.scoring([write.Block(step // 8, [(text(draw, 60), *sides[:2]), (text(draw, 60), *sides[2:])])])
            )


def lines(one: Callable[[random.Random, int], str]) -> Callable[[random.Random, Path, int], None]:
    """A file of lines, each as `one` makes it of a step."""

    def made(draw: random.Random, path: Path, size: int) -> None:
        with path.open("w", encoding="utf-8") as file:
            step = 0
            while file.tell() < size:
                step += 1
                file.write(one(draw, step))

    return made


def state(draw: random.Random, path: Path, size: int) -> None:
    """A `trainer_state.json` of TRL's RewardTrainer."""
    names = {"loss": 0.5, "accuracy": 0.7, "margin": 1.0, "min_reward": -1.0, "mean_reward": 0.1, "max_reward": 2.0}
    path.write_text(write.trainer_state([{"step": i} | figures(draw, names) for i in range(size // 230)]))


def table(draw: random.Random, path: Path, size: int) -> None:
    """A history as W&B exports it."""
    count = size // 150
    write.table(
        path, [{"Step": i} | figures(draw, {f"run - {name}": v for name, v in write.GAD.items()}) for i in range(count)]
    )


def events(draw: random.Random, path: Path, size: int) -> None:
    """A TensorBoard event file, by torch's writer."""
    names = write.VERL | write.GAD
    written = write.events(path.parent / "run", {i: figures(draw, names) for i in range(size // (56 * len(names)))})
    written.replace(path)


KINDS: dict[str, tuple[str, Callable[[random.Random, Path, int], None]]] = {
    "scoring details": ("scoring.log", scoring),
    "console lines": (
        "console.log",
        lines(lambda draw, i: write.console(i, figures(draw, write.VERL | _MORE), process="TaskRunner pid=1") + "\n"),
    ),
    "other output": ("other.log", lines(lambda draw, i: f"(WorkerDict pid={i % 8}) INFO {text(draw, 12)!r}\n")),
    "file logger": ("file.jsonl", lines(lambda draw, i: write.file_logger({i: figures(draw, write.VERL | _MORE)}))),
    "metrics.jsonl": ("metrics.jsonl", lines(lambda draw, i: write.metrics({i: figures(draw, write.GAD)}))),
    "rollout dump": ("dump.jsonl", lines(lambda draw, i: write.rollouts(i, [(text(draw, 60), text(draw, 200), 1.0)]))),
    "trainer_state.json": ("trainer_state.json", state),
    "table": ("history.csv", table),
    "TensorBoard events": ("events", events),
}


def speeds(megabytes: float, rounds: int = 3) -> Iterator[tuple[str, float, float]]:
    """By kind of file: its size in MB, and MB/s."""
    for kind, (name, make) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            make(random.Random(0), path, int(megabytes * 1e6))
            if kind == "other output":  # a log that says something at its end
                with path.open("a") as file:
                    file.write(write.console(1, write.GAD) + "\n")
            yield kind, path.stat().st_size / 1e6, max(_speed(path) for _ in range(rounds))


def _speed(path: Path) -> float:
    start = time.process_time()
    collected = Collected()
    for record in Records([path]):
        if isinstance(record, Figures):
            collected.add(record)
    return path.stat().st_size / 1e6 / (time.process_time() - start)


def main() -> int:
    """Prints a row a reader; 1 where one is too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=20, help="about so large is each file")
    slow = 0
    for kind, size, speed in speeds(parser.parse_args().megabytes):
        print(f"{kind:20} {size:6.1f} MB {speed:7.1f} MB/s  {'' if speed >= MUST else f'must be {MUST:g}'}".rstrip())
        slow += speed < MUST
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
