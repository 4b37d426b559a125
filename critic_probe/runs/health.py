"""Whether a run was sound, by what it logged: an audit after the fact, which warns of nothing to come.

A finding says what was measured, at which steps, what it usually comes from and the command that would tell. Bounds are
a profile's. Each part of a run that was logged under one definition is judged by itself, so that a new definition is no
finding, and figures of one network say nothing of another.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from critic_probe.errors import CriticProbeError
from critic_probe.gates.figures import LOGS, figures
from critic_probe.gates.gate import Plan, evaluate
from critic_probe.runs.checks import learning, records, stability
from critic_probe.runs.checks.check import CHECKS, Check, Finding, Run
from critic_probe.runs.names import METRICS
from critic_probe.runs.profile import Profile, load_profile
from critic_probe.runs.table import RunTable
from critic_probe.stats.trend import mann_kendall, theil_sen

__all__ = ["CHECKS", "Finding", "columns", "exit_code", "findings", "gated", "levels", "trends"]
_MODULES = (learning, records, stability)  # which fill CHECKS
_ORDER = {"fail": 0, "warn": 1, "info": 2, "skipped": 3}
_LAST = 20  # logged steps at least that a level is taken from
TRENDS = ("name", "first", "last", "n", "per_100_steps", "low", "high", "tau", "p")
NOT_LOGGED = "not logged"
SCORES = ("step", "side", "length", "score")


def findings(
    table: RunTable, scores: pd.DataFrame | None = None, profile: Profile | None = None, *, going_on: bool = False
) -> list[Finding]:
    """What the checks of a profile say of a run: failures first, in the order of steps; what was skipped, last.

    A check without a finding is not in the list.

    Args:
        table: What the run logged.
        scores: One row a logged response: step, side (student, teacher), length in tokens, score; None for none.
        profile: Bounds by check; None for the default ones.
        going_on: Whether the run may still be writing: what later steps could refute must have stood for longer then.
    """
    profile = load_profile() if profile is None else profile
    scores = pd.DataFrame(columns=list(SCORES)) if scores is None else scores
    scores = scores.astype({"length": float, "score": float}).dropna(subset="score")
    if not len(table.values):  # samples alone
        table = replace(table, values=pd.DataFrame(index=pd.Index(sorted(set(scores.step)), dtype=int, name="step")))
    found: list[Finding] = []
    if len(table.values):
        run = Run(table, scores, profile, int(table.values.index[0]), going_on=going_on)
        for name in profile:
            if name != "general":
                found += _judged(CHECKS[name], run)
    return sorted(found, key=lambda f: (_ORDER[f.verdict], -1 if f.step is None else f.step))


def _judged(check: Check, run: Run) -> list[Finding]:
    """The worst finding of each kind of evidence that the parts of a run give, or why there is none."""
    if lacking := check.lacks(run):
        return [Finding(check.name, "skipped", None, f"{NOT_LOGGED}: {', '.join(lacking)}")]
    whole = (part for part in _parts(check, run) if not check.lacks(part))
    parts = [part for part in whole if check.early or part.last >= part.concluding]
    if not parts:
        least = run.profile["general"]["steps"]
        return [Finding(check.name, "skipped", None, f"nothing is concluded from fewer than {least:g} steps")]
    return [finding for part in parts for finding in check.judge(part, run.profile[check.name])]


def _parts(check: Check, run: Run) -> Iterator[Run]:
    """The run, cut where a figure that the check looks at is logged under another definition from then on."""
    first, last = int(run.table.values.index[0]), int(run.table.values.index[-1])
    ends = [first, *run.table.redefined(check.names), last + 1]
    for start, stop in pairwise(ends):
        part = run.table.between(start, stop - 1)
        if len(part.values):
            scores = run.scores[(run.scores.step >= start) & (run.scores.step < stop)]
            yield replace(run, table=part, scores=scores, redefined=len(ends) > 2)


def exit_code(found: Sequence[Finding]) -> int:
    """1 where a check fails, else 0."""
    return int(any(finding.verdict == "fail" for finding in found))


def levels(found: Sequence[Finding], table: RunTable) -> pd.DataFrame:
    """What gates can bound of a run, as `logs.NAME`: name, value, n.

    `fails` and `warnings` count findings; a figure such as `critic/d_acc` is the median of the last quarter of its
    logged steps, at least 20 of them where there are as many.
    """
    rows: list[dict[str, object]] = [
        {"name": name, "value": float(sum(f.verdict == verdict for f in found)), "n": len(found)}
        for name, verdict in (("fails", "fail"), ("warnings", "warn"))
    ]
    for name in table.values:
        logged = table.values[name].dropna()
        last = logged.iloc[-max(len(logged) // 4, _LAST) :]
        if len(last):
            rows.append({"name": str(name), "value": float(last.median()), "n": len(last)})
    return pd.DataFrame(rows)


def trends(table: RunTable) -> pd.DataFrame:
    """Which known figures rise or fall in the second half of their logged steps, each under its last definition.

    Columns: name, first, last, n, per_100_steps (Theil-Sen) with low and high of its 95 % interval, tau and p
    (Mann-Kendall). Low, high and p allow for autocorrelated noise; NaN where too few independent values can tell.
    """
    rows = []
    for name in (name for name in map(str, table.values) if name in METRICS):
        since = max(table.redefined([name]), default=-math.inf)
        logged = table.values[name].dropna().loc[since:]
        logged = logged.iloc[len(logged) // 2 :]
        if len(logged):
            tau, p, _ = mann_kendall(logged)
            slope, low, high = (100 * each for each in theil_sen(logged.index, logged))
            ends = {"name": name, "first": int(logged.index[0]), "last": int(logged.index[-1]), "n": len(logged)}
            rows.append(ends | {"per_100_steps": slope, "low": low, "high": high, "tau": tau, "p": p})
    return pd.DataFrame(rows, columns=list(TRENDS))


def gated(plan: Plan, found: Sequence[Finding], table: RunTable) -> pd.DataFrame:
    """What gates say of a run, a row a gate; see `gates.gate.evaluate`.

    Args:
        plan: Gates on `logs.NAME`, each with `at = "value"`.
        found: Of `findings`.
        table: What the run logged.

    Raises:
        CriticProbeError: A gate bounds what is no figure of a run.
    """
    known = {f"{LOGS}{name}" for name in ("fails", "warnings", *METRICS, *table.values)}
    for gate in plan.gates:
        if not gate.metric.startswith(LOGS):
            raise CriticProbeError(
                f"{plan.source}: '{gate.metric}' is a figure of a critic; keep such gates in a file of their own for "
                "critic-probe check"
            )
        if gate.metric not in known:
            raise CriticProbeError(
                f"{plan.source}: metric '{gate.metric}' is unknown; choose from {', '.join(sorted(known))}"
            )
    return evaluate(plan, figures({"logs": levels(found, table)}), ())


def columns(found: Sequence[Finding]) -> pd.DataFrame:
    """Findings as a table: check, verdict, step, evidence, causes (joined), confirm."""
    rows = [finding._asdict() | {"causes": "; ".join(finding.causes)} for finding in found]
    table = pd.DataFrame(rows, columns=list(Finding._fields))
    return table.assign(step=table.step.astype("Int64"))
