"""Pairs of responses, and the files that hold them."""

from critic_probe.pairs.pair import Message, Pair, Pairs, Prompt, Response, TokenIds, as_text, data_hash
from critic_probe.pairs.read import PairFile, RowFile, read_pairs
from critic_probe.pairs.rows import Fields
from critic_probe.pairs.scores import ScoredPair, holds_scores, read_scores, scores_hash

__all__ = [
    "Fields",
    "Message",
    "Pair",
    "PairFile",
    "Pairs",
    "Prompt",
    "Response",
    "RowFile",
    "ScoredPair",
    "TokenIds",
    "as_text",
    "data_hash",
    "holds_scores",
    "read_pairs",
    "read_scores",
    "scores_hash",
]
