"""The pictures of a report, drawn by Altair and made SVG by vl-convert: no script, and nothing from elsewhere."""

import re
from collections.abc import Callable
from functools import partial
from html import escape
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from critic_probe.measures.report import ReportResult
from critic_probe.report.profile import CAPTION, EFFECT, MARKS, ends, ranked
from critic_probe.report.svg import to_png
from critic_probe.text import neutralise
from critic_probe.writing import told, write_bytes

POINTS = 1500  # pairs that a scatter draws; more are one another's cover
_WIDTH = 330
# Colours that stand on white and on black and differ for every kind of colour vision; a shape says the same. Sides and
# verdicts are orange and blue as in a trace, read-outs never are.
_SERIES = ("#8e5bb5", "#009e73", "#cc79a7", "#b8860b", "#7f7f7f", "#4a6fe3")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [1, 3])
_SIDES = {"student": "#d55e00", "teacher": "#0b84c8"}
_KINDS = {"~": "harmless", "!": "worse", "=": "the same facts"}
_KIND_COLOURS = {"harmless": "#d55e00", "worse": "#0b84c8", "the same facts": "#7f7f7f"}
_VERDICTS = {"teacher": "#0b84c8", "student": "#d55e00", "tie": "#7f7f7f"}
_POSITIONS = ["initial", "medial", "terminal", "whole"]
_TAG = re.compile(r"<[^>]*>")
_NUMBER = re.compile(r"(\d+\.\d{2})\d+")


class Picture(NamedTuple):
    """One kind of picture, drawn once a critic, or once a critic and read-out.

    Attributes:
        name: Short and fixed: files are called by it.
        title: What it shows.
        caption: How to read it.
        charts: What it is of -> Vega-Lite specification.
        table: The figures as rows, for those who cannot see them; None where a row would be a pair.
    """

    name: str
    title: str
    caption: str
    charts: dict[str, dict[str, Any]]
    table: pd.DataFrame | None


def pictures(result: ReportResult) -> list[Picture]:
    """What a report draws below its first window; kinds of which nothing was measured are left out."""
    temperature = result.compare.signature["temperature"]
    pairs = result.compare.pairs
    drawn = pairs[pairs.id.isin(_evenly(pairs.id.unique()))]
    counts = drawn.id.nunique(), pairs.id.nunique()
    some = "" if counts[0] == counts[1] else f" {counts[0]} of {counts[1]} pairs are drawn, evenly taken."
    positions = result.tokens.positions
    scores = ["student_score", "teacher_score"]
    gaps = measured(drawn, "gap_over_sd")
    single, pooled = ["critic", "aggregation"], ["critic"]
    kinds: list[tuple[str, str, str, pd.DataFrame, Callable[[pd.DataFrame], Any], list[str]]] = [
        (
            "scores",
            "Scores of both sides",
            "How the scores of students and teachers are spread under each read-out. Raw scores of two read-outs have "
            "no common scale: look at how far the two sides lie apart, not at the numbers.",
            measured(pairs, *scores),
            _distributions,
            single,
        ),
        (
            "student-teacher",
            "Student against teacher",
            "A point is a pair. Above the diagonal the teacher scores higher, which is right." + some,
            measured(drawn, *scores),
            _scatter,
            single,
        ),
        (
            "positions",
            "Harmless punctuation by its place",
            "Median |change| of the score, in SD of the unedited scores, when punctuation alone changes at the "
            "beginning, within, at the end, or throughout a response.",
            measured(result.places, "median_abs_delta_over_sd"),
            _places,
            pooled,
        ),
        (
            "length",
            "Gap against length",
            "A point is a pair: teacher minus student in tokens, and in SD of the scores. A slope means that length "
            "alone could explain verdicts." + some,
            gaps,
            partial(_lengths, domain=[float(gaps.gap_over_sd.min()), float(gaps.gap_over_sd.max())]),
            single,
        ),
        (
            "reliability",
            "Are confident verdicts right?",
            f"Confidence is sigmoid(|d|/T) at T = {temperature:g}, the loss's own. On the diagonal a verdict is right "
            "as often as its confidence says. A read-out of a smaller raw scale stands further left without being any "
            "worse: compare heights; the table has |gap| in SD.",
            measured(result.reliability, "d_acc", "confidence"),
            _reliability,
            pooled,
        ),
        (
            "along",
            "Accuracy by how much of a response is read",
            "Share of pairs ordered rightly when each side is read after a share of its tokens (95 % intervals).",
            measured(positions, "d_acc"),
            _along,
            pooled,
        ),
    ]
    shown = []
    for name, title, caption, frame, draw, by in kinds:
        charts = {" read as ".join(of): finished(draw(part)) for of, part in frame.groupby(by, sort=False) if len(part)}
        if charts:
            shown.append(Picture(name, title, caption, charts, frame if by == pooled else None))
    return shown


def profile_picture(result: ReportResult) -> Picture:
    """The reaction profile, which the page draws itself."""
    frame = pd.DataFrame(
        [
            {"critic": critic, "aggregation": aggregation, "edit": f"{MARKS[reaction.kind]} {reaction.name}"}
            | {"kind": _KINDS[MARKS[reaction.kind]], "effect": row[EFFECT]}
            | dict(zip(("low", "high"), ends(row), strict=True))
            for reaction in ranked(result.perturb.summary)
            for (critic, aggregation), row in reaction.rows.items()
        ]
    )
    frame = measured(frame, "effect")
    charts = {str(critic): finished(_profile(part)) for critic, part in frame.groupby("critic", sort=False)}
    return Picture("profile", "Reaction profile", CAPTION, charts, None)


def to_svg(chart: dict[str, Any], name: str = "", label: str = "") -> str:
    """A chart as SVG text that scales with its place and takes the text colour that stands around it.

    Args:
        chart: A Vega-Lite specification.
        name: Unique on a page; keeps the ids of two charts apart.
        label: What a screen reader says of it.
    """
    import vl_convert

    svg = _TAG.sub(lambda tag: _NUMBER.sub(r"\1", tag[0]), vl_convert.vegalite_to_svg(chart))
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
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for picture in (profile_picture(result), *pictures(result)):
            for number, (critic, chart) in enumerate(picture.charts.items(), start=1):
                shown = chart | {"background": "white", "title": {"text": neutralise(f"{picture.title}: {critic}")}}
                svg = vl_convert.vegalite_to_svg(shown).replace("currentColor", "#222")
                last = f"-{number}" if len(picture.charts) > 1 else ""
                for suffix, content in ((".svg", svg.encode()), (".png", to_png(svg))):
                    path = folder / f"{picture.name}{last}{suffix}"
                    write_bytes(path, content)
                    written.append(path)
    return written


def measured(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows that have a finite figure to draw."""
    return frame[np.isfinite(frame[list(columns)].astype(float)).all(axis=1)]


def _evenly(ids: Any) -> Any:
    return ids if len(ids) <= POINTS else ids[np.linspace(0, len(ids) - 1, POINTS).astype(int)]


def finished(chart: Any) -> dict[str, Any]:
    """A chart's specification in the page's colours."""
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


def _coloured(colours: dict[str, str]) -> Any:
    import altair as alt

    return alt.Scale(domain=list(colours), range=list(colours.values()))


def _profile(frame: pd.DataFrame) -> Any:
    import altair as alt

    shown = frame.assign(edit=frame.edit.map(neutralise))
    charts: list[Any] = []
    for name, part in shown.groupby("aggregation", sort=False):
        y = alt.Y(
            "edit:N",
            sort=list(shown.edit.unique()),
            scale=alt.Scale(domain=list(shown.edit.unique())),
            title=None,
            axis=None if charts else alt.Axis(labelLimit=190, ticks=False),
        )
        scale = alt.Scale(domain=[0, float(shown.high.max())])
        base = alt.Chart(part, width=150, title=name).encode(y=y)
        colour = alt.Color("kind:N", scale=_coloured(_KIND_COLOURS))
        bars = base.mark_bar(aria=False, opacity=0.75).encode(
            x=alt.X("effect:Q", scale=scale, title="median |change| / SD"), color=colour
        )
        intervals = base.mark_rule(aria=False, color="currentColor").encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
        charts.append((bars + intervals).properties(height=alt.Step(13)))
    return alt.hconcat(*charts, spacing=10).resolve_scale(color="shared")


def _distributions(frame: pd.DataFrame) -> Any:
    import altair as alt

    scores = frame.melt(value_vars=["student_score", "teacher_score"], var_name="side", value_name="score")
    data = scores.assign(side=scores.side.str.removesuffix("_score"))[["side", "score"]]
    base = alt.Chart(data, width=_WIDTH, height=210).encode(
        x=alt.X("score:Q", bin=alt.Bin(maxbins=36), title="score"),
        y=alt.Y("count()", stack=None, title="responses"),
    )
    colour = alt.Color("side:N", scale=_coloured(_SIDES))
    return base.mark_bar(aria=False, opacity=0.65, binSpacing=0).encode(color=colour)


def _scatter(frame: pd.DataFrame) -> Any:
    import altair as alt

    low = float(frame[["student_score", "teacher_score"]].min().min())
    high = float(frame[["student_score", "teacher_score"]].max().max())
    scale = alt.Scale(domain=[low, high if high > low else low + 1], nice=True, zero=False)
    points = (
        alt.Chart(frame[["student_score", "teacher_score", "verdict"]], width=210, height=210)
        .mark_point(aria=False, filled=True, size=14, opacity=0.7)
        .encode(
            x=alt.X("student_score:Q", scale=scale, title="student", axis=alt.Axis(tickCount=4)),
            y=alt.Y("teacher_score:Q", scale=scale, title="teacher", axis=alt.Axis(tickCount=4)),
            color=alt.Color("verdict:N", scale=_coloured(_VERDICTS)),
        )
    )
    corners = pd.DataFrame({"a": [low, high], "b": [low, high]})
    diagonal = alt.Chart(corners).mark_line(aria=False, color="currentColor", opacity=0.5, strokeWidth=1)
    return diagonal.encode(x=alt.X("a:Q", scale=scale), y=alt.Y("b:Q", scale=scale)) + points


def _rule(**at: Any) -> Any:
    import altair as alt

    [(channel, value)] = at.items()
    mark = alt.Chart(pd.DataFrame({"at": [value]})).mark_rule(aria=False, color="currentColor", opacity=0.5)
    return mark.encode(**{channel: alt.datum(value)})


def with_intervals(
    frame: pd.DataFrame, x: Any, y: Any, ends: tuple[str, str], offset: Any = None, line: bool = True
) -> list[Any]:
    """The layers of a figure by read-out, with its interval.

    Args:
        frame: With the columns of x, y and ends, and `aggregation`.
        x: Altair's channel.
        y: The same.
        ends: The columns of the interval.
        offset: Altair's channel, where points stand beside each other.
        line: Whether they are joined.
    """
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
    return alt.layer(*with_intervals(frame, x, y, ("low", "high"), offset, line=False))


def _lengths(frame: pd.DataFrame, domain: list[float]) -> Any:
    import altair as alt

    shown = frame.assign(longer=frame.teacher_tokens - frame.student_tokens)[["longer", "gap_over_sd", "verdict"]]
    points = (
        alt.Chart(shown, width=_WIDTH, height=210)
        .mark_point(aria=False, filled=True, size=14, opacity=0.7)
        .encode(
            x=alt.X("longer:Q", title="tokens, teacher - student", axis=alt.Axis(tickCount=4)),
            y=alt.Y("gap_over_sd:Q", title="gap / SD", scale=alt.Scale(domain=domain, nice=True)),
            color=alt.Color("verdict:N", scale=_coloured(_VERDICTS)),
        )
    )
    return _rule(y=0) + points


def _reliability(frame: pd.DataFrame) -> Any:
    import altair as alt

    x = alt.X("confidence:Q", title="mean confidence", scale=alt.Scale(domain=[0.5, 1]), axis=alt.Axis(format="%"))
    y = alt.Y("d_acc:Q", title="right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    corners = pd.DataFrame({"a": [0.5, 1.0]})
    diagonal = alt.Chart(corners).mark_line(aria=False, color="currentColor", opacity=0.5, strokeWidth=1)
    return alt.layer(diagonal.encode(x="a:Q", y="a:Q"), *with_intervals(frame, x, y, ("d_acc_low", "d_acc_high")))


def _along(frame: pd.DataFrame) -> Any:
    import altair as alt

    x = alt.X("share:Q", title="share of the tokens read", axis=alt.Axis(format="%", values=[0.25, 0.5, 0.75, 1]))
    y = alt.Y("d_acc:Q", title="right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    return alt.layer(_rule(y=0.5), *with_intervals(frame, x, y, ("d_acc_low", "d_acc_high")))
