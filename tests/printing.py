"""What a result prints, for tests that read it as a user does."""

import io

from rich.console import Console

from critic_probe.report.terminal import show


def printed(result, width=200, rows=10, *, full=True, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    show(result, console, rows, full=full)
    return console.file.getvalue()


def line_of(shown, *starts):
    """The first line with `starts[-1]` after the lines with the other ones, its blanks made single."""
    lines = iter(shown.splitlines())
    found = ""
    for start in starts:
        found = next(line for line in lines if line.strip().startswith(start))
    return " ".join(found.split())
