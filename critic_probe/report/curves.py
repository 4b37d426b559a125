"""A run's steps as a page: the answer, a curve a figure, and the tables; no script at all."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from critic_probe.measures.result import Measured
from critic_probe.report.pictures import POINTS, Picture, finished, measured, to_svg, with_intervals
from critic_probe.report.terminal import signature_line
from critic_probe.runs.logs import LogsResult
from critic_probe.runs.names import METRICS
from critic_probe.runs.track import SAYS, TrackResult
from critic_probe.text import neutralise
from critic_probe.writing import write_text

Curved = TrackResult | LogsResult
_CAPTION = "At each step, with its 95 % interval."


def write_curves(path: Path, result: Curved) -> None:
    """Writes the page.

    Args:
        path: An .html file.
        result: What it shows.

    Raises:
        CriticProbeError: The file cannot be written.
    """
    page = _of_logs(result) if isinstance(result, LogsResult) else _of_track(result)
    write_text(path, page)


def _of_track(result: TrackResult) -> str:
    drawn = []
    for figure in [name for name in SAYS if name in result.steps]:
        frame = measured(result.steps, figure)
        if len(frame):
            drawn.append(Picture(figure, SAYS[figure], _CAPTION, {"": _curve(frame, figure)}, None))
    return _page(f"track {result.run}", result, drawn, result.tables)


def _of_logs(result: LogsResult) -> str:
    """A curve a known figure that was logged more than once; the table of steps is for files."""
    drawn = []
    for row in result.metrics.itertuples(index=False):
        frame = result.steps[["step", row.name]].dropna()
        if row.name in METRICS and len(frame) > 1:
            caption = (
                f"{METRICS[row.name].says}; logged as {row.logged}{f' ({row.definition})' if row.definition else ''}."
            )
            drawn.append(Picture(row.name.replace("/", "-"), row.name, caption, {"": _line(frame, row.name)}, None))
    return _page("logs", result, drawn, [name for name in result.tables if name != result.main])


def _line(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    import altair as alt

    if len(frame) > POINTS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, POINTS).astype(int)]
    shown = frame.rename(columns={name: "value"})
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1))
    y = alt.Y("value:Q", title=name.partition("/")[2], scale=alt.Scale(zero=False))
    return finished(alt.Chart(shown).mark_line().encode(x=x, y=y))


def _curve(frame: pd.DataFrame, figure: str) -> dict[str, Any]:
    import altair as alt

    ends = (f"{figure}_low", f"{figure}_high")
    shown = frame[["step", "aggregation", figure, *ends]]
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1))
    y = alt.Y(f"{figure}:Q", title=SAYS[figure], scale=alt.Scale(zero=False))
    return finished(alt.layer(*with_intervals(shown, x, y, ends)))


def _page(title: str, result: Measured, drawn: list[Picture], names: Sequence[str]) -> str:
    from jinja2 import Environment, select_autoescape

    page = files("critic_probe.report") / "page"
    template, style = ((page / name).read_text(encoding="utf-8") for name in ("plain.html.j2", "page.css"))
    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"safe_text": lambda text: neutralise(str(text))}
    tables = [(name, getattr(result, name)) for name in names]
    made: str = environment.from_string(template).render(
        title=title,
        style=style,
        answer=[each.text for each in result.answer()],
        drawn=[(p, to_svg(p.charts[""], p.name, p.title)) for p in drawn],
        tables=[
            (name.replace("_", " "), [str(column).replace("_", " ") for column in table], _cells(table))
            for name, table in tables
            if len(table)
        ],
        reading=result.reading,
        notices=result.notices,
        signature=signature_line(result.signature),
    )
    return made


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in table.itertuples(index=False)]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_cell(each) for each in value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else neutralise(str(value))
