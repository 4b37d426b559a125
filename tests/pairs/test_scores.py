"""Scores that were computed elsewhere."""

import csv
import json

import pytest

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


def test_scores_that_bfloat16_rounded_tie_below_its_step(tmp_path):
    rows = [{"student_score": 8.0, "teacher_score": 8.0625}, {"student_score": 1.5, "teacher_score": 8.0}]
    result = compare_scores(list(read_scores(write(tmp_path / "s.jsonl", rows))), "s.jsonl")
    assert result.summary.ties.tolist() == [1]
    assert "bfloat16" in result.notices[0].message


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
