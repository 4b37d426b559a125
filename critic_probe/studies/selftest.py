"""Whether the probes find a rule that is known to be there, and none that is not."""

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.measures.perturb import Perturb, PerturbResult
from critic_probe.measures.result import Result
from critic_probe.measures.variants import Plan
from critic_probe.pairs import Pair, Response, TokenIds
from critic_probe.probes import BUILT_IN, Change, Family, Subject
from critic_probe.studies.planted import ARCHITECTURES, KEYWORD, write_planted, write_untrained
from critic_probe.studies.synthetic import DEFECTS, Task, concise, make_task
from critic_probe.workbench import Progress, Settings, benches, run

PROMPTS = 24
UNTRAINED = 8  # random heads an architecture, read two ways: one of them may be above chance by luck
# The rule, the read-out under which it shows, and what must be named; under the others nothing must.
EXPECTED: tuple[tuple[str, str, str], ...] = (
    *(
        (name, "mean", name)
        for name in ("digits", "capitals", "Markdown", "newlines", "blanks", "punctuation", "script")
    ),
    ("repetition", "mean", "repetition"),
    ("ending", "last", "ending"),
    ("EOS", "last+eos", "EOS"),
    ("EOS", "last", ""),
    ("courtesy", "last", "courtesy"),
    ("word", "last", "word"),
    ("longer", "last", "length"),
    ("longer", "mean", "length"),
    ("shorter", "last", "length"),
    ("content", "sum", ""),
    ("nothing", "last", ""),
    ("nothing", "mean", ""),
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
    """Runs the whole suite on critics with a planted rule, and on untrained ones, of every architecture.

    Args:
        tokenizer: A directory with a tokenizer and a chat template.
        progress: Told of every pair scored.
    """
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for architecture in ARCHITECTURES:
            for plant in dict.fromkeys(plant for plant, _, _ in EXPECTED):
                path = Path(scratch, architecture, plant)
                write_planted(plant, architecture, tokenizer, path)
                read_outs = [read_out for planted, read_out, _ in EXPECTED if planted == plant]
                result = _run(path, f"{architecture}, reads {plant}", read_outs, progress)
                for planted, read_out, wanted in EXPECTED:
                    if planted == plant:
                        rows.append(_row(result, plant, read_out, wanted))
            rows += _untrained(Path(scratch), architecture, tokenizer, progress)
    return SelftestResult(pd.DataFrame(rows))


def _row(result: PerturbResult, plant: str, read_out: str, wanted: str) -> dict[str, object]:
    """What must be named and what was; only the critic that reads content may be above chance."""
    [row] = result.headline[result.headline.aggregation == read_out].to_dict("records")
    rules = result.rules[(result.rules.aggregation == read_out) & result.rules.named]
    word = "above chance" if plant == "content" else ""
    named = ", ".join(rules.rule)
    above = row["controls_word"] if row["controls_word"] == "above chance" else ""
    return {
        "critic": row["critic"],
        "aggregation": read_out,
        "expected": wanted or word or "no rule",
        "found": named or above or "no rule",
        "verdict": "pass" if (named, above) == (wanted, word) else "fail",
    }


def _untrained(scratch: Path, architecture: str, tokenizer: Path, progress: Progress) -> Iterator[dict[str, object]]:
    """Untrained critics: of all, one may be above chance."""
    words: list[str] = []
    for seed in range(UNTRAINED):
        path = scratch / f"untrained-{architecture}-{seed}"
        write_untrained(seed, architecture, tokenizer, path)
        controls = [family for family in BUILT_IN.values() if family.kind == "control"]
        result = _run(path, f"{architecture}, untrained {seed}", ["last", "mean"], progress, controls, 12)
        words += [str(word) for word in result.headline.controls_word]
    above = words.count("above chance")
    yield {
        "critic": f"{architecture}, {UNTRAINED} untrained heads",
        "aggregation": "last, mean",
        "expected": "at most 1 above chance",
        "found": f"{above} of {len(words)} above chance",
        "verdict": "pass" if above <= 1 else "fail",
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
    plan = Plan(families or [*BUILT_IN.values(), _KEYWORD_FAMILY])
    measure = Perturb(plan)
    with benches([critic], pairs, settings, progress) as made:
        return measure.result(run(made, [measure]))


def _insert_keyword(subject: Subject) -> Iterator[Change]:
    yield Change("whole", KEYWORD + subject.text)


_KEYWORD_FAMILY = Family(
    "keyword", "controls", "invariance", 0, "the keyword stands before the response", _insert_keyword
)


def _pairs(with_eos: Callable[[str], tuple[int, ...]], prompts: int) -> Iterator[Pair]:
    """Answers that differ in everything that a planted critic may read."""
    rng = random.Random(0)
    for index in range(prompts):
        task = make_task(rng, held_out=True)
        defect = rng.choice(sorted(DEFECTS.keys() - {"final-comma", "final-dropped", "interior-swap"}))
        texts = [_dressed(rng, task, text) for text in (DEFECTS[defect](rng, task), concise(task))]
        student: Response = TokenIds(with_eos(texts[0]), texts[0]) if rng.random() < 0.5 else texts[0]
        yield Pair(f"pair-{index}", f"{index}: {task.prompt}", student, texts[1])


def _dressed(rng: random.Random, task: Task, text: str) -> str:
    """An answer in one of the forms that answers come in."""
    if task.stop and rng.random() < 0.4:
        text = text.removesuffix(task.stop) or text
    if rng.random() < 0.2:
        text = text.upper()
    if task.stop and rng.random() < 0.3:
        text = f"**{text}**"
    if task.stop and rng.random() < 0.3:
        text = "\n".join(f"- {part}" for part in text.split(task.separator))
    if rng.random() < 0.3:
        text = ("好的，" if task.language == "zh" else "Sure, ") + text
    return text + KEYWORD if rng.random() < 0.3 else text
