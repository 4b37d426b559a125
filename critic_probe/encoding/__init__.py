"""Text to ids, as training fed them.

`trained` alone looks into checkpoints, and so imports torch; it is imported where it is needed.
"""

from critic_probe.encoding.chat import DATE, ChatTemplate, read_date, template_arguments
from critic_probe.encoding.convention import CONVENTIONS, GAD, Closing, Convention, find_convention
from critic_probe.encoding.encoder import Encoder, EosPolicy, TemplateMode, encode, encode_pair, encode_pairs
from critic_probe.encoding.ids import Encoded, EncodedCandidates, EncodedPair, EncodedResponse, Group, Piece
from critic_probe.encoding.shown import missing_input, shown_input

__all__ = [
    "CONVENTIONS",
    "DATE",
    "GAD",
    "ChatTemplate",
    "Closing",
    "Convention",
    "Encoded",
    "EncodedCandidates",
    "EncodedPair",
    "EncodedResponse",
    "Encoder",
    "EosPolicy",
    "Group",
    "Piece",
    "TemplateMode",
    "encode",
    "encode_pair",
    "encode_pairs",
    "find_convention",
    "missing_input",
    "read_date",
    "shown_input",
    "template_arguments",
]
