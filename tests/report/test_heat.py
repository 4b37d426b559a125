import io
import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from critic_probe.cli import app
from critic_probe.report.heat import aligned, line_view
from critic_probe.report.svg import console_svg, to_png
from critic_probe.report.terminal.trace import print_trace


def rows(student, teacher, read=-1):
    found = []
    for side, tokens in (("student", student), ("teacher", teacher)):
        values = [value for _, value in tokens]
        for index, (text, value) in enumerate(tokens):
            mean = sum(values[: index + 1]) / (index + 1)
            row = {"side": side, "index": index, "group": index, "text": text, "value": value, "running_mean": mean}
            found.append(row | {"read_by": "last" if index == len(tokens) + read else ""})
    return found


def shown(found, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(line_view(found, width))
    return console.file.getvalue()


def test_digits_stand_over_and_under_their_tokens_also_with_wide_characters():
    lines = shown(rows([("苹果", 9.0), ("ok", -4.0), ("。", 1.0)], [("苹果", 3.0), ("。", -9.0)])).splitlines()
    at = lines.index("student")
    assert [line.rstrip() for line in lines[at + 1 : at + 5]] == [
        "  9     1",
        "  苹果ok。",
        "      4",
        "      ~~^",  # the other side has no 'ok'; the last token is read
    ]
    assert "highest: '苹果' #0 +9.00, '。' #2 +1.00" in lines
    assert "lowest: 'ok' #1 -4.00" in lines
    assert "last reads '。' #1 -9.00" in lines


def test_a_long_response_wraps_without_losing_a_token():
    words = [(f" word{i}", float(i % 7 - 3)) for i in range(60)]
    text = shown(rows(words, words[:1]), 80)
    assert max(map(cell_len, text.splitlines())) <= 80
    flat = re.sub(r"\s", "", text)
    assert all(f"word{i}" in flat for i in range(60))


def test_one_scale_for_both_running_means():
    text = shown(rows([("a", 0.0), ("b", 0.0)], [("a", 8.0), ("b", 8.0)]))
    assert "running mean ▁▁ +0.00 to +0.00" in text
    assert "running mean ██ +8.00 to +8.00" in text


@pytest.mark.parametrize("view", ["line", "table"])
def test_hostile_tokens_are_inert(trace, view):
    console = Console(file=io.StringIO(), width=80)
    print_trace(trace, console, view)
    assert not {"\x1b", "\u202e"} & set(console.file.getvalue())
    assert max(cell_len(line) for line in console.file.getvalue().splitlines()) <= 80


def test_a_character_of_several_tokens_shows_their_mean():
    found = rows([("癌", 2.0), ("癌", 4.0), ("x", 6.0)], [("x", 6.0)])
    found[1]["group"] = 0
    at = shown(found).splitlines().index("student")
    assert shown(found).splitlines()[at + 1].rstrip() == "  5 9"


def test_the_wide_table_puts_equal_tokens_in_one_row(trace):
    assert list(aligned("abcd", "abxcd")) == [(0, 0), (1, 1), (None, 2), (2, 3), (3, 4)]
    assert list(aligned("abc", "xbc")) == [(0, 0), (1, 1), (2, 2)]
    tokens = pd.DataFrame(
        rows([("A", 1.0), ("B", 1.0), ("Z", 1.0)], [("A", 1.0), ("Z", 2.0)]),
    ).assign(critic="c", id="p", token_id=[10, 11, 12, 10, 12])
    console = Console(file=io.StringIO(), width=140)
    print_trace(type(trace)(tokens, trace.scores[:0], "p", notices=[], signature={"critics": []}), console)
    [row] = [line for line in console.file.getvalue().splitlines() if "'Z'" in line]
    assert row.count("'Z'") == 2


def test_what_is_shown_is_exported_as_pictures(tmp_path):
    paths = [tmp_path / "t.svg", tmp_path / "t.html", tmp_path / "t.png"]
    options = [part for path in paths for part in ("--export", str(path))]
    texts = ("--prompt", "p", "--student", "</script><b>早</b>", "--teacher", "早。")
    result = CliRunner().invoke(app, ["trace", *texts, "-c", "bundled:mean", "--view", "line", *options])
    assert result.exit_code == 0, result.output
    assert "</script>" in result.stdout
    svg, html = (path.read_text(encoding="utf-8") for path in paths[:2])
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg in html
    for picture in (svg, html):
        assert "</script>" not in picture
        assert "&lt;" in picture
        assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?https?:|@import|@font-face", picture)


def test_a_png_draws_each_cjk_character_with_its_own_glyph():
    console = Console(record=True, width=20, file=io.StringIO(), force_terminal=True)
    drawn = set()
    for character in "癌症。":
        console.print(character)
        drawn.add(to_png(console_svg(console, "t")))
    assert len(drawn) == 3, "boxes instead of characters: apt-get install -y fonts-noto-cjk"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--view", "lines"], "--view 'lines' is unknown; choose from line, table"),
        (["--export", "t.pdf"], "cannot make a picture of '.pdf'; use .svg, .html or .png"),
        (["--export", "no/such/t.svg"], "its folder does not exist"),
    ],
)
def test_bad_usage_ends_before_anything_is_scored(options, message):
    result = CliRunner().invoke(app, ["trace", "--id", "case-1-comma", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
