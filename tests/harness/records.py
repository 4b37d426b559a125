"""Readers of pairs, of what this tool wrote, and of what users write for it."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from harness.reader import Reader, of_text

from critic_probe.errors import CriticProbeError

_PAIRS = [
    {
        "id": f"p{i}",
        "prompt": f"What is {i}?",
        "student": f"It is {i}, a number",
        "teacher": f"{i} is a number.",
        "category": "sum",
    }
    for i in range(6)
]
_SCORES = [{**row, "student_score": 0.5 * i, "teacher_score": 1.0 + i} for i, row in enumerate(_PAIRS)]
_CANDIDATES = [
    {
        "id": row["id"],
        "prompt": row["prompt"],
        "responses": [row["student"], row["teacher"]],
        "rewards": [0.0, 1.5],
    }
    for row in _PAIRS
]


def _rows(rows: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


def _table(suffix: str) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path, table = directory / f"pairs{suffix}", pd.DataFrame(_PAIRS)
        if suffix == ".csv":
            table.to_csv(path, index=False)
        elif suffix == ".parquet":
            table.to_parquet(path)
        else:
            rows = pa.Table.from_pandas(table)
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
                writer.write_table(rows)
        return path

    return make


def _dataset(directory: Path) -> Path:
    _table(".arrow")(directory)
    state = {"_data_files": [{"filename": "pairs.arrow"}], "_fingerprint": "x", "_split": "train"}
    return of_text("state.json", json.dumps(state))(directory)


def _read_pairs(path: Path) -> Any:
    from critic_probe.pairs import PairFile

    return list(PairFile(path))


def _read_scores(path: Path) -> Any:
    from critic_probe.pairs import RowFile, holds_scores, read_scores

    rows = RowFile(path)
    return list(read_scores(rows)) if holds_scores(rows) else None


def _read_candidates(path: Path) -> Any:
    from critic_probe.pairs import CandidateFile

    return list(CandidateFile(path))


_GATES = """
[[gates]]
metric = "perturb.median_abs_delta_over_sd"
family = "final-add"
aggregation = "mean"
max = 0.2
severity = "warn"
name = "marks"

[[gates]]
metric = "compare.d_acc"
min = 0.5
max = 1.0
at = "value"
position = ""
category = ""
"""


def _read_gates(path: Path) -> Any:
    from critic_probe.gates.gate import load_gates

    return load_gates(None, path, ["final-add"])


_CONVENTION = 'rendering = "whole"\nclosing = "eos"\nadds_special = true\nreads = "last"\nposition = "at"\n'


def _read_convention(path: Path) -> Any:
    from critic_probe.encoding import find_convention

    return find_convention(str(path))


def _baseline(directory: Path) -> Path:
    """Three pairs of one critic, all kinds of edits among theirs."""
    whole = json.loads((Path(__file__).parents[2] / "fixtures" / "baseline.json").read_text())
    del whole["digest"]  # so that what it guards is read
    ids = {row["id"] for row in whole["pairs"][:24:8]}
    one = {"critic": "bundled:mean", "aggregation": "mean"}
    for key in ("pairs", "scores", "cases", "figures"):
        kept = [row for row in whole[key] if one.items() <= {**one, **row}.items()]
        whole[key] = [row for row in kept if row["id"] in ids] if "id" in kept[0] else kept[::9]
    return of_text("baseline.json", json.dumps(whole))(directory)


def _read_baseline(path: Path) -> Any:
    from critic_probe.gates.baseline import load

    return load(path)


_sound_baseline = cache(_read_baseline)  # of the sound file, which is read first


def _compared(path: Path) -> Any:
    from critic_probe.gates.drift import drift

    sound = _sound_baseline(path)
    return drift(_read_baseline(path), sound, 0.0)


def _record(pairs: int, edits: bool = False) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        from critic_probe import bench

        source, path = directory / "pairs.jsonl", directory / "result.json"
        source.write_text(_rows(_PAIRS[:pairs]))
        measured = bench(_bundled(), str(source), ["mean"], cache=False)
        (measured.perturb(["terminal-swap", "batch-mates"]) if edits else measured.compare()).save(path)
        return path

    return make


@cache
def _bundled() -> Any:
    from critic_probe import load

    return load("bundled:mean", device="cpu")


def _as_recorded(path: Path) -> tuple[Any, ...]:
    """All that `verify` reads of a record."""
    from critic_probe.cli import verify as command
    from critic_probe.measures.recorded import read_record

    record = read_record(path)
    signed = record["signature"]["critics"]
    settings = command._as_scored(record["signature"], signed, None, path)
    command._as_named({"bundled:mean": path}, [critic["name"] for critic in signed], path)
    return record, settings, command._plan(record["signature"])


def _verified(path: Path) -> Any:
    from critic_probe.measures.verify import verify
    from critic_probe.pairs import PairFile

    record, settings, plan = _as_recorded(path)
    result = verify(record, [_bundled()], PairFile(path.with_name("pairs.jsonl")), settings, plan, 1, 0)
    if not result.holds:
        raise CriticProbeError("the record does not hold")
    return result


def _read_result(path: Path) -> Any:
    from critic_probe import read_result

    return read_result(path)


def _begun(directory: Path) -> Path:
    from critic_probe.training.options import Options
    from critic_probe.training.resume import BEGUN, begin

    begin(directory, Options(), "0123456789ab")
    return directory / BEGUN


def _read_begun(path: Path) -> Any:
    from critic_probe.training.options import Options
    from critic_probe.training.resume import require_same_run

    require_same_run(path.parent, Options(resume=True), "0123456789ab")


_ROW = ([(1, 2, 3), (1, 2, 4)], [0, 1])
_VALUES = [torch.tensor([0.5, 1.5, 2.5]), torch.tensor([3.5, 4.5])]


def _cache(directory: Path) -> Path:
    from critic_probe.scoring.cache import Cache

    cache = Cache(directory / "values.sqlite", "critic")
    cache.put(*_ROW, "tree", _VALUES)
    cache.setting("row budget", "64")
    cache.close()
    return directory / "values.sqlite"


def _read_cache(path: Path) -> Any:
    """A value that is no longer what was kept is never given."""
    from critic_probe.scoring.cache import Cache

    for beside in path.parent.iterdir():
        if beside != path:
            beside.unlink()
    cache = Cache(path, "critic")
    try:
        kept = cache.get(*_ROW, "tree")
        assert all(v is None or torch.equal(v, sound) for v, sound in zip(kept, _VALUES, strict=True))
        cache.put(*_ROW, "tree", _VALUES)
        assert cache.setting("row budget", "64") == "64"
        return cache.notices
    finally:
        cache.close()


READERS = [
    Reader("pairs .jsonl", "jsonl", of_text("pairs.jsonl", _rows(_PAIRS)), _read_pairs),
    Reader("pairs .json", "json", of_text("pairs.json", json.dumps(_PAIRS)), _read_pairs),
    *(Reader(f"pairs {end}", "bytes", _table(end), _read_pairs) for end in (".csv", ".parquet", ".arrow")),
    Reader("state of a dataset", "json", _dataset, lambda path: _read_pairs(path.parent)),
    Reader("scores", "jsonl", of_text("scores.jsonl", _rows(_SCORES)), _read_scores),
    Reader("candidates", "jsonl", of_text("candidates.jsonl", _rows(_CANDIDATES)), _read_candidates),
    Reader("baseline", "json", _baseline, _read_baseline, typed=True),
    Reader("baseline, compared", "json", _baseline, _compared, typed=True, few=100),
    Reader("gates", "toml", of_text("gates.toml", _GATES), _read_gates, typed=True),
    Reader("convention", "toml", of_text("ours.toml", _CONVENTION), _read_convention, typed=True),
    Reader("record", "json", _record(2), _as_recorded),
    Reader("record, scored again", "json", _record(6), _verified, few=8),
    Reader("edits, scored again", "json", _record(4, edits=True), _verified, few=8),
    Reader("read_result", "json", _record(2), _read_result),
    Reader("warmup.json", "json", _begun, _read_begun),
    Reader("cache", "bytes", _cache, _read_cache, lenient=True),
]
