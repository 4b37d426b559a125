"""Verdicts of gates: for a terminal, as JSON, as Markdown for a build's summary, as JUnit for its test view."""

import math
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from critic_probe.bench import Signature
from critic_probe.gates.gate import failing
from critic_probe.report.terminal import signature_line
from critic_probe.text import neutralise

_ORDER = {"fail": 0, "cannot tell": 1, "pass": 2}
_DRIFT = 20  # differences that are shown
_STYLES = {"pass": "green", "fail": "bold red", "cannot tell": "bold yellow"}


def to_json(
    source: str, found: pd.DataFrame, on_unclear: str, code: int, signature: Signature, moved: pd.DataFrame | None
) -> dict[str, Any]:
    """The verdicts as plain values; `drift` is null where there is no baseline."""
    return {
        "schema": "critic-probe/check/1",
        "source": source,
        "gates": found.to_dict("records"),
        "drift": None if moved is None else moved.to_dict("records"),
        "on_unclear": on_unclear,
        "exit_code": code,
        "signature": signature,
    }


def print_verdicts(
    source: str,
    found: pd.DataFrame,
    on_unclear: str,
    code: int,
    signature: Signature,
    moved: pd.DataFrame | None,
    console: Console,
) -> None:
    """Prints a line a gate and figure, what fails last, where a build's log ends, with the pairs to look at."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in sorted(found.to_dict("records"), key=lambda row: -_ORDER[row["verdict"]]):
        told = Text(_told(row), overflow="fold")
        if row["ids"]:
            told.append(f"\n-> {_look_at(row)}", style="bold")
        word = row["verdict"] + (" (warn)" if row["severity"] == "warn" and row["verdict"] != "pass" else "")
        table.add_row(Text(word, style=_STYLES[row["verdict"]]), told)
    console.print(table)
    console.print()
    if moved is not None:
        for row in moved.head(_DRIFT).to_dict("records"):
            console.print(Text(f"{row['verdict']}: {_moved(row)}", overflow="fold"))
        console.print(Text(_against(moved), "bold"))
    counts = found.verdict.value_counts()
    counted = ", ".join(f"{counts[word]} {word}" for word in _STYLES if word in counts)
    console.print(
        Text(f"{source}: {counted}; a gate that cannot be told counts as {on_unclear}: exit code {code}", "bold")
    )
    console.print()
    console.print(Text(signature_line(signature), style="dim", overflow="fold"))


def sentences(found: pd.DataFrame) -> list[str]:
    """A line a gate and figure: verdict, figure with its interval, bound, and the pairs to look at."""
    return [
        "; ".join(filter(None, (f"{row['verdict']}: {_told(row)}", _look_at(row) if row["ids"] else "")))
        for row in found.to_dict("records")
    ]


def to_markdown(source: str, found: pd.DataFrame, code: int, signature: Signature, moved: pd.DataFrame | None) -> str:
    """A table for a build's summary, what fails first."""
    lines = [
        f"### critic-probe: {'failed' if code else 'passed'} ({_cell(source)})",
        "",
        "| verdict | gate | measured | bound | look at |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(found.to_dict("records"), key=lambda row: _ORDER[row["verdict"]]):
        note = f" ({row['note']})" if row["note"] else ""
        cells = (row["verdict"], _what(row), _measured(row) + note, row["bound"], ", ".join(map(str, row["ids"])))
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    if moved is not None:
        lines += ["", _cell(_against(moved)), ""]
        lines += [f"- {row['verdict']}: {_cell(_moved(row))}" for row in moved.head(_DRIFT).to_dict("records")]
    return "\n".join([*lines, "", f"`{_cell(signature_line(signature)).replace('`', '')}`", ""])


def to_junit(found: pd.DataFrame, on_unclear: str, moved: pd.DataFrame | None) -> str:
    """JUnit XML: a test case a gate and figure; a warning gate that does not hold is a skipped one with its message.

    A baseline is one test case more.
    """
    suite = ElementTree.Element("testsuite", name="critic-probe")
    counts = {"failures": 0, "skipped": 0}
    for row in found.to_dict("records"):
        case = ElementTree.SubElement(suite, "testcase", classname=row["metric"], name=neutralise(_what(row)), time="0")
        if row["verdict"] == "pass":
            continue
        kind = "failure" if row["verdict"] in failing(on_unclear) and row["severity"] == "fail" else "skipped"
        message = f"{row['verdict']}: {_measured(row)}, must be {row['bound']}"
        made = ElementTree.SubElement(case, kind, message=neutralise(message))
        made.text = neutralise("; ".join(filter(None, (row["note"], ", ".join(map(str, row["ids"]))))))
        counts["failures" if kind == "failure" else "skipped"] += 1
    if moved is not None:
        case = ElementTree.SubElement(suite, "testcase", classname="baseline", name="baseline", time="0")
        if len(moved):
            made = ElementTree.SubElement(case, "failure", message=_against(moved))
            made.text = neutralise("; ".join(f"{r['verdict']}: {_moved(r)}" for r in moved.to_dict("records")))
            counts["failures"] += 1
    suite.attrib |= {"tests": str(len(suite)), "errors": "0", **{key: str(n) for key, n in counts.items()}}
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _against(moved: pd.DataFrame) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in moved.verdict.value_counts().items())
    return f"against the baseline: {counts or 'nothing differs'}"


def _moved(row: dict[str, Any]) -> str:
    both = [f"{x:.3g}" if isinstance(x, float) else str(x) for x in (row["old"], row["new"])]
    return neutralise(row["what"] if both == ["None", "None"] else f"{row['what']}: {both[0]} -> {both[1]}")


def _told(row: dict[str, Any]) -> str:
    note = f" ({row['note']})" if row["note"] else ""
    return f"{_what(row)}: {_measured(row)}, must be {row['bound']}{note}"


def _look_at(row: dict[str, Any]) -> str:
    return f"look at {', '.join(neutralise(str(i)) for i in row['ids'])}"


def _what(row: dict[str, Any]) -> str:
    reader = "/".join(part for part in (row["critic"], row["aggregation"]) if part)
    where = " ".join(part for part in (row["family"], row["position"], row["category"]) if part and part != "whole")
    return " ".join(part for part in (row["metric"], where, reader) if part)


def _measured(row: dict[str, Any]) -> str:
    if row["value"] is None or math.isnan(row["value"]):
        return "no figure"
    if row["low"] is None or math.isnan(row["low"]):
        return f"{row['value']:.3g} (n = {row['n']})"
    return f"{row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}] (n = {row['n']})"


def _cell(text: Any) -> str:
    shown = neutralise(str(text)).replace("\\", "\\\\").replace("|", "\\|")
    return shown.replace("<", "&lt;").replace(">", "&gt;")
