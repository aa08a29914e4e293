"""Power meters and inverters: answers written here by hand, in hex, and what the vendor's list says of them.

What a document quotes says so: ABB's worked frame of reactive power.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from collectors.modbus.device import decode_identity, decode_parameter
from collectors.modbus.reads import Reads
from emsd.plant.modbus_map import ModbusMap
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import Quality
from tests.collectors.support import profile

RATED_KW = 5000.0

Words = Mapping[int, str]
"""What a device answers: words in hex by the address that they begin at."""


def map_of(name: str) -> ModbusMap:
    found = profile(name).modbus
    assert found is not None
    return found


def answer(words: Words, address: int, count: int, *, hole: int = 0) -> bytes:
    """Return the bytes of an answer."""
    registers = {at + place: int(word, 16) for at, text in words.items() for place, word in enumerate(text.split())}
    return b"".join(registers.get(address + at, hole).to_bytes(2, "big") for at in range(count))


def decode(name: str, words: Words, *, hole: int = 0) -> tuple[dict[str, float | None], int]:
    """Decode all points of a profile: first the parameters of the device, then the blocks as they are planned."""
    registers = map_of(name)
    reads = Reads(registers, 1.0, RATED_KW)
    known = {
        each.name: decode_parameter(each, answer(words, each.address, each.type.registers), registers)
        for each in registers.parameters
    }
    reads.settle({each: value for each, value in known.items() if value is not None})
    values: dict[str, float | None] = {}
    quality = 0
    for request in reads.requests(reads.rates_s):
        got, flags, _ = request.decoder.decode(answer(words, request.block.address, request.block.count, hole=hole))
        values |= dict(zip(request.names, got, strict=True))
        quality |= flags
    return values, quality


def state(name: RunState) -> float:
    return RUN_STATE_CODES[name]


ADL3000 = {
    10: "0001 E240",
    20: "0000 0064",
    40: "0000 03E8",
    50: "0000 0001",
    97: "08FD 08FE 08FF 00C8 00C9 00CA 01F4 FE0C 0001 01F5",
    110: "FFCE",
    114: "0200",
    118: "FC18 1388",
}


def test_acrel_adl3000_multiplies_by_the_current_ratio_that_the_meter_has() -> None:
    values, quality = decode("acrel_adl3000", ADL3000 | {331: "0000 00C8"})
    assert values == pytest.approx(
        {
            "energy_import_kwh": 246_912.0,  # 123456 x 0.01 x 200
            "energy_export_kwh": 200.0,
            "reactive_energy_import_kvarh": 2000.0,
            "reactive_energy_export_kvarh": 2.0,
            "voltage_l1_n_v": 230.1,
            "voltage_l2_n_v": 230.2,
            "voltage_l3_n_v": 230.3,
            "current_l1_a": 400.0,
            "current_l2_a": 402.0,
            "current_l3_a": 404.0,
            "active_power_l1_kw": 100.0,
            "active_power_l2_kw": -100.0,
            "active_power_l3_kw": 0.2,
            "active_power_kw": 100.2,
            "reactive_power_kvar": -10.0,
            "apparent_power_kva": 102.4,
            "power_factor": -1.0,
            "frequency_hz": 50.0,
        }
    )
    assert quality == Quality.GOOD


@pytest.mark.parametrize("ratio", ["0000 0000", "FFFF FFFF"])
def test_acrel_adl3000_has_no_power_while_its_ratio_is_not_to_be_believed(ratio: str) -> None:
    values, quality = decode("acrel_adl3000", ADL3000 | {331: ratio})
    known = {name for name, value in values.items() if value is not None}
    assert known == {"voltage_l1_n_v", "voltage_l2_n_v", "voltage_l3_n_v", "power_factor", "frequency_hz"}
    assert quality == Quality.NOT_AVAILABLE


def test_acrel_adw300_integers_in_watts_and_hundredths_of_a_kilowatt_hour() -> None:
    values, quality = decode(
        "acrel_adw300",
        {
            20: "08FD 08FE 08FF",
            26: "2710 2711 2712",
            30: "0000 2710 FFFF D8F0 0000 0001 0000 E290",
            62: "0001 E240 0000 0001",
        },
    )
    assert values == {
        "voltage_l1_n_v": 230.1,
        "voltage_l2_n_v": 230.2,
        "voltage_l3_n_v": 230.3,
        "current_l1_a": 100.0,
        "current_l2_a": 100.01,
        "current_l3_a": 100.02,
        "active_power_l1_kw": 10.0,
        "active_power_l2_kw": -10.0,
        "active_power_l3_kw": 0.001,
        "active_power_kw": 58.0,
        "energy_import_kwh": 1234.56,
        "energy_export_kwh": 0.01,
    }
    assert quality == Quality.GOOD


VOLTS = "4366 8000 4367 8000 4368 8000"  # 230.5 231.5 232.5
LINE_VOLTS = "43C8 4000 43C8 C000 43C9 4000"  # 400.5 401.5 402.5
AMPERES = "42CB 0000 42CD 0000 42CF 0000"  # 101.5 102.5 103.5
WATTS = "4624 1000 4633 B000 4643 5000"  # 10500 11500 12500
PHASES = {
    "voltage_l1_n_v": 230.5,
    "voltage_l2_n_v": 231.5,
    "voltage_l3_n_v": 232.5,
    "voltage_l1_l2_v": 400.5,
    "voltage_l2_l3_v": 401.5,
    "voltage_l3_l1_v": 402.5,
    "current_l1_a": 101.5,
    "current_l2_a": 102.5,
    "current_l3_a": 103.5,
    "active_power_l1_kw": 10.5,
    "active_power_l2_kw": 11.5,
    "active_power_l3_kw": 12.5,
    "active_power_kw": 34.5,
    "apparent_power_kva": 35.25,
    "reactive_power_kvar": -7.25,
    "frequency_hz": 50.03125,
    "voltage_thd_percent": 1.25,
    "current_thd_percent": 3.5,
}


def test_janitza_umg96rm_floats_in_watts_and_watt_hours() -> None:
    values, quality = decode(
        "janitza_umg96rm",
        {
            834: "3F78 0000",
            19000: f"{VOLTS} {LINE_VOLTS} {AMPERES} 3E80 0000 {WATTS} 4706 C400",
            19034: "4709 B200",
            19042: "C5E2 9000",
            19050: "4248 2000",
            19068: "4A74 2400",
            19076: "451C 4000",
            19084: "4A7A 3E80",
            19110: "3FA0 0000",
            19116: "4060 0000",
        },
    )
    assert values == PHASES | {
        "current_n_a": 0.25,
        "power_factor": 0.96875,
        "energy_import_kwh": 4000.0,
        "energy_export_kwh": 2.5,
        "apparent_energy_import_kvah": 4100.0,
    }
    assert quality == Quality.GOOD


SIEMENS = {
    1: f"{VOLTS} {LINE_VOLTS} {AMPERES}",
    25: WATTS,
    43: "3FA0 0000",
    49: "4060 0000",
    55: "4248 2000",
    63: "4709 B200 4706 C400 C5E2 9000 3F78 0000",
    # 123456789 Wh at the high tariff and 987654321 Wh at the low one; 1500 and 500 Wh delivered.
    801: "419D 6F34 5400 0000 41CD 6F34 5880 0000 4097 7000 0000 0000 407F 4000 0000 0000",
    817: "0000 0000 0000 0000 407F 4000 0000 0000 4097 7000 0000 0000 4097 7000 0000 0000",
    833: "41CD 6F34 5880 0000 0000 0000 0000 0000",
}


def test_siemens_pac3200_adds_the_doubles_of_both_tariffs() -> None:
    values, quality = decode("siemens_pac3200", SIEMENS)
    assert values == PHASES | {
        "power_factor": 0.96875,
        "energy_import_kwh": 1_111_111.11,
        "energy_export_kwh": 2.0,
        "reactive_energy_import_kvarh": 0.5,
        "reactive_energy_export_kvarh": 3.0,
        "apparent_energy_import_kvah": 987_654.321,
    }
    assert quality == Quality.GOOD


def test_siemens_pac3200_has_no_import_while_one_tariff_is_no_number() -> None:
    values, quality = decode("siemens_pac3200", SIEMENS | {805: "7FF8 0000 0000 0000"})
    assert values["energy_import_kwh"] is None
    assert values["energy_export_kwh"] == 2.0
    assert quality == Quality.NOT_AVAILABLE


def test_siemens_pac3200_counters_overflow_at_a_terawatt_hour() -> None:
    """Manual A5E01168664B: every energy counter overflows at 1.0e12 Wh."""
    pac3200 = profile("siemens_pac3200")
    assert pac3200.counter_modulus("energy_import_kwh") == 1e9
    assert pac3200.counter_modulus("energy_export_kwh") == 1e9


def test_schneider_pm5110_floats_in_kilowatts_and_kilowatt_hours() -> None:
    values, quality = decode(
        "schneider_pm5110",
        {
            2699: "47F1 2040 422A 0000",
            2707: "447A 1000 40F0 0000",
            2715: "47FD E800",
            2999: f"{AMPERES} 3E80 0000",
            3019: LINE_VOLTS,
            3027: VOLTS,
            3053: "4128 0000 4138 0000 4148 0000 420A 0000",
            3067: "C0E8 0000",
            3075: "420D 0000",
            3083: "3F84 0000",
            3109: "4248 2000",
            21299: "4060 0000",
            21321: "3FA0 0000",
        },
    )
    assert values == PHASES | {
        "current_n_a": 0.25,
        "power_factor": 0.96875,  # 1.03125 is 2 - 1.03125, leading
        "energy_import_kwh": 123_456.5,
        "energy_export_kwh": 42.5,
        "reactive_energy_import_kvarh": 1000.25,
        "reactive_energy_export_kvarh": 7.5,
        "apparent_energy_import_kvah": 130_000.0,
    }
    assert quality == Quality.GOOD


def test_abb_b23_reactive_power_of_the_manuals_worked_frame() -> None:
    """ABB A43/A44 user manual 2CMC485001M0201, p. 170: FF FF D0 4A is -122.14 var."""
    values, _ = decode("abb_b23", {23324: "FFFF D04A"})
    assert values["reactive_power_kvar"] == -0.12214


HUAWEI = {
    32016: "1A0A",
    32064: "0000 E6A0",
    32066: "0FA5 0FAF 0FB9 0901 0907 090D",
    32072: "0001 469C FFFE B964 0001 469D",
    32080: "0000 E290 FFFF FB2E",
    32085: "1389",
    32087: "01C3",
    32089: "0200 0000",
    32106: "149A A435",
}


def test_huawei_sun2000_generation_is_negative_and_its_energy_is_export() -> None:
    values, quality = decode("huawei_sun2000", HUAWEI)
    assert values == {
        "dc_voltage_v": 666.6,
        "dc_power_kw": 59.04,
        "voltage_l1_l2_v": 400.5,
        "voltage_l2_l3_v": 401.5,
        "voltage_l3_l1_v": 402.5,
        "voltage_l1_n_v": 230.5,
        "voltage_l2_n_v": 231.1,
        "voltage_l3_n_v": 231.7,
        "current_l1_a": 83.612,
        "current_l2_a": -83.612,
        "current_l3_a": 83.613,
        "active_power_kw": -58.0,
        "reactive_power_kvar": 1.234,
        "frequency_hz": 50.01,
        "cabinet_temperature_c": 45.1,
        "run_state": state(RunState.RUNNING),
        "alarm_code": 0.0,
        "energy_export_kwh": 3_456_789.01,
    }
    assert quality == Quality.GOOD


def test_huawei_sun2000_tests_its_sentinels_before_the_scale() -> None:
    night = {
        32016: "7FFF",
        32064: "7FFF FFFF",
        32072: "7FFF FFFF 7FFF FFFF 7FFF FFFF",
        32080: "7FFF FFFF 7FFF FFFF",
        32087: "7FFF",
        32089: "A000",
    }
    values, quality = decode("huawei_sun2000", night, hole=0xFFFF)
    assert {name for name, value in values.items() if value is not None} == {"run_state"}
    assert values["run_state"] == state(RunState.STANDBY)
    assert quality == Quality.NOT_AVAILABLE
    # What SunSpec says for "not implemented" is an ordinary number here.
    assert decode("huawei_sun2000", {32087: "FF9C"})[0]["cabinet_temperature_c"] == -10.0
    assert decode("huawei_sun2000", {32080: "8000 0001"})[1] & Quality.IMPLAUSIBLE


SMA = {
    30513: "0000 0002 DFDC 1C35",
    30771: "0001 0464",
    30775: "0000 E290 0000 4B85 0000 4B86 0000 4B85",
    30783: "0000 5A0A 0000 5A46 0000 5A82",
    30803: "0000 1389 FFFF FB2E",
    30813: "0000 E29D",
    30953: "0000 01C3",
    40029: "0000 0127",
}


def test_sma_tripower_counts_in_64_bits_and_generation_is_negative() -> None:
    values, quality = decode("sma_tripower", SMA)
    assert values == {
        "energy_export_kwh": 12_345_678.901,
        "dc_voltage_v": 666.6,
        "active_power_kw": -58.0,
        "active_power_l1_kw": -19.333,
        "active_power_l2_kw": -19.334,
        "active_power_l3_kw": -19.333,
        "voltage_l1_n_v": 230.5,
        "voltage_l2_n_v": 231.1,
        "voltage_l3_n_v": 231.7,
        "frequency_hz": 50.01,
        "reactive_power_kvar": 1.234,
        "apparent_power_kva": 58.013,
        "cabinet_temperature_c": 45.1,
        "run_state": state(RunState.RUNNING),
    }
    assert quality == Quality.GOOD


def test_sma_tripower_at_night_says_that_it_does_not_know() -> None:
    nothing = "8000 0000"
    night = {
        30513: "0000 0002 DFDC 1C35",
        30771: nothing,
        30775: " ".join([nothing] * 4),
        30783: "FFFF FFFF FFFF FFFF FFFF FFFF",
        30803: f"FFFF FFFF {nothing}",
        30813: nothing,
        30953: nothing,
        40029: "00FF FFFD",
    }
    values, quality = decode("sma_tripower", night)
    assert {name for name, value in values.items() if value is not None} == {"energy_export_kwh"}
    assert quality == Quality.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("code", "canonical"),
    [
        ("0000 00EB", RunState.RUNNING),  # 235 grid operation
        ("0000 012F", RunState.OFF),  # 303
        ("0000 0571", RunState.STANDBY),  # 1393 waiting for PV voltage
        ("0000 0570", RunState.FAULT),  # 1392
        ("0000 05BB", RunState.STARTING),  # 1467
        ("0000 0847", RunState.THROTTLED),  # 2119 derating
        ("0000 0001", None),
    ],
)
def test_sma_tripower_states(code: str, canonical: RunState | None) -> None:
    assert decode("sma_tripower", SMA | {40029: code})[0]["run_state"] == (
        None if canonical is None else state(canonical)
    )


SUNGROW = {
    5005: "2710 0001 01C3 E29D 0000 1A0A",
    5016: "E6A0 0000 0901 0907 090D 0344 0345 FCBC",
    5030: "E290 0000 FB2E FFFF",
    5037: "0000",
    5044: "0000",
    5143: "E240 0001",
    5147: "1389",
}


def test_sungrow_sg110cx_has_the_low_word_first() -> None:
    values, quality = decode("sungrow_sg110cx", SUNGROW)
    assert values == {
        "running_hours_h": 75_536.0,
        "cabinet_temperature_c": 45.1,
        "apparent_power_kva": 58.013,
        "dc_voltage_v": 666.6,
        "dc_power_kw": 59.04,
        "voltage_l1_n_v": 230.5,
        "voltage_l2_n_v": 231.1,
        "voltage_l3_n_v": 231.7,
        "current_l1_a": 83.6,
        "current_l2_a": 83.7,
        "current_l3_a": -83.6,
        "active_power_kw": -58.0,
        "reactive_power_kvar": 1.234,
        "run_state": state(RunState.RUNNING),
        "alarm_code": 0.0,
        "energy_export_kwh": 12_345.6,
        "frequency_hz": 50.01,
    }
    assert quality == Quality.GOOD


def test_sungrow_sg110cx_what_a_dongle_corrupts_is_no_value() -> None:
    """AlexanderLanin/homeassistant-sungrow: a WiNet-S gave 500.1 for 50.0 Hz, and -1 where a meter was missing."""
    corrupt = SUNGROW | {5021: "FFFF 7FFF 0345", 5032: "FFFF FFFF", 5147: "C35A"}
    values, quality = decode("sungrow_sg110cx", corrupt)
    assert [values[name] for name in ("current_l1_a", "current_l2_a", "current_l3_a")] == [None, None, 83.7]
    assert values["reactive_power_kvar"] is None
    assert values["frequency_hz"] is None
    assert quality == Quality.NOT_AVAILABLE | Quality.IMPLAUSIBLE


@pytest.mark.parametrize(
    ("code", "canonical"),
    [
        ("8000", RunState.OFF),
        ("1300", RunState.OFF),
        ("1400", RunState.STANDBY),
        ("1600", RunState.STARTING),
        ("8100", RunState.THROTTLED),
        ("5500", RunState.FAULT),
        ("FFFF", None),
    ],
)
def test_sungrow_sg110cx_states(code: str, canonical: RunState | None) -> None:
    assert decode("sungrow_sg110cx", SUNGROW | {5037: code})[0]["run_state"] == (
        None if canonical is None else state(canonical)
    )


def test_fronius_datamanager_site_values() -> None:
    values, quality = decode("fronius_datamanager", {499: "0000 E290", 509: "0000 0002 DFDC 1C35"})
    assert values == {"active_power_kw": -58.0, "energy_export_kwh": 12_345_678.901}
    assert quality == Quality.GOOD
    values, quality = decode("fronius_datamanager", {}, hole=0xFFFF)
    assert values == {"active_power_kw": None, "energy_export_kwh": None}
    assert quality == Quality.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("name", "what", "words", "told"),
    [
        ("schneider_pm5560", "serial", {129: "0BEB C200"}, "200000000"),
        ("schneider_pm5560", "model", {49: "504D 3535 3630" + " 0000" * 17}, "PM5560"),
        ("schneider_pm5110", "serial", {129: "FFFF FFFF"}, None),
        ("carlo_gavazzi_em340", "model", {11: "0155"}, "341"),
        ("janitza_umg96rm", "firmware", {750: "0072"}, "114"),
        ("huawei_sun2000", "serial", {30015: "4856 3230 3132 3334 3536 3738 0000 0000 0000 0000"}, "HV2012345678"),
        ("sma_tripower", "serial", {30057: "7745 8F01"}, "2001047297"),
        ("sma_tripower", "model", {30053: "0000 247A"}, "9338"),
        ("sma_tripower", "model", {30053: "00FF FFFD"}, None),
        ("sungrow_sg110cx", "serial", {4989: "4132 3132 3334" + " 0000" * 7}, "A21234"),
        ("sungrow_sg110cx", "model", {4999: "2C06"}, "11270"),
    ],
)
def test_devices_say_who_they_are(name: str, what: str, words: Words, told: str | None) -> None:
    registers = map_of(name)
    register = next(each for each in registers.identity if each.what == what)
    assert decode_identity(register, answer(words, register.address, register.length), registers) == told
