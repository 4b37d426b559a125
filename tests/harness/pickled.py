"""Malicious pickles by kind: what is called, the opcode that calls it, and where in a state dict it lies.

Programs are put together from opcodes, so that no pickler has to agree to write them.
"""

import itertools
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

CALLED = {
    "run a command": [
        "os system",
        "posix system",
        "subprocess Popen",
        "subprocess check_output",
        "os popen",
        "pty spawn",
    ],
    "run code": [
        "builtins eval",
        "builtins exec",
        "builtins compile",
        "runpy run_path",
        "code interact",
        "timeit timeit",
    ],
    "become a program": ["os execv", "os fork", "os posix_spawn", "multiprocessing.process BaseProcess", "pdb run"],
    "import": ["builtins __import__", "importlib import_module", "pkgutil resolve_name", "zipimport zipimporter"],
    "reach attributes": ["builtins getattr", "builtins setattr", "operator attrgetter", "operator methodcaller"],
    "open files": [
        "builtins open",
        "io open",
        "io FileIO",
        "pathlib Path",
        "os open",
        "tempfile mkstemp",
        "sqlite3 connect",
    ],
    "remove files": ["os remove", "os unlink", "shutil rmtree", "os rename", "os truncate", "os kill"],
    "reach the network": ["socket socket", "socket create_connection", "urllib.request urlopen", "webbrowser open"],
    "load libraries": [
        "ctypes CDLL",
        "ctypes PyDLL",
        "_ctypes dlopen",
        "torch.ops load_library",
        "torch.classes load_library",
    ],
    "load again": ["pickle loads", "_pickle loads", "marshal loads", "torch load", "torch.storage _load_from_bytes"],
    "load models": [
        "torch.hub load",
        "torch.jit load",
        "torch.package PackageImporter",
        "numpy load",
        "pandas read_pickle",
    ],
    "build code": [
        "types FunctionType",
        "types CodeType",
        "builtins type",
        "builtins classmethod",
        "functools partial",
    ],
    "look plain": [
        "builtins object",
        "copyreg _reconstructor",
        "builtins map",
        "collections defaultdict",
        "builtins bytearray",
    ],
    "look like torch": ["torch._utils _rebuild_qtensor", "torch compile", "torch.utils.cpp_extension load", "torch nn"],
    "look like us": [
        "critic_probe.checkpoint.pickles _read",
        "critic_probe load",
        "transformers pipeline",
        "__main__ x",
    ],
}
NAMES = [tuple(name.split()) for names in CALLED.values() for name in names]

_MARK, _STOP = b"(", b"."


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _arguments(marker: str) -> bytes:
    return _MARK + _text(marker) + b"t"


OPCODES = {
    "REDUCE": lambda m, n, marker: _global(m, n) + _arguments(marker) + b"R",
    "STACK_GLOBAL": lambda m, n, marker: _text(m) + _text(n) + b"\x93" + _arguments(marker) + b"R",
    "INST": lambda m, n, marker: _MARK + _text(marker) + f"i{m}\n{n}\n".encode(),
    "OBJ": lambda m, n, marker: _MARK + _global(m, n) + _text(marker) + b"o",
    "NEWOBJ": lambda m, n, marker: _global(m, n) + _arguments(marker) + b"\x81",
    "NEWOBJ_EX": lambda m, n, marker: _global(m, n) + _arguments(marker) + b"}\x92",
    "named only": lambda m, n, _: _global(m, n),
    "getattr": lambda m, n, _: _global("builtins", "getattr") + _MARK + _global(m, n) + _text("__call__") + b"tR",
    "from type": lambda m, n, marker: (
        _global("torch._tensor", "_rebuild_from_type_v2") + _MARK + _global(m, n) + _global("torch", "Tensor")
        + _arguments(marker) + b"}tR"
    ),
    "BUILD": lambda m, n, marker: (
        _global("torch.distributed.x", "Y") + b")R" + _global(m, n) + _arguments(marker) + b"Rb"
    ),
}  # fmt: skip
PLACES = {
    "alone": lambda program: program,
    "a value": lambda program: b"}" + _text("score.weight") + program + b"s",
    "a key": lambda program: b"}" + program + _text("x") + b"s",
    "deep": lambda program: b"}" + _text("a") + b"](" + b"](" + program + b"e" + b"e" + b"s",
    "an argument": lambda program: _global("collections", "OrderedDict") + _MARK + program + b"tR",
    "a state": lambda program: _global("torch.distributed.x", "Y") + b")R}" + _text("y") + program + b"sb",
    "a storage": lambda program: _MARK + _text("storage") + program + _text("0") + _text("cpu") + b"K\x01tQ",
}


def malicious(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Every kind with its program; `marker` is what each would write, open or run."""
    for (module, name), opcode, place in itertools.product(NAMES, OPCODES, PLACES):
        program = PLACES[place](OPCODES[opcode](module, name, str(marker)))
        yield f"{module}.{name} by {opcode} as {place}", b"\x80\x04" + program + _STOP


def archived(program: bytes, path: Path) -> Path:
    """A file of torch's format around a program."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/data/0", bytes(128))
    return path
