"""Rows of single responses, candidate sets and conversations: what each field becomes, and what is refused."""

import json

import pytest

from critic_probe.errors import CriticProbeError
from critic_probe.pairs import CandidateFile, Candidates, Fields, Pair, PairFile, TokenIds, Turns, data_hash

ASKED = "What boils water?"
USER = {"role": "user", "content": ASKED}
ANSWER = {"role": "assistant", "content": "A kettle."}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "boil"}}]}
RESULT = {"role": "tool", "content": "It boils."}
TWO = ["A kettle.", "An oven."]


def read(tmp_path, *rows, name="x.jsonl", **options):
    path = tmp_path / name
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) if name != "x.csv" else rows[0]
    path.write_text(text, encoding="utf-8")
    return CandidateFile(path, **options)


ALONE = {
    "prompt and response": ({"prompt": ASKED, "response": "A kettle."}, ASKED),
    "prompt and completion": ({"prompt": [USER], "completion": [ANSWER]}, (USER,)),
    "Alpaca": ({"instruction": ASKED, "input": "", "output": "A kettle."}, ASKED),
    "question and answer": ({"question": ASKED, "answer": "A kettle."}, ASKED),
    "a conversation": ({"messages": [USER, ANSWER]}, (USER,)),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "A kettle."}]},
        (USER,),
    ),
    "messages beside a prompt that they repeat": ({"prompt": ASKED, "messages": [USER, ANSWER]}, ASKED),
    "a transcript": ({"response": f"\n\nHuman: {ASKED}\n\nAssistant:A kettle."}, f"\n\nHuman: {ASKED}\n\nAssistant:"),
    "a teacher's name in a column of its own": ({"prompt": ASKED, "response": "A kettle.", "model": "x"}, ASKED),
}


@pytest.mark.parametrize("layout", ALONE)
def test_a_response_alone_is_read(tmp_path, layout):
    row, prompt = ALONE[layout]
    [one] = read(tmp_path, row)
    assert isinstance(one, Candidates)
    assert (one.id, one.prompt, one.responses, one.names) == ("row-1", prompt, ("A kettle.",), ("response",))
    assert (one.labels, one.decoded) == ((), False)


def test_what_follows_the_last_users_turn_is_the_response(tmp_path):
    [one] = read(tmp_path, {"messages": [USER, CALL, RESULT, ANSWER]})
    assert one.prompt == (USER,)
    assert isinstance(one.responses[0], Turns)
    assert [turn["role"] for turn in one.responses[0].messages] == ["assistant", "tool", "assistant"]


def test_ids_alone_and_in_a_set(tmp_path):
    one, several = read(
        tmp_path, {"prompt": ASKED, "response_ids": [5, 9]}, {"prompt": ASKED, "responses": [[5, 9], [7]]}
    )
    assert one.responses == (TokenIds((5, 9)),)
    assert several.responses == (TokenIds((5, 9)), TokenIds((7,)))


SETS = {
    "without ranks": {"responses": TWO},
    "of one rank": {"responses": TWO, "ranks": [1, 1]},
    "answers without ranks": {"answers": [{"answer": text} for text in TWO]},
    "of conversations": {"responses": [[{"role": "assistant", "content": text}] for text in TWO]},
}


@pytest.mark.parametrize("layout", SETS)
def test_a_set_is_read_whole(tmp_path, layout):
    [one] = read(tmp_path, {"id": "a", "prompt": [USER], "category": "kitchen"} | SETS[layout])
    assert (one.id, one.responses, one.names, one.category) == ("a", tuple(TWO), ("1", "2"), "kitchen")


def test_rows_of_sides_are_the_pairs_that_compare_reads(tmp_path):
    rows = (
        {"prompt": ASKED, "student": "An oven.", "teacher": "A kettle.", "label": 7},
        {"prompt": ASKED, "chosen": TWO, "rejected": ["A fridge."], "id": "x"},
        {"prompt": ASKED, "responses": ["c", "a", "b"], "ranks": [3, 1, 2]},
    )
    found = list(read(tmp_path, *rows))
    assert found == list(PairFile(tmp_path / "x.jsonl"))
    assert all(isinstance(pair, Pair) for pair in found)
    assert [(p.row, p.called, p.ranks) for p in found[1:4]] == [
        ("x", ("r1", "c1"), ()),
        ("x", ("r1", "c2"), ()),
        ("row-3", ("1", "2"), (3, 1)),
    ]
    assert data_hash(found) == CandidateFile(tmp_path / "x.jsonl").hash == PairFile(tmp_path / "x.jsonl").hash


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"responses": TWO, "labels": [True, False]}, (1.0, 0.0)),
        ({"responses": TWO, "labels": [0.5, 3]}, (0.5, 3.0)),
        ({"response": "x", "label": True}, (1.0,)),
        ({"response": "x", "correct": 0}, (0.0,)),
        ({"response": "x", "label": "kitchen"}, ()),
        ({"responses": TWO, "label": 1}, ()),
    ],
)
def test_labels_in_use(tmp_path, given, labels):
    [one] = read(tmp_path, {"prompt": ASKED} | given)
    assert one.labels == labels
    assert ("label" in one.meta) == ("label" in given and not labels)


def test_labels_of_a_csv_and_by_name(tmp_path):
    text = "prompt,response,good\na,b,true\nc,d,0.25\n"
    found = read(tmp_path, text, name="x.csv", fields=Fields(label="good"))
    assert [one.labels for one in found] == [(1.0,), (0.25,)]
    with pytest.raises(CriticProbeError, match=r"row 1: 'good' is 'maybe'; it must be a number or a truth value"):
        read(tmp_path, "prompt,response,good\na,b,maybe\n", name="x.csv", fields=Fields(label="good"))
    row = {"prompt": ASKED, "responses": TWO, "good": [1]}
    with pytest.raises(CriticProbeError, match=r"'good' is '\[1\]'; .* for each response, 2 here"):
        read(tmp_path, row, fields=Fields(label="good"))


def test_another_field_of_responses(tmp_path):
    steps = {"prompt": ASKED, "completions": TWO, "chosen": "no side where the response is named"}
    [one] = read(tmp_path, steps, fields=Fields(response="completions"))
    assert one.responses == tuple(TWO)
    with pytest.raises(CriticProbeError, match=r"fields\.response 'text' is not in the row"):
        read(tmp_path, steps, fields=Fields(response="text"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": ASKED}, r"no response \(found prompt\); known are .* name its field with fields\.response"),
        ({"prompt": ASKED, "completions": TWO}, "no response"),  # steps of one, or responses: the user must say
        ({"messages": [USER]}, "no response"),
        ({"prompt": ASKED, "chosen": "A kettle."}, "no 'rejected'"),
        ({"prompt": ASKED, "response": ""}, "'response' is empty"),
        ({"prompt": ASKED, "responses": ["a", ""]}, r"'responses\[2\]' is empty"),
        ({"prompt": ASKED, "response": "x", "context": "The kitchen."}, "'context' could be part of the input"),
        ({"prompt": ASKED, "response": "x", "images": ["a.png"]}, "this tool reads text"),
        ({"response": "x"}, "no prompt"),
        ({"prompt": ASKED, "responses": TWO, "ranks": [1]}, "'ranks' is .* it must be 2 numbers"),
        ({"prompt": ASKED, "responses": TWO, "response_ids": [[1], [2]]}, "stands beside a list of answers"),
    ],
)
def test_what_is_no_response_is_refused(tmp_path, row, message):
    with pytest.raises(CriticProbeError, match=message):
        read(tmp_path, row)


def test_a_second_field_that_could_be_the_response_is_told(tmp_path):
    row = {"prompt": ASKED, "answer": "A fire.", "completion": "A kettle."}
    found = read(tmp_path, row)
    assert [one.responses for one in found] == [("A kettle.",)]
    [notice] = found.notices
    assert (notice.code, notice.ids) == ("other-response", ["row-1"])
    assert read(tmp_path, row, fields=Fields(response="answer")).notices == []


@pytest.mark.parametrize(
    ("row", "decoded"),
    [
        ({"input": "user\nHi\nassistant\n", "output": "x", "gts": "y", "score": 1, "step": 3}, True),
        ({"prompt": "user\nHi\nassistant\n", "completion": "x", "advantage": 0.5, "step": 3}, True),
        ({"input": "Hi", "output": "x"}, False),
        ({"prompt": [USER], "completion": [ANSWER], "advantage": 0.5}, False),
    ],
)
def test_a_rollout_dump_is_known_by_its_fields(tmp_path, row, decoded):
    [one] = read(tmp_path, row)
    assert one.decoded == decoded
    assert one.responses == ("x" if isinstance(row.get("completion", row.get("output")), str) else "A kettle.",)
    if name := next((name for name in ("input", "prompt") if isinstance(row.get(name), str)), None):
        [named] = read(tmp_path, row, fields=Fields(prompt=name))
        assert not named.decoded


def test_a_label_that_is_no_number_is_told(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "p", "responses": ["a", "b"], "labels": [1, NaN]}\n')
    with pytest.raises(CriticProbeError, match=r"'labels' is .*; every label must be a finite number"):
        list(CandidateFile(path))
