"""Writes the README's pictures, of the terminal and of the report: `python docs/picture.py`.

The terminal's are the real output of `TRACE` and `PROFILE`, exported by rich and mended so that they need no remote
font and keep CJK columns aligned. The report's is the first window of the bundled pairs' in Chromium.
"""

import shlex
import shutil
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright
from rich.console import Console

from critic_probe import face
from critic_probe.cli import app
from critic_probe.errors import spelled
from critic_probe.report.svg import console_svg
from critic_probe.report.terminal import show

ROOT = Path(__file__).parents[1]
PAIRS = "fixtures/pairs.jsonl"
TRACE = f"critic-probe trace {PAIRS} --id case-1-comma --view line -c bundled:last"
PROFILE = f"critic-probe perturb {PAIRS} --punct --controls -c bundled:last"


def main() -> None:
    """Scores the fixtures with the bundled critics and writes `docs/trace.svg`, `profile.svg` and `report.png`."""
    pairs, docs = str(ROOT / PAIRS), ROOT / "docs"
    traced = [pairs if word == PAIRS else word for word in shlex.split(TRACE)[1:]]
    app([*traced, "--device", "cpu", "--export", str(docs / "trace.svg")], standalone_mode=False)
    picture_profile(pairs, docs / "profile.svg")
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        app(["report", pairs, "-o", str(page)], standalone_mode=False)
        picture_report(page, docs / "report.png")


def picture_profile(pairs: str, target: Path) -> None:
    """Draws what `PROFILE` prints."""
    result = face.bench(face.load("bundled:last", device="cpu"), pairs).perturb(["punct", "controls"])
    console = Console(record=True, width=100, file=StringIO(), force_terminal=True, color_system="truecolor")
    with spelled(lambda name, _: f"--{name.replace('_', '-')}"):  # as a command says it
        show(result, console)
    target.write_text(console_svg(console, PROFILE), encoding="utf-8")


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
