"""Decoding: orders, sentinels, NaN, plausibility, overlapping values."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from collectors.modbus.codec import BlockDecoder
from collectors.modbus.plan import Block, Target
from emsd.plant.modbus_map import Table
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import Quality
from tests.collectors.support import profile, profile_of

ORDERS: dict[str, dict[str, Any]] = {
    "ABCD": {"word_order": "big", "byte_order": "big"},
    "CDAB": {"word_order": "little", "byte_order": "big"},
    "BADC": {"word_order": "big", "byte_order": "little"},
    "DCBA": {"word_order": "little", "byte_order": "little"},
}

# Written out by hand: one number of each type as a device of each order sends it.
ON_THE_WIRE: list[tuple[str, float, str, dict[str, str]]] = [
    ("u16", 4660.0, "starts_count", {"ABCD": "1234", "CDAB": "1234", "BADC": "3412", "DCBA": "3412"}),
    ("i16", -2.0, "active_power_kw", {"ABCD": "FFFE", "CDAB": "FFFE", "BADC": "FEFF", "DCBA": "FEFF"}),
    (
        "u32",
        305_419_896.0,
        "energy_import_kwh",
        {"ABCD": "1234 5678", "CDAB": "5678 1234", "BADC": "3412 7856", "DCBA": "7856 3412"},
    ),
    (
        "i32",
        -66_052.0,
        "active_power_l1_kw",
        {"ABCD": "FFFE FDFC", "CDAB": "FDFC FFFE", "BADC": "FEFF FCFD", "DCBA": "FCFD FEFF"},
    ),
    (
        "u64",
        320_255_973_501_901.0,
        "energy_export_kwh",
        {
            "ABCD": "0001 2345 6789 ABCD",
            "CDAB": "ABCD 6789 2345 0001",
            "BADC": "0100 4523 8967 CDAB",
            "DCBA": "CDAB 8967 4523 0100",
        },
    ),
    (
        "i64",
        -66_052.0,
        "active_power_l2_kw",
        {
            "ABCD": "FFFF FFFF FFFE FDFC",
            "CDAB": "FDFC FFFE FFFF FFFF",
            "BADC": "FFFF FFFF FEFF FCFD",
            "DCBA": "FCFD FEFF FFFF FFFF",
        },
    ),
    (
        "f32",
        230.5,
        "voltage_l1_n_v",
        {"ABCD": "4366 8000", "CDAB": "8000 4366", "BADC": "6643 0080", "DCBA": "0080 6643"},
    ),
    (
        "f64",
        1234.5678,
        "voltage_l2_n_v",
        {
            "ABCD": "4093 4A45 6D5C FAAD",
            "CDAB": "FAAD 6D5C 4A45 4093",
            "BADC": "9340 454A 5C6D ADFA",
            "DCBA": "ADFA 5C6D 454A 9340",
        },
    ),
]


def decoder(
    points: list[dict[str, Any]],
    rated_kw: float | None = None,
    parameters: dict[str, float] | None = None,
    parameters_map: list[dict[str, Any]] | None = None,
    **modbus: object,
) -> BlockDecoder:
    """Compile one block from register 0 to the end of the last point."""
    if parameters_map:
        modbus["parameters"] = parameters_map
    registers = profile_of(points, **modbus).modbus
    assert registers is not None
    targets = tuple(Target(point, point.address or 0) for point in registers.points)
    ends = [at + t.point.type.registers for t in targets for at in (t.address, *t.point.plus)]
    return BlockDecoder(Block(Table.HOLDING, 0, max(ends), targets), registers, rated_kw, parameters or {})


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "value", "quantity", "wire"), ON_THE_WIRE, ids=[row[0] for row in ON_THE_WIRE])
def test_every_type_in_every_word_and_byte_order(
    kind: str, value: float, quantity: str, wire: dict[str, str], order: str
) -> None:
    compiled = decoder([{"quantity": quantity, "address": 0, "type": kind}], **ORDERS[order])
    assert compiled.decode(bytes.fromhex(wire[order])) == ([value], Quality.GOOD, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_all_types_in_one_block_in_every_word_and_byte_order(order: str) -> None:
    points: list[dict[str, Any]] = []
    sent = b""
    for kind, _, quantity, wire in ON_THE_WIRE:
        points.append({"quantity": quantity, "address": len(sent) // 2, "type": kind})
        sent += bytes.fromhex(wire[order])
    compiled = decoder(points, **ORDERS[order])
    values, quality, rejected = compiled.decode(sent)
    assert dict(zip(compiled.names, values, strict=True)) == {name: value for _, value, name, _ in ON_THE_WIRE}
    assert (quality, rejected) == (Quality.GOOD, 0)


@pytest.mark.parametrize("pattern", [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF])
def test_any_nan_is_no_value(pattern: int) -> None:
    compiled = decoder([{"quantity": "active_power_kw", "address": 0, "type": "f32"}])
    assert compiled.decode(struct.pack(">I", pattern)) == ([None], Quality.NOT_AVAILABLE, 1)


@pytest.mark.parametrize("pattern", [0x7F800000, 0xFF800000])
def test_infinity_is_implausible(pattern: int) -> None:
    compiled = decoder([{"quantity": "active_power_kw", "address": 0, "type": "f32"}])
    assert compiled.decode(struct.pack(">I", pattern)) == ([None], Quality.IMPLAUSIBLE, 1)


SUNSPEC = {
    "i16": [0x8000],
    "u16": [0xFFFF],
    "i32": [0x80000000],
    "u32": [0xFFFFFFFF],
    "i64": [0x8000000000000000],
    "u64": [0xFFFFFFFFFFFFFFFF],
}


def sentinels_of(name: str) -> dict[str, list[int]]:
    registers = profile(name).modbus
    assert registers is not None
    return {kind.value: list(patterns) for kind, patterns in registers.not_available.items()}


@pytest.mark.parametrize(
    ("vendor", "kind", "sentinel", "value_next_to_it"),
    [
        ("sunspec", "i16", "8000", "7FFF"),
        ("sunspec", "u16", "FFFF", "7FFF"),
        ("sunspec", "i32", "8000 0000", "0000 FFFF"),
        ("sunspec", "u32", "FFFF FFFF", "0000 FFFF"),
        ("sunspec", "i64", "8000 0000 0000 0000", "0000 0000 0000 FFFF"),
        ("sunspec", "u64", "FFFF FFFF FFFF FFFF", "0000 0000 0000 FFFF"),
        ("sunspec", "f32", "7FC0 0000", "447A 0000"),
        ("huawei_sun2000", "i16", "7FFF", "8000"),
        ("huawei_sun2000", "u16", "FFFF", "7FFF"),
        ("huawei_sun2000", "i32", "7FFF FFFF", "FFFF FFFF"),
        ("huawei_sun2000", "u32", "FFFF FFFF", "0000 7FFF"),
        ("huawei_sun2000", "u64", "7FFF FFFF FFFF FFFF", "0000 0000 0000 7FFF"),
        ("sungrow_sg110cx", "i16", "7FFF", "8000"),
        ("sungrow_sg110cx", "i16", "FFFF", "FFFE"),
        ("sungrow_sg110cx", "u16", "FFFF", "7FFF"),
        ("sungrow_sg110cx", "i32", "FFFF 7FFF", "FFFE FFFF"),
        ("sungrow_sg110cx", "i32", "FFFF FFFF", "FFFE FFFF"),
        ("sungrow_sg110cx", "u32", "FFFF FFFF", "FFFF 0000"),
        ("sma_tripower", "i32", "8000 0000", "FFFF FFFF"),
        ("sma_tripower", "u32", "FFFF FFFF", "0000 FFFF"),
        ("sma_tripower", "u32", "00FF FFFD", "0000 FFFD"),
        ("sma_tripower", "u64", "FFFF FFFF FFFF FFFF", "0000 0000 0000 FFFF"),
        ("abb_b23", "u16", "FFFF", "7FFF"),
        ("abb_b23", "u32", "FFFF FFFF", "0000 FFFF"),
        ("abb_b23", "u64", "FFFF FFFF FFFF FFFF", "0000 0000 0000 FFFF"),
        ("abb_b23", "i16", "7FFF", "8000"),
        ("abb_b23", "i16", "FFFF", "FFFE"),
        ("abb_b23", "i32", "7FFF FFFF", "FFFF FFFE"),
        ("abb_b23", "i32", "FFFF FFFF", "FFFF FFFE"),
        ("carlo_gavazzi_em340", "i32", "FFFF 7FFF", "FFFF 0000"),
        ("schneider_pm5560", "u16", "FFFF", "7FFF"),
        ("schneider_pm5560", "u32", "FFFF FFFF", "0000 FFFF"),
        ("schneider_pm5560", "f32", "FFC0 0000", "447A 0000"),
        ("siemens_pac3200", "f32", "7FC0 0000", "447A 0000"),
        ("siemens_pac3200", "f64", "7FF8 0000 0000 0000", "408F 4000 0000 0000"),
        # A phase that a wiring system does not have reads 0.0 here, which nothing tells from a phase without voltage.
        ("eastron_sdm630", "f32", "7FC0 0000", "0000 0000"),
        ("carrier_23xrv", "f32", "C18E 38E4", "C18E 0000"),
        ("york_ipu2", "i16", "0000", "0001"),
    ],
)
def test_sentinel_of_each_vendor(vendor: str, kind: str, sentinel: str, value_next_to_it: str) -> None:
    """A sentinel is per type and per vendor: 7FFFh is a value on SunSpec and a hole on Huawei."""
    word_order = "little" if vendor in {"sungrow_sg110cx", "carlo_gavazzi_em340"} else "big"
    compiled = decoder(
        [{"quantity": "active_power_kw", "address": 0, "type": kind}],
        word_order=word_order,
        not_available=SUNSPEC if vendor == "sunspec" else sentinels_of(vendor),
    )
    assert compiled.decode(bytes.fromhex(sentinel)) == ([None], Quality.NOT_AVAILABLE, 1)
    values, quality, _ = compiled.decode(bytes.fromhex(value_next_to_it))
    assert values != [None]
    assert quality == Quality.GOOD


@pytest.mark.parametrize(
    ("name", "quantity", "sentinel", "value_next_to_it"),
    [
        ("midea_m_thermal", "water_flow_m3h", "FFFF", "00FF"),
        ("midea_m_thermal", "condenser_pressure_bar", "00FF", "00FE"),
        ("mbmet500", "sensor_temperature_c", "0000 0000", "41C8 0000"),
    ],
)
def test_sentinel_of_a_single_point(name: str, quantity: str, sentinel: str, value_next_to_it: str) -> None:
    registers = profile(name).modbus
    assert registers is not None
    point = next(each for each in registers.points if each.quantity == quantity)
    block = Block(point.table, 0, point.type.registers, (Target(point, 0),))
    compiled = BlockDecoder(block, registers, None)
    assert compiled.decode(bytes.fromhex(sentinel)) == ([None], Quality.NOT_AVAILABLE, 1)
    assert compiled.decode(bytes.fromhex(value_next_to_it))[1] == Quality.GOOD


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


def test_bits_of_a_signed_type_are_a_signed_number() -> None:
    point = {"quantity": "supply_temperature_c", "address": 0, "type": "i16", "bits": [0, 7]}
    assert decoder([point]).decode(bytes.fromhex("12FB"))[0] == [-5.0]
    assert decoder([point]).decode(bytes.fromhex("1205"))[0] == [5.0]
    assert decoder([point | {"type": "u16", "bits": [0, 7]}]).decode(bytes.fromhex("12FB"))[0] == [251.0]
    high = {"quantity": "supply_temperature_c", "address": 0, "type": "i32", "bits": [16, 31]}
    assert decoder([high]).decode(bytes.fromhex("FFF6 0001"))[0] == [-10.0]


def test_states_of_a_signed_type_may_have_a_negative_code() -> None:
    point = {"quantity": "run_state", "address": 0, "type": "i16", "states": {-1: "fault", 0: "off"}}
    assert decoder([point]).decode(b"\xff\xff")[0] == [RUN_STATE_CODES[RunState.FAULT]]


FLAGS = {
    "quantity": "run_state",
    "address": 0,
    "type": "u16",
    "flags": {4: "fault", 0: "running", 1: "stopping"},
    "otherwise": "off",
}


@pytest.mark.parametrize(
    ("bits", "state"),
    [
        (0b00001, RunState.RUNNING),
        (0b10001, RunState.FAULT),  # running and faulted: what stands first counts
        (0b00011, RunState.RUNNING),
        (0b00010, RunState.STOPPING),
        (0b00000, RunState.OFF),
        (0b01100, RunState.OFF),  # bits that nobody listed
    ],
)
def test_of_several_flags_the_first_listed_counts(bits: int, state: RunState) -> None:
    assert decoder([FLAGS]).decode(struct.pack(">H", bits)) == ([RUN_STATE_CODES[state]], Quality.GOOD, 0)


def test_without_a_flag_and_without_otherwise_the_state_is_not_available() -> None:
    silent = {key: value for key, value in FLAGS.items() if key != "otherwise"}
    assert decoder([silent]).decode(b"\0\0") == ([None], Quality.NOT_AVAILABLE, 1)


def test_flags_of_a_sentinel_are_no_flags() -> None:
    compiled = decoder([FLAGS], not_available={"u16": [0xFFFF]})
    assert compiled.decode(b"\xff\xff") == ([None], Quality.NOT_AVAILABLE, 1)


def test_the_sign_bit_can_be_a_flag() -> None:
    point = {"quantity": "run_state", "address": 0, "type": "i16", "flags": {15: "fault"}, "otherwise": "off"}
    assert decoder([point]).decode(b"\x80\x00")[0] == [RUN_STATE_CODES[RunState.FAULT]]


def test_tariffs_are_added_and_one_that_is_absent_leaves_no_total() -> None:
    point = {"quantity": "energy_import_kwh", "address": 0, "type": "u32", "scale": 0.001, "plus": [2, 6]}
    compiled = decoder([point], not_available={"u32": [0xFFFFFFFF]})
    assert compiled.decode(bytes.fromhex("000186A0 00000064 FFFFFFFF 00000001"))[0] == [100.101]
    assert compiled.decode(bytes.fromhex("000186A0 FFFFFFFF 00000000 00000001")) == ([None], Quality.NOT_AVAILABLE, 1)


def test_tariffs_as_doubles_are_added_and_nan_leaves_no_total() -> None:
    compiled = decoder([{"quantity": "energy_import_kwh", "address": 0, "type": "f64", "scale": 0.001, "plus": [4]}])
    assert compiled.decode(bytes.fromhex("4093 4800 0000 0000 406C D000 0000 0000"))[0] == [1.4645]  # 1234 + 230.5 Wh
    assert compiled.decode(bytes.fromhex("4093 4800 0000 0000 7FF8 0000 0000 0000")) == (
        [None],
        Quality.NOT_AVAILABLE,
        1,
    )


RATIOS = [
    {"name": "voltage_ratio", "address": 90, "type": "u16"},
    {"name": "current_ratio", "address": 91, "type": "u16"},
]
SECONDARY = {
    "quantity": "active_power_kw",
    "address": 0,
    "type": "i16",
    "scale": 0.001,
    "times": ["voltage_ratio", "current_ratio"],
}


def test_a_secondary_value_is_multiplied_by_the_ratios_of_the_device() -> None:
    compiled = decoder([SECONDARY], parameters={"voltage_ratio": 100.0, "current_ratio": 40.0}, parameters_map=RATIOS)
    assert compiled.decode(struct.pack(">h", -1234)) == ([-4936.0], Quality.GOOD, 0)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"voltage_ratio": 100.0},
        {"voltage_ratio": 100.0, "current_ratio": math.nan},
        {"voltage_ratio": math.inf, "current_ratio": 40.0},
    ],
)
def test_without_all_of_its_parameters_a_value_is_not_available(parameters: dict[str, float]) -> None:
    compiled = decoder([SECONDARY], parameters=parameters, parameters_map=RATIOS)
    assert compiled.decode(struct.pack(">h", 1)) == ([None], Quality.NOT_AVAILABLE, 1)


@pytest.mark.parametrize(("divisor", "value"), [(2.0, 1.5), (0.0, None), (math.nan, None)])
def test_a_parameter_divides_unless_it_is_zero_or_no_number(divisor: float, value: float | None) -> None:
    point = {"quantity": "capacity_percent", "address": 0, "type": "u16", "divided_by": "current_ratio"}
    compiled = decoder([point], parameters={"current_ratio": divisor}, parameters_map=RATIOS)
    assert compiled.decode(b"\0\3")[0] == [value]


def test_bits_scale_registers_and_sums_take_parameters_too() -> None:
    points = [
        {"quantity": "capacity_percent", "address": 0, "type": "u16", "bits": [0, 7], "times": ["current_ratio"]},
        {"quantity": "energy_import_kwh", "address": 1, "type": "u16", "plus": [2], "times": ["current_ratio"]},
    ]
    compiled = decoder(points, parameters={"current_ratio": 10.0}, parameters_map=RATIOS)
    assert compiled.decode(bytes.fromhex("FF05 0001 0002"))[0] == [50.0, 30.0]


PRESSURE = {
    "quantity": "discharge_pressure_bar",
    "address": 0,
    "type": "u16",
    "choice": {
        "parameter": "unit_code",
        "cases": {0: {"scale": 0.0689476}, 1: {"scale": 0.1}, 2: {"add": -1.0}},
    },
}
UNIT_CODE = [{"name": "unit_code", "address": 90, "type": "u16"}]


@pytest.mark.parametrize(("code", "value"), [(0.0, 6.89476), (1.0, 10.0), (2.0, 99.0)])
def test_a_parameter_selects_how_a_raw_value_is_meant(code: float, value: float) -> None:
    compiled = decoder([PRESSURE], parameters={"unit_code": code}, parameters_map=UNIT_CODE)
    assert compiled.decode(b"\0\x64")[0] == [pytest.approx(value)]


@pytest.mark.parametrize("parameters", [{}, {"unit_code": 7.0}, {"unit_code": 0.5}, {"unit_code": math.nan}])
def test_a_parameter_beside_the_cases_leaves_no_value(parameters: dict[str, float]) -> None:
    compiled = decoder([PRESSURE], parameters=parameters, parameters_map=UNIT_CODE)
    assert compiled.decode(b"\0\x64") == ([None], Quality.NOT_AVAILABLE, 1)


@pytest.mark.parametrize(("parameters", "value"), [({"unit_code": 7.0}, 20.0), ({"unit_code": 1.0}, 10.0), ({}, None)])
def test_otherwise_stands_for_every_other_value_but_not_for_an_unknown_one(
    parameters: dict[str, float], value: float | None
) -> None:
    choice = {"parameter": "unit_code", "cases": {1: {"scale": 0.1}}, "otherwise": {"scale": 0.2}}
    compiled = decoder([PRESSURE | {"choice": choice}], parameters=parameters, parameters_map=UNIT_CODE)
    assert compiled.decode(b"\0\x64")[0] == [value]


def test_scaling_by_thousandths_is_exact() -> None:
    compiled = decoder([{"quantity": "energy_import_kwh", "address": 0, "type": "i64", "scale": 0.001}])
    for wh in (1, 3, 7, 1_001, 123_456_789, 9_007_199_254_740_993):
        assert compiled.decode(struct.pack(">q", wh))[0] == [float(wh) / 1000]


@pytest.mark.parametrize(
    "point",
    [
        {"quantity": "capacity_percent", "address": 0, "type": "f32", "bits": [0, 3]},
        {"quantity": "capacity_percent", "address": 0, "type": "u16", "not_available": [0x10000]},
        {"quantity": "capacity_percent", "address": 0, "type": "u16", "bits": [8, 16]},
        {"quantity": "capacity_percent", "address": 0, "type": "u16", "bits": [9, 8]},
    ],
)
def test_a_point_that_cannot_be_decoded_is_refused_when_it_is_compiled(point: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="capacity_percent"):
        decoder([point])
