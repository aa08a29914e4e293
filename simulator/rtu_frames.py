"""Modbus RTU as a device hears it: requests cut out of a stream of bytes, answers with their checksum.

Sources: MODBUS over Serial Line V1.02, section 2.5.1; Modbus application protocol V1.1b3, section 6, for the lengths.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST_FRAME_BYTES", "SHORTEST_FRAME_BYTES", "checksum", "is_sound", "request_bytes", "with_checksum"]

LONGEST_FRAME_BYTES: Final = 256
SHORTEST_FRAME_BYTES: Final = 4
"""Unit, function and checksum."""

_POLYNOMIAL: Final = 0xA001
_FIXED_BYTES: Final = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6}
_COUNTED_AT: Final = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10}
"""Where a request says how many more bytes come before its checksum."""


def checksum(data: bytes) -> int:
    """Return the CRC-16 of some bytes (section 2.5.1.2); it travels low byte first."""
    remainder = 0xFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (_POLYNOMIAL if remainder & 1 else 0)
    return remainder


def with_checksum(data: bytes) -> bytes:
    """Return a frame as it travels."""
    return data + checksum(data).to_bytes(2, "little")


def is_sound(frame: bytes) -> bool:
    """Whether bytes are a whole frame with the right checksum."""
    return SHORTEST_FRAME_BYTES <= len(frame) <= LONGEST_FRAME_BYTES and int.from_bytes(
        frame[-2:], "little"
    ) == checksum(frame[:-2])


def request_bytes(data: bytes) -> int | None:
    """Return how long the request is that begins here.

    None: not known yet, or only the silence after it tells, because its function is none that says its length.
    """
    if len(data) < 2:
        return None
    function = data[1]
    if function in _COUNTED_AT:
        at = _COUNTED_AT[function]
        return at + 1 + data[at] + 2 if len(data) > at else None
    return _FIXED_BYTES.get(function)
