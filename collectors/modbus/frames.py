"""Frames of read requests and of what may answer them, as bytes; no I/O.

MBAP frames (MODBUS Messaging on TCP/IP V1.0b, section 3.1): transaction 2, protocol 2, length 2, unit 1, function 1,
then for a request address 2 and count 2, for an answer its byte count 1 and the registers, for an exception its code 1.
RTU frames (MODBUS over Serial Line V1.02, section 2.5.1) have no header before the unit, and end with a CRC of 2 bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pymodbus.framer import FramerRTU

__all__ = [
    "MBAP_EXCEPTION_BYTES",
    "RTU_REQUEST_BYTES",
    "RtuFrame",
    "mbap_answer_head",
    "mbap_fault",
    "mbap_request",
    "rtu_answer",
    "rtu_answer_bytes",
    "rtu_frame",
    "rtu_request",
]

MBAP_EXCEPTION_BYTES: Final = 9
"""Length of an exception; no answer to a read request is shorter."""

RTU_REQUEST_BYTES: Final = 8

_MBAP_REQUEST: Final = struct.Struct(">HHHBBHH")
_MBAP_ANSWER_HEAD: Final = struct.Struct(">HHHBBB")
_RTU_REQUEST: Final = struct.Struct(">BBHH")
_RTU_OVERHEAD_BYTES: Final = 5
_RTU_EXCEPTION_BYTES: Final = 5
_READ_FUNCTIONS: Final = frozenset({1, 2, 3, 4})
"""Functions whose answer says its length in its third byte."""


def mbap_request(transaction: int, unit: int, function: int, address: int, count: int) -> bytes:
    """Return a request for `count` registers from `address` on."""
    return _MBAP_REQUEST.pack(transaction, 0, 6, unit, function, address, count)


def mbap_answer_head(transaction: int, unit: int, function: int, count: int) -> bytes:
    """Return the 9 bytes that every good answer to a request begins with."""
    return _MBAP_ANSWER_HEAD.pack(transaction, 0, 3 + 2 * count, unit, function, 2 * count)


def mbap_fault(request: bytes, answer: bytes, *, strict: bool) -> str | None:
    """Return why a frame of at least 9 bytes cannot be the answer to a request, or begin it; None when it can.

    A gateway that does not echo the transaction id is let pass unless `strict`.
    """
    if answer[2:4] != request[2:4] or (strict and answer[:2] != request[:2]):
        return (
            f"the answer carries transaction {int.from_bytes(answer[0:2])} of protocol {int.from_bytes(answer[2:4])}, "
            f"not transaction {int.from_bytes(request[0:2])} of protocol 0"
        )
    if answer[6] != request[6]:
        return f"unit {answer[6]} answered instead"
    if answer[7] & 0x7F != request[7]:
        return f"function {answer[7]} answers a request of function {request[7]}"
    length = int.from_bytes(answer[4:6])
    wanted = 3 if answer[7] & 0x80 else 3 + 2 * int.from_bytes(request[10:12])
    if length != wanted or (not answer[7] & 0x80 and answer[8] != wanted - 3):
        return f"the answer is {length} bytes long with byte count {answer[8]}, where {wanted} bytes belong"
    return None if len(answer) <= 6 + length else "more bytes came than one answer holds"


def rtu_request(unit: int, function: int, address: int, count: int) -> bytes:
    """Return a request for `count` registers from `address` on, with its CRC."""
    frame = _RTU_REQUEST.pack(unit, function, address, count)
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2)


def rtu_answer_bytes(count: int) -> int:
    """Return the length of an answer with `count` registers [bytes]."""
    return _RTU_OVERHEAD_BYTES + 2 * count


@dataclass(frozen=True, slots=True)
class RtuFrame:
    """A whole frame whose CRC is right."""

    unit: int
    function: int
    payload: bytes
    """The registers; of an exception its code."""
    length: int
    """How many bytes of the line it takes, those before it included [bytes]."""

    @property
    def is_exception(self) -> bool:
        """Whether the device refused."""
        return bool(self.function & 0x80)


def rtu_answer(data: bytes, unit: int, function: int, count: int) -> RtuFrame | None:
    """Find the answer to a read request in what came over the line; None while it is not there.

    Bytes before it are passed over: a transceiver that is switched on often makes some of its own. That other bytes
    look like it by chance takes a unit, function, byte count and CRC that are all right.
    """
    wanted = bytes((unit, function, 2 * count))
    refused = bytes((unit, function | 0x80))
    for head, length in ((wanted, rtu_answer_bytes(count)), (refused, _RTU_EXCEPTION_BYTES)):
        at = data.find(head)
        while 0 <= at <= len(data) - length:
            frame = data[at : at + length]
            if _crc_is_right(frame):
                skip = 3 if head is wanted else 2
                return RtuFrame(unit, frame[1], frame[skip:-2], at + length)
            at = data.find(head, at + 1)
    return None


def rtu_frame(data: bytes) -> RtuFrame | None:
    """Return the answer or exception of whatever unit that `data` begins with; None when there is no whole one."""
    if len(data) < _RTU_EXCEPTION_BYTES:
        return None
    function = data[1]
    if function & 0x80:
        length = _RTU_EXCEPTION_BYTES
    elif function in _READ_FUNCTIONS:
        length = _RTU_OVERHEAD_BYTES + data[2]
    else:
        return None
    frame = data[:length]
    if len(frame) < length or not _crc_is_right(frame):
        return None
    return RtuFrame(frame[0], function, frame[2 if function & 0x80 else 3 : -2], length)


def _crc_is_right(frame: bytes) -> bool:
    return FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:]))
