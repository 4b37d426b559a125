"""What a critic measured once, written down so that a later one can be held against it.

The file is byte-stable: the same critic on the same data with the same settings writes the same bytes on a like
machine. It has no times and no paths, rows are sorted and stand a line each, floats have nine digits.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from critic_probe.errors import CriticProbeError

SCHEMA = "critic-probe/baseline/1"
ONLY = "the critic"  # one critic's figures are compared whatever its directory is called
_ARITHMETIC = 1e-5  # another machine's sums may differ by this much in a figure of no interval
_SETTINGS = ("data", "aggregations", "eos", "value_position")
_READ = ("convention", "template", "value_position")  # of each critic
_FIGURE = ("metric", "critic", "aggregation", "family", "position", "category")
_SCORE = ("critic", "aggregation", "id")
_CASE = (*_SCORE, "side", "family", "position", "removed", "added")


def record(
    results: Mapping[str, Any], figures: pd.DataFrame, signature: Mapping[str, Any], drawn: Any
) -> dict[str, Any]:
    """The baseline of a run.

    Args:
        results: Command -> its result.
        figures: The table of `figures`.
        signature: What determined the figures; of it, the settings that must be equal for figures to compare.
        drawn: How edits were drawn: at most how many, and the seed.
    """
    critics = sorted(set(figures.critic) - {""})
    read = {critic["name"]: {key: critic[key] for key in _READ if key in critic} for critic in signature["critics"]}
    rename = {critics[0]: ONLY} if len(critics) == 1 else {}
    scores = [results["compare"].pairs] if "compare" in results else []
    cases = [results[name].cases for name in ("perturb", "completeness") if name in results]
    return {
        "schema": SCHEMA,
        "settings": {
            **{key: signature.get(key) for key in _SETTINGS},
            "drawn": list(drawn),
            "critics": {rename.get(name, name): read[name] for name in sorted(read)},
        },
        "figures": _rows(figures, _FIGURE, ("value", "low", "high", "n"), rename),
        "scores": [
            row for t in scores for row in _rows(t, _SCORE, ("student_score", "teacher_score", "verdict"), rename)
        ],
        "cases": [row for t in cases for row in _rows(t, _CASE, ("delta",), rename)],
    }


def _rows(
    table: pd.DataFrame, keys: tuple[str, ...], values: tuple[str, ...], rename: dict[str, str]
) -> list[dict[str, Any]]:
    rows = []
    for row in table.to_dict("records"):
        kept = {key: rename.get(row[key], row[key]) if key == "critic" else row[key] for key in keys}
        rows.append(kept | {key: _plain(row[key]) for key in values})
    return sorted(rows, key=lambda row: [str(row[key]) for key in keys])


def _plain(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    return None if math.isnan(value) else int(value) if float(value).is_integer() else float(f"{float(value):.9g}")


def save(path: Path, baseline: Mapping[str, Any]) -> None:
    """Writes a baseline."""
    parts = []
    for key, value in baseline.items():
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    """Reads a baseline.

    Raises:
        CriticProbeError: There is none, or it is no baseline of this version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CriticProbeError(f"{path}: cannot be read ({error}); write one with --save-baseline") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise CriticProbeError(f"{path}: is no {SCHEMA}; write it anew with --save-baseline")
    return found


def drift(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> pd.DataFrame:
    """What differs from a baseline: one row per figure that moved, appeared or went, and per pair that flipped.

    A figure with an interval has moved where neither value lies within the other's interval; one without where it
    differs by more than the tolerance, relative to the larger magnitude. Other settings or data, and rows that are
    missing, are differences and never skipped; a setting that one side does not tell is none.

    Columns: what, old, new, verdict (moved, missing, new, flipped, other settings).
    """
    rows: list[dict[str, Any]] = []
    by_critic = all("critics" in side["settings"] for side in (old, new))
    before, after = (_flat(side["settings"], by_critic) for side in (old, new))
    for key in before:
        if key in after and before[key] != after[key]:
            rows.append({"what": key, "old": before[key], "new": after[key], "verdict": "other settings"})
    before, after = (_index(side["figures"], _FIGURE) for side in (old, new))
    for name in sorted({*before, *after}):
        if name not in after or name not in before:
            word = "missing" if name not in after else "new"
            rows.append({"what": name, "old": _value(before, name), "new": _value(after, name), "verdict": word})
        elif _moved(before[name], after[name], tolerance):
            rows.append({"what": name, "old": _value(before, name), "new": _value(after, name), "verdict": "moved"})
    for table, keys in (("scores", _SCORE), ("cases", _CASE)):
        before, after = (_index(side[table], keys) for side in (old, new))
        for name in sorted({*before} ^ {*after}):
            word = "missing" if name in before else "new"
            rows.append({"what": f"{table}: {name}", "old": None, "new": None, "verdict": word})
        if table == "scores":
            for name in sorted({*before} & {*after}):
                verdicts = before[name]["verdict"], after[name]["verdict"]
                if set(verdicts) == {"student", "teacher"}:
                    rows.append({"what": name, "old": verdicts[0], "new": verdicts[1], "verdict": "flipped"})
    return pd.DataFrame(rows, columns=["what", "old", "new", "verdict"])


def _flat(settings: Mapping[str, Any], by_critic: bool) -> dict[str, Any]:
    """Every setting, a critic's under its name; with `by_critic` the run's is left out where each critic has it."""
    critics = settings.get("critics", {})
    flat = {key: settings[key] for key in settings if key != "critics" and not (by_critic and key in _READ)}
    for name, read in critics.items():
        flat |= {key if name == ONLY else f"{name} {key}": value for key, value in read.items()}
    return flat


def _index(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {" ".join(str(row[key]) for key in keys if row[key] not in ("", ONLY)): row for row in rows}


def _value(rows: Mapping[str, dict[str, Any]], name: str) -> Any:
    return rows[name]["value"] if name in rows else None


def _moved(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> bool:
    a, b = old["value"], new["value"]
    if a is None or b is None:
        return a is not b
    if None in (old["low"], old["high"], new["low"], new["high"]):
        return bool(abs(a - b) > max(tolerance * max(abs(a), abs(b)), _ARITHMETIC))
    return not (old["low"] <= b <= old["high"] or new["low"] <= a <= new["high"])
