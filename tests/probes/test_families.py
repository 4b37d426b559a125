"""Every family in Chinese and English, and what it may touch."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic_probe.errors import CriticProbeError
from critic_probe.probes import BUILT_IN, Case, Skip, Subject, all_families, choose, outcomes, with_ending_of

LONG_ZH = "天气很冷，我们回家。晚饭有米饭、青菜、豆腐和鱼。"
LONG_EN = "It is cold, so we go home. Dinner is rice, greens, tofu and fish."


def made(family, text, **context):
    """Position -> the edited texts, or the reasons in angle brackets; one alone stands without its list."""
    found = {}
    for outcome in BUILT_IN[family].outcomes(Subject(text, **context)):
        shown = f"<{outcome.reason}>" if isinstance(outcome, Skip) else outcome.text
        found.setdefault(outcome.position, []).append(shown)
    return {position: texts[0] if len(texts) == 1 else texts for position, texts in found.items()}


@pytest.mark.parametrize(
    ("family", "text", "expected"),
    [
        ("terminal-tone", "真的吗？", {"terminal": "真的吗。"}),
        ("terminal-tone", "Go home!", {"terminal": "Go home."}),
        ("terminal-tone", "回家。", {}),
        ("terminal-repeat", "回家。", {"terminal": "回家。。"}),
        ("terminal-repeat", "Go home!", {"terminal": "Go home!!"}),
        ("terminal-repeat", "Wait...", {"terminal": "<ellipsis>"}),
        ("semicolon-swap", "外面下着大雨，我们回家。", {"initial": "外面下着大雨；我们回家。"}),
        ("semicolon-swap", "It is cold; so we go home.", {"initial": "It is cold, so we go home."}),
        ("list-mark", "有米饭、青菜和鱼", {"initial": "有米饭，青菜和鱼"}),
        ("list-mark", "Rice, greens", {}),
        ("quote-style", "他说“好”。", {"initial": '他说"好"。'}),
        ("quote-style", "他说「好」。", {"initial": "他说“好”。"}),
        ("quote-style", 'He said "go".', {"initial": "He said “go”."}),
        ("quote-style", '{"a": "b"}', {"initial": "<json>", "medial": "<json>"}),
        ("wrap-quotes", "回家。", {"whole": "“回家。”"}),
        ("wrap-quotes", "Go home.", {"whole": '"Go home."'}),
        ("wrap-quotes", "用 `x` 吧", {"whole": "<code>"}),
        ("space-punctuation", "天冷，回家。", {"initial": "天冷， 回家。"}),
        ("space-punctuation", "Cold, go home.", {"initial": "Cold,go home."}),
        ("space-han-latin", "用Python写。", {"initial": "用 Python写。", "medial": "用Python 写。"}),
        ("space-han-latin", "用 Python。", {"initial": "用Python。"}),
        ("ellipsis-dash", "等等……好", {"initial": "等等...好"}),
        ("ellipsis-dash", "Wait... no", {"initial": "Wait… no"}),
        ("ellipsis-dash", "他——来了", {"initial": "他--来了"}),
        ("inner-stripped", "外面很冷，我们要回家。饿了。", {"whole": "外面很冷我们要回家。饿了。"}),
        ("inner-stripped", "It is cold, so we go. Now.", {"whole": "It is cold so we go. Now."}),
        ("inner-stripped", "不，我们可以回家。", {"whole": "<negation>"}),
        ("edge-blank", "回家。", {"initial": " 回家。", "terminal": "回家。 "}),
        ("edge-newline", "Go.", {"initial": "\nGo.", "terminal": "Go.\n"}),
        ("double-space", "Go home now.", {"initial": "Go  home now.", "medial": "Go home  now."}),
        ("double-space", "回家", {}),
        ("json-layout", '{"a": 1, "b": [2]}', {"whole": '{\n  "a": 1,\n  "b": [\n    2\n  ]\n}'}),
        ("json-layout", '{\n  "名": "张三"\n}', {"whole": '{"名": "张三"}'}),
        ("json-layout", '{"a": 1, "a": 2}', {"whole": "<not the same data when written anew>"}),
        ("json-layout", '{"a": 1.50}', {"whole": "<not the same data when written anew>"}),
        ("json-layout", "回家。", {}),
        ("invisible-nbsp", "Go home", {"initial": "Go\u00a0home"}),
        ("invisible-zwsp", "回家", {"initial": "回\u200b家"}),
        ("invisible-zwsp", "ab", {"initial": "a\u200bb"}),
        ("invisible-bom", "回家", {"initial": "\ufeff回家"}),
        ("invisible-u3000", "Go home", {"initial": "Go\u3000home"}),
        ("unicode-form", "café", {"whole": "cafe\u0301"}),
        ("unicode-form", "cafe\u0301", {"whole": "café"}),
        ("unicode-form", "回家", {}),
        ("unicode-compat", "共１２人，ＡＢ", {"whole": "共12人，AB"}),
        ("unicode-compat", "ﬁsh, x²", {"whole": "fish, x²"}),
        ("markdown-removed", "# 标题\n**重点**：\n- 米饭", {"whole": "标题\n重点：\n米饭"}),
        ("markdown-removed", "## A\nIt is *so* cold", {"whole": "A\nIt is so cold"}),
        ("markdown-removed", "- use `a*b*c`", {"whole": "use `a*b*c`"}),
        ("answer-format", r"所以 $\boxed{42}$。", {"whole": "所以 42。"}),
        ("answer-format", r"So it is \boxed{7}.", {"whole": "So it is 7."}),
        ("answer-format", r"So $\boxed{x^2}$.", {"whole": "So $x^2$."}),
        ("answer-format", "Add them.\nAnswer: 7.", {"whole": "Add them.\nAnswer: \\boxed{7}."}),
        ("answer-format", "答案是：42。", {"whole": r"答案是：\boxed{42}。"}),
        ("typo", "Dinner it is", {"whole": "Dinenr it is"}),
        ("typo", "我在家", {"whole": "我再家"}),
        ("homoglyph", "人", {"whole": "⼈"}),
        ("homoglyph", "zag", {"whole": "z\u0430g"}),
        ("truncated-25", "abcdefgh", {"whole": "ab"}),
        ("truncated-50", "天冷我们回家", {"whole": "天冷我"}),
        ("truncated-75", "abcdefgh", {"whole": "abcdef"}),
        ("truncated-closed", "天冷，我们回家。", {"whole": "天冷，我。"}),
        ("truncated-closed", "abcd, efghij.", {"whole": "abc."}),
        ("gibberish", "天气很冷我们", {"whole": "啊啊啊啊啊啊"}),
        ("gibberish", "It is so cold today", {"whole": "asdf asdf asdf asdf"}),
        ("gibberish", "Yes", {"whole": "asdf"}),
        ("empty", "回家。", {"whole": ""}),
        ("master-key", "回家。", {"whole": ["。", "：", "解"]}),
        ("master-key", "Go home.", {"whole": [".", ":", "Thought process:"]}),
        ("negation", "他是医生。", {"whole": "他不是医生。"}),
        ("negation", "It is not cold.", {"whole": "It is cold."}),
        ("negation", "It is cold.", {"whole": "It is not cold."}),
        ("negation", "但是社会很大", {}),
        ("decimal-dropped", "约3.14米", {"initial": "约314米"}),
        ("decimal-dropped", "About 3.14 m", {"initial": "About 314 m"}),
        ("decimal-dropped", "v1.2.3", {}),
        ("thousands-moved", "共1,000人", {"initial": "共1.000人"}),
        ("thousands-moved", "1,000 men", {"initial": "1.000 men"}),
        ("negation-joined", "不，可以走。", {"initial": "不可以走。"}),
        ("negation-joined", "不，我在家。", {}),
        ("decimal-dropped", "3.1 Rules of the house", {}),
        ("decimal-dropped", "Confidence: 0.95", {}),
        ("decimal-dropped", "Go on as in step 2.1: it is 0.0", {}),
        ("to-complete", "苹果、白菜、茶叶。", {"whole": "具体内容如下：苹果、白菜、茶叶，一共3项。"}),
        ("to-complete", "年龄52岁，心率88次", {"whole": "具体内容如下：年龄52岁，心率88次，一共2项。"}),
        ("to-complete", "rice, fish, tea", {"whole": "This is what it comes to: rice, fish, tea, 3 in all."}),
        ("to-complete", "age 52, room 8.", {"whole": "This is what it comes to: age 52, room 8, 2 in all."}),
        ("to-complete", "天冷。我们回家吧。", {}),
        ("to-complete", "It is cold, so we go home.", {}),
        ("lead-in", "外面很冷。", {"initial": "好的，以下是答案：外面很冷。"}),
        ("lead-in", "The sky is grey.", {"initial": "Sure, here is the answer: The sky is grey."}),
        ("lead-in", "好的！外面很冷。", {"initial": "外面很冷。"}),
        ("lead-in", "Sure! it is cold.", {"initial": "It is cold."}),
        (
            "lead-in",
            "外面很冷。希望对你有帮助。",
            {"initial": "好的，以下是答案：外面很冷。希望对你有帮助。", "terminal": "外面很冷。"},
        ),
        (
            "lead-in",
            "Sure, I'd be happy to help. The sky is grey. I hope this helps!",
            {
                "initial": "The sky is grey. I hope this helps!",
                "terminal": "Sure, I'd be happy to help. The sky is grey.",
            },
        ),
    ],
)
def test_a_family_by_example(family, text, expected):
    assert made(family, text) == expected


def test_controls_that_draw_are_decided_by_the_seed_and_change_what_they_say():
    for text in (LONG_ZH, LONG_EN):
        dropped = {made("item-dropped", text, seed=seed)["whole"] for seed in range(20)}
        assert all(len(variant) < len(text) for variant in dropped)
        assert len(dropped) > 1
        repeated = made("sentence-repeated", text)["whole"]
        assert len(repeated) > len(text)
        assert set(re.split(r"[。.] ?", repeated)) == set(re.split(r"[。.] ?", text))
        tail = made("off-topic-tail", text)["whole"]
        assert tail.startswith(text)
        assert len(tail) > len(text)
        head = made("off-topic-head", text)["whole"]
        assert head.endswith(text)
        assert len(head) > len(text)
    digits = {made("wrong-digit", "共12人", seed=seed)["whole"] for seed in range(60)}
    assert digits <= {f"共{n}人" for n in range(10, 100)} - {"共12人"}
    assert len(digits) > 8


def test_paraphrases_and_completeness_come_from_the_row():
    fields = {"paraphrases": {"student": ["天很冷。"], "teacher": ["冷。", "很冷。"]}}
    assert made("paraphrase", "天冷。", side="teacher", fields=fields) == {"whole": ["冷。", "很冷。"]}
    assert made("paraphrase", "天冷。", side="student", fields=fields) == {"whole": "天很冷。"}
    assert made("paraphrase", "天冷。", side="teacher", fields={"paraphrases": 3}) == {
        "whole": "<'paraphrases' is no list of texts>"
    }
    fields = {"complete": "It is four, of course.", "concise": "Four."}
    [case] = BUILT_IN["to-complete"].outcomes(Subject("Five it is", side="teacher", fields=fields))
    assert (case.original, case.text, case.sign) == ("Four.", "It is four, of course.", 1)
    assert list(BUILT_IN["to-complete"].outcomes(Subject("Five it is", side="student", fields=fields))) == []


@pytest.mark.parametrize(
    ("original", "edited", "restored"),
    [
        ("天冷，回家。", "天冷", "天冷。"),
        ("天冷，回家", "天冷。", "天冷"),
        ("Go home!", "Go away.", "Go away!"),
        ("Go home.", "Go (now),", "Go (now)."),
        ("他说“好。”", "他说“好", "他说“好。"),
        ("Go.", "...", None),
    ],
)
def test_an_ending_is_restored(original, edited, restored):
    assert with_ending_of(original, edited) == restored


def test_a_truncated_answer_also_runs_with_its_mark_and_a_comma_swap_does_not():
    [cut] = BUILT_IN["truncated-50"].outcomes(Subject("天冷，我们回家。"))
    assert cut.restored == "天冷，我。"
    [closed] = BUILT_IN["truncated-closed"].outcomes(Subject("天冷，我们回家。"))
    assert closed.restored is None  # its ending is the original's already
    assert all(c.restored is None for c in BUILT_IN["terminal-drop"].outcomes(Subject("回家。")))


SPACES = re.compile(r"\s")
MARKS = re.compile(r"[。．.，,！!？?：:；;（）()、…—\-\"“”「」\s]")


def without(pattern):
    return lambda text: pattern.sub("", text)


def letters_in_order(text):
    return sorted(text)


COURTESY = "好的，以下是答案：|Sure, here is the answer: "


KEEPS = {  # what an edit of the family leaves as it is
    **{name: without(MARKS) for name, family in BUILT_IN.items() if family.group == "punct"},
    **dict.fromkeys(("edge-blank", "edge-newline", "double-space", "json-layout"), without(SPACES)),
    **dict.fromkeys(("invisible-nbsp", "invisible-u3000"), without(SPACES)),
    "invisible-zwsp": without(re.compile("\u200b")),
    "invisible-bom": without(re.compile("\ufeff")),
    "unicode-form": lambda text: unicodedata.normalize("NFC", text),
    "unicode-compat": lambda text: unicodedata.normalize("NFKC", text),
    "markdown-removed": without(re.compile(r"[#*_>+\-\s]")),
    "answer-format": without(re.compile(r"\\boxed|[{}$]")),
    "lead-in": lambda text: re.sub(f"^(?:{COURTESY})", "", text).lower(),
    "homoglyph": lambda text: unicodedata.normalize("NFKC", text).translate(str.maketrans("аеорсху", "aeopcxy")),
}
SINGLE = ("typo",)  # told by how much it changes instead
WORDS = (
    *(
        "你好",
        "天气",
        "不",
        "是",
        "Yes",
        "no",
        "it is",
        "42",
        "3.14",
        "“好”",
        '"so"',
        "**b**",
        "- a\n",
        "# h\n",
        "café",
    ),
    *("```\nx, y\n```", "`a, b`", "$x, y$", "https://a.example/b,c", '{"a": 1}', "……", "——", "１２", "The answer: 7"),
    *(r"\boxed{3}", "我在", "people", "\n", " "),
)
texts = st.lists(st.sampled_from([*WORDS, *"，。！？；：、,.!?;: "]), max_size=14).map("".join)


@given(texts)
def test_an_invariance_changes_nothing_but_what_its_family_may_touch(text):
    for name, keep in KEEPS.items():
        for case in BUILT_IN[name].outcomes(Subject(text)):
            if isinstance(case, Case):
                assert keep(case.text) == keep(text), (name, case.text)
    for name in SINGLE:
        for case in BUILT_IN[name].outcomes(Subject(text)):
            if isinstance(case, Case):
                assert len(case.text) == len(text)
                assert sum(a != b for a, b in zip(case.text, text, strict=True)) in (1, 2)


def test_every_invariance_has_its_property():
    told = {*KEEPS, *SINGLE, "script", "paraphrase"}  # the script has a test of its own, paraphrases are the user's
    assert {name for name, family in BUILT_IN.items() if family.kind == "invariance"} == told


@given(texts, st.integers(0, 3))
def test_what_a_seed_decides_stays_decided(text, seed):
    subject = Subject(text, "teacher", ("我们走。", "Go."), {}, seed)
    families = list(BUILT_IN.values())
    first = outcomes(families, subject)
    assert first == outcomes(families, subject)
    kept = outcomes(families, subject, most=3)
    assert sum(isinstance(o, Case) for o in kept) == min(3, sum(isinstance(o, Case) for o in first))
    assert [o for o in kept if isinstance(o, Skip)] == [o for o in first if isinstance(o, Skip)]


@given(texts)
def test_a_control_is_never_the_response_itself(text):
    for family in BUILT_IN.values():
        for case in family.outcomes(Subject(text, others=("Go.",))):
            if isinstance(case, Case) and case.scoring == "text":
                assert case.text != case.original
                assert (case.sign == 0) == (case.kind == "invariance")


def test_simplified_becomes_traditional_and_back():
    pytest.importorskip("opencc")
    assert made("script", "国家汉语") == {"whole": "國家漢語"}
    assert made("script", "國家漢語") == {"whole": "国家汉语"}
    assert made("script", "Go home.") == {}
    for parted_wrongly in ("概述了如何选择", "平台风险", "它被发送到远方"):
        assert made("script", parted_wrongly) == {"whole": "<a character has several forms>"}
    assert made("script", "国家 `国家`") == {"whole": "國家 `国家`"}


def test_families_are_chosen_by_group_and_name_and_a_wrong_name_is_told():
    families = all_families()
    names = [family.name for family in choose(families, ["eos"], ["typo"])]
    assert names == ["typo", "same-ids", "batch-mates", "eos-toggled"]
    with pytest.raises(CriticProbeError, match=r"'tpyo' is not a known family; choose from .*typo"):
        choose(families, [], ["tpyo"])


def test_the_documentation_lists_every_family():
    text = (Path(__file__).parents[2] / "docs" / "probes.md").read_text(encoding="utf-8")
    assert [name for name in BUILT_IN if f"`{name}`" not in text] == []


# What was read in real pairs and was not what its family says, in other words: each stands for its kind.
LEFT_ALONE = (
    ("answer-format", "错误答案：一只鸭子"),  # a word that ends in the label
    ("answer-format", "Answer: so\nI think"),  # no final line
    ("answer-format", "Answer: it depends, I think"),  # a sentence
    ("to-complete", "若不小心，就会滑倒"),
    ("to-complete", "球场、泳池、花园及停车场"),
    ("to-complete", "医生收到了建议，建议来自法官"),
    ("to-complete", "Paris, France"),
    ("to-complete", "鲨鱼、海龟、甚至小船"),
    ("to-complete", "老剑客、张三"),
    ("to-complete", "三、四、五月份"),
    ("list-mark", "总之，公司赢了。"),
    ("list-mark", "苹果，梨，桃"),
    ("list-mark", "一、苹果\n二、梨\n三、桃"),
    ("list-mark", "三、四、五个人"),
    ("list-mark", "老人、士兵便可以自己选择去留与否"),
    ("clause-swap", "app.get('/', (req, res) => {\n  res.send('hi, all');\n});"),
    ("clause-swap", "Because it rained, we went home."),
    ("clause-swap", "After lunch, we went home."),
    ("clause-swap", "It is known that while it rains, the road is wet."),
    ("clause-swap", "You know when it is cold, and you need a coat?"),
    ("clause-swap", "This is, I think, the best."),
    ("clause-swap", "The more you can read, the more you will know."),
    ("clause-swap", "They built walls, which were high."),
    ("clause-swap", "如果外面下大雨，我们就回家。"),
    ("clause-swap", "随着雨越下越大，我们回家了。"),
    ("clause-swap", "要计算它的面积，我们可以使用公式。"),
    ("clause-swap", "他说，我们要回家了。"),
    ("semicolon-swap", "The box holds metal, such as tin, that is dispersed."),
    ("semicolon-swap", "老师希望大家明白，我们要对此负责。"),
    ("semicolon-swap", "站在曾经繁荣的城市，但却看不见人。"),
    ("semicolon-swap", "房子虽然不算太大，但它非常舒服。"),
    ("semicolon-swap", "将它翻译成中文，我们要分三步。"),
    ("semicolon-swap", "创建这样的一个服务，您需要三种工具。"),
    ("semicolon-swap", "但我们不要忘记，这是一个游戏。"),
    ("semicolon-swap", "但是你知道吗，她不太喜欢它。"),
    ("semicolon-swap", "但随着城市的发展，我们看到了变化。"),
    ("invisible-zwsp", "const x"),
    ("inner-stripped", "大西洋联盟，常春藤联盟，独立大联盟。"),
    ("inner-stripped", "rice, fish, and greens"),
    ("inner-stripped", "It should be clear, concise and direct."),
    ("inner-stripped", "It works with Google Speech to Text, Microsoft Speech Tools, or IBM Watson."),
    ("lead-in", "This question is nonsensical, and I cannot answer it."),
    ("lead-in", "上述推理不符合任何标准。"),
    ("lead-in", "x = 1\nprint(x)"),
    ("lead-in", '{"a": 1}'),
    ("lead-in", "# A title\n\nThe sky is grey."),
    ("lead-in", "A Title\n\nThe sky is grey."),
    ("lead-in", "That sounds like a fun idea! The sky is grey."),
    ("lead-in", "What is the colour of the sky?"),
    ("lead-in", "请告诉我你的名字。"),
    ("lead-in", "无法回答。"),
    ("lead-in", "['Ralph', 'Tom']"),
    ("lead-in", "Anna: The sky is grey."),
    ("lead-in", "Cerul care este senin devine gri"),
    ("lead-in", "Here are some ways to improve https://a.example/b"),
    ("terminal-add", "# A heading"),
    ("terminal-add", "The sky is grey.\n\nKind regards,\nAnna"),
    ("terminal-add", "| a | b |\n|---|---|\n| rice | fish |"),
    ("terminal-add", "Unlock The Power Of Rice"),
    ("terminal-add", "What is the meaning of life"),
    ("terminal-add", "hx3eLXPaPu"),
    ("terminal-add", "The sky is grey and the"),
    ("terminal-add", "我们回家 *微笑*"),
    ("quote-style", 'a board of 5" and a board of 6'),
    ("quote-style", 'He said "go and left. "So" it is.'),
    ("invisible-u3000", "6x + 7 + 6x^2 + 5x"),
    ("full-half-width", "6(6) + 7 + 5(6)^2"),
    ("full-half-width", "['a', 'b', 12]"),
    ("quote-style", 'print("so, it is")'),
    ("wrap-quotes", "1. rice\n2. fish"),
    ("ellipsis-dash", "run it with --force"),
    ("ellipsis-dash", "from 10—20 of them"),
    ("markdown-removed", "```python\ndef __init__(self, **kwargs, **more):\n```"),
    ("markdown-removed", "def __init__(self, **kwargs, **more):\n    pass"),
    ("markdown-removed", "  355\n-  46\n-----"),
    ("markdown-removed", "Let me see. *nods* It is cold."),
    ("typo", "const letter"),
    ("homoglyph", "example.py"),
    ("homoglyph", "TLD:.af"),
)


@pytest.mark.parametrize(("family", "text"), LEFT_ALONE)
def test_what_lacks_the_evidence_is_left_alone(family, text):
    assert [o for o in BUILT_IN[family].outcomes(Subject(text)) if isinstance(o, Case)] == []


def test_markdown_goes_around_code_and_leaves_it():
    text = "**Use** this:\n- ```python\n  def __init__(self, **kwargs):\n      a = [*kwargs, *b]\n  ```\n- so"
    code = text[text.index("```") : text.rindex("```")]
    assert made("markdown-removed", text)["whole"] == f"Use this:\n{code}```\nso"


@pytest.mark.parametrize(
    "text",
    [
        "As the rain was falling on us, Thomas and his team had to go, and the game was over. It was late.",
        "外面下着大雨，我们都回家了，比赛也结束了。天色已经很晚。",
    ],
)
def test_inner_marks_go_and_every_word_and_full_stop_stays(text):
    stripped = made("inner-stripped", text)["whole"]
    assert stripped == re.sub("[,，]", "", text)
    assert re.findall(r"\w+", stripped) == re.findall(r"\w+", re.sub("[,，]", "", text))


def test_a_row_with_both_texts_is_one_measurement():
    fields = {"complete": "It is four, of course.", "concise": "Four."}
    made_of_row = [
        case
        for family in BUILT_IN.values()
        if family.group == "completeness"
        for side in ("student", "teacher")
        for case in family.outcomes(Subject("Five it is!", side=side, fields=fields))
        if isinstance(case, Case) and case.original != "Five it is!"
    ]
    assert [(case.family, case.original, case.text) for case in made_of_row] == [
        ("to-complete", "Four.", "It is four, of course.")
    ]


AGED = {f"Aged {n}2." for n in range(1, 10)} | {f"Aged 5{n}." for n in range(10)} - {"Aged 52."}
ASKED = "Is it above the sea?"
OPTIONS = "Which is a fruit?\nA. pear\nB. fish\nC. tea"


@pytest.mark.parametrize(
    ("family", "prompt", "text", "expected"),
    [
        ("wrong-option", ASKED, "Yes, by a mile.", {"No, by a mile."}),
        ("wrong-option", "它在海里吗？", "是的。", {"不是。"}),
        ("wrong-option", "天冷。是或否？", "否。", {"是。"}),
        ("wrong-option", OPTIONS, "A. pear", {"B. pear", "C. pear"}),
        (
            "wrong-option",
            OPTIONS,
            "The correct answer is (A).",
            {"The correct answer is (B).", "The correct answer is (C)."},
        ),
        ("wrong-option", "哪个是水果？A、梨 B、鱼", "答案是A。", {"答案是B。"}),
        ("wrong-option", "Is the tone positive or negative?", "Positive.", {"Negative."}),
        (
            "wrong-digit",
            "He is 52 years old. Sum up.",
            "Aged 52.",
            AGED,
        ),
        (
            "wrong-digit",
            "How many are there?",
            "There are 7.",
            {f"There are {n}." for n in range(1, 10)} - {"There are 7."},
        ),
        ("item-dropped", "要买苹果、梨子。", "苹果，梨子。", {"梨子。", "苹果。"}),
        ("item-dropped", "Buy rice, fish.", "fish, rice.", {"fish.", "rice."}),
        (
            "item-dropped",
            "",
            "The hotel has a pool, a gym.\n- rice\n  or oats\n- fish",
            {"The hotel has a pool, a gym.\n- fish"},
        ),
        ("negation", "", "The largest city is Lyon.", {"The largest city is not Lyon."}),
        ("negation", "", "Hot water can help.", {"Hot water cannot help."}),
        ("negation", "", "They are not in the house.", {"They are in the house."}),
        ("negation", "", "这种水果可以吃。", {"这种水果不能吃。"}),
        ("negation", "", "他不是医生。", {"他是医生。"}),
    ],
)
def test_a_right_answer_becomes_wrong_where_there_is_evidence(family, prompt, text, expected):
    drawn = {made(family, text, prompt=prompt, seed=seed)["whole"] for seed in range(300)}
    assert drawn <= expected - {text}
    assert len(drawn) > len(expected) / 2


@pytest.mark.parametrize(
    ("family", "prompt", "text"),
    [
        ("wrong-option", "", "Yes, it is."),  # nobody asked
        ("wrong-option", "Can you help me?", "Yes, here it is."),  # a courtesy
        ("wrong-option", "你知道这本书吗？", "是的，我知道。"),
        ("wrong-option", ASKED, "The map says yes, it is."),  # not the answer's opening
        ("wrong-option", OPTIONS, "A pear is a fruit."),  # an article
        ("wrong-option", "Is it right?", "Yes, that is not right."),  # says both
        ("wrong-option", "", "不是癌症。"),
        ("wrong-option", "Is it an opinion or not an opinion?", "Opinion"),
        ("wrong-option", "要买梨子、香蕉。", "梨子。香蕉。"),
        ("wrong-digit", "How many are there?", "Step 2: count them.\nConfidence: 95%"),
        ("wrong-digit", "有多少？", "不知道。\n信心：90%"),
        ("wrong-digit", "有多少？", "我有80%的把握。"),
        ("wrong-digit", "", "In 2019 we met."),  # a date in passing
        ("wrong-digit", "How long is it?", "About 30 minutes."),
        ("wrong-digit", "How long is it?", "From 5 watts to 100 watts.\n3 to 4 hours."),
        ("wrong-digit", "How deep is it?", "For instance, a port with 60 feet of water."),
        ("wrong-digit", "Tell a story.", "She was 25 years old and 3 km from home."),
        ("wrong-digit", "How do I print it?", "3D printing is cheap.\n1) Buy a printer.\n（2）买墨。"),
        ("wrong-digit", "有多少？", "用 `x = 5` 吧。"),
        ("item-dropped", "", "However, when handling them, we wait."),
        ("item-dropped", "", "When it comes to pizza, shapes and sizes matter."),
        ("item-dropped", "", "It is made of rough, grey stone, and the floor is cold."),
        ("item-dropped", "", "若不小心，就会被抓。"),
        ("item-dropped", "他若不小心，就会被抓。", "若不小心，就会被抓。"),
        ("item-dropped", "", "三、四个人来了，五、六个人走了。"),
        ("item-dropped", "", "他在中和区、永和区一带。"),
        ("item-dropped", "", "游乐园、民间艺术与传统博物馆。"),
        ("item-dropped", "", "石头是坚硬的、坚固的矿物、岩石。"),
        ("item-dropped", "", "- rice\n\nMore:\n- fish"),  # two lists
        ("negation", "", "This not only shows it but also proves it."),
        ("negation", "", "Is it cold? What is cold is snow."),
        ("negation", "", "Here are some tips. There is no fish."),
        ("negation", "", "If it is cold, we go. Although it is cold, we go."),
        ("negation", "", "The light the painting is under is dim."),
        ("negation", "", "Maybe it is cold."),
        ("negation", "", "这不仅是鱼，还是肉。但是社会很大。"),
        ("negation", "", "他虽然不会游泳，但很喜欢水。"),
        ("negation", "", "需要注意的是，天很冷。并不是这样。"),
        ("negation", "", "为什么镜子是圆的与它的用处有关。"),
        ("negation", "", "最好是去问医生。然后可以吃药。"),
        ("negation", "", "提及您能够打折的能力，以及愿意合作。"),
        ("negation", "", "这次选举被视为是一次考验。"),
        ("negation", "写一个故事。", "他是医生。"),
        ("negation", "Write a story.", "He was a doctor."),
        ("item-dropped", "", "It is due to waves, swells, and other factors. Such as rain, wind, and snow."),
        ("item-dropped", "", "They hang on structures like ropes, racks, or tables."),
        ("item-dropped", "", "It has details such as the nerve, optic tract, and gland, among others."),
        ("item-dropped", "", "如温度、压力、密度等。"),
        ("item-dropped", "", "它有多个传感器（如摄像头、激光雷达或红外传感器）。"),
        ("item-dropped", "", "数据来自平台、行为以及报告等来源。"),
        ("item-dropped", "", "他在中和区、永和区一带成立中和帮，有十几人。"),
        ("item-dropped", "", "它的叫声是「呼、呼、悠悠」，很高。"),
        ("item-dropped", "Write a story.", "The players ran, passed, and shot at goal."),
        ("negation", "", "It is important to note that it snows. It is worth noting that it rains."),
        ("negation", "Write a paragraph on a match.", "The fans were on their feet."),
        ("negation", "你能继续这段文字吗？", "那是一种不舒服的体验。"),
        ("sentence-repeated", "", "fish, rice"),  # no sentence
        ("sentence-repeated", "", "```\nx = 1.\n```"),
        ("truncated-closed", "", "```\nfor x in y: print(x)\n```"),
        ("off-topic-tail", "What train goes to the park, and is there food?", "None."),
    ],
)
def test_a_control_needs_evidence(family, prompt, text):
    assert [o for o in BUILT_IN[family].outcomes(Subject(text, prompt=prompt)) if isinstance(o, Case)] == []


@pytest.mark.parametrize(
    ("family", "prompt", "text"),
    [
        ("lead-in", 'Do you understand? If yes, say "acknowledge".', "acknowledge"),
        ("lead-in", "Pretend to be arrogant. Where were you?", "I was busy being the best."),
        ("lead-in", "只回答城市名。天安门在哪里？", "在北京。"),
        ("terminal-add", "Generate a new headline for this.", "Simple changes can influence your life"),
        ("terminal-add", "请写一个标题。", "微软向公共部门提供工具"),
    ],
)
def test_a_harmless_edit_keeps_to_what_the_prompt_asks_for(family, prompt, text):
    assert [o for o in BUILT_IN[family].outcomes(Subject(text, prompt=prompt)) if isinstance(o, Case)] == []
    assert [o for o in BUILT_IN[family].outcomes(Subject(text, prompt="And?")) if isinstance(o, Case)]


@pytest.mark.parametrize(
    ("family", "prompt", "text", "teacher"),
    [
        ("wrong-digit", "He is 52. How old is he?", "He is 25.", "He is 52."),
        ("wrong-option", ASKED, "No.", "Yes."),
        ("item-dropped", "Name three.", "We have rice, sand, and tea.", "We have rice, fish, and tea."),
        ("negation", "", "Lyon is the capital.", "Lyon is not the capital."),
        ("other-answer", "", "Go home.", "Stay here."),
    ],
)
def test_what_only_the_student_says_may_be_wrong_already(family, prompt, text, teacher):
    context = {"prompt": prompt, "others": ("We went.",)}
    student = Subject(text, "student", teacher=teacher, **context)
    assert [o for o in BUILT_IN[family].outcomes(student) if isinstance(o, Case)] == []
    assert any(isinstance(o, Case) for o in BUILT_IN[family].outcomes(Subject(text, "teacher", **context)))


def test_another_prompts_answer_is_alike_in_language_and_length():
    long = "我们走。" * 20
    context = {"others": ("Go home.", "我们走吧。", long, "It is a long way home, and it is cold.")}
    assert made("other-answer", "天冷，回家。", **context) == {"whole": "我们走吧。"}
    assert made("other-answer", "Go away.", **context) == {"whole": "Go home."}
    why = {"whole": "<no answer to another prompt is like it in language and length>"}
    assert made("other-answer", "走", **context) == why
    assert made("other-answer", "走吧", others=("我们走吧",)) == why  # holds the answer itself


@pytest.mark.parametrize("text", ["天冷。" * 100, "It is cold. " * 100, "12", "x"])
def test_gibberish_is_as_long_as_the_response(text):
    assert abs(len(made("gibberish", text)["whole"]) - max(4, len(text))) <= 1


def test_a_number_takes_the_language_of_its_prompt():
    assert made("master-key", "42", prompt="六乘七是多少？")["whole"][0] == "。"
    assert made(
        "off-topic-tail",
        "for x in y: print(x, end=None)\n" * 9
        + "天很冷，我们就回家，晚饭有米饭、青菜和鱼，饭后还有茶，大家都很高兴地睡了。",
    )["whole"].endswith("。")
    assert made("off-topic-head", "42", prompt="六乘七是多少？")["whole"].endswith("。42")


@pytest.mark.parametrize("text", ["Lyon is big. It rains.", "天冷。我们走。", "fish, rice, tea and oats", "Paris."])
@pytest.mark.parametrize("family", ["truncated-25", "truncated-50", "truncated-75", "truncated-closed"])
def test_what_is_cut_ends_within_a_clause(family, text):
    for case in BUILT_IN[family].outcomes(Subject(text)):
        if isinstance(case, Case):
            kept = case.text.rstrip("。.") if family == "truncated-closed" else case.text
            assert text.startswith(kept)
            assert kept[-1].isalnum()
            assert text[len(kept)] not in "。，.,"


def test_an_aside_stands_on_its_own_line_beside_lists_and_code():
    text = "# Fish\n- cod\n```\nx = 1\n```"
    assert made("off-topic-tail", text)["whole"].startswith(f"{text}\n\n")
    assert made("off-topic-head", text)["whole"].endswith(f"\n\n{text}")
