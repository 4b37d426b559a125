import io
import re
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from critic_probe.report.svg import console_svg
from critic_probe.report.terminal.compare import print_compare
from critic_probe.report.terminal.perturb import print_perturb
from critic_probe.report.terminal.trace import print_trace

CELL = 12.2
NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def console():
    return Console(record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor")


def runs(svg):
    """(text, x, y, length) of every piece of terminal text."""
    return [
        (text.text.replace("\u00a0", " "), float(text.get("x")), float(text.get("y")), float(text.get("textLength")))
        for text in ElementTree.fromstring(svg).iter(f"{NAMESPACE}text")
        if text.get("textLength")
    ]


@pytest.mark.parametrize(
    "line", ["诊断：pneumonia（肺炎），确诊 <b> & 'x'", "ascii only", "全是汉字", "a癌b", "é癌e\u0301x"]
)
def test_every_run_is_as_long_as_its_cells(console, line):
    console.print(Text(line))
    found = [run for run in runs(console_svg(console, "t")) if run[0].strip()]
    assert "".join(text for text, *_ in found).rstrip() == line
    column = 0
    for text, x, _, length in found:
        assert x == pytest.approx(column * CELL, rel=1e-4)
        assert length == pytest.approx(cell_len(text) * CELL, rel=1e-4)
        assert cell_len(text) in (len(text), 2 * len(text)) or "\u0301" in text
        column += cell_len(text)


def test_styled_text_keeps_its_column(console):
    console.print(Text.assemble("已确诊", ("肺炎 flu", "red strike"), "。"))
    places = {text: round(x / CELL) for text, x, _, _ in runs(console_svg(console, "t"))}
    assert [places[text] for text in ("已", "确", "诊", "肺", "炎", "。")] == [0, 2, 4, 6, 8, 14]


def test_nothing_is_fetched(console, compare, perturb, trace):
    print_compare(compare, console, 5)
    print_perturb(perturb, console, 5)
    print_trace(trace, console)
    svg = console_svg(console, "critic-probe <compare>")
    ElementTree.fromstring(svg)
    assert "font-face" not in svg
    assert not re.search(r"https?:|href|@import", svg.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    assert set(re.findall(r"url\((.)", svg)) == {"#"}
    assert "<script" not in svg
    assert "<b>" not in svg
