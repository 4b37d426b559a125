"""Readers of what runs log, and of the bounds that it is held against."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from harness.reader import Reader, of_text
from runs.write import GAD, Block, Scored, console, events, rollouts, scoring

_STEPS = {step: {name: value + step / 10 for name, value in GAD.items()} for step in range(4)}
_HISTORY = [{"step": step, "epoch": step / 4, **figures} for step, figures in _STEPS.items()]
_SAMPLES = [("What is 2?", Scored("It is 2,", 0.5, (1, 2, 3)), Scored("2.", 1.5, (4, 5)))] * 2


def _events(directory: Path) -> Path:
    return events(directory, _STEPS)


def _dump(directory: Path) -> Path:
    path, ids = directory / "responses_step_30.pt", torch.tensor([[5, 6, 0], [7, 8, 9]])
    dump = {"responses": ids, "response_mask": (ids > 0).long(), "scores": torch.tensor([0.5, -1.0])}
    torch.save(dump | {"teacher_scores": torch.tensor([1.5, 2.0]), "prompt_text": ["p", "q"]}, path)
    return path


def _table(directory: Path) -> Path:
    rows = [["step", *GAD], *([step, *figures.values()] for step, figures in _STEPS.items())]
    return of_text("eval_history.csv", "\n".join(",".join(map(str, row)) for row in rows))(directory)


def _read(path: Path) -> Any:
    from critic_probe.runs.read import read

    return list(read([path]))


def _profile(directory: Path) -> Path:
    from critic_probe.gates.shipped import profile_text

    return of_text("bounds.toml", profile_text("default", "runs"))(directory)


def _read_profile(path: Path) -> Any:
    from critic_probe.runs.profile import load_profile

    return load_profile(path)


def _rows(rows: list[Mapping[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


_MADE: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "log of metrics": (
        "jsonl",
        of_text("metrics.jsonl", _rows([{"step": i, "data": dict(figures)} for i, figures in _STEPS.items()])),
    ),
    "log of a console": (
        "bytes",
        of_text("train.log", "\n".join(console(i, figures) for i, figures in _STEPS.items())),
    ),
    "log of scored samples": ("bytes", of_text("critic.log", scoring([Block(3, _SAMPLES), Block(4, _SAMPLES)]))),
    "log of rollouts": ("jsonl", of_text("7.jsonl", rollouts(7, [("p", "s", 0.5), ("q", "t", 1.5)]))),
    "log of a trainer": (
        "json",
        of_text("trainer_state.json", json.dumps({"global_step": 3, "log_history": _HISTORY}, indent=1)),
    ),
    "table of a log": ("bytes", _table),
    "events of TensorBoard": ("bytes", _events),
    "responses of a step": ("bytes", _dump),
}
READERS = [
    *(Reader(name, form, make, _read, lenient=True) for name, (form, make) in _MADE.items()),
    Reader("bounds of runs", "toml", _profile, _read_profile, typed=True),
]
