"""TensorBoard event files: records with checksums, each an `Event` of TensorBoard's protobuf.

TensorBoard's own reader computes checksums and messages one after the other in Python, at 1 to 3 MB/s. Here records of
one length are looked at together: their checksums, and the message that a writer of one scalar gives; any other goes
through TensorBoard's classes.
"""

import struct
from array import array
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from critic_probe.errors import CriticProbeError
from critic_probe.runs.readers.log import LONGEST, MOST_STEP, Log
from critic_probe.runs.record import Figures

Rows = NDArray[np.uint8]
_HEADER = struct.Struct("<QI")
_CHUNK = 1 << 22
_TIME = 9  # bytes before the step
_MOST_VARINT = 7  # bytes of a step below 2 ** 49


class _Records(NamedTuple):
    """Records of one length, whose checksums are right.

    Attributes:
        places: (N,) which of the file's they are.
        rows: (N, length) their bytes.
    """

    places: NDArray[np.int64]
    rows: Rows


class _Scalars(NamedTuple):
    """Values of one tag: which records they are from, at which steps, and how large; (N,) each."""

    places: NDArray[np.int64]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def is_events(head: bytes) -> bool:
    """Whether bytes begin with a record of an event file."""
    return len(head) >= _HEADER.size and _length(head[: _HEADER.size]) is not None


def read_events(log: Log) -> Iterator[Figures]:
    """The scalars of an event file, tag by tag.

    Raises:
        CriticProbeError: The package tensorboard is not installed.
    """
    log.format = "TensorBoard events"
    parse = _event_class(log)
    tags: dict[str, tuple[array[int], array[float]]] = {}
    for groups in _chunks(log):
        of_chunk: dict[str, list[_Scalars]] = {}
        for records in groups:
            for tag, scalars in _scalars(log, records, parse):
                of_chunk.setdefault(tag, []).append(scalars)
        for tag, parts in of_chunk.items():
            places, steps, values = (np.concatenate(each) for each in zip(*parts, strict=True))
            order = np.argsort(places, kind="stable")
            held = tags.setdefault(tag, (array("q"), array("d")))
            held[0].frombytes(steps[order].tobytes())
            held[1].frombytes(values[order].tobytes())
    log.found = sum(len(steps) for steps, _ in tags.values())
    yield from log.names.series(tags)


def _event_class(log: Log) -> Any:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError:
        raise CriticProbeError(
            f"{log.path}: TensorBoard's events, and tensorboard is not installed; pip install 'critic-probe[train]'"
        ) from None
    return Event.FromString


def _scalars(log: Log, records: _Records, parse: Any) -> Iterator[tuple[str, _Scalars]]:
    """The scalars of records of one length, by tag."""
    places, rows = records
    for width in (0, *range(2, _MOST_VARINT + 2)):
        plain = _plain(rows, width)
        if plain.any():
            yield from _of_one_width(places[plain], rows[plain], width)
            places, rows = places[~plain], rows[~plain]
    by_tag: dict[str, list[tuple[int, int, float]]] = {}
    for place, row in zip(places, rows, strict=True):
        try:
            event = parse(row.tobytes())
        except Exception:  # protobuf raises an error of its own
            event = None
        if event is None or abs(event.step) >= MOST_STEP:
            log.left_out("record", "no event")
            continue
        for value in event.summary.value:
            if (scalar := _scalar(value)) is not None:
                by_tag.setdefault(value.tag, []).append((int(place), event.step, scalar))
    for tag, given in by_tag.items():
        yield tag, _Scalars(*map(np.array, zip(*given, strict=True)))


def _plain(rows: Rows, width: int) -> NDArray[np.bool_]:
    """Which rows are what a writer of one scalar gives, with a step of so many bytes, its key included.

    Event{wall_time: 1, step: 2, summary: 5 {value: 1 {tag: 1, simple_value: 2}}}, where every length is one byte.
    """
    start = _TIME + width
    left = rows.shape[1] - start
    if not 11 <= left < 128:
        return np.zeros(len(rows), bool)
    opens = (rows[:, start : start + 6] == (0x2A, left - 2, 0x0A, left - 4, 0x0A, left - 11)).all(axis=1)
    plain = opens & (rows[:, 0] == 0x09) & (rows[:, -5] == 0x15)
    if width:
        goes_on = rows[:, _TIME + 1 : start] >= 0x80
        plain &= (rows[:, _TIME] == 0x10) & goes_on[:, :-1].all(axis=1) & ~goes_on[:, -1]
    return np.asarray(plain)


def _of_one_width(places: NDArray[np.int64], rows: Rows, width: int) -> Iterator[tuple[str, _Scalars]]:
    """The scalars of plain rows whose step has so many bytes, its key included."""
    start = _TIME + width
    bits = (rows[:, _TIME + 1 : start] & 0x7F).astype(np.int64)
    steps = (bits << (7 * np.arange(bits.shape[1]))).sum(axis=1)
    values = rows[:, -4:].copy().view("<f4")[:, 0].astype(float)
    tags, size = rows[:, start + 6 : -5].tobytes(), rows.shape[1] - start - 11
    codes: dict[bytes, int] = {}
    of_row = [codes.setdefault(tags[i * size : (i + 1) * size], len(codes)) for i in range(len(rows))]
    for tag, own in zip(codes, _split(np.array(of_row)), strict=True):
        yield tag.decode(errors="replace"), _Scalars(places[own], steps[own], values[own])


def _split(codes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Where each of the codes from 0 on stands."""
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


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


def _chunks(log: Log) -> Iterator[list[_Records]]:
    """The records of a file, a part of the file at a time; those whose checksum is wrong are left out."""
    data, read = b"", 0
    for chunk in log.chunks(_CHUNK):
        data += chunk
        start, starts = 0, dict[int, list[int]]()
        while len(data) - start >= _HEADER.size:
            length = _length(data[start : start + _HEADER.size])
            if length is None:
                log.note("the length of a record is damaged, and what follows is left out")
                yield _sound(log, data, read, starts)
                return
            end = start + _HEADER.size + length + 4
            if end > len(data):
                break
            starts.setdefault(length, []).append(start)
            start = end
        yield _sound(log, data, read, starts)
        data, read = data[start:], read + start
    if data:
        log.note("its last record is cut and left out: the file is still being written, or was cut")


@lru_cache(1 << 12)
def _length(header: bytes) -> int | None:
    """The length of the record that a header opens; None where its checksum is wrong or no record is so long."""
    length, checksum = _HEADER.unpack(header)
    right = _checksums(np.frombuffer(header[:8], np.uint8)[None])[0]
    return int(length) if length < LONGEST and checksum == right else None


def _sound(log: Log, data: bytes, read: int, starts: dict[int, list[int]]) -> list[_Records]:
    """The records of data whose checksum is right, by length.

    Args:
        log: The file.
        data: A part of it.
        read: Bytes before that part.
        starts: Where in it records begin, by length.
    """
    records = []
    for length, of_length in starts.items():
        places = np.array(of_length)
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), length + 4)
        given = windows[places + _HEADER.size]
        right = _checksums(given[:, :length]) == np.ascontiguousarray(given[:, length:]).view("<u4")[:, 0]
        for _ in range(int((~right).sum())):
            log.left_out("record", "its checksum is wrong")
        records.append(_Records(read + places[right], given[right, :length]))
    return records


def _checksums(rows: Rows) -> NDArray[np.uint32]:
    """The masked CRC-32C of TFRecord files, of (N, L) bytes, (N,)."""
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    even = rows.shape[1] // 2 * 2
    pairs = np.ascontiguousarray(rows[:, :even]).view("<u2")
    for column in np.ascontiguousarray(pairs.T):
        crc = _table(16).take(crc.astype(np.uint16) ^ column) ^ (crc >> np.uint32(16))
    for column in rows.T[even:]:
        crc = _table(8).take(crc.astype(np.uint8) ^ column) ^ (crc >> np.uint32(8))
    crc ^= np.uint32(0xFFFFFFFF)
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


@cache
def _table(bits: int) -> NDArray[np.uint32]:
    """What so many bits add to the checksum."""
    table = np.arange(1 << bits, dtype=np.uint32)
    for _ in range(bits):
        table = np.where(table & 1, np.uint32(0x82F63B78) ^ (table >> np.uint32(1)), table >> np.uint32(1))
    return table
