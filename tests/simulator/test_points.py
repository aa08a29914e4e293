"""Registers worked out by hand from the profiles' rules; nothing here asks the code under test for its opinion."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from emsd.errors import ConfigurationError
from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType
from emsd.quantities import RUN_STATE_CODES, RunState
from simulator.device_settings import ScaleKey, choose_exponents, choose_parameters
from simulator.points import RegisterPoint, point_of


def point(quantity: str, kind: str, **fields: object) -> RegisterPoint:
    layout = {k: fields.pop(k) for k in ("word_order", "byte_order", "not_available", "parameters") if k in fields}
    settings = fields.pop("settings", None)
    entry = ModbusPoint.model_validate({"quantity": quantity, "type": kind, "address": 0, **fields})
    whole = ModbusMap.model_validate({"points": [entry], **layout})
    chosen = choose_parameters(whole, settings if isinstance(settings, dict) else None)
    return point_of(entry, whole, choose_exponents(whole, 500.0, 400.0), 0, chosen)


def words(one: RegisterPoint, value: float, **others: float) -> list[int]:
    values = {name: np.array([number]) for name, number in {one.quantity: value, **others}.items()}
    return [int(word) for word in one.words(one.raw(values))[0]]


def back(one: RegisterPoint, value: float, **others: float) -> float:
    values = {name: np.array([number]) for name, number in {one.quantity: value, **others}.items()}
    return float(one.read_back(one.raw(values))[0])


@pytest.mark.parametrize(
    ("kind", "scale", "value", "registers"),
    [
        ("u16", 0.1, 6.5, [65]),
        ("i16", 1, -5, [0xFFFB]),
        ("u32", 0.1, 230.4, [0, 2304]),
        ("i32", 0.00001, -0.12214, [0xFFFF, 0xD04A]),  # the frame example of ABB's A43 manual: -122.14 W
        ("i64", 1, -2, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]),
        ("f32", 1, 230.5, [0x4366, 0x8000]),
        ("f32", 0.001, 0.2305, [0x4366, 0x8000]),
        ("f64", 1, 230.5, [0x406C, 0xD000, 0, 0]),
    ],
)
def test_gauges_become_the_registers_of_their_type(kind: str, scale: float, value: float, registers: list[int]) -> None:
    assert words(point("active_power_kw", kind, scale=scale), value) == registers


def test_low_word_first_and_swapped_bytes() -> None:
    assert words(point("active_power_kw", "i32", scale=0.0001, word_order="little"), 12.3456) == [123456 & 0xFFFF, 1]
    assert words(point("active_power_kw", "u16", byte_order="little"), 0x1234) == [0x3412]
    order = {"word_order": "little", "byte_order": "little"}
    assert words(point("active_power_kw", "f32", **order), 230.5) == [0x0080, 0x6643]


def test_a_counter_shows_completed_counts_only() -> None:
    one = point("energy_import_kwh", "u64", scale=0.01)
    assert words(one, 123.459) == [0, 0, 0, 12345]
    assert words(one, 123.45) == [0, 0, 0, 12345]  # 123.45 / 0.01 is a hair below 12345 in floating point
    assert back(one, 123.459) == pytest.approx(123.45)
    coarse = point("energy_import_kwh", "f32", count=0.01)
    assert back(coarse, 100.019) == pytest.approx(100.01, abs=1e-5)


def test_a_counter_begins_again_when_its_register_is_full_and_a_gauge_stays_at_the_end() -> None:
    assert words(point("running_hours_h", "u16"), 65_536 + 7.5) == [7]
    assert words(point("energy_import_kwh", "i32", scale=0.1), 2**31 * 0.1 + 1.05) == [0, 10]
    assert words(point("energy_import_kwh", "u32", rollover_at=1e6), 1_000_022) == [0, 22]
    assert words(point("active_power_kw", "i16"), 40_000) == [0x7FFF]
    assert words(point("active_power_kw", "i16"), -40_000) == [0x8000]


def test_an_additive_offset_is_taken_off_first() -> None:
    one = point("chilled_water_leaving_temperature_c", "u16", scale=0.1, add=-45.0, not_available={"u16": [0]})
    assert words(one, 7.1) == [521]
    assert back(one, 7.1) == pytest.approx(7.1)


def test_no_value_is_the_devices_own_pattern() -> None:
    assert words(point("active_power_kw", "i16", not_available={"i16": [0x8000]}), math.nan) == [0x8000]
    assert words(point("active_power_kw", "f32"), math.nan) == [0x7FC0, 0]
    assert math.isnan(back(point("active_power_kw", "i16", not_available={"i16": [0x8000]}), math.nan))


# DOCA0005EN-04 p. 109: reg < -1 -> -2 - reg (quadrant 3), reg > 1 -> 2 - reg (quadrant 4), else reg.
@pytest.mark.parametrize(
    ("factor", "reactive", "register"), [(0.9, 50, 0.9), (-0.9, 50, -0.9), (-0.9, -50, -1.1), (0.9, -50, 1.1)]
)
def test_power_factor_in_four_quadrants(factor: float, reactive: float, register: float) -> None:
    one = point("power_factor", "f32", encoding="four_quadrant_power_factor")
    bits = words(one, factor, reactive_power_kvar=reactive)
    assert struct.pack(">2H", *bits) == struct.pack(">f", register)
    assert back(one, factor, reactive_power_kvar=reactive) == pytest.approx(factor)


def test_run_states_are_the_devices_codes_in_their_bits() -> None:
    states = {0: "off", 1: "starting", 2: "running", 4: "service"}
    one = point("run_state", "u16", bits=[4, 7], states=states)
    assert words(one, RUN_STATE_CODES[RunState.RUNNING]) == [2 << 4]
    assert words(one, RUN_STATE_CODES[RunState.LOADED]) == [2 << 4]  # it has no word for loaded
    assert back(one, RUN_STATE_CODES[RunState.SERVICE]) == RUN_STATE_CODES[RunState.SERVICE]


FLAGS = {"flags": {4: "fault", 0: "running", 1: "stopping"}, "otherwise": "off"}


@pytest.mark.parametrize(
    ("state", "register", "read"),
    [
        (RunState.FAULT, 0b10000, RunState.FAULT),
        (RunState.RUNNING, 0b00001, RunState.RUNNING),
        (RunState.LOADED, 0b00001, RunState.RUNNING),  # it has no bit for loaded
        (RunState.OFF, 0, RunState.OFF),
        (RunState.STANDBY, 0, RunState.OFF),
    ],
)
def test_run_states_are_the_bit_of_their_flag(state: RunState, register: int, read: RunState) -> None:
    one = point("run_state", "u16", **FLAGS)
    assert words(one, RUN_STATE_CODES[state]) == [register]
    assert back(one, RUN_STATE_CODES[state]) == RUN_STATE_CODES[read]


def test_of_several_flags_the_first_listed_is_read() -> None:
    one = point("run_state", "u16", **FLAGS)
    assert one.read_back(np.array([0b10001], dtype=np.uint64)) == [RUN_STATE_CODES[RunState.FAULT]]
    assert one.read_back(np.array([0b00011], dtype=np.uint64)) == [RUN_STATE_CODES[RunState.RUNNING]]


def test_a_state_that_a_device_has_no_word_for_is_a_code_that_nobody_knows() -> None:
    one = point("run_state", "u16", states={0: "off", 1: "running"})
    assert words(one, RUN_STATE_CODES[RunState.SERVICE]) == [2]
    assert math.isnan(back(one, RUN_STATE_CODES[RunState.SERVICE]))


def parts(one: RegisterPoint, value: float) -> list[list[int]]:
    raw = one.raw({one.quantity: np.array([value])})
    return [[int(word) for word in one.words(part)[0]] for part in one.parts(raw)]


def test_two_tariffs_share_what_was_counted() -> None:
    one = point("energy_import_kwh", "u32", scale=0.001, plus=[2])
    assert parts(one, 100.101) == [[0, 40_041], [0, 60_060]]  # 100,101 Wh
    double = point("energy_import_kwh", "f64", scale=0.001, plus=[4])
    first, second = (struct.unpack(">d", struct.pack(">4H", *each))[0] for each in parts(double, 1234.5))
    assert first + second == 1_234_500.0
    assert first > 0 < second


def test_tariffs_without_a_value_are_all_without_a_value() -> None:
    one = point("energy_import_kwh", "u32", plus=[2], not_available={"u32": [0xFFFFFFFF]})
    assert parts(one, math.nan) == [[0xFFFF, 0xFFFF], [0xFFFF, 0xFFFF]]


RATIOS = [{"name": "current_ratio", "address": 90, "type": "u16"}, {"name": "pt", "address": 91, "type": "u16"}]


def test_a_secondary_value_is_what_is_left_without_the_ratios() -> None:
    fields = {"scale": 0.001, "times": ["current_ratio"], "divided_by": "pt", "parameters": RATIOS}
    assert words(point("active_power_kw", "i16", **fields), 100.0) == [500]  # 1000/5 A unless told otherwise
    set_otherwise = point("active_power_kw", "i16", **fields, settings={"current_ratio": 40.0, "pt": 2.0})
    assert words(set_otherwise, 100.0) == [5000]
    assert back(set_otherwise, 100.01) == pytest.approx(100.0)


def test_a_counter_behind_a_ratio_counts_in_steps_of_it() -> None:
    one = point("energy_import_kwh", "u32", scale=0.01, times=["current_ratio"], parameters=RATIOS)
    assert words(one, 1001.9) == [0, 500]
    assert one.count == 2.0


def test_the_unit_of_a_device_is_the_first_that_its_profile_knows_unless_it_is_set() -> None:
    choice = {"parameter": "unit", "cases": {3: {"scale": 0.0689476}, 1: {"scale": 0.1, "add": -1.0}}}
    fields = {"choice": choice, "parameters": [{"name": "unit", "address": 90, "type": "u16"}]}
    assert words(point("discharge_pressure_bar", "u16", **fields), 6.89476) == [100]
    assert words(point("discharge_pressure_bar", "u16", **fields, settings={"unit": 1.0}), 6.9) == [79]
    with pytest.raises(ConfigurationError, match="while unit is 7"):
        point("discharge_pressure_bar", "u16", **fields, settings={"unit": 7.0})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"current_ration": 5.0}, "no parameter current_ration"),
        ({"current_ratio": 70_000.0}, "cannot be 70000"),
        ({"current_ratio": 0.5}, "cannot be 0.5"),
    ],
)
def test_a_setting_that_a_device_cannot_have_is_refused(settings: dict[str, float], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        point("active_power_kw", "i16", times=["current_ratio"], parameters=RATIOS, settings=settings)


def test_scale_registers_hold_the_finest_power_that_the_largest_value_fits() -> None:
    layout = ModbusMap.model_validate(
        {
            "sunspec_bases": [40000],
            "points": [
                {"quantity": "active_power_kw", "model": 103, "offset": 14, "type": "i16", "scale": -0.001,
                 "scale_register": {"offset": 15}},
                {"quantity": "irradiance_w_m2", "address": 5, "type": "i16",
                 "scale_register": {"address": 4, "divide": True}},
                {"quantity": "energy_export_kwh", "model": 103, "offset": 24, "type": "u32", "scale": 0.001,
                 "scale_register": {"offset": 26}},
            ],
        }
    )  # fmt: skip
    chosen = choose_exponents(layout, 500.0, 400.0)
    assert chosen[ScaleKey(103, 15, divide=False)] == 2  # 650,000 W in 32,767
    assert chosen[ScaleKey(None, 4, divide=True)] == 1  # 1,600.0 W/m2, one decimal, as the SMP12 has it
    assert chosen[ScaleKey(103, 26, divide=False)] == 0
    power = point_of(layout.points[0], layout, chosen, 0)
    assert words(power, -432.1) == [4321]
    assert power.type is RegisterType.I16


def test_arrays_of_values_are_encoded_one_by_one() -> None:
    one = point("active_power_kw", "i32", scale=0.1)
    raw = one.raw({"active_power_kw": np.array([1.0, -1.0, 6553.6])})
    assert one.words(raw).tolist() == [[0, 10], [0xFFFF, 0xFFF6], [1, 0]]
