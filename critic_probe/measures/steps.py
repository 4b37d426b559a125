"""Process reward models: the value at the end of each step of a response, and what becomes of them.

A process reward model is trained to say at the last token of each step whether the solution is still right. The score
of a solution is the product over its steps (Lightman et al. 2023, Let's Verify Step by Step, who try the minimum too),
their minimum (Wang et al. 2023, Math-Shepherd), or the value at the last step alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from critic_probe.encoding import EncodedResponse
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.workbench import Bench

READ_OUTS = ("step-last", "step-min", "step-product")


@dataclass(frozen=True)
class Steps:
    """What marks a step, and how its value is read.

    Attributes:
        separator: The text that ends a step; what follows the last one is a step too, where it says anything.
        tokens: The tokens that end a step, by text, or by id where it is a number; what follows the last one is no
            step.
        sigmoid: Whether values are logits, whose sigmoid is the probability that a step is right.
    """

    separator: str | None = None
    tokens: tuple[str, ...] = ()
    sigmoid: bool = False

    def __post_init__(self) -> None:
        if self.separator is not None and self.tokens:
            raise CriticProbeError(
                f"{parameter('step_separator')} and {parameter('step_token')} both mark steps; give one"
            )
        if self.separator is None and not self.tokens:
            raise CriticProbeError(
                f"nothing marks a step; give {parameter('step_separator')} or {parameter('step_token')} beside "
                f"{parameter('step_sigmoid', True)}"
            )
        if self.separator == "":
            raise CriticProbeError(f"{parameter('step_separator')} is empty; give the text that ends a step")

    def marks(self, bench: Bench) -> frozenset[int]:
        """The ids of the tokens that end a step.

        Raises:
            CriticProbeError: One is no token of the critic's.
        """
        return frozenset(_id_of(bench, token) for token in self.tokens)

    def ends(self, bench: Bench, marks: frozenset[int], response: EncodedResponse) -> list[int]:
        """The index of each step's last token among a response's own; what closes the response is no part of a step.

        A token that holds the end of a separator ends the step, also where it holds what stands before or behind.
        """
        if self.separator is None:
            return [i for i, token in enumerate(response.own_ids) if token in marks]
        pieces = bench.encoder.pieces(response.own_ids)
        texts = [piece.text if piece.start == i else "" for i, piece in enumerate(pieces)]
        until = list(accumulate(map(len, texts)))  # characters up to each token, a character of several at its first
        text = "".join(texts)
        ends, at = [], 0
        while (at := text.find(self.separator, at)) >= 0:
            at += len(self.separator)
            if text[at:].startswith(self.separator):
                continue  # a run of separators ends one step
            ends.append(at)
        if text[ends[-1] if ends else 0 :].strip():
            ends.append(len(text))
        return list(dict.fromkeys(_token_at(until, end) for end in ends))

    def scores(self, values: Tensor, ends: Sequence[int]) -> tuple[list[float], dict[str, float | None]]:
        """The score of each step, and of the response under each read-out over them; the product of probabilities only.

        Args:
            values: (R,) at the response's tokens.
            ends: See `ends`.
        """
        read = values[list(ends)]
        read = torch.sigmoid(read) if self.sigmoid else read
        steps = read.tolist()
        if not steps:
            return [], dict.fromkeys(READ_OUTS)
        right = all(0 <= step <= 1 for step in steps)
        product = read.prod().item() if right else None
        return steps, dict(zip(READ_OUTS, (steps[-1], min(steps), product), strict=True))

    def floor(self, bench: Bench, read_out: str, most: int) -> float:
        """The noise floor of a read-out over at most so many steps.

        A sigmoid moves by at most a quarter of its argument, a product of numbers up to 1 by at most the sum of theirs.
        """
        one = bench.floor("min" if read_out == "step-min" else "last") * (0.25 if self.sigmoid else 1)
        return one * most if read_out == "step-product" else one


def _token_at(until: Sequence[int], end: int) -> int:
    """The last token of the piece that holds the character before `end`."""
    first = next(i for i, reached in enumerate(until) if reached >= end)
    return max(i for i, reached in enumerate(until) if reached == until[first])


def _id_of(bench: Bench, token: str) -> int:
    tokenizer = bench.critic.tokenizer
    if token.isdecimal():
        ids = [int(token)]
    elif token in tokenizer.get_vocab():
        ids = [tokenizer.convert_tokens_to_ids(token)]
    else:
        ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] >= bench.critic.vocabulary:
        raise CriticProbeError(
            f"{bench.name}: {parameter('step_token')} '{token}' is {len(ids)} tokens of its tokenizer; name one token "
            f"by its text or its id, or give {parameter('step_separator')}"
        )
    return int(ids[0])
