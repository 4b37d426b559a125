"""`python -m benchmarks.noise`: how many gaps half precision moves beyond the noise floor that is printed for them.

The bundled critics score the fixture pairs in half precision and in float32. The floor comes from the first pairs of a
file, so the file is shuffled: every order has a floor of its own. `--device cuda` asks a GPU's kernels.
"""

import argparse
from random import Random

import numpy as np
from numpy.typing import NDArray

from critic_probe.aggregation import parse
from critic_probe.bundled import find_critics, fixtures
from critic_probe.encoding import EncodedPair
from critic_probe.pairs import Pair, read_pairs
from critic_probe.workbench import Bench, Settings
from critic_probe.workbench.noise import Noise
from critic_probe.workbench.survey import NOISE_SAMPLE

ORDERS = 20
SAMPLES = (4, NOISE_SAMPLE)
SETTINGS = Settings((parse("last"), parse("mean")))


def main() -> None:
    """Prints a row a type, critic, read-out and size of the sample."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise", description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    pairs = read_pairs(fixtures() / "pairs.jsonl")
    exact = {bench.name: gaps(bench) for bench in benches(pairs, device, "float32")}
    print("type      critic        read-out  sample  gaps beyond the floor  orders with more than 5 %")
    for dtype in ("bfloat16", "float16"):
        for bench in benches(pairs, device, dtype):
            moved = np.abs(gaps(bench) - exact[bench.name])
            for size in SAMPLES:
                floors = np.array([floors_of(bench, order, size) for order in range(ORDERS)])
                beyond = (moved[None] > floors[:, None]).mean(1)
                for read_out, shares in zip(SETTINGS.aggregations, beyond.T, strict=True):
                    row = f"{dtype:<9} {bench.name:<13} {read_out.name:<8} {size:7}"
                    print(f"{row}  {shares.mean():21.1%}  {(shares > 0.05).mean():25.0%}", flush=True)


def benches(pairs: list[Pair], device: str, dtype: str) -> list[Bench]:
    """Both bundled critics with the pairs."""
    critics = find_critics(["bundled:last", "bundled:mean"], device=device, dtype=dtype)
    return [Bench(critic, pairs, SETTINGS) for critic in critics.load()]


def encoded(bench: Bench) -> list[EncodedPair]:
    """The pairs as ids."""
    return list(bench.encoded(bench.pairs))


def gaps(bench: Bench) -> NDArray[np.float64]:
    """(pairs, read-outs), the teacher's score minus the student's."""
    pairs = encoded(bench)
    rows = []
    for pair, values in zip(pairs, bench.values(pair.group for pair in pairs), strict=True):
        scores = [
            [bench.score(v, side, read_out) for v, side in zip(values, pair.responses, strict=True)]
            for read_out in SETTINGS.aggregations
        ]
        rows.append([teacher - student for student, teacher in scores])
    return np.array(rows)


def floors_of(bench: Bench, order: int, size: int) -> list[float]:
    """What is printed by read-out for a file that begins with these pairs."""
    noise = Noise(bench, Random(order).sample(encoded(bench), size))
    return [noise.floor(read_out.name, noise.largest) for read_out in SETTINGS.aggregations]


if __name__ == "__main__":
    main()
