"""TensorBoard event files: records with checksums, each an `Event` of TensorBoard's protobuf.

TensorBoard's own reader computes checksums and messages one after the other in Python, at 1 to 3 MB/s. Here checksums
are computed for records of one length together, and the message that a writer of scalars gives is matched as bytes; any
other goes through TensorBoard's classes.
"""

import re
import struct
from collections.abc import Iterator
from functools import cache
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from critic_probe.errors import CriticProbeError
from critic_probe.runs.readers.log import LONGEST, MOST_STEP, Log
from critic_probe.runs.record import Scalar

_HEADER = struct.Struct("<QI")
_CHUNK = 1 << 20
_FIRST = 500  # steps that tell who wrote them
# Event{wall_time: 1, step: 2, summary: 5 {value: 1 {tag: 1, simple_value: 2}}}, where every length is one byte.
_SCALAR = re.compile(
    rb"\x09.{8}((?:\x10(?:[\x00-\x7f]|[\x80-\xff]{1,6}[\x00-\x7f]))?)"
    rb"\x2a([\x00-\x7f])\x0a([\x00-\x7f])\x0a([\x00-\x7f])(.*)\x15.{4}",
    re.DOTALL,
)
_FLOAT = struct.Struct("<f")
_TIME = 9  # bytes before the step
_MOST_TAGS = 100_000


class _Step(NamedTuple):
    step: int
    figures: dict[str, float]
    number: int  # of the record that they begin with


def is_events(head: bytes) -> bool:
    """Whether bytes begin with a record of an event file."""
    return len(head) >= _HEADER.size and _header(head, 0) is not None


def read_events(log: Log) -> Iterator[Scalar]:
    """The scalars of an event file.

    Raises:
        CriticProbeError: The package tensorboard is not installed.
    """
    log.format = "TensorBoard events"
    steps = _steps(log)
    first = list(islice(steps, _FIRST))
    log.names.learn(tag for step in first for tag in step.figures)
    for step, figures, number in chain(first, steps):
        log.found += len(figures)
        yield from log.names.scalars(step, figures, log.place(f"record {number}"))


def _steps(log: Log) -> Iterator[_Step]:
    """The figures of records of one step that follow each other."""
    parse = _event_class(log)
    tags: dict[bytes, str] = {}  # by all that stands between the step of an event and its value
    number, written, current = 0, b"", _Step(0, {}, 0)
    for records in _records(log):
        for record in records:
            number += 1
            between = record[_TIME + len(written) : -4]
            if between in tags and record.startswith(written, _TIME) and record[0] == 9:
                given = [(tags[between], _FLOAT.unpack_from(record, len(record) - 4)[0])]
                step = current.step
            elif (match := _SCALAR.fullmatch(record)) and _nested(match, len(record)):
                tag = match[5].decode(errors="replace")
                if len(tags) < _MOST_TAGS:
                    tags[record[match.end(1) : -4]] = tag
                given = [(tag, _FLOAT.unpack_from(record, len(record) - 4)[0])]
                written, step = match[1], _varint(match[1][1:])
            else:
                try:
                    event = parse(record)
                except Exception:  # protobuf raises an error of its own
                    event = None
                if event is None or abs(event.step) >= MOST_STEP:
                    log.left_out("record", "no event")
                    continue
                step, written = event.step, b"\0"  # no event has this between its time and its step
                given = [(value.tag, scalar) for value in event.summary.value if (scalar := _scalar(value)) is not None]
            for tag, figure in given:
                if step != current.step or tag in current.figures:
                    yield current
                    current = _Step(step, {}, number)
                current.figures[tag] = figure
    yield current


def _event_class(log: Log) -> Any:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError:
        raise CriticProbeError(
            f"{log.path}: TensorBoard's events, and tensorboard is not installed; pip install 'critic-probe[train]'"
        ) from None
    return Event.FromString


def _nested(match: re.Match[bytes], length: int) -> bool:
    """Whether the lengths within a message are what a writer of one scalar gives."""
    summary, value, tag = match[2][0], match[3][0], match[4][0]
    return length - match.end(2) == summary and length - match.end(3) == value and len(match[5]) == tag


def _varint(data: bytes) -> int:
    """An unsigned number in groups of seven bits; none at all is 0."""
    return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(data))


def _scalar(value: Any) -> float | None:
    """A scalar in either of the ways in which events hold one; None for a histogram, a text or an image."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor") or value.metadata.plugin_data.plugin_name not in ("scalars", ""):
        return None
    tensor = value.tensor
    if tensor.float_val:
        return float(tensor.float_val[0])
    if tensor.double_val:
        return float(tensor.double_val[0])
    layout = {1: "<f4", 2: "<f8"}.get(tensor.dtype)
    if layout is None or len(tensor.tensor_content) != np.dtype(layout).itemsize:
        return None
    return float(np.frombuffer(tensor.tensor_content, layout)[0])


def _records(log: Log) -> Iterator[list[bytes]]:
    """The records of a file in order, some at a time; those whose checksum is wrong are left out."""
    data = b""
    for chunk in log.chunks(_CHUNK):
        data += chunk
        start = 0
        records: list[bytes] = []
        sums: list[bytes] = []
        while len(data) - start >= _HEADER.size:
            length = _header(data, start)
            if length is None:
                log.note("the length of a record is damaged, and what follows is left out")
                yield _sound(log, records, sums)
                return
            end = start + _HEADER.size + length
            if end + 4 > len(data):
                break
            records.append(data[start + _HEADER.size : end])
            sums.append(data[end : end + 4])
            start = end + 4
        yield _sound(log, records, sums)
        data = data[start:]
    if data:
        log.note("its last record is cut and left out: the file is still being written, or was cut")


def _header(data: bytes, start: int) -> int | None:
    """The length of the record that begins here; None where its checksum is wrong or no record is so long."""
    length, checksum = _HEADER.unpack_from(data, start)
    return length if length < LONGEST and checksum == _checksum_of_length(length) else None


@cache
def _checksum_of_length(length: int) -> int:
    return int(_checksums(np.frombuffer(struct.pack("<Q", length), np.uint8)[None])[0])


def _sound(log: Log, records: list[bytes], sums: list[bytes]) -> list[bytes]:
    """The records whose checksum is right."""
    of_length: dict[int, list[int]] = {}
    for place, record in enumerate(records):
        of_length.setdefault(len(record), []).append(place)
    given = np.frombuffer(b"".join(sums), "<u4")
    right = np.ones(len(records), bool)
    for length, places in of_length.items():
        rows = np.frombuffer(b"".join([records[place] for place in places]), np.uint8).reshape(len(places), length)
        right[places] = _checksums(rows) == given[places]
    if right.all():
        return records
    for _ in range(int((~right).sum())):
        log.left_out("record", "its checksum is wrong")
    return [record for record, sound in zip(records, right, strict=True) if sound]


def _checksums(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The masked CRC-32C of TFRecord files, of (N, L) bytes, (N,)."""
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = _table()[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    crc ^= np.uint32(0xFFFFFFFF)
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


@cache
def _table() -> np.ndarray[Any, Any]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, np.uint32(0x82F63B78) ^ (table >> np.uint32(1)), table >> np.uint32(1))
    return table
