"""A run that may still be writing: its checkpoints are scored as they become whole, and outlive their deletion."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from critic_probe.checkpoint.layout import Layout
from critic_probe.errors import CriticProbeError
from critic_probe.runs.checkpoints import Checkpoint, Stamp, checkpoints_of, whole
from critic_probe.runs.steps import Asked, Step, step_of
from critic_probe.runs.track import TrackResult, track
from critic_probe.workbench import Progress, silent


@dataclass
class Followed:
    """What is known of a run.

    Attributes:
        run: Its directory.
        asked: What every checkpoint is asked.
        progress: Told of every pair scored.
        steps: What was scored, whether it is still there or not.
        left_out: Step -> why it was not.
    """

    run: Path
    asked: Asked
    progress: Progress = silent
    steps: dict[int, Step] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    _seen: dict[int, Stamp] = field(default_factory=dict)  # what was read, or could not be
    _before: dict[Path, Stamp] = field(default_factory=dict)

    def look(self, live: bool = False) -> Iterator[Step]:
        """Scores what is new and whole, the earliest first.

        Args:
            live: Whether the run may be writing: what no writer vouches for is then read at the second look at which it
                is the same.
        """
        there = checkpoints_of(self.run)
        before, self._before = self._before, {each.path: each.stamp for each in there}
        for step in self.left_out.keys() - {each.step for each in there}:
            self.left_out[step] = f"{self.run}: its checkpoint was deleted before it was read"
        for checkpoint in there:
            if self._seen.get(checkpoint.step) == checkpoint.stamp:
                continue
            layout = whole(checkpoint, self.asked.loading.get("base"), before if live else None)
            scored = layout if isinstance(layout, str) else self._score(checkpoint, layout)
            if isinstance(scored, Step):
                self.steps[checkpoint.step] = scored
                self.left_out.pop(checkpoint.step, None)
                yield scored
            elif checkpoint.step not in self.steps:
                self.left_out[checkpoint.step] = scored

    def _score(self, checkpoint: Checkpoint, layout: Layout) -> Step | str:
        """A checkpoint's figures, or why there are none."""
        try:
            step = step_of(checkpoint, layout, self.asked, self.progress)
        except Exception as error:
            if checkpoint.gone:
                return f"{checkpoint.path}: was deleted before it was read"
            if checkpoint.changed:
                return f"{checkpoint.path}: was written to while it was read"
            if not isinstance(error, CriticProbeError | OSError):
                raise
            self._seen[checkpoint.step] = checkpoint.stamp
            return str(error)
        self._seen[checkpoint.step] = checkpoint.stamp
        return step

    def result(self) -> TrackResult:
        """All that was scored.

        Raises:
            CriticProbeError: Nothing was.
        """
        if not self.steps:
            why = next(iter(self.left_out.values()), "")
            raise CriticProbeError(
                why or f"{self.run}: no checkpoint in it (global_step_N or checkpoint-N); give the directory of a run"
            )
        there = {each.step for each in checkpoints_of(self.run)} if self.run.is_dir() else set()
        return track(str(self.run), self.steps.values(), self.left_out, there, self.asked.of_run, self.asked.unnamed)
