"""What gates need, measured in one loop: each critic is loaded once, whatever they name."""

from collections.abc import Iterable
from typing import Any

from critic_probe.gates.gate import Plan
from critic_probe.measures.compare import Compare
from critic_probe.measures.doctor import Doctor
from critic_probe.measures.perturb import Perturb
from critic_probe.measures.tokens import Tokens
from critic_probe.measures.variants import Plan as Edits
from critic_probe.probes import all_families, choose
from critic_probe.workbench import Bench, Run, Signature, run

Results = dict[str, Any]
"""Command -> its result, as `figures` takes it."""


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
    measures = measures_of(plan, most, seed)
    done = run(benches, list(measures.values()))
    results = results_of(measures, done)
    first = next((result for name, result in results.items() if name != "doctor"), None)
    return results, results["doctor"][0][1].signature if first is None else first.signature


def measures_of(plan: Plan, most: int | None, seed: int) -> dict[str, Any]:
    """A measurement for each command that gates name; see `measure`."""
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
            measures[name] = Perturb(Edits(chosen, most=most, seed=seed))
    return measures


def results_of(measures: dict[str, Any], done: Run) -> Results:
    """What each measurement of a run makes of it."""
    return {name: each.results if isinstance(each, Doctor) else each.result(done) for name, each in measures.items()}
