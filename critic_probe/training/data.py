"""Pairs for training: encoded, split by prompt, and what is wrong with them, said before a step is taken."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from critic_probe.encoding import EncodedPair, EncodedResponse, Encoder, encode_pair
from critic_probe.errors import CriticProbeError, Notice, parameter
from critic_probe.pairs import Pair
from critic_probe.text import TERMINAL_MARKS

FEWEST = 8  # pairs below which nothing is trained
CONSTANT = 0.5  # share of a side that is one and the same text


@dataclass(frozen=True)
class Split:
    """Pairs to train on and pairs to hold out; no prompt is on both sides.

    Attributes:
        train: Pairs that are trained on.
        held_out: Pairs that are only measured.
        notices: What was found wrong.
    """

    train: list[EncodedPair]
    held_out: list[EncodedPair]
    notices: list[Notice]


def prepare(
    pairs: Iterable[Pair],
    held_out: Sequence[Pair] | float,
    encoder: Encoder,
    *,
    keep_identical: bool,
    skip_too_long: bool,
) -> Split:
    """Encodes, splits and inspects pairs.

    Args:
        pairs: To train on.
        held_out: Pairs that are only measured, or the share of prompts to hold out of `pairs`.
        encoder: The trainee's.
        keep_identical: Keep pairs whose two sides are one text; the consistency term trains on them.
        skip_too_long: Leave out pairs longer than the context, which is an error otherwise.

    Raises:
        CriticProbeError: A pair cannot be encoded or is too long, or too few are left.
    """
    notices: list[Notice] = []
    encoded = _fitting([encode_pair(pair, encoder) for pair in pairs], encoder, skip_too_long, notices)
    if isinstance(held_out, float):
        test = [pair for pair in encoded if _draw(pair) < held_out]
        train = [pair for pair in encoded if _draw(pair) >= held_out]
    else:
        test = _fitting([encode_pair(pair, encoder) for pair in held_out], encoder, skip_too_long, notices)
        known = {pair.prompt_ids for pair in test}
        train = [pair for pair in encoded if pair.prompt_ids not in known]
        if leaked := [pair.pair.id for pair in encoded if pair.prompt_ids in known]:
            message = f"{len(leaked)} training pairs have a held-out prompt; they are left out"
            notices.append(Notice("leaked-prompts", message, leaked))
    test = [pair for pair in test if not identical(pair)]  # they have no order to be right about
    if same := [pair.pair.id for pair in train if identical(pair)]:
        done = "only the consistency term trains on them" if keep_identical else "they have no order and are left out"
        notices.append(Notice("identical-sides", f"{len(same)} training pairs have the same text twice; {done}", same))
    if not keep_identical:
        train = [pair for pair in train if not identical(pair)]
    notices += _warnings(train)
    if len(train) < FEWEST:
        raise CriticProbeError(
            f"{len(train)} pairs are left to train on, at least {FEWEST} are needed; give more pairs"
        )
    return Split(train, test, notices)


def identical(pair: EncodedPair) -> bool:
    """Whether both sides say the same text, whatever their ids; such a pair has no better side."""
    return pair.student.text.strip() == pair.teacher.text.strip()


def _fitting(
    encoded: Sequence[EncodedPair], encoder: Encoder, skip_too_long: bool, notices: list[Notice]
) -> list[EncodedPair]:
    limit = encoder.context_length
    long = [pair.pair.id for pair in encoded if limit is not None and pair.length > limit]
    if long and not skip_too_long:
        raise CriticProbeError(
            f"{len(long)} pairs are longer than the context of {limit} tokens ({', '.join(long[:5])}); nothing is cut: "
            f"shorten them, or use {parameter('on_too_long', 'skip')}"
        )
    if long:
        notices.append(Notice("too-long", f"{len(long)} pairs longer than {limit} tokens are left out", long))
    return [pair for pair in encoded if limit is None or pair.length <= limit]


def _draw(pair: EncodedPair) -> float:
    """A number in [0, 1) that belongs to the prompt: the same prompts are held out whatever the file's order."""
    digest = hashlib.sha256(json.dumps(pair.pair.prompt, sort_keys=True, default=str).encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32


def _warnings(train: Sequence[EncodedPair]) -> list[Notice]:
    notices = []
    ends = Counter((pair.student.eos[-1], pair.teacher.eos[-1]) for pair in train)
    one_sided = ends[True, False] + ends[False, True]
    if one_sided:
        side = "student" if ends[True, False] >= ends[False, True] else "teacher"
        notices.append(
            Notice(
                "eos-one-side",
                f"in {one_sided} of {len(train)} training pairs only one side (mostly the {side}) ends in EOS: a "
                f"critic can earn d_acc by it alone; close both sides with {parameter('eos', 'include')}, or neither",
            )
        )
    for name, texts in (
        ("student", Counter(pair.student.text for pair in train)),
        ("teacher", Counter(pair.teacher.text for pair in train)),
    ):
        text, count = texts.most_common(1)[0] if texts else ("", 0)
        if count > CONSTANT * len(train):
            message = f"{count} of {len(train)} {name} responses are the same text ({text[:40]!r})"
            notices.append(Notice("constant-side", f"{message}: the critic can learn it by heart"))
    for words, rule in _BLIND.items():
        decided = [verdict for pair in train if (verdict := rule(pair.student, pair.teacher)) is not None]
        right = sum(decided) + (len(train) - len(decided)) / 2
        if train and max(right, len(train) - right) / len(train) >= 0.8:
            share = max(right, len(train) - right) / len(train)
            notices.append(
                Notice("blind-rule", f"the rule '{words}' or its opposite alone is right in {share:.0%} of pairs")
            )
    return notices


def _longer(student: EncodedResponse, teacher: EncodedResponse) -> bool | None:
    return None if len(student.ids) == len(teacher.ids) else len(teacher.ids) > len(student.ids)


def _ends_in_mark(student: EncodedResponse, teacher: EncodedResponse) -> bool | None:
    marks = [response.text.rstrip()[-1:] in TERMINAL_MARKS for response in (student, teacher)]
    return None if marks[0] == marks[1] else marks[1]


_BLIND = {"the longer response wins": _longer, "the one that ends in a closing mark wins": _ends_in_mark}
