"""What goes into the spool comes out bit for bit, and what each meter has in a batch is known."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.collector import Poison
from emsd.errors import BadRow
from emsd.ingest.spool_codec import (
    Share,
    decode,
    decode_poisons,
    encode,
    encode_poisons,
    pack_shares,
    shares_of,
    unpack_shares,
)
from emsd.quantities import QUANTITIES
from emsd.readings import Columns, Reading, columns

INT64 = st.integers(-(2**63), 2**63 - 1)
ANY_BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
NAMES = st.lists(st.sampled_from([quantity.name for quantity in QUANTITIES]), unique=True, max_size=5)


@st.composite
def any_reading(draw: st.DrawFn) -> Reading:
    names = columns(*draw(NAMES))
    values = tuple(draw(st.none() | st.floats() | ANY_BITS) for _ in names)
    return Reading(draw(INT64), draw(INT64), names, values, draw(INT64))


def exact(reading: Reading) -> tuple[object, ...]:
    bits = tuple(None if value is None else struct.pack("<d", value) for value in reading.values)
    return reading.time_us, reading.meter_id, reading.quality, tuple(reading.columns), bits


@given(st.lists(any_reading(), max_size=30))
def test_every_reading_comes_back_bit_for_bit_and_in_order(readings: list[Reading]) -> None:
    decoded, unknown = decode(encode(readings))
    assert [exact(each) for each in decoded] == [exact(each) for each in readings]
    assert all(got.columns is sent.columns for got, sent in zip(decoded, readings, strict=True))
    assert unknown == []


@given(st.lists(any_reading(), max_size=30))
def test_shares_count_every_reading_of_every_meter_once(readings: list[Reading]) -> None:
    times: dict[int, list[int]] = {}
    for reading in readings:
        times.setdefault(reading.meter_id, []).append(reading.time_us)
    shares = unpack_shares(pack_shares(shares_of(readings)))
    assert {each.meter_id: (each.readings, each.first_us, each.last_us) for each in shares} == {
        meter: (len(own), min(own), max(own)) for meter, own in times.items()
    }


def test_a_quantity_that_this_version_does_not_know_is_set_apart_with_its_reading() -> None:
    known = Reading(1, 1, columns("frequency_hz"), (50.0,))
    foreign = Reading(2, 1, Columns(("frequency_hz", "of_a_later_version")), (50.1, 7.0))
    decoded, unknown = decode(encode([known, foreign, known]))
    assert decoded == [known, known]
    assert [reading for reading, _ in unknown] == [foreign]
    assert "of_a_later_version" in unknown[0][1]


@pytest.mark.parametrize(
    "malformed",
    [
        Reading(1, 1, columns("frequency_hz"), (50.0, 1.0)),
        Reading(1, 1, columns("frequency_hz"), ("fifty",)),  # type: ignore[arg-type]
        Reading(2**63, 1, columns("frequency_hz"), (50.0,)),
        Reading(1, 2**70, columns("frequency_hz"), (50.0,)),
        Reading(1, None, columns("frequency_hz"), (50.0,)),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_reading_is_refused(malformed: Reading) -> None:
    with pytest.raises(BadRow):
        encode([Reading(1, 1, columns("frequency_hz"), (50.0,)), malformed])


@given(st.lists(st.tuples(st.text(), st.binary(), st.text(), INT64, st.none() | INT64)))
def test_every_message_comes_back(rows: list[tuple[str, bytes, str, int, int | None]]) -> None:
    poisons = [Poison(source, payload, reason, time, meter) for source, payload, reason, time, meter in rows]
    assert decode_poisons(encode_poisons(poisons)) == poisons


def test_text_that_is_not_unicode_comes_back_too() -> None:
    poison = Poison("mqtt://broker/\udc80\x00", b"\x00\xff", "it says \ud800", 5, None)
    assert decode_poisons(encode_poisons([poison])) == [poison]


def test_shares_of_nothing_are_none() -> None:
    assert shares_of([]) == []
    assert unpack_shares(pack_shares([])) == []
    assert unpack_shares(pack_shares([Share(1, 2, 3, 4)])) == [Share(1, 2, 3, 4)]
