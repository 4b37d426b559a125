"""`python -m benchmarks.health`: how often the checks on runs name a failure, and how often they are wrong.

Sound runs of five kinds and runs with one failure each (`benchmarks.runs`) are judged under the default profile. Bounds
were chosen on seeds from 0; the printed figures are of seeds from 10,000 on, which nothing was chosen on.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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


def alarms(made: Made) -> list[Finding]:
    """What is said of a run that is no mere information."""
    return _alarms(findings(run_table(made.series), made.scores, PROFILE))


def watched(made: Made, looks: int) -> Iterator[tuple[int, list[Finding]]]:
    """The last step that was logged at each of so many looks while a run goes on, and what is said of it there."""
    table = run_table(made.series)
    steps = table.values.index
    for look in range(1, looks + 1):
        last = int(steps[len(steps) * look // looks - 1])
        part, scores = table.between(steps[0], last), made.scores[made.scores.step <= last]
        yield last, _alarms(findings(part, scores, PROFILE, going_on=True))


def _alarms(said: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in said if finding.verdict in ("fail", "warn")]


def recall(name: str, seeds: Iterable[int]) -> Named:
    """How one failure is found."""
    runs, named, errors, others = 0, 0, [], Counter[str]()
    for seed in seeds:
        made = failed(name, seed)
        said = alarms(made)
        own = _own(name, said)
        runs, named = runs + 1, named + bool(own)
        if own and made.onset is not None:
            errors.append(abs((own[0].step or 0) - made.onset))
        others.update({finding.check for finding in said} - set(FAILURES[name].checks))
    return Named(runs, named, errors, others)


def _own(name: str, said: Iterable[Finding]) -> list[Finding]:
    """What names a failure."""
    return [finding for finding in said if finding.check in FAILURES[name].checks]


def delays(name: str, seeds: Iterable[int], looks: int) -> list[int | None]:
    """At which look from its onset on a failure is named, from 1; None where at none while the run goes on."""
    delay: list[int | None] = []
    for seed in seeds:
        made = failed(name, seed)
        since = (said for last, said in watched(made, looks) if last >= (made.onset or 0))
        delay.append(next((look for look, said in enumerate(since, 1) if _own(name, said)), None))
    return delay


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
    parser.add_argument("--looks", type=int, default=0, help="at a run while it goes on, as --watch does")
    parser.add_argument("--only", help="failures whose name holds this")
    parser.add_argument("--checks", action="store_true", help="print the checks, and nothing else")
    given = parser.parse_args(arguments)
    if given.checks:
        print(checks_table())
        return
    seeds = range(given.first, given.first + given.seeds)
    names = [name for name in FAILURES if not given.only or given.only in name]
    print(f"Seeds from {given.first}.\n")
    if given.looks:
        print_delays(names, seeds, given.looks)
    else:
        print_recall(names, seeds)
    print_sound(range(given.first, given.first + given.sound), given.looks)


def print_recall(names: Sequence[str], seeds: Sequence[int]) -> None:
    """How each failure is found once the run is done, as Markdown."""
    print("| failure | what happens | named by | recall | median onset error, steps |\n|---|---|---|---|---|")
    rows = []
    for name in names:
        row = recall(name, seeds)
        rows.append(row)
        error = f"{np.median(row.errors):g}" if row.errors else "-"
        checks = ", ".join(f"`{check}`" for check in FAILURES[name].checks)
        print(f"| {name} | {FAILURES[name].says} | {checks} | {row.named}/{row.runs} | {error} |", flush=True)
    errors = [error for row in rows for error in row.errors]
    named, runs = sum(row.named for row in rows), sum(row.runs for row in rows)
    if runs:
        print(f"\nNamed: {named} of {runs} ({named / runs:.1%}); median onset error {np.median(errors):g} steps.")


def print_delays(names: Sequence[str], seeds: Sequence[int], looks: int) -> None:
    """When each failure is told while the run goes on, as Markdown."""
    print(f"| failure | told at one of {looks} looks | median look, the first from its onset on is 1 |\n|---|---|---|")
    for name in names:
        delay = delays(name, seeds, looks)
        told = [look for look in delay if look is not None]
        median = f"{np.median(told):g}" if told else "-"
        print(f"| {name} | {len(told)}/{len(delay)} | {median} |", flush=True)


def print_sound(seeds: Sequence[int], looks: int) -> None:
    """Of how many sound runs something is said: of the whole, or at any of so many looks where there are some."""
    wrong = Counter[str]()
    count = 0
    for seed in seeds:
        made = sound(seed)
        said = [finding for _, each in watched(made, looks) for finding in each] if looks else alarms(made)
        if said:
            count += 1
            wrong.update({f"{finding.check} ({made.kind}, seed {seed})" for finding in said})
    print(f"Sound runs with a warning or failure: {count} of {len(seeds)}.")
    for word, times in wrong.most_common():
        print(f"- {word}: {times}")


if __name__ == "__main__":
    main()
