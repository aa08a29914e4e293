"""MQTT control packets cut out of the byte stream, many at a time, and the PUBLISH packets among them taken apart.

paho asks the socket for one byte, then for the length byte by byte, then for the rest: at thousands of messages a
second that is most of its time. Sources: OASIS MQTT 5.0, sections 1.5.5, 2.1 and 3.3; MQTT 3.1.1, sections 2.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

__all__ = ["PUBACK", "Frames", "MalformedFrame", "Publish", "publish_of"]

PUBACK: Final = Struct("!BBH")
"""Type and flags 40h, remaining length 2, packet id; without a reason code it means success (MQTT 5.0, 3.4.2.1)."""

_MOST_LENGTH_BYTES: Final = 4


class MalformedFrame(Exception):
    """Bytes that are not MQTT; the connection must be closed (MQTT 5.0, section 4.13)."""


class Publish(NamedTuple):
    """A PUBLISH packet."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    repeated: bool
    packet_id: int


class Frames:
    """Cuts a byte stream into packets; one for each connection."""

    __slots__ = ("_have", "_need", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 2

    def cut(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (first byte, body) of every packet that is complete now, and keep the beginning of the next.

        Raises:
            MalformedFrame: a length has more than four bytes.
        """
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:  # a large packet is put together once, not with every piece of it
            return
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        at, end = 0, len(buffer)
        need = 2
        while end - at >= 2:
            length = buffer[at + 1]
            body = at + 2
            if length >= 0x80:
                length, body = _long_length(buffer, at + 1)
                if not body:
                    need = end - at + 1
                    break
            stop = body + length
            if stop > end:
                need = stop - at
                break
            yield buffer[at], buffer[body:stop]
            at = stop
        rest = buffer[at:]
        self._parts = [rest] if rest else []
        self._have, self._need = len(rest), need


def _long_length(buffer: bytes, at: int) -> tuple[int, int]:
    """Return a variable byte integer and where it ends; (0, 0) when its end has not come yet."""
    value = shift = 0
    for place in range(at, min(at + _MOST_LENGTH_BYTES, len(buffer))):
        byte = buffer[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    if len(buffer) - at >= _MOST_LENGTH_BYTES:
        raise MalformedFrame("a packet's length has more than four bytes")
    return 0, 0


def publish_of(first: int, body: bytes, *, properties: bool) -> Publish:
    """Return what a PUBLISH packet holds; `properties` says whether it has them, as in MQTT 5.

    Raises:
        MalformedFrame: it is shorter than it says.
    """
    qos = first >> 1 & 3
    end = len(body)
    at = 2 + ((body[0] << 8 | body[1]) if end >= 2 else end)
    topic = body[2:at]
    packet_id = 0
    if qos:
        if at + 2 > end:
            raise MalformedFrame("a message ends before its packet id")
        packet_id = body[at] << 8 | body[at + 1]
        at += 2
    if properties:
        length, after = _long_length(body, at)
        at = after + length if after else end + 1
    if at > end:
        raise MalformedFrame("a message ends before its payload")
    return Publish(topic.decode(errors="replace"), body[at:], qos, bool(first & 1), bool(first & 8), packet_id)
