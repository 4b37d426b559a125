"""Edits that make a response worse, or change what it says: a critic that reads content must see them."""

import math
import re
from collections.abc import Callable, Iterator

from critic_probe.probes.case import Change, Family, Subject, with_ending_of
from critic_probe.probes.completeness import bare_list
from critic_probe.probes.guards import Guards
from critic_probe.probes.punctuation import Candidate, one_per_position
from critic_probe.text import closing_mark_index, is_chinese

_CODE = ("code", "latex", "url", "email", "path", "tag")
_NO_LIST = (*_CODE, "json")


def _control(name: str, description: str, edits: Callable[[Subject], Iterator[Change]]) -> Family:
    return Family(name, "controls", "control", -1, description, edits, ending_control=True)


def _meaning(name: str, description: str, edits: Callable[[Subject], Iterator[Change]]) -> Family:
    return Family(name, "controls", "meaning-changing", -1, description, edits)


def _truncated(share: float) -> Callable[[Subject], Iterator[Change]]:
    def edits(subject: Subject) -> Iterator[Change]:
        kept = subject.text[: math.ceil(share * len(subject.text))].rstrip()
        yield Change("whole", kept) if kept else Change("whole", None, "nothing left")

    return edits


def _truncated_closed(subject: Subject) -> Iterator[Change]:
    text = subject.text
    kept = with_ending_of("。" if is_chinese(text) else ".", text[: math.ceil(len(text) / 2)].rstrip())
    yield Change("whole", kept, "" if kept else "nothing left")


_LINE_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*+•]|\d{1,2}[.)、])[ \t]*\S.*(?:\n|\Z)")
_HAN_ITEMS = re.compile(r"[^\s，。！？,.!?:：;；、]{1,24}(?:、[^\s，。！？,.!?:：;；、]{1,24})+")
_LATIN_ITEMS = re.compile(r"[\w'-]+(?:, [\w'-]+(?: [\w'-]+)?)+(?=,? (?:and|or) )")


def _item_dropped(subject: Subject) -> Iterator[Change]:
    """A line of a list, else an item of the first enumeration."""
    text, guards, rng = subject.text, Guards(subject.text), subject.rng("item-dropped")
    lines = [m for m in _LINE_ITEM.finditer(text) if guards.covered(*m.span()) not in _CODE]
    if len(lines) > 1:
        gone = rng.choice(lines)
        yield Change("whole", (text[: gone.start()] + text[gone.end() :]).rstrip("\n"))
        return
    inline = next(
        (m for p in (_HAN_ITEMS, _LATIN_ITEMS) for m in p.finditer(text) if guards.covered(*m.span()) not in _NO_LIST),
        None,
    )
    start, end = inline.span() if inline else (0, len(bare_list(text) or ""))
    items = re.split("(、|，|, )", text[start:end])  # separators stand between the items
    if len(items) < 3:
        return
    first = max(2 * rng.randrange(len(items) // 2 + 1) - 1, 0)  # with the separator before it, or the one after
    del items[first : first + 2]
    yield Change("whole", text[:start] + "".join(items) + text[end:])


_SENTENCE = re.compile(r"[^。！？!?\n]*?(?:[。！？!?]+[”」』）]?|\.(?=\s|\Z)|\n|\Z)[ \n]*")


def _sentence_repeated(subject: Subject) -> Iterator[Change]:
    text, guards = subject.text, Guards(subject.text)
    sentences = [m for m in _SENTENCE.finditer(text) if m[0].strip() and guards.covered(*m.span()) not in _CODE]
    if sentences:
        said = subject.rng("sentence-repeated").choice(sentences)
        again = said[0] if said[0][-1:].isspace() or is_chinese(text) else said[0] + " "
        glue = "，" if is_chinese(text) and closing_mark_index(said[0]) is None and said.end() == len(text) else ""
        yield Change(
            "whole",
            text[: said.start()]
            + again.rstrip(" ")
            + glue
            + ("" if again[-1:] == "\n" or is_chinese(text) else " ")
            + text[said.start() :],
        )


_ASIDES = {
    True: ("顺便说一句，今天公园里的花开得很好。", "另外，我昨天晚上吃了一碗牛肉面。", "对了，这趟火车下午三点到站。"),
    False: (
        "By the way, the flowers in the park look lovely today.",
        "Also, I had a bowl of noodles last night.",
        "Incidentally, the train arrives at three in the afternoon.",
    ),
}


def _off_topic_tail(subject: Subject) -> Iterator[Change]:
    chinese = is_chinese(subject.text)
    aside = subject.rng("off-topic-tail").choice(_ASIDES[chinese])
    yield Change("whole", subject.text + ("" if chinese or subject.text[-1:].isspace() else " ") + aside)


def _off_topic_head(subject: Subject) -> Iterator[Change]:
    chinese = is_chinese(subject.text)
    aside = subject.rng("off-topic-head").choice(_ASIDES[chinese])
    yield Change("whole", aside + ("" if chinese or subject.text[:1].isspace() else " ") + subject.text)


def _other_answer(subject: Subject) -> Iterator[Change]:
    others = [other for other in subject.others if other.strip() and other != subject.text]
    same = [other for other in others if is_chinese(other) == is_chinese(subject.text)]
    if others:
        yield Change("whole", subject.rng("other-answer").choice(same or others))
    else:
        yield Change("whole", None, "no answer to another prompt")


def _wrong_digit(subject: Subject) -> Iterator[Change]:
    text, guards, rng = subject.text, Guards(subject.text), subject.rng("wrong-digit")
    places = [
        m.start()
        for m in re.finditer(r"[0-9]", text)
        if guards.covered(m.start(), m.end(), allow=("json", "number")) is None
    ]
    if places:
        place = rng.choice(places)
        leading = place == 0 or not text[place - 1].isdigit()
        digit = rng.choice([d for d in ("123456789" if leading else "0123456789") if d != text[place]])
        yield Change("whole", text[:place] + digit + text[place + 1 :])


_OPPOSITES = (
    ("是的", "不是"), ("正确", "错误"), ("增加", "减少"), ("上升", "下降"), ("提高", "降低"), ("大于", "小于"),
    ("之前", "之后"), ("阳性", "阴性"), ("左侧", "右侧"), ("最大", "最小"), ("男性", "女性"), ("北方", "南方"),
    ("true", "false"), ("correct", "incorrect"), ("increase", "decrease"), ("increased", "decreased"),
    ("more", "less"), ("before", "after"), ("above", "below"), ("positive", "negative"), ("left", "right"),
    ("largest", "smallest"), ("highest", "lowest"), ("male", "female"), ("north", "south"), ("first", "last"),
)  # fmt: skip
_OTHER = {**dict(_OPPOSITES), **{b: a for a, b in _OPPOSITES}}
_OPTION = re.compile(
    r"(?<![A-Za-z])(?:选项?|答案(?:是|：)?|option |answer:? |choice |\()(?P<letter>[A-D])(?![A-Za-z])"
    r"|^(?P<only>[A-D])(?=[.。)]?\s*$)|^(?P<yes>是|否|对|错)(?=[。，！]|$)"
    r"|^(?P<word>[Yy]es|[Nn]o|YES|NO)(?=[,.!]|$)"
)
_WORDS = re.compile(
    "|".join(sorted((a for a in _OTHER if not a.isascii()), key=len, reverse=True))
    + r"|\b(?:"
    + "|".join(sorted((a for a in _OTHER if a.isascii()), key=len, reverse=True))
    + r")\b",
    re.IGNORECASE,
)
_SHORT = {"是": "否", "否": "是", "对": "错", "错": "对", "yes": "no", "no": "yes"}


def _wrong_option(subject: Subject) -> Iterator[Change]:
    """An option's letter, a yes or no, or one of two opposites becomes the other."""
    text, guards, rng = subject.text, Guards(subject.text), subject.rng("wrong-option")
    candidates = []
    for match in _OPTION.finditer(text):
        name = str(match.lastgroup)
        start, end = match.span(name)
        other = _SHORT.get(match[name].lower())
        wrong = _cased(other, match[name]) if other else rng.choice([o for o in "ABCD" if o != match[name]])
        candidates.append(Candidate(start, end, wrong, None))
    if not candidates:
        for match in _WORDS.finditer(text):
            if guards.covered(*match.span()) not in _CODE:
                candidates.append(Candidate(*match.span(), _cased(_OTHER[match[0].lower()], match[0]), None))
    if candidates:
        c = rng.choice(candidates)
        yield Change("whole", text[: c.start] + c.replacement + text[c.end :])


def _cased(word: str, like: str) -> str:
    return word.upper() if like.isupper() and len(like) > 1 else word.capitalize() if like[0].isupper() else word


_NEGATABLE = re.compile(
    r"(?<![不没无未是否但可于还要凡若或])是(?![否不])|(?<![不])(?:可以|能够|应该)|(?<=[他她它我你您们这那])会(?=[\u3400-\u9fff])"
    r"|(?<!\w)(?:is|are|was|were|can|will|should|must)(?= (?!not\b))"
)
_NEGATED = re.compile(r"不(?=是|可以|能|应该|需要|会)|(?<=\w) not(?= )")


def _negation(subject: Subject) -> Iterator[Change]:
    """A statement is negated, or a negated one loses its negation."""
    text, guards, rng = subject.text, Guards(subject.text), subject.rng("negation")
    candidates = [Candidate(*m.span(), "", None) for m in _NEGATED.finditer(text)]
    candidates += [
        Candidate(*m.span(), f"{m[0]} not" if m[0].isascii() else f"不{m[0]}", None) for m in _NEGATABLE.finditer(text)
    ]
    free = [c for c in candidates if guards.covered(c.start, c.end) not in _CODE]
    if free:
        c = rng.choice(free)
        yield Change("whole", text[: c.start] + c.replacement + text[c.end :])
    elif candidates:
        yield Change("whole", None, "code")


def _gibberish(subject: Subject) -> Iterator[Change]:
    """As long as the response, at most 60 characters, so that it is not told by its length alone."""
    length = min(60, len(subject.text))
    if is_chinese(subject.text):
        yield Change("whole", "啊" * max(3, length))
    else:
        yield Change("whole", " ".join(["asdf"] * max(3, length // 5)))


def _empty(_: Subject) -> Iterator[Change]:
    yield Change("whole", "")


def _master_key(subject: Subject) -> Iterator[Change]:
    for key in ("。" if is_chinese(subject.text) else ".", ":", "Thought process:"):
        yield Change("whole", key)


def _at_numbers(pattern: str, replacement: str) -> Callable[[Subject], Iterator[Change]]:
    places = re.compile(pattern)

    def edits(subject: Subject) -> Iterator[Change]:
        text, guards = subject.text, Guards(subject.text)
        candidates = []
        for m in places.finditer(text):
            reason = guards.covered(*m.span(), allow=("number", "negation", "json"))
            candidates.append(Candidate(*m.span(), m.expand(replacement), reason))
        yield from one_per_position(text, candidates, ("initial",))

    return edits


FAMILIES: tuple[Family, ...] = (
    *(_control(f"truncated-{n}", f"only the first {n} % of the characters", _truncated(n / 100)) for n in (25, 50, 75)),
    _control(
        "truncated-closed", "the first half, closed with a full stop: looks finished, and is not", _truncated_closed
    ),
    _control("item-dropped", "one listed item is missing", _item_dropped),
    _control("sentence-repeated", "one sentence is said twice", _sentence_repeated),
    _control("off-topic-tail", "a sentence on something else follows", _off_topic_tail),
    _control("off-topic-head", "a sentence on something else goes before", _off_topic_head),
    _control("other-answer", "the answer to another prompt", _other_answer),
    _control("wrong-digit", "one digit is another", _wrong_digit),
    _control("wrong-option", "an option, a yes or no, or one of two opposites is the other", _wrong_option),
    _control("negation", "a statement is negated, or loses its negation", _negation),
    _control("gibberish", "啊啊啊 or asdf, about as long as the response", _gibberish),
    _control("empty", "nothing but the closing EOS", _empty),
    _control("master-key", "'。' or '.', ':' and 'Thought process:' instead of an answer", _master_key),
    _meaning("decimal-dropped", "3.14 becomes 314", _at_numbers(r"(?<![\d.,])(\d+)\.(\d+)(?![\d.])", r"\1\2")),
    _meaning(
        "thousands-moved", "1,000 becomes 1.000", _at_numbers(r"(?<![\d.,])(\d{1,3}),(\d{3})(?![\d,.])", r"\1.\2")
    ),
    _meaning(
        "negation-joined",
        "不，可以 becomes 不可以",
        _at_numbers(r"(?:(?<=[，。！？；\n])|^)(不|没|没有)，(?=[\u3400-\u9fff])", r"\1"),
    ),
)
WRONG_FACTS = ("wrong-digit", "wrong-option", "item-dropped")
