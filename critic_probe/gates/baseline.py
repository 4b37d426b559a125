"""What a critic measured once, written down so that a later one can be held against it.

The file is byte-stable: the same critic on the same data with the same settings writes the same bytes on a like
machine. It has no times and no paths, rows are sorted and stand a line each, floats have nine digits.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired

import pandas as pd
from typing_extensions import TypedDict

from critic_probe import documents
from critic_probe.errors import CriticProbeError, parameter
from critic_probe.writing import write_text

SCHEMA = "critic-probe/baseline/3"
UNPAIRED = ("critic-probe/baseline/1", "critic-probe/baseline/2")  # lack some of what tests in pairs need
ONLY = "the critic"  # one critic's figures are compared whatever its directory is called
_DIGEST = "digest"
_SETTINGS = ("data", "aggregations", "eos", "value_position")
READ = ("convention", "template", "value_position", "dtype")  # of each critic
FIGURE = ("metric", "critic", "aggregation", "family", "position", "category")
SCORE = ("critic", "aggregation", "id")
CASE = (*SCORE, "side", "family", "position", "removed", "added")
_OF_SCORE = ("student_score", "teacher_score", "gap_over_sd", "verdict", "student_tokens", "teacher_tokens")
_OF_CASE = ("command", "kind", "sign", "delta", "delta_over_sd", "flip")


class _OfCritic(TypedDict, total=False):
    convention: str
    template: str
    value_position: str
    dtype: str


class _Settings(TypedDict):
    data: str
    aggregations: list[str]
    eos: str
    value_position: str
    drawn: list[int | None]
    critics: NotRequired[dict[str, _OfCritic]]


class _Figure(TypedDict):
    metric: str
    critic: str
    aggregation: str
    family: str
    position: str
    category: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class _Pair(TypedDict):
    id: str
    prompt_hash: str
    category: str


class _OldScore(TypedDict):
    critic: str
    aggregation: str
    id: str
    student_score: float
    teacher_score: float
    verdict: Literal["student", "teacher", "tie"]


class _Score(_OldScore):
    gap_over_sd: float | None
    student_tokens: int | None
    teacher_tokens: int | None


class _OldCase(TypedDict):
    critic: str
    aggregation: str
    id: str
    side: str
    family: str
    position: str
    removed: str
    added: str
    delta: float


class _Case(_OldCase):
    command: str
    kind: str
    sign: int
    delta_over_sd: float | None
    flip: int | None


class _Old(TypedDict):
    """A baseline that lacks some of what tests in pairs need."""

    settings: _Settings
    figures: list[_Figure]
    pairs: NotRequired[list[_Pair]]
    scores: list[_OldScore]
    cases: list[_OldCase]


class _Baseline(TypedDict):
    """One of this version."""

    settings: _Settings
    figures: list[_Figure]
    noise_floor: dict[str, dict[str, float]]
    pairs: list[_Pair]
    scores: list[_Score]
    cases: list[_Case]


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
    read = {critic["name"]: {key: critic[key] for key in READ if key in critic} for critic in signature["critics"]}
    rename = {critics[0]: ONLY} if len(critics) == 1 else {}
    scores = [results["compare"].pairs] if "compare" in results else []
    cases = [results[name].cases.assign(command=name) for name in ("perturb", "completeness") if name in results]
    columns = ["id", "prompt_hash", "category"]
    sides = [table.reindex(columns=columns, fill_value="") for table in (*scores, *cases)]
    pairs = pd.concat(sides).drop_duplicates("id") if sides else pd.DataFrame()
    floors = {critic["name"]: critic.get("noise_floor", {}) for critic in signature["critics"]}
    return {
        "schema": SCHEMA,
        "settings": {
            **{key: signature.get(key) for key in _SETTINGS},
            "drawn": list(drawn),
            "critics": {rename.get(name, name): read[name] for name in sorted(read)},
        },
        "figures": _rows(figures, FIGURE, ("value", "low", "high", "n"), rename),
        "noise_floor": {
            rename.get(name, name): {key: _plain(floor) for key, floor in floors[name].items()}
            for name in sorted(floors)
        },
        "pairs": _rows(pairs, ("id",), ("prompt_hash", "category"), rename),
        "scores": [row for t in scores for row in _rows(t, SCORE, _OF_SCORE, rename)],
        "cases": [row for t in cases for row in _rows(t, CASE, _OF_CASE, rename)],
    }


def name_of(row: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """A figure, pair or edit in words: its keys, without those that say nothing."""
    return " ".join(str(row[key]) for key in keys if row[key] not in ("", ONLY))


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
    """Writes a baseline, and what tells that nobody changed it since."""
    parts = []
    for key, value in [*baseline.items(), (_DIGEST, _digest(baseline))]:
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def _digest(baseline: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(baseline, sort_keys=True).encode()).hexdigest()[:12]


def load(path: Path) -> dict[str, Any]:
    """Reads a baseline.

    Raises:
        CriticProbeError: There is none, it is no baseline of this version, or it was changed since it was written.
    """
    cure = f"write one with {parameter('save_baseline')}"
    baseline: Any = documents.read_json(path, cure, dict, documents.LARGE)
    if baseline.get("schema") not in (SCHEMA, *UNPAIRED):
        raise CriticProbeError(f"{path}: is no {SCHEMA}; write it anew with {parameter('save_baseline')}")
    schema: Any = _Baseline if baseline["schema"] == SCHEMA else _Old
    checked = dict(documents.checked(baseline, schema, str(path), cure))
    written = checked.pop(_DIGEST, None)  # those of earlier versions have none
    if written is not None and written != _digest(checked):
        raise CriticProbeError(
            f"{path}: was changed after it was written, by hand or by a merge; {cure}, or take it whole from one commit"
        )
    return checked
