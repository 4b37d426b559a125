"""Every reader of files from outside, each with a sound file of its own to be damaged."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from formats import peft_adapter
from tiny import save_critic

from critic_probe.errors import CriticProbeError

PAIRS = [
    {
        "id": f"p{i}",
        "prompt": f"What is {i}?",
        "student": f"It is {i}, a number",
        "teacher": f"{i} is a number.",
        "category": "sum",
    }
    for i in range(6)
]


@dataclass(frozen=True)
class Reader:
    """One of them.

    Attributes:
        name: Of the kind of file.
        form: What its mutants are made as, see `mutants`.
        make: Writes sound files into an empty directory and returns the one to damage.
        read: Reads it; raises `CriticProbeError` for what it does not take.
        typed: Whether a value of another type is a fault wherever it stands, since all of it is read.
        lenient: Whether it leaves out what it cannot read with a note of its own, or a library reads it.
    """

    name: str
    form: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    typed: bool = False
    lenient: bool = False


def _pairs(suffix: str) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path, table = directory / f"pairs{suffix}", pd.DataFrame(PAIRS)
        if suffix == ".jsonl":
            path.write_text("\n".join(map(json.dumps, PAIRS)))
        elif suffix == ".json":
            path.write_text(json.dumps(PAIRS))
        elif suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path)
        return path

    return make


def _read_pairs(path: Path) -> Any:
    from critic_probe.pairs import PairFile

    return list(PairFile(path))


def _scores(directory: Path) -> Path:
    rows = [{**row, "student_score": 0.5 * i, "teacher_score": 1.0 + i} for i, row in enumerate(PAIRS)]
    path = directory / "scores.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _read_scores(path: Path) -> Any:
    from critic_probe.pairs import RowFile, holds_scores, read_scores

    rows = RowFile(path)
    return list(read_scores(rows)) if holds_scores(rows) else None


def _candidates(directory: Path) -> Path:
    rows = [
        {"id": row["id"], "prompt": row["prompt"], "responses": [row["student"], row["teacher"]], "rewards": [0.0, 1.5]}
        for row in PAIRS
    ]
    path = directory / "candidates.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _read_candidates(path: Path) -> Any:
    from critic_probe.pairs import CandidateFile

    return list(CandidateFile(path))


def _of_fixtures(name: str) -> Callable[[Path], Path]:
    return lambda directory: Path(shutil.copy(Path(__file__).parents[2] / "fixtures" / name, directory))


def _gates(directory: Path) -> Path:
    path = directory / "gates.toml"
    path.write_text(
        '[[gates]]\nmetric = "perturb.median_abs_delta_over_sd"\nfamily = "final-add"\naggregation = "mean"\n'
        "max = 0.2\n"
        'severity = "warn"\nname = "marks"\n\n[[gates]]\nmetric = "compare.d_acc"\nmin = 0.5\nmax = 1.0\nat = "value"\n'
        'position = ""\ncategory = ""\n'
    )
    return path


def _read_gates(path: Path) -> Any:
    from critic_probe.gates.gate import load_gates

    return load_gates(None, path, ["final-add"])


def _convention(directory: Path) -> Path:
    path = directory / "ours.toml"
    path.write_text('rendering = "whole"\nclosing = "eos"\nadds_special = true\nreads = "last"\nposition = "at"\n')
    return path


def _read_convention(path: Path) -> Any:
    from critic_probe.encoding import find_convention

    return find_convention(str(path))


def _baseline(directory: Path) -> Path:
    whole = json.loads((Path(__file__).parents[2] / "fixtures" / "baseline.json").read_text())
    ids = {row["id"] for row in whole["pairs"][:40:8]}
    for key in ("pairs", "scores", "cases", "figures"):
        kept = [row for row in whole[key] if row.get("critic", "bundled:mean") == "bundled:mean"]
        whole[key] = [row for row in kept if row["id"] in ids] if "id" in kept[0] else kept[::20]
    path = directory / "baseline.json"
    path.write_text(json.dumps(whole))
    return path


def _read_baseline(path: Path) -> Any:
    from critic_probe.gates.baseline import load
    from critic_probe.gates.drift import drift

    sound = path.with_name("sound.json")
    if not sound.exists():
        shutil.copy(path, sound)
    return drift(load(path), load(sound), 0.0)


def _bench(directory: Path) -> Any:
    from critic_probe import bench, load

    pairs = directory / "pairs.jsonl"
    pairs.write_text("\n".join(map(json.dumps, PAIRS)))
    return bench(load("bundled:mean", device="cpu"), str(pairs), ["last", "mean"], cache=False)


def _record(directory: Path) -> Path:
    path = directory / "result.json"
    _bench(directory).compare().save(path)
    return path


def _record_of_edits(directory: Path) -> Path:
    path = directory / "result.json"
    _bench(directory).perturb(["terminal-swap", "wrong-digit", "batch-mates"]).save(path)
    return path


_LOADED: dict[str, Any] = {}


def _read_record(path: Path) -> Any:
    from critic_probe import load
    from critic_probe.cli import verify as command
    from critic_probe.measures.recorded import read_record
    from critic_probe.measures.verify import verify
    from critic_probe.pairs import PairFile

    record = read_record(path)
    signed = record["signature"]["critics"]
    settings = command._as_scored(record["signature"], signed, None, path)
    command._as_named({"bundled:mean": path}, [critic["name"] for critic in signed], path)
    plan = command._plan(record["signature"])
    if "critic" not in _LOADED:
        _LOADED["critic"] = load("bundled:mean", device="cpu")
    result = verify(record, [_LOADED["critic"]], PairFile(path.with_name("pairs.jsonl")), settings, plan, 1, 0)
    if not result.holds:
        raise CriticProbeError("the record does not hold")
    return result


def _read_result(path: Path) -> Any:
    from critic_probe import read_result

    return read_result(path)


def _critic(file: str) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path = save_critic(directory / "critic")
        if file == "model.safetensors.index.json":
            from safetensors import safe_open

            with safe_open(path / "model.safetensors", framework="pt") as tensors:
                names = list(tensors.keys())
            (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")
            index = {
                "metadata": {"total_size": 1},
                "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors"),
            }
            (path / file).write_text(json.dumps(index))
        elif file == "critic_probe.json":
            (path / file).write_text(
                json.dumps({"eos": "include", "value_position": "at", "aggregation": "last", "version": "1"})
            )
        elif file == "trainer_state.json":
            (path / file).write_text(json.dumps({"global_step": 3, "log_history": []}))
        elif file == "generation_config.json":
            (path / file).write_text(json.dumps({"eos_token_id": [258, 256], "temperature": 0.6}))
        return path / file

    return make


def _read_critic(path: Path) -> Any:
    """All but the backbone, and what tells how it was trained."""
    from critic_probe.checkpoint import dissect
    from critic_probe.checkpoint.critic import without_backbone
    from critic_probe.encoding.trained import trained_convention

    trained_convention(dissect(path.parent))
    return without_backbone(path.parent)


def _read_loaded(path: Path) -> Any:
    from critic_probe.checkpoint import load_critic

    values = load_critic(path.parent, device="cpu").values([5, 17, 200, 258])
    assert torch.isfinite(values).all()
    return values


def _adapter(directory: Path) -> Path:
    return peft_adapter(save_critic(directory / "source"), directory / "peft") / "adapter" / "adapter_config.json"


def _read_adapter(path: Path) -> Any:
    from critic_probe.checkpoint.critic import without_backbone

    critic = without_backbone(path.parent, base=path.parents[1] / "base")
    return [stored.read() for stored in critic.layout.tensors.values()]


def _fsdp(file: str) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        from formats import verl_w1

        critic = verl_w1(save_critic(directory / "source"), directory / "run") / "global_step_7" / "critic"
        (critic / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 1, "world_size": 1}))
        return critic / file

    return make


def _read_layout(path: Path) -> Any:
    from critic_probe.checkpoint.layout import read_layout

    return [stored.read() for stored in read_layout(path.parent).tensors.values()]


def _bin(directory: Path) -> Path:
    from formats import pytorch_bin

    return pytorch_bin(save_critic(directory / "source"), directory / "critic") / "pytorch_model.bin"


def _program(directory: Path) -> Path:
    """The pickle of a state dict alone, which the archive of its file is made around."""
    import zipfile

    file = _bin(directory)
    with zipfile.ZipFile(file) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        program = archive.read(name)
    path = file.with_name("data.pkl")
    path.write_bytes(program)
    shutil.copy(file, file.with_name("sound.zip"))
    return path


def _read_program(path: Path) -> Any:
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(path.with_name("sound.zip")) as sound, zipfile.ZipFile(made, "w") as archive:
        for info in sound.infolist():
            archive.writestr(
                info.filename, path.read_bytes() if info.filename.endswith("data.pkl") else sound.read(info)
            )
    path.with_name("pytorch_model.bin").write_bytes(made.getvalue())
    return _read_layout(path)


def _dcp(directory: Path) -> Path:
    from formats import dcp

    return dcp(save_critic(directory / "source"), directory / "critic") / ".metadata"


def _safetensors(directory: Path) -> Path:
    """The header of a safetensors file, as JSON of its own."""
    path = save_critic(directory / "critic")
    whole = (path / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    (path / "rest").write_bytes(whole[8 + length :])
    (path / "header.json").write_bytes(whole[8 : 8 + length])
    return path / "header.json"


def _read_header(path: Path) -> Any:
    header = path.read_bytes()
    rest = path.with_name("rest").read_bytes()
    path.with_name("model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + rest)
    return _read_layout(path)


def _metrics(directory: Path) -> Path:
    path = directory / "metrics.jsonl"
    rows = [{"step": i, "data": {"critic/d_acc": 0.5 + i / 10, "critic/d_loss": 1.0 / (i + 1)}} for i in range(6)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _console(directory: Path) -> Path:
    path = directory / "train.log"
    lines = [f"step:{i} - critic/d_acc:0.{i + 1} - critic/d_loss:1.{i} - actor/pg_loss:nan" for i in range(6)]
    path.write_text("\n".join(lines))
    return path


def _read_log(path: Path) -> Any:
    from critic_probe.runs.read import read

    return list(read([path]))


READERS = [
    *(
        Reader(f"pairs {end}", form, _pairs(end), _read_pairs)
        for end, form in {".jsonl": "jsonl", ".json": "json", ".csv": "bytes", ".parquet": "bytes"}.items()
    ),
    Reader("scores", "jsonl", _scores, _read_scores),
    Reader("candidates", "jsonl", _candidates, _read_candidates),
    Reader("baseline", "json", _baseline, _read_baseline, typed=True),
    Reader("gates", "toml", _gates, _read_gates, typed=True),
    Reader("convention", "toml", _convention, _read_convention, typed=True),
    Reader("verify", "json", _record, _read_record),
    Reader("verify of edits", "json", _record_of_edits, _read_record),
    Reader("read_result", "json", _record, _read_result),
    Reader("weight index", "json", _critic("model.safetensors.index.json"), _read_critic),
    *(
        Reader(name, "json", _critic(name), _read_critic, lenient=name == "tokenizer.json")
        for name in (
            "config.json",
            "tokenizer_config.json",
            "tokenizer.json",
            "generation_config.json",
            "critic_probe.json",
            "trainer_state.json",
        )
    ),
    Reader("config.json, loaded", "json", _critic("config.json"), _read_loaded),
    Reader("adapter_config.json", "json", _adapter, _read_adapter),
    Reader("fsdp_config.json", "json", _fsdp("fsdp_config.json"), _read_layout),
    Reader("FSDP shard", "bytes", _fsdp("model_world_size_1_rank_0.pt"), _read_layout),
    Reader("pytorch_model.bin", "bytes", _bin, _read_layout),
    Reader("its pickle", "bytes", _program, _read_program),
    Reader("DCP .metadata", "bytes", _dcp, _read_layout),
    Reader("safetensors", "bytes", lambda directory: _critic("model.safetensors")(directory), _read_layout),
    Reader("log of metrics", "jsonl", _metrics, _read_log, lenient=True),
    Reader("log of a console", "bytes", _console, _read_log, lenient=True),
    Reader("safetensors header", "json", _safetensors, _read_header),
]
