import html
import io
import json
import re
from dataclasses import replace

import pytest
from printing import printed
from rich.cells import cell_len
from rich.console import Console

from critic_probe.errors import CriticProbeError
from critic_probe.report.files import read_result
from critic_probe.report.heat import BLUES, ORANGES
from critic_probe.report.terminal import show

WIDTHS = (60, 80, 100, 120, 200)


@pytest.fixture(params=WIDTHS)
def width(request):
    return request.param


def test_no_line_is_wider_than_the_console(result, width):
    for full in (False, True):
        assert max(cell_len(line) for line in printed(result, width, full=full).splitlines()) <= width


def test_hostile_text_is_shown_literally_and_controls_nothing(compare, perturb, trace, diff, width):
    for result in (compare, perturb, trace, diff):
        assert not {"\x1b", "\u202e"} & set(printed(result, width, rows=10_000))
    assert "[bold]x[/bold]" in printed(compare, width, rows=10_000)
    assert "</script>" in printed(compare, rows=10_000)


def test_no_number_is_cut_short(result, width):
    """rich marks what it truncates with an ellipsis; no text of these results holds one."""
    assert "…" not in printed(result, width)


def test_every_result_prints_its_signature_last(result):
    assert printed(result, 2000).splitlines()[-1].startswith("critic-probe 0.1.0 | critic")


def test_a_prompt_shows_what_is_piped(result, capsys):
    result.show()
    assert capsys.readouterr().out == printed(result, 80, None, full=False) == f"{result}\n"
    assert repr(result) == str(result)


def test_a_notebook_shows_the_same_and_obeys_none_of_it(result):
    made = result._repr_html_()
    console = Console(file=io.StringIO(), width=80)
    show(result, console, view="line")
    shown = console.file.getvalue().rstrip("\n")
    assert html.unescape(re.sub(r"</?(?:pre|span)[^>]*>", "", made)).rstrip("\n") == shown
    assert set(re.findall(r"<(/?\w+)", made)) <= {"pre", "/pre", "span", "/span"}
    assert "style=" in made


def test_a_notebook_shows_a_trace_as_text_on_the_grounds_of_its_values(trace):
    made = trace._repr_html_()
    largest = trace.tokens.value.abs().max()
    [most] = trace.tokens[trace.tokens.value.abs() == largest].head(1).itertuples()
    shades = ORANGES if most.value < 0 else BLUES
    assert f"background-color: {shades[-1]}" in made


def test_a_wide_character_has_two_columns_in_a_notebook_whatever_its_font(trace):
    made = trace._repr_html_()
    wide = [character for character in html.unescape(made) if cell_len(character) == 2]
    assert wide
    assert re.findall(r'<span style="display: inline-block; width: 2ch">(.)</span>', made) == wide


def test_a_result_that_is_read_back_shows_and_writes_the_same(result, tmp_path):
    result.save(tmp_path / "first.json")
    again = read_result(tmp_path / "first.json")
    assert (type(again), again.command) == (type(result), result.command)
    assert str(again) == str(result)
    for table in result.tables:
        frame, read = getattr(result, table), getattr(again, table)
        if len(frame):
            assert list(read.dtypes) == list(frame.dtypes) or table == "training"
    again.save(tmp_path / "second.json")
    assert (tmp_path / "second.json").read_bytes() == (tmp_path / "first.json").read_bytes()


def test_how_to_read_it_follows_from_the_tables(result):
    assert result.read_aloud() == getattr(result, "reading", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"x\.json: not valid JSON .*; give the JSON of a result"),
        ("{}", r"x\.json: no schema; give the JSON of audit, .*, verify"),
        ("[]", r"x\.json: holds an empty list, not an object; give the JSON of a result"),
        ('{"schema": "critic-probe/warmup/1"}', r'x\.json: schema "critic-probe/warmup/1"; give the JSON of audit'),
        (
            '{"schema": "critic-probe/tokens/1"}',
            r"x\.json: has no 'warnings' of tokens; give the file as it was written",
        ),
    ],
)
def test_what_is_no_result_is_refused(content, message, tmp_path):
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(CriticProbeError, match=message):
        read_result(tmp_path / "x.json")


def test_a_result_without_one_of_its_columns_is_refused(tokens, tmp_path):
    replace(tokens, dependence=tokens.dependence.drop(columns="lag1")).save(tmp_path / "x.json")
    read_result(tmp_path / "x.json")  # no sentence needs it
    data = json.loads((tmp_path / "x.json").read_text("utf-8"))
    for row in data["dependence"]:
        del row["responses"]
    (tmp_path / "x.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(CriticProbeError, match=r"x\.json: lacks a column of tokens \(.*responses.*\); give the file"):
        read_result(tmp_path / "x.json")
