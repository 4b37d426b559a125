"""Tables flow into the width that there is: no figure is cut or left out, and every row keeps its name."""

import io
from collections import Counter

import pytest
from rich.cells import cell_len
from rich.console import Console

from critic_probe.report.terminal.pieces import heading, label, plain, table_of

NAMES = ("last", "ends in terminal punctuation wins", "bundled:last/last - bundled:mean/last")
CELLS = [[f"{100 * row + column}.25" for column in range(9)] for row in range(len(NAMES))]


def shown(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue().splitlines()


def figures():
    table = table_of(*(f"col\n{i}" for i in range(9)), label="what")
    table.add_row(heading("a critic with a name that is long, and what else is known of it"))
    for name, cells in zip(NAMES, CELLS, strict=True):
        table.add_row(label(name), *cells)
    return table


@pytest.mark.parametrize("width", [40, 50, 60, 79, 80, 100, 120, 200])
def test_every_figure_is_there_once_and_every_name_is_whole(width):
    lines = shown(figures(), width)
    assert max(map(cell_len, lines)) <= width
    words = Counter(word for line in lines for word in line.split())
    assert all(words[cell] == 1 for cells in CELLS for cell in cells)
    for name in NAMES:
        assert any(name in line for line in lines)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_figures_of_a_name_follow_it(width):
    text = " ".join(" ".join(shown(figures(), width)).split())
    for name, cells in zip(NAMES, CELLS, strict=True):
        assert f" {name} {cells[0]} {cells[1]} " in text


def test_a_wide_terminal_has_one_table_and_a_narrow_one_goes_on_below():
    rules = {width: sum(set(line.strip()) == {"─"} for line in shown(figures(), width)) for width in (60, 200)}
    assert rules[200] == 1
    assert rules[60] > 1


def test_what_goes_on_below_names_only_rows_that_have_something_there():
    table = table_of(*(f"a long header {i}" for i in range(4)))
    table.add_row(heading("full"))
    table.add_row(plain("x"), "1", "2", "3", "4")
    table.add_row(heading("half"))
    table.add_row(plain("y"), "5")
    first, rest = "\n".join(shown(table, 50)).split("\n\n", 1)
    assert "half" in first
    assert "full" in rest
    assert "half" not in rest
