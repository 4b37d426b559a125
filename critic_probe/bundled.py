"""The critics and pairs that ship with the tool, and finding a critic by its name or directory."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from critic_probe.errors import CriticProbeError, parameter
from critic_probe.pairs import Fields, PairFile, Pairs, as_text, read_pairs

if TYPE_CHECKING:
    from critic_probe.checkpoint import Critic
    from critic_probe.scoring.ranks import Ranks
    from critic_probe.scoring.replicas import Cluster

BUNDLED = "bundled:"
TOYS = (f"{BUNDLED}last", f"{BUNDLED}mean")  # need nothing else, and are used where no critic is named
ADAPTERS = (f"{BUNDLED}smollm2-last", f"{BUNDLED}smollm2-mean")
TINY = 10_000_000  # parameters


def fixtures() -> Path:
    """The directory of the bundled pairs and critics: inside an installed package, or beside it in a clone."""
    inside = Path(__file__).parent / "fixtures"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class Critics:
    """Which critics to load, and how.

    Attributes:
        paths: Name -> directory.
        bundled: Nothing was asked for, so the bundled ones are used.
        loading: What `load_critic` takes beside the path.
        cluster: Where replicas hold each, or processes a part of it; None for a critic in this process.
    """

    paths: dict[str, Path]
    bundled: bool
    loading: dict[str, Any]
    cluster: "Cluster | Ranks | None" = None

    def load(self) -> "Iterator[Critic]":
        """Loads one critic after the other."""
        if self.cluster is not None:
            yield from self.cluster.critics(self.paths, self.loading)
            return
        from critic_probe.checkpoint import load_critic

        tokenizers: dict[str, Any] = {}  # what they were told to be -> the first of them
        for name, path in self.paths.items():
            critic = load_critic(path, name=name, **self.loading)
            critic = replace(critic, tokenizer=tokenizers.setdefault(_makeup(critic), critic.tokenizer))
            _one_thread_for_a_tiny(critic)
            yield critic
            del critic  # before the next one is loaded


def _makeup(critic: "Critic") -> str:
    """What tells a tokenizer from others: a critic's goes when its turn ends, but its tokenizer shows its tokens."""
    tokenizer = critic.tokenizer
    told = tokenizer.chat_template, tokenizer.special_tokens_map, tokenizer.added_tokens_decoder
    return repr((critic.tokenizer_hash, type(tokenizer), told))


def _one_thread_for_a_tiny(critic: "Critic") -> None:
    """Threads that wait for each other cost a tiny model more than they compute, most of all on a busy machine."""
    import torch

    parameters = sum(parameter.numel() for parameter in critic.backbone.parameters())
    if critic.device.type == "cpu" and parameters < TINY:
        torch.set_num_threads(1)


def find_critics(given: Sequence[str] | None, **loading: Any) -> Critics:
    """The critics that are named, else the one of $CRITIC_PROBE_CHECKPOINT, else the bundled toys.

    Args:
        given: Directories and `bundled:` names.
        loading: What `load_critic` takes beside the path.

    Raises:
        CriticProbeError: A `bundled:` name is unknown, or the same directory is given twice.
    """
    from_environment = os.environ.get("CRITIC_PROBE_CHECKPOINT")
    wanted = list(given or ([from_environment] if from_environment else []))
    names = (*TOYS, *ADAPTERS)
    paths: dict[str, Path] = {}
    for text in wanted or TOYS:
        if text.startswith(BUNDLED) and text not in names:
            raise CriticProbeError(f"'{text}' is not a bundled critic; choose from {', '.join(names)}")
        own = text.startswith(BUNDLED)
        path = fixtures() / "critics" / text.removeprefix(BUNDLED) if own else Path(text)
        if path.resolve() in {known.resolve() for known in paths.values()}:
            raise CriticProbeError(f"{parameter('checkpoint', text)} is given twice; give each critic once")
        paths[text] = path
    called = _shortest([path.resolve() for text, path in paths.items() if not text.startswith(BUNDLED)])
    return Critics({called.get(path.resolve(), text): path for text, path in paths.items()}, not wanted, loading)


def _shortest(paths: Sequence[Path]) -> dict[Path, str]:
    """What each path is called: its last part, with so many before it as tell it from every other one."""
    parts = dict.fromkeys(paths, 1)
    while True:
        names = {path: "/".join(path.parts[-count:]).replace("//", "/") for path, count in parts.items()}
        taken = list(names.values())
        alike = [path for path, name in names.items() if taken.count(name) > 1]
        if not alike:
            return names
        for path in alike:
            parts[path] += 1


def find_pairs(
    path: str | None,
    fields: Fields,
    critics: Critics,
    on_bad_row: Literal["error", "skip"] = "error",
    kind: type[PairFile] = PairFile,
) -> Pairs:
    """The pairs of a file, or its candidates, or the bundled pairs where no file is given.

    Token ids belong to one tokenizer: for other critics than the bundled toys the bundled pairs are read as
    text. A file is read anew each time it is gone through.

    Raises:
        CriticProbeError: The file is not there or not of pairs.
    """
    if path is not None:
        return kind(path, fields, on_bad_row=on_bad_row)
    pairs = read_pairs(fixtures() / "pairs.jsonl", fields)
    return pairs if set(critics.paths) <= set(TOYS) else [as_text(pair) for pair in pairs]
