"""Pairs of responses, and the files that hold them."""

from critic_probe.pairs.faults import TOO_LONG, BadRowError, Faults, OnBadRow
from critic_probe.pairs.files import RowFile
from critic_probe.pairs.messages import asked, content_text
from critic_probe.pairs.pair import (
    Candidates,
    Message,
    Pair,
    Pairs,
    Prompt,
    Record,
    Response,
    TokenIds,
    Turns,
    as_text,
    data_hash,
)
from critic_probe.pairs.read import CandidateFile, PairFile, as_pairs, read_pairs
from critic_probe.pairs.responses import Told
from critic_probe.pairs.rows import RESERVED, Fields
from critic_probe.pairs.scores import ScoredPair, holds_scores, read_scores, scores_hash
from critic_probe.pairs.transcripts import as_turns

__all__ = [
    "RESERVED",
    "TOO_LONG",
    "BadRowError",
    "CandidateFile",
    "Candidates",
    "Faults",
    "Fields",
    "Message",
    "OnBadRow",
    "Pair",
    "PairFile",
    "Pairs",
    "Prompt",
    "Record",
    "Response",
    "RowFile",
    "ScoredPair",
    "TokenIds",
    "Told",
    "Turns",
    "as_pairs",
    "as_text",
    "as_turns",
    "asked",
    "content_text",
    "data_hash",
    "holds_scores",
    "read_pairs",
    "read_scores",
    "scores_hash",
]
