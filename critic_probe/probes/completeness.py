"""The same facts, told in full or tersely: a complete answer must not score below a terse one."""

import re
from collections.abc import Iterator

from critic_probe.probes.case import Change, Family, Subject
from critic_probe.probes.guards import Guards
from critic_probe.text import closing_mark_index, is_chinese

_ITEM = r"[^\n。！？!?，,、：:；;.'\"“”()（）\[\]{}]"
_HAN_LIST = re.compile(rf"{_ITEM}{{1,10}}(?:[、，]{_ITEM}{{1,10}}){{1,9}}")
_LATIN_LIST = re.compile(r"[\w'-]+(?: [\w'-]+){0,2}(?:, [\w'-]+(?: [\w'-]+){0,2}){1,9}")
_LEADS = re.compile(
    r"\s*(?:(?:好的|当然(?:可以)?|没问题)[，,！!。]|以下是[^\n：:]{0,20}[：:]"
    r"|(?:Sure|Certainly|Of course)[,!.]|Here (?:is|are)[^\n:]{0,40}:)\s*"
)
_TAILS = re.compile(
    r"\s*(?:希望(?:这|以上)?[^\n。！]{0,20}(?:帮助|帮到你|有用)[。！]|如果?(?:您|你)?(?:还)?有[^\n。！]{0,30}[。！]"
    r"|I hope this helps[^\n.!]{0,20}[.!]|Let me know if[^\n.!]{0,60}[.!])\s*\Z"
)


def bare_list(text: str) -> str | None:
    """The items of a response that is nothing but a list of short ones, without its closing mark; None for others."""
    body = text.strip().rstrip("。.")
    return body if (_HAN_LIST if is_chinese(text) else _LATIN_LIST).fullmatch(body) else None


def _from_row(subject: Subject, base: str, variant: str) -> Change | None:
    given = {name: subject.fields.get(name) for name in (base, variant)}
    if all(value is None for value in given.values()):
        return None
    if not all(isinstance(value, str) and value.strip() for value in given.values()):
        return Change("whole", None, "needs both fields 'complete' and 'concise', each a text")
    # The row's two texts belong to the prompt, not to a side: they are compared once.
    return Change("whole", str(given[variant]), base=str(given[base])) if subject.side != "student" else None


def _to_complete(subject: Subject) -> Iterator[Change]:
    """The row's own texts, or a terse list as a sentence that names the same items and their number."""
    if own := _from_row(subject, "concise", "complete"):
        yield own
    text = subject.text
    body = bare_list(text)
    if body is None or Guards(text).covered(0, len(text), allow=("number", "abbreviation")) is not None:
        return
    count = len(re.split("[、，,]", body))
    closing = closing_mark_index(text)
    mark = text[closing] if closing is not None else ""
    if is_chinese(text):
        yield Change("whole", f"好的，具体内容如下：{body}，一共{count}项{mark or '。'}")
    else:
        yield Change("whole", f"Sure, here is what it comes to: {body}, {count} in all{mark or '.'}")


def _to_concise(subject: Subject) -> Iterator[Change]:
    """The row's own texts, or an answer without its opening and closing courtesies."""
    if own := _from_row(subject, "complete", "concise"):
        yield own
    text = subject.text
    lead = _LEADS.match(text)
    rest = text[lead.end() :] if lead else text
    rest = _TAILS.sub("", rest)
    if rest.strip() and rest != text:
        yield Change("whole", rest)


def _lead_in(subject: Subject) -> Iterator[Change]:
    """A courtesy before an answer that opens with none; it says nothing."""
    text = subject.text
    if _LEADS.match(text) or not text.strip():
        yield Change("initial", None, "opens with one already")
    else:
        yield Change("initial", ("好的，以下是答案：" if is_chinese(text) else "Sure, here is the answer: ") + text)


FAMILIES: tuple[Family, ...] = (
    Family(
        "to-complete", "completeness", "directional", 1,
        "a terse answer becomes a complete sentence with the same facts", _to_complete, ending_control=True,
    ),
    Family(
        "to-concise", "completeness", "directional", -1,
        "a complete answer becomes a terse one with the same facts", _to_concise, ending_control=True,
    ),
    Family(
        "lead-in", "completeness", "invariance", 0,
        "a courtesy that says nothing goes before the answer", _lead_in,
    ),
)  # fmt: skip
