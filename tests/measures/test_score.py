"""Scores of single responses: what is read, what is written, and that `compare` reads back what it gives itself."""

import json

import pandas as pd
import pytest

import critic_probe as cp
from critic_probe.measures.compare import Compare
from critic_probe.measures.score import Score
from critic_probe.measures.scores import compare_scores
from critic_probe.pairs import CandidateFile, Fields, PairFile, RowFile, read_scores
from critic_probe.report.rows import ScoreRows
from critic_probe.workbench import run

TABLES = ("summary", "statistics", "lengths", "contrasts", "categories", "baselines", "pairs")
Q = ["Name a river.", "What is two plus two?", "Say hello in Portuguese."]
GOOD = ["The Tagus.", "Four.", "Olá, bom dia."]
BAD = ["A mountain, perhaps", "It is five, or so I think", "Hello"]


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


def rows(make):
    return [make(*texts) for texts in zip(Q, GOOD, BAD, strict=True)]


LAYOUTS = {
    "our own": rows(lambda q, g, b: {"prompt": q, "student": b, "teacher": g, "category": q[:4]}),
    "TRL": rows(lambda q, g, b: {"prompt": [user(q)], "chosen": [says(g)], "rejected": [says(b)]}),
    "TRL, implicit prompt": rows(lambda q, g, b: {"chosen": [user(q), says(g)], "rejected": [user(q), says(b)]}),
    "verl": rows(lambda q, g, b: {"content": [user(q)], "responses": b, "teacher_response": g}),
    "LLaMA-Factory": rows(
        lambda q, g, b: {"conversations": [{"from": "human", "value": q}], "chosen": {"from": "gpt", "value": g},
                         "rejected": {"from": "gpt", "value": b}}
    ),
    "Alpaca": rows(lambda q, g, b: {"instruction": q, "input": "Be brief.", "chosen": g, "rejected": b}),
    "ms-swift": rows(lambda q, g, b: {"messages": [user(q), says(g)], "rejected_response": b}),
    "ms-swift, messages": rows(
        lambda q, g, b: {"messages": [user(q), says(g)], "rejected_messages": [user(q), says(b)]}
    ),
    "ms-swift, older": rows(lambda q, g, b: {"query": q, "response": g, "rejected_response": b}),
    "RewardBench 2": rows(
        lambda q, g, b: {"id": q, "prompt": q, "chosen": [g, g + " Yes."], "rejected": [b, b + "!", b + "?"]}
    ),
    "PKU-SafeRLHF": rows(lambda q, g, b: {"prompt": q, "response_0": g, "response_1": b, "better_response_id": 0}),
    "Nectar": rows(
        lambda q, g, b: {"prompt": q, "answers": [{"answer": b, "rank": 2.0}, {"answer": g, "rank": 1.0},
                                                  {"answer": g + b, "rank": 2.0}, {"answer": b + b, "rank": 3.0}]}
    ),
    "ranked": rows(lambda q, g, b: {"prompt": q, "responses": [b, g, b + g, g + g], "ranks": [3, 1, 2, 1]}),
    "hh-rlhf": rows(
        lambda q, g, b: {"chosen": f"\n\nHuman: {q}\n\nAssistant: {g}", "rejected": f"\n\nHuman: {q}\n\nAssistant: {b}"}
    ),
    "token ids": [{"prompt": q, "student_ids": [5 + i, 9, 11], "teacher_ids": [7, 8 + i]} for i, q in enumerate(Q)],
}  # fmt: skip


@pytest.fixture(scope="module")
def critic():
    return cp.load("bundled:mean", device="cpu")


def write(path, given):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given), encoding="utf-8")
    return path


def scored(critic, path, *out, read_outs=("last", "mean"), fields=None, **options):
    """The result of `score`, its rows written where it is asked for."""
    bench = cp.bench(critic, CandidateFile(path, fields or Fields()), read_outs, cache=False)
    if not out:
        measure = Score(**options)
        return measure.result(run([bench], [measure]))
    with ScoreRows(out) as sink:
        measure = Score(sink, **options)
        result = measure.result(run([bench], [measure]))
        sink.write(result.signature)
    return result


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_compare_reads_back_what_it_gives_itself(critic, tmp_path, layout):
    path = write(tmp_path / "pairs.jsonl", LAYOUTS[layout])
    suffix = (".parquet", ".jsonl", ".csv")[list(LAYOUTS).index(layout) % 3]
    scored(critic, path, tmp_path / f"scores{suffix}", read_outs=("last", "mean", "min", "content"))
    given = compare_scores(list(read_scores(RowFile(tmp_path / f"scores{suffix}"))), "x")
    measure = Compare()
    bench = cp.bench(critic, PairFile(path), ("last", "mean", "min", "content"), cache=False)
    own = measure.result(run([bench], [measure]))
    for name in TABLES:
        ours, theirs = getattr(own, name), getattr(given, name)
        pd.testing.assert_frame_equal(theirs[list(ours)], ours, check_exact=True, check_dtype=False, obj=name)
