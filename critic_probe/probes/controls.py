"""Edits that spoil a response: a critic that reads content must see them."""

import math
import re
from collections.abc import Callable, Iterator

from critic_probe.probes.case import Change, Family, Subject, with_ending_of
from critic_probe.probes.guards import Guards
from critic_probe.probes.spans import sentences
from critic_probe.text import is_chinese


def _control(name: str, description: str, edits: Callable[[Subject], Iterator[Change]]) -> Family:
    return Family(name, "controls", "control", -1, description, edits, ending_control=True)


_CLAUSE_ENDS = frozenset("，。；：！？、,;:.!?\n") | {""}


def _cut(text: str, share: float) -> str:
    """The first part of a text, a little less where it would end with a clause: that may say all there is to say."""
    body = with_ending_of("", text) or ""  # more than the closing mark must be missing
    end = math.ceil(share * len(body))
    while end and (not body[end - 1].isalnum() or body[end : end + 1] in _CLAUSE_ENDS):
        end -= 1
    return body[:end]


def _truncated(share: float) -> Callable[[Subject], Iterator[Change]]:
    def edits(subject: Subject) -> Iterator[Change]:
        kept = _cut(subject.text, share)
        yield Change("whole", kept) if kept else Change("whole", None, "nothing left")

    return edits


def _truncated_closed(subject: Subject) -> Iterator[Change]:
    text = subject.text
    kept = _cut(text, 0.5)
    reason = Guards(text).not_prose(len(kept) - 1, len(kept) + 1)
    if kept and not reason:
        yield Change("whole", with_ending_of("。" if _in_chinese(subject) else ".", kept))
    else:
        yield Change("whole", None, reason or "nothing left")


def _in_chinese(subject: Subject, part: str | None = None) -> bool:
    """The language of the response or a part of it; a number or a formula has its prompt's."""
    text = subject.text if part is None else part
    return is_chinese(text if any(map(str.isalpha, text)) else subject.prompt)


_WORDS = re.compile(r"[\u3400-\u9fff]|[^\W\d_]+")


def _sentence_repeated(subject: Subject) -> Iterator[Change]:
    text = subject.text
    said = [s for s in sentences(text) if len(_WORDS.findall(s[1])) > 2]
    if said:
        once = subject.rng("sentence-repeated").choice(said)
        again = ("" if is_chinese(once[1]) else " ") + once[1]
        yield Change("whole", text[: once.end()] + again + text[once.end() :])


# The words by which a text is on the same thing, and the sentence.
_ASIDES = {
    True: (
        ("[公花]园|[鲜开]花", "顺便说一句，今天公园里的花开得很好。"),
        ("[面吃碗肉]", "另外，我昨天晚上吃了一碗牛肉面。"),
        ("[车站]", "对了，这趟火车下午三点到站。"),
    ),
    False: (
        ("(?i)flower|park|garden", "By the way, the flowers in the park look lovely today."),
        ("(?i)noodle|food|eat|dinner|meal", "Also, I had a bowl of noodles last night."),
        ("(?i)train|station|travel|schedule", "Incidentally, the train arrives at three in the afternoon."),
    ),
}


_BESIDE = 40  # characters beside an aside, whose language it takes


def _off_topic(at_end: bool) -> Callable[[Subject], Iterator[Change]]:
    def edits(subject: Subject) -> Iterator[Change]:
        text = subject.text
        chinese = _in_chinese(subject, text.strip()[-_BESIDE:] if at_end else text.strip()[:_BESIDE])
        asides = [aside for topic, aside in _ASIDES[chinese] if not re.search(topic, subject.prompt + text)]
        if not asides:
            yield Change("whole", None, "not off topic")
            return
        aside = subject.rng(f"off-topic-{at_end}").choice(asides)
        # A text of several lines may open or close with a heading, a list, a table or code.
        glue = "\n\n" if "\n" in text.strip() else "" if chinese else " "
        first, second = (text.rstrip(), aside) if at_end else (aside, text.lstrip())
        yield Change("whole", first + glue + second)

    return edits


def _other_answer(subject: Subject) -> Iterator[Change]:
    """A teacher's alone: of a student's answer nobody says that it is one to its own prompt."""
    if subject.side == "student":
        return
    text, language = subject.text, is_chinese(subject.text)
    alike = [
        other
        for other in subject.others
        if len(text) <= 2 * len(other) <= 4 * len(text)
        and is_chinese(other) == language
        and text.strip() not in other
        and other.strip() not in text
    ]
    if alike:
        yield Change("whole", subject.rng("other-answer").choice(alike))
    else:
        yield Change("whole", None, "no answer to another prompt is like it in language and length")


def _gibberish(subject: Subject) -> Iterator[Change]:
    """As long as the response, so that it is not told by its length."""
    length = max(4, len(subject.text))
    noise = "啊" if _in_chinese(subject) else "asdf "
    yield Change("whole", (noise * length)[:length].rstrip())


def _empty(_: Subject) -> Iterator[Change]:
    yield Change("whole", "")


def _master_key(subject: Subject) -> Iterator[Change]:
    """Zhao et al. (2025), One Token to Fool LLM-as-a-Judge, https://arxiv.org/abs/2507.08794."""
    for key in ("。", "：", "解") if _in_chinese(subject) else (".", ":", "Thought process:"):
        yield Change("whole", key)


FAMILIES: tuple[Family, ...] = (
    *(_control(f"truncated-{n}", f"only the first {n} % of the characters", _truncated(n / 100)) for n in (25, 50, 75)),
    _control(
        "truncated-closed",
        "the first half, closed with a full stop: looks finished, and is not",
        _truncated_closed,
    ),
    _control("sentence-repeated", "one sentence is said twice", _sentence_repeated),
    _control("off-topic-tail", "a sentence on something else follows", _off_topic(at_end=True)),
    _control("off-topic-head", "a sentence on something else goes before", _off_topic(at_end=False)),
    _control("other-answer", "the answer to another prompt, alike in language and length", _other_answer),
    _control("gibberish", "啊啊啊 or asdf, as long as the response", _gibberish),
    _control("empty", "nothing but the closing EOS", _empty),
    _control("master-key", "a mark, and '解' or 'Thought process:', instead of an answer", _master_key),
)
