"""A batch of readings as bytes: grouped by columns, turned into arrays, compressed; every value comes back bit for bit.

    payload   = zlib(header length (uint32), header (JSON), arrays)
    header    = {"columns": [[names of group 0], ...], "rows": [...], "gaps": [...]}
    arrays    = the group of each reading in order (uint32, only when there are several groups), then for each group
                times, meters, qualities (int64), which values are None (bits, only when "gaps"), values (float64)

Columns go by name, so a payload is read by a version with another vocabulary. Arrays of eight-byte elements are stored
byte plane by byte plane: the high bytes of neighbouring values are alike, and the low ones of values that came from
32-bit registers are zero (the shuffle filter of HDF5 and Blosc, for the same reason).
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from emsd.collector import Poison
from emsd.errors import BadRow
from emsd.quantities import BY_NAME
from emsd.readings import Columns, Reading, columns

__all__ = [
    "Share",
    "checksum",
    "decode",
    "decode_poisons",
    "encode",
    "encode_poisons",
    "pack_shares",
    "shares_of",
    "unpack_shares",
]

COMPRESSION: Final = 1  # higher levels gain some percent and take several times as long
LENGTH: Final = struct.Struct("<I")
CHECKSUM_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Share:
    """What one meter has in a batch: how many readings, and the times of the earliest and the latest."""

    meter_id: int
    readings: int
    first_us: int
    last_us: int


def checksum(batch_id: int, kind: int, body: bytes) -> bytes:
    """Return what tells a batch from a damaged or another one."""
    return blake2b(LENGTH.pack(kind) + batch_id.to_bytes(8, "big") + body, digest_size=CHECKSUM_BYTES).digest()


def encode(readings: Sequence[Reading]) -> bytes:
    """Return readings as a payload.

    Raises:
        BadRow: one of them is malformed: a value that is no number, a number of values that is not that of its columns,
            an integer beyond 64 bits.
    """
    groups: dict[int, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(id(reading.columns), []).append(reading)
    members = list(groups.values())
    try:
        pieces: list[bytes] = []
        if len(members) > 1:
            place = {key: number for number, key in enumerate(groups)}
            pieces.append(np.array([place[id(reading.columns)] for reading in readings], dtype=np.uint32).tobytes())
        gaps = [_append_group(pieces, group) for group in members]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRow(f"a reading holds something that is not a number: {error}") from error
    header = orjson.dumps(
        {"columns": [list(group[0].columns) for group in members], "rows": list(map(len, members)), "gaps": gaps}
    )
    return zlib.compress(b"".join((LENGTH.pack(len(header)), header, *pieces)), COMPRESSION)


def decode(payload: bytes) -> tuple[list[Reading], list[tuple[Reading, str]]]:
    """Return the readings of a payload in their order, and those with a quantity that this version does not know.

    The latter come with the reason; they cannot become rows. A payload whose checksum holds can be decoded.
    """
    plain = zlib.decompress(payload)
    (length,) = LENGTH.unpack_from(plain)
    header: dict[str, list[Any]] = orjson.loads(plain[LENGTH.size : LENGTH.size + length])
    offset = LENGTH.size + length
    order: list[int] = []
    if len(header["rows"]) > 1:
        total = sum(header["rows"])
        order = np.frombuffer(plain, np.uint32, total, offset).tolist()
        offset += 4 * total
    groups: list[Iterator[Reading]] = []
    unknown: list[tuple[Reading, str]] = []
    for names, rows, gaps in zip(header["columns"], header["rows"], header["gaps"], strict=True):
        missing = [name for name in names if name not in BY_NAME]
        group, offset = _read_group(plain, offset, Columns(names) if missing else columns(*names), rows, has_gaps=gaps)
        if missing:
            reason = f"this version does not know the quantity {', '.join(missing)}"
            unknown += [(reading, reason) for reading in group]
            group = []
        groups.append(iter(group))
    if not order:
        return list(chain.from_iterable(groups)), unknown
    # An exhausted group is one that has been set apart as unknown.
    in_order = (next(groups[place], None) for place in order)
    return [reading for reading in in_order if reading is not None], unknown


def encode_poisons(poisons: Sequence[Poison]) -> bytes:
    """Return messages as a payload; text of a device may hold what UTF-8 cannot, and JSON's escapes can."""
    rows = [{**asdict(each), "payload": base64.b64encode(each.payload).decode("ascii")} for each in poisons]
    return zlib.compress(json.dumps(rows, ensure_ascii=True).encode("ascii"), COMPRESSION)


def decode_poisons(payload: bytes) -> list[Poison]:
    """Return the messages of a payload."""
    return [
        Poison(**{**row, "payload": base64.b64decode(row["payload"])}) for row in json.loads(zlib.decompress(payload))
    ]


def shares_of(readings: Sequence[Reading]) -> list[Share]:
    """Return what each meter has in a batch that `encode` takes."""
    if not readings:
        return []
    meters = np.array([reading.meter_id for reading in readings], dtype=np.int64)
    times = np.array([reading.time_us for reading in readings], dtype=np.int64)
    by_meter = np.argsort(meters, kind="stable")
    meters, times = meters[by_meter], times[by_meter]
    starts = np.flatnonzero(np.concatenate(([True], meters[1:] != meters[:-1])))
    counts = np.diff(np.append(starts, len(meters)))
    columns_of_shares = (
        meters[starts].tolist(),
        counts.tolist(),
        np.minimum.reduceat(times, starts).tolist(),
        np.maximum.reduceat(times, starts).tolist(),
    )
    return [Share(*row) for row in zip(*columns_of_shares, strict=True)]


def pack_shares(shares: Sequence[Share]) -> bytes:
    """Return shares as bytes."""
    rows = np.array([(s.meter_id, s.readings, s.first_us, s.last_us) for s in shares], np.int64).reshape(-1, 4)
    return zlib.compress(b"".join(_differences(column.tolist()) for column in rows.T), COMPRESSION)


def unpack_shares(packed: bytes) -> list[Share]:
    """Return what `pack_shares` was given."""
    plain = zlib.decompress(packed)
    count = len(plain) // 32
    listed = [np.cumsum(_from_planes(plain, 8 * count * place, count)).tolist() for place in range(4)]
    return [Share(*row) for row in zip(*listed, strict=True)]


def _append_group(pieces: list[bytes], group: Sequence[Reading]) -> bool:
    """Append the arrays of readings that share their columns; return whether some values are None."""
    tuples = [reading.values for reading in group]
    width = len(group[0].columns)
    if set(map(len, tuples)) != {width}:
        raise ValueError("it does not have one value for each of its columns")
    pieces.append(_differences([reading.time_us for reading in group]))
    pieces.append(_differences([reading.meter_id for reading in group]))
    pieces.append(_differences([reading.quality for reading in group]))
    flat = np.fromiter(chain.from_iterable(tuples), np.float64, len(group) * width)
    absent = np.isnan(flat)  # None has become NaN; a NaN that is one stays what it is
    if absent.any():
        for place in np.flatnonzero(absent).tolist():
            absent[place] = tuples[place // width][place % width] is None
    if gaps := bool(absent.any()):
        pieces.append(np.packbits(absent).tobytes())
    pieces.append(_planes(np.ascontiguousarray(flat.reshape(len(group), width).T).ravel()))
    return gaps


def _read_group(plain: bytes, offset: int, names: Columns, rows: int, *, has_gaps: bool) -> tuple[list[Reading], int]:
    numbers: list[list[int]] = []
    for _ in range(3):
        numbers.append(np.cumsum(_from_planes(plain, offset, rows)).tolist())
        offset += 8 * rows
    cells = rows * len(names)
    absent: list[int] = []
    if has_gaps:
        size = (cells + 7) // 8
        absent = np.flatnonzero(np.unpackbits(np.frombuffer(plain, np.uint8, size, offset), count=cells)).tolist()
        offset += size
    values = _from_planes(plain, offset, cells).view(np.float64).reshape(len(names), rows).T
    offset += 8 * cells
    lines: list[Any] = values.tolist()
    for place in absent:
        lines[place // len(names)][place % len(names)] = None
    times, meters, qualities = numbers
    made = [
        Reading(time_us, meter_id, names, tuple(line), quality)
        for time_us, meter_id, line, quality in zip(times, meters, lines, qualities, strict=True)
    ]
    return made, offset


def _differences(numbers: Sequence[int]) -> bytes:
    """Each number less the one before it; what wraps around in a difference wraps back in the sum."""
    array = np.array(numbers, dtype=np.int64)
    array[1:] -= array[:-1].copy()
    return _planes(array)


def _planes(array: NDArray[np.int64] | NDArray[np.float64]) -> bytes:
    """All first bytes of eight-byte elements, then all second ones, and so on."""
    return array.view(np.uint8).reshape(-1, 8).T.tobytes()


def _from_planes(plain: bytes, offset: int, count: int) -> NDArray[np.int64]:
    planes = np.frombuffer(plain, np.uint8, 8 * count, offset).reshape(8, count)
    return np.ascontiguousarray(planes.T).view(np.int64).reshape(count)
