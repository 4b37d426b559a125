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
        ("tag", 'so <a title="b, c"> it', ","),
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
        ("clause-swap", "不。我们可以回家", "negation"),
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


CODE = (
    "app.get('/', (req, res) => {",
    "const x = 5;",
    "const x",
    "def gcd(a, b):",
    "for country in table {",
    "import pandas as pd",
    "from os import path",
    "#include <stdio.h>",
    "    return a, b;",
    "self.age = 0",
    "print('Good, now go.')",
    "$ cd project, then",
    "pip install -U torch, please",
    "git commit -m 'so, it is'",
    "SELECT a, b FROM t WHERE a = 1",
    "<p>Good, go home.</p>",
    '<div class="a, b">',
    ".box, .row { color: red; }",
    "// so, it is",
    "}, 1000);",
    "x = a, b",
)


@pytest.mark.parametrize("line", CODE)
def test_a_line_of_code_is_guarded_without_a_fence(line):
    text = f"Do this, then that.\n{line}\nIt is done, so go.\n"
    start = text.index(line)
    guards = Guards(text)
    spared = [i for i in range(start, start + len(line)) if line.strip() and guards.covered(i, i + 1) is None]
    assert not [i for i in spared if not text[i].isspace()]
    assert guards.covered(0, start) is None
    assert guards.covered(start + len(line), len(text)) is None


def test_what_stands_between_lines_of_code_is_code_and_a_sentence_between_them_is_not():
    code = "def go(a):\n    # home, then\n    a += 1\n\n    go home, a\nprint(a)"
    assert {Guards(code).covered(i, i + 1) for i, char in enumerate(code) if char == ","} == {"code"}
    prose = "x = 1;\nThis is so, I think.\ny = 2;"
    assert Guards(prose).covered(prose.index(","), prose.index(",") + 1) is None


@pytest.mark.parametrize(
    "line",
    [
        "for example, this is so:",
        "return the book, please",
        "find your way, and go.",
        "class is over, so go.",
        "public transport is slow, so walk",
        "- import duties, taxes and fees",
        "In short: it is so, I think.",
        "It costs $5, or $6 (a day);",
        "如果下雨（大雨），我们回家；",
        "Let me know, if you will",
    ],
)
def test_prose_that_looks_like_code_is_free(line):
    index = line.index("," if "," in line else "，")
    assert Guards(f"So it is.\n{line}\nGo.").covered(index + 10, index + 11) is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("table", "| rice, white | fish |"),
        ("latex", r"so \frac{a, b}{c} is"),
        ("latex", "    = 252 + 36, 5"),
        ("code", "call my_name, then"),
    ],
)
def test_tables_and_formulas_and_names_are_guarded(reason, text):
    assert reason in {Guards(text).covered(i, i + 1) for i in range(len(text))}
