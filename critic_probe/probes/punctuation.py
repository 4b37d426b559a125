"""Edits that change one punctuation mark of a response and nothing else."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from critic_probe.probes.edit import Edit, Family, Position, Skip
from critic_probe.probes.guards import Guards
from critic_probe.text import TERMINAL_MARKS, is_cjk, last_before_closers

_POSITIONS: tuple[Position, ...] = get_args(Position)


def punctuation_edits(text: str) -> list[Edit | Skip]:
    """What all families make of a response: at most one edit, or one skip, per family and position."""
    return [outcome for family in FAMILIES.values() for outcome in family.edits(text)]


class _Candidate(NamedTuple):
    start: int
    end: int
    replacement: str
    reason: str | None  # why it must be left alone


def _replacing(
    name: str,
    description: str,
    marks: str,
    replacements: Mapping[str, str],
    positions: tuple[Position, ...] = _POSITIONS,
) -> Family:
    """The family that replaces one mark per position; `marks` is a pattern that matches single characters."""
    pattern = re.compile(marks)

    def edits(text: str) -> Iterator[Edit | Skip]:
        guards, last = Guards(text), last_before_closers(text)
        before: list[_Candidate] = []
        closing: list[_Candidate] = []
        for mark in pattern.finditer(text):
            start, end, replacement = *mark.span(), replacements[mark[0]]
            reason = guards.reason(start, end, replacement)
            (before if start < last else closing).append(_Candidate(start, end, replacement, reason))
        chosen = _choose(before, closing)
        for position in positions:
            for candidate in chosen[position]:
                yield _outcome(name, position, candidate)

    return Family(name, description, edits)


def _choose(before: list[_Candidate], closing: list[_Candidate]) -> dict[Position, list[_Candidate]]:
    """At most one candidate per position; a guarded one only where no other is left."""
    initial = _allowed(before)[:1]
    rest = _allowed([candidate for candidate in before if candidate not in initial])
    return {"initial": initial, "medial": rest[len(rest) // 2 :][:1], "terminal": _allowed(closing)[:1]}


def _allowed(candidates: list[_Candidate]) -> list[_Candidate]:
    return [candidate for candidate in candidates if candidate.reason is None] or candidates


def _outcome(family: str, position: Position, candidate: _Candidate) -> Edit | Skip:
    if candidate.reason is not None:
        return Skip(family, position, candidate.reason)
    return Edit(family, position, "invariance", 0, candidate.start, candidate.end, candidate.replacement)


def _add_full_stop(text: str) -> Iterator[Edit | Skip]:
    last = last_before_closers(text)
    if last < 0 or text[last] in TERMINAL_MARKS:
        return
    end = len(text.rstrip())
    letter = next((char for char in reversed(text) if char.isalpha()), "")
    mark = "。" if letter and is_cjk(letter) else "."
    reason = Guards(text).reason(end, end, mark)
    if reason is None and not _closes_a_sentence(text[last]):
        reason = "symbol"
    if reason is None and mark == "." and text[end - 1].isdecimal():
        reason = "number"  # the full stop would read as a decimal point
    yield _outcome("terminal-add", "terminal", _Candidate(end, end, mark, reason))


def _closes_a_sentence(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char in "%‰℃°"


_WIDTHS = {"，": ",", "。": ".", "！": "!", "？": "?", "：": ":", "；": ";", "（": "(", "）": ")"}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _replacing(
            "terminal-swap",
            "the closing full stop becomes a comma, or the closing comma a full stop",
            "[。．.，,]",
            {"。": "，", "．": "，", ".": ",", "，": "。", ",": "."},
            ("terminal",),
        ),
        _replacing(
            "terminal-drop",
            "the closing mark goes",
            "[。．.！!？?]",
            dict.fromkeys("。．.！!？?", ""),
            ("terminal",),
        ),
        Family("terminal-add", "a response that ends in no closing mark gets a full stop", _add_full_stop),
        _replacing(
            "clause-swap",
            "a comma between clauses becomes a full stop, or a full stop a comma; the case of letters stays",
            r"[，。](?=[ \t]*\S)|[.,](?=[ \t]+\S)",
            {"，": "。", "。": "，", ",": ".", ".": ","},
            ("initial", "medial"),
        ),
        _replacing(
            "full-half-width",
            "a mark takes its other width",
            "[" + "".join(_WIDTHS) + "．" + "".join(_WIDTHS.values()) + "]",
            _WIDTHS | {half: full for full, half in _WIDTHS.items()} | {"．": "."},
        ),
    )
}
