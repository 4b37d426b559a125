"""The same facts, told in full or tersely: a complete answer must not score below a terse one.

A courtesy states no fact. One rule holds wherever it comes or goes: it may move nothing (`lead-in`). What `to-complete`
compares are facts told tersely and in a sentence, without one.
"""

import re
from collections.abc import Iterator

from critic_probe.probes.case import Change, Family, Subject
from critic_probe.probes.guards import Guards
from critic_probe.text import closing_mark_index, is_chinese

# Lists whose number of items cannot be mistaken: three words or more, or measured values.
_HAN_WORD = r"(?:(?![和与及或等甚乃暨跟是有会能要若就被把让使])[\u3400-\u9fff]){2,6}"
_HAN_VALUE = r"[\u3400-\u9fff]{2,4}\d+[\u3400-\u9fff]{0,2}"
_LATIN_VALUE = r"[a-z]{2,}(?: [a-z]{2,})? \d+(?: [a-z]{1,3})?"
_LISTS = (
    re.compile(rf"{_HAN_WORD}(?:、{_HAN_WORD}){{2,9}}"),
    re.compile(rf"{_HAN_VALUE}(?:[，、]{_HAN_VALUE}){{1,9}}"),
    re.compile(r"(?!(?:and|or|but|so|if|no|yes|not)\b)[a-z]+(?:, (?!(?:and|or|but|so|if|no|yes|not)\b)[a-z]+){2,9}"),
    re.compile(rf"{_LATIN_VALUE}(?:, {_LATIN_VALUE}){{1,9}}"),
)


def bare_list(text: str) -> str | None:
    """The items of a response that is nothing but a list, without its closing mark; None for others."""
    body = text.strip().rstrip("。.")
    return body if any(pattern.fullmatch(body) for pattern in _LISTS) else None


def _to_complete(subject: Subject) -> Iterator[Change]:
    """The row's own texts, or a terse list as a sentence that names the same items and their number."""
    given = {name: subject.fields.get(name) for name in ("concise", "complete")}
    if any(value is not None for value in given.values()):
        if not all(isinstance(value, str) and value.strip() for value in given.values()):
            yield Change("whole", None, "needs both fields 'complete' and 'concise', each a text")
        elif subject.side != "student":  # the row's two texts belong to the prompt, not to a side: they count once
            yield Change("whole", str(given["complete"]), base=str(given["concise"]))
    text = subject.text
    body = bare_list(text)
    if body is None:
        return
    count = len(re.split("[、，,]", body))
    closing = closing_mark_index(text)
    mark = text[closing] if closing is not None else ""
    if is_chinese(text):
        yield Change("whole", f"具体内容如下：{body}，一共{count}项{mark or '。'}")
    else:
        yield Change("whole", f"This is what it comes to: {body}, {count} in all{mark or '.'}")


_HAPPY = r"I(?:['’]d| would) be (?:happy|glad) to help(?: you)?(?: with that)?[.!]"
_OPENING = re.compile(
    rf"\s*(?:(?:Sure|Certainly)(?:!|[,!.] {_HAPPY}|, here is the answer:))\s+(?=\S)"
    r"|\s*(?:好的|没问题)(?:[！!。]|，以下是答案：)\s*(?=\S)"
)
_HELPED = (
    r"希望(?:这|以上)?(?:些|个)?(?:信息|内容|回答|建议|解释)?(?:能够|能|会|可以)?对(?:您|你)(?:能)?有(?:所)?帮助"
    r"|(?:如果|若)(?:您|你)(?:还)?有(?:任何)?(?:其他|更多)?(?:的)?(?:问题|疑问)，"
    r"请随时(?:告诉我|提问|问我|向我提问)"
)
_HOPED = (
    r"I hope (?:this|that) helps(?: you)?"
    r"|(?:Please )?[Ll]et me know if you (?:have|need) any(?: other| more| further)?"
    r" (?:questions|help|assistance|information)"
)
_CLOSING = re.compile(rf"\s*(?:(?<=[。！？!?\n])(?:{_HELPED})[。！]|(?<=[.!?\s])(?:{_HOPED})[.!])\s*\Z")
_STANDS_ALONE = re.compile(  # openings that a courtesy would not introduce
    r"(?i)\s*(?:[^\w\s\"'“‘「（(\[]|\d+[.)]|(?:sure|certainly|of course|absolutely|here (?:is|are)|hello|hi|hey"
    r"|greetings|welcome|dear|thanks?|sorry|unfortunately|great|good|yes|no|okay|ok|well|for example|as an?|congrat\w+"
    r"|(?:it|that|here)['’]s|that (?:is|sounds)|this is an?|please|you['’]re welcome"
    r"|i ?(?:['’](?:m|d|ve)|am|apologi[sz]e|would|can|ca|do|have|hope|understand))\b"
    r"|好的|好，|当然|没问题|以下|下面|您好|你好|抱歉|对不起|很抱歉|不好意思|作为|谢谢|感谢|是|不|没|对|我|非常|很高兴"
    r"|让我们|请告|请问|请提供|请继续|无法|嗨|亲爱|尊敬|答案|这里|例如|比如)"
)


def _lead_in(subject: Subject) -> Iterator[Change]:
    """A courtesy before the answer comes, or the one there goes; one at the end goes."""
    text = subject.text
    if opening := _OPENING.match(text):
        rest = text[opening.end() :]
        yield Change("initial", rest[:1].upper() + rest[1:])
    elif text.strip():
        reason = _not_to_be_introduced(text, subject.prompt)
        lead = "好的，以下是答案：" if is_chinese(text) else "Sure, here is the answer: "
        yield Change("initial", None if reason else lead + text, reason)
    if (closing := _CLOSING.search(text)) and text[: closing.start()].strip():
        yield Change("terminal", text[: closing.start()])


_ENGLISH = re.compile(r"(?i)\b(?:the|is|are|was|of|and|to|in|it|he|she|they|you|this|that|there|can|with|for)\b")


# Where the prompt says how to answer, or the response that it does not, "here is the answer" fits neither.
_SAYS_HOW = re.compile(
    r"(?i)\b(?:pretend|act as|role-?play|persona|you are (?:now )?an?|(?:say|reply|respond|answer|return|output)"
    r"(?: (?:with|in|as))?(?: (?:only|just|exactly))?[ :]*[\"'“‘]"
    r"|(?:only|just) (?:say|reply|respond|answer|return|output|write|the|with)|nothing else|briefly"
    r"|(?:one|a single) (?:word|sentence|phrase)"
    r"|no (?:other )?(?:words|text|explanations?)|without (?:words|explanations?))\b"
    r"|扮演|假装|你是一[个名位]|[只仅](?:需|要|能|用)?(?:回答|回复|输出|返回|写|说)|不要(?:解释|说明|写)"
)
_ANSWERS_NOT = re.compile(
    r"(?i)\b(?:can(?:no|['’])t|unable|not able|nonsensical|no sense|impossible|sorry|apologi[sz]e)\b"
    r"|无法|不能|没有意义|抱歉|不符合"
)


def _not_to_be_introduced(text: str, prompt: str) -> str:
    """Why a courtesy may not go before an answer: it would break a format, or fit no such opening; '' where it may."""
    if reason := Guards(text).not_prose(0, len(text)):
        return reason
    first, *more = text.strip().split("\n")
    if _STANDS_ALONE.match(text):
        return "opens with one already"
    if _SAYS_HOW.search(prompt):
        return "a way to answer is asked for"
    if _ANSWERS_NOT.search(first):
        return "no answer"
    if re.search("[?？!！*]", first):
        return "no answer"
    if re.match(r"[^\s：:]{1,20}(?: \S+)?[：:]", first) or (more and first.rstrip()[-1:] not in ".。:："):
        return "heading"
    known = is_chinese(text) or _ENGLISH.search(first) or (first.isascii() and len(first.split()) <= 3)
    return "" if known else "neither Chinese nor English"


FAMILIES: tuple[Family, ...] = (
    Family(
        "to-complete", "completeness", "directional", 1,
        "a terse answer becomes a complete sentence with the same facts", _to_complete, ending_control=True,
    ),
    Family(
        "lead-in", "completeness", "invariance", 0,
        "a courtesy that says nothing comes or goes", _lead_in,
    ),
)  # fmt: skip
