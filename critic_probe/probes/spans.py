"""Parts of a response that an edit may take, and how one of them is drawn."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from critic_probe.probes.case import Change, Subject
from critic_probe.probes.guards import Guards


class Place(NamedTuple):
    """A span of a response, and what takes its place."""

    start: int
    end: int
    replacement: str = ""


def one_of(name: str, places: Callable[[Subject], Iterator[Place]]) -> Callable[[Subject], Iterator[Change]]:
    """The edits of a family that changes one of these places, drawn by the seed."""

    def edits(subject: Subject) -> Iterator[Change]:
        if possible := list(places(subject)):
            text, (start, end, replacement) = subject.text, subject.rng(name).choice(possible)
            yield Change("whole", text[:start] + replacement + text[end:])

    return edits


def any_of(words: str) -> str:
    """The pattern of any of these words, which white space separates; a `_` stands for a blank in one."""
    return f"(?:{'|'.join(words.split())})".replace("_", " ")


_SENTENCE_END = re.compile(
    r"[。！？]+(?![”」』）\"])|[。！？]+[”」』）\"](?=\s|\Z)|[.!?]+[\")”]?(?=\s|\Z)"  # 他说“好！”就走了 goes on
)
_SENTENCE = re.compile(r"\s*(?:[-*+•][ ]+|[（(]?\d{1,2}[.)）、．](?!\d)[ ]*)?(\S.*)")


def sentences(text: str) -> Iterator[re.Match[str]]:
    """The sentences of running text, closed by their own marks, with no code, data or address in them.

    Group 1 is the sentence; before it stand the blanks behind the sentence before, and the marker of a listed one.
    """
    guards = Guards(text)
    for line in re.finditer(r"[^\n]+", text):
        start = line.start()
        for end in _SENTENCE_END.finditer(text, *line.span()):
            if guards.covered(end.start(), end.end()) is None:
                sentence = _SENTENCE.match(text, start, end.end())
                if sentence and not guards.not_prose(*sentence.span()):
                    yield sentence
                start = end.end()
