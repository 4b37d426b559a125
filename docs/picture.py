"""Writes the README's pictures, of the terminal and of the report: `python docs/picture.py`.

The terminal's is the real output of `COMMAND`, exported by rich and mended so that it needs no remote font and keeps
CJK columns aligned; four categories keep it short. The report's is the first window of the bundled pairs' in Chromium.
"""

import shutil
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright
from rich.console import Console

from critic_probe import bundled
from critic_probe.cli import app, session
from critic_probe.cli.options import Scoring
from critic_probe.measures.compare import compare
from critic_probe.pairs import Fields
from critic_probe.report.svg import console_svg
from critic_probe.report.terminal.compare import print_compare

ROOT = Path(__file__).parents[1]
CATEGORIES = ("final-comma", "digit", "item", "verbose")
COMMAND = f"""grep -E '"({"|".join(CATEGORIES)})"' fixtures/pairs.jsonl | critic-probe compare - --rows 2"""


def main() -> None:
    """Scores the fixtures with the bundled critics and writes `docs/compare.svg` and `docs/report.png`."""
    picture_terminal(ROOT / "docs" / "compare.svg")
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        app(["report", str(ROOT / "fixtures" / "pairs.jsonl"), "-o", str(page)], standalone_mode=False)
        picture_report(page, ROOT / "docs" / "report.png")


def picture_terminal(target: Path) -> None:
    """Draws what `COMMAND` prints."""
    critics = bundled.find_critics(None, device="cpu")
    pairs = bundled.find_pairs(str(ROOT / "fixtures" / "pairs.jsonl"), Fields(), critics)
    pairs = [pair for pair in pairs if pair.category in CATEGORIES]
    with session.progress() as progress:
        result = compare(critics.load(), pairs, Scoring(no_cache=True).settings(), progress)
    console = Console(record=True, width=116, file=StringIO(), force_terminal=True, color_system="truecolor")
    print_compare(result, console, rows=2)
    target.write_text(console_svg(console, COMMAND), encoding="utf-8")


def picture_report(page: Path, target: Path) -> None:
    """Photographs the first window of a page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 800})
        shown.goto(page.as_uri())
        shown.locator("html[data-ready]").wait_for()
        shown.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
