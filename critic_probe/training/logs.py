"""What a warm-up says while it runs: the console, a file, TensorBoard and Weights & Biases, under verl's tag names."""

import json
import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from critic_probe.writing import write_bytes

METRICS = "metrics.jsonl"
_TAGS = {"loss": "critic/d_loss", "grad_norm": "critic/grad_norm", "learning_rate": "critic/lr"}
_CONSOLE = ("d_loss", "d_acc", "score_diff", "loss_at_1", "saturated", "grad_norm", "lr")


class Logs(TrainerCallback):
    """Owns the open writers of the main process.

    `metrics.jsonl` has a line a log with `step` and the tags. A resumed run drops the lines after its checkpoint, so
    that the file reads as one run.

    Args:
        out: The run's directory.
        options: What W&B stores as the run's configuration.
    """

    def __init__(self, out: Path, options: dict[str, Any]) -> None:
        self._file, self._options = out / METRICS, options
        self._tensorboard: Any = None
        self._wandb: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Opens the writers."""
        if not state.is_world_process_zero:
            return
        lines = self._file.read_bytes().splitlines() if state.global_step and self._file.exists() else []
        write_bytes(self._file, b"".join(line + b"\n" for line in lines if _step(line) <= state.global_step))
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self._file.parent), purge_step=state.global_step + 1)
        if find_spec("wandb") is not None:
            import wandb

            project = os.environ.get("WANDB_PROJECT", "critic-probe")
            self._wandb = wandb.init(project=project, name=self._file.parent.name, config=self._options)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Writes one log everywhere."""
        tags = tagged(kwargs.get("logs") or {})
        if not state.is_world_process_zero or not tags:
            return
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **tags}) + "\n")
        print(console_line(state.global_step, tags), file=sys.stderr, flush=True)
        if self._tensorboard is not None:
            for tag, value in tags.items():
                self._tensorboard.add_scalar(tag, value, state.global_step)
            self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(tags, step=state.global_step)


def _step(line: bytes) -> float:
    """The step of a line; none comes before that of one that a full disk or a failing machine cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, LookupError):
        return math.inf


def tagged(logs: dict[str, float]) -> dict[str, float]:
    """A trainer's log under verl's tags: `critic/...` in training, `val/...` on held-out pairs, `probe/...`."""
    figures = {}
    for name, value in logs.items():
        tag = _TAGS.get(name, name)
        if tag.startswith("eval_critic/"):
            tag = "val/" + tag.removeprefix("eval_critic/")
        if tag.startswith(("critic/", "val/", "probe/")):
            figures[tag] = float(value)
    return figures


def console_line(step: int, tags: dict[str, float]) -> str:
    """One line as verl's console logger writes it; of a training step the tags that are read most."""
    if f"critic/{_CONSOLE[0]}" in tags:
        tags = {f"critic/{name}": tags[f"critic/{name}"] for name in _CONSOLE if f"critic/{name}" in tags}
    return " - ".join([f"step:{step}", *(f"{tag}:{value:.4g}" for tag, value in tags.items())])
