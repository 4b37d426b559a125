"""What the original proposal expected after training under the mean, and what training gives: last, mean, progressive.

The proposal named three cases and figures that it hoped for; nobody measured them. Here critics are trained under each
read-out, on the same pairs from several seeds, and every expectation stands beside what was measured, raw and in SD.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.errors import CriticProbeError
from critic_probe.measures.compare import CompareResult, compare
from critic_probe.measures.perturb import perturb
from critic_probe.measures.variants import Plan
from critic_probe.pairs import Pair, Pairs, as_text
from critic_probe.probes import BUILT_IN
from critic_probe.stats.intervals import mean_interval, median_interval
from critic_probe.stats.rates import too_few
from critic_probe.studies.audit import AuditResult
from critic_probe.studies.claims import UNCLEAR, judged
from critic_probe.training.options import Options
from critic_probe.training.warmup import warmup
from critic_probe.workbench import CriticRecord, Progress, Settings, Signature

TRAINED = ("last", "mean", "progressive")
READ = {"last": ("last", "mean"), "mean": ("mean", "last"), "progressive": ("last", "mean")}


class Expectation(NamedTuple):
    """A figure that the proposal named.

    Attributes:
        name: How it called it.
        what: What is measured for it.
        before: What it saw under the last token, None where it named nothing.
        low: The least that it expected after training under the mean.
        high: The most.
        category: The category of pairs whose gaps are meant; empty for all pairs.
        case: The id of the very case among the bundled pairs; empty where there is none.
    """

    name: str
    what: str
    before: float | None
    low: float
    high: float
    category: str = ""
    case: str = ""


EXPECTATIONS = (
    Expectation("case 1", "gap, a comma for the full stop", 3.06, -0.3, 0.3, "final-comma", "case-1-comma"),
    Expectation("case 2", "gap, a complete sentence, terse teacher", 5.17, -0.5, 0.5, "verbose", "case-2-complete"),
    Expectation("case 3", "gap, the same JSON on several lines", 10.32, -0.5, 0.5, "json-layout", "case-3-json"),
    Expectation("punctuation", "median |delta|, another closing mark", None, 0.0, 0.3),
    Expectation("d_acc", "teacher above student", None, 0.70, 0.85),
    Expectation("gap", "mean gap", None, 1.0, 3.0),
    Expectation("separation", "gap over both sides' SD", None, 1.0, 2.0),
    Expectation("complete", "score of a complete sentence", -2.33, 0.0, np.inf, "verbose"),
)


def before_after(
    train: Callable[[int], Sequence[Pair]],
    pairs: Pairs,
    backbone: Path | None,
    options: Options,
    seeds: Sequence[int],
    work: Path,
    settings: Settings,
    progress: Progress,
) -> tuple[pd.DataFrame, list[CriticRecord]]:
    """Trains a critic per seed and read-out, and measures what the proposal expected.

    Args:
        train: The pairs to train on, by seed; taken in order.
        pairs: Those that are measured; categories name the cases.
        backbone: As `warmup`.
        options: As `warmup`; read-out, bounds of the schedule and seed are set here.
        seeds: Of the fresh heads.
        work: Where the critics are kept, as `READ-OUT-SEED`; one that is there already is not trained again.
        settings: How text becomes a score.
        progress: Told of every pair scored.

    Returns:
        One row per expectation, trained and read read-out: `before`, `expected_low`, `expected_high`, `n` pairs of
        so many `prompts`, `figure` with `low` and `high`, `over_sd` with `over_sd_low` and `over_sd_high` (mean, least
        and most over seeds; of a single seed the 95 % interval over prompts where there is one), `the_case` (the one
        pair that the proposal showed, mean over seeds) and `verdict`, `cannot tell` of `too_few` pairs or prompts
        whatever the seeds say. And what identifies each critic.

    Raises:
        CriticProbeError: There are no seeds, or pairs cannot be trained on or scored.
    """
    if not seeds:
        raise CriticProbeError("give at least one seed to train from")
    pairs = [as_text(pair) for pair in pairs]  # ids belong to one tokenizer, which need not be the backbone's
    rows: list[pd.DataFrame] = []
    records: list[CriticRecord] = []
    for seed in seeds:
        for aggregation in TRAINED:
            out = work / f"{aggregation}-{seed}"
            if not (out / "critic_probe.json").exists():
                given = train(seed)
                steps = options.steps_over(len(given))
                bounds = (steps // 3, 2 * steps // 3)
                chosen = replace(
                    options, aggregation=aggregation, progressive=bounds, seed=seed, keep_order=True, steps=steps
                )
                warmup(given, 0.0, backbone, out, chosen)
            critic = load_critic(out, name=out.name, device=options.device)
            read_outs = tuple(parse(name) for name in READ[aggregation])
            read = replace(settings, aggregations=read_outs, convention=None, arguments={}, value_position=None)
            result = compare([critic], pairs, read, progress)
            edited = perturb([critic], pairs, read, Plan([BUILT_IN["terminal-swap"]]), progress)
            records += result.signature["critics"]
            for name in READ[aggregation]:
                rows.append(_measured(result, edited.cases, name).assign(seed=seed, trained=aggregation))
    return _over_seeds(pd.concat(rows, ignore_index=True)), records


def with_training(audited: AuditResult, table: pd.DataFrame, records: list[CriticRecord]) -> AuditResult:
    """An audit with the table of `before_after`."""
    signed: Signature = {**audited.signature, "trained": [record["fingerprint"] for record in records]}
    trained = replace(audited, training=table, signature=signed)
    return replace(trained, reading=trained.read_aloud())


def _measured(result: CompareResult, cases: pd.DataFrame, read: str) -> pd.DataFrame:
    """Every expectation on one critic under one read-out."""
    [whole] = result.summary[result.summary.aggregation == read].to_dict("records")
    statistics = result.statistics[result.statistics.aggregation == read].iloc[0]
    pairs = result.pairs[result.pairs.aggregation == read]
    swaps = cases[(cases.aggregation == read) & (cases.position == "terminal")]
    rows = []
    for expected in EXPECTATIONS:
        chosen = pairs[pairs.category == expected.category] if expected.category else pairs
        column = {"complete": "student_score"}.get(expected.name, "gap")
        figure, low, high = float(chosen[column].mean()) if len(chosen) else np.nan, np.nan, np.nan
        over_sd = figure / whole["sd"] if whole["sd"] else np.nan
        if expected.name == "d_acc":
            figure, low, high, over_sd = whole["d_acc"], whole["d_acc_low"], whole["d_acc_high"], np.nan
        elif expected.name == "punctuation":
            interval = median_interval(swaps.delta.abs(), list(swaps.prompt_hash))
            figure, low, high = interval.value, interval.low, interval.high
            over_sd = float(swaps.delta_over_sd.abs().median())
        elif expected.name == "separation":
            figure, over_sd = whole["separation"], np.nan
        elif expected.name == "gap":
            low, high = statistics.mean_gap_low, statistics.mean_gap_high
        elif len(chosen) > 1:
            interval = mean_interval(chosen[column], list(chosen.prompt_hash))
            low, high = interval.low, interval.high
        case = pairs[pairs.id == expected.case].gap
        sample = swaps if expected.name == "punctuation" else chosen
        rows.append(
            {
                "name": expected.name,
                "read": read,
                "n": len(sample),
                "prompts": sample.prompt_hash.nunique(),
                "figure": figure,
                "low": low,
                "high": high,
                "over_sd": over_sd,
                "the_case": float(case.iloc[0]) if len(case) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    judgements = []
    for expected in EXPECTATIONS:
        for (trained, read), frame in rows[rows.name == expected.name].groupby(["trained", "read"], sort=False):
            single, first = len(frame) == 1, frame.iloc[0]
            few = too_few(first.n, first.prompts)
            low = first.low if single else frame.figure.min()
            high = first.high if single else frame.figure.max()
            judgements.append(
                {
                    "name": expected.name,
                    "what": expected.what,
                    "trained": trained,
                    "read": read,
                    "before": np.nan if expected.before is None else expected.before,
                    "expected_low": expected.low,
                    "expected_high": expected.high,
                    "n": int(first.n),
                    "prompts": int(first.prompts),
                    "seeds": len(frame),
                    "figure": frame.figure.mean(),
                    "low": low,
                    "high": high,
                    "over_sd": frame.over_sd.mean(),
                    "over_sd_low": np.nan if single else frame.over_sd.min(),
                    "over_sd_high": np.nan if single else frame.over_sd.max(),
                    "the_case": frame.the_case.mean(),
                    "verdict": UNCLEAR if few else judged(low, high, expected.low, expected.high),
                }
            )
    return pd.DataFrame(judgements)
