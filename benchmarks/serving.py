"""Which planted serving faults `doctor --endpoint` names, alone and in pairs, and what it says of sound servers.

`python -m benchmarks.serving` plants every fault of tests/served.py in a server of a tiny critic, alone and with every
other one, and prints what is named, with the median residual before and after. Then it asks sound servers of other
critics, of which none may be told of a fault. Faults are planted in-process; tests/serving asks over HTTP.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from served import FAULTS, ServedCritic, bos_critic

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.encoding import Convention
from critic_probe.measures.endpoint import Asked, EndpointResult, ask, judged, samples_of
from critic_probe.pairs import Pair
from critic_probe.serving.client import Answer
from critic_probe.serving.served import Served
from critic_probe.workbench import Bench, Settings

WORDS = "the sum is twelve because seven and five make it so and nothing else would do here".split()  # noqa: SIM905
FEW = [
    Pair(f"p{i}", f"{' '.join(WORDS[i:])}?", " ".join(WORDS[: 1 + i % 5]), " ".join(WORDS[-2 - i % 3 :]) + ".")
    for i in range(12)
]
SHORT = [
    Pair(f"s{i}", f"{WORDS[i]}{i}?", " ".join(WORDS[i : i + 1 + i % 3]), " ".join(WORDS[-1 - i % 2 :]) + f"{i}.")
    for i in range(12)
]
PAIRS = FEW + SHORT
EXCLUDE = [
    {"tail-lost", "tail-stripped", "token-before"},  # each takes the end away
    {"other-head", "random-head", "hidden-unit"},
    {"sigmoid", "softmax"},
    {"bos-doubled", "bos-missing"},
    {"cut-end", "cut-start"},
    {"order", "batch-mates"},
]


def checkpoint(
    path: Path, dtype: str = "float32", pairs: Sequence[Pair] = PAIRS, convention: Convention | None = None
) -> Served:
    """What the critic of a directory gives under every factor."""
    settings = Settings(aggregations=(parse("last"),), convention=convention)
    bench = Bench(load_critic(path, device="cpu"), pairs, settings)
    samples, _ = samples_of(bench, list(bench.encoded(pairs)), bare=True)
    return Served(bench.critic, samples, bench.encoder, True, dtype)


def held(served: Served, server: ServedCritic, faults: Iterable[str]) -> EndpointResult:
    """What is found on a server with these faults."""
    return judged(served, answers(served, server, faults))


def answers(served: Served, server: ServedCritic, faults: Iterable[str]) -> Asked:
    """What a server with these faults says."""
    planted = frozenset(faults)

    def scores(texts: Sequence[str]) -> list[Answer]:
        return [Answer(numbers[-1], len(numbers)) for numbers in server.answers(texts, planted, True)]

    return ask(scores, [sample.text for sample in served.samples])


def hidden_behind(served: Served, server: ServedCritic, pair: tuple[str, str]) -> str | None:
    """The single fault, or none, that gives the answers of two but for rounding; None where nothing does."""
    said = np.array(answers(served, server, pair)[:3])
    for fewer in (*pair, None, *FAULTS):
        if np.allclose(said, np.array(answers(served, server, [fewer] if fewer else [])[:3]), 0, served.own.floor):
            return fewer or "no fault"
    return None


def named(result: EndpointResult) -> list[str]:
    """What is named, by the names of factors and checks."""
    rows = result.factors[result.factors.named]
    failed = list(result.checks.check[result.checks.verdict == "fail"])
    if "drawn afresh" in " ".join(result.named):
        rows = rows.assign(factors=rows.factors.str.replace("other-head", "random-head"))
        if not len(rows):
            return ["random-head", *(check for check in failed if check != "agreement")]
    alone = [" or ".join(rows.factors)] if len(rows) else ["no factor fits"] if "agreement" in failed else []
    return [*alone, *(check for check in failed if check != "agreement")]


def residuals(result: EndpointResult) -> str:
    """Median residual before and after what is named."""
    rows = result.factors[result.factors.named]
    return f"{rows.residual_before.iloc[0]:.2g} -> {rows.residual.min():.2g}" if len(rows) else ""


def possible(pair: tuple[str, str]) -> bool:
    """Whether two faults can be planted together."""
    return not any(set(pair) <= group for group in EXCLUDE)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="sound servers, in float32 and in bfloat16 each")
    parser.add_argument("--pairs", action=argparse.BooleanOptionalAction, default=True, help="also every two faults")
    parser.add_argument("--draws", type=int, default=500, help="heads of each kind")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = bos_critic(Path(folder) / "critic")
        served, server = checkpoint(path), ServedCritic(path)
        print("| planted | named | median residual |\n|---|---|---|")
        for fault in FAULTS:
            result = held(served, server, [fault])
            print(f"| {fault} | {', '.join(named(result))} | {residuals(result)} |", flush=True)
        if given.pairs:
            pairs = [pair for pair in combinations(FAULTS, 2) if possible(pair)]
            hidden, others, whole = list[tuple[str, str]](), list[tuple[str, str]](), 0
            for pair in pairs:
                told = named(held(served, server, pair))
                words = " ".join(told).replace("dtype-bfloat16", "bfloat16").split()
                both = " + ".join(pair)
                if behind := hidden_behind(served, server, pair):
                    hidden.append((f"{both} | {behind}", ", ".join(told)))
                elif set(pair) <= set(words):
                    whole += 1
                else:
                    others.append((both, ", ".join(told)))
            print(f"\n{len(hidden)} of {len(pairs)} pairs of faults give the answers of one fault, or of none:\n")
            print("| planted | as | named |\n|---|---|---|")
            print("\n".join(f"| {planted} | {told} |" for planted, told in hidden))
            print(f"\nOf the other {len(pairs) - len(hidden)} pairs, {whole} are named whole.")
            if others:
                print("\n| planted | named |\n|---|---|")
                print("\n".join(f"| {planted} | {told} |" for planted, told in others))
        wide = checkpoint(bos_critic(Path(folder) / "wide", hidden=64))
        states = np.stack([wide.reading(sample.ids).state for sample in wide.samples])
        n, width = states.shape
        rng = np.random.default_rng(0)
        origins = {
            "a head drawn N(0, 0.02)": lambda: states @ rng.normal(0, 0.02, width),
            "a fresh nn.Linear": lambda: (states @ rng.uniform(-1, 1, width) + rng.uniform(-1, 1)) / width**0.5,
            "the critic's own head": lambda: wide.expected * rng.uniform(0.1, 2),
            "normal noise": lambda: rng.normal(0, rng.uniform(0.05, 2) * wide.expected.std(), n),
        }
        print(f"\n| {given.draws} times scores of | called a head drawn afresh |\n|---|---|")
        for origin, drawn in origins.items():
            print(f"| {origin} | {sum(wide.fresh_head(drawn()) is not None for _ in range(given.draws))} |")
        faulty = mistaken = 0
        for seed in range(given.seeds):
            other = bos_critic(Path(folder) / f"sound-{seed}", seed=seed + 1)
            for dtype, faults in (("float32", ()), ("bfloat16", ("bfloat16",))):
                result = held(checkpoint(other, dtype), ServedCritic(other), faults)
                faulty += not result.agrees
                mistaken += bool(held(served, ServedCritic(other), faults).factors.named.any())
        print(f"\n{faulty} of {2 * given.seeds} sound servers were told of a fault.")
        asked = 2 * given.seeds
        print(f"\n{mistaken} of {asked} servers of another model were told what was done to this one's scores.")


if __name__ == "__main__":
    main()
