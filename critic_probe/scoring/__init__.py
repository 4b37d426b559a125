"""From prompt groups to values."""

from critic_probe.scoring.cache import Cache, cache_info, cache_path, clear_cache
from critic_probe.scoring.engine import Engine, Mode, Stats
from critic_probe.scoring.reference import ReferenceScorer, Scorer, padded_values
from critic_probe.scoring.trie import distinct

__all__ = [
    "Cache",
    "Engine",
    "Mode",
    "ReferenceScorer",
    "Scorer",
    "Stats",
    "cache_info",
    "cache_path",
    "clear_cache",
    "distinct",
    "padded_values",
]
