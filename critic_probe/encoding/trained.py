"""By which convention a checkpoint was trained, as far as its directory tells."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from critic_probe.checkpoint import Anatomy
from critic_probe.checkpoint.audit import framework
from critic_probe.checkpoint.critic import Training
from critic_probe.checkpoint.layout import read_json
from critic_probe.encoding.convention import CONVENTIONS, GAD, Closing, Convention

_CARD = re.compile(r"^- TRL: (\d+)\.(\d+)", re.MULTILINE)  # in the model card that TRL writes


class Trained(NamedTuple):
    """A convention and why it is taken.

    Attributes:
        convention: How to render, close and read.
        reason: What of the directory says so, for the first line of an answer.
        known: Whether the directory tells how training was done; otherwise the head's kind decides.
    """

    convention: Convention
    reason: str
    known: bool


def trained_convention(anatomy: Anatomy) -> Trained:
    """The convention by which a critic was most likely trained."""
    where, config = anatomy.layout.path, anatomy.layout.config
    who = framework(anatomy)
    token_head = anatomy.head.biases[-1] is not None
    if who == "critic-probe":
        record = read_json(where / "critic_probe.json", "record of its training", Training)
        closing: Closing = "eos" if record.get("eos") == "include" else "nothing"
        position: Literal["at", "before"] = "before" if record.get("value_position") == "before" else "at"
        as_trained = replace(GAD, closing=closing, plain_closing=closing, position=position)
        return Trained(as_trained, "critic_probe.json: critic-probe warmup trained it", True)
    if who == "OpenRLHF":
        if "CriticModel" in (config.get("architectures") or ()):
            return Trained(CONVENTIONS["verl-ppo"], "config.json names OpenRLHF's CriticModel", True)
        return Trained(CONVENTIONS["openrlhf"], "config.json is of OpenRLHF's reward model", True)
    if anatomy.layout.format == "value-head-file":
        return Trained(
            CONVENTIONS["llamafactory"], "the value head lies in a file of its own, as LLaMA-Factory's", True
        )
    if _names_reward_trainer(where):
        version = _trl_version(where)
        if version is not None and version < (0, 24):
            return Trained(CONVENTIONS["trl-0.23"], f"TRL {version[0]}.{version[1]} trained it, by its card", True)
        number = "" if version is None else f" {version[0]}.{version[1]}"
        return Trained(CONVENTIONS["trl"], f"training_args.bin is of TRL{number}'s RewardTrainer", True)
    if token_head or who in ("verl", "TRL", "trlx"):
        return Trained(GAD, "a value head per token; nothing says how it was trained", False)
    return Trained(CONVENTIONS["hf"], "a sequence-classification head; nothing says how it was trained", False)


def _names_reward_trainer(where: Path) -> bool:
    """Whether the trainer's arguments are TRL's for reward models: a pickle that names its class, and is not run."""
    file = where / "training_args.bin"
    return file.is_file() and b"reward_config" in _head(file)


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(1 << 20)


def _trl_version(where: Path) -> tuple[int, int] | None:
    for card in (where / "README.md", where.parent / "README.md"):
        if card.is_file() and (match := _CARD.search(_head(card).decode(errors="replace"))):
            return int(match[1]), int(match[2])
    return None
