"""Writes docs/commands.md from the command line's own help.

python docs/commands.py [FILE]
"""

import os
import sys
from pathlib import Path

os.environ |= {"TERMINAL_WIDTH": "100", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}  # read when typer is imported

from typer.main import get_command
from typer.testing import CliRunner

from critic_probe.cli import app

HEAD = """# Commands

What `critic-probe COMMAND --help` prints, written by `python docs/commands.py`.
"""


def names(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every command, the root first."""
    inner = getattr(command, "commands", {})
    return [path, *(found for name, each in inner.items() for found in names(each, (*path, name)))]


def section(path: tuple[str, ...]) -> str:
    """One command's help under its name."""
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="critic-probe").stdout
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    return "\n".join(["", f"## {' '.join(('critic-probe', *path))}", "", "```text", *lines, "```", ""])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".md")
    target.write_text(HEAD + "".join(map(section, names(get_command(app)))), encoding="utf-8")
