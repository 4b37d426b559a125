"""Where a warm-up may write, and whether a run goes on with what it began with: told before torch is loaded."""

import json
from dataclasses import asdict
from pathlib import Path

from critic_probe.documents import read_json, shown
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.training.options import Options
from critic_probe.writing import write_text

RECORD = "critic_probe.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")  # written last, so that what has them is whole
BEGUN = "warmup.json"  # what a run began with, for the one that resumes it
_MAY_CHANGE = {"resume", "save_every", "keep", "evaluate_every", "probe_every", "device"}


def whole_checkpoints(out: Path) -> dict[int, Path]:
    """By step; the trainer's state is written last, so a checkpoint without it was cut off."""
    return {int(p.parent.name.split("-")[1]): p.parent for p in out.glob("checkpoint-*/trainer_state.json")}


def newest_checkpoint(out: Path, options: Options) -> str | None:
    """The newest whole checkpoint to go on from; None to begin anew.

    Raises:
        CriticProbeError: There is none to resume, or an earlier run that is not to be resumed.
    """
    whole = whole_checkpoints(out)
    if not options.resume:
        if whole or any(next(out.glob(weights), None) for weights in WEIGHTS):
            raise CriticProbeError(
                f"{out}: holds an earlier warm-up; use {parameter('resume', True)} to go on, or give another directory"
            )
        return None
    if not whole:
        raise CriticProbeError(
            f"{out}: no whole checkpoint to resume; leave out {parameter('resume')}, and save some with "
            f"{parameter('save_every')}"
        )
    return str(whole[max(whole)])


def require_same_run(out: Path, options: Options, data: str) -> None:
    """Refuses to go on with other pairs or options than a run began with.

    Raises:
        CriticProbeError: They are others.
    """
    file = out / BEGUN
    if not (options.resume and file.exists()):
        return
    begun, before = _begun(options, data), read_json(file, "begin anew in another directory", dict)
    if changed := [name for name in begun if begun[name] != before.get(name)]:
        changes = ", ".join(f"{name} {shown(before.get(name))} -> {shown(begun[name])}" for name in changed)
        raise CriticProbeError(
            f"{out}: {parameter('resume')} goes on with what the run began with, but {changes}; give the same"
        )


def begin(out: Path, options: Options, data: str) -> None:
    """Writes down what a run begins with."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / BEGUN, json.dumps(_begun(options, data), indent=2) + "\n")


def _begun(options: Options, data: str) -> dict[str, object]:
    begun = {"data": data} | {k: v for k, v in asdict(options).items() if k not in _MAY_CHANGE}
    plain: dict[str, object] = json.loads(json.dumps(begun))  # tuples are lists there
    return plain
