"""`python -m benchmarks.untrained_heads`: what is said of heads that learnt nothing, and of the bundled critics.

Random heads, each with both signs, are read on the states of untrained backbones of two architectures, of a language
model that never saw a critic's loss (SmolLM2, where its package is installed), and of the bundled critics' trained
backbones. Their controls on the bundled pairs go through the functions that `perturb` takes its words from. Printed is
how many are called above chance, and how many would be by the interval over all controls; and the same figures of the
bundled critics themselves, with what a simple rule explains of them at most.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from critic_probe.aggregation import parse
from critic_probe.bundled import ADAPTERS, TOYS, find_critics, find_pairs
from critic_probe.checkpoint import Critic, load_critic, load_start
from critic_probe.encoding import Group
from critic_probe.measures.perturb import Perturb
from critic_probe.measures.variants import Plan, responses_of, variants_of
from critic_probe.pairs import Fields
from critic_probe.probes import BUILT_IN
from critic_probe.scoring.engine import Engine
from critic_probe.stats.chance import controls_word
from critic_probe.stats.edits import order_of
from critic_probe.studies.planted import ARCHITECTURES, write_untrained
from critic_probe.workbench import Bench, Settings, benches, prompt_hash, run

TOKENIZER = Path(__file__).parents[1] / "fixtures" / "critics" / "last"
RESULTS = Path(__file__).with_suffix(".json")
SETTINGS = Settings((parse("last"), parse("mean")))
PAIRS = 40
HEADS = 50  # of a backbone


def backbones(seeds: int) -> Iterator[tuple[str, int, Critic]]:
    """By kind and seed, critics whose backbones random heads are read on."""
    for seed in range(seeds):
        for architecture in ARCHITECTURES:
            with tempfile.TemporaryDirectory() as folder:
                write_untrained(seed, architecture, TOKENIZER, Path(folder))
                yield f"untrained {architecture}", seed, load_critic(folder, name=architecture, device="cpu")
    try:
        adapted = next(find_critics(ADAPTERS[:1]).load())
    except ImportError:
        print("SmolLM2 is left out: its package is not installed")
    else:
        start = load_start(Path(str(adapted.layout.base)))
        yield "SmolLM2", 0, replace(adapted, backbone=start.backbone.eval().requires_grad_(False))
    for critic in find_critics(TOYS).load():
        yield f"{critic.name}'s backbone", 0, critic


def with_random_heads(critic: Critic, seed: int) -> Critic:
    """The critic with `HEADS` heads in place of its own: its values get a dimension more, that of the heads."""
    width = critic.head.weights[0].shape[1]
    drawn = torch.randn(HEADS, width, generator=torch.Generator().manual_seed(seed))
    head = replace(critic.head, layers=critic.head.layers[-1:], weights=(drawn,), biases=(None,), normalisation=None)
    return replace(critic, head=head)


def controls_of_heads(bench: Bench, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row per control of the pairs, and by read-out (E, HEADS) how far it moves the score under each head."""
    engine = Engine(with_random_heads(bench.critic, seed))
    plan = Plan([family for family in BUILT_IN.values() if family.kind == "control"])
    rows, deltas = [], {aggregation.name: [] for aggregation in SETTINGS.aggregations}
    for pair in bench.encoded(bench.pairs):
        variants = variants_of(bench, pair, plan, Counter())
        responses = tuple(dict.fromkeys((*pair.group.responses, *responses_of(variants))))
        [values] = engine.values([Group(pair.prompt_ids, responses)])
        by_ids = {ids: v[bench.window(1, len(v) - 1)].T for ids, v in zip(responses, values, strict=True)}
        for variant in variants:
            base = variant.base or (pair.student, pair.teacher)[variant.side]
            rows.append((prompt_hash(pair.pair), variant.case.family, -1, 0.0))
            for aggregation in SETTINGS.aggregations:
                after, before = (bench.scores(by_ids[r.ids], r, aggregation) for r in (variant.edited, base))
                deltas[aggregation.name].append((after - before).double().numpy())
    frame = pd.DataFrame(rows, columns=["prompt_hash", "family", "sign", "floor"])
    return frame, {name: np.array(found) for name, found in deltas.items()}


def of_heads(seeds: int) -> Iterator[dict[str, Any]]:
    """One row per backbone and read-out: how many of its heads are called what."""
    for kind, seed, critic in backbones(seeds):
        given = find_pairs(None, Fields(), find_critics(ADAPTERS if kind == "SmolLM2" else TOYS))
        pairs = [pair for pair in given if kind != "SmolLM2" or str(pair.prompt).isascii()][:PAIRS]
        with benches([critic], pairs, SETTINGS) as made:
            for bench in made:
                frame, deltas = controls_of_heads(bench, seed)
        for read_out, found in deltas.items():
            words: Counter[str] = Counter()
            alone = 0
            for column in np.concatenate([found, -found], axis=1).T:
                right, faults = order_of(frame.assign(delta=column))
                words[controls_word(right, len(frame), frame.prompt_hash.nunique(), faults, "")] += 1
                alone += right.low > 0.5
            told = {"heads": words.total(), "by_interval": int(alone), "above": words["above chance"]}
            yield {"kind": kind, "seed": seed, "read_out": read_out, **told}


def of_bundled() -> Iterator[dict[str, Any]]:
    """What `perturb` says of the bundled critics, whole."""
    families = [family for family in BUILT_IN.values() if family.group in ("punct", "controls")]
    measure = Perturb(Plan(families))
    critics = find_critics(TOYS)
    with benches(critics.load(), find_pairs(None, Fields(), critics), SETTINGS) as made:
        found = measure.result(run(made, [measure])).headline
    columns = ["critic", "aggregation", "controls_right", "fault", "fault_right", "fault_right_low", "rule_explains"]
    yield from found[[*columns, "rule_explains_high", "controls_word"]].to_dict("records")


def tables(found: dict[str, Any]) -> str:
    """Both tables as Markdown."""
    lines = [
        "| heads on | read as | heads | above chance by the interval alone | above chance |",
        "|---|---|---|---|---|",
    ]
    frame = pd.DataFrame(found["heads"])
    for (kind, read_out), part in frame.groupby(["kind", "read_out"], sort=False):
        n = part.heads.sum()
        lines.append(f"| {kind} | {read_out} | {n} | {part.by_interval.sum() / n:.1%} | {part.above.sum() / n:.1%} |")
    lines += [
        "",
        "| critic | read as | controls right | weakest fault | most by a rule | said |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["bundled"]:
        lines.append(
            f"| {row['critic']} | {row['aggregation']} | {row['controls_right']:.2f} | {row['fault']} "
            f"{row['fault_right']:.2f} | {row['rule_explains']:.2f} | {row['controls_word']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, or prints what is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="untrained backbones of each architecture")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where results are kept")
    parser.add_argument("--show", action="store_true", help="print what is kept, measure nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.show:
        found = {"heads": list(of_heads(arguments.seeds)), "bundled": list(of_bundled())}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(tables(json.loads(arguments.json.read_text())))


if __name__ == "__main__":
    main()
