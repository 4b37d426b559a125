"""Controlled edits of a response's text."""

from critic_probe.probes.answers import Answers
from critic_probe.probes.case import (
    Case,
    Change,
    Family,
    Group,
    Kind,
    Position,
    Skip,
    Subject,
    in_context,
    with_ending_of,
)
from critic_probe.probes.drawn import Drawn, drawn
from critic_probe.probes.facts import WRONG_FACTS
from critic_probe.probes.suite import BUILT_IN, GROUPS, all_families, choose, outcomes

__all__ = [
    "BUILT_IN",
    "GROUPS",
    "WRONG_FACTS",
    "Answers",
    "Case",
    "Change",
    "Drawn",
    "Family",
    "Group",
    "Kind",
    "Position",
    "Skip",
    "Subject",
    "all_families",
    "choose",
    "drawn",
    "in_context",
    "outcomes",
    "with_ending_of",
]
