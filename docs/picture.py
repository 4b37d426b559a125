"""Writes the README's picture of the terminal: `python docs/picture.py`.

It is the real output of `COMMAND`, exported by rich and mended so that it needs no remote font and keeps CJK columns
aligned. Four categories keep it short.
"""

from io import StringIO
from pathlib import Path

from rich.console import Console

from critic_probe.analysis import compare
from critic_probe.cli import session
from critic_probe.pairs import Fields
from critic_probe.report.svg import console_svg
from critic_probe.report.terminal import print_compare

ROOT = Path(__file__).parents[1]
CATEGORIES = ("final-comma", "digit", "item", "verbose")
COMMAND = f"""grep -E '"({"|".join(CATEGORIES)})"' fixtures/pairs.jsonl | critic-probe compare - --rows 2"""


def main() -> None:
    """Scores the fixtures with the bundled critics and writes `docs/compare.svg`."""
    critics = session.find_critics(None, device="cpu")
    pairs = session.find_pairs(str(ROOT / "fixtures" / "pairs.jsonl"), Fields(), critics)
    pairs = [pair for pair in pairs if pair.category in CATEGORIES]
    with session.progress() as progress:
        result = compare(critics.load(), pairs, session.settings(None, "exclude", "at", "auto", "error"), progress)
    console = Console(record=True, width=116, file=StringIO(), force_terminal=True, color_system="truecolor")
    print_compare(result, console, rows=2)
    target = ROOT / "docs" / "compare.svg"
    target.write_text(console_svg(console, COMMAND), encoding="utf-8")


if __name__ == "__main__":
    main()
