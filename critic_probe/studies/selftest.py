"""Whether the probes find a bias that is known to be there, and none that is not."""

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.measures.perturb import PerturbResult, perturb
from critic_probe.measures.result import Result
from critic_probe.measures.variants import Plan
from critic_probe.pairs import Pair, Response, TokenIds
from critic_probe.probes import BUILT_IN, Change, Family, Subject
from critic_probe.stats.edits import biases
from critic_probe.studies.planted import KEYWORD, write_planted, write_untrained
from critic_probe.studies.synthetic import DEFECTS, concise, make_task
from critic_probe.workbench import Progress, Settings

PROMPTS = 40
UNTRAINED = 24  # random heads: one alone may order the controls right by luck
_STUDENT_T = 2.81  # 23 degrees of freedom, 99 %: these are looked at on every run
# The bias, the read-out under which it shows, and what the suite must name; under the others it must name nothing.
EXPECTED: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("ending", "last", frozenset({"ending"})),
    ("length", "last", frozenset({"length"})),
    ("eos", "last+eos", frozenset({"eos"})),
    ("eos", "last", frozenset()),
    ("keyword", "last", frozenset({"keyword"})),
    ("nothing", "last", frozenset()),
    ("nothing", "mean", frozenset()),
)


@dataclass(frozen=True, repr=False)
class SelftestResult(Result):
    """Whether the probes find what was planted, and nothing else.

    Attributes:
        checks: One row per critic and read-out: critic, aggregation, expected, found, verdict (pass, fail).
    """

    command = "selftest"
    tables = ("checks",)
    main = "checks"

    checks: pd.DataFrame


def selftest(tokenizer: Path, progress: Progress) -> SelftestResult:
    """Runs the whole suite on critics with a planted bias, and on untrained ones.

    Args:
        tokenizer: A directory with a tokenizer and a chat template.
        progress: Told of every pair scored.
    """
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for bias in dict.fromkeys(bias for bias, _, _ in EXPECTED):
            path = Path(scratch, bias)
            write_planted(bias, tokenizer, path)
            read_outs = [read_out for planted, read_out, _ in EXPECTED if planted == bias]
            result = _run(path, bias, read_outs, progress)
            found = biases(result.cases)
            for planted, read_out, wanted in EXPECTED:
                if planted == bias:
                    named = found[(found.aggregation == read_out) & found.found].bias
                    rows.append(_row(bias, read_out, wanted, frozenset(named)))
        rows += _untrained(Path(scratch), tokenizer, progress)
    return SelftestResult(pd.DataFrame(rows))


def _row(bias: str, read_out: str, wanted: frozenset[str], named: frozenset[str]) -> dict[str, object]:
    return {
        "critic": f"reads {bias}" if bias != "nothing" else "reads nothing",
        "aggregation": read_out,
        "expected": ", ".join(sorted(wanted)) or "no bias",
        "found": ", ".join(sorted(named)) or "no bias",
        "verdict": "pass" if named == wanted else "fail",
    }


def _untrained(scratch: Path, tokenizer: Path, progress: Progress) -> Iterator[dict[str, object]]:
    """Random heads as a group: their controls must lie at chance. Cases of one head are not independent."""
    shares: dict[str, list[float]] = {"last": [], "mean": []}
    for seed in range(UNTRAINED):
        path = scratch / f"untrained-{seed}"
        write_untrained(seed, tokenizer, path)
        controls = [family for family in BUILT_IN.values() if family.kind == "control"]
        result = _run(path, f"untrained {seed}", list(shares), progress, controls, prompts=6)
        for row in result.headline.itertuples():
            shares[str(row.aggregation)].append(float(row.controls_right))
    for read_out, found in shares.items():
        mean, reach = float(np.mean(found)), _STUDENT_T * float(np.std(found, ddof=1) / np.sqrt(len(found)))
        chance = abs(mean - 0.5) <= reach
        word = "at" if chance else "off"
        yield {
            "critic": f"{UNTRAINED} untrained heads",
            "aggregation": read_out,
            "expected": "controls at chance",
            "found": f"controls {word} chance: {mean:.2f} [{mean - reach:.2f}, {mean + reach:.2f}]",
            "verdict": "pass" if chance else "fail",
        }


def _run(
    path: Path,
    name: str,
    read_outs: list[str],
    progress: Progress,
    families: list[Family] | None = None,
    prompts: int = PROMPTS,
) -> PerturbResult:
    critic = load_critic(path, name=name, device="cpu")
    settings = Settings(tuple(parse(read_out) for read_out in read_outs))
    eos = critic.tokenizer.eos_token_id
    pairs = list(_pairs(lambda text: (*critic.tokenizer(text, add_special_tokens=False)["input_ids"], eos), prompts))
    return perturb([critic], pairs, settings, Plan(families or [*BUILT_IN.values(), _KEYWORD_FAMILY]), progress)


def _insert_keyword(subject: Subject) -> Iterator[Change]:
    yield Change("whole", KEYWORD + subject.text)


_KEYWORD_FAMILY = Family(
    "keyword", "controls", "invariance", 0, "the keyword stands before the response", _insert_keyword
)


def _pairs(with_eos: Callable[[str], tuple[int, ...]], prompts: int) -> Iterator[Pair]:
    """Answers that differ in everything that a planted critic may read: closing mark, EOS, length, keyword."""
    rng = random.Random(0)
    for index in range(prompts):
        task = make_task(rng, held_out=True)
        defect = rng.choice(sorted(DEFECTS.keys() - {"final-comma", "final-dropped", "interior-swap"}))
        texts = [DEFECTS[defect](rng, task), concise(task)]
        for side in (0, 1):
            if task.stop and rng.random() < 0.4:
                texts[side] = texts[side].removesuffix(task.stop) or texts[side]
            if rng.random() < 0.3:
                texts[side] += KEYWORD
        student: Response = TokenIds(with_eos(texts[0]), texts[0]) if rng.random() < 0.5 else texts[0]
        yield Pair(f"pair-{index}", f"{index}: {task.prompt}", student, texts[1])
