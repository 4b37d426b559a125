import csv
import json
import sys
from io import BytesIO, TextIOWrapper

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from critic_probe.errors import CriticProbeError
from critic_probe.pairs import Fields, Pair, TokenIds, data_hash, read_pairs

USER = {"role": "user", "content": "问"}
LAYOUTS = {
    "student and teacher": {"prompt": "问", "student": "s", "teacher": "t"},
    "rejected and chosen": {"prompt": "问", "rejected": "s", "chosen": "t"},
    "responses and teacher_response": {"prompt": "问", "responses": "s", "teacher_response": "t"},
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


# A single message is no list, so a CSV cell cannot hold ShareGPT's.
@pytest.mark.parametrize(
    ("layout", "suffix"),
    [
        (layout, suffix)
        for layout in CONVERSATIONS
        for suffix in (".jsonl", ".json", ".csv", ".parquet")
        if (layout, suffix) != ("sharegpt", ".csv")
    ],
)
def test_messages_stay_messages_in_every_format(tmp_path, layout, suffix):
    [pair] = read_pairs(write(tmp_path / f"x{suffix}", [CONVERSATIONS[layout]]))
    prompt = "问" if layout == "reward bench" else (USER,)
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
    assert (pair.student, pair.teacher) == (TokenIds((1, 2), "s"), TokenIds((3, 4)))


def test_names_categories_and_everything_else(tmp_path):
    row = LAYOUTS["student and teacher"]
    rows = [row | {"id": 7, "subset": "math", "note": {"x": 1}}, row]
    first, second = read_pairs(write(tmp_path / "x.jsonl", rows))
    assert (first.id, first.category, first.meta) == ("7", "math", {"note": {"x": 1}})
    assert (second.id, second.category) == ("row-2", "")


def test_fields_can_be_named(tmp_path):
    path = write(tmp_path / "x.csv", [{"q": "p", "a": "s", "b": "t", "student": "not this"}])
    [pair] = read_pairs(path, Fields(prompt="q", student="a", teacher="b"))
    assert (pair.prompt, pair.student, pair.teacher) == ("p", "s", "t")
    with pytest.raises(CriticProbeError, match=r"x\.csv row 1: --teacher-field 'c' is not in the row \(found q, a, b"):
        read_pairs(path, Fields(prompt="q", student="a", teacher="c"))


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
    "null": (GOOD | {"student": None}, r"no 'student'"),
    "empty": (GOOD | {"student": "  "}, r"'student' is empty"),
    "no prompt": ({"student": "s", "teacher": "t"}, r"no prompt \(found student, teacher\).*--prompt-field"),
    "number": (GOOD | {"teacher": 3.5}, r"'teacher' is '3\.5'; it must be text"),
    "python repr": (
        GOOD | {"prompt": "[{'role': 'user', 'content': 'p'}]"},
        r"printed form of a list .* the list itself",
    ),
    "array repr": (GOOD | {"prompt": "array([{'content': 'p', 'role': 'user'}], dtype=object)"}, r"printed form"),
    "json in text": (GOOD | {"prompt": '[{"role": "user", "content": "p"}]'}, r"printed form"),
    "repr in a message": (GOOD | {"prompt": [{"role": "user", "content": "[{'role': 'x'"}]}, r"printed form"),
    "message without content": (GOOD | {"prompt": [{"role": "user"}]}, r"every message needs a role and a content"),
    "negative id": (GOOD | {"student_ids": [1, -2]}, r"'student_ids' must be a list of token ids"),
    "text for ids": (GOOD | {"student_ids": "1 2"}, r"'student_ids' must be a list of token ids"),
    "no ids": (GOOD | {"student_ids": []}, r"'student_ids' must be a list of token ids"),
    "surrogate": (GOOD | {"student": "\ud800"}, r"'student' holds a lone surrogate"),
    "id of a list": (GOOD | {"id": ["a"]}, r"'id' is .*; it must be text or a whole number"),
    "not an object": ([1], r"a list, not an object"),
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
    "bad json line": ("x.jsonl", json.dumps(GOOD).encode() + b"\n{oops\n", r"row 2: not valid JSON \(.*column 2\)"),
    "bad json": ("x.json", b"[{]", r"x\.json: not valid JSON"),
    "deep json": ("x.json", b"[" * 100_000, r"x\.json: not valid JSON \(nested too deeply\)"),
    "no list": ("x.json", b"{}", r"holds no list of rows"),
    "invalid utf-8": (
        "x.jsonl",
        b'{"a": 1}\n{"b": "\xff"}',
        r"x\.jsonl line 2: not valid UTF-8 \(byte 0xff at offset 16\)",
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
        r"x\.txt: cannot tell its format from '\.txt'; name it \.jsonl, \.json, \.csv, \.parquet",
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
    with pytest.raises(CriticProbeError, match="no such file"):
        read_pairs(tmp_path / "x.jsonl")
    with pytest.raises(CriticProbeError, match="a directory"):
        read_pairs(tmp_path)


def test_an_empty_parquet_table_is_an_empty_file(tmp_path):
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "x.parquet")
    with pytest.raises(CriticProbeError, match="no rows"):
        read_pairs(tmp_path / "x.parquet")
