"""Machines, flow, heat, weather: answers written here by hand, in hex, and what the vendor's list says of them.

Values quoted from documents say so: Midea's live dump, the worked frame of 2flow, the example of Saia Burgess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from collectors.modbus.device import decode_identity, decode_parameter
from collectors.modbus.reads import Reads
from emsd.plant.modbus_map import ModbusMap
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import Quality
from tests.collectors.support import profile

RATED_KW = 5000.0
OFF, STARTING, RUNNING, STANDBY, THROTTLED, STOPPING, FAULT, SERVICE = (
    RUN_STATE_CODES[state]
    for state in (
        RunState.OFF,
        RunState.STARTING,
        RunState.RUNNING,
        RunState.STANDBY,
        RunState.THROTTLED,
        RunState.STOPPING,
        RunState.FAULT,
        RunState.SERVICE,
    )
)

Hex = Mapping[int, str]
"""What a device answers: words in hex by the address that they begin at."""


@dataclass(frozen=True)
class Frames:
    """One device's answers by table, and what they mean."""

    profile: str
    expected: Mapping[str, float | None]
    holding: Hex = field(default_factory=dict)
    input: Hex = field(default_factory=dict)


def registers_of(frames: Hex) -> dict[int, int]:
    return {address + at: int(word, 16) for address, words in frames.items() for at, word in enumerate(words.split())}


def answer(frames: Hex, address: int, count: int) -> bytes:
    """Return the bytes of an answer; a value that overlaps its neighbours answers by itself, holes are FFFFh."""
    alone = frames.get(address, "").split()
    registers = registers_of({address: frames[address]} if len(alone) == count else frames)
    return b"".join(registers.get(address + at, 0xFFFF).to_bytes(2, "big") for at in range(count))


def map_of(name: str) -> ModbusMap:
    found = profile(name).modbus
    assert found is not None
    return found


def decode(name: str, holding: Hex | None = None, input_: Hex | None = None) -> tuple[dict[str, float | None], int]:
    """Decode all points of a profile: first the parameters of the device, then the blocks as they are planned."""
    registers = map_of(name)
    tables: dict[str, Hex] = {"holding": holding or {}, "input": input_ or {}}
    reads = Reads(registers, 1.0, RATED_KW)
    parameters: dict[str, float] = {}
    for parameter in registers.parameters:
        payload = answer(tables[parameter.table], parameter.address, parameter.type.registers)
        value = decode_parameter(parameter, payload, registers)
        if value is not None:
            parameters[parameter.name] = value
    reads.settle(parameters)
    values: dict[str, float | None] = {}
    quality = 0
    for request in reads.requests(reads.rates_s):
        block = request.block
        got, flags, _ = request.decoder.decode(answer(tables[block.table], block.address, block.count))
        values |= dict(zip(request.names, got, strict=True))
        quality |= flags
    return values, quality


CASES = (
    Frames(
        "carrier_23xrv",
        {
            "run_state": RUNNING,
            "chilled_water_setpoint_c": 6.5,
            "chilled_water_entering_temperature_c": 12.25,
            "chilled_water_leaving_temperature_c": 6.75,
            "condenser_water_entering_temperature_c": 29.0,
            "condenser_water_leaving_temperature_c": 33.5,
            "evaporator_refrigerant_temperature_c": 3.5,
        },
        holding={40: "0007", 48: "40D0 0000"},
        input={59: "4144 0000", 60: "40D8 0000", 61: "41E8 0000", 62: "4206 0000", 65: "4060 0000"},
    ),
    Frames(
        "carrier_30ev",
        {
            "alarm_code": 5.0,
            "chilled_water_leaving_temperature_c": 7.0,
            "chilled_water_entering_temperature_c": 12.0,
            "ambient_temperature_c": -5.0,
            "suction_temperature_c": 5.0,
            "discharge_temperature_c": 65.0,
            "evaporator_refrigerant_temperature_c": 2.0,
            "drive_frequency_hz": 60.0,
            "motor_current_a": 20.5,
            "capacity_percent": 75.0,
        },
        input={2: "0005 0007 000C FFFB", 7: "0005 0041", 10: "0002", 18: "003C 0052", 22: "004B"},
    ),
    # Registers 100, 104, 105, 116, 117, 122, 138, 143, 150 and 189 are those of the live dump.
    Frames(
        "midea_m_thermal",
        {
            "drive_frequency_hz": 29.0,
            "run_state": RUNNING,
            "chilled_water_entering_temperature_c": 28.0,
            "chilled_water_leaving_temperature_c": 32.0,
            "ambient_temperature_c": -2.0,
            "discharge_temperature_c": 61.0,
            "suction_temperature_c": -5.0,
            "condenser_pressure_bar": 13.5,
            "evaporator_pressure_bar": 4.3,
            "running_hours_h": 338.0,
            "alarm_code": 20.0,  # low pressure
            "water_flow_m3h": 1.07,
            "thermal_power_kw": 3.49,
            "energy_import_kwh": 317.18,
            "active_power_kw": 0.87,
            "cooling_energy_kwh": 655.36,
        },
        holding={
            100: "001D 0003",
            104: "001C 0020",
            107: "FFFE 003D FFFB",
            116: "0546 01AE",
            122: "0152",
            124: "0014",
            138: "006B",
            140: "015D",
            143: "0000 7BE6",
            150: "0057",
            165: "0001 0000",
            181: "0000",
            189: "0044 0003",
        },
    ),
    Frames(
        "thermalcare_accuchiller",
        {
            "chilled_water_setpoint_c": 7.222222,  # 45 degF
            "chilled_water_leaving_temperature_c": 5.0,  # 41 degF
            "chilled_water_entering_temperature_c": 10.0,  # 50 degF
            "running_hours_h": 100_000.0,
        },
        input={1: "4234 0000", 3: "4224 0000", 5: "4248 0000", 11: "0001 86A0"},
    ),
    # raw / 10 - 45: 522 is 7.2 degC.
    Frames(
        "trane_rthd",
        {
            "chilled_water_setpoint_c": 6.5,
            "capacity_percent": 83.0,
            "chilled_water_leaving_temperature_c": 7.2,
            "chilled_water_entering_temperature_c": 12.3,
            "condenser_water_entering_temperature_c": 29.0,
            "condenser_water_leaving_temperature_c": 34.0,
            "run_state": OFF,
            "alarm_code": 1.0,
            "evaporator_refrigerant_temperature_c": 3.5,
            "condenser_refrigerant_temperature_c": 35.5,
            "starts_count": 1234.0,
            "running_hours_h": 70_001.0,
        },
        input={
            1: "0203 0053",
            4: "020A 023D 02E4 0316 0100 0001",
            11: "01E5",
            13: "0325",
            14: "0000 04D2",
            16: "0001 1171",
        },
    ),
    Frames(
        "york_ipu2",
        {
            "chilled_water_leaving_temperature_c": 7.2,
            "chilled_water_entering_temperature_c": 12.1,
            "suction_temperature_c": 5.5,
            "ambient_temperature_c": -4.2,
            "run_state": RUNNING,
            "alarm_code": 7.0,
            "chilled_water_setpoint_c": 7.0,
        },
        input={514: "0048 0079", 517: "0037 FFD6", 538: "0011 0007", 553: "0046"},
    ),
    Frames(
        "york_ipu2_imperial",
        {
            "chilled_water_leaving_temperature_c": 7.0,  # 44.6 degF
            "chilled_water_entering_temperature_c": 12.222222,  # 54 degF
            "suction_temperature_c": 2.777778,  # 37 degF
            "ambient_temperature_c": 32.222222,  # 90 degF
            "suction_pressure_bar": 4.481592,  # 65 psi
            "run_state": THROTTLED,
            "alarm_code": 3.0,
            "chilled_water_setpoint_c": 7.222222,  # 45 degF
        },
        input={514: "01BE 021C", 517: "0172 0384", 521: "028A", 538: "000D 0003", 553: "01C2"},
    ),
    Frames(
        "york_yews",
        {
            "run_state": RUNNING,
            "condenser_water_entering_temperature_c": 29.0,
            "chilled_water_entering_temperature_c": 12.2,
            "discharge_temperature_c": 61.0,
            "motor_current_a": 300.0,
            "running_hours_h": 20_000.0,
            "condenser_water_leaving_temperature_c": 34.0,
            "chilled_water_leaving_temperature_c": 7.0,
            "chilled_water_setpoint_c": 6.5,
            "alarm_code": 1.0,
        },
        holding={
            101: "0101 0000",
            103: "0122 007A 0262",
            109: "0BB8",
            111: "4E20",
            121: "0154 0046",
            203: "0041",
            206: "0001",
        },
    ),
    Frames(
        "york_yhau",
        {
            "chilled_water_setpoint_c": 7.0,
            "run_state": RUNNING,
            "capacity_percent": 85.0,
            "chilled_water_entering_temperature_c": 12.0,
            "chilled_water_leaving_temperature_c": 7.0,
            "evaporator_refrigerant_temperature_c": 5.0,
            "condenser_water_entering_temperature_c": 31.0,
            "condenser_water_leaving_temperature_c": 37.0,
        },
        holding={
            1: "0046",
            21: "0001",
            23: "0352",
            83: "0078",
            85: "0046",
            87: "0032",
            89: "0136",
            91: "0172",
        },
    ),
    Frames(
        "bitzer_cm_rc",
        {
            "capacity_percent": 75.0,
            "run_state": RUNNING,
            "suction_pressure_bar": 3.53675,  # 4.55 bar absolute
            "discharge_pressure_bar": 12.78675,  # 13.80 bar absolute
            "evaporator_refrigerant_temperature_c": -10.0,
            "condenser_refrigerant_temperature_c": 37.5,
            "discharge_temperature_c": 83.2,
            "active_power_kw": 18.3,
            "drive_frequency_hz": 50.0,
        },
        input={100: "1D4C", 102: "0807 0000", 12000: "01C7 0564 FF9C 0177", 12009: "0340", 13001: "00B7 01F4"},
    ),
    # Low word first: 1,234,567 is 0012 D687h.
    Frames(
        "datakom_dk40",
        {
            "frequency_hz": 50.1,
            "voltage_l1_n_v": 230.0,
            "voltage_l2_n_v": 231.0,
            "voltage_l3_n_v": 229.0,
            "voltage_l1_l2_v": 399.0,
            "voltage_l2_l3_v": 400.0,
            "voltage_l3_l1_v": 398.0,
            "discharge_pressure_bar": 7.2,
            "airend_temperature_c": 80.0,
            "running_hours_h": 123_456.7,
            "loaded_hours_h": 90_000.0,
            "alarm_code": 65_540.0,
        },
        holding={
            0: "01F5 00E6 00E7 00E5 018F 0190 018E 0048 0050",
            24: "D687 0012 BBA0 000D 0004 0001",
        },
    ),
    Frames(
        "ingersoll_rand_xe",
        {
            "discharge_pressure_bar": 7.2,
            "sump_pressure_bar": 7.5,
            "coolant_temperature_c": 65.0,
            "airend_temperature_c": -4.0,
            "aftercooler_temperature_c": 31.0,
            "separator_pressure_drop_bar": 0.3,
            "running_hours_h": 65_001.0,
            "loaded_hours_h": 41_234.0,
        },
        holding={2: "0048 004B", 5: "0041 FFFC 001F", 9: "0003", 63: "FDE9 A112", 93: "0001 0001"},
    ),
    Frames(
        "kaeser_sigma_control",
        {
            "alarm_code": 1.0,
            "discharge_pressure_bar": 7.2,
            "sump_pressure_bar": 7.4,
            "airend_temperature_c": 82.0,
            "separator_pressure_drop_bar": 0.2,
            "line_pressure_bar": 7.0,
        },
        holding={20: "0001 0000 0000 0000 0000", 40: "1C20 1CE8 0334", 49: "00C8 1B58"},
    ),
    # Low byte first: 294 (29.4 psia) is 0126h, and travels as 2601.
    Frames(
        "mm_rwb",
        {
            "suction_pressure_bar": 1.0138086,  # 29.4 psia
            "discharge_pressure_bar": 10.3421359,  # 150 psig
            "oil_pressure_bar": 11.0316117,  # 160 psig
            "discharge_temperature_c": 70.0,  # 158 degF
            "oil_temperature_c": 50.0,  # 122 degF
            "suction_temperature_c": -10.0,  # 14 degF
            "motor_current_a": 210.5,
            "capacity_percent": 87.5,
            "active_power_kw": 186.4,
        },
        holding={0: "2601 DC05 4006", 4: "2C06 C404", 7: "8C00 3908 6B03", 17: "4807"},
    ),
    # The flow is the worked frame of the manual, -12.5. Of the totals, the high part must not count.
    Frames(
        "twoflow_mag11",
        {
            "water_volume_m3": 1234.567,
            "heating_energy_kwh": 1_000_000.0,
            "cooling_energy_kwh": 50.0,
            "water_flow_m3h": -12.5,
            "supply_temperature_c": 70.0,
            "return_temperature_c": 50.0,
            "thermal_power_kw": 290.0,
            "alarm_code": 4.0,
        },
        holding={
            512: "0000 0007 0012 D687 0000 0001 3B9A CA00",
            530: "0000 0001 0000 C350",
            1024: "C148 0000 428C 0000 4248 0000",
            1032: "4391 0000",
            1283: "0004",
        },
    ),
    # Total = high x 65536 + low, low first.
    Frames(
        "spirax_tva",
        {
            "steam_mass_kg": 1_234_567.0,
            "steam_flow_kgh": 3000.0,
            "steam_pressure_bar": 7.03,
            "steam_temperature_c": 170.5,
            "thermal_power_kw": 2316.0,
            "heating_energy_kwh": 100_000.0,
            "alarm_code": 2.0,
        },
        holding={0: "D687 0012 0BB8 02BF 06A9 7530 090C 86A0 0001 0002 0000 00C8"},
    ),
    # 1234.5 is 449A 5000h.
    Frames(
        "suto_s401",
        {"air_flow_nm3h": 1234.5, "air_volume_nm3": 1_234_567.0},
        holding={6: "5000 449A D687 0012"},
    ),
    Frames(
        "kamstrup_multical603",
        {
            "water_flow_m3h": 12.25,
            "thermal_power_kw": 290.0,
            "supply_temperature_c": 70.0,
            "return_temperature_c": 50.0,
        },
        holding={0: "4144 0000", 4: "4391 0000 428C 0000 4248 0000"},
    ),
    # The worked example of the manual: 912,351 counts at 2,000 a kWh. A channel without impulses per unit has no value.
    Frames(
        "sbc_pcd7_h104d",
        {"pulse_1_total": 456.1755, "pulse_2_total": 10.0, "pulse_3_total": 7.0, "pulse_4_total": None},
        holding={27: "000D EBDF 0000 0064 0000 0007 0000 0005", 35: "07D0 000A 0001 0000"},
    ),
    Frames(
        "vpinstruments_vpflowscope",
        {
            "flow_velocity_m_s": 25.4,
            "air_flow_nm3h": 1234.5,
            "line_pressure_bar": 7.1,
            "air_volume_nm3": 98_765_432.1,
        },
        holding={16: "0000 00FE", 17: "0000 3039", 32: "0000 0047", 128: "3ADE 68B1"},
    ),
    Frames(
        "kipp_zonen_smp",
        {"alarm_code": 16.0, "irradiance_w_m2": 987.6, "sensor_temperature_c": 23.4},
        input={3: "0010 0001 2694", 8: "00EA"},
    ),
    Frames(
        "mbmet500",
        {"irradiance_w_m2": 800.0, "sensor_temperature_c": 25.5},
        holding={10: "4448 0000 41CC 0000"},
    ),
)


@pytest.mark.parametrize("frames", CASES, ids=lambda frames: frames.profile)
def test_a_documented_answer_means_what_the_document_says(frames: Frames) -> None:
    values, quality = decode(frames.profile, frames.holding, frames.input)
    assert set(values) == set(frames.expected)
    for name, expected in frames.expected.items():
        assert values[name] == (None if expected is None else pytest.approx(expected, rel=1e-7, abs=1e-6)), name
    assert quality == (Quality.NOT_AVAILABLE if None in frames.expected.values() else Quality.GOOD)


CASE_OF = {frames.profile: frames for frames in CASES}


def value_of(name: str, quantity: str, **changes: Hex) -> float | None:
    """Decode one quantity of a case with other registers in one of its tables."""
    case = CASE_OF[name]
    values, _ = decode(name, {**case.holding, **changes.get("holding", {})}, {**case.input, **changes.get("input", {})})
    return values[quantity]


@pytest.mark.parametrize(
    ("profile_name", "table", "address", "states"),
    [
        (
            "carrier_23xrv",
            "holding",
            40,
            {
                "0000": OFF,
                "0001": STANDBY,
                "0002": STANDBY,
                "0003": STANDBY,
                "0004": STARTING,
                "0006": STARTING,
                "0007": RUNNING,
                "0008": THROTTLED,
                "0009": RUNNING,
                "000A": STOPPING,
                "000B": FAULT,
                "000D": SERVICE,
                "000E": FAULT,
                "000F": None,  # reset has no canonical state
                "0010": SERVICE,
                "0011": None,
            },
        ),
        ("midea_m_thermal", "holding", 100, {"001D 0000": OFF, "001D 0002": RUNNING, "001D 0001": None}),
        (
            "york_ipu2",
            "input",
            538,
            {
                "0000 0000": None,  # normal says nothing about running
                "0001 0000": OFF,
                "0005 0000": FAULT,
                "0009 0000": STANDBY,
                "000C 0000": SERVICE,
                "0010 0000": THROTTLED,
                "0013 0000": None,
            },
        ),
        ("york_yews", "holding", 101, {"0000": OFF, "0100": RUNNING, "0120": RUNNING, "0020": FAULT, "0001": OFF}),
        ("york_yhau", "holding", 21, {"0000": OFF, "0002": RUNNING, "0003": None}),
        (
            "bitzer_cm_rc",
            "input",
            102,
            {"0007": OFF, "1007": STARTING, "1807": RUNNING, "2000": FAULT, "2800": RUNNING},
        ),
        ("trane_rthd", "input", 8, {"3602": RUNNING, "3601": STARTING, "0003": STOPPING, "0004": SERVICE}),
    ],
)
def test_run_states_are_the_vendors_codes_and_bits(
    profile_name: str, table: str, address: int, states: Mapping[str, float | None]
) -> None:
    case = CASE_OF[profile_name]
    # Trane's status word stands last in a run of words, which is written whole.
    before = "020A 023D 02E4 0316 " if profile_name == "trane_rthd" else ""
    at = 4 if before else address
    assert at in (case.holding if table == "holding" else case.input)
    for code, state in states.items():
        assert value_of(profile_name, "run_state", **{table: {at: before + code}}) == state, code


@pytest.mark.parametrize(
    ("name", "table", "frames", "expected"),
    [
        (
            "carrier_30ev",
            "input",
            {3: "FFFD FFFE", 7: "FFFB 0041", 10: "FFF8"},
            {
                "chilled_water_leaving_temperature_c": -3.0,
                "chilled_water_entering_temperature_c": -2.0,
                "suction_temperature_c": -5.0,
                "evaporator_refrigerant_temperature_c": -8.0,
            },
        ),
        (
            "york_ipu2",
            "input",
            {514: "FFEC FFF6", 517: "FF9C FFD6", 553: "FFE2"},
            {
                "chilled_water_leaving_temperature_c": -2.0,
                "chilled_water_entering_temperature_c": -1.0,
                "suction_temperature_c": -10.0,
                "chilled_water_setpoint_c": -3.0,
            },
        ),
        # -4 degF is -20 degC.
        (
            "york_ipu2_imperial",
            "input",
            {517: "FFD8 FFD8"},
            {"suction_temperature_c": -20, "ambient_temperature_c": -20},
        ),
        (
            "york_yews",
            "holding",
            {103: "0122 FFFE 0262", 121: "0154 FFFC"},
            {"chilled_water_entering_temperature_c": -0.2, "chilled_water_leaving_temperature_c": -0.4},
        ),
        ("bitzer_cm_rc", "input", {12003: "FFCE"}, {"condenser_refrigerant_temperature_c": -5.0}),
        ("datakom_dk40", "holding", {8: "FFF6"}, {"airend_temperature_c": -10.0}),
        (
            "kaeser_sigma_control",
            "holding",
            {40: "FF38 FF9C FF9C"},
            {"discharge_pressure_bar": -0.2, "sump_pressure_bar": -0.1, "airend_temperature_c": -10.0},
        ),
        ("mm_rwb", "holding", {4: "D8FF D8FF"}, {"discharge_temperature_c": -20.0, "oil_temperature_c": -20.0}),
        (
            "kipp_zonen_smp",
            "input",
            {3: "0000 0001 FFF4", 8: "FFCE"},
            {"irradiance_w_m2": -1.2, "sensor_temperature_c": -5},
        ),
    ],
)
def test_values_below_zero_are_signed(name: str, table: str, frames: Hex, expected: Mapping[str, float]) -> None:
    for quantity, value in expected.items():
        assert value_of(name, quantity, **{table: frames}) == pytest.approx(value), quantity


def test_midea_energy_is_in_hundredths_on_r290_units_and_in_whole_kwh_on_the_others() -> None:
    for code in range(11):
        energy = value_of("midea_m_thermal", "energy_import_kwh", holding={189: f"0044 {code:04X}"})
        assert energy == (317.18 if code in {3, 4, 5, 6, 9} else 31718.0)
        assert value_of("midea_m_thermal", "cooling_energy_kwh", holding={189: f"0044 {code:04X}"}) == (
            655.36 if code in {3, 4, 5, 6, 9} else 65536.0
        )
    assert value_of("midea_m_thermal", "energy_import_kwh", holding={189: "0044 000B"}) is None


def test_midea_temperatures_are_in_tenths_while_bit_8_of_register_189_is_set() -> None:
    tenths = {104: "0118 0141", 107: "FFE2 025B FFFE", 189: "0144 0003"}
    values, quality = decode("midea_m_thermal", {**CASE_OF["midea_m_thermal"].holding, **tenths})
    assert values["chilled_water_entering_temperature_c"] == pytest.approx(28.0)
    assert values["chilled_water_leaving_temperature_c"] == pytest.approx(32.1)
    assert values["ambient_temperature_c"] == pytest.approx(-3.0)
    assert values["discharge_temperature_c"] == pytest.approx(60.3)
    assert values["suction_temperature_c"] == pytest.approx(-0.2)
    assert quality == Quality.GOOD


def test_midea_sensors_that_are_not_fitted_are_no_values_and_cooling_power_counts_like_heating_power() -> None:
    for absent in ("FFFF", "00FF"):
        missing = {104: f"{absent} {absent}", 116: f"{absent} {absent}"}
        values, quality = decode("midea_m_thermal", {**CASE_OF["midea_m_thermal"].holding, **missing})
        assert [name for name, value in values.items() if value is None] == [
            "chilled_water_entering_temperature_c",
            "chilled_water_leaving_temperature_c",
            "condenser_pressure_bar",
            "evaporator_pressure_bar",
        ]
        assert quality == Quality.NOT_AVAILABLE
    assert value_of("midea_m_thermal", "active_power_kw", holding={150: "0000", 181: "0064"}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("units", "pressure_bar", "temperature_c"),
    [
        ("0000 0000", 104 * 0.0689475729, (195 - 32) / 1.8),
        ("0001 0001", 10.4, 195.0),
        ("0002 0001", 10.4 * 0.980665, 195.0),
        ("0003 0002", None, None),
    ],
)
def test_ingersoll_rand_units_are_what_the_controller_is_set_to(
    units: str, pressure_bar: float | None, temperature_c: float | None
) -> None:
    set_so = {2: "0068 006A", 5: "00B0 00C3 005F", 93: units}
    pressure = value_of("ingersoll_rand_xe", "discharge_pressure_bar", holding=set_so)
    temperature = value_of("ingersoll_rand_xe", "airend_temperature_c", holding=set_so)
    assert pressure == (None if pressure_bar is None else pytest.approx(pressure_bar))
    assert temperature == (None if temperature_c is None else pytest.approx(temperature_c))


def test_a_carrier_temperature_of_0_degf_is_an_absent_sensor() -> None:
    for absent in ("C18E 38E4", "C18E 3D71"):
        assert value_of("carrier_23xrv", "condenser_water_leaving_temperature_c", input={62: absent}) is None
    assert value_of("carrier_23xrv", "condenser_water_leaving_temperature_c", input={62: "0000 0000"}) == 0.0


def test_a_york_value_of_0_does_not_apply_to_the_machine_but_its_fault_code_does() -> None:
    nothing = {514: "0000 0000", 517: "0000 0000", 538: "0011 0000", 553: "0000"}
    values, quality = decode("york_ipu2", None, nothing)
    assert {name for name, value in values.items() if value is not None} == {"run_state", "alarm_code"}
    assert values["alarm_code"] == 0.0
    assert quality == Quality.NOT_AVAILABLE


def test_a_york_absorption_machine_below_zero_output_has_no_capacity() -> None:
    assert value_of("york_yhau", "capacity_percent", holding={23: "FF9C"}) is None


def test_a_kaeser_alarm_in_any_of_the_five_words_shows() -> None:
    for words in ("0001 0000 0000 0000 0000", "0000 0000 8000 0000 0000", "0000 0000 0000 0000 0004"):
        alarm = value_of("kaeser_sigma_control", "alarm_code", holding={20: words})
        assert alarm is not None
        assert alarm > 0


def test_zero_is_no_value_for_an_mbmet500_temperature_and_darkness_for_its_irradiance() -> None:
    values, _ = decode("mbmet500", {10: "0000 0000 0000 0000"})
    assert values == {"irradiance_w_m2": 0.0, "sensor_temperature_c": None}


def test_a_kamstrup_register_of_nan_is_no_value() -> None:
    assert value_of("kamstrup_multical603", "water_flow_m3h", holding={0: "7FC0 0000"}) is None


@pytest.mark.parametrize(
    ("name", "what", "words", "said"),
    [
        ("carrier_30ev", "firmware", "0069", "105"),
        ("midea_m_thermal", "firmware", "002E", "46"),
        ("midea_m_thermal", "model", "0003", "3"),
        ("thermalcare_accuchiller", "firmware", "3FC0 0000", "1.5"),
        ("spirax_tva", "model", "0000", "0"),
        ("spirax_tva", "firmware", "00C8", "200"),
        ("sbc_pcd7_h104d", "serial", "00BC 614E", "12345678"),
        ("sbc_pcd7_h104d", "firmware", "000A", "10"),
        ("kipp_zonen_smp", "model", "0279", "633"),
    ],
)
def test_devices_say_who_they_are(name: str, what: str, words: str, said: str) -> None:
    registers = map_of(name)
    (register,) = (each for each in registers.identity if each.what == what)
    assert decode_identity(register, answer({0: words}, 0, register.length), registers) == said


@pytest.mark.parametrize("name", sorted(CASE_OF))
def test_no_read_crosses_what_the_device_refuses(name: str) -> None:
    registers = map_of(name)
    for interval_s in (1.0, 10.0):
        reads = Reads(registers, interval_s, None)
        for rates in ((), reads.rates_s):
            for block in (request.block for request in reads.requests(rates)):
                assert block.count <= registers.max_registers
                for barred in registers.forbidden:
                    apart = block.address > barred.last or block.address + block.count <= barred.first
                    assert apart or block.table is not barred.table, (name, block.address, block.count)


def test_devices_whose_points_overlap_are_read_one_by_one() -> None:
    for name, requests in (("carrier_23xrv", 7), ("vpinstruments_vpflowscope", 4), ("york_yhau", 8)):
        registers = map_of(name)
        reads = Reads(registers, 1.0, None)
        blocks = [request.block for request in reads.requests(reads.rates_s)]
        assert len(blocks) == requests
        assert all(len(block.targets) == 1 for block in blocks)
