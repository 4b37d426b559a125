"""What the logs of a run say: its figures by step, and whether it was sound."""

import math
from array import array
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from critic_probe.errors import CriticProbeError, Notice
from critic_probe.gates.gate import Plan
from critic_probe.gates.measure import CheckResult, of_run
from critic_probe.measures.result import Measured, Statement
from critic_probe.runs.health import NOT_LOGGED, SCORES, columns, findings, gated, trends
from critic_probe.runs.names import METRICS, OF_SAMPLES, OTHER
from critic_probe.runs.pairs import PairsFile
from critic_probe.runs.profile import load_profile
from critic_probe.runs.read import Records
from critic_probe.runs.record import Column, Figures, Sample
from critic_probe.runs.table import Collected, RunTable, run_table
from critic_probe.text import listed, neutralise
from critic_probe.version import __version__
from critic_probe.workbench import Signature

_SOURCES = ("path", "format", "framework", "version", "notes")
_NOUNS = {"fail": "failure", "warn": "warning", "info": "note"}
_ORDER = {name: place for place, name in enumerate(METRICS)}


@dataclass(frozen=True, repr=False)
class LogsResult(Measured):
    """What the logs of a run say.

    Attributes:
        sources: One row per file: path, format, framework, version, notes (what of it was lost).
        metrics: One row per name: name, logged, definition (of its last steps), steps (how many), first, last, min,
            max, not_finite.
        changes: One row per step from which on a name is logged otherwise: name, step, logged, definition, and both
            before.
        trends: One row per known name, see `health.trends`: its slope in the second half of the logged steps.
        findings: One row per finding, see `health.columns`.
        gates: One row per gate on a figure of the run, with its verdict; empty without gates.
        steps: One row per step: step, and a column per name.
    """

    command = "logs"
    tables = ("sources", "metrics", "changes", "trends", "findings", "gates", "steps")
    main = "steps"

    sources: pd.DataFrame
    metrics: pd.DataFrame
    changes: pd.DataFrame
    trends: pd.DataFrame
    findings: pd.DataFrame
    gates: pd.DataFrame
    steps: pd.DataFrame

    @property
    def failed(self) -> bool:
        """Whether a check or a gate fails."""
        return "fail" in set(self.findings.get("verdict", ())) or not self.checked("").passed

    def checked(self, source: str) -> CheckResult:
        """What the gates say, as every medium shows verdicts.

        Args:
            source: Where the gates come from.
        """
        return of_run(source, self.gates, self)

    def answer(self) -> list[Statement]:
        """What was read, and the worst that was found."""
        known = [name for name in self.metrics["name"] if not name.startswith(f"{OTHER}/")]
        steps = self.steps["step"]
        files = "1 file" if len(self.sources) == 1 else f"{len(self.sources)} files"
        over = f"{len(steps)} steps, {steps.min()} to {steps.max()}" if len(steps) != 1 else f"1 step, {steps.min()}"
        read = Statement(
            f"{files}: {len(known)} known figures over {over}."
            if len(steps)
            else f"{files}: samples, and no figures by step.",
            {"files": len(self.sources), "figures": len(known), "steps": len(steps)},
        )
        by_verdict = self.findings["verdict"].value_counts().to_dict() if len(self.findings) else {}
        told = [read, *_told(self.findings, by_verdict)]
        if len(self.gates):
            counts = self.gates["verdict"].value_counts().to_dict()
            told.append(Statement(f"Gates: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}.", counts))
        return told


def read_logs(
    paths: Sequence[str | Path],
    profile: str | Path | None = None,
    pairs: Path | None = None,
    gates: Plan | None = None,
    *,
    going_on: bool = False,
) -> LogsResult:
    """Reads the logs of one run and judges them.

    Args:
        paths: Files, and directories for the files below them.
        profile: Bounds of the checks, by name or as a TOML file; None for the default ones.
        pairs: Where samples go as pairs, .jsonl or .parquet; None for nowhere.
        gates: Bounds on `logs.` figures; None for none.
        going_on: Whether the run may still be writing; see `health.findings`.

    Raises:
        CriticProbeError: A file cannot be read or written, the profile is unknown, or there is nothing in the files.
    """
    bounds = load_profile() if profile is None else load_profile(profile)
    records = Records(paths)
    collected, scores = Collected(), _Scores()
    lost = False
    with nullcontext() if pairs is None else PairsFile(pairs) as written:
        for record in records:
            if isinstance(record, Figures):
                collected.add(record)
                continue
            scores.add(record)
            lost |= record.eos_lost
            if written is not None:
                written.add(record)
    series, beside = _of_whole_steps(collected.series())
    responses = scores.table()
    if not (series or len(responses)):
        notes = [f"{source.path}: {note}" for source in records.sources for note in source.notes]
        raise CriticProbeError("; ".join([f"{listed(paths)}: nothing that a run logged", *records.refused, *notes]))
    table = run_table(series)
    judged = findings(table, responses, bounds, going_on=going_on)
    return LogsResult(
        pd.DataFrame([_source(source) for source in records.sources], columns=list(_SOURCES)),
        _metrics(table),
        _changes(table),
        trends(table),
        columns(judged),
        pd.DataFrame() if gates is None else gated(gates, judged, table),
        table.values[_in_order(table.values.columns)].reset_index(),
        notices=[*_notices(records, table, lost, beside), *_of_pairs(written)],
        signature=Signature(version=__version__),
    )


class _Scores:
    """The scores of responses as bare numbers."""

    def __init__(self) -> None:
        self._steps, self._teachers = array("q"), array("b")
        self._lengths, self._scores = array("d"), array("d")

    def add(self, sample: Sample) -> None:
        """Takes those of one more sample."""
        for side in filter(None, (sample.student, sample.teacher)):
            self._steps.append(sample.step)
            self._teachers.append(side is sample.teacher)
            self._lengths.append(math.nan if side.length is None else side.length)
            self._scores.append(math.nan if side.score is None else side.score)

    def table(self) -> pd.DataFrame:
        """A row a response, see `health.SCORES`; NaN where it has no score or no length."""
        sides = np.where(np.asarray(self._teachers), "teacher", "student")
        return pd.DataFrame(dict(zip(SCORES, (self._steps, sides, self._lengths, self._scores), strict=True)))


def _of_whole_steps(series: dict[Column, pd.DataFrame]) -> tuple[dict[Column, pd.DataFrame], list[str]]:
    """The figures without those of micro-batches that the run logs of whole steps too; and the names of these."""
    whole = {column.name for column in series if not column.logged.startswith(OF_SAMPLES)}
    beside = {column for column in series if column.name in whole and column.logged.startswith(OF_SAMPLES)}
    kept = {column: rows for column, rows in series.items() if column not in beside}
    return kept, sorted({column.name for column in beside})


def _source(source: Any) -> dict[str, Any]:
    return {
        "path": neutralise(str(source.path)),
        "format": source.format,
        "framework": source.framework,
        "version": source.version,
        "notes": "; ".join(source.notes),
    }


def _in_order(names: Sequence[str]) -> list[str]:
    """Known names as `METRICS` has them, then others by name."""
    return sorted(names, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))


def _metrics(table: RunTable) -> pd.DataFrame:
    last = table.definitions.groupby("name", sort=False).last()
    bad = table.not_finite.groupby("name").size()
    rows = []
    for name in _in_order(table.values.columns):
        values = table.values[name].dropna()
        rows.append(
            {
                "name": name,
                "logged": last.loc[name, "logged"],
                "definition": last.loc[name, "definition"],
                "steps": len(values),
                "first": values.iloc[0] if len(values) else None,
                "last": values.iloc[-1] if len(values) else None,
                "min": values.min() if len(values) else None,
                "max": values.max() if len(values) else None,
                "not_finite": int(bad.get(name, 0)),
            }
        )
    return pd.DataFrame(
        rows, columns=["name", "logged", "definition", "steps", "first", "last", "min", "max", "not_finite"]
    )


def _changes(table: RunTable) -> pd.DataFrame:
    rows = []
    for name, parts in table.definitions.groupby("name", sort=False):
        for before, after in zip(parts.itertuples(), parts.iloc[1:].itertuples(), strict=False):
            rows.append(
                {
                    "name": name,
                    "step": after.first,
                    "logged": after.logged,
                    "definition": after.definition,
                    "logged_before": before.logged,
                    "definition_before": before.definition,
                }
            )
    return pd.DataFrame(rows, columns=["name", "step", "logged", "definition", "logged_before", "definition_before"])


def _told(found: pd.DataFrame, by_verdict: dict[str, int]) -> list[Statement]:
    """The verdicts, and the first finding."""
    judged = {verdict: count for verdict, count in by_verdict.items() if verdict != "skipped"}
    if not judged:
        return [Statement("Nothing to report in what the checks could look at.", dict(by_verdict)), *_skipped(found)]
    counts = ", ".join(
        f"{judged[verdict]} {noun}{'' if judged[verdict] == 1 else 's'}"
        for verdict, noun in _NOUNS.items()
        if verdict in judged
    )
    worst = found.iloc[0]
    at = "" if pd.isna(worst["step"]) else f" from step {worst['step']} on"
    lead = ":" if sum(judged.values()) == 1 else "; first"
    told = f"{counts}{lead} {worst['check']}{at}: {worst['evidence'].rstrip('.')}."
    return [Statement(told, dict(by_verdict)), *_skipped(found)]


def _skipped(found: pd.DataFrame) -> list[Statement]:
    """How many checks could not be made, and why."""
    reasons = found.loc[found["verdict"] == "skipped", "evidence"]
    short = reasons.where(~reasons.str.startswith(NOT_LOGGED), "their figures were not logged")
    counts = {str(reason): count for reason, count in short.value_counts().items()}
    told = ", ".join(f"{count} ({reason})" for reason, count in counts.items())
    return [Statement(f"Skipped checks: {told}.", counts)] if told else []


def _notices(records: Records, table: RunTable, lost: bool, beside: list[str]) -> list[Notice]:
    of_table = [
        Notice(
            "resumed", f"the run goes back from step {row.until} to {row.step}: the later figures stand from there on"
        )
        for row in table.restarts.itertuples()
    ]
    several = {
        "repeated": ("of several figures at a step the mean stands", table.repeated),
        "other-definition": ("also logged under another definition, which is left out", table.left_out),
    }
    for code, (message, rows) in several.items():
        if len(rows):
            of_table.append(Notice(code, f"{message}: {listed(dict.fromkeys(rows['name']))}"))
    if beside:
        message = (
            f"of whole steps, as the run logs them, and not of the micro-batches of scoring details: {listed(beside)}"
        )
        of_table.append(Notice("whole-steps", message))
    unread = [Notice("not-read", sentence) for sentence in records.refused]
    if records.unknown:
        unread.append(Notice("no-log", f"{len(records.unknown)} other files are no logs: {listed(records.unknown)}"))
    eos = Notice("eos-lost", "some samples were logged without special tokens: whether they ended in EOS is lost")
    return [*unread, *of_table, *([eos] if lost else [])]


def _of_pairs(written: PairsFile | None) -> list[Notice]:
    if written is None:
        return []
    left = "".join(f"; {count} samples {why} are none" for why, count in written.left_out.items())
    message = (
        f"{written.written} pairs written{left}. Prompts stand as they were logged: where special tokens were dropped "
        "from them, they are not what training fed"
    )
    return [Notice("pairs", message)]
