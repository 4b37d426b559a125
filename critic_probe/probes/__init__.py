"""Controlled edits of a response's text."""

from critic_probe.probes.edit import Edit, Family, Kind, Position, Skip
from critic_probe.probes.punctuation import FAMILIES, punctuation_edits

__all__ = ["FAMILIES", "Edit", "Family", "Kind", "Position", "Skip", "punctuation_edits"]
