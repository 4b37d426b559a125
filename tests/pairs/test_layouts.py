"""Layouts of public preference sets: what each row's fields become, and what has no place."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from critic_probe.errors import CriticProbeError
from critic_probe.pairs import BadRowError, Fields, PairFile, TokenIds, Turns, data_hash
from critic_probe.pairs.rows import to_pairs

ASKED = "What boils water?"
USER = {"role": "user", "content": ASKED}
SYSTEM = {"role": "system", "content": "Be brief."}
SIDES = {"chosen": "A kettle.", "rejected": "An oven."}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Lisbon"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def turn(content, role="assistant", **more):
    return {"role": role, "content": content, **more}


def read(tmp_path, *rows, name="x.jsonl", **options):
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return PairFile(path, **options)


PROMPTS = {
    "Alpaca": ({"instruction": "Name it.", "input": "The river runs."}, "Name it.\nThe river runs."),
    "Alpaca without input": ({"instruction": "Name it.", "input": ""}, "Name it."),
    "a system column": ({"system": "Be brief.", "question": ASKED}, (SYSTEM, USER)),
    "an empty system column": ({"system": "", "question": ASKED}, ASKED),
    "system beside ShareGPT": (
        {"system": "Be brief.", "conversations": [{"from": "human", "value": ASKED}]},
        (SYSTEM, USER),
    ),
    "the same system twice": ({"system": "Be brief.", "prompt": [SYSTEM, USER]}, (SYSTEM, USER)),
    "history": (
        {"history": [["Hi?", "Hello."]], "query": ASKED, "system": "Be brief."},
        (SYSTEM, turn("Hi?", "user"), turn("Hello."), USER),
    ),
    "no history": ({"history": [], "query": ASKED}, ASKED),
    "history of messages": ({"history": [turn("Hi?", "user"), turn("Hello.")], "query": ASKED},
                            (turn("Hi?", "user"), turn("Hello."), USER)),
    "a dictionary of lists": ({"prompt": {"role": ["system", "user"], "content": ["Be brief.", ASKED]}},
                              (SYSTEM, USER)),
    "a prefill": ({"prompt": [USER, turn("It is ")]}, (USER, turn("It is "))),
    "text in parts": (
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]},
        ({"role": "user", "content": [{"type": "text", "text": ASKED}]},),
    ),
    "what the prompt says already": ({"prompt": ASKED, "question": "boils water", "messages": [USER]}, ASKED),
}  # fmt: skip


@pytest.mark.parametrize("layout", PROMPTS)
def test_what_is_input_is_joined_to_the_prompt(tmp_path, layout):
    row, prompt = PROMPTS[layout]
    [pair] = read(tmp_path, row | SIDES)
    assert (pair.prompt, pair.student, pair.teacher) == (prompt, "An oven.", "A kettle.")


@pytest.mark.parametrize("layout", ["Alpaca", "a system column", "history", "system beside ShareGPT"])
def test_named_fields_are_joined_as_known_ones_are(tmp_path, layout):
    row, prompt = PROMPTS[layout]
    name = next(n for n in ("instruction", "question", "query", "conversations") if n in row)
    named = row | {"good": "A kettle.", "bad": "An oven."}
    [pair] = read(tmp_path, named, fields=Fields(prompt=name, student="bad", teacher="good"))
    assert (pair.prompt, pair.student, pair.teacher) == (prompt, "An oven.", "A kettle.")


def test_two_systems_are_refused(tmp_path):
    for row in ({"system": "Be long.", "prompt": [SYSTEM, USER]}, {"system": "a", "system_prompt": "b", "prompt": "p"}):
        with pytest.raises(CriticProbeError, match=r"'system.*' is .*system.*fields\.ignore"):
            read(tmp_path, row | SIDES)


@pytest.mark.parametrize(
    "field",
    [
        {"input": "The river."},
        {"context": "The river."},
        {"question": "What else?"},
        {"few_shot": [USER, turn("x")]},
        {"examples": [turn("Hi?", "user"), turn("Hello.")]},
        {"documents": ["A text."]},
        {"system": [SYSTEM]},
        {"history": "Hi?"},
        {"context": {"title": "T", "text": ["The river."]}},
    ],
)
def test_what_could_be_input_and_has_no_place_is_refused_by_name(tmp_path, field):
    [name] = field
    with pytest.raises(CriticProbeError, match=rf"row 1: '{name}' could be part .* with fields\.ignore {name}$"):
        read(tmp_path, {"prompt": ASKED} | SIDES | field)
    pairs = read(tmp_path, {"prompt": ASKED} | SIDES | field, fields=Fields(ignore=(name,)))
    [pair] = pairs
    assert (pair.prompt, pair.meta) == (ASKED, {})
    assert [(n.code, n.message) for n in pairs.notices] == [("ignored-field", f"'{name}' was let go in one row")]


def test_a_field_to_ignore_must_be_there(tmp_path):
    with pytest.raises(CriticProbeError, match=r"x\.jsonl: fields\.ignore 'imges' is in no row"):
        read(tmp_path, {"prompt": ASKED} | SIDES, fields=Fields(ignore=("imges",)))


@pytest.mark.parametrize(
    "field", [{"images": ["a.png"]}, {"videos": ["a.mp4"]}, {"audio": "a.wav"}, {"image": {"bytes": "x"}}]
)
def test_what_is_no_text_is_refused(tmp_path, field):
    [name] = field
    with pytest.raises(CriticProbeError, match=rf"row 1: '{name}' is not empty, and this tool reads text"):
        read(tmp_path, {"prompt": ASKED} | SIDES | field)
    [pair] = read(tmp_path, {"prompt": ASKED} | SIDES | {name: []})
    assert pair.prompt == ASKED


def test_an_image_inside_a_message_is_refused(tmp_path):
    parts = [{"type": "image", "image": "a.png"}, {"type": "text", "text": ASKED}]
    with pytest.raises(CriticProbeError, match="'prompt' holds a part of type 'image'; this tool reads text"):
        read(tmp_path, {"prompt": [turn(parts, "user")]} | SIDES)


@pytest.mark.parametrize("given", [[TOOL], json.dumps([TOOL])])
def test_what_the_template_takes_beside_messages(tmp_path, given):
    row = {"prompt": [USER], "tools": given, "documents": [{"title": "a", "text": "b"}],
           "chat_template_kwargs": {"enable_thinking": False}}  # fmt: skip
    [pair] = read(tmp_path, row | SIDES)
    assert pair.arguments == {"tools": [TOOL], "documents": [{"title": "a", "text": "b"}], "enable_thinking": False}
    assert pair.meta == {}
    [plain] = read(tmp_path, {"prompt": [USER]} | SIDES)
    assert data_hash([pair]) != data_hash([plain])


@pytest.mark.parametrize(
    ("field", "value"),
    [("tools", "weather"), ("tools", {"name": "x"}), ("chat_template_kwargs", [1]), ("chat_template_kwargs", "x"),
     ("chat_template_kwargs", {"tokenize": True}), ("chat_template_kwargs", {"messages": []})],
)  # fmt: skip
def test_arguments_that_no_template_takes(tmp_path, field, value):
    with pytest.raises(CriticProbeError, match=f"row 1: '{field}' is .*; it must be"):
        read(tmp_path, {"prompt": [USER], field: value} | SIDES)


def test_messages_keep_what_a_template_can_use(tmp_path):
    turns = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."},
        {"role": "tool", "content": "mild", "tool_call_id": "1", "name": "weather"},
    ]
    [pair] = read(tmp_path, {"prompt": turns} | SIDES)
    assert pair.prompt == (
        USER,
        {"role": "assistant", "tool_calls": [CALL], "reasoning_content": "Hm."},
        {"role": "tool", "content": "mild", "tool_call_id": "1", "name": "weather"},
    )


@pytest.mark.parametrize(
    "answer",
    [
        [turn("Let me look.", tool_calls=[CALL])],
        [turn(None, tool_calls=[CALL])],
        [turn("A kettle.", reasoning_content="Ovens bake.")],
        [turn("One moment."), {"role": "tool", "content": "mild"}, turn("It is mild.")],
    ],
)
def test_an_answer_that_is_more_than_a_text_stays_turns(tmp_path, answer):
    [pair] = read(tmp_path, {"prompt": [USER], "chosen": answer, "rejected": [turn("One moment.")]})
    assert pair.teacher == Turns(tuple({k: v for k, v in t.items() if v is not None} for t in answer))
    assert pair.student == "One moment."


@pytest.mark.parametrize(
    ("role", "known"),
    [("human", "user"), ("Human", "user"), ("prompter", "user"), ("User", "user"), ("observation", "tool"),
     ("tool_response", "tool"), ("ipython", "ipython"), ("developer", "developer"), ("gpt", "assistant"),
     ("Assistant", "assistant"), ("bot", "assistant"), ("model", "assistant")],
)  # fmt: skip
def test_roles_by_every_name(tmp_path, role, known):
    [pair] = read(tmp_path, {"conversations": [{"from": role, "value": "x"}, USER]} | SIDES)
    assert pair.prompt[0] == turn("x", known)


def test_a_call_by_role_is_an_assistants_tool_call(tmp_path):
    call = {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Lisbon"}})}
    turns = [{"from": "human", "value": "Weather?"}, call, {"from": "observation", "value": "mild"}]
    [pair] = read(tmp_path, {"conversations": turns} | SIDES)
    assert pair.prompt == (turn("Weather?", "user"), turn("", tool_calls=[CALL]), turn("mild", "tool"))
    with pytest.raises(CriticProbeError, match="'conversations' holds a call 'weather'; write it as JSON with a name"):
        read(tmp_path, {"conversations": [turns[0], call | {"value": "weather"}, turns[2]]} | SIDES)


def test_tool_calls_are_a_list_of_objects_or_its_json(tmp_path):
    turns = [USER, turn("", tool_calls=json.dumps([CALL])), turn("mild", "tool")]
    [pair] = read(tmp_path, {"prompt": turns} | SIDES)
    assert pair.prompt[1]["tool_calls"] == [CALL]
    with pytest.raises(CriticProbeError, match="'prompt' holds tool_calls 'weather'; they must be a list of objects"):
        read(tmp_path, {"prompt": [USER, turn("", tool_calls="weather"), USER]} | SIDES)


def test_an_unknown_role_lists_the_known(tmp_path):
    with pytest.raises(CriticProbeError, match=r"holds a message of role 'critic'; known roles are system, .*human, "):
        read(tmp_path, {"prompt": [turn("x", "critic")]} | SIDES)


def test_messages_that_end_in_one_of_the_answers(tmp_path):
    rows = [
        {"messages": [USER, turn("A kettle.")], "chosen": [USER, turn("A kettle.")], "rejected": [USER, turn("Oven")]},
        {"prompt": [USER, turn("Oven")], "chosen": [turn("A kettle.")], "rejected": [turn("Oven")]},
        {"prompt": [USER, turn("A kettle.")], "chosen": "A kettle.", "rejected": "Oven"},
    ]
    pairs = read(tmp_path, *rows)
    assert [pair.prompt for pair in pairs] == [(USER,)] * 3
    [notice] = pairs.notices
    assert (notice.code, notice.ids) == ("answer-in-prompt", ["row-1", "row-2", "row-3"])


def test_transcripts_are_cut_after_the_last_turn_that_both_open(tmp_path):
    lead = "\n\nHuman: Hi?\n\nAssistant: Hello.\n\nHuman: What boils water?\n\nAssistant:"
    [pair] = read(tmp_path, {"chosen": lead + " A kettle.", "rejected": lead + " An oven."})
    assert (pair.prompt, pair.student, pair.teacher) == (lead, " An oven.", " A kettle.")
    with pytest.raises(CriticProbeError, match="'rejected' is empty"):
        read(tmp_path, {"chosen": lead + " A kettle.", "rejected": lead + " "})
    with pytest.raises(CriticProbeError, match="no prompt"):
        read(tmp_path, {"chosen": "Q? A kettle.", "rejected": "Q? An oven."})


def test_whole_conversations_are_cut_where_they_part(tmp_path):
    lead = [USER, turn("Water?"), turn("Yes.", "user")]
    sides = {"chosen": [*lead, turn("A kettle.")], "rejected": [*lead, turn("Well."), USER, turn("An oven.")]}
    [pair] = read(tmp_path, sides)
    assert (pair.prompt, pair.teacher) == (tuple(lead), "A kettle.")
    assert pair.student == Turns((turn("Well."), USER, turn("An oven.")))


LISTS = {
    "RewardBench 2": {"prompt": ASKED, "chosen": ["A kettle."], "rejected": ["An oven.", "A pan."]},
    "one text a side": {"prompt": ASKED, "chosen": "A kettle.", "rejected": ["An oven.", "A pan."]},
    "ms-swift": {"messages": [USER, turn("A kettle.")], "rejected_response": ["An oven.", "A pan."]},
}


@pytest.mark.parametrize("layout", LISTS)
def test_every_chosen_against_every_rejected(tmp_path, layout):
    pairs = list(read(tmp_path, {"id": 4} | LISTS[layout]))
    assert [pair.id for pair in pairs] == ["4/c1>r1", "4/c1>r2"]
    assert [(pair.student, pair.teacher) for pair in pairs] == [("An oven.", "A kettle."), ("A pan.", "A kettle.")]
    assert {str(pair.prompt) for pair in pairs} <= {ASKED, str((USER,))}


def test_three_against_three_under_any_names(tmp_path):
    row = {"q": ASKED, "good": ["a", "b", "c"], "bad": ["d", "e", "f"]}
    pairs = list(read(tmp_path, row, fields=Fields(prompt="q", student="bad", teacher="good")))
    assert [pair.id for pair in pairs] == [f"row-1/c{c}>r{r}" for c in (1, 2, 3) for r in (1, 2, 3)]
    assert [(pair.teacher, pair.student) for pair in pairs] == [(c, r) for c in "abc" for r in "def"]


OTHERS = {
    "PKU": {"prompt": ASKED, "response_0": "A kettle.", "response_1": "An oven.", "better_response_id": 0,
            "safer_response_id": 1},
    "PKU, the other way": {"prompt": ASKED, "response_0": "An oven.", "response_1": "A kettle.",
                           "better_response_id": 1},
    "ms-swift with a text": {"messages": [USER, turn("A kettle.")], "rejected_response": "An oven."},
    "ms-swift with messages": {"messages": [USER, turn("A kettle.")],
                               "rejected_messages": [USER, turn("An oven.")]},
    "ms-swift, older": {"query": ASKED, "response": "A kettle.", "rejected_response": "An oven."},
    "UltraFeedback": {"prompt": ASKED, "prompt_id": "ab", "messages": [USER, turn("A kettle.")], "score_chosen": 8.5,
                      "chosen": [USER, turn("A kettle.")], "rejected": [USER, turn("An oven.")], "score_rejected": 3.0},
}  # fmt: skip


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
@pytest.mark.parametrize("layout", OTHERS)
def test_more_layouts_without_flags(tmp_path, layout, name):
    [pair] = read(tmp_path, OTHERS[layout], name=name)
    assert (pair.student, pair.teacher) == ("An oven.", "A kettle.")
    assert pair.prompt in (ASKED, (USER,))


def test_pku_without_a_better_one(tmp_path):
    row = OTHERS["PKU"] | {"better_response_id": None}
    with pytest.raises(CriticProbeError, match="'better_response_id' is 'None'; it must be 0 or 1"):
        read(tmp_path, row)


def test_nectars_answers_by_rank(tmp_path):
    answers = [{"answer": text, "model": "m", "rank": rank} for text, rank in (("b", 2.0), ("a", 1.0), ("c", 2.0))]
    pairs = list(read(tmp_path, {"id": "n", "prompt": ASKED, "answers": answers}))
    assert [(pair.id, pair.student, pair.teacher) for pair in pairs] == [("n/2>1", "b", "a"), ("n/2>3", "c", "a")]


def test_arrows_null_twin_keys(tmp_path):
    turns = [
        [{"role": "user", "content": ASKED, "from": None, "value": None}],
        [{"role": None, "content": None, "from": "human", "value": ASKED}],
    ]
    pairs = list(read(tmp_path, *({"prompt": t, "student": None} | SIDES for t in turns), name="x.parquet"))
    assert [(pair.prompt, pair.student) for pair in pairs] == [((USER,), "An oven.")] * 2


def test_arrow_gives_no_call_the_arguments_of_another(tmp_path):
    calls = [turn("x", tool_calls=[{"function": {"name": name, "arguments": {name: "1"}}}]) for name in ("a", "b")]
    pairs = list(read(tmp_path, *({"prompt": [USER, call, USER]} | SIDES for call in calls), name="x.parquet"))
    assert [pair.prompt[1]["tool_calls"][0]["function"]["arguments"] for pair in pairs] == [{"a": "1"}, {"b": "1"}]


@pytest.mark.parametrize(
    ("written", "text"),
    [("2", "2"), ("3.50", "3.50"), ("1e3", "1e3"), ("true", "true"), ("false", "false"), ("0", "0")],
)
def test_numbers_and_booleans_are_the_text_that_the_file_writes(tmp_path, written, text):
    (tmp_path / "x.jsonl").write_text(f'{{"prompt": "1 + 1?", "chosen": {written}, "rejected": 3}}\n')
    [pair] = PairFile(tmp_path / "x.jsonl")
    assert (pair.teacher, pair.student) == (written, "3")


def test_numbers_in_a_table(tmp_path):
    [pair] = read(tmp_path, {"prompt": "1 + 1?", "chosen": 2.5, "rejected": False}, name="x.parquet")
    assert (pair.teacher, pair.student) == ("2.5", "false")


def test_a_missing_number_is_a_missing_side(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"prompt": "1 + 1?", "chosen": NaN, "rejected": 3}\n')
    with pytest.raises(CriticProbeError, match="no 'chosen'"):
        PairFile(tmp_path / "x.jsonl")


def test_ids_beside_several_answers_are_refused(tmp_path):
    with pytest.raises(CriticProbeError, match="'chosen_ids' stands beside a list of answers"):
        read(tmp_path, {"prompt": ASKED, "chosen": ["a", "b"], "rejected": "c", "chosen_ids": [1]})


def test_ids_of_a_csv_stand_in_a_column_of_that_name(tmp_path):
    (tmp_path / "x.csv").write_text('prompt,chosen,rejected,chosen_ids\np,"[0, 1]","[1, 2]","[7, 8]"\n')
    [pair] = PairFile(tmp_path / "x.csv")
    assert (pair.teacher, pair.student) == (TokenIds((7, 8), "[0, 1]"), "[1, 2]")


TEXTS = st.sampled_from(["a", "b c", "", " ", "\n\nHuman: q\n\nAssistant:", "[0, 1]", '[{"role": "user"}]', "\ud800"])
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "tool", "function_call", "x", None]),
        "from": st.sampled_from(["human", "gpt"]),
        "content": TEXTS | st.none() | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS})),
        "value": TEXTS,
        "tool_calls": st.none() | st.just([CALL]) | TEXTS | st.lists(st.integers(0, 9)),
        "reasoning_content": TEXTS,
    },
)
CELLS = TEXTS | st.none() | st.booleans() | st.integers(-1, 9) | st.floats() | MESSAGES | st.lists(MESSAGES | TEXTS)
NAMES = [
    "prompt",
    "messages",
    "instruction",
    "input",
    "system",
    "history",
    "tools",
    "documents",
    "chosen",
    "rejected",
    "student",
    "teacher",
    "student_ids",
    "responses",
    "ranks",
    "answers",
    "response_0",
    "response_1",
    "better_response_id",
    "rejected_response",
    "rejected_messages",
    "images",
    "id",
    "category",
    "context",
]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), CELLS, min_size=2, max_size=6))
def test_any_row_is_pairs_or_a_fault_with_its_kind(row):
    found = []
    try:
        found = list(to_pairs(row, 1, "x row 1", Fields()))
    except BadRowError as error:
        found = [error]
    for entry in found:
        if isinstance(entry, BadRowError):
            assert entry.kind
            assert "\n" not in str(entry)
        else:
            assert data_hash([entry])
            assert all((entry.prompt, entry.student, entry.teacher))
