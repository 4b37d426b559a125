"""Edits that make a right response wrong, and punctuation that carries its meaning.

An edit needs evidence that it does: a number that the prompt gives or asks for, an option that the prompt offers, an
item that stands between others. Of a student's response only what the teacher says too is known to be right.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from critic_probe.probes.case import Change, Family, Subject
from critic_probe.probes.denial import INVENTS, denials
from critic_probe.probes.guards import Guards
from critic_probe.probes.punctuation import Candidate, one_per_position
from critic_probe.probes.spans import Place, any_of, one_of
from critic_probe.text import is_chinese

_MARKER = re.compile(
    r"(?m)^(?P<indent>[ \t]*)"
    r"(?:(?P<bullet>[-*+•])[ \t]+|[（(]?(?P<number>\d{1,2})(?P<style>[.、．](?!\d)|[)）]))[ \t]*(?=\S)"
)
_HAN_ITEM = r"(?![一二三四五六七八九十百千\d]+[、和及与或])[^\s，。！？,.!?:：;；、（）()《》“”「」的等]{1,12}?"
# Between two 、, or between the last of them and 和; not in 饱和, 和平, 永和.
_HAN_ITEMS = re.compile(
    rf"、{_HAN_ITEM}(?=、|(?<!、.)(?<![饱缓温总共平柔随涉普参给中永])(?:和|以及|及|或)(?![平谐时许其解声])[^，。！？、；\n]+[，。！？；\n])"
)
_LATIN_ITEM = r"[a-z][a-z-]+(?: [a-z-]+)?"
# "When it comes to pizza, shapes and sizes matter" is no list: a comma before the last item, or two items between.
_LATIN_ITEMS = re.compile(
    rf"(?<=[a-z] )[\w-]+(?P<inner>(?:, {_LATIN_ITEM})+(?=,)|(?:, {_LATIN_ITEM}){{2,}})(?=,? (?:and|or) [\w-]+)"
    r"(?!,? (?:and|or) (?:[\w-]+ ){1,3}(?:is|are|was|were|has|have|had|will|can|do|does|did)\b)"  # and a clause
)
_NO_WORD_OF_ITEM = any_of(
    r"""a an and are as at be because been but by can could did do does either etc for from had has have he her his
    however i if in including indeed into is it its may might moreover must my neither nor not of on or our perhaps
    respectively say says said she should since so such than that the their them then there therefore these they
    this those though thus to too was we were what when where which while who will with without would you your \w+ly"""
)
_NO_ITEM = re.compile(rf"\b{_NO_WORD_OF_ITEM}\b")
# Of examples, one fewer is none missing: what opens them in their clause, and what stands for the rest behind.
_HAN_EXAMPLES = re.compile(r"(?:[例比诸譬]如|如(?![果何此今下同实期愿意若])|像|包括|包含)[^。！？；：\n]*\Z")
_HAN_REST = re.compile(r"[^。！？；\n]*?(?:等|其他|其它|之类|诸多)")
_EXAMPLES = re.compile(r"(?i)\b(?:such as|like|includ(?:es?|ed|ing)|e\.g\.|for (?:example|instance))[^.;:!?\n]*\Z")
_REST = re.compile(
    r"(?i),? (?:and|or) (?:\w+ )?(?:others?|more|many|much|various|similar|related|so)\b"
    r"|[^.;!?\n]*\b(?:among others|etc|and more)\b"
)
_SEPARATOR = re.compile("[、，]|, ")


def _items(subject: Subject) -> Iterator[Place]:
    """Lines of a list, else items between others, else those of a response that is nothing but a list."""
    text = subject.text
    inner = [] if INVENTS.search(subject.prompt) else list(_inner_items(text))
    for start, end in list(_listed_lines(text)) or inner or list(_bare_items(subject)):
        if subject.vouched(text[start:end].strip("、，, \n")):
            yield Place(start, end)


def _listed_lines(text: str) -> Iterator[tuple[int, int]]:
    """Items up to the next: a number is followed by the one that counts on, a bullet by its like at once."""
    guards = Guards(text)
    markers = [m for m in _MARKER.finditer(text) if not guards.not_prose(*m.span())]
    for place, marker in enumerate(markers):
        later = next((m for m in markers[place + 1 :] if len(m["indent"]) <= len(marker["indent"])), None)
        if later is None or (later["indent"], later["style"], later["bullet"]) != (
            marker["indent"],
            marker["style"],
            marker["bullet"],
        ):
            continue
        if marker["number"]:
            ends = int(later["number"]) == int(marker["number"]) + 1
        else:
            deeper = re.compile(rf"[^\n]*\n(?:[ \t]*\n|{marker['indent']}[ \t]+\S[^\n]*\n)*")
            ends = bool(deeper.fullmatch(text, marker.end(), later.start()))
        if ends:
            yield marker.start(), later.start()


def _inner_items(text: str) -> Iterator[tuple[int, int]]:
    guards = Guards(text)
    for item in _HAN_ITEMS.finditer(text):
        before = text[: item.start()]
        of_examples = _HAN_EXAMPLES.search(before) or _HAN_REST.match(text, item.end())
        if not of_examples and not before.endswith(item[0][1:]) and not guards.not_prose(*item.span()):
            yield item.span()
    for listed in _LATIN_ITEMS.finditer(text):
        of_examples = _EXAMPLES.search(text[: listed.start()]) or _REST.match(text, listed.end())
        if not of_examples and not _NO_ITEM.search(listed["inner"]) and not guards.not_prose(*listed.span()):
            for item in re.compile(", [^,]+").finditer(text, *listed.span("inner")):
                yield item.span()


def _bare_items(subject: Subject) -> Iterator[tuple[int, int]]:
    """All of a response that holds only items that the prompt lists, each with the separator behind or before it."""
    text, comma = subject.text, "、" if is_chinese(subject.text) else ", "
    body = text.rstrip().rstrip("。.，,")
    marks = [m.span() for m in _SEPARATOR.finditer(body)]
    starts, ends = [0, *(end for _, end in marks)], [*(start for start, _ in marks), len(body)]
    items = [body[start:end] for start, end in zip(starts, ends, strict=True)]
    listed = (item and (item + comma in subject.prompt or comma + item in subject.prompt) for item in items)
    if len(items) > 1 and all(listed) and not any(map(_NO_ITEM.search, items)):
        yield from pairwise(starts)
        yield ends[-2], len(body)


_MEASURES = any_of("many much old long far tall high deep fast big large often heavy")
_RESULTS = any_of("sum product average median mean area volume number percentage")
_ASKS_NUMBER = re.compile(
    rf"(?i)\bhow {_MEASURES}\b|\bwhat (?:year|time|date|percent\w*|age)|\bwhen (?:did|was|were|is|will)\b"
    rf"|\b(?:calculate|compute|solve|{_RESULTS} of)\b"
    r"|多少|几[个年月日岁点次人天种位名条倍]|哪一?年|何时|什么时候|计算|等于|总[共数和额]|多[大长高远久重]"
)
_NUMBER = re.compile(r"(?a)(?<![\w.,:/+^~～–—－-])(?P<digits>\d+(?:,\d{3})*)(?:\.\d+)?(?![\w,.:/^-]*\d)")
_UNITS = any_of(
    """percent k?m/h [kcm]?m [km]?g ml mph (?:kilo|centi|milli)?(?:met(?:er|re)|gram|lit(?:er|re))s? miles? feet
    inches pounds? ounces cups? degrees dollars? euros? [mb]illion trillion hours? minutes? seconds? calories people
    volts? watts?"""
)
_HAN_UNITS = any_of(
    """% ° ℃ ％ 度 元 块 美元 万 亿 公里 千米 厘米 毫米 米 公斤 千克 毫克 克 吨 毫升 升 英里 平方 立方 小时 分钟 秒
    岁 人 名 卡路里"""
)
_UNIT = re.compile(rf"[ -]?(?:{_UNITS}\b|{_HAN_UNITS})")
# No facts of the answer: how sure it is, the numbers of steps and parts, estimates, ranges.
_CONFIDENCE = r"(?:confidence|certainty|confident)[ \w]*|(?:信心|把握|置信|可信)[\u3400-\u9fff]{0,4}"
_BEFORE = any_of(
    """# score rating step chapter section figure table page part question option tip rule day week level version
    example no. about around approximately roughly nearly almost over under least most to or between 评分 得分 步骤?
    第 章 节 图 表 页 选项 约 大约 大概 左右 近 超过 至少 最多 至 到 或 例如 比如 如"""
)
_TO_NUMBER = r"[\s:：*“\"（(]*\Z"
_NUMBERED = re.compile(rf"(?i)(?:{_CONFIDENCE}|step|section|chapter|figure|table|[第章节图表]){_TO_NUMBER}")
_NO_FACT = re.compile(rf"(?i)(?:{_CONFIDENCE}|between [\d,.]+ and|(?<![A-Za-z]){_BEFORE}){_TO_NUMBER}")
_INSTANCE = re.compile(r"(?i)\bfor (?:instance|example)\b|\be\.g\.|\b(?:suppose|let's|if)\b|例如|比如|假设|如果")
_NO_FACT_AFTER = re.compile(
    r"(?i)[ ]?(?:[^\W\d]{1,8}|%|[°℃]C?)?[ ]?(?:[-–—－~～至到]|\bto|\bor|或)[ ]?[$€£]?\d|[)）.、] |）|[-－]?D\b"
    r"|%?[ ]?(?:confiden|sure|certain|的?(?:把握|信心|确定|肯定|概率|可能))"
)


def _digits(subject: Subject) -> Iterator[Place]:
    """The first two digits of numbers that the prompt gives, or asks for, or that a unit follows."""
    text, prompt, guards = subject.text, subject.prompt, Guards(subject.text)
    invents, asks = INVENTS.search(prompt), _ASKS_NUMBER.search(prompt)
    given, taught = _numbers(prompt), _numbers(subject.teacher)
    for number in _NUMBER.finditer(text):
        start, end = number.span("digits")
        after = text[number.end() : number.end() + 20]
        unit = _UNIT.match(after)
        if (
            guards.covered(start, end, allow=("json", "number"))
            or _NO_FACT.search(text[max(0, start - 24) : start])
            or _INSTANCE.search(text, max(text.rfind(stop, 0, start) for stop in ("\n", "。", ". ")) + 1, start)
            or _NO_FACT_AFTER.match(after)
            or (subject.side == "student" and number[0] not in taught)
            or (not unit and re.match("[A-Za-z]", after))
        ):
            continue
        if number[0] in given or (not invents and (asks or unit)):
            for place in range(start, min(start + 2, end)):
                for digit in "123456789" if place == start else "0123456789":
                    if text[place] not in (digit, ","):
                        yield Place(place, place + 1, digit)


def _numbers(text: str) -> set[str]:
    """Numbers of two digits and more: that a single one stands in two texts says little."""
    return {m[0] for m in _NUMBER.finditer(text) if len(m["digits"]) > 1}


_LETTER = re.compile(
    r"(?i:\A\W*(?:(?:the )?(?:correct |right |best )?(?:answer|option|choice)(?: is)?[: ]*"
    r"|(?:正确)?(?:答案|选项?)(?:是|为|：|:)?\s*)?)\(?(?P<option>[A-H])(?=[).．。:：,，、]|\s*\Z)"
)
_YES_NO = re.compile(
    r"(?:\A|[.!?,:\n]\s*)(?:Is|Are|Was|Were|Do|Does|Did|Has|Have|Had|Should|Must|May|Can|Could|Will|Would)\b"
    r"(?:(?! or )[^.!?\n])*\?|(?i:\byes(?: or |/)no\b|\btrue or false\b|\bcorrect or incorrect\b)"
    r"|吗[？?]|吗\s*\Z|是否|是不是|对不对|能不能|会不会|有没有|可不可以"
)
# Asked whether it will, can or knows, an answer says yes out of courtesy.
_COURTESY = re.compile(
    r"(?i)\b(?:can|could|will|would) you\b|\b(?:know|understand|heard)\b|你(?:能|可以|会|愿意)|请(?:你|您)?(?:帮|给|写)"
    r"|能否|可否|帮我|给我|知道|明白|理解|听说"
)
_ANSWERS = (
    ("yes", "no"),
    ("是的", "不是"),
    ("是", "否"),
    ("对", "不对"),
    ("可以", "不可以"),
    ("能", "不能"),
    ("会", "不会"),
)
_LABELS = (
    *(("true", "false"), ("correct", "incorrect"), ("positive", "negative"), ("正确", "错误"), ("正面", "负面")),
    *(("积极", "消极"), ("真", "假")),
)
_OTHER = {one: other for pair in _ANSWERS + _LABELS for one, other in (pair, pair[::-1])}
_ANSWER = frozenset(word for pair in _ANSWERS for word in pair)
_YES = frozenset(yes for yes, _ in _ANSWERS)  # "Yes, that is not right." says both
_OPENING = re.compile(
    rf"(?i)\A\W*(?P<option>{'|'.join(sorted(_OTHER, key=len, reverse=True))})(?=[,.!:;，。！；]|\s*\Z)"
)


def _options(subject: Subject) -> Iterator[Place]:
    """The option that the response opens with becomes another that the prompt offers."""
    text, prompt = subject.text, subject.prompt
    others: list[str] = []
    opening = _LETTER.match(text)
    if opening and opening["option"] in (listed := _letters(prompt)):
        others = [letter for letter in listed if letter != opening["option"]]
    elif opening := _OPENING.match(text):
        word = opening["option"].lower()
        offered = all(re.search(rf"(?i)(?<![A-Za-z不]){side}(?![A-Za-z])", prompt) for side in (word, _OTHER[word]))
        denied = re.match(r"[^.。!！\n]*?(?:[不没]|\bnot\b|n't)", text[opening.end() :])
        asked = word in _ANSWER and _YES_NO.search(prompt) and not _COURTESY.search(prompt)
        others = [_OTHER[word]] if (offered or asked) and not (denied and word in _YES) else []
    if opening and (subject.side != "student" or subject.teacher.startswith(opening[0])):
        for other in others:
            yield Place(*opening.span("option"), _cased(other, opening["option"]))


def _letters(prompt: str) -> str:
    """The letters before the options that a prompt lists: A, B and on without a gap."""
    listed = {m[1] for m in re.finditer(r"(?<![A-Za-z])\(?([A-H])[.)、．:：）] ?(?=\S)", prompt)}
    run = "ABCDEFGH"[: len(listed)]
    return run if len(run) > 1 and set(run) == listed else ""


def _cased(word: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def _at_marks(pattern: str, replacement: str) -> Callable[[Subject], Iterator[Change]]:
    places = re.compile(pattern)

    def edits(subject: Subject) -> Iterator[Change]:
        text, guards = subject.text, Guards(subject.text)
        candidates = []
        for m in places.finditer(text):
            if not _NUMBERED.search(text[max(0, m.start() - 24) : m.start()]):
                reason = guards.covered(*m.span(), allow=("number", "negation", "json"))
                candidates.append(Candidate(*m.span(), m.expand(replacement), reason))
        yield from one_per_position(text, candidates, ("initial",))

    return edits


def _control(name: str, description: str, places: Callable[[Subject], Iterator[Place]]) -> Family:
    return Family(name, "controls", "control", -1, description, one_of(name, places), ending_control=True)


def _meaning(name: str, description: str, pattern: str, replacement: str) -> Family:
    return Family(name, "controls", "meaning-changing", -1, description, _at_marks(pattern, replacement))


FAMILIES: tuple[Family, ...] = (
    _control("item-dropped", "one listed item is missing", _items),
    _control(
        "wrong-digit", "a digit is another, of a number that the prompt gives or asks for or a unit follows", _digits
    ),
    _control(
        "wrong-option", "the option, or yes or no, that the response opens with is another of the prompt's", _options
    ),
    _control("negation", "a plain statement is denied, or a denied one is not", denials),
    _meaning(
        "decimal-dropped",
        "3.14 becomes 314",
        r"(?m)(?<![\d.,*])(?<!# )(?!^\d+\.\d+[ \t]+[^\W\d])(?!0\.0+(?!\d))(\d+)\.(\d+)(?![\d.])",  # not a heading's
        r"\1\2",
    ),
    _meaning("thousands-moved", "1,000 becomes 1.000", r"(?<![\d.,])(\d{1,3}),(\d{3})(?![\d,.])", r"\1.\2"),
    _meaning(
        "negation-joined",
        "不，可以 becomes 不可以",
        r"(?:(?<=[，。！？；\n])|^)(不)，(?=(?:可以|能|会|是|要|应|需|必|用|行|该)[\u3400-\u9fff])",
        r"\1",
    ),
)
WRONG_FACTS = ("wrong-digit", "wrong-option", "item-dropped")
