"""Edits of white space, invisible characters, encodings and form: what is said stays the same."""

import importlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache

from critic_probe.probes.case import Change, Family, Subject
from critic_probe.probes.guards import Guards
from critic_probe.probes.punctuation import Candidate, one_per_position
from critic_probe.text import is_chinese


def _family(
    name: str, description: str, edits: Callable[[Subject], Iterator[Change]], *, ending_control: bool = False
) -> Family:
    return Family(name, "layout", "invariance", 0, description, edits, ending_control=ending_control)


def _edges(blank: str) -> Callable[[Subject], Iterator[Change]]:
    def edits(subject: Subject) -> Iterator[Change]:
        yield Change("initial", blank + subject.text)
        yield Change("terminal", subject.text + blank)

    return edits


def _at(pattern: str, replacement: str) -> Callable[[Subject], Iterator[Change]]:
    """Edits one match of prose per position, none of it inside code, formulas, data or addresses."""
    places = re.compile(pattern)

    def edits(subject: Subject) -> Iterator[Change]:
        text, guards = subject.text, Guards(subject.text)
        candidates = [
            Candidate(*place.span(), replacement, guards.not_prose(place.start() - 1, place.end() + 1))
            for place in places.finditer(text)
        ]
        yield from one_per_position(text, candidates, ("initial", "medial"))

    return edits


def _byte_order_mark(subject: Subject) -> Iterator[Change]:
    yield Change("initial", "\ufeff" + subject.text)


_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[^\s"]')


def _json_layout(subject: Subject) -> Iterator[Change]:
    """Compact to indented and back; only where every character but white space stays as it is."""
    text = subject.text
    if text.lstrip()[:1] not in ("{", "["):
        return
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return
    other = json.dumps(data, ensure_ascii=False, indent=None if "\n" in text.strip() else 2)
    same = _JSON_TOKEN.findall(other) == _JSON_TOKEN.findall(text)
    yield Change("whole", other) if same else Change("whole", None, "not the same data when written anew")


def _unicode_form(subject: Subject) -> Iterator[Change]:
    """Letters with marks composed or decomposed; both forms are canonically equivalent."""
    composed = _outside_code(subject.text, _UNITS, lambda m: unicodedata.normalize("NFC", m[0]))
    decomposed = _outside_code(subject.text, _UNITS, lambda m: unicodedata.normalize("NFD", m[0]))
    yield Change("whole", composed if composed != subject.text else decomposed)


_UNITS = re.compile(r"\w[\u0300-\u036f]*")


def _unicode_compatibility(subject: Subject) -> Iterator[Change]:
    """Full-width letters and digits, and ligatures, as plain ones: the part of NFKC that changes no meaning."""
    wide = re.compile(r"[Ａ-Ｚａ-ｚ０-９ﬀ-ﬆ]+")
    yield Change("whole", _outside_code(subject.text, wide, lambda m: unicodedata.normalize("NFKC", m[0])))


def _outside_code(text: str, pattern: re.Pattern[str], new: Callable[[re.Match[str]], str]) -> str:
    """The text with every match replaced that touches no code, data, formula, table or address."""
    guards = Guards(text)
    return pattern.sub(lambda match: match[0] if guards.not_prose(*match.span()) else new(match), text)


_MARKDOWN = (
    (re.compile(r"(?m)^#{1,6}[ ]+(?=\S)"), ""),
    (re.compile(r"(\*\*|__)(?=\S)([^*_\n]+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?:(?<=[a-z,] )|(?<=[\u3400-\u9fff，]))\*(?=[^\s*])([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?m)^([ \t]*)[-*+][ ]{1,3}(?=[^\s*+-].*[^\W\d_])"), r"\1"),
    (re.compile(r"(?m)^>[ ]?(?=\S)"), ""),
)


def _expanding(template: str) -> Callable[[re.Match[str]], str]:
    return lambda match: match.expand(template)


def _markdown_removed(subject: Subject) -> Iterator[Change]:
    text = subject.text
    for pattern, plain in _MARKDOWN:
        text = _outside_code(text, pattern, _expanding(plain))
    if text == subject.text and any(pattern.search(text) for pattern, _ in _MARKDOWN):
        yield Change("whole", None, Guards(text).not_prose(0, len(text)) or "")
    else:
        yield Change("whole", text)


_BOXED = re.compile(r"(?P<dollar>\$?)\\boxed\{(?P<answer>[^{}\n]+)\}(?P=dollar)")
_ANSWER = re.compile(
    r"(?im)^(?P<lead>[ \t]*(?:\*\*)?(?:(?:final )?answer:|(?:最终)?答案(?:是)?：)(?:\*\*)?[ ]*)"
    r"(?P<answer>[^\s，。,;；!！?？*$\\{}](?:[^，。,;；!！?？*$\\{}\n]{0,38}[^\s，。.,;；!！?？*$\\{}])?)(?=[.。]?\s*\Z)"
)


def _answer_format(subject: Subject) -> Iterator[Change]:
    r"""The whole final answer loses its `\boxed{}`, or gets one where it stands behind `Answer:` on the last line."""
    text = subject.text
    if found := list(_BOXED.finditer(text)):
        boxed = found[-1]
        formula = bool(boxed["dollar"]) and re.search(r"[\\^_]", boxed["answer"])
        plain = f"${boxed['answer']}$" if formula else boxed["answer"]
        yield Change("whole", text[: boxed.start()] + plain + text[boxed.end() :])
    elif (final := _ANSWER.search(text)) and not Guards(text).not_prose(*final.span()):
        start, end = final.span("answer")
        yield Change("whole", f"{text[:start]}\\boxed{{{final['answer']}}}{text[end:]}")


@lru_cache(maxsize=2)
def _converter(way: str) -> Callable[[str], str] | None:
    try:
        opencc = importlib.import_module("opencc")
    except ImportError:
        return None
    convert: Callable[[str], str] = opencc.OpenCC(way).convert
    return convert


# Characters with several forms in the other script: which, hangs on words that OpenCC may part wrongly.
_SEVERAL = re.compile(
    "[干后发里台面松只系历卷复了征斗谷周余几制别占回坛姜尽布并恶才托折术板汇注症种累脏舍苏药获蒙表赞适郁采钟闲须佣出准冲游向御升丑云克著]"
)


def _script(subject: Subject) -> Iterator[Change]:
    """Simplified to traditional characters, or back."""
    text = subject.text
    if not is_chinese(text):
        return
    to_traditional, to_simplified = _converter("s2t"), _converter("t2s")
    if to_traditional is None or to_simplified is None:
        yield Change("whole", None, "OpenCC is not installed: pip install opencc-python-reimplemented")
        return
    han = re.compile(r"[\u3400-\u9fff]+")
    simplified = _outside_code(text, han, lambda match: to_simplified(match[0]))
    if _SEVERAL.search(text):
        yield Change("whole", None, "a character has several forms")
    elif simplified != text:
        yield Change("whole", simplified)
    else:
        yield Change("whole", _outside_code(text, han, lambda match: to_traditional(match[0])))


_HOMOPHONES = {"的": "地", "在": "再", "做": "作", "作": "做", "已": "己", "像": "象", "账": "帐"}
_LOOKALIKES = {
    **dict(zip("aeopcxy", "аеорсху", strict=True)),
    **dict(zip("一人大水日月", "⼀⼈⼤⽔⽇⽉", strict=True)),
}


def _one_of(subject: Subject, name: str, candidates: list[Candidate]) -> Iterator[Change]:
    free = [c for c in candidates if c.reason is None]
    if free:
        c = subject.rng(name).choice(free)
        yield Change("whole", subject.text[: c.start] + c.replacement + subject.text[c.end :])
    elif candidates:
        yield Change("whole", None, candidates[0].reason or "")


def _typo(subject: Subject) -> Iterator[Change]:
    """Two inner letters of a long word change places, or a Chinese character becomes one that sounds the same."""
    text, guards = subject.text, Guards(subject.text)
    candidates = []
    for place in re.finditer(r"(?<![\w-])[A-Za-z][a-z]{4,}(?![\w-])|[" + "".join(_HOMOPHONES) + "]", text):
        word = place[0]
        if word in _HOMOPHONES:
            wrong = _HOMOPHONES[word]
        else:
            place_in = next((i for i in range(len(word) // 2 - 1, len(word) - 2) if word[i] != word[i + 1]), 0)
            wrong = word[:place_in] + word[place_in + 1] + word[place_in] + word[place_in + 2 :] if place_in else word
        if wrong != word:
            reason = guards.not_prose(place.start() - 1, place.end() + 1)
            candidates.append(Candidate(*place.span(), wrong, reason))
    yield from _one_of(subject, "typo", candidates)


def _homoglyph(subject: Subject) -> Iterator[Change]:
    text, guards = subject.text, Guards(subject.text)
    candidates = [
        Candidate(i, i + 1, _LOOKALIKES[char], guards.not_prose(i - 1, i + 2))
        for i, char in enumerate(text)
        if char in _LOOKALIKES
    ]
    yield from _one_of(subject, "homoglyph", candidates)


def _paraphrases(subject: Subject) -> Iterator[Change]:
    """The row's own: `paraphrases` is an object with a list of texts a side, or a list for the teacher's side."""
    given = subject.fields.get("paraphrases")
    if given is None:
        return
    if isinstance(given, list):
        given = {"teacher": given}
    texts = given.get(subject.side, []) if isinstance(given, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        yield Change("whole", None, "'paraphrases' is no list of texts")
        return
    for text in texts:
        yield Change("whole", text)


FAMILIES: tuple[Family, ...] = (
    _family("edge-blank", "a blank before or after the response", _edges(" ")),
    _family("edge-newline", "a newline before or after the response", _edges("\n")),
    _family("double-space", "a blank between two words is doubled", _at(r"(?<=\w) (?=\w)", "  ")),
    _family("json-layout", "JSON on one line is indented, or indented JSON written on one line", _json_layout),
    _family("invisible-nbsp", "a blank becomes a no-break space", _at(r"(?<=\S) (?=\S)", "\u00a0")),
    _family(
        "invisible-zwsp",
        "a zero-width space inside or between words",
        _at(r"(?<=[^\W\d_])(?=[^\W\d_])", "\u200b"),
    ),
    _family("invisible-bom", "a byte order mark before the response", _byte_order_mark),
    _family("invisible-u3000", "a blank becomes an ideographic one", _at(r"(?<=\S) (?=\S)", "\u3000")),
    _family("unicode-form", "letters with marks composed (NFC) or decomposed (NFD)", _unicode_form),
    _family(
        "unicode-compat", "full-width letters and digits, and ligatures, as plain ones (NFKC)", _unicode_compatibility
    ),
    _family("markdown-removed", "headings, emphasis, bullets and quotes as plain text", _markdown_removed),
    _family(
        "answer-format",
        r"the final answer loses its \boxed{}, or gets one behind 'Answer:' or 答案：",
        _answer_format,
        ending_control=True,
    ),
    _family("script", "simplified characters become traditional ones, or back (needs OpenCC)", _script),
    _family("typo", "one typing error", _typo),
    _family("homoglyph", "one letter becomes another that looks the same", _homoglyph),
    _family("paraphrase", "the row's own paraphrases (field `paraphrases`)", _paraphrases, ending_control=True),
)
