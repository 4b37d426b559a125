"""Pairs of the synthetic world: those to train on, held-out ones, and the bundled file."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from critic_probe.pairs import Pair
from critic_probe.studies import synthetic
from critic_probe.studies.synthetic import Task, complete, concise, make_task

PAIRS_SEED = 20_000

# Category, defect, kinds of task and number of the bundled pairs.
KINDS: tuple[tuple[str, Callable[[random.Random, Task], str], tuple[str, ...], int], ...] = (
    ("digit", synthetic.wrong_fact, ("record", "json"), 12),
    ("item", synthetic.wrong_fact, ("list",), 12),
    ("final-comma", synthetic.final_comma, ("record", "list"), 8),
    ("final-dropped", synthetic.final_dropped, ("record", "list"), 4),
    ("interior-swap", synthetic.interior_swap, ("record", "list"), 6),
    ("verbose", synthetic.other_form, ("record", "list"), 8),
    ("missing", synthetic.missing, ("record", "list", "json"), 6),
    ("truncated", synthetic.truncated, ("record", "list"), 6),
    ("repeated", synthetic.repeated, ("record", "list"), 4),
    ("off-topic", synthetic.off_topic, ("record", "list"), 4),
    ("json-layout", synthetic.other_form, ("json",), 3),
    ("identical", lambda _, task: synthetic.answer(task), ("record", "list"), 3),
    ("identical-eos", lambda _, task: synthetic.answer(task), ("record", "list"), 3),
)


def training_pairs(seed: int, count: int, languages: Sequence[str] = ("zh", "en"), in_full: bool = False) -> list[Pair]:
    """Pairs of prompts that are not held out, in order: the first 30 % of them have wrong facts alone.

    The teachers are terse, or with `in_full` complete.
    """
    rng = random.Random(5000 + seed)
    pairs: list[Pair] = []
    while len(pairs) < count:
        only_wrong_facts = len(pairs) < 0.3 * count
        task, student = synthetic.training_pair(rng, held_out=False, only_wrong_facts=only_wrong_facts, in_full=in_full)
        if task.language in languages:
            pairs.append(Pair(f"{seed}-{len(pairs)}", task.prompt, student, synthetic.answer(task)))
    return pairs


def held_out_pairs(
    seed: int, count: int, languages: Sequence[str] = ("zh", "en"), in_full: bool = False
) -> list[dict[str, Any]]:
    """Rows of held-out prompts, one named defect each, in the proportions of the bundled pairs.

    The teachers are terse, or with `in_full` complete.
    """
    rng = random.Random(7000 + seed)
    cycle = [(category, edit, kinds) for category, edit, kinds, number in KINDS for _ in range(number)]
    cycle = [kind for kind in cycle if kind[0] != "identical-eos"]  # their ids are the bundled tokenizer's
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        category, edit, kinds = cycle[len(rows) % len(cycle)]
        task = replace(make_task(rng, held_out=True, kinds=kinds), in_full=in_full)
        if task.language in languages:
            rows.append(_row(f"{category}-{len(rows)}", category, task, edit(rng, task)))
    return rows


_RECORD = Task(
    "record", "zh", "病历：年龄52岁、心率88次、体重66公斤。请写摘要。", ("年龄52岁", "心率88次", "体重66公斤")
)
_SHOPPING = Task("list", "zh", "清单：苹果、牛奶、鸡蛋。要买什么？", ("苹果", "牛奶", "鸡蛋"))
_DATA = Task("json", "zh", "数据：年龄: 52、心率: 62。请输出JSON。", ('"年龄": 52', '"心率": 62'))
# The three cases that the proposal showed: name, category, task, the student's answer.
THE_CASES = (
    ("case-1-comma", "final-comma", _RECORD, synthetic.final_comma(random.Random(0), _RECORD)),
    ("case-2-complete", "verbose", _SHOPPING, complete(_SHOPPING)),
    ("case-3-json", "json-layout", _DATA, complete(_DATA)),
)


def write_pairs(path: Path, tokenizer: Any, eos: int) -> None:
    """Writes the held-out pairs: the three cases, one defect a pair, and identical texts with and without EOS ids."""
    rng = random.Random(PAIRS_SEED)
    rows = [_row(*case) for case in THE_CASES]
    seen = {row["prompt"] for row in rows}
    assert all(map(synthetic.is_held_out, seen)), "a case's prompt may be drawn in training; choose other numbers"
    for category, edit, kinds, count in KINDS:
        for number in range(1, count + 1):
            task = make_task(rng, held_out=True, kinds=kinds)
            while task.prompt in seen or (task.language == "zh") != (number % 2 == 1):
                task = make_task(rng, held_out=True, kinds=kinds)
            seen.add(task.prompt)
            row = _row(f"{category}-{number:02d}", category, task, edit(rng, task))
            if category == "identical-eos":
                row["student_ids"] = [*tokenizer(row["student"], add_special_tokens=False)["input_ids"], eos]
            rows.append(row)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def as_row(pair: Pair) -> dict[str, Any]:
    """A pair as a row of a file."""
    return {"id": pair.id, "prompt": pair.prompt, "student": pair.student, "teacher": pair.teacher}


def _row(name: str, category: str, task: Task, student: str) -> dict[str, Any]:
    sides = {"student": student, "teacher": synthetic.answer(task)}
    row = {"id": name, "category": category, "prompt": task.prompt, **sides}
    same_facts = {"complete": complete(task), "concise": concise(task)} if category == "verbose" else {}
    return row | same_facts
