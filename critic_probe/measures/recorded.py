"""Results that were written down, as `verify` takes them: every part that is used is held against its schema."""

from pathlib import Path
from typing import Any, Literal, NotRequired, cast

from typing_extensions import TypedDict

from critic_probe import documents
from critic_probe.errors import CriticProbeError

SCHEMAS = {f"critic-probe/{command}/1": command for command in ("compare", "perturb", "completeness")}
_CURE = "give the file as it was written"


class _Critic(TypedDict):
    name: str
    fingerprint: str
    head: str
    tokenizer: str
    template: str
    convention: NotRequired[str]
    value_position: NotRequired[Literal["at", "before"]]
    dtype: Literal["float64", "float32", "bfloat16", "float16"]
    device: str
    attention: str
    noise_floor: dict[str, float]


class _Signature(TypedDict):
    critics: list[_Critic]
    data: str
    aggregations: list[str]
    eos: Literal["exclude", "include"]
    value_position: str
    template_mode: NotRequired[Literal["auto", "chat", "raw"]]
    arguments: NotRequired[dict[str, Any]]
    date: NotRequired[str]
    temperature: NotRequired[float]
    families: NotRequired[list[str]]
    sides: NotRequired[list[Literal["student", "teacher"]]]
    max_per_response: NotRequired[int | None]
    seed: NotRequired[int]


class _Figures(TypedDict):
    critic: str
    aggregation: str


class _Pair(TypedDict):
    critic: str
    id: str
    prompt_hash: str
    category: str
    aggregation: str
    student_score: float
    teacher_score: float
    student_tokens: int
    teacher_tokens: int
    gap: float
    gap_over_sd: float | None
    floor: float
    verdict: Literal["student", "teacher", "tie"]


class _Compare(TypedDict):
    signature: _Signature
    summary: list[_Figures]
    pairs: list[_Pair]


class _Edits(_Figures):
    family: str
    position: str
    kind: str
    n: int
    median_abs_delta: float
    max_abs_delta: float
    median_abs_delta_over_sd: float | None
    mean_delta: float
    flips: int


class _Case(TypedDict):
    critic: str
    id: str
    aggregation: str
    side: str
    family: str
    position: str
    kind: str
    original_score: float
    variant_score: float
    delta: float
    delta_over_sd: float | None
    floor: float
    flip: bool
    left: str
    removed: str
    added: str
    right: str
    tokens: int
    token_change: int


class _Unedited(TypedDict):
    critic: str
    id: str
    aggregation: str
    student_score: float
    teacher_score: float


class _DrawnSignature(_Signature):
    families: list[str]  # type: ignore[misc]
    sides: list[Literal["student", "teacher"]]  # type: ignore[misc]
    max_per_response: int | None  # type: ignore[misc]
    seed: int  # type: ignore[misc]


class _Perturb(TypedDict):
    signature: _DrawnSignature
    summary: list[_Edits]
    cases: list[_Case]
    pairs: list[_Unedited]


class _Signed(TypedDict):
    critics: list[dict[str, Any]]


class _AnyRecord(TypedDict):
    schema: str
    signature: NotRequired[_Signed]


def read_record(path: Path) -> dict[str, Any]:
    """What `compare`, `perturb` or `completeness` wrote.

    Raises:
        CriticProbeError: The file cannot be read, is another command's, names no checkpoint, or a part of it is not
            what was written.
    """
    record: Any = documents.read_json(path, "give what compare or perturb wrote", dict, documents.LARGE)
    if record.get("schema") not in [*SCHEMAS]:  # whatever it is, a list too
        raise CriticProbeError(
            f"{path}: schema {documents.shown(record.get('schema'))} cannot be verified; give the JSON of "
            f"{', '.join(SCHEMAS.values())}"
        )
    critics = documents.checked(record, _AnyRecord, str(path), _CURE).get("signature", {"critics": []})["critics"]
    if not critics or any("head" not in critic for critic in critics):
        raise CriticProbeError(f"{path}: names no checkpoint; scores that were given cannot be computed again")
    schema: Any = _Compare if SCHEMAS[record["schema"]] == "compare" else _Perturb
    documents.checked(record, schema, str(path), _CURE)
    names = [critic["name"] for critic in critics]
    rows = record["pairs" if schema is _Compare else "cases"]
    read = set(record["signature"]["aggregations"])
    if len(set(names)) < len(names) or not rows:
        raise CriticProbeError(f"{path}: {'has no rows' if not rows else 'names a critic twice'}; {_CURE}")
    for row in (*rows, *record["summary"], *record["pairs"]):
        if row["critic"] not in names or row["aggregation"] not in read:
            reader = f"{row['critic']}/{row['aggregation']}"
            raise CriticProbeError(f"{path}: {documents.shown(reader)} is not in its signature; {_CURE}")
    for critic in critics:
        if missing := read - set(critic["noise_floor"]):
            raise CriticProbeError(f"{path}: has no noise floor of {min(missing)}; {_CURE}")
    return cast(dict[str, Any], record)
