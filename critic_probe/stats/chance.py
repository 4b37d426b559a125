"""What the order of controls shows: evidence by kinds of fault that no single direction can order.

Under one head, edits that are alike move the score together, rightly or wrongly, since they share the few directions in
which a backbone's states differ: the interval over prompts of all controls together lies off 1/2 for half of all heads
that learnt nothing. So each kind of fault is asked alone, and the kinds pull against each other: a rule that orders
answers that were cut short is wrong about those that were made longer, and neither helps with a wrong fact or with the
answer to another prompt, which are as long as what they replace. That all are ordered rightly at once happens to few
heads that learnt nothing; `benchmarks/untrained_heads.py` counts them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from critic_probe.stats.intervals import Interval
from critic_probe.stats.rates import too_few

FAULTS: dict[str, tuple[str, ...]] = {
    "cut short": ("truncated-25", "truncated-50", "truncated-75", "truncated-closed", "item-dropped"),
    "made longer": ("off-topic-tail", "off-topic-head", "sentence-repeated"),
    "wrong facts": ("wrong-digit", "wrong-option", "negation"),
    "another answer": ("other-answer",),
}


class Fault(NamedTuple):
    """How often a kind of fault scores lower than the answer without it."""

    fault: str
    n: int
    prompts: int
    right: float
    low: float
    high: float


def controls_word(right: Interval, n: int, prompts: int, faults: list[Fault], rule: str) -> str:
    """The one word on the order of controls; every sentence and table takes it from here.

    Args:
        right: The rate of the right order over all controls.
        n: How many controls there are.
        prompts: Of how many prompts.
        faults: The same by kind of fault.
        rule: The simple rule that explains the moves; empty where none does.
    """
    if rule:
        return "a simple rule"
    if too_few(n, prompts):
        return "too few" if n else ""
    if right.high < 0.5:
        return "below chance"
    if not right.low > 0.5:
        return "at chance"
    enough = [fault for fault in faults if not too_few(fault.n, fault.prompts)]
    if any(not fault.low > 0.5 for fault in enough):
        return "not every fault"
    return "above chance" if len(enough) == len(faults) else "cannot tell"


def weakest(faults: list[Fault]) -> Fault:
    """The kind of fault that decides: the one whose interval reaches lowest, else one of which there are too few."""
    enough = [fault for fault in faults if not too_few(fault.n, fault.prompts)]
    worst = min(enough, key=lambda fault: fault.low, default=faults[0])
    if worst in enough and not worst.low > 0.5:
        return worst
    return next((fault for fault in faults if fault not in enough), worst)


def by_fault(controls: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The controls of each kind of fault, in the order of `FAULTS`."""
    for fault, families in FAULTS.items():
        yield fault, controls[controls.family.isin(families)]
