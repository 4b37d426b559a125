"""How a critic's training wrote a conversation and where it read the score: one named thing, for every command."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from critic_probe import documents
from critic_probe.errors import CriticProbeError, parameter

Closing = Literal["nothing", "eos", "blank+eos", "tail", "tail+eos", "tail+blank+eos"]


@dataclass(frozen=True)
class Convention:
    """A way in which training fed a critic and read it.

    Attributes:
        name: How results call it.
        rendering: `generation`: the prompt up to where an answer begins, then the answer's own ids; `whole`: the whole
            conversation, rendered and tokenised as one text.
        closing: What closes an answer in a conversation. `tail` is what the template puts behind an answer, `eos` one
            EOS where there is none, `blank+eos` the same behind a blank, for which line breaks at the end go.
        plain: What a prompt that is plain text is: `turn`, a user's turn of a conversation; or `text`, which the answer
            goes on from.
        plain_rendering: As `rendering`, for plain text.
        plain_closing: As `closing`, for plain text, which has no tail.
        adds_special: Whether the tokenizer adds its own special tokens (a BOS, mostly) to a rendered conversation too.
        plain_adds_special: Whether it adds them to plain text.
        reads: Where the score is: `read-outs` leaves it to them; `last` is the last token of the sequence; `pooled` the
            last that is not the padding token, as transformers' sequence classification pools.
        position: `at` the token, or `before` it (the state's value of PPO critics).
    """

    name: str
    rendering: Literal["generation", "whole"] = "generation"
    closing: Closing = "nothing"
    plain: Literal["turn", "text"] = "turn"
    plain_rendering: Literal["generation", "whole"] = "generation"
    plain_closing: Closing = "nothing"
    adds_special: bool = False
    plain_adds_special: bool = True
    reads: Literal["read-outs", "last", "pooled"] = "read-outs"
    position: Literal["at", "before"] = "at"

    @property
    def signed(self) -> str:
        """How signatures call it: a built-in one by its name, any other by name and a hash of all that it says."""
        if self == CONVENTIONS.get(self.name):
            return self.name
        content = json.dumps(asdict(self), sort_keys=True).encode()
        return f"{self.name}:{hashlib.sha256(content).hexdigest()[:8]}"


GAD = Convention("gad")

CONVENTIONS = {
    convention.name: convention
    for convention in (
        GAD,
        # trl/trainer/reward_trainer.py of 1.16: apply_chat_template of the whole, or text + EOS
        Convention("trl", "whole", "tail", "text", "whole", "eos", reads="pooled"),
        # of 0.23: the rendered text is tokenised as any text is, so that a tokenizer's BOS stands twice; no EOS
        Convention("trl-0.23", "whole", "tail", "text", "whole", "nothing", adds_special=True, reads="pooled"),
        # openrlhf/datasets/reward_dataset.py of 0.11
        Convention(
            "openrlhf", "whole", "tail+blank+eos", "text", "whole", "blank+eos", plain_adds_special=False, reads="last"
        ),
        # sampled responses end in EOS; values[:, -R-1:-1]
        Convention("verl-ppo", closing="eos", plain_closing="eos", position="before"),
        Convention("hf", "whole", "tail", plain_rendering="whole", reads="pooled"),
        # llamafactory/data/processor/pairwise.py of 0.9: the answer and what its template puts behind it
        Convention("llamafactory", closing="tail", plain_closing="eos", reads="last"),
    )
}
"""The conventions by name."""


def find_convention(name: str) -> Convention:
    """The convention of a name, or of a TOML file, which is called as the file is.

    Raises:
        CriticProbeError: There is none of that name; or the file cannot be read, holds something else, or is called as
            a built-in convention is.
    """
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    if not name.endswith(".toml"):
        known = ", ".join(CONVENTIONS)
        raise CriticProbeError(
            f"{parameter('convention')} '{name}' is no known convention; choose from {known}, or name a TOML file"
        )
    called = Path(name).stem
    if called in CONVENTIONS:
        raise CriticProbeError(f"{name}: '{called}' is the name of a built-in convention; give the file another name")
    text = documents.read_text(Path(name), "name a TOML file of a convention")
    return _checked(name, called, documents.read_toml(text, name, "mend it"))


def _checked(source: str, called: str, content: dict[str, Any]) -> Convention:
    known = [field.name for field in fields(Convention) if field.name != "name"]
    for key in content:
        if key == "name":
            raise CriticProbeError(f"{source}: a convention is called as its file is; remove 'name'")
        if key not in known:
            raise CriticProbeError(
                f"{source}: {documents.shown(key)} is no part of a convention; known are {', '.join(known)}"
            )
    return Convention(called, **documents.checked(content, documents.fields_of(Convention, "name"), source, "mend it"))
