"""From prompt groups to values."""

from critic_probe.scoring.reference import ReferenceScorer, Scorer

__all__ = ["ReferenceScorer", "Scorer"]
