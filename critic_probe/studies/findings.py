"""Trains and measures the critics of `docs/findings.md`: read-outs, rates, seeds and teachers on several backbones.

    python -m critic_probe.studies.findings --work DIR                   # trains and measures what is not there yet
    python -m critic_probe.studies.findings --work DIR --only measure    # measures what is trained; or --only train

Critics are kept in DIR, figures as a line a run in docs/findings/runs.jsonl; what has a line is not measured again. A
run takes 2 to 3 minutes on one thread, measuring it half a minute.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from critic_probe.aggregation import parse
from critic_probe.checkpoint import load_critic
from critic_probe.checkpoint.gguf import packaged
from critic_probe.measures.compare import compare
from critic_probe.measures.perturb import perturb
from critic_probe.measures.variants import Plan
from critic_probe.pairs import Pair, data_hash
from critic_probe.probes import BUILT_IN
from critic_probe.stats.edits import right_order
from critic_probe.stats.pairs import credit
from critic_probe.stats.rates import separation
from critic_probe.studies import synthetic
from critic_probe.studies.demo import write_base
from critic_probe.studies.synthetic import Task, complete, concise, make_task
from critic_probe.studies.synthetic_pairs import THE_CASES, held_out_pairs, training_pairs
from critic_probe.training.options import Options
from critic_probe.training.resume import RECORD
from critic_probe.training.warmup import warmup
from critic_probe.workbench import Settings

SEEDS = 3
READ = ("last", "mean")
MIXED = 76  # held-out pairs, one round of the generator's defects
EDITED = 2  # the teacher's answer of every second is edited
PROMPTS = 22  # of each kind of pair that one question is about
MEASURE_SEED = 40_000
# Edits that leave the content as it is, beside those of the closing mark; and those that make an answer worse.
HARMLESS = ("clause-swap", "list-mark", "space-punctuation", "edge-newline", "double-space", "json-layout")
WORSE = ("truncated-50", "sentence-repeated", "off-topic-head", "off-topic-tail", "other-answer", "gibberish")
FASTER = 3.0  # the second learning rate over the first
_LORA = Options(steps=100, batch_size=8, learning_rate=3e-4, head_learning_rate=3e-4, lora=8, save_dtype="float16")


class Backbone(NamedTuple):
    """What critics are trained from.

    Attributes:
        languages: Of the pairs.
        options: How they are trained at the first rate.
    """

    languages: tuple[str, ...]
    options: Options


BACKBONES = {
    "smollm2": Backbone(("en",), replace(_LORA, freeze_layers=20)),
    "gemma3": Backbone(("zh",), replace(_LORA, freeze_layers=10)),
    "tiny": Backbone(("zh", "en"), Options(steps=250, batch_size=16, learning_rate=5e-4, head_learning_rate=2e-3)),
}


class Run(NamedTuple):
    """One critic.

    Attributes:
        backbone: Of `BACKBONES`.
        condition: `terse`: teachers are terse, the first rate; `faster`: the second rate; `complete`: the first rate,
            teachers are complete.
        trained: The read-out that it is trained under.
        seed: Of head and pairs.
    """

    backbone: str
    condition: str
    trained: str
    seed: int

    @property
    def name(self) -> str:
        """Of its directory and its file of figures."""
        return "-".join(map(str, self))


_CELLS = (
    ("terse", "mean"),
    ("terse", "last"),
    ("complete", "mean"),
    ("complete", "last"),
    ("terse", "progressive"),
    ("faster", "mean"),
    ("faster", "last"),
)


def runs(backbones: Sequence[str]) -> list[Run]:
    """All of them, so that what is done at any time is a balanced table: seed by seed, backbones in turn."""
    return [Run(backbone, *cell, seed) for seed in range(SEEDS) for cell in _CELLS for backbone in backbones]


def train(run: Run, work: Path) -> None:
    """Trains a critic into `work` where it is not there yet."""
    out = work / run.name
    if (out / RECORD).exists():  # written last
        return
    languages, options = BACKBONES[run.backbone]
    assert options.steps is not None
    assert options.head_learning_rate is not None
    faster = FASTER if run.condition == "faster" else 1.0
    chosen = replace(
        options,
        aggregation=run.trained,
        progressive=(options.steps // 3, 2 * options.steps // 3),
        learning_rate=faster * options.learning_rate,
        head_learning_rate=faster * options.head_learning_rate,
        seed=run.seed,
        keep_order=True,
        device="cpu",
    )
    count = options.steps * options.batch_size
    pairs = training_pairs(run.seed, count, languages, in_full=run.condition == "complete")
    warmup(pairs, 0.0, _start(run.backbone, work), out, chosen)


def _start(backbone: str, work: Path) -> Path:
    if backbone != "tiny":
        return packaged(backbone)
    base = work / "tiny-base"
    if not (base / "tokenizer.json").exists():  # written last
        write_base(base, seed=0)
    return base


def asked_pairs(languages: Sequence[str], *, in_full: bool) -> list[Pair]:
    """Pairs of which each kind answers one question, by category; the teacher's answer is terse unless `in_full`."""
    rng = random.Random(MEASURE_SEED)
    pairs: list[Pair] = []

    def tasks(*kinds: str) -> Iterator[Task]:
        for _ in range(PROMPTS):
            task = make_task(rng, held_out=True, kinds=kinds)
            while task.language not in languages:
                task = make_task(rng, held_out=True, kinds=kinds)
            yield replace(task, in_full=in_full)

    def ask(category: str, task: Task, student: str, teacher: str) -> None:
        pairs.append(Pair(f"{category}-{len(pairs)}", task.prompt, student, teacher, category))

    for task in tasks("record", "list"):
        ask("case 1", task, synthetic.final_comma(rng, task), synthetic.answer(task))
        ask("case 2", task, complete(task), concise(task))
    for task in tasks("json"):
        ask("case 3", task, complete(task), concise(task))
    for task in tasks("record"):
        for category, place in (("wrong first number", 0), ("wrong last number", -1)):
            wrong = synthetic.with_wrong_facts(rng, task, [place % len(task.facts)])
            ask(category, task, synthetic.answer(wrong), synthetic.answer(task))
    for task in tasks("list"):
        ask("wrong item", task, synthetic.wrong_fact(rng, task), synthetic.answer(task))
    if "zh" in languages:
        for name, _, task, student in THE_CASES:
            ask(name, task, student, concise(task))
    return pairs


def measure(run: Run, work: Path) -> dict[str, Any]:
    """What a trained critic makes of held-out pairs of the kind that it was trained on, under each read-out.

    Returns:
        The run, the critic's fingerprint, the pairs' hash, and `figures`: per read-out and name the `value`, where it
        has a unit of scores also `over_sd` (the SD of all scores of the mixed pairs), and `n` and `prompts` behind it.
    """
    critic = load_critic(work / run.name, name=run.name, device="cpu")
    languages, in_full = BACKBONES[run.backbone].languages, run.condition == "complete"
    fields = ("id", "prompt", "student", "teacher", "category")
    mixed = [Pair(*(row[field] for field in fields)) for row in held_out_pairs(0, MIXED, languages, in_full=in_full)]
    asked = asked_pairs(languages, in_full=in_full)
    settings = Settings(tuple(parse(name) for name in READ))
    scored = compare([critic], [*mixed, *asked], settings).pairs
    families = ("terminal-swap", "terminal-drop", "lead-in", *HARMLESS, *WORSE)
    plan = Plan([BUILT_IN[name] for name in families], ("teacher",))
    cases = perturb([critic], mixed[::EDITED], settings, plan).cases
    of_mixed = {pair.id for pair in mixed}
    figures = []
    for read in READ:
        rows = scored[scored.aggregation == read]
        whole, edits = rows[rows.id.isin(of_mixed)], cases[cases.aggregation == read]
        sd = float(pd.concat([whole.student_score, whole.teacher_score]).std())
        figures += [{"read": read, **figure} for figure in _figures(whole, rows[~rows.id.isin(of_mixed)], edits, sd)]
    return {
        **run._asdict(),
        "critic": critic.fingerprint,
        "data": data_hash([*mixed, *asked]),
        "figures": figures,
    }


def _figures(mixed: pd.DataFrame, asked: pd.DataFrame, edits: pd.DataFrame, sd: float) -> Iterator[dict[str, Any]]:
    def of(name: str, value: float, frame: pd.DataFrame, scale: float | None = sd) -> dict[str, Any]:
        counted = {"n": len(frame), "prompts": int(frame.prompt_hash.nunique())}
        return {"name": name, "value": value, **({"over_sd": value / scale} if scale else {}), **counted}

    yield of("d_acc", credit(mixed.verdict).mean(), mixed, None)
    yield of("gap", mixed.gap.mean(), mixed)
    yield of("separation", separation(mixed.student_score, mixed.teacher_score), mixed, None)
    for category, frame in asked.sort_values("category").groupby("category"):
        yield of(f"{category}: gap", frame.gap.mean(), frame)
        if len(frame) > 1:
            yield of(f"{category}: teacher above", credit(frame.verdict).mean(), frame, None)
        if category == "case 2":
            yield of("complete: score", frame.student_score.mean(), frame)
    for name, families in (
        ("closing mark", ("terminal-swap",)),
        ("closing mark dropped", ("terminal-drop",)),
        ("lead-in", ("lead-in",)),
        ("harmless edits", HARMLESS),
        *((family, (family,)) for family in HARMLESS),
    ):
        frame = edits[edits.family.isin(families)]
        if len(frame):
            yield of(f"{name}: median |delta|", frame.delta.abs().median(), frame)
            yield of(f"{name}: mean |delta|", frame.delta.abs().mean(), frame)
    for name, families in (("worse", WORSE), *((family, (family,)) for family in WORSE)):
        frame = edits[edits.family.isin(families)]
        if len(frame):
            yield of(f"{name}: lower", right_order(frame, frame.delta).mean(), frame, None)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m critic_probe.studies.findings", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="where critics are kept, and found again")
    parser.add_argument("--output", "-o", type=Path, default=Path("docs/findings/runs.jsonl"))
    parser.add_argument("--backbone", choices=BACKBONES, action="append", help="default: smollm2 and gemma3")
    parser.add_argument("--only", choices=("train", "measure"), help="default: both, run by run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, so that one seed gives one result
    torch.use_deterministic_algorithms(True)
    for run in runs(arguments.backbone or ("smollm2", "gemma3")):
        if arguments.only != "measure":
            train(run, arguments.work)
        trained = (arguments.work / run.name / RECORD).exists()
        if arguments.only != "train" and trained and run not in _measured(arguments.output):
            with arguments.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(measure(run, arguments.work)) + "\n")


def _measured(file: Path) -> set[Run]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {Run(*(row[field] for field in Run._fields)) for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
