"""`python -m benchmarks`: what the prefix tree saves, as ratios against the ways that users have.

CPU time on one thread, the ways interleaved in one process, median of five rounds. Every way's values are compared with
ours, and the tree's computed tokens with the distinct prefixes counted the plain way, before a time is taken.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForTokenClassification, AutoTokenizer, LlamaConfig, Qwen3Config

from benchmarks.ways import WAYS
from benchmarks.workloads import FULL, arithmetic, depths, make
from critic_probe import __version__
from critic_probe.checkpoint import Critic, load_critic
from critic_probe.encoding import Group
from critic_probe.scoring.engine import Engine

TOKENIZER = Path(__file__).parents[1] / "fixtures" / "critics" / "last"
MUST = {
    ("padded batch of 8", "W1"): 2.2,
    ("padded batch of 8", "W2"): 3.0,
    ("padded batch of 8", "W3"): 4.5,
    ("one at a time", "W1"): 1.4,
    ("one at a time", "W2"): 3.0,
    ("one at a time", "W3"): 4.0,
    ("prompt KV reuse", "W1"): 1.05,
    ("prompt KV reuse", "W2"): 1.8,
    ("prompt KV reuse", "W3"): 0.95,
}
FLOOR_MUST = 1.5


def backbones(real: Path | None, layers: int) -> dict[str, tuple[Callable[[Path], Path], dict[str, float]]]:
    """By name: how to make one, and the fraction of each workload that it scores."""
    common = {"vocab_size": 1024, "num_labels": 1, "max_position_embeddings": 8192, "pad_token_id": 0}

    def save(config: Any, target: Path) -> Path:
        torch.manual_seed(0)
        AutoModelForTokenClassification.from_config(config).save_pretrained(target)
        AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(target)
        return target

    def tiny(target: Path) -> Path:
        shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
        return save(Qwen3Config(**common, **shape, num_attention_heads=4, num_key_value_heads=2), target)

    def qwen3(target: Path) -> Path:
        shape = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "head_dim": 64}
        return save(Qwen3Config(**common, **shape, num_attention_heads=8, num_key_value_heads=4), target)

    def smollm2(target: Path) -> Path:
        shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers}
        return save(LlamaConfig(**common, **shape, num_attention_heads=9, num_key_value_heads=3), target)

    part = {"W1": 0.05, "W2": 0.15, "W3": 0.06}  # 10, 3 and 3 prompts
    return {
        "tiny (hidden 64, 2 layers)": (tiny, {"W1": 1.0, "W2": 1.0, "W3": 1.0}),
        "random Qwen3 (hidden 512, 4 layers)": (qwen3, part),
        f"SmolLM2-135M, first {layers} layers": (smollm2 if real is None else lambda _: real, part),
    }


def load(make_it: Callable[[Path], Path], layers: int, real: bool) -> Critic:
    """A loaded backbone; of a real one the first layers alone."""
    with tempfile.TemporaryDirectory() as folder:
        critic = load_critic(make_it(Path(folder)), device="cpu")
    if real:
        critic.backbone.layers = critic.backbone.layers[:layers]
        critic.backbone.config.num_hidden_layers = layers
    return critic


def check(critic: Critic, groups: list[Group]) -> tuple[int, int]:
    """Every way gives our values, each prompt's distinct prefixes are computed once; returns tokens given, computed.

    Prompts of one row share what they have in common too; two rows that happen to begin alike compute that twice.
    """
    engine = Engine(critic, mode="tree")
    expected = list(engine.values(groups))
    nodes = len(depths(groups))
    of_rows = sum(len(depths([group])) for group in groups)
    if not nodes <= engine.stats.computed <= of_rows:
        raise SystemExit(f"computed {engine.stats.computed} tokens; {nodes} prefixes are distinct, {of_rows} by prompt")
    for name, way in WAYS.items():
        for a, b in zip(expected, way(critic, groups), strict=True):
            for x, y in zip(a, b, strict=True):
                limit = 2e-5 * max(1.0, float(x.abs().max()))
                if float((x - y).abs().max()) > limit:
                    raise SystemExit(f"{name} differs from ours by {float((x - y).abs().max()):.2g}")
    return engine.stats.given, engine.stats.computed


def time_ways(critic: Critic, groups: list[Group], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each way, interleaved so that the machine's mood strikes all of them."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            begun = time.process_time()
            way(critic, groups)
            times[name].append(time.process_time() - begun)
    return {name: statistics.median(taken) for name, taken in times.items()}


def floor_seconds(critic: Critic, groups: list[Group], computed: int) -> float:
    """The time that the arithmetic alone takes at this process's matmul peak: linear layers, and causal attention."""
    config: Any = critic.backbone.config
    hidden, inner = config.hidden_size, config.intermediate_size
    a, b = torch.randn(2048, hidden), torch.randn(hidden, inner)
    rate = 0.0
    for _ in range(12):
        begun = time.process_time()
        a @ b
        rate = max(rate, 2 * 2048 * hidden * inner / (time.process_time() - begun))
    return arithmetic(critic, groups, computed) / rate


def main() -> None:
    """Runs everything, prints Markdown tables of ratios, writes JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="a further fraction of every workload")
    parser.add_argument("--only", default="", help="backbones whose name begins so")
    parser.add_argument("--smollm2", type=Path, help="a SmolLM2-135M critic; else random weights of its shape")
    parser.add_argument("--layers", type=int, default=3, help="of SmolLM2")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "versions": {"critic-probe": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "rounds": options.rounds,
        "backbones": {},
    }
    for name, (make_it, fraction) in backbones(options.smollm2, options.layers).items():
        if not name.startswith(options.only):
            continue
        critic = load(make_it, options.layers, options.smollm2 is not None and name.startswith("SmolLM2"))
        rows: dict[str, Any] = {}
        for workload in FULL:
            groups = make(workload, fraction[workload] * options.scale)
            given, computed = check(critic, groups)
            times = time_ways(critic, groups, options.rounds)
            rows[workload] = {
                "prompts": len(groups),
                "tokens": given,
                "computed": computed,
                "ratios": {way: taken / times["ours"] for way, taken in times.items() if way != "ours"},
                "floor": times["ours"] / floor_seconds(critic, groups, computed),
            }
        found["backbones"][name] = rows
        print(f"\n**{name}**\n\n| baseline / ours | {' | '.join(FULL)} |\n|---|{'---|' * len(FULL)}")
        for way in [way for way in WAYS if way != "ours"]:
            print(f"| {way} | {' | '.join(_cell(way, w, rows[w]['ratios'][way]) for w in FULL)} |")
        print(f"| ours / arithmetic floor | {' | '.join(format(rows[w]['floor'], '.2f') for w in FULL)} |")
        shares = (f"{1 - rows[w]['computed'] / rows[w]['tokens']:.0%} of {rows[w]['tokens']:,}" for w in FULL)
        print(f"| tokens not computed | {' | '.join(shares)} |", flush=True)
        del critic
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _cell(way: str, workload: str, ratio: float) -> str:
    must = MUST.get((way, workload))
    return f"{ratio:.2f}" + ("" if must is None or ratio >= must else f" (below {must})")


if __name__ == "__main__":
    main()
