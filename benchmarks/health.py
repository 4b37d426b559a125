"""`python -m benchmarks.health`: how often the checks on runs name a failure, and how often they are wrong.

Sound runs of five kinds and runs with one failure each (`benchmarks.runs`) are judged under the default profile. Bounds
were chosen on seeds from 0; the printed figures are of seeds from 10,000 on, which nothing was chosen on.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.runs import FAILURES, Made, failed, sound
from critic_probe.runs.health import CHECKS, Finding, findings
from critic_probe.runs.profile import load_profile
from critic_probe.runs.table import run_table

HELD_OUT = 10_000
PROFILE = load_profile()


class Named(NamedTuple):
    """How a failure is found: runs, those in which a check names it, their onset errors in steps, and other checks."""

    runs: int
    named: int
    errors: list[int]
    others: Counter[str]


def alarms(made: Made, looks: int = 1) -> list[Finding]:
    """What is said of a run that is no mere information, at any of so many looks while it goes on."""
    table = run_table(made.series)
    steps, said = table.values.index, []
    for look in range(1, looks + 1):
        last = steps[len(steps) * look // looks - 1]
        said += findings(table.between(steps[0], last), made.scores[made.scores.step <= last], PROFILE)
    return [finding for finding in said if finding.verdict in ("fail", "warn")]


def recall(name: str, seeds: Iterable[int]) -> Named:
    """How one failure is found."""
    runs, named, errors, others = 0, 0, [], Counter[str]()
    for seed in seeds:
        made = failed(name, seed)
        said = alarms(made)
        own = [finding for finding in said if finding.check in FAILURES[name].checks]
        runs, named = runs + 1, named + bool(own)
        if own and made.onset is not None:
            errors.append(abs((own[0].step or 0) - made.onset))
        others.update({finding.check for finding in said} - set(FAILURES[name].checks))
    return Named(runs, named, errors, others)


def checks_table() -> str:
    """The checks and what the default profile bounds, as Markdown."""
    rows = ["| check | what it says | needs | bounds (profile `default`) |", "|---|---|---|---|"]
    for name, check in CHECKS.items():
        bounds = ", ".join(f"{key} {value}" for key, value in PROFILE.get(name, {}).items())
        needs = "; ".join(check.needs) or "any"
        asks = f"{check.asks} *At any length.*" if check.early else check.asks
        rows.append(f"| `{name}` | {asks} | {needs} | {bounds} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="runs a failure")
    parser.add_argument("--sound", type=int, default=100, help="sound runs")
    parser.add_argument("--from", type=int, default=HELD_OUT, dest="first", help="the first seed")
    parser.add_argument("--looks", type=int, default=1, help="at a sound run while it goes on, as --watch does")
    parser.add_argument("--only", help="failures whose name holds this")
    parser.add_argument("--checks", action="store_true", help="print the checks, and nothing else")
    given = parser.parse_args(arguments)
    if given.checks:
        print(checks_table())
        return
    seeds = range(given.first, given.first + given.seeds)
    print(f"Seeds from {given.first}.\n")
    print("| failure | what happens | named by | recall | median onset error, steps |\n|---|---|---|---|---|")
    rows = []
    for name, failure in FAILURES.items():
        if given.only and given.only not in name:
            continue
        row = recall(name, seeds)
        rows.append(row)
        error = f"{np.median(row.errors):g}" if row.errors else "-"
        checks = ", ".join(f"`{check}`" for check in failure.checks)
        print(f"| {name} | {failure.says} | {checks} | {row.named}/{row.runs} | {error} |", flush=True)
    errors = [error for row in rows for error in row.errors]
    named, runs = sum(row.named for row in rows), sum(row.runs for row in rows)
    if runs:
        print(f"\nNamed: {named} of {runs} ({named / runs:.1%}); median onset error {np.median(errors):g} steps.")
    wrong = Counter[str]()
    count = 0
    for seed in range(given.first, given.first + given.sound):
        made = sound(seed)
        if said := alarms(made, given.looks):
            count += 1
            wrong.update({f"{finding.check} ({made.kind}, seed {seed})" for finding in said})
    print(f"Sound runs with a warning or failure: {count} of {given.sound}.")
    for word, times in wrong.most_common():
        print(f"- {word}: {times}")


if __name__ == "__main__":
    main()
