"""Edits that change punctuation marks of a response and nothing else."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from critic_probe.probes.case import Change, Family, Position, Subject
from critic_probe.probes.clauses import has_verb, parts_two_clauses, parts_two_sentences
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
    lacks: Callable[[str, int], str | None] = lambda *_: None,
) -> Family:
    """The family that replaces one mark per position; `marks` is a pattern that matches single characters.

    `lacks` names the evidence that a mark lacks for being what the family edits.
    """
    pattern = re.compile(marks)

    def edits(subject: Subject) -> Iterator[Change]:
        text = subject.text
        guards, last = Guards(text), last_before_closers(text)
        candidates = [
            Candidate(
                *mark.span(),
                replacements[mark[0]],
                guards.reason(*mark.span(), replacements[mark[0]]) or lacks(text, mark.start()),
            )
            for mark in pattern.finditer(text)
            if "terminal" in positions or mark.start() < last
        ]
        if positions == ("terminal",):
            candidates = [c for c in candidates if c.start >= last]
        yield from one_per_position(text, candidates, positions)

    return _invariance(name, description, edits)


def _no_clauses(text: str, index: int) -> str | None:
    """Why a mark does not part two clauses with a verb each, or a full stop two such sentences; None where it does."""
    parts = parts_two_sentences if text[index] in "。." else parts_two_clauses
    return None if parts(text, index, chinese=text[index] in "，；。") else "no clause"


_ITEM = r"[^\s，。！？：；、,.!?:;（）()]{1,12}"
_ENUMERATED = re.compile(
    rf"{_ITEM}(?:、{_ITEM}){{2,}}|{_ITEM}(?:、{_ITEM})+(?=等(?!待|于|级|候))|{_ITEM}、[^\s，。！？：；、,.!?:;（）()]{{1,8}}[和及与或](?!否)"
)


def _no_list(text: str, index: int) -> str | None:
    """Why a mark does not part the items of an enumeration; None where it does."""
    listed = any(
        match.start() < index < match.end() and not _NUMERAL.search(text[index - 1] + text[index + 1])
        for match in _ENUMERATED.finditer(text)
    )
    return None if listed else "no list"


_NUMERAL = re.compile(r"[一二三四五六七八九十百千万两0-9０-９]")
_HEADING = re.compile(r"[ \t]*(?:[#*<|>]|(?i:what|how|why|who|whom|whose|where|when|which|is|are|can|do|does|did)\b)")
_ASKS = re.compile(r"什么|如何|怎么|怎样|为何|谁|哪|吗|呢|几")
_LAST_WORD = re.compile(
    r"(?:(?<![^\s-])[A-Za-z]?[a-z]+|(?<!\S)[\d.,]+ ?(?:%|[a-z]{1,3})|[\u3400-\u9fff]|[\u3400-\u9fff][ \d.]*\d%?)"
    r"[”’」』）)]*\Z"
)
_UNFINISHED = re.compile(
    r"(?i)(?:\b(?:the|a|an|of|to|and|or|in|on|at|for|with|from|by|that|which|is|are|was|were|as|but|if|your|my|its|their)"
    r"|[的和与及或在把被对从向为是而但])$"
)
_SHORT = 200  # characters; a longer response without its closing mark may have been cut off


_ASKS_HEADING = re.compile(
    r"(?i)\b(?:headlines?|headings?|titles?|slogans?|taglines?|captions?|subject lines?)\b|标题|题目|口号|标语"
)


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
    if reason is None and (_ASKS_HEADING.search(subject.prompt) or not _may_be_closed(text.strip())):
        reason = "no sentence"
    yield _change(text, "terminal", Candidate(end, end, mark, reason))


def _may_be_closed(text: str) -> bool:
    """Whether a response is a short line of words: no heading, title, question or password, and not cut off."""
    words = [word for word in text.split() if word[0].isalpha()]
    title = len(words) > 3 and sum(word[0].isupper() for word in words) > 0.6 * len(words)
    broken = "\n" in text or "#" in text or len(text) > _SHORT or title or _HEADING.match(text) or _ASKS.search(text)
    return not broken and bool(_LAST_WORD.search(text)) and not _UNFINISHED.search(text)


def _closes_a_sentence(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char in "%‰℃°"


def _repeat_closing_mark(subject: Subject) -> Iterator[Change]:
    text = subject.text
    last = last_before_closers(text)
    if last < 0 or text[last] not in "。．.！!？?":
        return
    reason = Guards(text).covered(last, last + 1)
    yield _change(text, "terminal", Candidate(last + 1, last + 1, text[last], reason))


_QUOTED = re.compile(
    r'“([^“”"\n]{1,200})”|(?<![^\W_])(?<!["“”])"(?=[^\s"“”])([^"“”\n]{1,200})(?<=\S)"(?![A-Za-z0-9"“”])|「([^「」\n]{1,200})」'
)


def _quote_style(subject: Subject) -> Iterator[Change]:
    text = subject.text
    guards = Guards(text)
    candidates = []
    for match in _QUOTED.finditer(text):
        start, end = match.span()
        inside = text[start + 1 : end - 1]
        left, right = ("“", "”") if text[start] in '"「' else ('"', '"')
        line = text[text.rfind("\n", 0, start) + 1 :].partition("\n")[0]
        paired = line.count('"') % 2 == 0 and line.count("“") == line.count("”")
        reason = (
            guards.not_prose(start - 1, end + 1) or guards.covered(start, start + 1) or guards.covered(end - 1, end)
        )
        candidates.append(Candidate(start, end, left + inside + right, reason or (None if paired else "unpaired")))
    yield from one_per_position(text, candidates, _INSIDE)


def _wrap_in_quotes(subject: Subject) -> Iterator[Change]:
    text = subject.text
    if any(char in text for char in '“”"「」'):
        yield Change("whole", None, "quoted mark")
    elif reason := Guards(text).covered(0, len(text), allow=_WORD_GUARDS):
        yield Change("whole", None, reason)
    elif _LAYOUT.search(text):
        yield Change("whole", None, "layout")
    else:
        yield Change("whole", f"“{text}”" if is_chinese(text) else f'"{text}"')


_LAYOUT = re.compile(r"(?m)^[ \t]*(?:#|>|[-*+•][ \t]|\d{1,2}[.)、]|\*\*)|\n[ \t]*\n")

# A quotation mark around a text changes nothing of what stands inside these.
_WORD_GUARDS = frozenset(
    ("number", "url", "email", "ellipsis", "mark run", "abbreviation", "path", "emoticon", "negation")
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
_FORM = re.compile(
    r"(?<!…)…{1,2}(?!…)|(?<!\.)\.{3}(?!\.)|(?<![—\d])—{1,2}(?![—\d])"
    r"|(?<=[^-\s|] )--(?![-\w|>])|(?<=[^\W\d])--(?=[^\W\d])"
)


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


_INNER = re.compile(r"[，；]|(?<=\w)[,;](?= )")
# "clear, concise and direct", "Microsoft Speech, or ...": behind the comma an item of a list.
_NEXT_ITEM = re.compile(r" [a-z-]+ (?:and|or) [a-z]|(?: [\w'’-]+){1,4}, (?:and|or) ")
_SEGMENT = re.compile(r"[^，。、；！？：,.;!?:\n]*")


def _strip_inner(subject: Subject) -> Iterator[Change]:
    """Commas and semicolons within sentences, where no short item stands beside them; sentences keep their ends."""
    text = subject.text
    guards, last = Guards(text), last_before_closers(text)
    marks = [mark.start() for mark in _INNER.finditer(text) if mark.start() < last]
    reasons = {
        index: guards.reason(index, index + 1, "")
        or ("joins words" if _joins_words(text, index) else None)
        or (None if _between_phrases(text, index) else "short phrase")
        or ("list" if text[index] == "," and _NEXT_ITEM.match(text, index + 1) else None)
        for index in marks
    }
    if free := {index for index, reason in reasons.items() if reason is None}:
        yield Change("whole", "".join(char for index, char in enumerate(text) if index not in free))
    elif marks:
        yield Change("whole", None, reasons[marks[0]] or "")


def _between_phrases(text: str, index: int) -> bool:
    """Whether what stands on either side up to the next mark is too long for an item of a list, one with a verb."""
    after = _SEGMENT.match(text, index + 1)
    before = _SEGMENT.match(text[:index][::-1])
    sides = (before[0][::-1] if before else "", after[0] if after else "")
    long = all(len(re.findall(_HAN, side)) >= 4 or len(side.split()) >= 3 for side in sides)
    verbs = [has_verb(side, chinese=text[index] in "，；") for side in sides]
    return all(verbs) or (long and any(verbs))


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
        _no_clauses,
    ),
    _replacing(
        "semicolon-swap",
        "a comma between clauses becomes a semicolon, or a semicolon a comma",
        r"[，；](?=[ \t]*\S)|[,;](?=[ \t]+\S)",
        {"，": "；", "；": "，", ",": ";", ";": ","},
        _INSIDE,
        _no_clauses,
    ),
    _replacing(
        "list-mark",
        "the mark between three or more listed items becomes a comma",
        "、",
        {"、": "，"},
        _INSIDE,
        _no_list,
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
    _invariance(
        "inner-stripped", "commas and semicolons between long phrases go; sentences keep their ends", _strip_inner
    ),
)
