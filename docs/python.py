"""Runs the Python of docs/python.md and writes what it prints below each block.

python docs/python.py [FILE]

The blocks are one session, in a folder that holds the pairs which the page's `grep` picks. A last line that is an
expression is printed, as at a prompt.
"""

import ast
import os
import re
import subprocess
import sys
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ |= {"COLUMNS": "80", "HF_HUB_OFFLINE": "1"}  # tables are as wide as the terminal that there is

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", re.MULTILINE | re.DOTALL)
PICKS = re.compile(r"^grep .* > pairs\.jsonl$", re.MULTILINE)


def executed(page: str) -> str:
    """The page with what its blocks print now."""
    names: dict[str, Any] = {"__name__": "docs"}

    def block(found: re.Match[str]) -> str:
        printed = output(found[1], names)
        shown = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
        return f"```python\n{found[1]}```\n" + (f"\n```text\n{shown}```\n" if shown else "")

    with TemporaryDirectory() as folder, chdir(folder):
        Path("fixtures").symlink_to(ROOT / "fixtures")
        subprocess.run(PICKS.search(page)[0], shell=True, check=True)
        return BLOCK.sub(block, page)


def output(code: str, names: dict[str, Any]) -> str:
    """What a block prints, its last expression too."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(StringIO()) as printed:
        exec(compile(tree, "docs/python.md", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "docs/python.md", "eval"), names)
            if value is not None:
                print(value)
    return printed.getvalue()


if __name__ == "__main__":
    source = Path(__file__).with_suffix(".md")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else source
    target.write_text(executed(source.read_text(encoding="utf-8")), encoding="utf-8")
