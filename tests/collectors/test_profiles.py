"""Every shipped profile is read from registers, or a message, packed here by hand from the vendor's own list."""

from __future__ import annotations

import struct

import pytest
from ruamel.yaml import YAML

from collectors.modbus.reads import Reads
from emsd.plant.profile import Profile
from emsd.readings import Quality
from tests.collectors.support import PROFILES, low_word_first, packed, payload, profile

RATED_KW = 5000.0
NAMES = sorted(path.stem for path in PROFILES.glob("*.yaml"))


def decode(
    made_of: Profile, registers: dict[int, int], models: dict[int, int] | None = None
) -> tuple[dict[str, float | None], int]:
    """Decode all points of a profile from registers that a test packed."""
    assert made_of.modbus is not None
    reads = Reads(made_of.modbus, 1.0, RATED_KW)
    if models is not None:
        reads.place(models)
    values: dict[str, float | None] = {}
    quality = 0
    for request in reads.requests(reads.rates_s):
        block = request.block
        got, flags, _ = request.decoder.decode(payload(registers, block.address, block.count))
        values |= dict(zip(request.names, got, strict=True))
        quality |= flags
    return values, quality


@pytest.mark.parametrize("name", NAMES)
def test_each_profile_is_valid_names_its_sources_and_is_called_like_its_file(name: str) -> None:
    loaded = Profile.model_validate(YAML(typ="safe").load(PROFILES / f"{name}.yaml"))
    assert loaded.profile == name
    assert loaded.source
    assert loaded.quantities


def test_the_devices_of_the_plan_are_all_there() -> None:
    assert {
        "schneider_pm5560",
        "eastron_sdm630",
        "abb_b23",
        "carlo_gavazzi_em340",
        "sunspec_inverter",
        "ingersoll_rand_xe",
        "trane_rthd",
        "vpinstruments_vpflowscope",
        "kipp_zonen_smp",
        "json_energy_meter",
        "json_climate_sensor",
    } <= set(NAMES)


def test_schneider_pm5560_floats_in_kw_and_counters_in_wh() -> None:
    values, quality = decode(
        profile("schneider_pm5560"),
        packed(2999, ">4f", 101.5, 102.5, 103.5, 0.25)
        | packed(3019, ">3f", 400.5, 401.5, 402.5)
        | packed(3027, ">3f", 230.5, 231.5, 232.5)
        | packed(3053, ">4f", 10.5, 11.5, 12.5, 34.5)
        | packed(3067, ">f", -7.25)
        | packed(3075, ">f", 35.25)
        | packed(3083, ">f", 1.021484375)
        | packed(3109, ">f", 50.0)
        | packed(3203, ">2q", 123_456_789_012, 42)
        | packed(3219, ">2q", 5_000, 6_000)
        | packed(3235, ">q", 7_001)
        | packed(21299, ">f", 3.5)
        | packed(21327, ">f", 1.25),
    )
    assert values == {
        "current_l1_a": 101.5,
        "current_l2_a": 102.5,
        "current_l3_a": 103.5,
        "current_n_a": 0.25,
        "voltage_l1_l2_v": 400.5,
        "voltage_l2_l3_v": 401.5,
        "voltage_l3_l1_v": 402.5,
        "voltage_l1_n_v": 230.5,
        "voltage_l2_n_v": 231.5,
        "voltage_l3_n_v": 232.5,
        "active_power_l1_kw": 10.5,
        "active_power_l2_kw": 11.5,
        "active_power_l3_kw": 12.5,
        "active_power_kw": 34.5,
        "reactive_power_kvar": -7.25,
        "apparent_power_kva": 35.25,
        # 4Q_FP_PF beyond +1 is 2 - x: leading.
        "power_factor": 0.978515625,
        "frequency_hz": 50.0,
        "energy_import_kwh": 123_456_789.012,
        "energy_export_kwh": 0.042,
        "reactive_energy_import_kvarh": 5.0,
        "reactive_energy_export_kvarh": 6.0,
        "apparent_energy_import_kvah": 7.001,
        "current_thd_percent": 3.5,
        "voltage_thd_percent": 1.25,
    }
    assert quality == Quality.GOOD


@pytest.mark.parametrize(
    ("coded", "power_factor"),
    [(0.5, 0.5), (-0.5, -0.5), (1.0, 1.0), (-1.0, -1.0), (1.25, 0.75), (-1.25, -0.75), (2.0, 0.0), (-2.0, 0.0)],
)
def test_four_quadrant_power_factor_by_the_vendors_formula(coded: float, power_factor: float) -> None:
    values, _ = decode(profile("schneider_pm5560"), packed(3083, ">f", coded))
    assert values["power_factor"] == power_factor


def test_eastron_sdm630_watts_become_kilowatts() -> None:
    values, _ = decode(
        profile("eastron_sdm630"),
        packed(0, ">9f", 230.0, 231.0, 232.0, 5.0, 6.0, 7.0, 1000.0, 1500.0, 2000.0)
        | packed(52, ">f", 4500.0)
        | packed(56, ">f", 4600.0)
        | packed(60, ">2f", -250.0, -0.96875)
        | packed(70, ">6f", 49.984375, 1234.5, 0.5, 10.0, 11.0, 12.0)
        | packed(200, ">3f", 400.0, 401.0, 402.0)
        | packed(224, ">f", 0.125)
        | packed(248, ">2f", 1.5, 12.5),
    )
    assert values["active_power_l2_kw"] == 1.5
    assert values["active_power_kw"] == 4.5
    assert values["apparent_power_kva"] == 4.6
    assert values["reactive_power_kvar"] == -0.25
    assert values["power_factor"] == -0.96875
    assert values["frequency_hz"] == 49.984375
    assert (values["energy_import_kwh"], values["energy_export_kwh"]) == (1234.5, 0.5)
    assert (values["reactive_energy_import_kvarh"], values["apparent_energy_import_kvah"]) == (10.0, 12.0)
    assert (values["voltage_l3_l1_v"], values["current_n_a"]) == (402.0, 0.125)
    assert (values["voltage_thd_percent"], values["current_thd_percent"]) == (1.5, 12.5)


def test_eastron_sdm630_is_asked_for_whole_floats_only_and_never_for_more_than_60_registers() -> None:
    made_of = profile("eastron_sdm630").modbus
    assert made_of is not None
    reads = Reads(made_of, 1.0, None)
    for rates in ((), reads.rates_s):
        for request in reads.requests(rates):
            assert request.block.address % 2 == 0
            assert request.block.count % 2 == 0
            assert request.block.count <= 60


def test_abb_b23_frame_of_the_manual_is_minus_122_14_var() -> None:
    registers = {23324: 0xFFFF, 23325: 0xD04A}
    values, _ = decode(profile("abb_b23"), registers)
    assert values["reactive_power_kvar"] == pytest.approx(-0.12214, abs=1e-12)


def test_abb_b23_integers_and_sentinels() -> None:
    values, quality = decode(
        profile("abb_b23"),
        packed(20480, ">2Q", 123_456_789, 50)
        | packed(23296, ">6I", 2301, 2302, 2303, 3985, 3986, 3987)
        | packed(23308, ">3I", 1234, 1235, 1236)
        | packed(23316, ">4i", -12_345_678, 1, 2, 3)
        | packed(23332, ">i", 0x7FFFFFFF)
        | packed(23340, ">H", 5001)
        | packed(23354, ">h", -987),
    )
    assert values["energy_import_kwh"] == 1_234_567.89
    assert values["energy_export_kwh"] == 0.5
    assert (values["voltage_l1_n_v"], values["voltage_l3_l1_v"]) == (230.1, 398.7)
    assert values["current_l2_a"] == 12.35
    assert values["active_power_kw"] == -123.45678
    assert values["frequency_hz"] == 50.01
    assert values["power_factor"] == -0.987
    # All ones (a register the sub-type does not have) and 7FFF FFFF are no values.
    assert values["current_n_a"] is None
    assert values["apparent_power_kva"] is None
    assert values["apparent_energy_import_kvah"] is None
    assert quality == Quality.NOT_AVAILABLE


def test_carlo_gavazzi_em340_has_the_low_word_first() -> None:
    registers: dict[int, int] = {}
    for address, raw in {0: 2300, 6: 3990, 12: 12_345, 18: 100_000, 40: -765_432, 42: 800_000, 44: -1}.items():
        registers |= low_word_first(packed(address, ">i", raw))
    registers |= packed(49, ">h", -999) | packed(51, ">h", 500)
    registers |= low_word_first(packed(52, ">i", 0x12345678)) | {78: 0xFFFF, 79: 0x7FFF}
    values, _ = decode(profile("carlo_gavazzi_em340"), registers)
    assert values["voltage_l1_n_v"] == 230.0
    assert values["voltage_l1_l2_v"] == 399.0
    assert values["current_l1_a"] == 12.345
    assert values["active_power_l1_kw"] == 10.0
    assert values["active_power_kw"] == -76.5432
    assert values["apparent_power_kva"] == 80.0
    assert values["reactive_power_kvar"] == -0.0001
    assert values["power_factor"] == -0.999
    assert values["frequency_hz"] == 50.0
    assert values["energy_import_kwh"] == 30_541_989.6
    # Words FFFF 7FFF are the display's EEE.
    assert values["energy_export_kwh"] is None


def sunspec_103(at: int) -> dict[int, int]:
    """Model 103 at night's edge: 123.4 kW out, WH 9,876,543 x 10 Wh."""
    return (
        packed(at, ">HH", 103, 50)
        | packed(at + 3, ">3Hh", 1780, 1781, 1782, -1)
        | packed(at + 7, ">6Hh", 4000, 4001, 4002, 2310, 2311, 2312, -1)
        | packed(at + 14, ">hh", 1234, 2)
        | packed(at + 16, ">Hh", 5003, -2)
        | packed(at + 18, ">hh", 1240, 2)
        | packed(at + 20, ">hh", -55, 2)
        | packed(at + 22, ">hh", 995, -1)
        | packed(at + 24, ">Ih", 9_876_543, 1)
        | packed(at + 27, ">Hh", 2055, -1)
        | packed(at + 31, ">hh", 1260, 2)
        | packed(at + 33, ">h", 415)
        | packed(at + 37, ">h", -1)
        | packed(at + 38, ">H", 4)
    )


def sunspec_160(at: int) -> dict[int, int]:
    return packed(at, ">HHhhhh", 160, 28, -1, -1, 1, 2) | packed(at + 8, ">H", 1) | packed(at + 20, ">H", 6123)


def test_sunspec_inverter_generation_is_negative_and_its_energy_is_export() -> None:
    values, quality = decode(
        profile("sunspec_inverter"), sunspec_103(40069) | sunspec_160(40200), {1: 40002, 103: 40069, 160: 40200}
    )
    assert values == {
        "current_l1_a": 178.0,
        "current_l2_a": 178.1,
        "current_l3_a": 178.2,
        "voltage_l1_l2_v": 400.0,
        "voltage_l2_l3_v": 400.1,
        "voltage_l3_l1_v": 400.2,
        "voltage_l1_n_v": 231.0,
        "voltage_l2_n_v": 231.1,
        "voltage_l3_n_v": 231.2,
        "active_power_kw": -123.4,
        "frequency_hz": 50.03,
        "apparent_power_kva": 124.0,
        "reactive_power_kvar": 5.5,
        "power_factor": 0.995,
        "energy_export_kwh": 98_765.43,
        "dc_current_a": 205.5,
        "dc_power_kw": 126.0,
        "cabinet_temperature_c": 41.5,
        "run_state": 2.0,
        "dc_voltage_v": 612.3,
    }
    assert quality == Quality.GOOD


def test_sunspec_scale_factor_8000h_makes_its_whole_group_unavailable() -> None:
    registers = sunspec_103(40069) | sunspec_160(40200)
    registers[40069 + 13] = 0x8000
    values, quality = decode(profile("sunspec_inverter"), registers, {103: 40069, 160: 40200})
    assert [name for name, value in values.items() if value is None] == [
        "voltage_l1_l2_v",
        "voltage_l2_l3_v",
        "voltage_l3_l1_v",
        "voltage_l1_n_v",
        "voltage_l2_n_v",
        "voltage_l3_n_v",
    ]
    assert quality == Quality.NOT_AVAILABLE


@pytest.mark.parametrize("scale_factor", [-11, 11, 32767, -1000])
def test_a_scale_factor_that_sunspec_does_not_know_is_no_value(scale_factor: int) -> None:
    registers = sunspec_103(40069) | packed(40069 + 15, ">h", scale_factor)
    values, _ = decode(profile("sunspec_inverter"), registers, {103: 40069, 160: 41000})
    assert values["active_power_kw"] is None


def test_sunspec_values_that_are_not_implemented_or_not_accumulated_are_none() -> None:
    registers = sunspec_103(40069) | sunspec_160(40200)
    registers |= {40069 + 14: 0x8000, 40069 + 3: 0xFFFF, 40069 + 24: 0, 40069 + 25: 0, 40069 + 38: 99}
    values, quality = decode(profile("sunspec_inverter"), registers, {103: 40069, 160: 40200})
    assert values["active_power_kw"] is None
    assert values["current_l1_a"] is None
    assert values["energy_export_kwh"] is None
    assert values["run_state"] is None
    assert quality == Quality.NOT_AVAILABLE


def test_trane_rthd_additive_offset_and_state_bits() -> None:
    registers = packed(1, ">HHHHHHHH", 515, 83, 100, 522, 573, 740, 790, 0x3602) | packed(
        9, ">5HII", 1, 0, 485, 0, 805, 1234, 70_001
    )
    values, quality = decode(profile("trane_rthd"), registers)
    assert values == {
        "chilled_water_setpoint_c": 6.5,
        "capacity_percent": 83.0,
        "chilled_water_leaving_temperature_c": pytest.approx(7.2),
        "chilled_water_entering_temperature_c": pytest.approx(12.3),
        "condenser_water_entering_temperature_c": 29.0,
        "condenser_water_leaving_temperature_c": 34.0,
        # Bits 0-3 of 3602h: running; bits 9, 10, 12 and 13 are something else.
        "run_state": 2.0,
        "alarm_code": 0.0,
        "evaporator_refrigerant_temperature_c": 3.5,
        "condenser_refrigerant_temperature_c": 35.5,
        "starts_count": 1234.0,
        "running_hours_h": 70_001.0,
    }
    assert quality == Quality.GOOD


def test_vpflowscope_items_overlap_and_are_read_one_by_one() -> None:
    made_of = profile("vpinstruments_vpflowscope").modbus
    assert made_of is not None
    reads = Reads(made_of, 1.0, None)
    answers = {16: 254, 17: 12_345, 32: 71, 128: 987_654_321}
    values: dict[str, float | None] = {}
    for request in reads.requests(reads.rates_s):
        assert request.block.count == 2
        got, _, _ = request.decoder.decode(struct.pack(">i", answers[request.block.address]))
        values |= dict(zip(request.names, got, strict=True))
    assert values == {
        "flow_velocity_m_s": 25.4,
        "air_flow_nm3h": 1234.5,
        "line_pressure_bar": 7.1,
        "air_volume_nm3": 98_765_432.1,
    }


@pytest.mark.parametrize(("places", "irradiance"), [(0, 9876.0), (1, 987.6), (2, 98.76)])
def test_kipp_zonen_smp_decimal_places_stand_in_a_register(places: int, irradiance: float) -> None:
    values, _ = decode(profile("kipp_zonen_smp"), packed(4, ">hh", places, 9876) | packed(8, ">h", 234))
    assert values["irradiance_w_m2"] == (irradiance if irradiance <= 2000 else None)
    assert values["sensor_temperature_c"] == 23.4


def test_kipp_zonen_smp_never_reads_the_register_that_resets_the_statistics() -> None:
    made_of = profile("kipp_zonen_smp").modbus
    assert made_of is not None
    reads = Reads(made_of, 1.0, None)
    for request in reads.requests(reads.rates_s):
        assert not request.block.address <= 7 < request.block.address + request.block.count
