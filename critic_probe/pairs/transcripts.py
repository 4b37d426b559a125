"""Transcripts as hh-rlhf writes them: the turns of a conversation in one text, each behind `Human:` or `Assistant:`."""

import re

from critic_probe.pairs.pair import Message, Record, Turns

OPENS_ANSWER = "\n\nAssistant:"

_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(prompt: str) -> bool:
    """Whether a prompt is a transcript that leaves the assistant to answer."""
    first = _TURN.match(prompt)
    return first is not None and first[1] == "Human" and prompt.rstrip(" ").endswith(OPENS_ANSWER)


def as_turns(record: Record) -> Record:
    """A record whose prompt is a transcript as one whose prompt is messages; any other as it is.

    A template puts its own marks around turns, so the transcript's words for them go, and the blank behind each.
    """
    if not isinstance(record.prompt, str) or not is_transcript(record.prompt):
        return record
    sides = [_answer(side) if isinstance(side, str) else side for side in record.responses]
    return record.answered(_turns(record.prompt)[:-1], sides)


def _turns(transcript: str) -> tuple[Message, ...]:
    parts = _TURN.split(transcript)[1:]
    return tuple(
        {"role": _ROLES[name], "content": said.strip()} for name, said in zip(parts[::2], parts[1::2], strict=True)
    )


def _answer(text: str) -> str | Turns:
    turns = _turns(OPENS_ANSWER + text)
    return Turns(turns) if len(turns) > 1 else str(turns[0]["content"])
