"""`python -m benchmarks.trend`: how often the statistics of series over steps see what is not there.

Of series of a constant level whose noise is a first-order autoregression: how often the plain Mann-Kendall test, Hamed
and Rao's correction and ours find a trend at 5 %, how often ours cannot tell, and how often a jump is found. Beside it,
series with a trend, with how often its slope has an interval and how often that covers it, and with a jump of 6 SD.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm, rankdata

from critic_probe.stats.trend import jumps, mann_kendall, theil_sen

Floats = NDArray[np.float64]


def series(rng: np.random.Generator, n: int, correlation: float) -> Floats:
    """(n,) noise of unit SD."""
    shocks = rng.standard_normal(n + 200) * np.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], shocks))[200:]


def plain(x: Floats, widened: float = 1.0) -> float:
    """p of the Mann-Kendall test of independent values."""
    later, earlier = np.tril_indices(len(x), -1)
    score, n = np.sign(x[later] - x[earlier]).sum(), len(x)
    return float(2 * norm.sf(max(abs(score) - 1, 0) / np.sqrt(n * (n - 1) * (2 * n + 5) / 18 * widened)))


def hamed_rao(x: Floats) -> float:
    """p by Hamed and Rao (1998): all autocorrelations of the ranks that are significant."""
    n = len(x)
    ranks = rankdata(x - theil_sen(np.arange(n), x).per_step * np.arange(n))
    ranks -= ranks.mean()
    lags = np.arange(1, n)
    r = np.array([ranks[:-k] @ ranks[k:] for k in lags]) / (ranks @ ranks)
    r[np.abs(r) < norm.ppf(0.975) / np.sqrt(n)] = 0
    factor = 1 + 2 / (n * (n - 1) * (n - 2)) * ((n - lags) * (n - lags - 1) * (n - lags - 2) * r).sum()
    return plain(x, max(float(factor), 1e-9))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="series a line")
    runs = parser.parse_args().runs
    rng = np.random.default_rng(0)
    heads = (
        "plain",
        "Hamed-Rao",
        "ours",
        "ours cannot tell",
        "a trend of 2 SD: ours",
        "interval told",
        "interval covers",
        "a jump",
        "a jump of 6 SD",
    )
    print(f"{runs} series a line; shares.\n\n| n | correlation | {' | '.join(heads)} |\n|---|---|{'---|' * len(heads)}")
    for n in (60, 120, 300):
        for correlation in (0.0, 0.5, 0.8, 0.9):
            drawn = [series(rng, n, correlation) for _ in range(runs)]
            ours = [mann_kendall(x).p for x in drawn]
            rising = [mann_kendall(x + np.linspace(0, 2, n)).p for x in drawn]
            lines = [theil_sen(np.arange(n), x + np.linspace(0, 2, n)) for x in drawn]
            step = np.where(np.arange(n) < n // 2, 0.0, 6.0)
            near = [any(abs(jump.place - n // 2) <= 2 for jump in jumps(x + step)) for x in drawn]
            cells = [
                np.mean([plain(x) < 0.05 for x in drawn]),
                np.mean([hamed_rao(x) < 0.05 for x in drawn[:100]]),
                np.mean(np.array(ours) < 0.05),
                np.mean(np.isnan(ours)),
                np.mean(np.array(rising) < 0.05),
                np.mean(told := [bool(np.isfinite(line.low)) for line in lines]),
                np.mean([line.low <= 2 / (n - 1) <= line.high for line in lines]) / (np.mean(told) or np.nan),
                np.mean([bool(jumps(x)) for x in drawn]),
                np.mean(near),
            ]
            shown = " | ".join("-" if np.isnan(cell) else f"{cell:.2f}" for cell in cells)
            print(f"| {n} | {correlation:g} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
