"""Scores of single responses: what is written, and that `compare` reads back what it gives itself."""

import csv
import json
import resource

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import critic_probe as cp
from critic_probe.cli import app
from critic_probe.errors import CriticProbeError
from critic_probe.measures.compare import Compare
from critic_probe.measures.score import Score
from critic_probe.measures.scores import compare_scores
from critic_probe.measures.steps import Steps
from critic_probe.pairs import CandidateFile, PairFile, RowFile, read_scores
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
    "RewardBench 2": rows(
        lambda q, g, b: {"id": q, "prompt": q, "chosen": [g, g + " Yes."], "rejected": [b, b + "!", b + "?"]}
    ),
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


def scored(critic, path, *out, read_outs=("last", "mean"), **options):
    """The result of `score`, its rows written where it is asked for."""
    bench = cp.bench(critic, CandidateFile(path), read_outs, cache=False)
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


def test_compare_reads_back_what_it_gives_itself_on_every_layout(critic, tmp_path):
    """To the last bit, and without the cache, in which it would find the very values again."""
    given = [{"id": f"{name} {i}"} | row for name, of_one in LAYOUTS.items() for i, row in enumerate(of_one)]
    path = write(tmp_path / "pairs.jsonl", given)
    out = [tmp_path / name for name in ("s.parquet", "s.jsonl", "s.csv")]
    read_outs = ("last", "mean", "min")
    scored(critic, path, *out, read_outs=read_outs)
    read, *others = ([*read_scores(RowFile(file))] for file in out)
    assert others == [read, read]
    measure = Compare()
    own = measure.result(run([cp.bench(critic, PairFile(path), read_outs, cache=False)], [measure]))
    back = compare_scores(read, "x")
    for name in TABLES:
        ours, theirs = getattr(own, name), getattr(back, name)
        assert len(ours)
        pd.testing.assert_frame_equal(theirs[list(ours)], ours, check_exact=True, check_dtype=False, obj=name)


SINGLE = [
    {"prompt": "Name a river.", "response": "The Tagus.", "label": 1},
    {"prompt": "Two plus two?", "response": "It is four.\n\nSo: 4.", "label": 1},
    {"prompt": "Name a river.", "response": "A mountain, perhaps", "label": 0},
    {"prompt": "Two plus two?", "response": "Five", "label": 0},
]


def test_the_three_formats_hold_the_same_rows(critic, tmp_path):
    path = write(tmp_path / "x.jsonl", SINGLE)
    out = [tmp_path / name for name in ("s.jsonl", "s.csv", "s.parquet")]
    result = scored(critic, path, *out, values=True, candidates=2)
    first = lines(out[0])
    table = pq.read_table(out[2])
    assert table.to_pylist() == first
    assert json.loads(table.schema.metadata[b"critic-probe"])["data"] == result.signature["data"]
    with out[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    text = {"critic", "id", "response", "prompt_hash", "response_hash", "category", "last_token_read"}
    read = [{k: v if k in text else json.loads(v) if v else None for k, v in row.items()} for row in rows]
    assert read == first
    assert not list(tmp_path.glob(".*"))


def test_a_row_holds_what_the_critic_gives_the_response_alone(critic, tmp_path):
    path = write(tmp_path / "x.jsonl", SINGLE)
    scored(critic, path, tmp_path / "s.jsonl", values=True)
    for row, given in zip(lines(tmp_path / "s.jsonl"), SINGLE, strict=True):
        [alone] = critic.score(given["prompt"], [given["response"]]).to_dict("records")
        assert row["tokens"] == alone["tokens"] == len(row["values"])
        assert (row["last_score"], row["mean_score"]) == pytest.approx((alone["last"], alone["mean"]), abs=1e-4)
        assert row["mean_score"] == torch.tensor(row["values"], dtype=torch.float32).mean().item()
        assert row["last_score"] == row["values"][-1]
        assert (row["label"], row["characters"]) == (given["label"], len(given["response"]))
        assert row["mean_floor"] > 0


def test_a_run_that_was_stopped_writes_the_same_bytes_when_it_is_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [row | {"prompt": f"{row['prompt']} {i}" * (1 + i % 5)} for i in range(20) for row in SINGLE]
    write(tmp_path / "x.jsonl", given)
    critic = cp.load("bundled:mean", device="cpu")

    def went(file, stop, cache):
        monkeypatch.setenv("CRITIC_PROBE_CACHE", str(tmp_path / cache))
        bench = cp.bench(critic, CandidateFile("x.jsonl"))

        def progress(*_):
            def step():
                nonlocal stop
                stop -= 1
                if not stop:
                    raise KeyboardInterrupt

            return step

        bench.progress = progress
        with ScoreRows([tmp_path / file]) as sink:
            measure = Score(sink)
            result = measure.result(run([bench], [measure]))
            sink.write(result.signature)

    went("whole.jsonl", -1, "a.sqlite")
    with pytest.raises(KeyboardInterrupt):
        went("again.jsonl", 70, "b.sqlite")
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["whole.jsonl", "x.jsonl"]
    went("again.jsonl", -1, "b.sqlite")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_files_that_hold_no_pairs_say_so_when_they_are_read_back(critic, tmp_path):
    path = write(tmp_path / "x.jsonl", SINGLE)
    scored(critic, path, tmp_path / "s.jsonl")
    with pytest.raises(CriticProbeError, match=r"s\.jsonl row 1: of the responses of 'row-1' none is known to be"):
        list(read_scores(RowFile(tmp_path / "s.jsonl")))
    path = write(tmp_path / "y.jsonl", LAYOUTS["our own"])
    scored(critic, path, tmp_path / "t.jsonl")
    rows = lines(tmp_path / "t.jsonl")
    for wrong, message in (
        ({**rows[1], "last_score": "high"}, "row 2: 'last_score' is 'high'; it must be a finite number"),
        ({"id": "row-1", "last_score": 1.0}, "row 2: not a row of critic-probe score as the first one is"),
    ):
        with pytest.raises(CriticProbeError, match=message):
            list(read_scores(RowFile(write(tmp_path / "u.jsonl", [rows[0], wrong]))))
    with pytest.raises(CriticProbeError, match="row 7: id 'row-1' is already that of row 1; make ids unique"):
        list(read_scores(RowFile(write(tmp_path / "u.jsonl", rows + rows))))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for it: either is an error of writing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        for i in range(5000):
            rows.add({"id": f"row-{i}"})

    with ScoreRows([tmp_path / "s.jsonl"]) as rows:
        rows.begin({"id": "text"})
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(CriticProbeError, match=r"s\.jsonl: cannot be written \(File too large\)"):
                fill()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


# Steps

SOLUTION = "First add.\n\nThen carry, as one does.\n\n\n\nSo: four."
ENDS = ["First add.\n\n", "First add.\n\nThen carry, as one does.\n\n\n\n", SOLUTION]


def of_steps(critic, tmp_path, given, **steps):
    path = write(tmp_path / "x.jsonl", [{"prompt": "Two plus two?", "response": text} for text in given])
    result = scored(critic, path, tmp_path / "s.jsonl", values=True, steps=Steps(**steps))
    return result, lines(tmp_path / "s.jsonl")


def last_tokens(critic, texts):
    """The index of the last token of each text, which begin one another."""
    return [len(critic.tokenizer(text, add_special_tokens=False)["input_ids"]) - 1 for text in texts]


def test_a_step_is_scored_at_its_last_token(critic, tmp_path):
    _, [row] = of_steps(critic, tmp_path, [SOLUTION], separator="\n\n")
    assert row["steps"] == [row["values"][i] for i in last_tokens(critic, ENDS)]
    assert (row["step-last_score"], row["step-min_score"]) == (row["steps"][-1], min(row["steps"]))
    assert row["step-last_floor"] == row["last_floor"]
    _, [closed, whole] = of_steps(critic, tmp_path, [ENDS[1], "So: four."], separator="\n\n")
    assert (len(closed["steps"]), len(whole["steps"])) == (2, 1)
    assert whole["step-last_score"] == whole["last_score"]


@pytest.mark.parametrize("by_id", [False, True])
def test_steps_that_tokens_mark(critic, tmp_path, by_id):
    dot = critic.tokenizer.convert_tokens_to_ids(".")
    result, [row, none] = of_steps(critic, tmp_path, ["Add. Carry. So", "So"], tokens=(str(dot) if by_id else ".",))
    assert row["steps"] == [row["values"][i] for i in last_tokens(critic, ["Add.", "Add. Carry."])]
    assert (none["steps"], none["step-last_score"], none["step-product_score"]) == ([], None, None)
    assert [n.message for n in result.notices if n.code == "no-steps"] == [
        "bundled:mean: 1 responses hold no mark of a step, and have no step's score"
    ]


def test_the_product_is_of_probabilities_alone(critic, tmp_path):
    result, [row] = of_steps(critic, tmp_path, [SOLUTION], separator="\n\n")
    assert row["step-product_score"] is None
    [told] = [notice.message for notice in result.notices if notice.code == "no-product"]
    assert told.endswith("if they are logits, step_sigmoid=True")
    _, [likely] = of_steps(critic, tmp_path, [SOLUTION], separator="\n\n", sigmoid=True)
    logits = torch.tensor(row["steps"], dtype=torch.float32)
    assert likely["steps"] == torch.sigmoid(logits).tolist()
    assert likely["step-product_score"] == torch.sigmoid(logits).prod().item()
    assert likely["step-last_floor"] == row["last_floor"] / 4
    assert likely["step-product_floor"] == 3 * row["last_floor"] / 4


def test_marks_that_are_none():
    with pytest.raises(CriticProbeError, match="both mark steps; give one"):
        Steps("\n", ("x",))
    with pytest.raises(CriticProbeError, match="step_separator is empty"):
        Steps("")
    with pytest.raises(CriticProbeError, match="give step_separator or step_token beside step_sigmoid=True"):
        Steps(sigmoid=True)


# The command


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    write(folder / "single.jsonl", SINGLE)
    write(folder / "named.jsonl", [{"q": r["prompt"], "said": r["response"], "good": r["label"]} for r in SINGLE])
    write(folder / "bad.jsonl", [*SINGLE, {"prompt": "x"}])
    return folder


@pytest.fixture
def invoke(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("CRITIC_PROBE_CACHE", str(place / "values.sqlite"))

    def call(arguments, code=0):
        done = CliRunner().invoke(app, ["score", *arguments.split(), "-c", "bundled:mean", "--device", "cpu"])
        assert done.exit_code == code, done.output
        return done.stderr if code else done.stdout

    return call


def test_the_command_writes_rows_and_prints_the_rest(invoke, place):
    shown = invoke("single.jsonl -o a.jsonl -o b.json -a mean --values")
    assert "4 responses to 2 prompts are scored" in shown
    rows = lines(place / "a.jsonl")
    assert [row["id"] for row in rows] == ["row-1", "row-2", "row-3", "row-4"]
    assert "values" in rows[0]
    assert "last_score" not in rows[0]
    written = json.loads((place / "b.json").read_text(encoding="utf-8"))
    assert (written["schema"], written["scores"][0]["n"]) == ("critic-probe/score/1", 4)
    assert cp.read_result(place / "b.json").scores["mean"][0] == written["scores"][0]["mean"]


def test_names_that_the_command_is_given(invoke, place):
    invoke("named.jsonl --prompt-field q --response-field said --label-field good -o a.csv")
    with (place / "a.csv").open(encoding="utf-8", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["1.0", "1.0", "0.0", "0.0"]
    assert "name its field with --response-field" in invoke("named.jsonl", 2)
    assert "is not in the row" in invoke("single.jsonl --response-field said", 2)


def test_the_best_of_n(invoke, place):
    data = json.loads(invoke("single.jsonl --best-of 2 -o a.jsonl --json"))
    assert [(row["n"], row["prompts"]) for row in data["best_of"]] == [(2, 2), (2, 2)]
    assert {row["n"] for row in data["accuracy"]} == {1, 2}
    wins = [row["mean_wins"] for row in lines(place / "a.jsonl")]
    assert sum(wins) == 2
    assert [row["id"] for row in data["winners"] if row["aggregation"] == "mean"] == [
        f"row-{i}" for i, won in enumerate(wins, start=1) if won
    ]
    alone = json.loads(invoke("single.jsonl --best-of 3 --json"))
    assert (alone["best_of"], [n["code"] for n in alone["warnings"]][-1]) == ([], "no-candidates")


def test_steps_by_the_command(invoke, place):
    invoke(r"single.jsonl --step-separator \n\n --step-sigmoid -o a.jsonl")
    assert [len(row["steps"]) for row in lines(place / "a.jsonl")] == [1, 2, 1, 1]
    assert 0 < lines(place / "a.jsonl")[0]["step-product_score"] < 1
    invoke("single.jsonl --step-token . -o a.jsonl")
    assert [len(row["steps"]) for row in lines(place / "a.jsonl")] == [1, 2, 0, 0]
    assert "--step-token 'nosuchtoken' is" in invoke("single.jsonl --step-token nosuchtoken", 2)
    assert "beside --step-sigmoid" in invoke("single.jsonl --step-sigmoid", 2)


def test_rules_of_input_are_those_of_every_command(invoke):
    assert "row 5: no response" in invoke("bad.jsonl", 2)
    assert json.loads(invoke("bad.jsonl --on-bad-row skip --json"))["scores"][0]["n"] == 4
    assert "The Tagus." in invoke("single.jsonl --show-input row-1")
    assert "4 responses" in invoke("single.jsonl --dry-run")
    assert "cannot tell the format from '.xlsx'" in invoke("single.jsonl -o x.xlsx", 2)
    assert "How to read it" in invoke("single.jsonl --full")
