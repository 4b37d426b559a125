"""Rows with faults: all of a file's told together, or left out and counted by reason."""

import json

import pytest

from critic_probe.errors import CriticProbeError
from critic_probe.pairs import TOO_LONG, BadRowError, Faults, PairFile, data_hash, read_pairs

GOOD = {"prompt": "p", "student": "s", "teacher": "t"}
FAULTY = {
    "empty side": json.dumps(GOOD | {"student": " "}),
    "missing side": json.dumps(GOOD | {"teacher": None}),
    "invalid JSON": '{"prompt": ',
    "not an object": "[1]",
    "duplicate id": json.dumps(GOOD | {"id": "first"}),
    "no prompt": json.dumps({"student": "s", "teacher": "t"}),
    "unknown fields": json.dumps({"prompt": "p", "left": "s", "right": "t"}),
    "unknown role": json.dumps(GOOD | {"prompt": [{"role": "critic", "content": "x"}]}),
    "image, video or audio": json.dumps(GOOD | {"images": ["a.png"]}),
    "field without a place": json.dumps(GOOD | {"context": "more"}),
    "printed form of messages": json.dumps(GOOD | {"prompt": "[{'role': 'user', 'content': 'p'}]"}),
    "not token ids": json.dumps(GOOD | {"student_ids": [-1]}),
    "invalid Unicode": json.dumps(GOOD | {"student": "\ud800"}),
    "no ranks": json.dumps({"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}),
}


def lines(path, *rows):
    path.write_text("".join(row + "\n" for row in rows))
    return path


def good(name):
    return json.dumps(GOOD | {"id": name})


@pytest.mark.parametrize("kind", FAULTY)
def test_every_fault_can_be_left_out(tmp_path, kind):
    path = lines(tmp_path / "x.jsonl", good("first"), FAULTY[kind], good("last"))
    with pytest.raises(CriticProbeError, match=r"x\.jsonl row 2: "):
        PairFile(path)
    pairs = PairFile(path, on_bad_row="skip")
    assert [pair.id for pair in pairs] == ["first", "last"]
    assert (len(pairs), pairs.rows, pairs.skipped) == (2, 3, {kind: 1})
    assert [(notice.code, notice.ids) for notice in pairs.notices] == [("bad-rows", ["row 2"])]
    assert kind in pairs.notices[0].message
    assert pairs.hash == data_hash(read_pairs(lines(tmp_path / "y.jsonl", good("first"), good("last"))))


def test_a_line_that_is_no_utf8_can_be_left_out(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(good("a").encode() + b'\n{"a": "\xff"}\n' + good("b").encode())
    pairs = PairFile(tmp_path / "x.jsonl", on_bad_row="skip")
    assert ([pair.id for pair in pairs], pairs.skipped) == (["a", "b"], {"invalid UTF-8": 1})


def test_a_csv_row_of_other_length_can_be_left_out(tmp_path):
    (tmp_path / "x.csv").write_text("prompt,student,teacher\np,s,t,u\np,s,t\n")
    pairs = PairFile(tmp_path / "x.csv", on_bad_row="skip")
    assert (len(pairs), pairs.skipped) == (1, {"wrong number of cells": 1})


def test_all_faults_are_told_together(tmp_path):
    rows = [good("first"), *FAULTY.values(), FAULTY["empty side"], FAULTY["empty side"]]
    with pytest.raises(CriticProbeError) as caught:
        PairFile(lines(tmp_path / "x.jsonl", *rows))
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'x.jsonl'}: 16 of 17 rows have a fault (3 empty side, 1 missing side, ")
    assert "row 2: 'student' is empty" in told
    assert "row 6: id 'first' is already that of row 1" in told
    assert "row 7" not in told  # the first five
    assert told.endswith("; and 11 more; mend them, or leave them out with on_bad_row='skip'")
    assert "\n" not in told


def test_a_file_of_nothing_but_faults(tmp_path):
    path = lines(tmp_path / "x.jsonl", FAULTY["empty side"], FAULTY["no prompt"])
    with pytest.raises(CriticProbeError, match=r"every row has a fault \(1 empty side, 1 no prompt\); give at least"):
        PairFile(path, on_bad_row="skip")


def test_rows_that_are_too_long_have_a_rule_of_their_own():
    long, empty = BadRowError(TOO_LONG, "x", where="row 1"), BadRowError("empty side", "y", where="row 2")
    for bad, too_long, refused in (
        ("error", None, True), ("skip", None, False), ("skip", "error", True), ("error", "skip", True),
    ):  # fmt: skip
        faults = Faults(bad, too_long)
        faults.add(long)
        faults.add(empty)
        if refused:
            with pytest.raises(CriticProbeError):
                faults.settle("x.jsonl", 2)
        else:
            faults.settle("x.jsonl", 2)
            assert faults.skipped == {TOO_LONG: 1, "empty side": 1}
