"""W&B's offline runs, `run-ID.wandb`: records in blocks, as in LevelDB's logs, each a message of W&B's protobuf."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from critic_probe.errors import CriticProbeError
from critic_probe.runs.readers.jsonl import CLOCKS, step_of
from critic_probe.runs.readers.log import LONGEST, Log
from critic_probe.runs.record import Figures

OPENS = b":W&B"

_BLOCK = 1 << 15
_HEADER = struct.Struct("<LHB")  # checksum, length, kind
_START = 7  # bytes before the first record
_FULL, _FIRST, _MIDDLE, _LAST = range(1, 5)
_PACKAGE = re.compile(r"^(verl|trl|openrlhf)==(\d[\d.]{0,20})", re.MULTILINE)


def read_wandb(log: Log) -> Iterator[Figures]:
    """The history of an offline run.

    Raises:
        CriticProbeError: The package wandb is not installed.
    """
    try:
        from wandb.proto.wandb_internal_pb2 import Record
    except ImportError:
        raise CriticProbeError(
            f"{log.path}: W&B's offline run, and wandb is not installed; pip install wandb, or export its history"
        ) from None
    log.format = "W&B offline run"
    _packages(log)
    for data in _records(log):
        try:
            record = Record.FromString(data)
        except Exception:  # protobuf raises an error of its own
            log.left_out("record", "no message of W&B")
            continue
        if record.WhichOneof("record_type") != "history":
            continue
        figures: dict[str, Any] = {}
        for item in record.history.item:
            with suppress(ValueError):  # a text, a table or a truth value
                figures[item.key or ".".join(item.nested_key)] = _value(item)
        step = step_of(figures)
        step = record.history.step.num if step is None else step
        figures = {name: value for name, value in figures.items() if name not in CLOCKS}
        log.found += len(figures)
        yield log.names.figures(step, figures)


def _value(item: Any) -> float:
    if item.value_json:
        return float(item.value_json)
    for kind in ("number", "integer"):  # later versions write numbers as such
        with suppress(ValueError):
            if item.HasField(kind):
                return float(getattr(item, kind))
    raise ValueError


def _packages(log: Log) -> None:
    """What the run's own list of packages says of its framework."""
    with suppress(OSError, UnicodeDecodeError):
        text = (log.path.parent / "files" / "requirements.txt").read_text(encoding="utf-8")
        for framework, version in _PACKAGE.findall(text)[:1]:
            log.names.framework = log.names.framework or framework
            log.names.exact = version


def _records(log: Log) -> Iterator[bytes]:
    """The records in order; those that are damaged or cut are left out."""
    parts: list[bytes] | None = None
    start = _START
    for block in log.chunks(_BLOCK):
        while len(block) - start >= _HEADER.size:
            checksum, length, kind = _HEADER.unpack_from(block, start)
            end = start + _HEADER.size + length
            data = block[start + _HEADER.size : end]
            start = end
            if end > len(block):
                log.note("its last record is cut and left out: the file is still being written, or was cut")
                return
            if zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
                if (checksum, length, kind) != (0, 0, 0):  # space that was never written
                    log.left_out("record", "its checksum is wrong")
                parts = None
                continue
            if kind in (_FULL, _FIRST):
                parts = []
            if parts is None or sum(map(len, parts)) > LONGEST:
                continue
            parts.append(data)
            if kind in (_FULL, _LAST):
                yield b"".join(parts)
                parts = None
        start = 0
