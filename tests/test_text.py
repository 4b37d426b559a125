import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic_probe.text import closing_mark_index, ends_in_terminal, is_cjk, is_punctuation, listed, neutralise


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 中文 😀 é", "plain 中文 😀 é"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a⏎b⇥c\\x0d"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\ufeffx\u200by", "\\ufeffx\\u200by"),
        ("x\u2028y", "x\\u2028y"),
        ("\ud800", "\\ud800"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("a\u200db", "a\\u200db"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
    ],
)
def test_neutralise_shows_what_a_terminal_would_obey(text, shown):
    assert neutralise(text) == shown


def test_neutralise_keeps_line_breaks_on_request():
    assert neutralise("a\n\tb\x07", newlines=True) == "a\n\tb\\x07"


def test_a_list_of_names_names_five_and_counts_the_rest():
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
    assert listed([]) == ""


HOSTILE = st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])


@given(st.text(st.characters() | HOSTILE | st.sampled_from("😀🏽\ufe0f\u200d")), st.booleans())
def test_neutralised_text_holds_no_control_and_stays_as_it_is(text, newlines):
    shown = neutralise(text, newlines=newlines)
    kept = "\u200d\n\t" if newlines else "\u200d"
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown if c not in kept)
    assert neutralise(shown, newlines=newlines) == shown


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("好。", 1),
        ("好。”", 1),
        ("He said so.)\n", 10),
        ("wait…", 4),
        ("好，", None),
        ("no", None),
        ("", None),
        ("”", None),
    ],
)
def test_the_closing_mark_stands_behind_closers_and_blanks(text, index):
    assert closing_mark_index(text) == index
    assert ends_in_terminal(text) == (index is not None)


def test_punctuation_and_scripts():
    assert all(map(is_punctuation, ["。", ", ", "...", "（", "$", "✓"]))
    assert not any(map(is_punctuation, ["", " ", "a.", "，好", "3"]))
    assert all(map(is_cjk, "中々〇あカーｱ한"))
    assert not any(map(is_cjk, "a1，。、・é\u3000"))
