"""Files of tensors that are made to do harm, or say something else than they hold: refused, and nothing runs."""

import json
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from formats import copy_of, pytorch_bin, verl_w1
from harness.pickled import NAMES, OPCODES, PLACES, archived, malicious
from safetensors.torch import load_file

from critic_probe.checkpoint.critic import without_backbone
from critic_probe.checkpoint.layout import read_layout
from critic_probe.checkpoint.pickles import read_plain_pickle, read_torch_file
from critic_probe.errors import CriticProbeError

_HARM = ("open", "exec", "compile", "import", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "pty.", "sqlite3.")
_guarded: list[tuple[str, str]] | None = None


def _hook(event: str, arguments: tuple) -> None:
    if _guarded is not None and event.startswith(_HARM):
        _guarded.append((event, str(arguments[:1])))


sys.addaudithook(_hook)  # for good; it only looks while a test asks for it


@contextmanager
def guard(allowed: Path) -> Iterator[list[tuple[str, str]]]:
    """What is opened, run, loaded or asked of the network meanwhile, but for one file."""
    global _guarded
    _guarded = events = []
    try:
        yield events
    finally:
        _guarded = None
        events[:] = [event for event in events if event != ("open", str((str(allowed),)))]


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory):
    """What torch and Python load on the first read of a process, whatever is read."""
    path = tmp_path_factory.mktemp("warm") / "x.bin"
    torch.save({"a": torch.arange(12.0).as_strided((3, 4), (0, 1))}, path)
    read_torch_file(path)["a"].read()
    for program in (b"}.", b"cos\nsystem\n.", b"\xff"):
        path.write_bytes(program)
        with suppress(CriticProbeError):
            read_plain_pickle(path)
        with suppress(CriticProbeError):
            read_torch_file(archived(program, path))


def test_no_kind_of_malicious_pickle_runs_anything(tmp_path):
    """Refused or inert, each is read without anything else being opened, imported, run or asked."""
    path, marker = tmp_path / ".metadata", tmp_path / "marker"
    taken = []
    for kind, program in malicious(marker):
        path.write_bytes(program)
        with guard(path) as events, suppress(CriticProbeError):
            read_plain_pickle(path)
            taken.append(kind)
        assert events == [], kind
    assert not marker.exists()
    assert len(NAMES) * len(OPCODES) * len(PLACES) > 131
    assert {kind.partition(" as ")[0] for kind in taken} == {"builtins.getattr by named only"}  # which calls nothing


@pytest.mark.parametrize("opcode", OPCODES)
def test_nor_does_one_in_an_archive(tmp_path, opcode):
    program = b"\x80\x04" + PLACES["a value"](OPCODES[opcode]("os", "system", f"touch {tmp_path / 'marker'}")) + b"."
    path = archived(program, tmp_path / "x.bin")
    with guard(path) as events, pytest.raises(CriticProbeError, match=r"asks for os\.system|asks for getattr"):
        read_torch_file(path)
    assert events == []


@pytest.mark.parametrize("stride", [(4, 1), (0, 1), (0, 0), (1, 3)])
def test_nothing_that_a_file_says_of_strides_loads_a_library(tmp_path, stride):
    """torch imports some of itself on a process's first read, whatever the file says, and nothing after that."""
    path = tmp_path / "x.bin"
    tensor = torch.arange(12.0).as_strided((3, 4), stride)
    torch.save({"a": tensor}, path)
    with guard(path) as events:
        read = read_torch_file(path)["a"].read()
    assert events == []
    assert torch.equal(read, tensor)


def saved(tmp_path: Path, **tensors: torch.Tensor) -> tuple[Path, dict[str, bytes]]:
    path = tmp_path / "x.bin"
    torch.save(tensors, path)
    with zipfile.ZipFile(path) as archive:
        return path, {info.filename: archive.read(info) for info in archive.infolist()}


def packed(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CriticProbeError) as caught:
        read_torch_file(path)
    return str(caught.value)


def test_an_archive_that_was_packed_anew_is_refused_where_its_values_would_be_others(tmp_path):
    path, entries = saved(tmp_path, a=torch.zeros(256), b=torch.ones(3))
    assert "entries are compressed" in refusal(packed(path, entries, zipfile.ZIP_DEFLATED))
    assert torch.equal(read_torch_file(packed(path, entries))["b"].read(), torch.ones(3))


def test_lengths_that_do_not_fit_are_refused(tmp_path):
    path, entries = saved(tmp_path, a=torch.zeros(256))
    storage = next(name for name in entries if name.endswith("data/0"))
    for content in (bytes(1020), bytes(1028)):
        assert "bytes, where 256 values of float32 would be 1,024" in refusal(
            packed(path, entries | {storage: content})
        )
    order = next(name for name in entries if name.endswith("byteorder"))
    assert "byteorder has 5,000 bytes" in refusal(packed(path, entries | {order: bytes(5000)}))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(storage, bytes(1024))
    assert "holds an entry twice" in refusal(path)


@pytest.mark.parametrize("opcode", [b"r" + struct.pack("<I", 2**27), b"p134217728\n"])
def test_an_object_of_a_huge_number_takes_no_room(tmp_path, opcode):
    """It was refused, since the reader before this one made room for as many; now a number is a key like any other."""
    path = archived(b"\x80\x02}" + opcode + b".", tmp_path / "x.bin")
    tracemalloc.start()
    assert read_torch_file(path) == {}
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def doubled(one: bytes, both: bytes, times: int) -> bytes:
    """`one`, and that many times an object of twice the last one; the last is left."""
    return one + b"".join(b"\x94" + both.replace(b"x", b"h" + bytes([n])) for n in range(times))


TANGLED = {
    "a key of nested tuples": (b"}" + doubled(b")", b"0xx\x86", 60) + b"K\x01s.", "unhashable"),
    "an element of nested tuples": (b"\x8f(" + doubled(b")", b"0xx\x86", 60) + b"\x90.", "unhashable"),
    "nested sizes": (
        b"}" + doubled(b")", b"0ctorch\nSize\n(xxt\x85R", 60) + b"K\x01s.",
        "unhashable",
    ),
    "nested lists": (doubled(b"]", b"0](xxe", 60) + b".", "names its own objects so often"),
    "nested frozensets": (b"(K\x01\x91.", "damaged"),
    "copies": (
        b"](" + b"N" * 5000 + b"e\x940" + b"cbuiltins\nlist\nh\x00\x85R" * 50 + b".",
        "copies more than it holds",
    ),
    "a byte array of any length": (b"\x96" + struct.pack("<Q", 2**40) + b".", "damaged"),
    "numbers of a shape": (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        + b"X\x03\x00\x00\x00cpuK tQK\x00(" + b"\x8a\x09" + b"\xff" * 8 + b"\x00t(K\x01t\x89}tR.",
        "size or stride is none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TANGLED)
def test_what_would_take_years_or_all_memory_is_refused(tmp_path, kind):
    program, message = TANGLED[kind]
    assert message in refusal(archived(b"\x80\x04" + program, tmp_path / "x.bin"))


STATES = {
    "a function of the reader": b"ctorch\nSize\n",
    "a type": b"cbuiltins\nlist\n",
    "a tensor": b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK tQK\x00(K\x04t(K\x01t\x89}tR",
}


@pytest.mark.parametrize("kind", STATES)
def test_nothing_but_an_inert_record_is_given_a_state(tmp_path, kind):
    """A tensor's shape would be another than the one that was checked, a function's defaults those of the next file."""
    path = archived(b"\x80\x04" + STATES[kind] + b"N}X\x05\x00\x00\x00shapeNs\x86b.", tmp_path / "x.bin")
    assert "sets the state of a" in refusal(path)


@pytest.mark.parametrize("size", [b"G?\xf0\x00\x00\x00\x00\x00\x00", b"\x88", b"N"], ids=["1.0", "True", "None"])
def test_sizes_that_are_no_whole_numbers_are_refused(tmp_path, size):
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK tQ"
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(" + size + b"t(K\x01t\x89}tR."
    assert "size or stride is none" in refusal(archived(program, tmp_path / "x.bin"))


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.uint8, torch.int64])
@pytest.mark.parametrize("place", ["safetensors", "bin", "shard"])
def test_weights_that_are_no_floating_numbers_are_refused_by_name(critic_dir, tmp_path, dtype, place):
    weights = load_file(critic_dir / "model.safetensors")
    weights["score.weight"] = weights["score.weight"].to(dtype)
    source = copy_of(critic_dir, tmp_path / "source", weights)
    path = {"safetensors": lambda s, _: s, "bin": pytorch_bin, "shard": verl_w1}[place](source, tmp_path / "critic")
    with pytest.raises(CriticProbeError, match=f"score.weight is stored as {str(dtype).removeprefix('torch.')}, where"):
        read_layout(path)


def test_a_head_whose_bytes_are_declared_integers_is_refused(critic_dir, tmp_path):
    path = copy_of(critic_dir, tmp_path / "critic")
    whole = (path / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    header["score.weight"]["dtype"] = "I32"
    changed = json.dumps(header).encode().ljust(length)
    (path / "model.safetensors").write_bytes(len(changed).to_bytes(8, "little") + changed + whole[8 + length :])
    with pytest.raises(CriticProbeError, match=r"score\.weight is stored as int32"):
        read_layout(path)


def test_a_tensor_that_a_header_names_twice_is_refused(critic_dir, tmp_path):
    path = copy_of(critic_dir, tmp_path / "critic")
    whole = (path / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + length].decode()
    entry = json.dumps(json.loads(header)["score.weight"])
    changed = header.rstrip().removesuffix("}").encode() + f', "score.weight": {entry}}}'.encode()
    (path / "model.safetensors").write_bytes(len(changed).to_bytes(8, "little") + changed + whole[8 + length :])
    with pytest.raises(CriticProbeError, match=r"names 'score\.weight' twice"):
        read_layout(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model_world_size_0_rank_0.pt", "rank 0 of 0 cannot be"),
        ("model_world_size_10000000000_rank_0.pt", "9999999999 of 10000000000 shards are missing"),
        ("model_world_size_1_rank_10000000000.pt", "rank 10000000000 of 1 cannot be"),
    ],
)
def test_a_name_may_say_any_number_of_shards(critic_dir, tmp_path, name, message):
    critic = verl_w1(critic_dir, tmp_path / "run") / "global_step_7" / "critic"
    (critic / "model_world_size_1_rank_0.pt").rename(critic / name)
    with pytest.raises(CriticProbeError, match=message):
        read_layout(critic)


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer_config.json", "generation_config.json", "model.safetensors", "trainer_state.json"],
)
def test_a_directory_where_a_file_should_be_is_told(critic_dir, tmp_path, name):
    path = copy_of(critic_dir, tmp_path / "critic")
    (path / name).unlink(missing_ok=True)
    (path / name).mkdir()
    with pytest.raises(CriticProbeError, match=f"{name}: "):
        without_backbone(path)
