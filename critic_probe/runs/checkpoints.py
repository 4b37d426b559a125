"""The checkpoints of a training run: which there are, and whether one is whole.

A checkpoint is whole where its files are (every shard is there, every header is that of its file) and its writer is
done with it. A writer that says so is believed: verl's `latest_checkpointed_iteration.txt`, the `trainer_state.json`
that transformers' Trainer writes last. Of one that does not, nothing may have changed since the last look.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from critic_probe.checkpoint.layout import Layout, read_layout, steps_in
from critic_probe.errors import CriticProbeError

_VERL = "latest_checkpointed_iteration.txt"
_TRAINER = "trainer_state.json"
_OF_TRAINER = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", _TRAINER)

Stamp = tuple[tuple[str, int, int], ...]
"""Every file of a directory: its name in it, size in bytes, and time of change in ns."""


class Checkpoint(NamedTuple):
    """A step's directory.

    Attributes:
        step: The step of the training.
        path: Where it lies.
        stamp: Its files as they were found.
    """

    step: int
    path: Path
    stamp: Stamp

    @property
    def gone(self) -> bool:
        """Whether files that were there are no more."""
        now = {name for name, *_ in stamp_of(self.path)}
        return not {name for name, *_ in self.stamp} <= now

    @property
    def changed(self) -> bool:
        """Whether a file was added to it, or written to, since it was found."""
        return bool(set(stamp_of(self.path)) - set(self.stamp))


def checkpoints_of(run: Path) -> list[Checkpoint]:
    """What is there, the earliest step first; a directory that another name awaits (`tmp-checkpoint-N`) is none.

    Raises:
        CriticProbeError: The run is no directory, or two directories are of one step.
    """
    if not run.is_dir():
        raise CriticProbeError(f"{run}: no such directory; give the one in which training writes its checkpoints")
    return [Checkpoint(step, path, stamp_of(path)) for step, path in sorted(steps_in(run).items())]


def stamp_of(path: Path) -> Stamp:
    """The files of a directory as they are now; those that go while it is looked at are left out."""
    rows = []
    for file in sorted(path.rglob("*")):
        try:
            if file.is_file():
                stat = file.stat()
                rows.append((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns))
        except OSError:
            continue
    return tuple(rows)


def whole(checkpoint: Checkpoint, base: str | None = None, before: Mapping[Path, Stamp] | None = None) -> Layout | str:
    """What a whole checkpoint holds, or why it is not to be read now.

    Args:
        checkpoint: As it was found.
        base: See `load_critic`.
        before: By directory, what was there at the last look; None believes files that are whole.
    """
    try:
        layout = read_layout(checkpoint.path, base=base)
        done = _done(checkpoint)
    except (CriticProbeError, OSError) as error:
        return f"{checkpoint.path}: was deleted before it was read" if checkpoint.gone else str(error)
    if done is None and before is not None and before.get(checkpoint.path) != checkpoint.stamp:
        return f"{layout.path}: has just been written to"
    return done or layout


def _done(checkpoint: Checkpoint) -> str | None:
    """Why its writer is not done with it; empty where it says that it is, None where it does not say."""
    path = checkpoint.path
    said = path.parent / _VERL
    if said.is_file() and path.name.startswith("global_step_"):
        written = said.read_text(encoding="utf-8", errors="replace").strip()
        if written.isdecimal() and int(written) >= checkpoint.step:
            return ""
        return f"{path}: verl has not yet said that it is written ({_VERL} says {written or 'nothing'})"
    if any((path / name).exists() for name in _OF_TRAINER):
        try:
            json.loads((path / _TRAINER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"{path}: its Trainer is not yet done ({_TRAINER} comes last)"
        return ""
    return None
