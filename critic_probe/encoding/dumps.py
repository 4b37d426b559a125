"""Prompts of rollout dumps: renderings that lost their special tokens, made into the conversations that they were.

verl writes what the policy was fed as `tokenizer.batch_decode(prompts, skip_special_tokens=True)`, and TRL's table of
completions holds the same. Fed as text, such a prompt is another one than in training. Which words the template puts
around turns is found by rendering marks; what stands between them are the turns, and the conversation is taken only if
its rendering loses its special tokens to that very text.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

from critic_probe.encoding.chat import ChatTemplate
from critic_probe.errors import parameter
from critic_probe.pairs import BadRowError, Message

_MARK = "criticprobemark"
_EXCHANGES = 8  # an assistant's turn and the user's next, of which a conversation may have so many


class Dumps:
    """Reads decoded prompts by one template.

    Args:
        template: Of the critic's tokenizer.
        decoded: What a rendering reads as once it is tokenised and decoded without special tokens.
    """

    def __init__(self, template: ChatTemplate, decoded: Callable[[str], str]) -> None:
        self._template = template
        self._decoded = decoded

    def conversation(self, text: str) -> tuple[Message, ...]:
        """The turns of a decoded prompt: as many as the words around turns tell apart.

        Raises:
            BadRowError: The template writes no such text, or does not tell turns apart once special tokens are gone.
        """
        for roles, parts in self._shapes:
            contents = _between(text, parts)
            if contents is None or not all(content.strip() for content in contents):
                continue
            turns = tuple({"role": role, "content": said} for role, said in zip(roles, contents, strict=True))
            with suppress(BadRowError):
                if self._decoded(self._template.render(turns, {}, whole=False)) == text:
                    return turns
        raise BadRowError(
            "decoded prompt",
            "the prompt of this rollout dump was decoded without special tokens, and is no conversation that this "
            f"critic's chat template writes; give the dump messages, take the text for what the user says with "
            f"{parameter('fields.prompt')}, or feed it as it stands with {parameter('template', 'raw')}",
        )

    @cached_property
    def _shapes(self) -> list[tuple[tuple[str, ...], list[str]]]:
        """Roles of conversations, the longest first, and what is written before, between and behind their turns."""
        shapes = []
        for system in ((), ("system",)):
            for exchanges in range(_EXCHANGES + 1):
                roles = (*system, "user", *("assistant", "user") * exchanges)
                if parts := self._around(roles):
                    shapes.append((roles, parts))
        return sorted(shapes, key=lambda shape: -len(shape[0]))

    def _around(self, roles: tuple[str, ...]) -> list[str]:
        """What stands around turns of these roles; nothing where they cannot be told apart."""
        turns = tuple({"role": role, "content": f"{_MARK}{i:02}"} for i, role in enumerate(roles))
        try:
            rest = self._decoded(self._template.render(turns, {}, whole=False))
        except BadRowError:
            return []
        parts = []
        for turn in turns:
            before, mark, rest = rest.partition(turn["content"])
            if not mark:
                return []
            parts.append(before)
        return [*parts, rest] if all(part.strip() for part in [*parts[1:], rest]) else []


def _between(text: str, parts: list[str]) -> list[str] | None:
    """What stands between the parts, which the text begins and ends with; None where one is missing."""
    first, *inner, last = parts
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return None
    text = text[len(first) : len(text) - len(last)]
    contents = []
    for part in inner:
        before, found, text = text.partition(part)
        if not found:
            return None
        contents.append(before)
    return [*contents, text]
