"""MQTT packets out of a byte stream, however it was cut; packets are written by hand from the specification."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.mqtt.frames import Frames, MalformedFrame, publish_of


def length_bytes(value: int) -> bytes:
    """A variable byte integer (MQTT 5.0, section 1.5.5)."""
    data = bytearray()
    while True:
        value, digit = value // 128, value % 128
        data.append(digit | 128 if value else digit)
        if not value:
            return bytes(data)


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + length_bytes(len(body)) + body


BODIES = st.one_of(st.binary(max_size=20), st.integers(100, 20_000).map(bytes))


@given(st.lists(st.tuples(st.integers(0, 255), BODIES), max_size=12), st.data())
def test_packets_are_the_same_however_the_stream_is_cut(packets: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(packet(first, body) for first, body in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, found = Frames(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if begin < end:
            found += list(frames.cut(stream[begin:end]))
    assert found == packets


def test_packets_come_as_soon_as_their_last_byte_does() -> None:
    frames = Frames()
    stream = packet(0x30, b"x" * 300)
    assert [list(frames.cut(bytes([byte]))) for byte in stream][-1] == [(0x30, b"x" * 300)]


def test_a_large_packet_in_small_pieces_is_put_together_once() -> None:
    frames = Frames()
    stream = packet(0x30, bytes(3_000_000))
    pieces = [stream[at : at + 1000] for at in range(0, len(stream), 1000)]
    assert [found for piece in pieces for found in frames.cut(piece)] == [(0x30, bytes(3_000_000))]


def test_a_length_of_more_than_four_bytes_is_malformed() -> None:
    with pytest.raises(MalformedFrame, match="four bytes"):
        list(Frames().cut(b"\x30\xff\xff\xff\xff\x01"))


@given(
    st.text(max_size=30), st.binary(max_size=300), st.sampled_from([0, 1]), st.booleans(), st.booleans(), st.booleans()
)
def test_a_publish_packet_is_taken_apart(
    topic: str, payload: bytes, qos: int, retained: bool, repeated: bool, properties: bool
) -> None:
    name = topic.encode()
    expiry = b"\x02" + struct.pack("!I", 60)  # message expiry interval (MQTT 5.0, section 3.3.2.3.3)
    body = struct.pack("!H", len(name)) + name
    body += struct.pack("!H", 4711) if qos else b""
    body += length_bytes(len(expiry)) + expiry if properties else b""
    found = publish_of(0x30 | repeated << 3 | qos << 1 | retained, body + payload, properties=properties)
    assert found == (topic, payload, qos, retained, repeated, 4711 if qos else 0)


@given(st.integers(0, 255), st.binary(max_size=40), st.booleans())
def test_bytes_that_are_no_publish_packet_are_malformed_or_harmless(first: int, body: bytes, properties: bool) -> None:
    try:
        found = publish_of(first, body, properties=properties)
    except MalformedFrame:
        return
    assert len(found.payload) <= len(body)
