"""Pairs of responses, and the files that hold them."""

from critic_probe.pairs.pair import Message, Pair, Pairs, Prompt, Response, TokenIds, data_hash
from critic_probe.pairs.read import PairFile, read_pairs
from critic_probe.pairs.rows import Fields

__all__ = [
    "Fields",
    "Message",
    "Pair",
    "PairFile",
    "Pairs",
    "Prompt",
    "Response",
    "TokenIds",
    "data_hash",
    "read_pairs",
]
