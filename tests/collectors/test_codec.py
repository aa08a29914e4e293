"""Decoding: orders, sentinels, NaN, plausibility, overlapping values."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from collectors.modbus.codec import BlockDecoder
from collectors.modbus.plan import Block, Target
from emsd.plant.modbus_map import Table
from emsd.readings import Quality
from tests.collectors.support import profile_of

ORDERS = [("big", "big"), ("little", "big"), ("big", "little"), ("little", "little")]


def decoder(points: list[dict[str, Any]], rated_kw: float | None = None, **modbus: object) -> BlockDecoder:
    """Compile one block from register 0 to the end of the last point."""
    registers = profile_of(points, **modbus).modbus
    assert registers is not None
    targets = tuple(Target(point, point.address or 0) for point in registers.points)
    return BlockDecoder(Block(Table.HOLDING, 0, max(target.end for target in targets), targets), registers, rated_kw)


def ordered(value: bytes, word_order: str, byte_order: str) -> bytes:
    """Put a big-endian value into the order of a device."""
    words = [value[at : at + 2] for at in range(0, len(value), 2)]
    if word_order == "little":
        words.reverse()
    if byte_order == "little":
        words = [word[::-1] for word in words]
    return b"".join(words)


@pytest.mark.parametrize(("word_order", "byte_order"), ORDERS)
def test_every_type_in_every_word_and_byte_order(word_order: str, byte_order: str) -> None:
    layout = [
        ("u16", ">H", 0xABCD, "starts_count"),
        ("i16", ">h", -1234, "active_power_kw"),
        ("u32", ">I", 0x89ABCDEF, "energy_import_kwh"),
        ("i32", ">i", -123_456, "active_power_l1_kw"),
        ("u64", ">Q", 0x000123456789ABCD, "energy_export_kwh"),
        ("i64", ">q", -654_321, "active_power_l2_kw"),
        ("f32", ">f", 230.125, "voltage_l1_n_v"),
        ("f64", ">d", 49.98765432101, "frequency_hz"),
    ]
    points: list[dict[str, Any]] = []
    payload = b""
    for kind, packing, value, quantity in layout:
        points.append({"quantity": quantity, "address": len(payload) // 2, "type": kind})
        payload += ordered(struct.pack(packing, value), word_order, byte_order)
    compiled = decoder(points, word_order=word_order, byte_order=byte_order, max_registers=125)
    values, quality, rejected = compiled.decode(payload)
    assert dict(zip(compiled.names, values, strict=True)) == {name: value for _, _, value, name in layout} | {
        "starts_count": 43_981.0
    }
    assert (quality, rejected) == (Quality.GOOD, 0)


@pytest.mark.parametrize("pattern", [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF])
def test_any_nan_is_no_value(pattern: int) -> None:
    compiled = decoder([{"quantity": "active_power_kw", "address": 0, "type": "f32"}])
    assert compiled.decode(struct.pack(">I", pattern)) == ([None], Quality.NOT_AVAILABLE, 1)


@pytest.mark.parametrize("pattern", [0x7F800000, 0xFF800000])
def test_infinity_is_implausible(pattern: int) -> None:
    compiled = decoder([{"quantity": "active_power_kw", "address": 0, "type": "f32"}])
    assert compiled.decode(struct.pack(">I", pattern)) == ([None], Quality.IMPLAUSIBLE, 1)


def test_a_sentinel_is_per_type_and_per_device() -> None:
    point = {"quantity": "cabinet_temperature_c", "address": 0, "type": "i16", "scale": 0.001}
    sunspec = decoder([point], not_available={"i16": [0x8000]})
    huawei = decoder([point], not_available={"i16": [0x7FFF]})
    assert sunspec.decode(b"\x7f\xff") == ([32.767], Quality.GOOD, 0)
    assert sunspec.decode(b"\x80\x00") == ([None], Quality.NOT_AVAILABLE, 1)
    assert huawei.decode(b"\x7f\xff") == ([None], Quality.NOT_AVAILABLE, 1)
    assert huawei.decode(b"\x80\x00") == ([-32.768], Quality.GOOD, 0)


def test_a_points_own_sentinels_stand_in_for_those_of_the_map() -> None:
    point = {"quantity": "energy_import_kwh", "address": 0, "type": "u16", "not_available": [0]}
    compiled = decoder([point], not_available={"u16": [0xFFFF]})
    assert compiled.decode(b"\x00\x00") == ([None], Quality.NOT_AVAILABLE, 1)
    assert compiled.decode(b"\xff\xff") == ([65_535.0], Quality.GOOD, 0)


def test_a_float_can_have_a_number_as_sentinel() -> None:
    point = {"quantity": "active_power_kw", "address": 0, "type": "f32"}
    compiled = decoder([point], not_available={"f32": [struct.unpack(">I", struct.pack(">f", -9999.0))[0]]})
    assert compiled.decode(struct.pack(">f", -9999.0)) == ([None], Quality.NOT_AVAILABLE, 1)


@pytest.mark.parametrize(
    ("quantity", "value", "kept"),
    [
        ("active_power_kw", 125.0, True),
        ("active_power_kw", -125.0, True),
        ("active_power_kw", 125.5, False),
        ("active_power_l3_kw", -126.0, False),
        ("dc_power_kw", 126.0, False),
        ("apparent_power_kva", 250.0, True),
        ("apparent_power_kva", 251.0, False),
        ("frequency_hz", 50.0, True),
        ("frequency_hz", 500.1, False),
        ("frequency_hz", -1.0, False),
        ("voltage_l1_n_v", -5.0, False),
        ("energy_import_kwh", -0.5, False),
    ],
)
def test_what_the_quantity_or_the_rating_of_100_kw_does_not_allow_is_implausible(
    quantity: str, value: float, kept: bool
) -> None:
    compiled = decoder([{"quantity": quantity, "address": 0, "type": "f64"}], rated_kw=100.0)
    expected = ([value], Quality.GOOD, 0) if kept else ([None], Quality.IMPLAUSIBLE, 1)
    assert compiled.decode(struct.pack(">d", value)) == expected


def test_without_a_rating_only_the_vocabulary_bounds_power() -> None:
    compiled = decoder([{"quantity": "active_power_kw", "address": 0, "type": "f32"}])
    assert compiled.decode(struct.pack(">f", 999_999.0))[0] == [999_999.0]
    assert compiled.decode(struct.pack(">f", 2e6))[0] == [None]


def test_values_that_overlap_are_each_decoded_from_their_own_registers() -> None:
    compiled = decoder(
        [
            {"quantity": "energy_import_kwh", "address": 0, "type": "u32"},
            {"quantity": "starts_count", "address": 1, "type": "u16"},
            {"quantity": "energy_export_kwh", "address": 1, "type": "u32"},
        ]
    )
    values, _, _ = compiled.decode(bytes.fromhex("000112345678"))
    assert dict(zip(compiled.names, values, strict=True)) == {
        "energy_import_kwh": float(0x00011234),
        "starts_count": float(0x1234),
        "energy_export_kwh": float(0x12345678),
    }


def test_a_field_of_bits_without_states_is_a_number() -> None:
    compiled = decoder([{"quantity": "capacity_percent", "address": 0, "type": "u16", "bits": [4, 10], "scale": 0.5}])
    assert compiled.decode(struct.pack(">H", 0b10101_1100100_1111))[0] == [50.0]


def test_scaling_by_thousandths_is_exact() -> None:
    compiled = decoder([{"quantity": "energy_import_kwh", "address": 0, "type": "i64", "scale": 0.001}])
    for wh in (1, 3, 7, 1_001, 123_456_789, 9_007_199_254_740_993):
        assert compiled.decode(struct.pack(">q", wh))[0] == [float(wh) / 1000]


@pytest.mark.parametrize(
    "point",
    [
        {"quantity": "capacity_percent", "address": 0, "type": "f32", "bits": [0, 3]},
        {"quantity": "capacity_percent", "address": 0, "type": "u16", "not_available": [0x10000]},
    ],
)
def test_a_point_that_cannot_be_decoded_is_refused_when_it_is_compiled(point: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="capacity_percent"):
        decoder([point])
