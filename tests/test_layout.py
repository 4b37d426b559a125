"""How the package is laid out: what a file longer than others owes its reader."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "critic_probe"


def test_a_file_above_400_lines_says_why_at_its_top():
    long = [file for file in PACKAGE.rglob("*.py") if len(file.read_text("utf-8").splitlines()) > 400]
    assert long
    said = {file.name: ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "" for file in long}
    assert not [name for name, text in said.items() if "longer than others" not in " ".join(text.split())]
