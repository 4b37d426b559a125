"""Files of `torch.save`, read without running anything that they name.

A pickle is a program. This reader lets it build plain containers, tensor headers and inert records of torch's
distributed classes, and refuses every other name. Nothing of torch is called while it runs, so shards of a group of
processes are read by one process without a group, and a tensor's bytes are read only when they are asked for.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from critic_probe.checkpoint.stored import Stored
from critic_probe.errors import CriticProbeError

_LOCAL_HEADER = 30  # bytes before the name in a zip entry's own header
_PROGRAM = 1 << 28  # bytes of a pickle, which holds names and shapes and no values
_UNFOLDED = 1 << 24  # objects of a tree, where one that stands at several places counts at each
_DIMENSIONS = 64  # of a tensor


class _Tuple(tuple[Any, ...]):
    """A tuple of a pickle, which is no key: a few bytes nest one so that its hash would take years."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]


class Inert:
    """Stands for an object of a class that is never imported: what it was made from, and the state set on it."""

    def __new__(cls, *args: Any, **_: Any) -> "Inert":
        """Keeps the arguments and imports nothing."""
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    args: tuple[Any, ...]
    state: Any

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes what the real class would."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def kind(self) -> str:
        """The name of the class that it stands for, without its module."""
        return type(self).__name__.rpartition(".")[2]


_STORAGE_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "Untyped": torch.uint8,
}

# Names by which older versions of torch, or a plain pickle of one of its classes, say the same thing.
_PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "int"): int,
    ("builtins", "float"): float,
    ("torch", "Size"): lambda size=(): _Tuple(size),
}
_INERT = ("torch.distributed.",)
_INERT_NAMES = {
    ("torch", "Tensor"),  # of FSDP1 on one GPU: a tensor with attributes of its own
    ("torch.nn.parameter", "Parameter"),
    ("torch", "device"),
    ("torch.serialization", "_get_layout"),
    ("torch._C", "_disabled_torch_function_impl"),
    ("torch._utils", "_rebuild_wrapper_subclass"),
    ("datetime", "timedelta"),
    ("pathlib", "PosixPath"),
}


def read_torch_file(path: Path) -> Any:
    """The tree that a file of `torch.save` holds, with a `Stored` for every tensor.

    Raises:
        CriticProbeError: The file is cut short or damaged, is not of torch's zip format, or asks for a name that no
            checkpoint needs.
    """
    return _read_zip(path, 0, path.stat().st_size)


def read_plain_pickle(path: Path) -> Any:
    """The tree of a pickle that holds no tensors, such as the `.metadata` of a distributed checkpoint.

    Raises:
        CriticProbeError: The file is damaged or asks for a name that no checkpoint needs.
    """
    with path.open("rb") as stream:
        return _load(path, stream.read(_PROGRAM + 1), None)


def read_torch_part(path: Path, start: int, length: int) -> Any:
    """As `read_torch_file`, for the `length` bytes from `start` of a file that holds several of them."""
    return _read_zip(path, start, length)


def _read_zip(path: Path, start: int, length: int) -> Any:
    with path.open("rb") as stream:
        stream.seek(start)
        magic = stream.read(4)
        if magic != b"PK\x03\x04":
            if magic[:1] == b"\x80":
                raise CriticProbeError(
                    f"{path}: in torch's old format, which is one long pickle; load it where you trust it and save it "
                    "again with torch.save"
                )
            raise CriticProbeError(f"{path}: not a file of torch.save, or its start is lost; copy it again")
        stream.seek(start)
        part = io.BytesIO(stream.read(length)) if start or length != path.stat().st_size else stream
        try:
            with zipfile.ZipFile(part) as archive:
                entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
                _refuse_repacked(path, archive.infolist(), entries)
                if "byteorder" in entries and _read_entry(path, archive, entries["byteorder"], 16) != b"little":
                    raise CriticProbeError(f"{path}: written on a big-endian machine; save it again on this one")
                program = _read_entry(path, archive, entries["data.pkl"], _PROGRAM)
                storages = {}
                for name, info in entries.items():
                    if name.startswith("data/"):
                        part.seek(info.header_offset + 26)
                        lengths = struct.unpack("<HH", part.read(4))
                        offset = info.header_offset + _LOCAL_HEADER + sum(lengths)
                        if offset + info.file_size > length:
                            raise CriticProbeError(f"{path}: cut short: {name} ends beyond it; copy it again")
                        storages[name.removeprefix("data/")] = (start + offset, info.file_size)
        except CriticProbeError:
            raise
        except Exception as error:  # a damaged archive fails in any way there is
            raise CriticProbeError(f"{path}: cut short or damaged ({error!s:.200}); copy it again") from error
    return _load(path, program, storages)


def _refuse_repacked(path: Path, infos: list[zipfile.ZipInfo], entries: Mapping[str, zipfile.ZipInfo]) -> None:
    """Refuses an archive that torch did not write: values are read where they lie, uncompressed and each once."""
    if "data.pkl" not in entries:
        raise CriticProbeError(f"{path}: holds no data.pkl; copy it again")
    if len(entries) < len(infos):
        raise CriticProbeError(f"{path}: holds an entry twice, so which one counts is not known; save it again")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise CriticProbeError(
                f"{path}: its entries are compressed or encrypted, as torch.save never writes them: the file was "
                "packed anew; load it with torch.load(weights_only=True) and save it again with torch.save"
            )


def _read_entry(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    if info.file_size > most:
        raise CriticProbeError(
            f"{path}: {info.filename[:80]} has {info.file_size:,} bytes, more than {most:,}; copy it again"
        )
    return archive.read(info)


def _load(path: Path, program: bytes, storages: dict[str, tuple[int, int]] | None) -> Any:
    if len(program) > _PROGRAM:
        raise CriticProbeError(
            f"{path}: a pickle of more than {_PROGRAM:,} bytes, which no weights need; copy it again"
        )
    try:
        tree = _Unpickler(path, program, storages or {}).load()
        _refuse_tangled(path, tree)
        return tree
    except CriticProbeError:
        raise
    except Exception as error:  # a damaged pickle fails in any way there is
        raise CriticProbeError(f"{path}: its pickle is damaged ({error!s:.200}); copy it again") from error


def _refuse_tangled(path: Path, tree: Any) -> None:
    """Refuses a tree whose parts are named again and again, so that showing or comparing it would take forever."""
    sizes: dict[int, int] = {}
    waiting = [(tree, False)]
    while waiting:
        value, counted = waiting.pop()
        if counted:
            sizes[id(value)] = 1 + sum(sizes[id(part)] for part in _parts(value))
            if sizes[id(value)] > _UNFOLDED:
                raise CriticProbeError(
                    f"{path}: its pickle names its own objects so often that {_UNFOLDED:,} are not all of them, which "
                    "no weights need; copy it again"
                )
        elif id(value) not in sizes:
            sizes[id(value)] = 1  # for good where it is a part of itself
            waiting.append((value, True))
            waiting += [(part, False) for part in _parts(value)]


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, Inert):
        return (value.args, value.state)
    return value if isinstance(value, list | tuple | set) else ()


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler that is written in Python, for what each opcode may do here.

    Besides names and storages, which are asked for, it refuses what would take more memory than the program itself has,
    and changes nothing that is not inert. An opcode that is not in `dispatch` is damage.
    """

    stack: list[Any]

    def __init__(self, path: Path, program: bytes, storages: dict[str, tuple[int, int]]) -> None:
        super().__init__(io.BytesIO(program))
        self._path = path
        self._storages = storages
        self._inert: dict[tuple[str, str], type[Inert]] = {}
        self._room = len(program)  # for objects that are copied from others

    def no_key(self) -> None:
        """Makes the newest object, a tuple, one that is no key."""
        self.stack[-1] = _Tuple(self.stack[-1])

    def counted(self) -> None:
        """Takes account of the newest object, which a call made and which may be a copy of others."""
        made = self.stack[-1]
        if isinstance(made, list | dict | set | tuple):
            self._room -= len(made)
        if self._room < 0:
            raise CriticProbeError(f"{self._path}: its pickle copies more than it holds; copy it again")

    def load_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Inert):
            made.__setstate__(state)
        elif not isinstance(made, OrderedDict):  # whose attributes, torch's `_metadata`, are not read
            raise CriticProbeError(
                f"{self._path}: its pickle sets the state of a {type(made).__name__:.80}, which no weights need; it "
                "was not run"
            )

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if (module, name) == ("builtins", "getattr"):  # how protocol 2 writes a class inside a class
            return self._nested
        if module in ("torch._utils", "torch._tensor") and name in _REBUILD:
            return _REBUILD[name]
        if module in ("torch", "torch.storage"):
            value = getattr(torch, name, None)
            if isinstance(value, torch.dtype):
                return value
            if name.removesuffix("Storage") in _STORAGE_DTYPES:
                return _STORAGE_DTYPES[name.removesuffix("Storage")]
        if module.startswith(_INERT) or (module, name) in _INERT_NAMES:
            return self._inert_class(module, name)
        raise CriticProbeError(
            f"{self._path}: its pickle asks for {module:.80}.{name:.80}, which no weights need; it was not run. Do "
            "not load this file elsewhere unless you trust who made it"
        )

    def persistent_load(self, pid: Any) -> tuple[int, int, torch.dtype, Path]:
        kind, dtype, key, _, numel = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(numel) is not int:
            raise CriticProbeError(
                f"{self._path}: its pickle names a storage in a way that is not known; copy it again"
            )
        if key not in self._storages:
            raise CriticProbeError(f"{self._path}: storage {key!s:.40} is missing; copy it again")
        start, available = self._storages[key]
        if numel * dtype.itemsize != available:
            raise CriticProbeError(
                f"{self._path}: storage {key} holds {available:,} bytes, where {numel:,} values of {_name(dtype)} "
                f"would be {numel * dtype.itemsize:,}; copy it again"
            )
        return (start, available, dtype, self._path)

    def _inert_class(self, module: str, name: str) -> type[Inert]:
        return self._inert.setdefault((module, name), type(f"{module}.{name}", (Inert,), {}))

    def _nested(self, outer: Any, name: str) -> type[Inert]:
        if not (isinstance(outer, type) and issubclass(outer, Inert)):
            raise CriticProbeError(
                f"{self._path}: its pickle asks for getattr of a {type(outer).__name__}, which no weights need; it was "
                "not run"
            )
        return self._inert_class(outer.__name__, name)


def _then(load: Callable[[Any], None], after: Callable[[Any], None]) -> Callable[[Any], None]:
    def loaded(unpickler: _Unpickler) -> None:
        load(unpickler)
        after(unpickler)

    return loaded


_NEVER = b"".join((pickle.FROZENSET, pickle.BYTEARRAY8, pickle.EXT1, pickle.EXT2, pickle.EXT4))
_TUPLES = b"".join((pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3))
_CALLS = b"".join((pickle.REDUCE, pickle.INST, pickle.OBJ))
_dispatch: dict[int, Any] = {code: load for code, load in pickle._Unpickler.dispatch.items() if code not in _NEVER}
_dispatch |= {code: _then(_dispatch[code], _Unpickler.no_key) for code in _TUPLES}
_dispatch |= {code: _then(_dispatch[code], _Unpickler.counted) for code in _CALLS}
_Unpickler.dispatch = _dispatch | {pickle.BUILD[0]: _Unpickler.load_build}


def _tensor(
    storage: tuple[int, int, torch.dtype, Path],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dtype: torch.dtype | None = None,
) -> Stored:
    start, available, storage_dtype, path = storage
    dtype = dtype or storage_dtype
    size, stride = tuple(size), tuple(stride)
    numbers = (offset, *size, *stride)
    plain = all(type(n) is int and abs(n) < 1 << 63 for n in numbers) and len(size) <= _DIMENSIONS
    if not isinstance(dtype, torch.dtype) or not plain:
        raise CriticProbeError(f"{path}: a tensor's dtype, offset, size or stride is none; copy it again")
    needed = offset + 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if math.prod(size) else 0
    bytes_needed = max(needed, math.prod(size)) * dtype.itemsize
    if bytes_needed > available or offset < 0 or any(n < 0 for n in (*size, *stride)):
        raise CriticProbeError(f"{path}: a tensor of shape {list(size)} reaches beyond its storage; copy it again")
    return Stored(size, dtype, (path,), partial(_read, path, start, available, dtype, offset, size, stride))


def _read(
    path: Path,
    start: int,
    available: int,
    dtype: torch.dtype,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    wanted: torch.dtype | None = None,
) -> Tensor:
    """Copies one tensor out of a mapping of its file that ends with this call."""
    if not math.prod(size):
        return torch.empty(size, dtype=wanted or dtype)
    try:
        mapped = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    except (RuntimeError, OSError) as error:
        raise CriticProbeError(f"{path}: cannot be read ({error}); copy it again") from error
    elements = torch.empty(0, dtype=dtype).set_(mapped[start : start + available], offset, size, stride)
    return elements.to(wanted or dtype, memory_format=torch.contiguous_format, copy=True)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _rebuild_subclass(function: Any, kind: Any, args: tuple[Any, ...], state: Any) -> Any:
    """A plain tensor with attributes is that tensor; a DTensor or ShardedTensor stays a record of its parts."""
    if isinstance(function, type) and issubclass(function, Inert):
        made = kind(*args)
        made.state = state
        return made
    return function(*args)


_REBUILD: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor_v2": lambda storage, offset, size, stride, *_: _tensor(storage, offset, size, stride),
    "_rebuild_tensor_v3": lambda storage, offset, size, stride, _grad, _hooks, dtype, *_: _tensor(
        storage, offset, size, stride, dtype
    ),
    "_rebuild_parameter": lambda data, *_: data,
    "_rebuild_parameter_with_state": lambda data, *_: data,
    "_rebuild_from_type_v2": _rebuild_subclass,
}
