"""`python -m benchmarks.configs [CRITIC ...]`: which faults of a config that fit any weights the doctor finds.

Each fault is written into a copy of the critic's config (an adapter's: its base's). `score moves` is the median change
of a score under the last token, in SD of the sound scores, over the fixture pairs; `config-base` is told the sound one.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from critic_probe.aggregation import parse
from critic_probe.bundled import find_critics, fixtures
from critic_probe.checkpoint import Critic, audit, dissect, load_critic
from critic_probe.checkpoint.layout import read_layout
from critic_probe.encoding import EncodedPair
from critic_probe.errors import CriticProbeError
from critic_probe.measures.config_fit import config_fit
from critic_probe.pairs import read_pairs
from critic_probe.workbench import Bench, Settings

LAST = parse("last")
PAIRS = 24


def faults(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Changes of a config that fit the same weights, by name."""
    rotary = config.get("rope_parameters") or {"rope_type": "default", "rope_theta": config.get("rope_theta", 1e4)}
    yield "sound", {}
    yield "rms_norm_eps=0.01", {"rms_norm_eps": 0.01}
    yield "hidden_act=gelu", {"hidden_act": "gelu"}
    yield "hidden_act=relu", {"hidden_act": "relu"}
    yield "rope_theta=100", {"rope_parameters": rotary | {"rope_theta": 100.0}}
    yield "rope_theta=10000", {"rope_parameters": rotary | {"rope_theta": 10000.0}}
    yield "rope_type=linear, factor=4", {"rope_parameters": rotary | {"rope_type": "linear", "factor": 4.0}}
    if "sliding_window" in config:
        window = {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 0}
        yield "sliding_window=4", window | {"layer_types": ["sliding_attention"] * config["num_hidden_layers"]}


def main() -> None:
    """Prints a Markdown table."""
    print("| critic | fault | score moves, SD | `config-base` | `config-fit` |\n|---|---|---|---|---|")
    for name in sys.argv[1:] or ["bundled:last", "bundled:smollm2-mean"]:
        [path] = find_critics([name]).paths.values()
        layout = read_layout(path)
        home = layout.base or path
        sound: NDArray[np.float64] | None = None
        config = json.loads((home / "config.json").read_text(encoding="utf-8"))
        for fault, changes in faults(config):
            with tempfile.TemporaryDirectory() as folder:
                other = copied(home, Path(folder) / "critic", config | changes)
                given = {"base": other} if layout.base else {}
                critic = load_critic(path if given else other, name=name, device="cpu", dtype="float32", **given)
                scores, pairs = scored(critic)
                sound = scores if sound is None else sound
                moved = np.median(np.abs(scores - sound)) / sound.std()
                fit = config_fit(critic, pairs)
                base = compared(other, home)
                print(f"| {name} | {fault} | {moved:.2f} | {base} | {fit.verdict}: {fit.evidence} |", flush=True)


def copied(home: Path, to: Path, config: dict[str, Any]) -> Path:
    """A directory of the same files with another config."""
    to.mkdir()
    for file in home.iterdir():
        if file.is_file() and file.name != "config.json":
            (to / file.name).symlink_to(file.resolve())
    (to / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return to


def scored(critic: Critic) -> tuple[NDArray[np.float64], list[EncodedPair]]:
    """Both sides' scores, and the pairs."""
    bench = Bench(critic, read_pairs(fixtures() / "pairs.jsonl")[:PAIRS], Settings((LAST,)))
    pairs = list(bench.encoded(bench.pairs))
    values = bench.values(pair.group for pair in pairs)
    scores = [
        bench.score(v, side, LAST)
        for pair, both in zip(pairs, values, strict=True)
        for v, side in zip(both, pair.responses, strict=True)
    ]
    return np.array(scores), pairs


def compared(directory: Path, base: Path) -> str:
    """What `config-base` says of a directory when it is told the sound one."""
    try:
        checks = {check.check: check for check in audit(dissect(directory, base=base))}
    except CriticProbeError:  # a base of an adapter has no head of its own
        return "not asked"
    return str(checks["config-base"].verdict)


if __name__ == "__main__":
    main()
