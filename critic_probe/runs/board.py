"""A run's steps as TensorBoard scalars, to stand beside the run's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from critic_probe.runs.figures import FIGURES, OF_TRAINING
from critic_probe.writing import told


class Board:
    """An event file that is written as steps come in.

    Args:
        folder: The log directory; it is made.

    Raises:
        CriticProbeError: The file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        with told(folder):
            self._writer: Any = SummaryWriter(str(folder))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The figures of a step and their intervals, under `track/READ-OUT/FIGURE`.

        Args:
            rows: As the table `steps` of a `TrackResult` has them.

        Raises:
            CriticProbeError: The file cannot be written.
        """
        with told(self._folder):
            for row in rows:
                for figure in (*FIGURES, *OF_TRAINING):
                    for end in ("", "_low", "_high"):
                        if (value := row.get(f"{figure}{end}")) is not None and value == value:
                            self._writer.add_scalar(f"track/{row['aggregation']}/{figure}{end}", value, row["step"])
            self._writer.flush()

    def close(self) -> None:
        """Lets the file go.

        Raises:
            CriticProbeError: What was left could not be written.
        """
        with told(self._folder):
            self._writer.close()
