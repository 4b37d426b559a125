"""A training run that writes checkpoints as a Trainer does, slowly, and deletes old ones: a process of its own.

    python writing.py CRITICS RUN SEEN

Writes CRITICS/checkpoint-10 and -20 to RUN, each when the one before stands in SEEN, the result that its parent writes;
then half of -30, and ends its parent by SIGTERM. After a minute it ends it by SIGINT.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

CRITICS, RUN, SEEN = map(Path, sys.argv[1:])
DEADLINE = time.monotonic() + 60


def begun(step: int) -> Path:
    """The first half of a checkpoint."""
    folder = RUN / f"checkpoint-{step}"
    folder.mkdir()
    shutil.copy(CRITICS / "checkpoint-20/config.json", folder)
    content = (CRITICS / "checkpoint-20/model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    time.sleep(0.2)
    return folder


def finished(folder: Path) -> None:
    """The rest of it, the Trainer's state last."""
    for file in (CRITICS / folder.name).iterdir():
        shutil.copy(file, folder)
    (folder / "training_args.bin").write_bytes(b"")
    time.sleep(0.2)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 1}))


def wait_for(step: int) -> None:
    """Until the parent has written what this step gives."""
    while not (SEEN.exists() and any(row["step"] == step for row in json.loads(SEEN.read_text())["steps"])):
        if time.monotonic() > DEADLINE:
            os.kill(os.getppid(), signal.SIGINT)
            sys.exit("the parent did not score in a minute")
        time.sleep(0.05)


finished(begun(10))
wait_for(10)
finished(begun(20))
shutil.rmtree(RUN / "checkpoint-10")
wait_for(20)
begun(30)
os.kill(os.getppid(), signal.SIGTERM)
