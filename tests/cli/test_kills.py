"""Runs that are killed at any moment and started again: the bytes of a run that nothing disturbed.

They run in processes that are forked with everything imported, so that a moment falls into their work.
"""

import json
import multiprocessing
import time
from pathlib import Path

import pytest

from critic_probe.checkpoint.layout import read_layout
from critic_probe.errors import CriticProbeError

MOMENTS = 20
IN_EVERY_BUILD = (4, 11, 18)
at_any_moment = pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=[] if m in IN_EVERY_BUILD else [pytest.mark.kills]) for m in range(MOMENTS)]
)
ROWS = [
    {"id": f"r{i}", "prompt": f"What is {i} + {i}?", "student": f"It is {2 * i}, so.", "teacher": f"{2 * i}."}
    for i in range(150)
]
COMMANDS = {
    "compare": ("compare", "json"),
    "perturb": ("perturb", "--punct", "json"),
    "score": ("score", "jsonl"),
}
TRAINING = ("--backbone", "tiny", "--steps", "6", "--save-every", "2", "--batch-size", "8", "--held-out", "0")
RUN = """
import os, sys
os.environ |= {environment!r}
os.dup2(os.open(os.devnull, os.O_RDWR), 1)
os.dup2(1, 2)
import torch
torch.set_num_threads(1)
sys.argv = {words!r}
from critic_probe.cli import main
main()
"""


@pytest.fixture(scope="module")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["critic_probe.measures.compare", "critic_probe.report", "critic_probe.training.warmup"]
    )
    return context


@pytest.fixture(scope="module")
def run(forks, tmp_path_factory):
    """`run(words, cache, seconds)` gives the exit code, or None where it had to be killed."""
    pairs = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")

    def run(words, cache, seconds=None):
        name, *options = words
        words = ["critic-probe", name, str(pairs), *map(str, options), "--device", "cpu"]
        environment = {"CRITIC_PROBE_CACHE": str(cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        running = forks.Process(target=exec, args=(RUN.format(environment=environment, words=words),))
        running.start()
        running.join(seconds)
        if running.exitcode is None:
            running.kill()
            running.join()
            return None
        return running.exitcode

    return run


@pytest.fixture(scope="module")
def undisturbed(run, make_critic, tmp_path_factory):
    """`undisturbed(name)`: the command without its output, the output of a whole run, and the seconds it took."""
    critic = make_critic(hidden_size=64, intermediate_size=256, num_hidden_layers=4)
    made = {}

    def once(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            *words, suffix = COMMANDS.get(name, ("warmup", *TRAINING, "critic"))
            words += [] if name == "warmup" else ["-c", critic]
            for out in (folder / f"first.{suffix}", folder / f"whole.{suffix}"):
                begun = time.monotonic()
                assert run([*words, "-o", out], folder / f"{out.stem}.sqlite") == 0
            made[name] = words, out, time.monotonic() - begun
        return made[name]

    return once


@at_any_moment
@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_that_is_killed_at_any_moment_ends_as_any_other(run, undisturbed, tmp_path, name, moment):
    words, whole, took = undisturbed(name)
    out, cache = tmp_path / f"killed{whole.suffix}", tmp_path / "b.sqlite"
    run([*words, "-o", out], cache, (moment + 0.5) / MOMENTS * took)
    assert not out.exists() or out.read_bytes() == whole.read_bytes()
    assert run([*words, "-o", out], cache) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a critic; what is kept for resuming, and TensorBoard's log of times, are none of it."""
    beside = ("events.out", "training_args.bin", "optimizer", "scheduler", "rng_state", "trainer_state")
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and not file.name.startswith(beside)
    }


@at_any_moment
def test_a_warmup_that_is_killed_leaves_no_half_critic_and_ends_as_any_other(run, undisturbed, tmp_path, moment):
    """It is resumed from its newest whole checkpoint, or begun anew where there is none, as the error says."""
    words, whole, took = undisturbed("warmup")
    out, cache = tmp_path / "critic", tmp_path / "b.sqlite"
    run([*words, "-o", out], cache, (moment + 0.5) / MOMENTS * took)
    if (out / "model.safetensors").exists():
        assert contents(out) == contents(whole)
    if out.exists():
        try:
            layout = read_layout(out)
        except CriticProbeError:
            pass  # what it left is refused
        else:
            same = whole / layout.path.relative_to(out)
            if same.exists():  # of checkpoints a run keeps the newest
                assert contents(layout.path).items() <= contents(same).items()
    begun = [*words, "-o", out]
    anew = run(begun, cache)
    assert anew in (0, 2)
    if anew == 2:  # there is something to go on from
        assert run([*begun, "--resume"], cache) == 0
    assert contents(out) == contents(whole)
