"""Scores that were computed elsewhere."""

import csv
import dataclasses
import itertools
import json

import pandas as pd
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

import critic_probe as cp
from critic_probe.cli import app
from critic_probe.errors import CriticProbeError
from critic_probe.measures.scores import compare_scores
from critic_probe.pairs import RowFile, holds_scores, read_pairs, read_scores

ROWS = [
    {"id": "a", "prompt": "p", "student": "No", "teacher": "Yes.", "student_score": 0.1, "teacher_score": 1.3},
    {"id": "b", "prompt": "q", "student": "Three", "teacher": "Four.", "student_score": 0.7, "teacher_score": 0.2},
]


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return RowFile(path)


def test_a_file_of_scores_is_known_by_its_columns(tmp_path):
    assert holds_scores(write(tmp_path / "a.jsonl", ROWS))
    assert not holds_scores(write(tmp_path / "b.jsonl", [{"prompt": "p", "student": "a", "teacher": "b"}]))


def test_every_score_column_is_a_read_out(tmp_path):
    rows = [row | {"student_mean_score": 1.5, "teacher_mean_score": 2.25} for row in ROWS]
    result = compare_scores(list(read_scores(write(tmp_path / "s.jsonl", rows))), "s.jsonl")
    assert result.summary.aggregation.tolist() == ["score", "mean"]
    assert result.summary.d_acc.tolist() == [0.5, 1.0]
    assert result.baselines.set_index("baseline").accuracy["ends in terminal punctuation wins"] == 1.0
    assert result.contrasts.flips.tolist() == [1]


def test_a_csv_cell_is_a_number_and_critics_stay_apart(tmp_path):
    with open(tmp_path / "s.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "critic", "aggregation", "student_score", "teacher_score"])
        writer.writeheader()
        for critic, gap in (("x", 1.0), ("y", -1.0)):
            writer.writerows(
                {"id": i, "critic": critic, "aggregation": "last", "student_score": 0.1, "teacher_score": 0.1 + gap}
                for i in range(3)
            )
    result = compare_scores(list(read_scores(RowFile(tmp_path / "s.csv"))), "s.csv")
    assert result.summary.set_index("critic").d_acc.to_dict() == {"x": 1.0, "y": 0.0}


def scored(path, rows, **columns):
    rows = [{"student_score": s, "teacher_score": t, **columns} for s, t in rows]
    return list(read_scores(write(path / "s.jsonl", rows)))


def test_one_outlier_ties_no_other_pair(tmp_path):
    # A step at the largest score of the file made 199 of 200 pairs ties.
    rows = [(i / 100, i / 100 + (0.5 if i % 3 else -0.5)) for i in range(199)]
    result = compare_scores(scored(tmp_path, [*rows, (-1e9, 0.25)]), "s.jsonl")
    assert result.summary.ties.tolist() == [0]
    assert result.summary.d_acc.tolist() == [133 / 200]
    assert "no pairs lie within 16 float32 steps of their own" in result.notices[0].message


def test_a_pair_within_sixteen_steps_of_its_own_is_a_tie_and_told_both_ways(tmp_path):
    step = 2.0**-23
    rows = [(1.0, 1 + 15 * step), (0.001, 0.001 + 15 * step), (3e6, 3e6 + 1), (1.0, 1 - 20 * step), (5.3, 5.3)]
    result = compare_scores(scored(tmp_path, rows), "s.jsonl")
    assert result.pairs.set_index("id").verdict.sort_index().tolist() == ["tie", "teacher", "tie", "student", "tie"]
    [told] = [notice for notice in result.notices if notice.code == "given-scores"]
    assert "2 pairs lie within 16 float32 steps of their own" in told.message
    assert "(d_acc 0.5000 if they are ties, 0.7000 if ordered)" in told.message
    assert told.ids == ["row-1", "row-3"]


def test_scores_that_bfloat16_rounded_are_ordered_where_they_differ(tmp_path):
    # A tie below one step at the largest score turned a published .6471 into .65: rounding does not turn an order.
    rows = [(8.0, 8.0625), (1.5, 8.0), (0.0078125, 0.00775146484375), (2.0, 2.0)]
    result = compare_scores(scored(tmp_path, rows), "s.jsonl")
    assert result.summary.ties.tolist() == [1]
    assert result.summary.d_acc.tolist() == [2.5 / 4]
    told = result.notices[0].message
    assert "2 pairs lie within one bfloat16 step of their own" in told
    assert "(d_acc 0.6250 if they are ties, 0.6250 if ordered)" in told


def test_tie_within_is_an_absolute_gap(tmp_path):
    pairs = scored(tmp_path, [(0.1, 0.15), (100.0, 100.05), (3.3, 3.4), (1.0, 0.97)])
    assert compare_scores(pairs, "s.jsonl").summary.ties.tolist() == [0]
    wider = compare_scores(pairs, "s.jsonl", tie_within=0.06)
    assert wider.summary.ties.tolist() == [3]
    assert wider.signature["tie_within"] == 0.06
    assert "gaps within 0.06 are ties too" in wider.notices[0].message
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "s.jsonl"), "--tie-within", "0.06", "--json"])
    assert json.loads(result.stdout)["summary"][0]["ties"] == 3


def test_tie_within_is_refused_where_a_critic_scores():
    result = CliRunner().invoke(app, ["compare", "-c", "bundled:last", "--tie-within", "0.1"])
    assert result.exit_code == 2
    assert "--tie-within is for scores from a file" in result.stderr


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet", ".jsonl"])
def test_what_a_critic_scored_reads_back_with_the_same_verdicts(tmp_path, suffix):
    own = cp.bench(cp.load("bundled:mean"), read_outs=["last", "mean"]).compare()
    near = own.pairs.student_score + own.pairs.floor * 0.9  # within the measured floor, beyond 16 float32 steps
    own = dataclasses.replace(own, pairs=own.pairs.assign(teacher_score=near.where(own.pairs.index < 9, near + 1)))
    expected = ["tie" if i < 9 else "teacher" for i in own.pairs.index]
    path = tmp_path / f"r{suffix}"
    if suffix == ".jsonl":
        own.pairs.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        own.save(path)
    again = compare_scores(list(read_scores(RowFile(path))), path.name)
    keys = ["aggregation", "id"]
    both = own.pairs.assign(expected=expected).merge(again.pairs, on=keys, suffixes=("", "_again"))
    assert len(both) == len(own.pairs)
    assert both.verdict_again.tolist() == both.expected.tolist()
    assert "the floor that the file gives" in again.notices[0].message


def test_small_floors_of_an_outlier_do_not_join_the_ranks_of_others(tmp_path):
    scores = {"x": (0.1, 3), "xx": (0.2, 5), "xxx": (0.3, 9), "worst": (-1e9, 4)}
    rows = [
        {"id": f"{s}-{t}", "prompt": "p", "student_score": scores[s][0], "teacher_score": scores[t][0]}
        | {"student_tokens": scores[s][1], "teacher_tokens": scores[t][1]}
        for s, t in itertools.combinations(scores, 2)
    ]
    result = compare_scores(list(read_scores(write(tmp_path / "s.jsonl", rows))), "s.jsonl")
    expected = spearmanr([0.1, 0.2, 0.3, -1e9], [3, 5, 9, 4]).statistic
    assert result.lengths.within_prompt_spearman.tolist() == pytest.approx([expected])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher_score": "high"}, r"row 2: 'teacher_score' is 'high'; it must be a finite number"),
        ({"student_score": float("nan")}, r"row 2: 'student_score' is .*finite number"),
        ({"teacher_score": None}, r"row 2: 'teacher_score' is"),
        ({"teacher_mean_score": 1.0}, r"row 2: 'teacher_mean_score' has no score of the other side"),
        (
            {"student_mean_score": 1.0, "teacher_mean_score": 2.0},
            r"row 2: student_mean_score is not in the first row; give every row all scores",
        ),
        ({"floor": "low"}, r"row 2: 'floor' is 'low'; it must be a finite number"),
        ({"floor": -1.0}, r"row 2: 'floor' is .-1.0.; it must not be negative"),
        ({"id": "a"}, r"row 2: id 'a' is already that of row 1; make ids unique"),
    ],
)
def test_a_bad_score_names_its_row(tmp_path, change, message):
    rows = write(tmp_path / "s.jsonl", [ROWS[0], ROWS[1] | change])
    with pytest.raises(CriticProbeError, match=message):
        list(read_scores(rows))


def test_small_scores_and_ratings_are_no_ties(tmp_path):
    for rows in ([(1e-7, 3e-7), (2e-7, 1e-7)], [(255, 256), (1, 2)]):
        rows = [{"student_score": a, "teacher_score": b} for a, b in rows]
        result = compare_scores(list(read_scores(write(tmp_path / "s.jsonl", rows))), "s.jsonl")
        assert result.summary.ties.tolist() == [0]


def test_an_id_of_zero_is_an_id(tmp_path):
    rows = write(tmp_path / "s.jsonl", [ROWS[0] | {"id": 0}, ROWS[1] | {"id": 1}])
    assert [pair.id for pair in read_scores(rows)] == ["0", "1"]


def test_a_row_without_the_scores_of_the_first_is_an_error(tmp_path):
    rows = write(tmp_path / "s.jsonl", [ROWS[0], {"id": "b", "student": "x", "teacher": "y"}])
    with pytest.raises(CriticProbeError, match="row 2: no student_score"):
        list(read_scores(rows))


def test_a_candidate_set_gives_a_pair_for_every_two_ranks(tmp_path):
    row = {"id": "x", "prompt": "p", "responses": ["best", "tied one", "tied two"], "ranks": [1, 2, 2]}
    (tmp_path / "c.jsonl").write_text(json.dumps(row), encoding="utf-8")
    pairs = read_pairs(tmp_path / "c.jsonl")
    assert [(p.id, p.teacher, p.student) for p in pairs] == [
        ("x/1>2", "best", "tied one"),
        ("x/1>3", "best", "tied two"),
    ]


@pytest.mark.parametrize("ranks", [None, [1], [1, "two"], [1, float("inf")]])
def test_a_candidate_set_needs_its_ranks(tmp_path, ranks):
    row = {"prompt": "p", "responses": ["a", "b"], "ranks": ranks}
    (tmp_path / "c.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(CriticProbeError, match=r"row 1: 'responses' is a candidate set; give it 'ranks'"):
        read_pairs(tmp_path / "c.jsonl")


@pytest.mark.parametrize("responses", [["only one"], ["one", "two"]])
def test_a_candidate_set_without_an_order_is_not_dropped_silently(tmp_path, responses):
    row = {"prompt": "p", "responses": responses, "ranks": [1] * len(responses)}
    (tmp_path / "c.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(CriticProbeError, match=r"row 1: 'ranks' order no two responses"):
        read_pairs(tmp_path / "c.jsonl")


@pytest.mark.parametrize("sides", [("student", "teacher"), ("rejected", "chosen")])
def test_responses_beside_a_pair_are_left_alone(tmp_path, sides):
    row = {"prompt": "p", "responses": ["x", "y"], sides[0]: "worse", sides[1]: "better"}
    (tmp_path / "c.jsonl").write_text(json.dumps(row), encoding="utf-8")
    [pair] = read_pairs(tmp_path / "c.jsonl")
    assert (pair.student, pair.teacher) == ("worse", "better")


LONG = [
    {"id": f"i{i}", "student_score": (7 * i) % 5 / 5, "teacher_score": (3 * i + of) % 7 / 7, "aggregation": name}
    for of, name in enumerate(("mean", "last"))
    for i in range(12)
]


def test_read_outs_are_compared_in_pairs_whatever_the_order_of_their_rows(tmp_path):
    """Verdicts that flip were counted by the rows' places."""
    shuffled = [*LONG[:12], *LONG[:11:-1]]
    flips = [compare_scores(list(read_scores(write(tmp_path / "s.jsonl", r))), "s").summary for r in (LONG, shuffled)]
    pd.testing.assert_frame_equal(*flips)
    assert flips[0].flips[1] > 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (LONG[:-1], "1 pairs have a score under one of mean and last alone, first 'i11'"),
        ([LONG[0] | {"prompt_hash": "x"}, *LONG[1:]], "the rows of id 'i0' have several prompts or categories"),
        ([LONG[0] | {"category": "x"}, *LONG[1:]], "the rows of id 'i0' have several prompts or categories"),
    ],
)
def test_read_outs_of_other_pairs_are_refused(tmp_path, rows, message):
    with pytest.raises(CriticProbeError, match=message):
        compare_scores(list(read_scores(write(tmp_path / "s.jsonl", rows))), "s")


def response(name, **changed):
    own = {"critic": "c", "id": "a", "response": name, "prompt_hash": "p", "response_hash": name, "category": ""}
    return own | {"tokens": 3, "characters": 5, "mean_score": 0.5, "mean_floor": 0.0, **changed}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([response("student"), response("teacher"), response("teacher", mean_score=9)], "has two responses teacher"),
        ([response("student"), response("teacher", prompt_hash="q")], "several prompt hashes, categories or read-outs"),
        (
            [response("student"), response("teacher", last_score=1, last_floor=0)],
            "several prompt hashes, categories or",
        ),
        ([response("student", tokens=-1), response("teacher")], "'tokens' is '-1'; it must not be negative"),
        ([response("student", mean_floor=-1), response("teacher")], "'mean_floor' is '-1'; it must not be negative"),
    ],
)
def test_rows_of_score_that_were_put_together_are_refused(tmp_path, rows, message):
    with pytest.raises(CriticProbeError, match=message):
        list(read_scores(write(tmp_path / "s.jsonl", rows)))
