"""Edits that make a response wrong where it was right, and punctuation that carries its meaning.

An edit needs evidence that it does: a number that the prompt gives or asks for, an option that the prompt lists, an item
between two others, a plain statement. Of a student's response only what the teacher says too is known to be right.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from critic_probe.probes.case import Change, Family, Subject
from critic_probe.probes.controls import sentences
from critic_probe.probes.guards import NOT_PROSE, Guards
from critic_probe.probes.punctuation import Candidate, one_per_position
from critic_probe.text import is_chinese


class _Place(NamedTuple):
    start: int
    end: int
    replacement: str


def _one_of(name: str, places: Callable[[Subject], Iterator[_Place]]) -> Callable[[Subject], Iterator[Change]]:
    """The family that edits one of the places, drawn by the seed."""

    def edits(subject: Subject) -> Iterator[Change]:
        if found := list(places(subject)):
            text, (start, end, replacement) = subject.text, subject.rng(name).choice(found)
            yield Change("whole", text[:start] + replacement + text[end:])

    return edits


_MARKER = re.compile(
    r"(?m)^(?P<indent>[ \t]*)(?:(?P<bullet>[-*+•])[ \t]+|[（(]?(?P<number>\d{1,2})(?P<style>[.、．](?!\d)|[)）]))[ \t]*(?=\S)"
)
_DEEPER = re.compile(r"(?:[ \t]*\n|{indent}[ \t]+\S[^\n]*(?:\n|\Z))*")
_HAN_ITEM = r"(?![一二三四五六七八九十百千\d]+[、和及与或])[^\s，。！？,.!?:：;；、（）()《》“”「」]{1,12}?"
_HAN_INNER = re.compile(
    rf"(?<=、){_HAN_ITEM}、"
    rf"|、{_HAN_ITEM}(?<![饱缓温总共平柔随涉普参给])(?=(?:和|以及|及|与|或)(?![平谐时许其解声])[^，。！？、；\n]+[，。！？；\n])"
)
_LATIN_ITEM = r"[a-z][a-z-]+(?: [a-z-]+)?"
# "When it comes to pizza, shapes and sizes matter" is no list: a comma before the last item, or two items between.
_LATIN_LIST = re.compile(
    rf"(?<=[a-z] )[\w-]+(?P<inner>(?:, {_LATIN_ITEM})+(?=, (?:and|or) [\w-]+)|(?:, {_LATIN_ITEM}){{2,}}(?= (?:and|or) [\w-]+))"
)
_NO_ITEM = re.compile(
    r"\b(?:a|an|and|are|as|at|be|because|been|but|by|can|could|did|do|does|either|etc|for|from|had|has|have|he|her|his"
    r"|however|i|if|in|including|indeed|into|is|it|its|may|might|moreover|must|my|neither|nor|not|of|on|or|our|perhaps"
    r"|respectively|say|says|said|she|should|since|so|such|than|that|the|their|them|then|there|therefore|these|they|this"
    r"|those|though|thus|to|too|was|we|were|what|when|where|which|while|who|will|with|without|would|you|your|\w+ly)\b"
)


def _items(subject: Subject) -> Iterator[_Place]:
    """Lines of a list, else items that stand between others, else those of a response that is nothing but a list."""
    places = list(_listed_lines(subject.text)) or list(_inner_items(subject.text)) or list(_bare_items(subject))
    for start, end in places:
        if subject.vouched(subject.text[start:end].strip("、，, \n")):
            yield _Place(start, end, "")


def _listed_lines(text: str) -> Iterator[tuple[int, int]]:
    """Items that another follows at once: a number by the next one, a bullet by its like."""
    guards = Guards(text)
    markers = [m for m in _MARKER.finditer(text) if guards.covered(*m.span()) not in NOT_PROSE]
    for place, marker in enumerate(markers):
        for later in markers[place + 1 :]:
            if len(later["indent"]) < len(marker["indent"]):
                break
            if later["indent"] != marker["indent"]:
                continue
            if (
                marker["number"]
                and later["style"] == marker["style"]
                and int(later["number"]) == int(marker["number"]) + 1
            ):
                yield marker.start(), later.start()
                break
            if marker["bullet"]:
                line_end = text.index("\n", marker.end()) + 1
                deeper = re.compile(rf"(?:[ \t]*\n|{marker['indent']}[ \t]+\S[^\n]*\n)*").match(text, line_end)
                if later["bullet"] == marker["bullet"] and deeper and deeper.end() == later.start():
                    yield marker.start(), later.start()
                break


def _inner_items(text: str) -> Iterator[tuple[int, int]]:
    guards = Guards(text)
    for item in _HAN_INNER.finditer(text):
        if guards.covered(*item.span()) not in NOT_PROSE:
            yield item.span()
    for listed in _LATIN_LIST.finditer(text):
        inner = listed["inner"]
        if not _NO_ITEM.search(inner) and guards.covered(*listed.span()) not in NOT_PROSE:
            for item in re.finditer(", [^,]+", inner):
                yield listed.start("inner") + item.start(), listed.start("inner") + item.end()


_SEPARATOR = re.compile("[、，]|, ")


def _bare_items(subject: Subject) -> Iterator[tuple[int, int]]:
    """A response of nothing but items that the prompt lists."""
    text = subject.text
    body = text.rstrip().rstrip("。.，,")
    ends = [*(m.span() for m in _SEPARATOR.finditer(body)), (len(body), len(body))]
    starts = [0, *(end for _, end in ends[:-1])]
    items = [body[start:end] for start, (end, _) in zip(starts, ends, strict=True)]
    listed = "、" if is_chinese(text) else ", "
    if len(items) > 1 and all(
        item and not _NO_ITEM.search(item) and (item + listed in subject.prompt or listed + item in subject.prompt)
        for item in items
    ):
        yield from zip(starts[:-1], starts[1:], strict=True)
        yield ends[-2][0], len(body)


_INVENTS = re.compile(
    r"(?i)\b(?:story|stories|poem|poetry|haiku|song|lyrics?|novel|fiction\w*|script|screenplay|scene|dialogue|jokes?|slogan"
    r"|imagine|pretend|creative|character|role-?play|fairy ?tale|fantasy|example|sample|generate|invent|fake|quiz|suggest|plan|design)\b"
    r"|故事|诗|歌|小说|剧|对话|笑话|作文|散文|想象|扮演|虚构|假设|童话|台词|例子|举例|创作|编写|写一[篇个段首封]|设计|计划|建议"
)
_ASKS_NUMBER = re.compile(
    r"(?i)\bhow (?:many|much|old|long|far|tall|high|deep|fast|big|large|often|heavy)\b|\bwhat (?:year|time|date|percent\w*|age)"
    r"|\bwhen (?:did|was|were|is|will)\b|\b(?:calculate|compute|solve|(?:sum|product|average|median|mean|area|volume|number|percentage) of)\b"
    r"|多少|几[个年月日岁点次人天种位名条倍]|哪一?年|何时|什么时候|计算|等于|总[共数和额]|多[大长高远久重]"
)
_NUMBER = re.compile(r"(?a)(?<![\w.,:/+^~～–—－-])(?P<digits>\d+(?:,\d{3})*)(?:\.\d+)?(?![\w,.:/^-]*\d)")
_UNIT = re.compile(
    r"[ -]?(?:%|percent\b|°|℃|k?m/h|km\b|kg\b|cm\b|mm\b|mg\b|ml\b|mph\b|(?:kilo|centi|milli)?(?:met(?:er|re)|gram|lit(?:er|re))s?\b"
    r"|miles?\b|feet\b|inches\b|pounds?\b|ounces\b|cups?\b|degrees\b|dollars?\b|euros?\b|(?:m|b|tr)illion\b|hours?\b|minutes?\b"
    r"|seconds?\b|calories\b|people\b|volts?\b|watts?\b"
    r"|％|度|元|块|美元|万|亿|公里|千米|厘米|毫米|米|公斤|千克|毫克|克|吨|毫升|升|英里|平方|立方|小时|分钟|秒|岁|人|名|卡路里)"
)
_CONFIDENCE = re.compile(
    r"(?i)(?:(?:confidence|certainty|confident)[ \w]*|(?:信心|把握|置信|可信)[\u3400-\u9fff]{0,4})[\s:：*“\"（(]*\Z"
)
_NO_FACT = re.compile(
    r"(?i)(?:score|rating|step|chapter|section|figure|table|page|part|question|option|tip|rule"
    r"|day|week|level|version|example|no\.|between [\d,.]+ and|about|around|approximately|roughly|nearly|almost|over|under|least|most|to|or|between"
    r"|#|评分|得分|步骤?|第|章|节|图|表|页|选项|约|大约|大概|左右|近|超过|至少|最多|至|到|或|例如|比如|如)[\s:：*“\"（(]*\Z"
)

_NO_FACT_AFTER = re.compile(
    r"(?i)[ ]?(?:[-–—－~～至到]|to\b|or\b|或)[ ]?\d|[)）.、] |）|%?[ ]?(?:confiden|sure|certain|的?(?:把握|信心|确定|肯定|概率|可能))|[-－]?D\b"
)


def _digits(subject: Subject) -> Iterator[_Place]:
    """The first two digits of numbers that the prompt gives, or asks for, or that a unit follows."""
    text, guards = subject.text, Guards(subject.text)
    invents, asks = _INVENTS.search(subject.prompt), _ASKS_NUMBER.search(subject.prompt)
    given, taught = _numbers(subject.prompt), _numbers(subject.teacher)
    for number in _NUMBER.finditer(text):
        start, end = number.span("digits")
        before = text[max(0, start - 24) : start]
        if (
            guards.covered(start, end, allow=("json", "number"))
            or _NO_FACT.search(before)
            or _CONFIDENCE.search(before)
        ):
            continue
        after = text[number.end() : number.end() + 20]
        if _NO_FACT_AFTER.match(after) or (subject.side == "student" and number["digits"] not in taught):
            continue
        unit = _UNIT.match(after)
        if not unit and after[:1].isascii() and after[:1].isalpha():
            continue
        if number["digits"] in given or (not invents and (asks or unit)):
            for place in range(start, min(start + 2, end)):
                for digit in "123456789" if place == start else "0123456789":
                    if text[place] not in (digit, ","):
                        yield _Place(place, place + 1, digit)


def _numbers(text: str) -> set[str]:
    """Numbers of two digits and more: a single one says little by standing in two texts."""
    return {m["digits"] for m in _NUMBER.finditer(text) if len(m["digits"]) > 1}


_LETTER = re.compile(
    r"(?i:\A\W*(?:(?:the )?(?:correct |right |best )?(?:answer|option|choice)(?: is)?[: ]*|(?:正确)?(?:答案|选项?)(?:是|为|：|:)?\s*)?)"
    r"\(?(?P<option>[A-H])(?=[).．。:：,，、]|\s*\Z)"
)
_YES_NO = re.compile(
    r"(?:\A|[.!?,:\n]\s*)(?:Is|Are|Was|Were|Do|Does|Did|Has|Have|Had|Should|Must|May|(?:Can|Could|Will|Would)(?! you))\b"
    r"(?:(?! or )[^.!?\n])*\?|(?i:\byes or no\b|\byes/no\b|\btrue or false\b|\bcorrect or incorrect\b)"
    r"|吗？|吗\?|吗\s*\Z|是否|是不是|对不对|能不能|会不会|有没有|可不可以"
)
_COURTESY = re.compile(
    r"(?i)\b(?:can|could|will|would) you\b|你(?:能|可以|会|愿意)|请(?:你|您)?(?:帮|给|写)|能否|可否|帮我|给我|知道|明白|理解|听说|\bknow\b|\bunderstand\b|\bheard\b"
)
_PAIRS = (
    ("yes", "no"), ("true", "false"), ("correct", "incorrect"), ("positive", "negative"), ("是的", "不是"), ("是", "否"),
    ("对", "不对"), ("可以", "不可以"), ("能", "不能"), ("会", "不会"), ("有", "没有"), ("正确", "错误"), ("正面", "负面"),
    ("积极", "消极"), ("真", "假"),
)  # fmt: skip
_OTHER = {**dict(_PAIRS), **{b: a for a, b in _PAIRS}}
_ANSWERS = frozenset(word for pair in _PAIRS[:2] + _PAIRS[4:11] for word in pair) - {
    "true",
    "false",
}  # to a yes-no question
_OPENING = re.compile(
    rf"(?i)\A\W*(?P<option>{'|'.join(sorted(_OTHER, key=len, reverse=True))})(?=[,.!:;，。！；]|\s*\Z)"
)


def _options(subject: Subject) -> Iterator[_Place]:
    """The option that the response opens with becomes another that the prompt offers."""
    text, prompt = subject.text, subject.prompt
    if (letter := _LETTER.match(text)) and letter["option"] in (listed := _letters(prompt)):
        others = [other for other in listed if other != letter["option"]]
        found, others = letter, others
    elif found := _OPENING.match(text):
        word = found["option"].lower()
        listed = all(re.search(rf"(?i)(?<![A-Za-z不]){side}(?![A-Za-z])", prompt) for side in (word, _OTHER[word]))
        asked = word in _ANSWERS and _YES_NO.search(prompt) and not _COURTESY.search(prompt)
        others = [_OTHER[word]] if listed or asked else []
    else:
        return
    if subject.side == "student" and not subject.teacher.startswith(text[: found.end()]):
        return
    for other in others:
        yield _Place(*found.span("option"), _cased(other, found["option"]))


def _letters(prompt: str) -> list[str]:
    """Letters that the prompt lists as options: A, B and on, each before its text."""
    listed = [m[1] for m in re.finditer(r"(?<![A-Za-z])\(?([A-H])[.)、．:：）] ?(?=\S)", prompt)]
    run = [letter for letter in "ABCDEFGH" if letter in listed]
    return run if len(run) > 1 and run == list("ABCDEFGH")[: len(run)] else []


def _cased(word: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word if not like.isascii() else word.lower()


_EN_STATEMENT = re.compile(
    r"(?:[-*•\d.)\s]*)(?P<subject>(?!(?:Here|Below|Above|Maybe|Perhaps|What|Why|How|Which|Who|Whom|Whose|Where|When|If|While|Although|Though|Because"
    r"|Since|As|Let|So|Unless|Until|After|Before|Once|Whether|Not|No|None|Nothing|Nobody|Neither|Either|All|Every|Each|Everyone"
    r"|Everything|Both|Some|Any|Only|Also|And|But|Or|I|We|Is|Are|Was|Were|Do|Does|Did|Can|Could|Will|Should|May|Few|Little)\b)"
    r"(?!\w+ed\b)[A-Z][\w'’-]*(?: (?!(?:that|which|who|whom|whose|what|if|when|where|while|because|and|or|but|not|only|is|are|was|were"
    r"|following|can|could|will|would|should|must|may|might|has|have|had|do|does|did|to|I|we|you|they|he|she|it)\b)[\w'’-]+){0,5}) "
    r"(?P<verb>is|are|was|were|can|will|should|must)(?P<negated>(?<=can)not| not)? "
    r"(?!(?:not|no|none|nothing|never|only|just|also|even|always|still|both|either|neither|all|each|likely|probably|possibly|perhaps"
    r"|often|usually|sometimes|generally|typically|many|some|most|necessarily|merely|simply|as|more|so|too|why|how|what|when|where"
    r"|because|if|to|that|then|now|hardly|rarely|about|around|at|over|several|another)\b)\w"
)
_EN_NO_DENIAL = re.compile(
    r"(?i)\b(?:not|n't|no|never|any|anyone|anything|ever|yet|but|nor|neither|until|unless|only|either|whether)\b|n't|;|(?:great|good|fascinating|interesting|excellent) question"
)
_ZH_HEAD = (
    r"[-*•\d.、)\s]*(?P<subject>(?![如若因为当虽即使无论不但只要什哪谁怎除由根据对在从随尽既与和而且并另]|最好|一种|一个|通过|以下|例如|比如|附)"
    r"(?:(?!什么|虽|怎|哪|谁|通过|认为|表示|如果|将|把|使用|询问|寻找|选择|确保|关注|讨论|转换|解释|说明|检查|指出|显示|意味|证明|知道|介绍|描述|让)[^\s，。！？；：、,.!?;:“”（）()是会能可应不没]){1,14}?)"
)
_ZH_STATEMENT = re.compile(
    _ZH_HEAD
    + r"(?P<verb>(?<![但还可于凡若或就只都总老正便乃即要算其别论管至而否不没的更也既则仍已又才到很])是(?![否不非的因为由指说，：])"
    r"|(?<![但还也就都既才更又便则所的])(?:可以|能够|应该|应当)(?![不说已有是])|(?<=[将它他她们])会(?!议|员|计|见))"
)
_ZH_DENIED = re.compile(
    _ZH_HEAD + r"(?P<negated>(?<![并决从绝也都毫能可再要更是又就才还的])不)(?=是(?!不|否|因为)|会(?!不)|可以|应该)"
)
_ZH_NO_DENIAL = re.compile(
    "而|还是|就是|吗|呢|任何|丝毫|根本|从来|完全|一点|也|只|除|否则|才|都|不[仅但只]|不是|没有|；|一定|必须|虽|但|尽管"
)


def _denials(subject: Subject) -> Iterator[_Place]:
    """A plain statement, and no part of one: subject, verb, and what is said, in a sentence that denies nothing else."""
    text = subject.text
    if _INVENTS.search(subject.prompt):
        return
    for sentence in sentences(text):
        said, start = sentence[1], sentence.start(1)
        if said[-1] in "?？" or not subject.vouched(said):
            continue
        if match := _EN_STATEMENT.match(said):
            rest = said[match.end() :]
            if _EN_NO_DENIAL.search(rest):
                continue
            verb_start, verb_end = (start + i for i in match.span("verb"))
            if match["negated"]:
                yield _Place(verb_end, verb_end + len(match["negated"]), "")
            else:
                yield _Place(verb_end, verb_end, "not" if match["verb"] == "can" else " not")
        elif match := _ZH_STATEMENT.match(said):
            if not _ZH_NO_DENIAL.search(said):
                verb_start, verb_end = (start + i for i in match.span("verb"))
                yield _Place(
                    verb_start, verb_end, "不能" if match["verb"] in ("可以", "能够") else "不" + match["verb"]
                )
        elif (match := _ZH_DENIED.match(said)) and not _ZH_NO_DENIAL.search(said[match.end() + 1 :]):
            yield _Place(start + match.start("negated"), start + match.end("negated"), "")


def _at_marks(pattern: str, replacement: str) -> Callable[[Subject], Iterator[Change]]:
    places = re.compile(pattern)

    def edits(subject: Subject) -> Iterator[Change]:
        text, guards = subject.text, Guards(subject.text)
        candidates = []
        for m in places.finditer(text):
            if _CONFIDENCE.search(text[max(0, m.start() - 24) : m.start()]):
                continue
            reason = guards.covered(*m.span(), allow=("number", "negation", "json"))
            candidates.append(Candidate(*m.span(), m.expand(replacement), reason))
        yield from one_per_position(text, candidates, ("initial",))

    return edits


def _control(name: str, description: str, places: Callable[[Subject], Iterator[_Place]]) -> Family:
    return Family(name, "controls", "control", -1, description, _one_of(name, places), ending_control=True)


def _meaning(name: str, description: str, pattern: str, replacement: str) -> Family:
    return Family(name, "controls", "meaning-changing", -1, description, _at_marks(pattern, replacement))


FAMILIES: tuple[Family, ...] = (
    _control("item-dropped", "one listed item is missing", _items),
    _control("wrong-digit", "a number that the prompt gives or asks for, or with a unit, is another", _digits),
    _control(
        "wrong-option", "the option or yes or no that the response opens with is another of the prompt's", _options
    ),
    _control("negation", "a statement is denied, or loses its negation", _denials),
    # Behind a line's first number with letters stands a heading.
    _meaning(
        "decimal-dropped",
        "3.14 becomes 314",
        r"(?m)(?<![\d.,])(?!^\d+\.\d+[ \t]+[^\W\d])(?<!# )(?<!\*)(\d+)\.(\d+)(?![\d.])",
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
