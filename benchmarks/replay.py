"""Which planted faults `replay` names, alone and in pairs, and what it says of sound logs.

`python -m benchmarks.replay` scores pairs with a scorer that has every fault of critic_probe/studies/logged.py, alone
and with every other one, and prints what is named, with the median residual before and after, on critics of two
architectures. Then it replays sound logs of other critics, of which none may be told of a fault.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tiny import bos_tokenizer, tiny_config
from transformers import AutoModelForTokenClassification

from critic_probe.aggregation import parse
from critic_probe.bundled import fixtures
from critic_probe.checkpoint import load_critic
from critic_probe.pairs import read_pairs
from critic_probe.runs.logged import rounding_of, told_of
from critic_probe.runs.record import Sample, Side
from critic_probe.runs.replay import ReplayResult, judged, replayed_of
from critic_probe.runs.replayed import Replayed
from critic_probe.studies.logged import DEFAULTS, Row, Scorer
from critic_probe.studies.synthetic import complete, concise, make_task
from critic_probe.workbench import Bench, Settings

COUNT = 24  # pairs of a log
NOT_TOGETHER = [
    {"template-missing", "prompt-repr", "template-twice", "generation-prompt-missing", "think-added"},
    {"bos-doubled", "bos-missing"},
    {"prompt-cut-start", "prompt-cut-end"},
    {"tail-read", "tail-sliced"},
    {"response-cut-end", "response-cut-start", "cut-end", "cut-start"},
    {"token-before", "window-shifted", "prompt-read"},
    {"divided-by-length", "divided-twice", "z-scored", "sigmoid", "scaled"},
    {"other-head", "random-head"},
]
ALONE = {"dropout", "random-head", "other-head"}  # random, or known from more responses than a log of pairs has
OTHER_KERNELS = "eager"  # of attention, by which a log in half precision may have been computed
WORDS = "the sum is twelve because seven and five make it so and nothing else would do here".split()  # noqa: SIM905


def llama_critic(path: Path, seed: int = 0) -> Path:
    """Saves a tiny Llama with a head per token, whose tokenizer and template both write a BOS."""
    tokenizer = bos_tokenizer()
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 260}
    model = AutoModelForTokenClassification.from_config(tiny_config("llama", **shape, bos_token_id=259))
    with torch.no_grad():
        model.score.weight.copy_(1.5 * torch.linspace(-1, 1, 16)[torch.randperm(16)] ** 3)
        model.score.bias.fill_(0.3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def texts(name: str, count: int = COUNT) -> list[tuple[str, str, str]]:
    """Prompts with their responses, of the language that a critic knows."""
    if name == "llama":
        return [
            (f"{' '.join(WORDS[i % 9 :])} {i}?", " ".join(WORDS[: 2 + i % 5]), " ".join(WORDS[-2 - i % 4 :]) + ".")
            for i in range(count)
        ]
    pairs = [p for p in read_pairs(fixtures() / "pairs.jsonl") if len(str(p.student)) > 12]
    tasks = [make_task(random.Random(seed), held_out=True) for seed in range(count - len(pairs))]
    given = [(str(p.prompt), str(p.student), str(p.teacher)) for p in pairs]
    return [*given, *((task.prompt, concise(task), complete(task)) for task in tasks)][:count]


class Case:
    """A critic with a log's samples, and the scorer that faults are planted in.

    Args:
        name: Of the critic.
        path: Its directory.
        read_out: Its read-out.
        count: Pairs of the log.
    """

    def __init__(self, name: str, path: Path, read_out: str, count: int = COUNT) -> None:
        self.scorer = Scorer(path, read_out)
        self.rows = [self.scorer.row(*given) for given in texts(name, count)]
        if name != "llama":  # ids as a sampler gives them, which its tokenizer would not
            self.rows = [_uncanonical(self.scorer, row) for row in self.rows]
        self.bench = Bench(load_critic(path, device="cpu"), [], Settings(aggregations=(parse(read_out),)))
        self._replayed: dict[str, Replayed] = {}

    @property
    def replayed(self) -> Replayed:
        """What the critic gives for the samples in float32, their scores as exact as they are computed."""
        self.held({})
        replayed = self._replayed["float32"]
        replayed.rounding = np.zeros(len(replayed.samples))
        return replayed

    def held(self, faults: Mapping[str, str]) -> ReplayResult:
        """What is found on a log with these faults."""
        written = [tuple(round(score, 4) for score in pair) for pair in self.scorer.scores(self.rows, faults)]
        samples = [self.sample(i, row, *scores) for i, (row, scores) in enumerate(zip(self.rows, written, strict=True))]
        told, _ = told_of(self.bench.encoder, self.bench.critic, samples)
        observed = np.array([each.score for each in told])
        rounding = rounding_of(observed)
        dtype = rounding.dtype or "float32"
        if dtype not in self._replayed:
            self._replayed[dtype] = replayed_of(self.bench, told, rounding, dtype)
        replayed = self._replayed[dtype]
        replayed.rounding = rounding.halves
        return judged(replayed, observed, rounding, "step 1")

    def sample(self, number: int, row: Row, student: float, teacher: float) -> Sample:
        """A sample as a log with ids gives it."""
        prompt = self.bench.encoder.prompt(row.prompt)
        sides = [
            Side(None, tuple(ids), score, len(ids)) for ids, score in ((row.student, student), (row.teacher, teacher))
        ]
        return Sample(1, None, prompt, sides[0], sides[1], f"sample {number}")


def _uncanonical(scorer: Scorer, row: Row) -> Row:
    """Ids of the same text with its first merged token in parts."""

    def split(ids: list[int]) -> list[int]:
        for i, token in enumerate(ids):
            text = scorer.tokenizer.decode([token])
            parts = [j for c in text for j in scorer.ids(c)]
            if len(text) > 1 and scorer.tokenizer.decode(parts) == text and token != scorer.tokenizer.eos_token_id:
                return [*ids[:i], *parts, *ids[i + 1 :]]
        return ids

    return row._replace(student=split(row.student), teacher=split(row.teacher))


def named(result: ReplayResult) -> list[str]:
    """What is named, by the names of factors; several that explain equally well stand beside each other."""
    if any("the head is random" in words for words in result.named):
        return ["random-head"]
    return list(result.factors.factors[result.factors.named])


def residuals(result: ReplayResult) -> str:
    """Median residual before and after what is named."""
    rows = result.factors[result.factors.named]
    return f"{rows.residual_before.iloc[0]:.2g} -> {rows.residual.min():.2g}" if len(rows) else ""


def kinds(case: Case) -> dict[str, str]:
    """The faults that this critic can have, cuts at a length that is some responses' middle."""
    prompts = [len(case.bench.encoder.prompt(row.prompt)) for row in case.rows]
    sides = [side for row in case.rows for side in (row.student, row.teacher)]
    middle = int(np.median([len(side) for side in sides]))
    whole = int(np.median([p + len(side) for p, row in zip(prompts, case.rows, strict=True) for side in row[1:]]))
    faults = DEFAULTS | {"response-cut-end": str(middle), "cut-end": str(whole)}
    absent = "retokenised" if case.scorer.tokenizer.bos_token else "bos"  # the one has a token a byte, the other no BOS
    return {name: value for name, value in faults.items() if not name.startswith(absent)}


def together(one: str, other: str) -> bool:
    """Whether two faults can be planted together and both be predicted."""
    return not any({one, other} <= group for group in NOT_TOGETHER) and not {one, other} & ALONE


def outcome(case: Case, faults: Mapping[str, str]) -> tuple[str, str]:
    """Whether a pair is named, and what is."""
    result = case.held(faults)
    sets = [set(factors.split(" + ")) for factors in named(result)]
    wanted = {name.replace("bfloat16", "dtype-bfloat16") for name in faults}
    said = " or ".join(named(result)) or ("agreement" if result.agrees else "no factor fits")
    if "bfloat16" in faults:  # the log's rounding says so, and its floors are of that type
        wanted = wanted if wanted in sets else wanted - {"dtype-bfloat16"}
    if wanted in sets:
        return "named", said
    if not np.ptp(result.scores.logged):
        return "same", "nothing: all scores are one"
    rows = result.factors[result.factors.named]
    if result.agrees or (
        len(rows)
        and (rows.within == len(result.scores)).any()
        and (rows.factors.str.count(r" \+ ") < len(wanted) - 1).any()
    ):
        return "same", said
    return "missed", said


def alone(case: Case, name: str, path: Path, faults: Mapping[str, str]) -> None:
    """Prints the table of faults alone."""
    print("| planted | named | median residual |\n|---|---|---|")
    for fault, value in faults.items():
        held = case
        if fault == "other-head" and not case.replayed.can_fit_heads:
            held = Case(name, path, case.scorer.read_out, case.replayed.enough_for_heads // 2 + 8)
        result = held.held({fault: value})
        said = " or ".join(named(result)) or (result.left[0].split(" (")[0] if result.left else "agreement")
        of = f" ({len(result.scores)} responses)" if held is not case else ""
        print(f"| {fault}{value and f' {value}'}{of} | {said} | {residuals(result)} |", flush=True)


def in_pairs(case: Case, faults: Mapping[str, str], only: str = "") -> None:
    """Prints how many pairs of faults are named, and which are not.

    Args:
        case: The critic.
        faults: What is planted.
        only: The fault that all of the pairs have; of all of them, if empty.
    """
    counts: dict[str, list[tuple[str, str, str]]] = {"named": [], "same": [], "missed": []}
    for one, other in combinations(faults, 2):
        if together(one, other) and only in ("", one, other):
            kind, said = outcome(case, {one: faults[one], other: faults[other]})
            counts[kind].append((one, other, said))
    told, same = len(counts["named"]) + len(counts["missed"]), len(counts["same"])
    print(
        f"\nOf {told + same} pairs{only and f' with {only} {faults[only]}'} {same} give the scores of one factor or of "
        f"none, which is named, or one score; of the other {told} both are named in {len(counts['named'])} "
        f"({len(counts['named']) / told:.1%}). The rest:\n\n| planted | named |\n|---|---|",
    )
    for one, other, said in counts["missed"]:
        print(f"| {one} + {other} | {said} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", action=argparse.BooleanOptionalAction, default=True, help="also every two faults")
    parser.add_argument("--seeds", type=int, default=20, help="critics with sound logs, in float32 and bfloat16 each")
    parser.add_argument("--critics", nargs="+", default=["last", "mean", "llama"], help="of last, mean and llama")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.critics:
            path = llama_critic(Path(folder) / name) if name == "llama" else fixtures() / "critics" / name
            case = Case(name, path, "last" if name == "last" else "mean")
            faults = kinds(case)
            model = "a tiny Llama, read by its mean" if name == "llama" else f"bundled:{name}"
            print(f"\n{model}:\n")
            alone(case, name, path, faults)
            if given.pairs:
                in_pairs(case, faults)
                in_pairs(case, faults | {"bfloat16": OTHER_KERNELS}, "bfloat16")
        faulty, logs = 0, ({}, {"bfloat16": ""}, {"bfloat16": OTHER_KERNELS})
        for seed in range(given.seeds):
            case = Case("llama", llama_critic(Path(folder) / f"sound-{seed}", seed), "mean")
            faulty += sum(not case.held(faults).agrees for faults in logs)
        if given.seeds:
            print(f"\n{faulty} of {len(logs) * given.seeds} sound logs were told of a fault.")


if __name__ == "__main__":
    main()
