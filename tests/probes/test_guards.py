import pytest

from critic_probe.probes import BUILT_IN, Skip, Subject
from critic_probe.probes.guards import Guards


@pytest.mark.parametrize(
    ("reason", "text", "mark"),
    [
        ("number", "圆周率是3.14左右", "."),
        ("number", "共1,000人", ","),
        ("number", "about 3,14 m", ","),
        ("number", "at 12:30 we", ":"),
        ("number", "on 2024.01.05 we", "."),
        ("number", "共1．5米", "．"),
        ("number", "only .5 m", "."),
        ("number", "on May 5, 2024 we", ","),
        ("number", "use v1.2.3 now", "."),
        ("url", "见 https://a.example/b,c 页", ","),
        ("url", "see https://a.example/b now", ":"),
        ("url", "see [it](a) now", "("),
        ("email", "to me@a.example now", "."),
        ("path", "open main.py now", "."),
        ("path", "打开 ./a.b/c 吧", "."),
        ("path", "uses Node.js now", "."),
        ("code", "用 `a, b` 吧", ","),
        ("code", "See:\n```\na, b\n```\nDone", ","),
        ("code", "See\n```python\nf(a, b", ","),
        ("code", "call f(a, b) now", ","),
        ("code", "<code>a, b</code>", ","),
        ("latex", "when $a, b$ hold", ","),
        ("latex", "有 $$a, b$$ 成立", ","),
        ("latex", r"when \(a, b\) hold", ","),
        ("latex", r"有 \[a, b\] 成立", ","),
        ("latex", r"\begin{array}a, b\end{array}", ","),
        ("json", 'gives {"a": "b, c"} now', ","),
        ("json", 'gives {"a": "b, c', ","),
        ("json", '["a", "b"]', ","),
        ("tag", '<a title="b, c">', ","),
        ("tag", "a &amp; b", ";"),
        ("abbreviation", "fruit, e.g. pears", "."),
        ("abbreviation", "that is, i.e. this", "."),
        ("abbreviation", "见Dr. Who", "."),
        ("abbreviation", "Mr. Who", "."),
        ("abbreviation", "pears etc. are", "."),
        ("abbreviation", "the U.S. is", "."),
        ("abbreviation", "by J. Who", "."),
        ("abbreviation", "see No. 5", "."),
        ("list marker", "1. 苹果", "."),
        ("list marker", "Fruit\n  2) pears", ")"),
        ("list marker", "（一）苹果", "（"),
        ("list marker", "B. pears", "."),
        ("list marker", "first 1. one", "."),
        ("ellipsis", "wait... no", "."),
        ("ellipsis", "等。。。好", "。"),
        ("ellipsis", "wait . . . no", "."),
        ("mark run", "what?! no", "?"),
        ("mark run", "好！！走", "！"),
        ("quoted mark", "标点“。”在此", "。"),
        ("quoted mark", "the tag of '.' is", "."),
        ("emoticon", "fine :) then", ":"),
        ("negation", "不，可以", "，"),
        ("negation", "好。是的，走", "，"),
        ("negation", "No, you may", ","),
        ("negation", "Well. Yes, you may", ","),
    ],
)
def test_a_mark_that_does_not_punctuate_is_guarded(reason, text, mark):
    index = text.index(mark)
    assert Guards(text).reason(index, index + 1, "") == reason


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("It costs $5, not $10.", 11),
        ("See https://a.example.", 21),
        ("In 2020. Then", 7),
        ("不好，可以", 2),
        ("I know, you may", 6),
        ("Hotel (price: $$$)\n\nFood, more $$", 24),
        ("`{`, then", 3),
        ("Know it. Go", 7),
    ],
)
def test_a_mark_that_punctuates_is_free(text, index):
    assert Guards(text).reason(index, index + 1, "") is None


@pytest.mark.parametrize(
    ("family", "text", "reason"),
    [
        ("full-half-width", "Good。Next", "path"),
        ("full-half-width", "共3。5米", "number"),
        ("clause-swap", "不。可以", "negation"),
        ("terminal-swap", "pears, etc,", "abbreviation"),
        ("terminal-add", "pears, etc", "abbreviation"),
        ("terminal-add", "A", "list marker"),
    ],
)
def test_an_edit_makes_nothing_that_a_guard_would_cover(family, text, reason):
    assert [o.reason for o in BUILT_IN[family].outcomes(Subject(text)) if isinstance(o, Skip)] == [reason]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("用 `x`", "code"),
        ("Run\n```\nx\n```\n", "code"),
        ("see https://a.example/b", "url"),
        ("to me@a.example", "email"),
        ('{"a": 1}', "json"),
        ("so $x$", "latex"),
        ("so <br>", "tag"),
        ("等……", "ellipsis"),
    ],
)
def test_no_full_stop_is_set_after_what_is_guarded(text, reason):
    assert [o.reason for o in BUILT_IN["terminal-add"].outcomes(Subject(text))] in ([reason], [])
