import csv
import datetime
import json
import sys
from io import BytesIO, TextIOWrapper

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields, Pair, TokenIds, as_pairs, data_hash, read_pairs
from critic_probe.workbench import prompt_hash

USER = {"role": "user", "content": "问"}
SYSTEM = {"role": "system", "content": ""}
LAYOUTS = {
    "student and teacher": {"prompt": "问", "student": "s", "teacher": "t"},
    "rejected and chosen": {"prompt": "问", "rejected": "s", "chosen": "t"},
    "responses and teacher_response": {"prompt": "问", "responses": "s", "teacher_response": "t"},
    "response and teacher_response": {"prompt": "问", "response": "s", "teacher_response": "t"},
    "a teacher by name": {"prompt": "问", "teacher": "model-7b", "rejected": "s", "chosen": "t"},
    "another word for prompt": {"question": "问", "rejected": "s", "chosen": "t"},
}
CONVERSATIONS = {
    "prompt of messages": {"prompt": [USER], "student": "s", "teacher": "t"},
    "verl content": {"content": [USER], "responses": "s", "teacher_response": "t"},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "问"}],
        "chosen": {"from": "gpt", "value": "t"},
        "rejected": {"from": "gpt", "value": "s"},
    },
    "conversational, prompt apart": {
        "prompt": [USER],
        "chosen": [{"role": "assistant", "content": "t"}],
        "rejected": [{"role": "assistant", "content": "s"}],
    },
    "conversational, prompt inside": {
        "chosen": [USER, {"role": "assistant", "content": "t"}],
        "rejected": [USER, {"role": "assistant", "content": "s"}],
    },
    "conversational, prompt apart and inside": {
        "prompt": [USER],
        "chosen": [USER, {"role": "assistant", "content": "t"}],
        "rejected": [USER, {"role": "assistant", "content": "s"}],
    },
    "conversational, prompt apart and after a system message": {
        "prompt": [USER],
        "chosen": [SYSTEM, USER, {"role": "assistant", "content": "t"}],
        "rejected": [SYSTEM, USER, {"role": "assistant", "content": "s"}],
    },
    "conversational, system message apart": {
        "prompt": [SYSTEM],
        "chosen": [USER, {"role": "assistant", "content": "t"}],
        "rejected": [USER, {"role": "assistant", "content": "s"}],
    },
    "reward bench": {
        "prompt": "问",
        "chosen": [USER, {"role": "assistant", "content": "t"}],
        "rejected": [USER, {"role": "assistant", "content": "s"}],
    },
}


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_plain_layouts_read_from_every_format(tmp_path, layout, suffix):
    [pair] = read_pairs(write(tmp_path / f"x{suffix}", [LAYOUTS[layout]]))
    assert (pair.prompt, pair.student, pair.teacher) == ("问", "s", "t")


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("layout", CONVERSATIONS)
def test_messages_stay_messages_in_every_format(tmp_path, layout, suffix):
    [pair] = read_pairs(write(tmp_path / f"x{suffix}", [CONVERSATIONS[layout]]))
    prompt = "问" if layout == "reward bench" else (SYSTEM, USER) if "system" in layout else (USER,)
    assert (pair.prompt, pair.student, pair.teacher) == (prompt, "s", "t")


def test_ids_are_kept_with_the_text_beside_them(tmp_path):
    rows = [
        {"prompt": "p", "student": "s", "student_ids": [1, 2], "teacher": [3, 4]},
        {"prompt": "p", "student_ids": [5], "teacher": "t"},
    ]
    for suffix in (".jsonl", ".json"):
        first, second = read_pairs(write(tmp_path / f"x{suffix}", rows))
        assert (first.student, first.teacher) == (TokenIds((1, 2), "s"), TokenIds((3, 4)))
        assert (second.student, second.teacher) == (TokenIds((5,)), "t")
    [pair] = read_pairs(write(tmp_path / "x.csv", rows[:1]))
    assert (pair.student, pair.teacher) == (TokenIds((1, 2), "s"), "[3, 4]")  # a list in a column of answers is text


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("student", "teacher", "student_ids", "teacher_ids"),
    [
        ("student", "teacher", "student_ids", "teacher_ids"),
        ("rejected", "chosen", "rejected_ids", "chosen_ids"),
        ("response", "teacher_response", "response_ids", "teacher_response_ids"),
        ("responses", "teacher_response", "response_ids", "teacher_response_ids"),
    ],
)
def test_every_layout_has_its_names_for_ids(tmp_path, suffix, student, teacher, student_ids, teacher_ids):
    row = {"prompt": "p", student: "s", student_ids: [1], teacher: "t", teacher_ids: [2, 3]}
    [pair] = read_pairs(write(tmp_path / f"x{suffix}", [row]))
    assert (pair.student, pair.teacher, pair.meta) == (TokenIds((1,), "s"), TokenIds((2, 3), "t"), {})


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
@pytest.mark.parametrize("answer", ['[{"value": 1}]', '[{"from": "Rome", "value": "3"}]', '{"a": 1}', "[]", "[" * 9999])
def test_an_answer_in_json_stays_text(tmp_path, answer, suffix):
    row = {"prompt": "p", "student": answer, "teacher": answer}
    [pair] = read_pairs(write(tmp_path / f"x{suffix}", [row]))
    assert pair.student == pair.teacher == answer


def test_a_plain_prompt_gives_way_to_the_whole_conversation(tmp_path):
    lead = [USER, {"role": "assistant", "content": "答"}, {"role": "user", "content": "再问"}]
    sides = {name: [*lead, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    for prompt in ("再问", "问"):
        [pair] = read_pairs(write(tmp_path / "x.jsonl", [{"prompt": prompt} | sides]))
        assert pair.prompt == tuple(lead)


def test_names_categories_and_everything_else(tmp_path):
    row = LAYOUTS["student and teacher"]
    rows = [row | {"id": 7, "pair_id": "b", "subset": "math", "note": {"x": 1}}, row]
    first, second = read_pairs(write(tmp_path / "x.jsonl", rows))
    assert (first.id, first.category, first.meta) == ("7", "math", {"pair_id": "b", "note": {"x": 1}})
    assert (second.id, second.category) == ("row-2", "")


def test_fields_can_be_named(tmp_path):
    path = write(tmp_path / "x.csv", [{"q": "p", "a": "s", "b": "t", "student": "not this"}])
    [pair] = read_pairs(path, Fields(prompt="q", student="a", teacher="b"))
    assert (pair.prompt, pair.student, pair.teacher) == ("p", "s", "t")
    with pytest.raises(CriticProbeError, match=r"x\.csv row 1: fields\.teacher 'c' is not in the row \(found q, a, b"):
        read_pairs(path, Fields(prompt="q", student="a", teacher="c"))
    path.write_text("q,a,b\np,,t\n")
    with pytest.raises(CriticProbeError, match=r"x\.csv row 1: no 'a' \(found q, a, b\); give the row both sides"):
        read_pairs(path, Fields(prompt="q", student="a", teacher="b"))


def test_stdin_blank_lines_and_a_byte_order_mark(monkeypatch):
    data = b"\xef\xbb\xbf\n" + json.dumps(LAYOUTS["student and teacher"]).encode() + b"\r\n\n"
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(data)))
    [pair] = read_pairs("-")
    assert pair.source == "stdin row 1 (line 2)"


def test_line_separators_inside_a_string_do_not_split_a_line(tmp_path):
    [pair] = read_pairs(write(tmp_path / "x.jsonl", [LAYOUTS["student and teacher"] | {"teacher": "a\u2028b\x85c"}]))
    assert pair.teacher == "a\u2028b\x85c"


def test_the_data_hash_follows_the_content_and_nothing_else(tmp_path):
    row = LAYOUTS["student and teacher"]
    same = [read_pairs(write(tmp_path / f"x{suffix}", [row])) for suffix in (".jsonl", ".csv", ".parquet")]
    assert len({data_hash(pairs) for pairs in same}) == 1
    assert data_hash([Pair("row-1", "问", "s", "t!")]) != data_hash(same[0])
    assert data_hash([Pair("row-1", "问", TokenIds((1,), "s"), "t")]) != data_hash(same[0])


GOOD = {"id": "a", "prompt": "p", "student": "s", "teacher": "t"}
BAD_ROWS = {
    "unknown fields": (
        {"prompt": "p", "left": "s", "right": "t"},
        r"unknown fields prompt, left, right; known pairs are",
    ),
    "no teacher": ({"prompt": "p", "student": "s"}, r"no 'teacher' \(found prompt, student\)"),
    "both null": (GOOD | {"student": None, "teacher": None}, r"no 'student' .*; give the row both sides"),
    "null": (GOOD | {"student": None}, r"no 'student'"),
    "empty": (GOOD | {"student": "  "}, r"'student' is empty"),
    "no prompt": ({"student": "s", "teacher": "t"}, r"no prompt \(found student, teacher\).*fields\.prompt"),
    "an object": (GOOD | {"teacher": {"a": 1}}, r"'teacher' holds .*; every message needs a role and a content"),
    "python repr": (
        GOOD | {"prompt": "[{'role': 'user', 'content': 'p'}]"},
        r"printed form of a list .* the list itself",
    ),
    "array repr": (GOOD | {"prompt": "array([{'content': 'p', 'role': 'user'}], dtype=object)"}, r"printed form"),
    "repr of one message": (GOOD | {"teacher": "{'role': 'assistant', 'content': 't'}"}, r"printed form"),
    "one message in text": (GOOD | {"teacher": '{"from": "gpt", "value": "t"}'}, r"printed form"),
    "json in text": (GOOD | {"prompt": '[{"role": "user", "content": "p"}]'}, r"printed form"),
    "repr in a message": (GOOD | {"prompt": [{"role": "user", "content": "[{'role': 'x'"}]}, r"printed form"),
    "message without content": (GOOD | {"prompt": [{"role": "user"}]}, r"every message needs a role and a content"),
    "negative id": (GOOD | {"student_ids": [1, -2]}, r"'student_ids' must be a list of token ids .*; entry 2 is '-2'"),
    "not a number": (GOOD | {"student": [1, float("nan")]}, r"'student' must be a list of token ids .* 2 is 'nan'"),
    "true for an id": (GOOD | {"student": [True]}, r"'student' must be a list of token ids"),
    "text for ids": (GOOD | {"student_ids": "1 2"}, r"'student_ids' must be a list of token ids"),
    "no ids": (GOOD | {"student_ids": []}, r"'student_ids' must be a list of token ids"),
    "surrogate": (GOOD | {"student": "\ud800"}, r"'student' holds a lone surrogate"),
    "surrogate in the id": (GOOD | {"id": "\ud800"}, r"'id' holds a lone surrogate"),
    "escape in a field": ({"\x1b[2J" + "x" * 99: 1}, r"unknown fields \\x1b\[2Jx+\.\.\.; known"),
    "id of a list": (GOOD | {"id": ["a"]}, r"'id' is .*; it must be text or a whole number"),
    "not an object": ([1], r"'\[1\]' is not an object with named fields; write one"),
    "side that ends in a question": (
        GOOD | {"student": [USER]},
        r"'student' ends in a message of role 'user'; its last message must be the assistant's answer",
    ),
    "prompt that the sides do not share": (
        {
            "prompt": "other",
            "chosen": [USER, {"role": "assistant", "content": "t"}],
            "rejected": [USER, {"role": "assistant", "content": "s"}],
        },
        r"'prompt' is not what 'rejected' and 'chosen' say before their last message; make them equal",
    ),
    "sides of two prompts": (
        {
            "chosen": [USER, {"role": "assistant", "content": "t"}],
            "rejected": [{"role": "user", "content": "other"}, {"role": "assistant", "content": "s"}],
        },
        r"'rejected' and 'chosen' differ before their last message",
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_with_its_cure(tmp_path, name):
    row, message = BAD_ROWS[name]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(["", json.dumps(GOOD | {"id": "first"}), json.dumps(row)]))
    with pytest.raises(CriticProbeError, match=rf"x\.jsonl row 2 \(line 3\): .*{message}") as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value)


BAD_FILES = {
    "duplicate id": ("x.json", json.dumps([GOOD, GOOD]).encode(), r"x\.json row 2: id 'a' is already that of row 1"),
    "long id": (
        "x.json",
        json.dumps([GOOD | {"id": "x" * 999}] * 2).encode(),
        r"x\.json row 2: id 'x{40}\.\.\.' is already that of row 1; make ids unique",
    ),
    "huge number": ("x.jsonl", b'{"a": ' + b"1" * 5000 + b"}", r"row 1: holds an integer of thousands of digits"),
    "bad json line": ("x.jsonl", json.dumps(GOOD).encode() + b"\n{oops\n", r"row 2: not valid JSON \(.*column 2\)"),
    "bad json": ("x.json", b"[{]", r"x\.json: not valid JSON"),
    "deep json": ("x.json", b"[" * 100_000, r"x\.json: not valid JSON \(nested deeper than 100\)"),
    "key twice": (
        "x.jsonl",
        b'{"prompt": "p", "student": "s", "student": "t"}',
        r"row 1: names 'student' twice in one object",
    ),
    "deep json line": ("x.jsonl", b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", r"row 1: nested deeper than 100"),
    "no list": ("x.json", b"{}", r"holds no list of rows"),
    "invalid utf-8": (
        "x.jsonl",
        b'\n{"b": "\xff"}',
        r"x\.jsonl line 2: not valid UTF-8 \(byte 0xff at offset 8\)",
    ),
    "empty jsonl": ("x.jsonl", b"\n \n", r"x\.jsonl: no rows, the file is empty"),
    "empty json": ("x.json", b"[]", r"no rows"),
    "empty csv": ("x.csv", b"", r"no rows"),
    "header only": ("x.csv", b"prompt,student,teacher\n", r"no rows"),
    "ragged csv": ("x.csv", b"prompt,student,teacher\np,s,t,u\n", r"x\.csv row 1: 4 cells under 3 columns"),
    "column twice": ("x.csv", b"prompt,student,student\np,s,t\n", r"names a column twice"),
    "open quote": ("x.csv", b'prompt,student,teacher\np,s,"t\n', r"x\.csv line \d: not valid CSV"),
    "not parquet": ("x.parquet", b"PAR1 no", r"x\.parquet: not a readable Parquet file"),
    "suffix": (
        "x.txt",
        b"x",
        r"x\.txt: cannot tell its format from '\.txt'; name it \.jsonl, \.json, \.csv, \.tsv, \.parquet, \.arrow",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_with_its_cure(tmp_path, name):
    file, content, message = BAD_FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CriticProbeError, match=message) as caught:
        read_pairs(tmp_path / file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory(tmp_path):
    with pytest.raises(CriticProbeError, match="no such file; check the path"):
        read_pairs(tmp_path / "x.jsonl")
    with pytest.raises(CriticProbeError, match="a directory, not a file of pairs; name a file in it"):
        read_pairs(tmp_path)
    with pytest.raises(CriticProbeError, match=r"cannot be read \(File name too long\); check the path"):
        read_pairs(tmp_path / ("x" * 999 + ".jsonl"))


def test_parquet_text_that_is_not_utf8(tmp_path):
    offsets = pa.array([0, 1], pa.int32()).buffers()[1]
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])
    pq.write_table(pa.table({"prompt": text}), tmp_path / "x.parquet")
    with pytest.raises(CriticProbeError, match=r"x\.parquet: not a readable Parquet file \(.*\); write it anew"):
        read_pairs(tmp_path / "x.parquet")


def test_the_rows_of_a_data_frame_are_those_of_its_file(tmp_path):
    call = {"function": {"name": "weather", "arguments": '{"days": [1, 2]}'}}
    rows = [
        {"id": 7, "prompt": [SYSTEM | {"content": "Be brief."}, USER], "student": "s", "student_ids": [1, 2],
         "teacher": "t", "teacher_ids": [3], "tools": [{"type": "function", "function": call["function"]}]},
        {"id": 8, "prompt": [USER, {"role": "assistant", "content": "", "tool_calls": [call]},
                             {"role": "tool", "content": "mild", "score": 0.5}, USER],
         "student": "s", "teacher": "t", "category": "tools", "length": 4},
    ]  # fmt: skip
    file = tmp_path / "pairs.parquet"
    names = {**rows[0], **rows[1]}
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), file)
    held = as_pairs(pd.read_parquet(file).to_dict("records"))
    assert [*held] == read_pairs(file)
    assert held.hash == data_hash(read_pairs(file))
    first, second = held
    assert (first.id, first.student, first.category) == ("7", TokenIds((1, 2), "s"), "")
    assert first.arguments["tools"][0]["function"]["name"] == "weather"
    assert (second.prompt[1]["tool_calls"][0]["function"], second.prompt[2]["score"]) == (call["function"], 0.5)
    [numbers] = as_pairs([{"prompt": "p", "student_ids": np.array([1, 2]), "teacher_ids": [np.int64(3)]}])
    assert (numbers.student, numbers.teacher) == (TokenIds((1, 2)), TokenIds((3,)))
    [gaps] = as_pairs(
        [{"prompt": [USER | {"name": np.nan}], "student": "s", "teacher": np.str_("t"), "category": np.nan}]
    )
    [none] = as_pairs([{"prompt": [USER | {"name": None}], "student": "s", "teacher": "t"}])
    assert gaps == none


def said_at(day):
    """A row of WildChat's layout: every message with the time at which it was said."""
    time = datetime.datetime(2024, 7, day, tzinfo=datetime.UTC)
    return {"prompt": [{**USER, "timestamp": time}], "chosen": "t", "rejected": "s"}


def test_messages_that_hold_a_time(tmp_path):
    files = []
    for day in (1, 1, 2):
        files.append(tmp_path / f"{len(files)}.parquet")
        pq.write_table(pa.Table.from_pylist([said_at(day)]), files[-1])
    one, same, other = ([data_hash(read_pairs(file)), prompt_hash(*read_pairs(file))] for file in files)
    assert one == same
    assert not set(one) & set(other)


def test_equal_sides_are_a_pair(tmp_path):
    [pair] = read_pairs(write(tmp_path / "x.jsonl", [{"prompt": "p", "student": "s", "teacher": "s"}]))
    assert pair.student == pair.teacher


def test_an_empty_parquet_table_is_an_empty_file(tmp_path):
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "x.parquet")
    with pytest.raises(CriticProbeError, match="no rows"):
        read_pairs(tmp_path / "x.parquet")


def test_two_pairs_of_sides_in_a_row_are_refused_unless_they_are_named(tmp_path):
    """Such as names of models under `student` and `teacher`, which would be scored as answers."""
    row = {"prompt": "p", "student": "small", "teacher": "large", "rejected": "No.", "chosen": "Yes."}
    (tmp_path / "p.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(CriticProbeError, match="holds both student/teacher and rejected/chosen; name the sides with"):
        list(read_pairs(tmp_path / "p.jsonl"))
    [pair] = read_pairs(tmp_path / "p.jsonl", fields=Fields(student="rejected", teacher="chosen"))
    assert (pair.student, pair.teacher) == ("No.", "Yes.")
