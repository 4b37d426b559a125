"""Edits that change punctuation marks of a response and nothing else."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from critic_probe.probes.case import Change, Family, Position, Subject
from critic_probe.probes.guards import Guards
from critic_probe.text import TERMINAL_MARKS, is_chinese, is_cjk, last_before_closers

_ANYWHERE: tuple[Position, ...] = ("initial", "medial", "terminal")
_INSIDE: tuple[Position, ...] = ("initial", "medial")


class Candidate(NamedTuple):
    """One place where a family could edit: the span, what would take its place, and why it may not."""

    start: int
    end: int
    replacement: str
    reason: str | None


def one_per_position(
    text: str, candidates: list[Candidate], positions: tuple[Position, ...] = _ANYWHERE
) -> Iterator[Change]:
    """The first, the middle and the closing candidate as edits; a guarded one only where no other is left."""
    last = last_before_closers(text)
    before = [c for c in candidates if c.start < last] if "terminal" in positions else candidates
    closing = [c for c in candidates if c.start >= last] if "terminal" in positions else []
    initial = _allowed(before)[:1]
    rest = _allowed([c for c in before if c not in initial])
    chosen: dict[Position, list[Candidate]] = {
        "initial": initial,
        "medial": rest[len(rest) // 2 :][:1],
        "terminal": _allowed(closing)[:1],
    }
    for position in positions:
        for candidate in chosen[position]:
            yield _change(text, position, candidate)


def _allowed(candidates: list[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c.reason is None] or candidates


def _change(text: str, position: Position, candidate: Candidate) -> Change:
    if candidate.reason is not None:
        return Change(position, None, candidate.reason)
    return Change(position, text[: candidate.start] + candidate.replacement + text[candidate.end :])


def _invariance(name: str, description: str, edits: Callable[[Subject], Iterator[Change]]) -> Family:
    return Family(name, "punct", "invariance", 0, description, edits)


def _replacing(
    name: str,
    description: str,
    marks: str,
    replacements: Mapping[str, str],
    positions: tuple[Position, ...] = _ANYWHERE,
) -> Family:
    """The family that replaces one mark per position; `marks` is a pattern that matches single characters."""
    pattern = re.compile(marks)

    def edits(subject: Subject) -> Iterator[Change]:
        text = subject.text
        guards, last = Guards(text), last_before_closers(text)
        candidates = [
            Candidate(*mark.span(), replacements[mark[0]], guards.reason(*mark.span(), replacements[mark[0]]))
            for mark in pattern.finditer(text)
            if "terminal" in positions or mark.start() < last
        ]
        if positions == ("terminal",):
            candidates = [c for c in candidates if c.start >= last]
        yield from one_per_position(text, candidates, positions)

    return _invariance(name, description, edits)


def _add_full_stop(subject: Subject) -> Iterator[Change]:
    text = subject.text
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
    yield _change(text, "terminal", Candidate(end, end, mark, reason))


def _closes_a_sentence(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char in "%‰℃°"


def _repeat_closing_mark(subject: Subject) -> Iterator[Change]:
    text = subject.text
    last = last_before_closers(text)
    if last < 0 or text[last] not in "。．.！!？?":
        return
    reason = Guards(text).covered(last, last + 1)
    yield _change(text, "terminal", Candidate(last + 1, last + 1, text[last], reason))


_QUOTED = re.compile(r'“([^“”"\n]*)”|"([^"“”\n]*)"|「([^「」\n]*)」')


def _quote_style(subject: Subject) -> Iterator[Change]:
    text = subject.text
    guards = Guards(text)
    candidates = []
    for match in _QUOTED.finditer(text):
        start, end = match.span()
        inside = text[start + 1 : end - 1]
        left, right = ("“", "”") if text[start] in '"「' else ('"', '"')
        reason = guards.covered(start, start + 1) or guards.covered(end - 1, end)
        candidates.append(Candidate(start, end, left + inside + right, reason))
    yield from one_per_position(text, candidates, _INSIDE)


def _wrap_in_quotes(subject: Subject) -> Iterator[Change]:
    text = subject.text
    if any(char in text for char in '“”"「」'):
        yield Change("whole", None, "quoted mark")
    elif reason := Guards(text).covered(0, len(text), allow=_WORD_GUARDS):
        yield Change("whole", None, reason)
    else:
        yield Change("whole", f"“{text}”" if is_chinese(text) else f'"{text}"')


# A quotation mark around a text changes nothing of what stands inside these.
_WORD_GUARDS = frozenset(
    ("number", "url", "email", "ellipsis", "mark run", "abbreviation", "path", "emoticon", "negation", "list marker")
)


def _toggling_space(pattern: str) -> Callable[[Subject], Iterator[Change]]:
    """A blank that `pattern` matches goes; where it matches between two characters, a blank comes."""
    places = re.compile(pattern)

    def edits(subject: Subject) -> Iterator[Change]:
        text = subject.text
        guards = Guards(text)
        candidates = []
        for place in places.finditer(text):
            start, end = place.span()
            reason = guards.covered(start - 1, end + 1)
            candidates.append(Candidate(start, end, "" if end > start else " ", reason))
        yield from one_per_position(text, candidates, _INSIDE)

    return edits


_HAN = r"[\u3400-\u9fff]"
_AFTER_MARKS = r"(?<=[，。！？；：、])[ ]?(?=[^\s\W])|(?<=[^\W\d_][,;:!?])[ ](?=[^\s\W])"
_HAN_LATIN = rf"(?<={_HAN})[ ]?(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])[ ]?(?={_HAN})"

_FORMS = {"……": "...", "…": "...", "...": "…", "——": "--", "—": "--", "--": "—"}
_FORM = re.compile(r"(?<!…)…{1,2}(?!…)|(?<!\.)\.{3}(?!\.)|(?<!—)—{1,2}(?!—)|(?<![-\w|])--(?![-\w|>])|(?<=\w)--(?=\w)")


def _ellipsis_and_dash(subject: Subject) -> Iterator[Change]:
    text = subject.text
    guards = Guards(text)
    chinese = is_chinese(text)
    candidates = []
    for form in _FORM.finditer(text):
        other = _FORMS[form[0]]
        if chinese and other in "…—":
            other *= 2
        reason = guards.covered(*form.span(), allow=("ellipsis", "mark run"))
        candidates.append(Candidate(*form.span(), other, reason))
    yield from one_per_position(text, candidates)


_INNER = re.compile(r"[，。、；！？]|(?<=\w)[,;!?](?=\s)")


def _strip_inner(subject: Subject) -> Iterator[Change]:
    text = subject.text
    guards, last = Guards(text), last_before_closers(text)
    marks = [mark.start() for mark in _INNER.finditer(text) if mark.start() < last]
    free = {index for index in marks if guards.reason(index, index + 1, "") is None and not _joins_words(text, index)}
    if free:
        yield Change("whole", "".join(char for index, char in enumerate(text) if index not in free))
    elif marks:
        yield Change("whole", None, guards.covered(marks[0], marks[0] + 1) or "joins words")


def _joins_words(text: str, index: int) -> bool:
    """Whether two Latin words or numbers, or a negation and its clause, would run into each other without the mark."""
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    return (before.isascii() and after.isascii() and before.isalnum() and after.isalnum()) or before in "不没否无"


_WIDTHS = {"，": ",", "。": ".", "！": "!", "？": "?", "：": ":", "；": ";", "（": "(", "）": ")"}

FAMILIES: tuple[Family, ...] = (
    _replacing(
        "terminal-swap",
        "the closing full stop becomes a comma, or the closing comma a full stop",
        "[。．.，,]",
        {"。": "，", "．": "，", ".": ",", "，": "。", ",": "."},
        ("terminal",),
    ),
    _replacing(
        "terminal-tone",
        "the closing exclamation or question mark becomes a full stop: the tone changes too",
        "[！!？?]",
        {"！": "。", "？": "。", "!": ".", "?": "."},
        ("terminal",),
    ),
    _replacing(
        "terminal-drop",
        "the closing mark goes",
        "[。．.！!？?]",
        dict.fromkeys("。．.！!？?", ""),
        ("terminal",),
    ),
    _invariance("terminal-add", "a response that ends in no closing mark gets a full stop", _add_full_stop),
    _invariance("terminal-repeat", "the closing mark stands twice", _repeat_closing_mark),
    _replacing(
        "clause-swap",
        "a comma between clauses becomes a full stop, or a full stop a comma; the case of letters stays",
        r"[，。](?=[ \t]*\S)|[.,](?=[ \t]+\S)",
        {"，": "。", "。": "，", ",": ".", ".": ","},
        _INSIDE,
    ),
    _replacing(
        "semicolon-swap",
        "a comma between clauses becomes a semicolon, or a semicolon a comma",
        r"[，；](?=[ \t]*\S)|[,;](?=[ \t]+\S)",
        {"，": "；", "；": "，", ",": ";", ";": ","},
        _INSIDE,
    ),
    _replacing(
        "list-mark",
        "the mark between listed items becomes a comma, or such a comma the mark",
        r"、|(?<=[\u3400-\u9fff])(?<![\u3400-\u9fff]{5})，(?=[\u3400-\u9fff]{1,4}(?:[，、。和及或]|$))",
        {"、": "，", "，": "、"},
        _INSIDE,
    ),
    _replacing(
        "full-half-width",
        "a mark takes its other width",
        "[" + "".join(_WIDTHS) + "．" + "".join(_WIDTHS.values()) + "]",
        _WIDTHS | {half: full for full, half in _WIDTHS.items()} | {"．": "."},
    ),
    _invariance("quote-style", "a quotation takes other quotation marks", _quote_style),
    _invariance("wrap-quotes", "the whole response stands in quotation marks", _wrap_in_quotes),
    _invariance(
        "space-punctuation", "a blank after an inner mark comes, or the one there goes", _toggling_space(_AFTER_MARKS)
    ),
    _invariance(
        "space-han-latin", "a blank between Chinese and Latin comes, or the one there goes", _toggling_space(_HAN_LATIN)
    ),
    _invariance("ellipsis-dash", "an ellipsis or a dash takes another form", _ellipsis_and_dash),
    _invariance("inner-stripped", "all marks inside go; the closing one stays", _strip_inner),
)
