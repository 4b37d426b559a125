"""Readers of what lies in a checkpoint's directory. Each reads what depends on its file; one loads the critic."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from formats import dcp, peft_adapter, pytorch_bin, verl_w1
from harness.reader import Reader
from safetensors import safe_open
from tiny import save_critic

_BESIDE = {
    "critic_probe.json": {"eos": "include", "value_position": "at", "aggregation": "last", "version": "1"},
    "trainer_state.json": {"global_step": 3, "log_history": []},
    "generation_config.json": {"eos_token_id": [258, 256], "temperature": 0.6},
}


def _small(path: Path) -> Path:
    return save_critic(path, hidden_size=8, head_dim=4, intermediate_size=8, num_hidden_layers=1)


def _critic(file: str) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path = _small(directory / "critic")
        if file in _BESIDE:
            (path / file).write_text(json.dumps(_BESIDE[file]))
        return path / file

    return make


def _index(directory: Path) -> Path:
    path = _small(directory / "critic")
    with safe_open(path / "model.safetensors", framework="pt") as tensors:
        names = list(tensors.keys())
    shard = path / "model-00001-of-00001.safetensors"
    (path / "model.safetensors").rename(shard)
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, shard.name)}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path / "model.safetensors.index.json"


@cache
def _sound(directory: Path) -> Any:
    """What is in the directory of a sound checkpoint, which each reader reads before it is damaged."""
    from critic_probe.checkpoint import dissect

    return dissect(directory)


def _read_whole(path: Path) -> Any:
    """All but the backbone."""
    from critic_probe.checkpoint.critic import without_backbone

    return without_backbone(path.parent)


def _read_loaded(path: Path) -> Any:
    from critic_probe.checkpoint import load_critic

    values = load_critic(path.parent, device="cpu").values([5, 17, 200, 258])
    assert torch.isfinite(values).all()
    return values


def _read_tokenizer(path: Path) -> Any:
    """The tokenizer, and a pair through it and its chat template."""
    from critic_probe.checkpoint.critic import read_tokenizer

    return _encoded(replace(_sound(path.parent), tokenizer=read_tokenizer(_sound(path.parent).layout)))


def _read_trained(path: Path) -> Any:
    """What the file says of the training, and a pair as it was trained."""
    from critic_probe.checkpoint.critic import _training

    return _training(path.parent), _encoded(_sound(path.parent))


def _encoded(anatomy: Any) -> Any:
    from critic_probe.aggregation import parse
    from critic_probe.pairs import Pair
    from critic_probe.workbench.reading import encoder_of
    from critic_probe.workbench.signature import Settings

    encoder, _ = encoder_of(anatomy, Settings((parse("last"),)))
    return encoder.pair(Pair("a", "What is 2?", "It is 2,", "2."))


def _read_generation(path: Path) -> Any:
    from critic_probe.checkpoint.critic import eos_ids

    sound = _sound(path.parent)
    return eos_ids(sound.layout, sound.tokenizer, sound.config)


def _read_layout(path: Path) -> Any:
    """Every tensor."""
    from critic_probe.checkpoint.layout import read_layout

    return [stored.read() for stored in read_layout(path.parent).tensors.values()]


def _read_headers(path: Path) -> Any:
    from critic_probe.checkpoint.layout import read_layout

    return read_layout(path.parent)


def _adapter(directory: Path) -> Path:
    return peft_adapter(save_critic(directory / "source"), directory / "peft") / "adapter" / "adapter_config.json"


def _read_adapter(path: Path) -> Any:
    from critic_probe.checkpoint.layout import read_layout

    layout = read_layout(path.parent, base=path.parents[1] / "base")
    return [stored.read() for name, stored in layout.tensors.items() if "layers.1" in name]


def _fsdp(file: str) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        critic = verl_w1(_small(directory / "source"), directory / "run") / "global_step_7" / "critic"
        (critic / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 1, "world_size": 1}))
        return critic / file

    return make


def _bin(directory: Path) -> Path:
    return pytorch_bin(_small(directory / "source"), directory / "critic") / "pytorch_model.bin"


def _program(directory: Path) -> Path:
    """The pickle of a state dict alone, which the archive of its file is made around."""
    file = _bin(directory)
    with zipfile.ZipFile(file) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("data.pkl")]
        program = archive.read(name)
    path = file.with_name("data.pkl")
    path.write_bytes(program)
    shutil.copy(file, file.with_name("sound.zip"))
    return path


def _read_program(path: Path) -> Any:
    made = io.BytesIO()
    with zipfile.ZipFile(path.with_name("sound.zip")) as sound, zipfile.ZipFile(made, "w") as archive:
        for info in sound.infolist():
            archive.writestr(
                info.filename, path.read_bytes() if info.filename.endswith("data.pkl") else sound.read(info)
            )
    path.with_name("pytorch_model.bin").write_bytes(made.getvalue())
    return _read_layout(path)


def _dcp(directory: Path) -> Path:
    return dcp(_small(directory / "source"), directory / "critic") / ".metadata"


def _header(directory: Path) -> Path:
    """The header of a safetensors file, as JSON of its own."""
    path = _small(directory / "critic")
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


READERS = [
    Reader("config.json", "json", _critic("config.json"), _read_whole),
    Reader("config.json, loaded", "json", _critic("config.json"), _read_loaded, few=200),
    Reader("weight index", "json", _index, _read_headers),
    Reader("tokenizer.json", "json", _critic("tokenizer.json"), _read_tokenizer, lenient=True),
    Reader("tokenizer_config.json", "json", _critic("tokenizer_config.json"), _read_tokenizer),
    Reader("chat_template.jinja", "bytes", _critic("chat_template.jinja"), _read_tokenizer),
    Reader("generation_config.json", "json", _critic("generation_config.json"), _read_generation),
    Reader("critic_probe.json", "json", _critic("critic_probe.json"), _read_trained),
    Reader("trainer_state.json", "json", _critic("trainer_state.json"), _read_headers),
    Reader("adapter_config.json", "json", _adapter, _read_adapter),
    Reader("fsdp_config.json", "json", _fsdp("fsdp_config.json"), _read_headers),
    Reader("FSDP shard", "bytes", _fsdp("model_world_size_1_rank_0.pt"), _read_layout),
    Reader("pytorch_model.bin", "bytes", _bin, _read_layout),
    Reader("its pickle", "bytes", _program, _read_program),
    Reader("DCP .metadata", "bytes", _dcp, _read_layout),
    Reader("safetensors", "bytes", _critic("model.safetensors"), _read_layout),
    Reader("safetensors header", "json", _header, _read_header),
]
