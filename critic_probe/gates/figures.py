"""Every figure that a gate can name, from the results of the commands, as one table."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from critic_probe.measures.compare import CompareResult
from critic_probe.measures.doctor import DoctorResult
from critic_probe.measures.perturb import PerturbResult
from critic_probe.measures.tokens import TokensResult
from critic_probe.stats.intervals import median_interval

Row = dict[str, Any]
_WORST = 5  # pairs that a failed gate names

# Metric -> the columns of its interval, where it has one. The part before the dot is the command that measures it.
_COMPARE = {
    "d_acc": ("d_acc_low", "d_acc_high"),
    "mean_gap": ("mean_gap_low", "mean_gap_high"),
    "gap_over_sd": ("gap_over_sd_low", "gap_over_sd_high"),
    "beyond": ("beyond_low", "beyond_high"),
    "matched_d_acc": ("matched_low", "matched_high"),
    **dict.fromkeys(
        (
            "separation",
            "sd",
            "soft_d_acc",
            "auc",
            "dz",
            "hard_samples_ratio",
            "score_overlap",
            "saturated",
            "gradient_weight",
            "within_prompt_sd",
            "length_ratio",
            "within_prompt_spearman",
            "length_controlled",
        )
    ),
}
_EDITS = {
    "median_abs_delta_over_sd": ("low", "high"),
    "right_order": ("low", "high"),
    "flip_rate": ("flip_low", "flip_high"),
    **dict.fromkeys(
        (
            "p95_abs_delta",
            "max_abs_delta",
            "p95_abs_delta_over_sd",
            "max_abs_delta_over_sd",
            "mean_delta",
            "mean_delta_over_sd",
            "right_order_ending_restored",
            "ending_effect_over_sd",
        )
    ),
}
_SIZES = {
    "strongest_harmless": ("strongest_n", "strongest_prompts"),
    "harmless_per_wrong_fact": ("strongest_n", "harmless_per_wrong_fact_prompts"),
    "controls_right": ("controls", "control_prompts"),
    "fault_right": ("faults", "fault_prompts"),
    "rule_explains": ("rules", "rule_prompts"),
}
_HEADLINE = {name: (f"{name}_low", f"{name}_high") for name in _SIZES}
GONE = {
    "perturb.signal_to_noise": "perturb.strongest_harmless, perturb.controls_right",
    "perturb.punct_over_wrong_fact": "perturb.harmless_per_wrong_fact",
}
"""Figures that families which move nothing diluted -> what stands in their place."""
_TOKENS = ("lag1", "effective_tokens", "variance_ratio")
LOGS = "logs."
"""Begins the figures of a training run's log: what `runs` judges, which knows their names."""
TRACK = "track."
"""Begins the figures of a training run's checkpoints, as `LOGS` does those of its log."""
OF_RUNS = (LOGS, TRACK)
METRICS: frozenset[str] = frozenset(
    [
        *(f"compare.{name}" for name in (*_COMPARE, "median_abs_gap")),
        *(f"{command}.{name}" for command in ("perturb", "completeness") for name in (*_EDITS, "median_abs_delta")),
        *(f"perturb.{name}" for name in (*_HEADLINE, "harmless_fails")),
        "completeness.complete_score",
        *(f"tokens.{name}" for name in (*_TOKENS, "d_acc")),
        "doctor.fails",
        "doctor.warnings",
    ]
)

SHARES = frozenset(
    [
        *(f"compare.{name}" for name in ("d_acc", "matched_d_acc", "soft_d_acc", "auc", "saturated")),
        *(f"{command}.{name}" for command in ("perturb", "completeness") for name in ("right_order", "flip_rate")),
        *("perturb.controls_right", "perturb.fault_right", "tokens.d_acc"),
    ]
)
"""Figures between 0 and 1."""


def figures(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row per figure: metric, critic, aggregation, family, position, category, value, low, high, n, floor, ids.

    Args:
        results: Command -> its result; for `doctor`, a list of (critic, result); for `logs`, a table of name, value, n;
            for `track`, one of figure, critic, aggregation, position, value, low, high, n, prompts.
    """
    rows: list[Row] = []
    for command, result in results.items():
        rows += _OF_COMMAND[command](command, result)
    columns = [
        "metric",
        "critic",
        "aggregation",
        "family",
        "position",
        "category",
        "value",
        "low",
        "high",
        "n",
        "prompts",
        "floor",
    ]
    table = pd.DataFrame(rows, columns=[*columns, "ids"])
    text = ["critic", "aggregation", "family", "position", "category"]
    table[text] = table[text].astype(object).fillna("")
    return table


def _compare(command: str, result: CompareResult) -> Iterator[Row]:
    keys = ["critic", "aggregation"]
    wide = result.summary.merge(result.statistics.drop(columns="n"), on=keys)
    if len(result.lengths):
        wide = wide.merge(result.lengths, on=keys, how="left")
    for record in wide.to_dict("records"):
        for name, interval in _COMPARE.items():
            if name in record:
                own = record
                if name == "matched_d_acc":
                    own = record | {"n": record["matched_n"], "prompts": record["matched_prompts"]}
                figure = _figure(f"{command}.{name}", own, name, interval)
                yield figure | {"ids": _wrong(result, record) if name == "d_acc" else []}
    for record in result.categories.to_dict("records"):
        yield _figure(f"{command}.d_acc", record, "d_acc", ("d_acc_low", "d_acc_high"))
        for name in ("mean_gap", "gap_over_sd"):
            yield _figure(f"{command}.{name}", record, name, None)
    for category in ("", *sorted(set(result.pairs.category) - {""})):
        pairs = result.pairs if category == "" else result.pairs[result.pairs.category == category]
        for (critic, aggregation), frame in pairs.groupby(keys, sort=False):
            median = median_interval(frame.gap.abs(), list(frame.prompt_hash))
            worst = frame.iloc[(-frame.gap.abs()).argsort(kind="stable")].id.head(_WORST)
            yield {
                **dict(zip(keys, (critic, aggregation), strict=True)),
                "metric": f"{command}.median_abs_gap",
                "category": category,
                **median._asdict(),
                "n": len(frame),
                "prompts": frame.prompt_hash.nunique(),
                "floor": frame.floor.iloc[0],
                "ids": list(worst),
            }


def _wrong(result: CompareResult, record: Row) -> list[str]:
    own = result.pairs[(result.pairs.critic == record["critic"]) & (result.pairs.aggregation == record["aggregation"])]
    return list(own[own.verdict == "student"].sort_values("gap_over_sd", kind="stable").id.head(_WORST))


def _edits(command: str, result: PerturbResult) -> Iterator[Row]:
    keys = ["critic", "aggregation", "family", "position", "kind"]
    cases = dict(list(result.cases.groupby(keys, sort=False)))
    for record in result.summary.to_dict("records"):
        frame = cases[tuple(record[key] for key in keys)]
        worst = list(dict.fromkeys(frame.id))[:_WORST]  # cases stand worst first
        ordered = record["sign"] != 0
        for name, interval in _EDITS.items():
            if name == "right_order" and not ordered:
                continue
            if name == "median_abs_delta_over_sd" and (ordered or record["kind"] == "identity"):
                interval = None  # the interval of the record is that of the rate
            yield _figure(f"{command}.{name}", record, name, interval) | {"ids": worst}
        raw = median_interval(frame.delta.abs(), list(frame.prompt_hash))
        own = {key: record[key] for key in ("critic", "aggregation", "family", "position", "n", "prompts")}
        floor = {"floor": frame.floor.iloc[0], "ids": worst}
        yield {"metric": f"{command}.median_abs_delta", **own, **raw._asdict(), **floor}
        if command == "completeness" and record["family"] == "to-complete":
            complete = median_interval(frame.variant_score, list(frame.prompt_hash))
            yield {"metric": "completeness.complete_score", **own, **complete._asdict(), **floor}
    if command == "perturb":
        for record in result.headline.to_dict("records"):
            for name, interval in _HEADLINE.items():
                sizes = dict(zip(("n", "prompts"), (record[size] for size in _SIZES[name]), strict=True))
                yield _figure(f"perturb.{name}", record | sizes, name, interval)
            yield _figure("perturb.harmless_fails", record | {"n": record["harmless"]}, "harmless_fails", None)


def _tokens(command: str, result: TokensResult) -> Iterator[Row]:
    for record in result.dependence.to_dict("records"):
        for name in _TOKENS:
            yield _figure(f"{command}.{name}", record | {"n": record["responses"]}, name, None)
    for record in result.positions.to_dict("records"):
        place = {"position": f"{record['share']:.0%}"}
        yield _figure(f"{command}.d_acc", record | place, "d_acc", ("d_acc_low", "d_acc_high"))


def _doctor(command: str, results: list[tuple[str, DoctorResult]]) -> Iterator[Row]:
    for critic, result in results:
        for name, verdict in (("fails", "fail"), ("warnings", "warn")):
            checks = result.checks[result.checks.verdict == verdict]
            own = {"critic": critic, "value": float(len(checks)), "n": len(result.checks)}
            yield {"metric": f"{command}.{name}", **own, "ids": list(checks.check)}


def _logs(command: str, levels: pd.DataFrame) -> Iterator[Row]:
    for record in levels.to_dict("records"):
        yield _figure(f"{command}.{record['name']}", record, "value", None)


def _track(command: str, of_places: pd.DataFrame) -> Iterator[Row]:
    for record in of_places.to_dict("records"):
        yield _figure(f"{command}.{record['figure']}", record, "value", ("low", "high"))


def _figure(metric: str, record: Row, name: str, interval: tuple[str, str] | None) -> Row:
    low, high = (record[interval[0]], record[interval[1]]) if interval else (None, None)
    own = {key: record.get(key, "") for key in ("critic", "aggregation", "family", "position", "category")}
    size = {"n": record["n"], "prompts": record.get("prompts")}
    return {"metric": metric, **own, "value": record[name], "low": low, "high": high, **size, "ids": []}


_OF_COMMAND: dict[str, Callable[[str, Any], Iterator[Row]]] = {
    "compare": _compare,
    "perturb": _edits,
    "completeness": _edits,
    "tokens": _tokens,
    "doctor": _doctor,
    "logs": _logs,
    "track": _track,
}
