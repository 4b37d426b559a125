"""`python -m benchmarks.fresh_head`: how often a trained head looks fresh, by how much training changed its weights."""

import argparse

import torch

from critic_probe.checkpoint.head import Head, Layer, looks_untrained

WIDTHS = (256, 896, 2048, 4096)


def head(width: int, uniform: bool, change: float, seed: int) -> Head:
    """A head of one layer: a fresh draw, and normal changes of this SD."""
    generator = torch.Generator().manual_seed(seed)
    bound = width**-0.5
    fresh = torch.rand(1, width, generator=generator) * 2 * bound - bound if uniform else None
    drawn = torch.randn(1, width, generator=generator) * 0.02 if fresh is None else fresh
    weight = drawn + change * torch.randn(1, width, generator=generator)
    return Head((Layer("score.weight", None),), (weight,), (None,))


def share(width: int, uniform: bool, change: float, draws: int) -> float:
    """The share of such heads that cannot be told from a fresh one."""
    seen = [looks_untrained(head(width, uniform, change, seed), 0.02) for seed in range(draws)]
    return sum(each is not None for each in seen) / draws


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500, help="heads a cell")
    draws = parser.parse_args().draws
    print("| initialisation | H | fresh | changed by 0.005 | by 0.01 | said to be unseen below | changed by that |")
    print("|---|---|---|---|---|---|---|")
    for uniform in (False, True):
        for width in WIDTHS:
            seen = (looks_untrained(head(width, uniform, 0.0, seed), 0.02) for seed in range(draws))
            unseen = next(each.unseen for each in seen if each is not None)
            cells = [share(width, uniform, change, draws) for change in (0.0, 0.005, 0.01, unseen)]
            shown = [f"{cell:.2f}" for cell in cells]
            name = "uniform 1/sqrt(H)" if uniform else "normal 0.02"
            print(f"| {name} | {width} | {' | '.join(shown[:3])} | {unseen:.2g} | {shown[3]} |", flush=True)


if __name__ == "__main__":
    main()
