"""A report as one HTML file that needs nothing from elsewhere.

What comes from a file of pairs reaches the page in two ways only: through a template that escapes it, or as compressed
data that the page's one script puts into text nodes. A content security policy lets no other script run and nothing
be fetched.
"""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from critic_probe.measures.report import ReportResult, Traced, TracedSide
from critic_probe.report.heat import BLUES, ORANGES, aligned
from critic_probe.report.pictures import pictures, to_svg
from critic_probe.report.profile import EFFECT, MARKS, ends, ranked, readers
from critic_probe.report.terminal import signature_line
from critic_probe.report.verdicts import sentences
from critic_probe.text import neutralise
from critic_probe.writing import write_bytes

LIMIT = 5_900_000  # bytes of a page; what does not fit is left out, from the least disputed pair on
_CHUNK = 40  # traces that are compressed together: opening one unpacks no more
_PROMPT = 400  # characters of a prompt that are kept
_ASKED = 60  # of them those that the table of pairs shows
_FIRST = 6  # sentences of the answer that stand in the first window; the rest unfolds
_DIGITS = 4  # significant ones of the largest value of a critic
_WORDS = {"pass": "holds", "fail": "fails", "warn": "warns", "cannot tell": "cannot be told"}


def write_page(path: Path, result: ReportResult, source: str, verdicts: pd.DataFrame) -> int:
    """Writes the page.

    Args:
        path: An .html file.
        result: What it shows.
        source: Where the gates come from.
        verdicts: The table of `gates.evaluate`.

    Returns:
        Its size in bytes.

    Raises:
        CriticProbeError: The file cannot be written.
    """
    content = page(result, source, verdicts).encode()
    write_bytes(path, content)
    return len(content)


def page(result: ReportResult, source: str, verdicts: pd.DataFrame) -> str:
    """The page as text; see `write_page`."""
    from jinja2 import Environment, select_autoescape

    script, style, template = (_own(name) for name in ("page.js", "page.css", "page.html.j2"))
    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True, lstrip_blocks=True
    )
    commands = (result.compare, result.perturb, result.tokens)
    environment.filters |= {"safe_text": _line, "safe_lines": _lines, "number": _number, "percent": _percent}
    drawn = [
        {
            "picture": picture,
            "charts": [
                (name, to_svg(chart, f"{picture.name}-{number}", f"{picture.title}: {_line(name)}"))
                for number, (name, chart) in enumerate(picture.charts.items())
            ],
            "columns": [] if picture.table is None else _columns(picture.table),
            "rows": [] if picture.table is None else _rows(picture.table),
        }
        for picture in pictures(result)
    ]

    def rendered(data: str = "", chunks: Sequence[str] = (), traced: int = 0) -> str:
        made: str = environment.from_string(template).render(
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=style,
            data=data,
            chunks=chunks,
            critics=list(result.compare.summary.critic.unique()),
            pairs=result.compare.pairs.id.nunique(),
            traced=traced,
            answer=[each.text for each in result.answer()],
            readers=[
                (critic, [aggregation for _, aggregation in of_critic])
                for critic, of_critic in groupby(readers(result.perturb.summary), key=itemgetter(0))
            ],
            under=result.examples_under,
            strongest=result.perturb.headline.set_index(["critic", "aggregation"]).strongest[result.examples_under],
            profile=_profile(result),
            gates=_gates(verdicts),
            gate_sentences=sentences(verdicts[verdicts.verdict != "pass"]),
            first=_FIRST,
            source=source,
            summary=_summary(result),
            baselines=result.compare.baselines.to_dict("records"),
            pictures=drawn,
            reading=list(dict.fromkeys(sentence for command in commands for sentence in command.reading)),
            notices=list({notice.message: notice for command in commands for notice in command.notices}.values()),
            signature=signature_line(result.perturb.signature),
            fed=result.compare.input,
            swatches=[*reversed(ORANGES), "transparent", *BLUES],
        )
        return made

    return rendered(*_data(result, LIMIT - len(rendered().encode())))


def _own(name: str) -> str:
    return (files("critic_probe.report") / "page" / name).read_text(encoding="utf-8")


def _lines(text: Any) -> str:
    return neutralise(str(text), newlines=True)


def _line(text: Any) -> str:
    return neutralise(str(text))


def _number(value: Any, decimals: int = 2) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.{decimals}f}"


def _percent(value: Any) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.0%}"


def _gates(verdicts: pd.DataFrame) -> dict[str, int]:
    """How many gates hold, fail, only warn and cannot be told, in words that a sentence can be made of."""
    missed = (verdicts.severity == "warn") & (verdicts.verdict != "pass")
    counts = verdicts.verdict.where(~missed, "warn").value_counts()
    return {shown: int(counts[word]) for word, shown in _WORDS.items() if word in counts}


def _summary(result: ReportResult) -> list[dict[str, Any]]:
    keys = ["critic", "aggregation"]
    wide = result.compare.summary.merge(result.compare.statistics.drop(columns="n"), on=keys)
    wide = wide.merge(result.perturb.headline, on=keys, how="left")
    return [{str(key): value for key, value in row.items()} for row in wide.to_dict("records")]


def _profile(result: ReportResult) -> list[dict[str, Any]]:
    """A row an edit: its name, its mark, and for every critic and read-out the effect with its interval and where they
    end on the axis, in percent; None where there is none."""
    reactions = ranked(result.perturb.summary)
    widest = max((ends(row)[1] for each in reactions for row in each.rows.values() if pd.notna(row[EFFECT])), default=0)

    def bar(row: Mapping[Hashable, Any] | None) -> dict[str, float] | None:
        if row is None or pd.isna(row[EFFECT]):
            return None
        low, high = ends(row)
        shares = dict(zip(("from", "at", "to"), (low, row[EFFECT], high), strict=True))
        return {"n": row["n"], "effect": row[EFFECT], "low": low, "high": high} | {
            name: 100 * value / max(widest, 1e-9) for name, value in shares.items()
        }

    series = readers(result.perturb.summary)
    return [
        {"mark": MARKS[each.kind], "name": each.name, "bars": [bar(each.rows.get(reader)) for reader in series]}
        for each in reactions
    ]


def _columns(table: pd.DataFrame) -> list[str]:
    return [str(name).replace("_", " ") for name in table]


def _rows(table: pd.DataFrame) -> list[list[str]]:
    return [
        [_number(value) if isinstance(value, float) else _line(value) for value in row]
        for row in table.itertuples(index=False)
    ]


def _data(result: ReportResult, room: int) -> tuple[str, list[str], int]:
    """Base64 of gzipped JSON: the rows of both tables; and the traces in chunks, as many as there is room for.

    Edits come first and then pairs, the most disputed first.

    Returns:
        The tables, the chunks, and how many pairs are in them.
    """
    series = [(row["critic"], row["aggregation"]) for row in result.compare.summary.to_dict("records")]
    names = list(dict.fromkeys(critic for critic, _ in series))
    decimals = {name: _decimals(trace for trace in result.traces if trace.critic == name) for name in names}
    by_row: dict[tuple[str, int | None], list[Traced]] = {}
    for trace in result.traces:
        by_row.setdefault((trace.id, trace.edit), []).append(trace)
    rank = {str(identity): number for number, identity in enumerate(result.compare.pairs.id.unique())}
    keys = sorted(by_row, key=lambda key: (key[1] is None, rank[key[0]]))
    tables = {"critics": names, "series": series, "decimals": list(decimals.values()), "chunk": _CHUNK}
    room -= len(_packed(tables | _tables(result, series, dict.fromkeys(keys, 0))))
    chunks: list[str] = []
    for start in range(0, len(keys), _CHUNK):
        chunk = _packed([_trace(by_row[key], names, decimals) for key in keys[start : start + _CHUNK]])
        room -= len(chunk) + 100
        if room < 0:
            break
        chunks.append(chunk)
    kept = keys[: len(chunks) * _CHUNK]
    numbers = {key: number for number, key in enumerate(kept)}
    pairs = sum(1 for _, edit in kept if edit is None)
    return _packed(tables | _tables(result, series, numbers)), chunks, pairs


def _tables(
    result: ReportResult, series: list[tuple[str, str]], numbers: dict[tuple[str, int | None], int]
) -> dict[str, Any]:
    """The rows of both tables, each with the number of its trace, or -1."""
    pairs = [
        [
            _line(identity),
            _line(of_pair[0]["category"] or ""),
            _line(result.prompts[str(identity)])[:_ASKED],
            _rounded(of_pair[0]["dispute"]),
            *_cells(of_pair, series, "gap_over_sd", [row["verdict"][0] for row in of_pair]),
            numbers.get((str(identity), None), -1),
        ]
        for identity, of_pair in _grouped(result.compare.pairs, "id")
    ]
    edits = [
        [
            *(_line(of_edit[0][name]) for name in ("family", "position", "id", "side", "kind")),
            *(_line(of_edit[0][name]) for name in ("left", "removed", "added", "right")),
            of_edit[0]["sign"],
            *_cells(of_edit, series, "delta_over_sd", ["t" if _below(row) else "" for row in of_edit]),
            numbers.get((of_edit[0]["id"], edit), -1),
        ]
        for edit, of_edit in _grouped(result.edits, "edit")
    ]
    return {"pairs": pairs, "edits": edits, "examples": result.examples, "under": series.index(result.examples_under)}


def _below(row: dict[str, Any]) -> bool:
    return bool(abs(row["delta"]) <= row["floor"])


def _grouped(table: pd.DataFrame, key: str) -> Iterable[tuple[Any, list[dict[str, Any]]]]:
    """Records by key, keys in the order in which they first appear."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        groups.setdefault(row[key], []).append({str(name): value for name, value in row.items()})
    return groups.items()


def _cells(
    rows: list[dict[str, Any]], series: list[tuple[str, str]], name: str, words: list[str]
) -> tuple[list[float | None], list[str]]:
    """A figure and a letter for every critic and read-out, in their order."""
    by_series = {(row["critic"], row["aggregation"]): (row[name], word) for row, word in zip(rows, words, strict=True)}
    cells = [by_series.get(key, (None, "")) for key in series]
    return [_rounded(value) for value, _ in cells], [word for _, word in cells]


def _rounded(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 2)


def _decimals(traces: Iterable[Traced]) -> int:
    largest = max((float(np.abs(known[np.isfinite(known)]).max(initial=0)) for known in _values(traces)), default=0.0)
    return max(0, _DIGITS - 1 - math.floor(math.log10(largest))) if largest else _DIGITS


def _values(traces: Iterable[Traced]) -> Iterable[NDArray[np.float32]]:
    return (side.values for trace in traces for side in trace.sides)


def _trace(of_row: list[Traced], names: list[str], decimals: dict[str, int]) -> dict[str, Any]:
    first = of_row[0]
    made = []
    before: Traced | None = None
    for trace in of_row:
        places = decimals[trace.critic]
        entry: dict[str, Any] = {
            "critic": names.index(trace.critic),
            "values": [[_whole(value, places) for value in side.values.tolist()] for side in trace.sides],
            "reads": [side.reads for side in trace.sides],
            "scores": [{name: _rounded_to(v, places) for name, v in side.scores.items()} for side in trace.sides],
        }
        if before is None or any(a.texts != b.texts or a.sizes != b.sizes for a, b in _zipped(before, trace)):
            entry["texts"] = [[_line(text) for text in side.texts] for side in trace.sides]
            entry["sizes"] = [None if set(side.sizes) == {1} else side.sizes for side in trace.sides]
            entry["runs"] = _runs(trace.sides[0].texts, trace.sides[1].texts)
            before = trace
        made.append(entry)
    prompt = first.prompt if len(first.prompt) <= _PROMPT else first.prompt[:_PROMPT] + "…"
    return {"id": _line(first.id), "edit": first.edit, "prompt": neutralise(prompt, newlines=True), "under": made}


def _zipped(one: Traced, other: Traced) -> Iterable[tuple[TracedSide, TracedSide]]:
    return zip(one.sides, other.sides, strict=True)


def _whole(value: float, decimals: int) -> int | None:
    """A value as the whole number that its printed digits are."""
    return round(value * 10**decimals) if math.isfinite(value) else None


def _rounded_to(value: float, decimals: int) -> float | None:
    return round(value, decimals) if math.isfinite(value) else None


def _runs(first: list[str], second: list[str]) -> list[int]:
    """The rows of `aligned` as kind and length in turn: 0 both, 1 only the first, 2 only the second."""
    kinds = (1 if b is None else 2 if a is None else 0 for a, b in aligned(first, second))
    return [number for kind, run in groupby(kinds) for number in (kind, sum(1 for _ in run))]


def _packed(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode()
