"""What an edit of punctuation must leave alone: marks that do not punctuate, and marks that carry meaning.

A guard is a pattern with a reason. It works both ways: an edit may neither touch what a pattern matches nor make such a
match, so `Good。Next` does not become the file name `Good.Next`.
"""

import json
import re
from collections.abc import Collection, Iterator
from itertools import chain
from typing import NamedTuple


class _Span(NamedTuple):
    start: int
    end: int
    reason: str


_REACH = 100  # an edit makes no match that is longer than this
_DIGIT = "[0-9０-９]"

# May run over several lines. The earlier ones hide what is in them from the later ones.
_BLOCKS = (
    ("code", re.compile(r"(?ms)^[ \t]*(?P<fence>```|~~~)[^`\n]*\n.*?(?:^[ \t]*(?P=fence)|\Z)|```.*?(?:```|\Z)")),
    ("code", re.compile(r"(?s)(?<!`)(?P<ticks>`{1,2})(?!`)(?:(?!\n\n).)+?(?<!`)(?P=ticks)(?!`)")),
    ("code", re.compile(r"(?is)<(?P<tag>code|pre|script|style)\b[^<>]*>.*?(?:</(?P=tag)>|\Z)")),
    (
        "latex",
        re.compile(
            r"(?s)(?<!\$)\$\$(?!\$)(?:(?!\n[ \t]*\n).)*?\$\$|\\\(.*?\\\)|\\\[.*?\\\]"
            r"|\\begin\{(?P<env>[^{}]*)\}.*?\\end\{(?P=env)\}"
            r"|(?<!\\)\$(?=\S)[^$\n]*(?<=[^\s\\])\$(?!\d)"  # $5 and $10 are prices
        ),
    ),
    ("tag", re.compile(r"(?s)<!--.*?-->|</?[A-Za-z][^<>\n]*>|&#?\w+;")),
)

# Within one line.
_WORDS = (
    ("url", re.compile(r"!?\[[^\]\n]*\]\([^)\n]*\)")),
    ("url", re.compile(r"(?ai)(?:\b[a-z][a-z0-9+]*://|\bwww\.)[!-~]*[\w/#&=+~%-]")),
    ("email", re.compile(r"(?a)\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    ("ellipsis", re.compile(r"\.{2,}|…+|。{2,}|．{2,}|\.(?: \.)+")),
    ("mark run", re.compile(r"[.．,，。!！?？:：;；、…]{2,}")),
    ("quoted mark", re.compile(r"[\"'“‘「『（(\[][.．,，。!！?？:：;；、][\"'”’」』）)\]]")),
    (
        "list marker",
        re.compile(
            rf"(?m)^[ \t>*#+-]*[（(\[]?(?:{_DIGIT}{{1,3}}|[A-Za-z]|[ivxIVX]{{1,4}}|[一二三四五六七八九十]{{1,3}})"
            rf"[.．)）]{{1,2}}(?!{_DIGIT})"
            rf"|(?<!\S)[（(]?{_DIGIT}{{1,2}}[.．)）]{{1,2}}(?!{_DIGIT})(?=[ \t]*\S)"
        ),
    ),
    ("number", re.compile(rf"{_DIGIT}[ \t]*[.．。,，:：;；][ \t]*(?={_DIGIT})|[.．](?={_DIGIT})")),
    (
        "abbreviation",
        re.compile(
            r"(?a)\b(?:[A-Za-z]\.){2,}|\b[A-Z]\.|\bPh\.D\.|\bNo\.(?=[ ]?\d)|\bet al\.|\b(?:[Ee]tc|[Vv]s|[Cc]f|[Aa]pprox"
            r"|Dr|Mr|Mrs|Ms|Prof|Sr|Jr|St|Mt|Rev|Gen|Sen|Rep|Gov|Inc|Ltd|Co|Corp|Fig|Eq|Sec|Ch|Vol|pp|Dept|Univ"
            r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\."
        ),
    ),
    # A full stop that is followed by a letter at once is no sentence's end: Node.js, example.com, .gitignore.
    ("path", re.compile(r"(?a)\.(?=\w)|(?<![\w/\\])(?:[A-Za-z]:|~|\.{1,2})?[\\/][\w.\\/-]*[\w\\/-]")),
    ("code", re.compile(r"(?a)\b[A-Za-z_]\w*\([ -'*-~]*\)")),
    ("emoticon", re.compile(r"[:;]-?[()](?!\w)|(?<!\S)[:;]-?[DPp](?!\w)")),
    (
        "negation",
        re.compile(
            r"(?im)(?:^|[.。!！?？,，;；:：\"“‘「『（(])[ \t]*"
            r"(?:不|不是|没|没有|无|否|是|是的|对|no|not|yes)[,，](?=[ \t]*[^\s])"
        ),
    ),
)


class Guards:
    """The spans of one text that must be left alone."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._guarded = _by_index(_blocks(text), _words(text))

    def reason(self, start: int, end: int, replacement: str) -> str | None:
        """Why `text[start:end]`, at most one character, may not become `replacement`; None where it may."""
        text = self._text
        # An insertion touches what stands before it: code and addresses are not to be closed by a mark.
        found = self._guarded.get(start if end > start else start - 1)
        if found is None and replacement:
            edited = text[:start] + replacement + text[end:]
            first = max(edited.rfind("\n", 0, start) + 1, start - _REACH)
            line = edited[first : start + _REACH].partition("\n")[0]
            found = _by_index(_words(line)).get(start - first)
        return found

    def covered(self, start: int, end: int, *, allow: Collection[str] = ()) -> str | None:
        """The first reason to leave any of `text[start:end]` alone, those in `allow` apart; None without one."""
        reasons = (self._guarded.get(index) for index in range(start, end))
        return next((reason for reason in reasons if reason is not None and reason not in allow), None)


def _blocks(text: str) -> Iterator[_Span]:
    if text.lstrip()[:1] in ("{", "[") and _is_json(text):
        yield _Span(0, len(text), "json")
    for reason, pattern in _BLOCKS:
        for match in pattern.finditer(text):
            yield _Span(*match.span(), reason)
        text = pattern.sub(lambda match: " " * len(match[0]), text)
    depth = begin = 0
    for brace in re.finditer(r"[{}]", text):
        if brace[0] == "{":
            begin = begin if depth else brace.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                yield _Span(begin, brace.end(), "json")
    if depth:  # an object that was cut off
        yield _Span(begin, len(text), "json")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _words(text: str) -> Iterator[_Span]:
    for reason, pattern in _WORDS:
        for match in pattern.finditer(text):
            yield _Span(*match.span(), reason)


def _by_index(*spans: Iterator[_Span]) -> dict[int, str]:
    """Index of a character -> the reason of the first span that holds it."""
    reasons: dict[int, str] = {}
    for span in chain(*spans):
        for index in range(span.start, span.end):
            reasons.setdefault(index, span.reason)
    return reasons
