"""A recorded console as one SVG file that stands alone and keeps CJK text in its columns."""

import re
from collections.abc import Callable
from html import escape, unescape
from io import StringIO
from itertools import groupby
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console

from critic_probe.text import neutralise
from critic_probe.writing import write_bytes

# rich's own template fetches a web font. This one names fonts that machines have.
_TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <style>
    .{unique_id}-matrix {{
      font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace;
      font-size: {char_height}px;
      line-height: {line_height}px;
      white-space: pre;
    }}
    .{unique_id}-title {{ font: bold 18px sans-serif; }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">{matrix}</g>
  </g>
</svg>
"""
_WIDTH = 100  # columns of a picture
_ASPECT = 0.61
_FONT = 20  # pixels, as rich draws
_CELL = _FONT * _ASPECT
_RUN = re.compile(
    r'<text (class="[^"]*") x="([^"]*)" (y="[^"]*") textLength="[^"]*" (clip-path="[^"]*")>([^<]*)</text>'
)


def to_png(svg: str) -> bytes:
    """A drawing as pixels, twice as many as it has units, with the fonts of this machine."""
    import vl_convert

    return bytes(vl_convert.svg_to_png(svg, scale=2))


def write_picture(path: Path, show: Callable[[Console], None], title: str) -> None:
    """Writes what a renderer prints as a picture that needs nothing from elsewhere; an .html page holds the same SVG.

    Args:
        path: A .svg, .html or .png file.
        show: Prints to the console that it is given.
        title: The text of the window's title bar.

    Raises:
        CriticProbeError: The file cannot be written.
    """
    console = Console(record=True, width=_WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
    show(console)
    picture = console_svg(console, neutralise(title))
    if path.suffix.lower() == ".html":
        head = f'<meta charset="utf-8"><title>{escape(neutralise(title))}</title>'
        picture = f'<!doctype html><html lang="en"><head>{head}</head><body style="margin:0">{picture}</body></html>\n'
    content = to_png(picture) if path.suffix.lower() == ".png" else picture.encode()
    write_bytes(path, content)


def console_svg(console: Console, title: str) -> str:
    """What a console made with `record=True` has printed, as SVG text.

    rich gives every character one cell of `textLength`, so wide ones are squeezed over each other; here each wide
    character stands alone where its cells are, between narrow runs that are as long as theirs.

    Args:
        console: The recording console; its record is emptied.
        title: The text of the window's title bar.
    """
    svg = console.export_svg(title=title, code_format=_TEMPLATE, font_aspect_ratio=_ASPECT)
    return _RUN.sub(_split, svg)


def _split(match: re.Match[str]) -> str:
    style, start, y, clip, content = match.groups()
    x = float(start)
    runs = []
    for wide, clusters in groupby(_clusters(unescape(content)), key=lambda cluster: cell_len(cluster) > 1):
        for run in clusters if wide else ["".join(clusters)]:
            length = cell_len(run) * _CELL
            text = escape(run).replace(" ", "\u00a0")
            runs.append(f'<text {style} x="{x:g}" {y} textLength="{length:g}" {clip}>{text}</text>')
            x += length
    return "".join(runs)


def _clusters(text: str) -> list[str]:
    """Characters, each with the zero-width ones after it."""
    clusters: list[str] = []
    for character in text:
        if clusters and cell_len(character) == 0:
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters
