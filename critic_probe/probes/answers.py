"""Which answers of a file stand for those to other prompts."""

from collections import Counter

from critic_probe.text import is_chinese

KEPT = 16  # of each language and length


class Answers:
    """Teachers' answers by prompt: the first `KEPT` of each language and length, within a factor of two.

    A run goes through a file once and holds no more of it; what shows edits without a critic draws from the same ones.
    """

    def __init__(self) -> None:
        self._by_prompt: dict[str, str] = {}
        self._counts = Counter[tuple[bool, int]]()

    def add(self, prompt: str, answer: str) -> None:
        """Keeps an answer, unless there is one to its prompt or there are enough like it."""
        like = is_chinese(answer), len(answer).bit_length()
        if prompt not in self._by_prompt and self._counts[like] < KEPT:
            self._by_prompt[prompt] = answer
            self._counts[like] += 1

    def to_others(self, prompt: str) -> tuple[str, ...]:
        """Those to other prompts, in the order of the file."""
        return tuple(answer for other, answer in self._by_prompt.items() if other != prompt)
