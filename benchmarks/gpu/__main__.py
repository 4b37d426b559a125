"""`python -m benchmarks.gpu`: is it right on this GPU, how fast, how does it load; the most important first.

Every step's outcome is written to the file as it is known, so that whoever stops the script loses one step. A step that
fails is kept with its traceback, and the exit code is 1.
"""

import argparse
import json
import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.gpu import fast, load, right
from benchmarks.gpu.right import Record, Step
from benchmarks.workloads import FULL
from critic_probe import __version__

# Each part has its share of the time, so that a slow one leaves some to the next.
PARTS = {"right": (right.steps, 0.45), "load": (load.steps, 0.15), "fast": (fast.steps, 0.4)}


def main() -> None:
    """Runs the parts, prints a table, writes JSON.

    Exit codes: 0 all is right, 1 a step failed or is wrong, 2 there is no GPU.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="when to stop; a step that has begun is finished")
    parser.add_argument("--part", action="append", choices=[*PARTS], help="all of them by default")
    parser.add_argument(
        "--json", type=Path, default=Path("gpu.json"), help="where everything is written, beside parts that are there"
    )
    parser.add_argument("--show", type=Path, help="print the table of what --json wrote, and measure nothing")
    parser.add_argument("--tiny", action="store_true", help="shapes that a CPU runs in less than a minute")
    options = parser.parse_args()
    if options.show:
        table(json.loads(options.show.read_text(encoding="utf-8"))["parts"])
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        print("no GPU is here; --tiny tries the script on a CPU", file=sys.stderr)
        raise SystemExit(2)
    warnings.filterwarnings("ignore", message=".*flex_attention called without torch.compile")  # on a CPU
    transformers.utils.logging.disable_progress_bar()
    begun = time.monotonic()
    found: dict[str, Any] = {"machine": machine(device), "tiny": options.tiny}
    known = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    found["parts"] = known["parts"] if known | found == known else {}  # of the same machine and versions
    chosen = options.part or [*PARTS]
    until = begun
    for name in chosen:
        outcomes: dict[str, Record] = {}
        found["parts"][name] = outcomes
        steps, share = PARTS[name]
        until += 60 * options.minutes * share / sum(PARTS[each][1] for each in chosen)
        for step, outcome in ran(steps(device, options.tiny), until):
            outcomes[step] = outcome
            options.json.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")
            print(f"{time.monotonic() - begun:5.0f} s  {name}: {step}: {verdict(outcome)}", file=sys.stderr, flush=True)
    table(found["parts"])
    if any(verdict(outcome) == "WRONG" for part in found["parts"].values() for outcome in part.values()):
        raise SystemExit(1)


def ran(steps: Iterator[Step], until: float) -> Iterator[tuple[str, Record]]:
    """Each step's outcome, until its time is over; whatever is raised is an outcome too."""
    while time.monotonic() < until:
        begun = time.monotonic()
        try:
            step, run = next(steps)
        except StopIteration:
            return
        except Exception:
            yield "what the next step needs", {"wrong": [traceback.format_exc()]}
            return
        outcome = attempt(run)
        del run  # it holds a critic, which the next step may have no room beside
        yield step, outcome | {"seconds of the step": round(time.monotonic() - begun, 2)}
    yield "the steps after this", {"not run": "the time was over"}


def attempt(run: Callable[[], Record]) -> Record:
    """What a step found, or how it failed."""
    try:
        return run()
    except Exception:
        return {"wrong": [traceback.format_exc()]}


def machine(device: torch.device) -> dict[str, Any]:
    """What figures depend on."""
    versions = {"critic-probe": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
    found: dict[str, Any] = {"python": platform.python_version(), "versions": versions, "device": platform.machine()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "memory, bytes": properties.total_memory,
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
            "cuDNN attention": torch.backends.cuda.cudnn_sdp_enabled(),
            "half-precision sums in bf16": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        }
    return found


def verdict(outcome: Record) -> str:
    """One word."""
    if outcome.get("wrong"):
        return "WRONG"
    return next((word for word in ("not run", "not measured") if word in outcome), "right")


def table(parts: dict[str, dict[str, Record]]) -> None:
    """The figures that one looks for, and what is wrong."""
    rows: dict[str, str] = {}
    for step, outcome in parts.get("right", {}).items():
        worst = [found["worst"] for found in outcome.values() if isinstance(found, dict) and "worst" in found]
        subject, _, kernel = step.rpartition(", ")
        if "taken, bytes" in outcome and "foreseen, bytes" in outcome:
            rows[step] = f"{outcome['taken, bytes'] / outcome['foreseen, bytes']:.2f} of what was foreseen"
        elif worst and kernel:  # a precision's kernels in one row
            rows[subject] = rows.get(subject, "off by at most:") + f" {kernel} {max(worst):.1e}"
        else:
            rows[step] = verdict(outcome)
    for step, outcome in parts.get("fast", {}).items():
        if "ours, pairs/s" in outcome:
            others = ", ".join(f"{way} {o['times ours']:.2f}" for way, o in outcome.items() if _is_way(o))
            share = f"{outcome['share of matrix rate']:.0%} of the matrix rate"
            rows[step] = f"{outcome['ours, pairs/s']:.1f} pairs/s, {share}; times ours: {others}"
        elif ways := {way: o["seconds a row"] for way, o in outcome.items() if isinstance(o, dict) and "rows" in o}:
            rows[step] = "ms a row: " + ", ".join(f"{way} {1000 * taken:.0f}" for way, taken in ways.items())
        elif "foreseen, bytes" in outcome:
            rows[step] = f"{outcome['taken, bytes'] / outcome['foreseen, bytes']:.2f} of what was foreseen"
        elif "chains" in outcome.get("W1", ()):
            for workload in FULL:
                timed = {way: o["milliseconds"] for way, o in outcome[workload].items() if isinstance(o, dict)}
                rows[f"{step}, {workload}"] = "ms: " + ", ".join(f"{way} {taken:.2f}" for way, taken in timed.items())
    for step, outcome in parts.get("load", {}).items():
        if "seconds" in outcome:
            rows[step] = (
                f"{outcome['seconds']:.1f} s, host memory {outcome['host memory over weights']:.2f} of the weights"
            )
    told = [*rows.items()]
    for outcomes in parts.values():
        for step, outcome in outcomes.items():
            told += [(step, "WRONG: " + message.strip().splitlines()[-1][:160]) for message in outcome.get("wrong", ())]
    width = max(len(step) for step, _ in told)
    print("\n".join(f"{step:<{width}}  {text}" for step, text in told))


def _is_way(outcome: Any) -> bool:
    return isinstance(outcome, dict) and "times ours" in outcome


if __name__ == "__main__":
    main()
