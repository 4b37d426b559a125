"""Results in files: strict JSON, which is read back, and the main table as CSV or Parquet."""

import json
import math
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from critic_probe import documents, measures, runs, studies
from critic_probe.errors import CriticProbeError, Notice
from critic_probe.gates.measure import CheckResult
from critic_probe.measures.result import Measured, Result
from critic_probe.report import verdicts
from critic_probe.report.targets import check_path
from critic_probe.writing import written

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def to_json(result: Result) -> dict[str, Any]:
    """The result as plain JSON values: flat records under the column names of its tables.

    NaN and infinities become None. A lone surrogate, which no UTF-8 file can hold, becomes U+FFFD.
    """
    if isinstance(result, CheckResult):
        checked = _plain(verdicts.to_json(result))
        return {"schema": checked.pop("schema"), **answered(result), **checked}
    data: dict[str, Any] = {"schema": f"critic-probe/{result.command}/1", **answered(result)}
    data |= {name: _plain(getattr(result, name)) for name in result.facts}
    data |= {table: _records(getattr(result, table)) for table in result.tables}
    if isinstance(result, Measured):
        data["warnings"] = [
            {"code": n.code, "message": _plain(n.message), "ids": _plain(n.ids)} for n in result.notices
        ]
        if result.input is not None:
            data["input"] = _plain(result.input)
    if hasattr(result, "signature"):
        data["signature"] = _plain(result.signature)
    return data


def answered(result: Result) -> dict[str, Any]:
    """The sentences of the answer with their figures, under `answer`; nothing where a result has none."""
    statements = [{"text": _plain(text), "figures": _plain(figures)} for text, figures in result.answer()]
    return {"answer": statements} if statements else {}


def dump_json(result: Result) -> str:
    """The object of `to_json` as text, without a final newline."""
    return json.dumps(to_json(result), allow_nan=False, ensure_ascii=False, indent=2)


def read_result(path: str | Path) -> Result:
    """A result from the JSON that `--json`, `-o FILE.json` or `save` wrote.

    Shown again it reads the same, and written again it is the same file. What JSON has not comes back as missing (an
    infinity), and a table without rows comes back without columns.

    Raises:
        CriticProbeError: The file cannot be read, is no result of this tool, or lacks a part.
    """
    data: dict[str, Any] = documents.read_json(Path(path), "give the JSON of a result", dict, documents.LARGE)
    schema = data.get("schema")
    kinds = _kinds()
    command = next((name for name in kinds if schema == f"critic-probe/{name}/1"), None)
    if command is None:
        what = f"schema {json.dumps(schema)}" if schema else "no schema"
        raise CriticProbeError(f"{path}: {what}; give the JSON of {', '.join(sorted(kinds))}")
    kind = kinds[command]
    values: dict[str, Any] = {"command": command, "reading": [], "input": data.get("input")}
    written = {*values, *kind.facts, *kind.tables, "notices", "signature"}
    names = [field.name for field in fields(kind) if field.name in written]
    for name in (name for name in names if name not in values):
        key = "warnings" if name == "notices" else name
        values[name] = data.get(key)
        if not isinstance(values[name], {"signature": dict, "prompt": str, "run": str}.get(name, list)):
            raise CriticProbeError(f"{path}: has no '{key}' of {command}; give the file as it was written")
    try:
        values |= {name: _frame(values[name]) for name in kind.tables}
        values |= {"notices": [Notice(**row) for row in values.get("notices", ())]}
        result: Any = kind(**{name: values[name] for name in names})
        return cast(Result, replace(result, reading=result.read_aloud()) if issubclass(kind, Measured) else result)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CriticProbeError(
            f"{path}: lacks a column of {command} ({error!s:.200}); give the file as it was written"
        ) from error


def _kinds() -> dict[str, Any]:
    """By command: the class of its result, of all that are measured, studied or read of runs."""
    for room in (measures, runs, studies):
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            import_module(module.name)
    kinds = {*Result.__subclasses__(), *Measured.__subclasses__()} - {Measured, CheckResult}  # JSON of checks: verdicts
    return {command: kind for kind in kinds for command in (kind.command, *kind.also)}


def dump_plain(data: Mapping[str, Any]) -> str:
    """A mapping of plain values as JSON text, without a final newline."""
    return json.dumps(_plain(data), allow_nan=False, ensure_ascii=False, indent=2)


def write_result(path: Path, result: Result) -> None:
    """Writes the whole result (.json) or its main table (.csv, .parquet): pairs, cases, claims, ...

    The file appears complete or not at all: a write that fails leaves what was there before.

    Raises:
        CriticProbeError: As `check_path`, or the write failed.
    """
    check_path(path)
    with written(path) as part:
        _write(part, path.suffix.lower(), result)


def _write(path: Path, suffix: str, result: Result) -> None:
    if suffix == ".json":
        path.write_text(dump_json(result) + "\n", encoding="utf-8")
        return
    table = getattr(result, result.main)
    # Object columns only: a numeric one holds no text and keeps its dtype.
    table = table.assign(**{name: _text(table[name]) for name in table if table[name].dtype.kind not in "biuf"})
    if suffix == ".csv":
        table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    else:
        table.to_parquet(path, index=False)


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Records of JSON as a table; a whole number stays one, and what is missing throughout is NaN."""
    names = dict.fromkeys(name for record in records for name in record)
    return pd.DataFrame({name: _column([record.get(name) for record in records]) for name in names})


def _column(values: list[Any]) -> Any:
    known = {type(value) for value in values if value is not None}
    holes = None in values
    if known <= {float}:
        return np.array(values, dtype=float)
    if known == {int}:
        return pd.array(values, dtype="Int64" if holes else "int64")
    if known == {str} or (known == {bool} and not holes):
        return pd.Series(values).array
    return pd.Series(values, dtype=object).array


def _text(column: pd.Series) -> pd.Series:
    return pd.Series([_plain(value) for value in column], index=column.index, dtype=object)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [_plain(record) for record in table.to_dict("records")]


def _plain(value: Any) -> Any:
    """A value of a table or a signature as a value that JSON has."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int):
        return value
    return _plain(str(value))
