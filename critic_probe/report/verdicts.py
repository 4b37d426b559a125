"""Verdicts of gates in files: JSON, Markdown for a build's summary, JUnit for its test view."""

from typing import Any
from xml.etree import ElementTree

import pandas as pd

from critic_probe.gates.drift import differs
from critic_probe.gates.gate import failing
from critic_probe.gates.measure import CheckResult
from critic_probe.report.terminal.check import (
    DRIFT,
    against,
    change,
    figure,
    figure_name,
    look_at,
    sentence,
    word_of,
    worst_first,
)
from critic_probe.report.terminal.pieces import signature_line, warning
from critic_probe.text import neutralise


def to_json(result: CheckResult) -> dict[str, Any]:
    """The verdicts as plain values; `drift` is null where there is no baseline."""
    return {
        "schema": "critic-probe/check/1",
        "source": result.source,
        "gates": result.gates.to_dict("records"),
        "drift": None if result.drift is None else result.drift.to_dict("records"),
        "on_unclear": result.on_unclear,
        "exit_code": result.exit_code,
        "warnings": [{"code": n.code, "message": n.message, "ids": n.ids} for n in result.notices],
        "input": result.input,
        "signature": result.signature,
    }


def sentences(rows: pd.DataFrame) -> list[str]:
    """A line a gate and figure: verdict, figure with its interval, bound, and the pairs to look at."""
    return [
        "; ".join(filter(None, (f"{word_of(row)}: {sentence(row)}", look_at(row) if row["ids"] else "")))
        for row in rows.to_dict("records")
    ]


def to_markdown(result: CheckResult) -> str:
    """A table for a build's summary, what fails first."""
    lines = [
        f"### critic-probe: {'passed' if result.passed else 'failed'} ({_cell(result.source)})",
        "",
        "| verdict | gate | measured | bound | look at |",
        "|---|---|---|---|---|",
    ]
    for row in worst_first(result.gates):
        note = f" ({row['note']})" if row["note"] else ""
        cells = (word_of(row), figure_name(row), figure(row) + note, row["bound"], ", ".join(map(str, row["ids"])))
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    if result.drift is not None:
        lines += ["", _cell(against(result.drift)), ""]
        lines += [f"- {row['verdict']}: {_cell(change(row))}" for row in result.drift.head(DRIFT).to_dict("records")]
    if result.notices:
        lines += ["", *(f"- {_cell(warning(notice).plain)}" for notice in result.notices)]
    return "\n".join([*lines, "", f"`{_cell(signature_line(result.signature)).replace('`', '')}`", ""])


def to_junit(result: CheckResult) -> str:
    """JUnit XML: a test case a gate and figure; a warning gate that does not hold is a skipped one with its message.

    A baseline is one test case more.
    """
    suite = ElementTree.Element("testsuite", name="critic-probe")
    counts = {"failures": 0, "skipped": 0}
    for row in result.gates.to_dict("records"):
        case = ElementTree.SubElement(
            suite, "testcase", classname=row["metric"], name=neutralise(figure_name(row)), time="0"
        )
        if row["verdict"] == "pass":
            continue
        kind = "failure" if row["verdict"] in failing(result.on_unclear) and row["severity"] == "fail" else "skipped"
        message = f"{word_of(row)}: {figure(row)}, must be {row['bound']}"
        made = ElementTree.SubElement(case, kind, message=neutralise(message))
        made.text = neutralise("; ".join(filter(None, (row["note"], ", ".join(map(str, row["ids"]))))))
        counts["failures" if kind == "failure" else "skipped"] += 1
    if (moved := result.drift) is not None:
        case = ElementTree.SubElement(suite, "testcase", classname="baseline", name="baseline", time="0")
        if differs(moved):
            made = ElementTree.SubElement(case, "failure", message=against(moved))
            made.text = neutralise("; ".join(f"{r['verdict']}: {change(r)}" for r in moved.to_dict("records")))
            counts["failures"] += 1
    suite.attrib |= {"tests": str(len(suite)), "errors": "0", **{key: str(n) for key, n in counts.items()}}
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _cell(text: Any) -> str:
    shown = neutralise(str(text)).replace("\\", "\\\\").replace("|", "\\|")
    return shown.replace("<", "&lt;").replace(">", "&gt;")
