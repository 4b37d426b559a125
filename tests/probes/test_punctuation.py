import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic_probe.probes import BUILT_IN, Case, Skip, Subject

ALLOWED = {  # what each family may take away and put in its place
    "terminal-swap": {"。，", "．，", ".,", "，。", ",."},
    "terminal-drop": set("。．.！!？?"),
    "terminal-add": set("。."),
    "clause-swap": {"，。", "。，", ",.", ".,"},
    "full-half-width": {"，,", "。.", "．.", "！!", "？?", "：:", "；;", "（(", "）)"}
    | {",，", ".。", "!！", "?？", ":：", ";；", "(（", ")）"},
}
PROTECTED = (
    "3.14",
    "1,000",
    "12:30",
    "2024.01.05",
    "1．5",
    "v1.2.3",
    "https://a.example/b,c?d=1;e",
    "me@a.example",
    "src/main.py",
    "`a, b. c`",
    "```\nf(a, b); g.\n```",
    "$a, b. c$",
    r"\(a, b\)",
    r"\[a, b\]",
    '{"a": 1, "b": "。"}',
    '<a title="x, y. z">',
    "e.g.",
    "Dr.",
    "U.S.",
    "...",
    "……",
    "?!",
    "！！",
)
WORDS = (
    "你好",
    "今天很冷",
    "不",
    "是的",
    "Yes",
    "no",
    "it is",
    "A",
    "42",
    "once",
    "「好」",
    "（见上）",
    '"so"',
    "**b**",
    "😀",
)
MARKS = (
    "，",
    "。",
    "！",
    "？",
    "：",
    "；",
    "．",
    ", ",
    ". ",
    "! ",
    "? ",
    ": ",
    "; ",
    ",",
    ".",
    "\n",
    " ",
    "",
    "”",
    "）",
    ")",
)

prose = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(MARKS))).map(
    lambda parts: "".join(word + mark for word, mark in parts)
)
mixed = st.lists(st.sampled_from(WORDS + MARKS + PROTECTED)).map(" ".join)
noise = st.text(st.sampled_from("。，．.,!！?？:：;；（）()[]{}<>`$\\\"'“”…-*_/@# \n\t\r1２aZ好不"))


def single_mark_edits(text: str) -> list[Case | Skip]:
    """What the families that change one mark make of a response."""
    return [outcome for name in ALLOWED for outcome in BUILT_IN[name].outcomes(Subject(text))]


def shared(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def difference(original: str, edited: str) -> tuple[int, int, str]:
    """The span of the original that differs, and what stands there instead."""
    start = shared(original, edited)
    back = shared(original[start:][::-1], edited[start:][::-1])
    return start, len(original) - back, edited[start : len(edited) - back]


def made(family: str, text: str) -> dict[str, str]:
    """Position -> the edited text, or the reason in angle brackets."""
    return {
        outcome.position: f"<{outcome.reason}>" if isinstance(outcome, Skip) else outcome.text
        for outcome in BUILT_IN[family].outcomes(Subject(text))
    }


@pytest.mark.parametrize(
    ("family", "text", "expected"),
    [
        ("terminal-swap", "天冷。回家。", {"terminal": "天冷。回家，"}),
        ("terminal-swap", "天冷，回家，", {"terminal": "天冷，回家。"}),
        ("terminal-swap", "回家．", {"terminal": "回家，"}),
        ("terminal-swap", "It is cold. Go home.", {"terminal": "It is cold. Go home,"}),
        ("terminal-swap", "Go home,", {"terminal": "Go home."}),
        ("terminal-swap", "他说：“回家。”\n", {"terminal": "他说：“回家，”\n"}),
        ("terminal-swap", "真的吗？", {}),
        ("terminal-swap", "Go home!", {}),
        ("terminal-swap", "回家", {}),
        ("terminal-drop", "天冷。回家。", {"terminal": "天冷。回家"}),
        ("terminal-drop", "真的吗？", {"terminal": "真的吗"}),
        ("terminal-drop", "Is it? Go home!", {"terminal": "Is it? Go home"}),
        ("terminal-drop", 'He said "home." ', {"terminal": 'He said "home" '}),
        ("terminal-drop", "**Go home.**", {"terminal": "**Go home**"}),
        ("terminal-drop", "回家，", {}),
        ("terminal-add", "天冷，回家", {"terminal": "天冷，回家。"}),
        ("terminal-add", "Go home\n", {"terminal": "Go home.\n"}),
        ("terminal-add", "他说“回家”", {"terminal": "他说“回家”。"}),
        ("terminal-add", "共42", {"terminal": "共42。"}),
        ("terminal-add", "It is 42 km", {"terminal": "It is 42 km."}),
        ("terminal-add", "About 42%", {"terminal": "About 42%."}),
        ("terminal-add", "It is 42", {"terminal": "<number>"}),
        ("terminal-add", "Answer:", {"terminal": "<mark run>"}),
        ("terminal-add", "Good luck 😊", {"terminal": "<symbol>"}),
        ("terminal-add", "回家。", {}),
        ("terminal-add", "Go home?", {}),
        ("clause-swap", "外面下着大雨，我们都回家。", {"initial": "外面下着大雨。我们都回家。"}),
        ("clause-swap", "年龄52岁，心率88次。", {"initial": "年龄52岁。心率88次。"}),
        ("clause-swap", "外面下着大雨。我们都回家", {"initial": "外面下着大雨，我们都回家"}),
        (
            "clause-swap",
            "大家都喜欢他，我们去他家，他给我们写信，这是好事。",
            {
                "initial": "大家都喜欢他。我们去他家，他给我们写信，这是好事。",
                "medial": "大家都喜欢他，我们去他家，他给我们写信。这是好事。",
            },
        ),
        ("clause-swap", "It is cold, so we go home.", {"initial": "It is cold. so we go home."}),
        ("clause-swap", "It is cold. We go home.", {"initial": "It is cold, We go home."}),
        ("clause-swap", "so we go,they go\nIt is so.\nOver.", {}),
        ("clause-swap", "外面下着雨。\n我们都回家。", {}),
        ("clause-swap", "**回家。**", {}),
        ("full-half-width", "天冷，回家。", {"initial": "天冷,回家。", "terminal": "天冷，回家."}),
        ("full-half-width", "Cold, go.", {"initial": "Cold， go.", "terminal": "Cold, go。"}),
        ("full-half-width", "天冷．", {"terminal": "天冷."}),
        ("full-half-width", "冷吗？快！", {"initial": "冷吗?快！", "terminal": "冷吗？快!"}),
        ("full-half-width", "结果：冷；饿", {"initial": "结果:冷；饿", "medial": "结果：冷;饿"}),
        (
            "full-half-width",
            "Why? Cold; hungry!",
            {"initial": "Why？ Cold; hungry!", "medial": "Why? Cold； hungry!", "terminal": "Why? Cold; hungry！"},
        ),
        ("full-half-width", "水（纯）冷", {"initial": "水(纯）冷", "medial": "水（纯)冷"}),
        ("full-half-width", "Go (now)", {"initial": "Go （now)", "terminal": "Go (now）"}),
        ("full-half-width", "回家", {}),
    ],
)
def test_each_family_changes_one_mark(family, text, expected):
    assert made(family, text) == expected


@pytest.mark.parametrize("text", ["", " \n", "”）"])
def test_a_response_without_content_is_left_alone(text):
    assert [o for o in single_mark_edits(text) if o.family != "full-half-width"] == []


def test_a_single_closing_mark_has_only_terminal_edits():
    assert {o.position for o in single_mark_edits("回家。")} == {"terminal"}


def test_initial_and_medial_are_the_first_and_the_middle_mark_that_no_guard_covers():
    text = "约3.5米，宽1,000米，高2米，重2克。"
    assert made("full-half-width", text) == {
        "initial": "约3.5米,宽1,000米，高2米，重2克。",
        "medial": "约3.5米，宽1,000米，高2米,重2克。",
        "terminal": "约3.5米，宽1,000米，高2米，重2克.",
    }


def test_a_position_without_a_free_mark_is_skipped_with_the_reason_of_the_mark_it_would_take():
    assert made("full-half-width", "3.14 and 12:30 for e.g. me") == {"initial": "<number>", "medial": "<abbreviation>"}


def test_an_edit_says_what_it_replaces_and_what_is_expected():
    assert single_mark_edits("回家。")[0] == Case(
        "terminal-swap", "punct", "terminal", "invariance", 0, "回家。", "回家，"
    )
    assert single_mark_edits("`x`") == [Skip("terminal-add", "terminal", "code")]


@given(prose | mixed | noise)
def test_an_edit_takes_one_mark_of_its_family_and_leaves_the_rest(text):
    outcomes = single_mark_edits(text)
    assert outcomes == single_mark_edits(text)
    assert len({(o.family, o.position) for o in outcomes}) == len(outcomes)
    for edit in outcomes:
        if isinstance(edit, Skip):
            continue
        start, end, added = difference(text, edit.text)
        assert max(end - start, len(added)) == 1
        # Between equal marks the place is not told apart, and need not be.
        assert text[start:end] + added in ALLOWED[edit.family]


@given(prose | mixed | noise)
def test_positions_stand_in_order_and_only_closers_follow_the_terminal_one(text):
    for name in ALLOWED.keys() - {"terminal-add"}:
        cases = {c.position: c for c in BUILT_IN[name].outcomes(Subject(text)) if isinstance(c, Case)}
        places = {position: difference(text, case.text)[0] for position, case in cases.items()}
        starts = [places[position] for position in ("initial", "medial", "terminal") if position in places]
        assert starts == sorted(starts)
        if "terminal" in places:
            assert not any(char.isalnum() for char in text[places["terminal"] + 1 :])


@given(st.lists(st.sampled_from(WORDS + PROTECTED + ("，", "。", ", so", ". So"))).map(" ".join))
def test_what_is_protected_survives(text):
    for edit in single_mark_edits(text):
        if isinstance(edit, Case):
            edited = edit.text
            assert {span: edited.count(span) for span in PROTECTED} == {span: text.count(span) for span in PROTECTED}
