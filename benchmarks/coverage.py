"""`python -m benchmarks.coverage`: how often printed intervals hold the truth and tests err, by simulation.

Cases of a prompt share a part of what they are drawn from, by a latent correlation. Everything is measured on the
functions that print: coverage of each 95 % interval, errors of the first kind of each test, verdicts of a family that
lies exactly at its bound, and the family-wise error of `diff` between two equal critics.
"""

import argparse
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from critic_probe.stats.edits import INVARIANCE_FLOOR, ORDER_FLOOR, contrasts, judge
from critic_probe.stats.intervals import (
    Interval,
    Totals,
    difference_over_sd,
    estimate,
    mean_interval,
    mean_over_sd,
    median_interval,
    rate_difference_interval,
    rate_interval,
    sd_of,
    totals,
)
from critic_probe.stats.paired import flips
from critic_probe.stats.rates import ALPHA, FEW_PROMPTS

RESULTS = Path(__file__).with_name("coverage.json")
CORRELATIONS = (0.0, 0.2, 0.5)
FAMILIES = 20  # of edits, in `diff`'s table

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


class Design(NamedTuple):
    """So many cases, one a prompt or two to eight."""

    n: int
    repeated: bool

    def prompts(self, rng: np.random.Generator) -> Codes:
        """The prompt (n,) of each case; at least `FEW_PROMPTS` prompts where that is usual of so many cases."""
        if not self.repeated:
            return np.arange(self.n)
        while True:
            codes = np.repeat(np.arange(self.n), rng.integers(2, 9, size=self.n))[: self.n]
            if self.n < 5 * FEW_PROMPTS or codes[-1] + 1 >= FEW_PROMPTS:
                return codes


DESIGNS = [Design(n, False) for n in (20, 50, 200)] + [Design(n, True) for n in (10, 20, 50, 200)]


class Sample:
    """Latent normal figures of one draw of prompts."""

    def __init__(self, design: Design, correlation: float, rng: np.random.Generator) -> None:
        self.prompts, self._correlation, self._rng = design.prompts(rng), correlation, rng

    def latent(self) -> Floats:
        """(n,) standard normal, of the given correlation within a prompt."""
        shared, own = self._rng.normal(size=(2, len(self.prompts)))
        figures: Floats = np.sqrt(self._correlation) * shared[self.prompts] + np.sqrt(1 - self._correlation) * own
        return figures

    def right(self, truth: float) -> Floats:
        """(n,) 1 with that probability, else 0."""
        return (self.latent() < ndtri(truth)).astype(float)

    def spread(self, *scores: Floats) -> Totals:
        """`totals` of several scores a case."""
        return totals(np.concatenate(scores), np.tile(self.prompts, len(scores)))


Covers = Callable[[Sample], tuple[Interval, float]]


def _rate(truth: float) -> Covers:
    return lambda sample: (rate_interval(sample.right(truth), sample.prompts), truth)


def _rate_with_ties(sample: Sample) -> tuple[Interval, float]:
    x = sample.latent()
    shares = (x < ndtri(0.8)) * 0.5 + (x < ndtri(0.5)) * 0.5  # half right, three in ten tied
    return rate_interval(shares, sample.prompts), 0.65


def _beyond(sample: Sample) -> tuple[Interval, float]:
    critic, rule = sample.right(0.8), sample.right(0.6)
    return rate_difference_interval(critic, rule, sample.prompts), 0.2


def _mean_gap(sample: Sample) -> tuple[Interval, float]:
    return mean_interval(sample.latent() + 0.8, sample.prompts), 0.8


def _gap_over_sd(centre: float, width: float) -> Covers:
    def covers(sample: Sample) -> tuple[Interval, float]:
        student, gap = sample.latent(), centre + width * sample.latent()
        figure = estimate(mean_over_sd, totals(gap, sample.prompts), sample.spread(student, student + gap))
        return figure.interval, centre / np.sqrt((2 + width**2) / 2 + centre**2 / 4)

    return covers


def _margin(sample: Sample) -> tuple[Interval, float]:
    student = sample.latent()
    gaps = [0.8 + sample.latent(), 0.4 + sample.latent()]
    parts = ((totals(gap, sample.prompts), sample.spread(student, student + gap)) for gap in gaps)
    truths = [centre / np.sqrt(1.5 + centre**2 / 4) for centre in (0.8, 0.4)]
    return estimate(difference_over_sd, *(each for part in parts for each in part)).interval, truths[0] - truths[1]


def _median(sample: Sample) -> tuple[Interval, float]:
    return median_interval(np.abs(sample.latent()), sample.prompts), ndtri(0.75)


def _median_over_sd(width: float) -> Covers:
    def covers(sample: Sample) -> tuple[Interval, float]:
        scores = sample.spread(sample.latent(), sample.latent())
        sd = sd_of(scores.rows.sum(0))
        return median_interval(np.exp(width * sample.latent()) / sd, sample.prompts, scores), 1.0

    return covers


COVERED: dict[str, Covers] = {
    **{f"rate {truth:g}": _rate(truth) for truth in (0.5, 0.75, 0.9, 0.95)},
    "rate 0.65, ties as half": _rate_with_ties,
    "difference of rates": _beyond,
    "mean gap": _mean_gap,
    "gap/SD": _gap_over_sd(0.8, 1.0),
    "gap/SD, all gaps alike": _gap_over_sd(2.0, 0.3),
    "difference of gap/SD": _margin,
    "median": _median,
    "median/SD": _median_over_sd(1.0),
    "median/SD, all alike": _median_over_sd(0.1),
}

Tests = Callable[[Sample], float]


def _verdicts(sample: Sample) -> float:
    both = [pd.Series(np.where(sample.right(0.7) == 1, "teacher", "student")) for _ in range(2)]
    return flips(*both, list(sample.prompts))[1]


def _sizes(sample: Sample) -> float:
    parts = ((totals(np.abs(sample.latent()), sample.prompts), sample.spread(sample.latent())) for _ in range(2))
    return estimate(difference_over_sd, *(each for part in parts for each in part)).p


TESTS: dict[str, Tests] = {"verdicts that differ": _verdicts, "mean |delta|/SD that differ": _sizes}


def _family(sample: Sample, delta: Floats, kind: str, sign: int, scores: Totals | None) -> str:
    """The verdict on deltas in SD."""
    frame = pd.DataFrame({"delta": delta, "delta_over_sd": delta, "floor": 0.0, "sign": sign})
    return judge(frame.assign(prompt_hash=sample.prompts), kind, sign, scores).verdict


def _order_at_bound(sample: Sample) -> str:
    return _family(sample, 2 * sample.right(ORDER_FLOOR) - 1, "control", 1, None)


def _size_at_bound(sample: Sample) -> str:
    scores = sample.spread(sample.latent(), sample.latent())
    sd = sd_of(scores.rows.sum(0))
    delta = INVARIANCE_FLOOR / ndtri(0.75) * sample.latent() / sd
    return _family(sample, delta, "invariance", 0, scores)


AT_BOUND: dict[str, Callable[[Sample], str]] = {
    f"right order of {ORDER_FLOOR:g}": _order_at_bound,
    f"median |delta|/SD of {INVARIANCE_FLOOR:g}": _size_at_bound,
}


def _finds_something(sample: Sample) -> bool:
    """Whether `diff`'s family table finds a difference between two equal critics, in size or in the right order."""
    deltas, spreads = [], {}
    for critic in ("old", "new"):
        scores = sample.latent()
        spreads[critic, "last"] = sample.spread(scores)
        raw = np.concatenate([sample.latent() - 0.5 for _ in range(FAMILIES)])
        deltas.append(pd.DataFrame({"critic": critic, "delta": raw, "delta_over_sd": raw / scores.std(ddof=1)}))
    cases = pd.concat(deltas, ignore_index=True)
    n = len(sample.prompts)
    text = dict.fromkeys(("side", "position", "left", "removed", "added"), "")
    cases = cases.assign(
        **text,
        aggregation="last",
        kind="control",
        sign=-1,
        floor=0.0,
        id=np.tile(np.arange(n), 2 * FAMILIES),
        prompt_hash=np.tile(sample.prompts, 2 * FAMILIES),
        family=np.tile(np.repeat(np.arange(FAMILIES), n), 2),
    )
    table = contrasts(cases, spreads)
    return bool((table.p_holm < ALPHA).any())


class Row(NamedTuple):
    """One line of a table: a share per design."""

    table: str
    name: str
    correlation: float
    shares: list[float]


def _shares(happens: Callable[[Sample], bool | None], correlation: float, runs: int, seed: str) -> list[float]:
    """How often something happens, per design; NaN where it cannot, or nothing can correlate."""
    shares = []
    for design in DESIGNS:
        if correlation and not design.repeated:
            shares.append(np.nan)
            continue
        rng = np.random.default_rng([zlib.crc32(seed.encode()), design.n, design.repeated])
        each = [happens(Sample(design, correlation, rng)) for _ in range(runs)]
        known = [bool(one) for one in each if one is not None]
        shares.append(float(np.mean(known)) if known else np.nan)
    return shares


def _covered(covers: Covers) -> Callable[[Sample], bool]:
    def happens(sample: Sample) -> bool:
        interval, truth = covers(sample)
        return bool(interval.low <= truth <= interval.high)

    return happens


def _rejects(test: Tests) -> Callable[[Sample], bool | None]:
    def happens(sample: Sample) -> bool | None:
        p = test(sample)
        return None if np.isnan(p) else p <= ALPHA

    return happens


def _fails(verdict: Callable[[Sample], str]) -> Callable[[Sample], bool | None]:
    def happens(sample: Sample) -> bool | None:
        return None if sample.prompts[-1] + 1 < FEW_PROMPTS else verdict(sample) == "fail"

    return happens


def _apart(sample: Sample) -> bool | None:
    return None if sample.prompts[-1] + 1 < FEW_PROMPTS else _finds_something(sample)


def simulate(runs: int, only: list[str]) -> Iterator[Row]:
    """Every line of the tables.

    Args:
        runs: Of each cell; a quarter of them for the family-wise error, which is of whole tables.
        only: What names begin with; all where empty.
    """
    asked: list[tuple[str, str, Callable[[Sample], bool | None], int]] = [
        *(("coverage", name, _covered(covers), runs) for name, covers in COVERED.items()),
        *(("type I", name, _rejects(test), runs) for name, test in TESTS.items()),
        *(("FAIL at the bound", name, _fails(verdict), runs) for name, verdict in AT_BOUND.items()),
        ("family-wise", f"diff, {FAMILIES} families", _apart, max(runs // 4, 1)),
    ]
    for table, name, happens, times in asked:
        if only and not any(name.startswith(beginning) for beginning in only):
            continue
        for correlation in CORRELATIONS:
            yield Row(table, name, correlation, _shares(happens, correlation, times, f"{table} {name}"))


def markdown(rows: list[Row]) -> str:
    """The tables, a line each figure and correlation."""
    lines = []
    for table in dict.fromkeys(row.table for row in rows):
        heads = [f"{design.n}{' / 2-8' if design.repeated else ''}" for design in DESIGNS]
        lines += ["", f"| {table} | correlation | {' | '.join(heads)} |", f"|---|---|{'---|' * len(DESIGNS)}"]
        for row in rows:
            if row.table == table:
                cells = ("-" if np.isnan(share) else f"{share:.3f}".lstrip("0") for share in row.shares)
                name = row.name.replace("|", "\\|")
                lines.append(f"| {name} | {row.correlation:g} | {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def load(path: Path = RESULTS) -> list[Row]:
    """The rows that a run wrote."""
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [Row(*row[:3], [np.nan if share is None else share for share in row[3]]) for row in stored["rows"]]


def main() -> None:
    """Simulates, or prints what was stored, as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("estimators", nargs="*", metavar="ESTIMATOR", help="beginnings of names; else all")
    parser.add_argument("--runs", type=int, default=2000, help="of each cell")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--stored", action="store_true", help=f"print {RESULTS.name} instead")
    options = parser.parse_args()
    if options.stored:
        print(markdown(load()))
        return
    rows = []
    for row in simulate(options.runs, options.estimators):
        rows.append(row)
        print(markdown([row]).splitlines()[-1], flush=True)
    print(f"\n{markdown(rows)}")
    if options.json:
        shares = ([None if np.isnan(share) else round(share, 4) for share in row.shares] for row in rows)
        lines = [json.dumps([*row[:3], numbers]) for row, numbers in zip(rows, shares, strict=True)]
        listed = ",\n".join(lines)
        options.json.write_text(f'{{"runs": {options.runs}, "rows": [\n{listed}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
