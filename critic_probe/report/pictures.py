"""The pictures of a report, drawn by Altair and made SVG by vl-convert: no script, and nothing from elsewhere."""

import re
from collections.abc import Callable, Iterator
from html import escape
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from critic_probe.errors import CriticProbeError
from critic_probe.measures.report import ReportResult
from critic_probe.report.svg import to_png
from critic_probe.text import neutralise

POINTS = 1500  # pairs that a scatter draws; more are one another's cover
_WIDTH = 330
# Colours that stand on white and on black and differ for every kind of colour vision; a shape says the same. Sides and
# verdicts are orange and blue as in a trace, read-outs never are.
_SERIES = ("#8e5bb5", "#009e73", "#cc79a7", "#b8860b", "#7f7f7f", "#4a6fe3")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [1, 3])
_SIDES = {"student": "#d55e00", "teacher": "#0b84c8"}
_VERDICTS = {"teacher": "#0b84c8", "student": "#d55e00", "tie": "#7f7f7f"}
_POSITIONS = ["initial", "medial", "terminal", "whole"]
_NUMBER = re.compile(r"(\d+\.\d{2})\d+")


class Picture(NamedTuple):
    """One kind of picture, drawn once a critic.

    Attributes:
        name: Short and fixed: files are called by it.
        title: What it shows.
        caption: How to read it.
        charts: Critic -> Vega-Lite specification.
        table: The figures as rows, for those who cannot see them; None where a row would be a pair.
    """

    name: str
    title: str
    caption: str
    charts: dict[str, dict[str, Any]]
    table: pd.DataFrame | None


def pictures(result: ReportResult) -> list[Picture]:
    """Everything a report draws; kinds of which nothing was measured are left out."""
    temperature = result.compare.signature["temperature"]
    pairs = result.compare.pairs
    drawn = pairs[pairs.id.isin(_evenly(pairs.id.unique()))]
    counts = drawn.id.nunique(), pairs.id.nunique()
    some = "" if counts[0] == counts[1] else f" {counts[0]} of {counts[1]} pairs are drawn, evenly taken."
    positions = result.tokens.positions
    scores = ["student_score", "teacher_score"]
    kinds: list[tuple[str, str, str, pd.DataFrame, Callable[[pd.DataFrame], Any], bool]] = [
        (
            "scores",
            "Scores of both sides",
            "How the scores of students and teachers are spread under each read-out. Raw scores of two read-outs have "
            "no common scale: look at how far the two sides lie apart, not at the numbers.",
            _measured(pairs, *scores),
            _distributions,
            False,
        ),
        (
            "student-teacher",
            "Student against teacher",
            "A point is a pair. Above the diagonal the teacher scores higher, which is right." + some,
            _measured(drawn, *scores),
            _scatter,
            False,
        ),
        (
            "signal-to-noise",
            "Signal to noise by family of harmless edits",
            "How many times as far answers made worse move the score as a harmless edit of the family does: medians, "
            "95 % intervals over prompts. Scale-free. At 1 a harmless edit weighs as much as a fault. A family whose "
            "median is 0 is not drawn.",
            _measured(result.signal[result.signal.signal_to_noise > 0], "signal_to_noise"),
            _signal,
            True,
        ),
        (
            "positions",
            "Harmless punctuation by its place",
            "Median |change| of the score, in SD of the unedited scores, when punctuation alone changes at the "
            "beginning, within, at the end, or throughout a response.",
            _measured(result.places, "median_abs_delta_over_sd"),
            _places,
            True,
        ),
        (
            "length",
            "Gap against length",
            "A point is a pair: teacher minus student in tokens, and in SD of the scores. A slope means that length "
            "alone could explain verdicts." + some,
            _measured(drawn, "gap_over_sd"),
            _lengths,
            False,
        ),
        (
            "reliability",
            "Are confident verdicts right?",
            f"Confidence is sigmoid(|d|/T) at T = {temperature:g}, the loss's own. On the diagonal a verdict is right "
            "as often as its confidence says. A read-out of a smaller raw scale stands further left without being any "
            "worse: compare heights; the table has |gap| in SD.",
            _measured(result.reliability, "d_acc", "confidence"),
            _reliability,
            True,
        ),
        (
            "along",
            "Accuracy by how much of a response is read",
            "Share of pairs ordered rightly when each side is read after a share of its tokens (95 % intervals).",
            _measured(positions, "d_acc"),
            _along,
            True,
        ),
    ]
    shown = []
    for name, title, caption, frame, draw, tabled in kinds:
        charts = {
            str(critic): _finished(draw(part)) for critic, part in frame.groupby("critic", sort=False) if len(part)
        }
        if charts:
            shown.append(Picture(name, title, caption, charts, frame if tabled else None))
    return shown


def to_svg(chart: dict[str, Any], name: str = "", label: str = "") -> str:
    """A chart as SVG text that scales with its place and takes the text colour that stands around it.

    Args:
        chart: A Vega-Lite specification.
        name: Unique on a page; keeps the ids of two charts apart.
        label: What a screen reader says of it.
    """
    import vl_convert

    svg = _NUMBER.sub(r"\1", vl_convert.vegalite_to_svg(chart))
    svg = re.sub(r'(id="|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(
        r'<svg ([^>]*?)width="([\d.]+)" height="[\d.]+"',
        lambda m: f'<svg {m[1]}role="img" aria-label="{escape(label)}" style="max-width:{float(m[2]) * 1.25:g}px"',
        svg,
        count=1,
    )


def write_pictures(folder: Path, result: ReportResult) -> list[Path]:
    """Writes every picture as .svg and .png into a folder, which is made where it is not there.

    Raises:
        CriticProbeError: A file cannot be written.
    """
    import vl_convert

    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures(result):
            for number, (critic, chart) in enumerate(picture.charts.items(), start=1):
                shown = chart | {"background": "white", "title": {"text": neutralise(f"{picture.title}: {critic}")}}
                svg = vl_convert.vegalite_to_svg(shown).replace("currentColor", "#222")
                last = f"-{number}" if len(picture.charts) > 1 else ""
                for suffix, content in ((".svg", svg.encode()), (".png", to_png(svg))):
                    path = folder / f"{picture.name}{last}{suffix}"
                    path.write_bytes(content)
                    written.append(path)
    except OSError as error:
        raise CriticProbeError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return written


def _measured(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows that have a finite figure to draw."""
    return frame[np.isfinite(frame[list(columns)].astype(float)).all(axis=1)]


def _evenly(ids: Any) -> Any:
    return ids if len(ids) <= POINTS else ids[np.linspace(0, len(ids) - 1, POINTS).astype(int)]


def _finished(chart: Any) -> dict[str, Any]:
    made: dict[str, Any] = (
        chart.configure(
            background="transparent",
            font="system-ui, sans-serif",
            padding={"left": 10, "right": 6, "top": 4, "bottom": 4},
        )
        .configure_view(stroke="transparent")
        .configure_axis(
            labelColor="currentColor",
            titleColor="currentColor",
            titleFontWeight="normal",
            gridColor="currentColor",
            gridOpacity=0.12,
            domainColor="currentColor",
            domainOpacity=0.4,
            tickColor="currentColor",
            tickOpacity=0.4,
            labelFontSize=11,
            titleFontSize=12,
        )
        .configure_legend(
            labelColor="currentColor", orient="top", title=None, labelFontSize=12, symbolSize=70, padding=0, offset=8
        )
        .configure_title(color="currentColor", fontSize=12, fontWeight="normal", anchor="start")
        .to_dict()
    )
    return made


def _series(frame: pd.DataFrame) -> dict[str, Any]:
    """Colour and shape by read-out: each says it alone."""
    import altair as alt

    names = list(frame.aggregation.unique())
    colours, shapes = (list(islice(cycle(kept), len(names))) for kept in (_SERIES, _SHAPES))
    return {
        "color": alt.Color("aggregation:N", scale=alt.Scale(domain=names, range=colours)),
        "shape": alt.Shape("aggregation:N", scale=alt.Scale(domain=names, range=shapes)),
    }


def _dashed(frame: pd.DataFrame) -> Any:
    import altair as alt

    names = list(frame.aggregation.unique())
    dashes = list(islice(cycle(_DASHES), len(names)))
    return alt.StrokeDash("aggregation:N", scale=alt.Scale(domain=names, range=dashes))


def _by_read_out(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield from ((str(name), part) for name, part in frame.groupby("aggregation", sort=False))


def _coloured(colours: dict[str, str]) -> Any:
    import altair as alt

    return alt.Scale(domain=list(colours), range=list(colours.values()))


def _distributions(frame: pd.DataFrame) -> Any:
    import altair as alt

    charts = []
    for name, part in _by_read_out(frame):
        scores = part.melt(value_vars=["student_score", "teacher_score"], var_name="side", value_name="score")
        data = scores.assign(side=scores.side.str.removesuffix("_score"))[["side", "score"]]
        base = alt.Chart(data, width=_WIDTH, height=100, title=name).encode(
            x=alt.X("score:Q", bin=alt.Bin(maxbins=36), title="score"),
            y=alt.Y("count()", stack=None, title="responses"),
        )
        colour = alt.Color("side:N", scale=_coloured(_SIDES))
        charts.append(base.mark_bar(aria=False, opacity=0.65, binSpacing=0).encode(color=colour))
    return alt.vconcat(*charts, spacing=8).resolve_scale(color="shared")


def _scatter(frame: pd.DataFrame) -> Any:
    import altair as alt

    charts = []
    for name, part in _by_read_out(frame):
        low = float(part[["student_score", "teacher_score"]].min().min())
        high = float(part[["student_score", "teacher_score"]].max().max())
        scale = alt.Scale(domain=[low, high if high > low else low + 1], nice=True, zero=False)
        points = (
            alt.Chart(part[["student_score", "teacher_score", "verdict"]], width=138, height=138, title=name)
            .mark_point(aria=False, filled=True, size=14, opacity=0.7)
            .encode(
                x=alt.X("student_score:Q", scale=scale, title="student", axis=alt.Axis(tickCount=4)),
                y=alt.Y("teacher_score:Q", scale=scale, title="teacher", axis=alt.Axis(tickCount=4)),
                color=alt.Color("verdict:N", scale=_coloured(_VERDICTS)),
            )
        )
        ends = pd.DataFrame({"a": [low, high], "b": [low, high]})
        diagonal = alt.Chart(ends).mark_line(aria=False, color="currentColor", opacity=0.5, strokeWidth=1)
        charts.append(diagonal.encode(x=alt.X("a:Q", scale=scale), y=alt.Y("b:Q", scale=scale)) + points)
    return alt.concat(*charts, columns=2, spacing=14).resolve_scale(color="shared", x="independent", y="independent")


def _rule(**at: Any) -> Any:
    import altair as alt

    [(channel, value)] = at.items()
    mark = alt.Chart(pd.DataFrame({"at": [value]})).mark_rule(aria=False, color="currentColor", opacity=0.5)
    return mark.encode(**{channel: alt.datum(value)})


def _signal(frame: pd.DataFrame) -> Any:
    import altair as alt

    shown = frame.assign(family=frame.family.map(neutralise))
    floor = shown.signal_to_noise.min() / 4
    shown = shown.assign(low=shown.low.where(shown.low > 0, floor), high=shown.high.fillna(shown.signal_to_noise))
    # The read-out that stands first in the table orders the families.
    order = list(shown.sort_values("signal_to_noise").family.unique())
    offset = alt.YOffset("aggregation:N", sort=list(frame.aggregation.unique()))
    y = alt.Y("family:N", sort=order, title=None, axis=alt.Axis(labelLimit=150, grid=True, ticks=False))
    base = alt.Chart(shown[["family", "aggregation", "signal_to_noise", "low", "high"]], width=_WIDTH - 110)
    x = alt.X("signal_to_noise:Q", scale=alt.Scale(type="log"), title="controls over harmless edit (log)")
    bars = base.mark_rule(aria=False, strokeWidth=1.5, opacity=0.6, clip=True).encode(
        x=x, x2="high:Q", y=y, yOffset=offset, color=_series(frame)["color"]
    )
    bars = bars.encode(x=alt.X("low:Q", title="controls over harmless edit (log)", scale=alt.Scale(type="log")))
    points = base.mark_point(aria=False, filled=True, size=40, opacity=1).encode(
        x=x, y=y, yOffset=offset, **_series(frame)
    )
    return (_rule(x=1) + bars + points).properties(height=alt.Step(max(14, 9 * frame.aggregation.nunique())))


def _with_intervals(
    frame: pd.DataFrame, x: Any, y: Any, ends: tuple[str, str], offset: Any = None, line: bool = True
) -> list[Any]:
    import altair as alt

    base = alt.Chart(frame, width=_WIDTH, height=210).encode(x=x, y=y)
    if offset is not None:
        base = base.encode(xOffset=offset)
    series = _series(frame)
    bars = base.mark_rule(aria=False, strokeWidth=1.5, opacity=0.55).encode(
        y=alt.Y(f"{ends[0]}:Q"), y2=f"{ends[1]}:Q", color=series["color"]
    )
    points = base.mark_point(aria=False, filled=True, size=55, opacity=1).encode(**series)
    lines = base.mark_line(aria=False, strokeWidth=1.5).encode(color=series["color"], strokeDash=_dashed(frame))
    return [bars, *([lines] if line else []), points]


def _places(frame: pd.DataFrame) -> Any:
    import altair as alt

    x = alt.X("position:N", sort=_POSITIONS, title="place of the edit", axis=alt.Axis(labelAngle=0))
    y = alt.Y("median_abs_delta_over_sd:Q", title="median |change| / SD", scale=alt.Scale(zero=True))
    offset = alt.XOffset("aggregation:N", sort=list(frame.aggregation.unique()))
    return alt.layer(*_with_intervals(frame, x, y, ("low", "high"), offset, line=False))


def _lengths(frame: pd.DataFrame) -> Any:
    import altair as alt

    frame = frame.assign(longer=frame.teacher_tokens - frame.student_tokens)
    charts = []
    y_scale = alt.Scale(domain=[float(frame.gap_over_sd.min()), float(frame.gap_over_sd.max())], nice=True)
    for name, part in _by_read_out(frame):
        points = (
            alt.Chart(part[["longer", "gap_over_sd", "verdict"]], width=138, height=138, title=name)
            .mark_point(aria=False, filled=True, size=14, opacity=0.7)
            .encode(
                x=alt.X("longer:Q", title="tokens, teacher - student", axis=alt.Axis(tickCount=4)),
                y=alt.Y("gap_over_sd:Q", title="gap / SD", scale=y_scale, axis=alt.Axis(tickCount=5)),
                color=alt.Color("verdict:N", scale=_coloured(_VERDICTS)),
            )
        )
        charts.append(_rule(y=0) + points)
    return alt.concat(*charts, columns=2, spacing=14).resolve_scale(color="shared")


def _reliability(frame: pd.DataFrame) -> Any:
    import altair as alt

    x = alt.X("confidence:Q", title="mean confidence", scale=alt.Scale(domain=[0.5, 1]), axis=alt.Axis(format="%"))
    y = alt.Y("d_acc:Q", title="right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    ends = pd.DataFrame({"a": [0.5, 1.0]})
    diagonal = alt.Chart(ends).mark_line(aria=False, color="currentColor", opacity=0.5, strokeWidth=1)
    return alt.layer(diagonal.encode(x="a:Q", y="a:Q"), *_with_intervals(frame, x, y, ("d_acc_low", "d_acc_high")))


def _along(frame: pd.DataFrame) -> Any:
    import altair as alt

    x = alt.X("share:Q", title="share of the tokens read", axis=alt.Axis(format="%", values=[0.25, 0.5, 0.75, 1]))
    y = alt.Y("d_acc:Q", title="right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    return alt.layer(_rule(y=0.5), *_with_intervals(frame, x, y, ("d_acc_low", "d_acc_high")))
