"""What gates need, measured in one loop: each critic is loaded once, whatever they name."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Literal

import pandas as pd

from critic_probe.errors import CriticProbeError, Notice
from critic_probe.gates.figures import LOGS, OF_RUNS, figures
from critic_probe.gates.gate import Gate, Plan, evaluate, exit_code
from critic_probe.measures.compare import Compare
from critic_probe.measures.doctor import Doctor, DoctorResult
from critic_probe.measures.perturb import Perturb
from critic_probe.measures.report import Keep, ReportResult, report
from critic_probe.measures.result import Measured, Statement
from critic_probe.measures.tokens import Tokens
from critic_probe.measures.variants import Plan as Edits
from critic_probe.measures.wording import counted
from critic_probe.probes import all_families, choose
from critic_probe.workbench import Bench, Run, Signature, run

Results = dict[str, Any]
"""Command -> its result, as `figures` takes it."""

# What the pictures of a report need, told as gates without a bound.
_PICTURED = tuple(Gate(name) for name in ("compare.d_acc", "perturb.strongest_harmless", "tokens.d_acc"))


@dataclass(frozen=True, repr=False)
class CheckResult(Measured):
    """Whether a critic's figures hold what gates demand of them.

    Attributes:
        source: Where the gates come from.
        gates: One row per gate and figure that it bounds, with its verdict; see `evaluate`.
        on_unclear: As what a verdict `cannot tell` counts.
        exit_code: 0 where every gate holds, else 1.
        drift: What differs from a baseline; None without one.
    """

    command: ClassVar[str] = "check"  # type: ignore[misc]
    facts: ClassVar[tuple[str, ...]] = ("source",)
    tables: ClassVar[tuple[str, ...]] = ("gates",)
    main: ClassVar[str] = "gates"

    source: str
    gates: pd.DataFrame
    on_unclear: str
    exit_code: int
    drift: pd.DataFrame | None = None

    def answer(self) -> list[Statement]:
        """Whether the gates hold, how many do not, and what moved against a baseline."""
        missed = self.gates[self.gates.severity == "fail"].verdict
        counts = {word: int((missed == word).sum()) for word in ("fail", "cannot tell")}
        counts["warn"] = int(((self.gates.severity == "warn") & (self.gates.verdict != "pass")).sum())
        counts["pass"] = int((self.gates.verdict == "pass").sum())
        unclear = f"cannot be told (as {self.on_unclear})"
        verbs = {
            "fail": ("fails", "fail"),
            "cannot tell": (unclear, unclear),
            "warn": ("only warns", "only warn"),
            "pass": ("holds", "hold"),
        }
        answers = counted((count, *verbs[word]) for word, count in counts.items())
        word = "Passed" if self.passed else "Failed"
        text = f"{word} ({self.source}): of {len(self.gates)} bounded figures {answers}; exit code {self.exit_code}."
        said = [Statement(text, {**counts, "exit_code": self.exit_code})]
        if self.drift is not None:
            moved = counted([(len(self.drift), "figure differs", "figures differ")]) or "Nothing differs"
            said.append(Statement(f"{moved} from the baseline.", {"drift": len(self.drift)}))
        return said

    @property
    def passed(self) -> bool:
        """Whether every gate holds."""
        return self.exit_code == 0


def of_run(source: str, verdicts: pd.DataFrame, result: Measured) -> CheckResult:
    """What gates on a run say, as every medium shows verdicts; without gates they hold.

    Args:
        source: Where the gates come from.
        verdicts: A row a gate and figure; see `evaluate`.
        result: What they are of.
    """
    missed = int(len(verdicts) > 0 and exit_code(verdicts, "fail"))
    return CheckResult(source, verdicts, "fail", missed, notices=result.notices, signature=result.signature)


def measure(plan: Plan, benches: Iterable[Bench], most: int | None = None, seed: int = 0) -> tuple[Results, Signature]:
    """What the gates need, of all benches.

    Args:
        plan: The gates.
        benches: One a critic, on the same pairs with the same settings.
        most: At most so many edits a response; None for all.
        seed: Draws them.

    Returns:
        The results, and the signature of the first.
    """
    measures = _measures(plan, most, seed)
    done = run(benches, list(measures.values()))
    results = _results(measures, done)
    first = next((result for name, result in results.items() if name != "doctor"), None)
    return results, results["doctor"][0][1].signature if first is None else first.signature


def judge(
    plan: Plan,
    results: Results,
    signature: Signature,
    unnamed: Sequence[str],
    on_unclear: Literal["pass", "fail"] = "fail",
) -> CheckResult:
    """What the gates say of results.

    Args:
        plan: The gates.
        results: Those of `measure`.
        signature: Theirs.
        unnamed: The read-outs that a gate bounds which names none.
        on_unclear: As what a verdict `cannot tell` counts.
    """
    verdicts = evaluate(plan, figures(results), unnamed)
    examined = results.get("doctor", ())
    measured = [each for name, each in results.items() if name != "doctor"] + [r for _, r in examined]
    said = list(chain.from_iterable(each.notices for each in measured))
    codes = {notice.code for notice in said}
    said += [n for name, each in examined for n in _warned(name, each) if n.code not in codes]
    notices = list({(n.code, n.message, *n.ids): n for n in said}.values())
    fed = next((each.input for each in measured if each.input is not None), None)
    code = exit_code(verdicts, on_unclear)
    return CheckResult(plan.source, verdicts, on_unclear, code, signature=signature, notices=notices, input=fed)


def _warned(critic: str, examined: DoctorResult) -> Iterator[Notice]:
    """What a doctor warns of, as the notices of every other measurement have it."""
    for row in examined.checks[examined.checks.verdict == "warn"].itertuples():
        yield Notice(row.check, f"{critic}: {row.evidence}")


def measure_report(
    plan: Plan, benches: Iterable[Bench], unnamed: Sequence[str], most: int | None = None, seed: int = 0
) -> tuple[ReportResult, CheckResult]:
    """What a report shows, and what the gates say of it, from one loop; see `measure` and `judge`.

    Args:
        plan: The gates.
        benches: As `measure`; with a cache, unless their critics stay loaded.
        unnamed: The read-outs that a gate bounds which names none.
        most: At most so many edits a response; None for all.
        seed: Draws them.
    """
    measures, keep = _measures(Plan(plan.source, (*plan.gates, *_PICTURED)), most, seed), Keep()
    done = run(benches, [*measures.values(), keep])
    results = _results(measures, done)
    compared, perturbed, along = (results[name] for name in ("compare", "perturb", "tokens"))
    shown = report(done.benches, keep.pairs, compared, perturbed, along, measures["perturb"].plan)
    return shown, judge(plan, results, compared.signature, unnamed)


def _measures(plan: Plan, most: int | None, seed: int) -> dict[str, Any]:
    """A measurement for each command that gates name.

    Raises:
        CriticProbeError: A gate bounds a figure of a run, which no critic tells.
    """
    if of_runs := [gate.metric for gate in plan.gates if gate.metric.startswith(OF_RUNS)]:
        what, command = ("log", "logs") if of_runs[0].startswith(LOGS) else ("checkpoints", "track")
        raise CriticProbeError(
            f"{plan.source}: '{of_runs[0]}' is a figure of a run's {what}; keep such gates in a file of their own for "
            f"critic-probe {command}"
        )
    families = all_families()
    measures: dict[str, Any] = {}
    for name in plan.commands:
        if name == "compare":
            measures[name] = Compare()
        elif name == "tokens":
            measures[name] = Tokens()
        elif name == "doctor":
            measures[name] = Doctor()
        else:
            asked = {gate.family for gate in plan.gates if gate.metric.startswith(f"{name}.")}
            whole = ["punct", "controls"] if name == "perturb" else ["completeness"]
            chosen = choose(families, whole if "" in asked else [], asked - {""})
            measures[name] = Perturb(Edits(chosen, most=most, seed=seed), name)
    return measures


def _results(measures: dict[str, Any], done: Run) -> Results:
    return {name: each.results if isinstance(each, Doctor) else each.result(done) for name, each in measures.items()}
