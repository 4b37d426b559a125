"""What an edit must leave alone: code and data, marks that do not punctuate, and marks that carry meaning.

A guard is a pattern with a reason. It works both ways: an edit may neither touch what a pattern matches nor make such a
match, so `Good。Next` does not become the file name `Good.Next`. Code is told by its lines where no fence tells of it.
"""

import json
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import chain, pairwise
from typing import NamedTuple

_NOT_PROSE = ("code", "latex", "json", "tag", "table", "url", "email", "path")


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
)

_TAG = re.compile(r"(?s)<!--.*?-->|</?[A-Za-z][^<>\n]*>|&#?\w+;")

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
    ("latex", re.compile(r"\\[A-Za-z]+(?:\[[^\]\n]*\])?(?:\{[^{}\n]*\})*|\w?[\^_]\{[^{}\n]*\}|\b\w\^\w+")),
    # A full stop that is followed by a letter at once is no sentence's end: Node.js, example.com, .gitignore.
    (
        "path",
        re.compile(
            r"(?a)\b[A-Za-z_][\w-]*\.(?=\w)[\w.-]*\w|\.(?=\w)(?:[A-Za-z]\w*)?|(?<![\w/\\])(?:[A-Za-z]:|~|\.{1,2})?[\\/][\w.\\/-]*[\w\\/-]"
        ),
    ),
    (
        "code",
        re.compile(r"(?a)\b[A-Za-z_]\w*\([ -'*-~]*\)|\b\w+_\w*|\b[a-z]+[A-Z]\w*|\b\w+ ?(?:[-+*/]=|[=!<>]=|=>|->) ?\w*"),
    ),
    ("code", re.compile(r"""\[(?:'[^'\n]*'|"[^"\n]*")(?:, ?(?:'[^'\n]*'|"[^"\n]*"|[\d.]+))*\]""")),
    ("code", re.compile(r"(?a)\b(?:const|let|var) [\w$]+ ?=|\b[A-Za-z]\w* ?= ?[\w\"'\[(-]|\bconst \w+")),
    ("emoticon", re.compile(r"[:;]-?[()](?!\w)|(?<!\S)[:;]-?[DPp](?!\w)")),
    (
        "negation",
        re.compile(
            r"(?im)(?:^|[.。!！?？,，;；:：\"“‘「『（(])[ \t]*"
            r"(?:不|不是|没|没有|无|否|是|是的|对|no|not|yes)[,，](?=[ \t]*[^\s])"
        ),
    ),
)


# A line that is code, wherever it stands; `$` is its end. Words of English that open such a line need code's marks too.
_CODE_LINE = re.compile(
    r"""(?ax)^[ \t>]*(?:\d+[ \t]+)?(?:
    (?:export[ ]|default[ ]|async[ ])*(?:def|fn|func|function)\b[ *]*[\w$.]*[ ]*[(<]
    | (?:export[ ]|abstract[ ])*class[ ]\w+[^.!?]*[:{(]$ | class[ ]\w+\(
    | (?:struct|interface|enum|namespace|trait|impl|union)[ ][\w:<>, ]+\{
    | (?:const|let|var|final|auto|val|int|float|double|char|bool|boolean|string|String|long|unsigned|void)[ ]
      [\w$<>\[\]*&, {}]+?[ ]?(?:[=;(\[]|:[ ]?\w+[ ]?=) | const[ ]\w+$
    | (?:public|private|protected|static|override|virtual)[ ][\w<>\[\], ]*[\w>\]][ ]?[({=;:]
    | from[ ][\w.]+[ ]import\b | import[ ](?:[\w.*]+(?:[ ]as[ ]\w+)?(?:,[ ]?[\w.]+)*;?$|[{*"']|\w+[ ]from\b)
    | \#[ ]?(?:include|define|ifdef|ifndef|endif|pragma)\b | \#!/ | <\?(?:php|xml)|\?>
    | (?:\}[ ]?)?(?:else[ ])?(?:if|for|while|switch|foreach|catch|until)[ ]?\(.*[){;]$ | \}?[ ]?else[ ]?[{:]?$
    | for[ ][\w, ()]+[ ]in[ ].+:$ | (?:if|elif|while)[ ].*(?:[=<>(\[]|\bnot\b|\bin\b|\bis\b).*:$
    | (?:try|else|finally|do|loop)[ ]?[:{]$ | except\b[^.]*:$ | with[ ].*\bas[ ]\w+:$ | case[ ]\S+:$ | end;?$
    | (?:return|yield|throw|raise|assert|await|delete|print|echo|puts|goto|break|continue|pass)
      (?:;|[ ][^.!?]*[;()\[\]=*/"'].*|[ ][\w.]+;)$ | return\b[ ]?\S*$ | (?:break|continue|pass)$
    | [\w.$\[\]'">@*-]+(?:[ ]?,[ ]?[\w.]+)*[ ]*(?:[-+*/%|&:.]?=|<-|=>|\+\+|::)(?![=>])[ ]*\S.*
    | [\w$.>:\]-]*[\w$]\(.*\)[ ]?[;:,{]?$ | [\w$]+(?:\.[\w$]+)+\(.* | \.\w+\(.*
    | .*[=()"'\]\w][ ]*[{}][ ]*[;,)]*$
    | [{}()\[\];,]+$ | [})\]][^.!?]*;$ | .*\w\(.*\)[ ]?;$ | .*[=+*&|].*;$ | .*\)[ ]?=>.*
    | //.* | /\*.* | \*/ | <!--.*
    | @[\w.]+(?:\(.*\))?$
    | (?:\$[ ]|>>>|\#>|PS>|C:\\\S*>|\w+@\S+[$\#])[ ]?\S.*
    | (?:sudo|npm|npx|yarn|pip3?|git|docker|kubectl|apt(?:-get)?|yum|brew|curl|wget|chmod|chown|mkdir|conda|ls|cd)
      [ ][^.!?:]*(?:\.[\w/]+[^.!?:]*)*$
    | (?:python3?|node|java|javac|gcc|g\+\+|ssh|scp|tar|grep|sed|awk|cat|echo|rm|cp|mv|touch|export|source|bash|sh|find)
      [ ].*(?:[ ]-{1,2}\w|[/=|"'$<>*]|\.\w+).*[^.!?:]$
    | (?:SELECT|INSERT[ ]INTO|UPDATE|DELETE[ ]FROM|CREATE[ ](?:OR|TABLE|DATABASE|INDEX|VIEW|FUNCTION|PROCEDURE|USER)
      |ALTER[ ]TABLE|DROP[ ](?:TABLE|DATABASE)|FROM[ ]\w+|WHERE|(?:INNER[ ]|LEFT[ ]|RIGHT[ ])?JOIN|GROUP[ ]BY|ORDER[ ]BY
      |HAVING|LIMIT[ ]\d|VALUES)\b.*
    | </?[A-Za-z!][^<>]*>?.*
    | [.\#]?[\w-]+(?:[ ,.:\#>+~\w()-]*)\{[ ]*(?:[\w-]+:.*)?$ | [a-z-]+:[ ]?[^;]+;$
    )""",
)
_TABLE_LINE = re.compile(r"^[ \t>]*(?:\|.*\|?|[^|\n]+ \| [^|\n]+ \| .*|[-:| ]*-{3,}[-:| ]*\|[-:| ]*)$")
_FORMULA_LINE = re.compile(
    r"^[ \t]*\\[A-Za-z\[(]|(?a:^[ \t]*[\w^()*+/. -]{1,30}=[^.!?]*[\d\w)]$)"
    r"|^(?=.*\d)(?=.*[-+*/^=×÷])(?:[-+*/^=×÷()\s\d.,]|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))+$"
)
_COMMENT = re.compile(r"^[ \t]*(?:#|\*|%|;|--|\"\"\")")
_LISTED = re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)、]|[（(]?\w[)）.])[ \t]")
_SENTENCE = re.compile(r"[\u3400-\u9fff]{2}|[A-Za-z]{2,}(?:[ ,][A-Za-z']+){3}.*[.!?:]$|^[A-Z][a-z]*(?: [a-z']+){2}")


class Guards:
    """The spans of one text that must be left alone."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._guarded = _guarded(text)

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

    def not_prose(self, start: int, end: int) -> str | None:
        """The first reason why any of `text[start:end]` is code, data, a formula, a table or an address; else None."""
        reasons = (self._guarded.get(index) for index in range(start, end))
        return next((reason for reason in reasons if reason in _NOT_PROSE), None)

    def covered(self, start: int, end: int, *, allow: Collection[str] = ()) -> str | None:
        """The first reason to leave any of `text[start:end]` alone, those in `allow` apart; None without one."""
        reasons = (self._guarded.get(index) for index in range(start, end))
        return next((reason for reason in reasons if reason is not None and reason not in allow), None)


@lru_cache(maxsize=4)  # many families ask the same response
def _guarded(text: str) -> dict[int, str]:
    return _by_index(_blocks(text), _words(text))


def _blocks(text: str) -> Iterator[_Span]:
    if text.lstrip()[:1] in ("{", "[") and _is_json(text):
        yield _Span(0, len(text), "json")
    for reason, pattern in _BLOCKS:
        for match in pattern.finditer(text):
            yield _Span(*match.span(), reason)
        text = pattern.sub(_blank, text)
    for span in _unfenced(text):
        yield span
        text = text[: span.start] + " " * (span.end - span.start) + text[span.end :]
    for match in _TAG.finditer(text):
        yield _Span(*match.span(), "tag")
    text = _TAG.sub(_blank, text)
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


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _unfenced(text: str) -> Iterator[_Span]:
    """Lines of code, shell, markup, formulas and tables that no fence tells of.

    What is indented below a line of code, a comment beside it and up to two lines between two of them that are no
    sentence are code with it.
    """
    lines = text.split("\n")
    kinds = [_kind(line.rstrip()) for line in lines]
    code = [index for index, kind in enumerate(kinds) if kind == "code"]
    for first, second in pairwise(code):
        between = range(first + 1, second)
        if len(between) <= 2 and not any(_is_sentence(lines[i]) and not _COMMENT.match(lines[i]) for i in between):
            kinds[first + 1 : second] = ["code"] * len(between)
    for order in (range(1, len(lines)), range(len(lines) - 2, -1, -1)):
        step = order.step
        for index in order:
            line = lines[index]
            beside = kinds[index] is None and kinds[index - step] == "code" and line.strip()
            if beside and not _LISTED.match(line) and (_COMMENT.match(line) or (step > 0 and line[:2].isspace())):
                kinds[index] = "code"
    start = 0
    for line, kind in zip(lines, kinds, strict=True):
        if kind is not None:
            yield _Span(start, start + len(line), kind)
        start += len(line) + 1


def _kind(line: str) -> str | None:
    if not line or line.isspace():
        return None
    if _CODE_LINE.match(line):
        return "code"
    return "table" if _TABLE_LINE.match(line) else "latex" if _FORMULA_LINE.match(line) else None


def _is_sentence(line: str) -> bool:
    return bool(_SENTENCE.search(line) or _LISTED.match(line))


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
