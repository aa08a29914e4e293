"""The simulated devices as strangers read them: pysunspec2 with the official models, pymodbus with struct."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import sunspec2.modbus.client as sunspec
from pymodbus.client import AsyncModbusTcpClient

from emsd.plant.loader import LoadedPlant
from emsd.readings import instant_us
from simulator import Simulator
from simulator.identities import serial_number

NOON_US = instant_us(datetime(2026, 6, 3, 5, tzinfo=UTC))
NIGHT_US = instant_us(datetime(2026, 6, 3, 17, tzinfo=UTC))


async def serve(example: LoadedPlant, now_us: int) -> AsyncIterator[Simulator]:
    meters = tuple(meter for meter in example.plant.meters if meter.topic is None)
    plant = example.plant.model_copy(update={"meters": meters})
    async with Simulator(plant, example.profiles, free_ports=True, now_us=lambda: now_us) as simulator:
        yield simulator


@pytest.fixture
async def by_day(example: LoadedPlant) -> AsyncIterator[Simulator]:
    async for simulator in serve(example, NOON_US):
        yield simulator


@pytest.fixture
async def by_night(example: LoadedPlant) -> AsyncIterator[Simulator]:
    async for simulator in serve(example, NIGHT_US):
        yield simulator


def scanned(port: int) -> dict[int, dict[str, object]]:
    """Walk the model chain and return the points of every model with their scale factors applied."""
    device = sunspec.SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=10)
    try:
        device.scan()
        found: dict[int, dict[str, object]] = {}
        for number in (1, 103, 160):
            model = device.models[number][0]
            found[number] = {name: point.cvalue for name, point in model.points.items()}
            for group in model.groups.get("module", []):
                found[number] |= {f"module.{name}": point.cvalue for name, point in group.points.items()}
        found[0] = {"models": [number for number in device.models if isinstance(number, int)]}
        return found
    finally:
        device.close()


def number(points: dict[str, object], name: str) -> float:
    value = points[name]
    assert isinstance(value, int | float), name
    return value


async def test_pysunspec2_finds_and_reads_the_inverter(by_day: Simulator) -> None:
    models = await asyncio.to_thread(scanned, by_day.ports["pv-1"])
    true = by_day.truth.quantities("pv-1-inverter", NOON_US)
    assert models[0]["models"] == [1, 120, 103, 160]
    assert models[1]["SN"] == str(serial_number(by_day.truth.seed, "pv-1-inverter"))
    assert models[1]["Vr"] == "simulated"
    inverter = models[103]
    assert true["active_power_kw"] < -50
    assert number(inverter, "W") == pytest.approx(-1000 * true["active_power_kw"], abs=51)
    assert number(inverter, "VA") == pytest.approx(1000 * true["apparent_power_kva"], abs=51)
    assert number(inverter, "VAr") == pytest.approx(-1000 * true["reactive_power_kvar"], abs=51)
    assert number(inverter, "WH") == pytest.approx(1000 * true["energy_export_kwh"], abs=1)
    assert number(inverter, "Hz") == pytest.approx(true["frequency_hz"], abs=0.006)
    for line, name in enumerate("ABC", start=1):
        assert number(inverter, f"PhVph{name}") == pytest.approx(true[f"voltage_l{line}_n_v"], abs=0.06)
        assert number(inverter, f"Aph{name}") == pytest.approx(true[f"current_l{line}_a"], abs=0.6)
    assert number(inverter, "A") == pytest.approx(sum(true[f"current_l{n}_a"] for n in (1, 2, 3)), abs=0.6)
    assert number(inverter, "DCW") == pytest.approx(1000 * true["dc_power_kw"], abs=51)
    assert number(inverter, "TmpCab") == pytest.approx(true["cabinet_temperature_c"], abs=0.6)
    assert inverter["St"] == 4  # MPPT
    assert inverter["Evt1"] == 0
    tracker = models[160]
    assert tracker["N"] == 1
    assert number(tracker, "module.DCV") == pytest.approx(true["dc_voltage_v"], abs=0.6)
    volt_amperes = number(tracker, "module.DCV") * number(tracker, "module.DCA")
    assert volt_amperes == pytest.approx(1000 * true["dc_power_kw"], rel=0.01)


async def test_an_inverter_at_night_is_off_and_generates_nothing(by_night: Simulator) -> None:
    models = await asyncio.to_thread(scanned, by_night.ports["pv-2"])
    assert models[103]["W"] == 0
    assert models[103]["St"] == 1  # off
    true = by_night.truth.quantities("pv-2-inverter", NIGHT_US)
    assert number(models[103], "WH") == pytest.approx(1000 * true["energy_export_kwh"], abs=1)


async def registers(simulator: Simulator, connection: str, unit: int, address: int, count: int, table: str) -> bytes:
    async with AsyncModbusTcpClient("127.0.0.1", port=simulator.ports[connection], timeout=10) as client:
        read = client.read_holding_registers if table == "holding" else client.read_input_registers
        answer = await read(address, count=count, device_id=unit)
    assert not answer.isError()
    return struct.pack(f">{count}H", *answer.registers)


async def test_pymodbus_reads_a_pm5560(by_day: Simulator) -> None:
    true = by_day.truth.quantities("incomer", NOON_US)
    block = await registers(by_day, "substation", 1, 2999, 112, "holding")

    def at(address: int) -> float:
        return float(struct.unpack_from(">f", block, 2 * (address - 2999))[0])

    assert at(3059) == pytest.approx(true["active_power_kw"], rel=1e-6)
    assert at(3019) == pytest.approx(true["voltage_l1_l2_v"], rel=1e-6)
    assert at(3019) == pytest.approx(20_000, rel=0.03)
    assert at(3003) == pytest.approx(true["current_l3_a"], rel=1e-6)
    assert at(3109) == pytest.approx(true["frequency_hz"], rel=1e-6)
    assert at(3083) == pytest.approx(true["power_factor"], rel=1e-6)  # lagging: the plain value
    energy = await registers(by_day, "substation", 1, 3203, 8, "holding")
    imported, exported = struct.unpack(">qq", energy)
    assert imported == int(true["energy_import_kwh"] * 1000)
    assert exported == 0


async def test_pymodbus_reads_an_abb_b23(by_day: Simulator) -> None:
    true = by_day.truth.quantities("compressor-2-feeder", NOON_US)
    (energy,) = struct.unpack(">Q", await registers(by_day, "compressed-air", 2, 20480, 4, "holding"))
    assert energy == int(true["energy_import_kwh"] * 100)
    block = await registers(by_day, "compressed-air", 2, 23296, 45, "holding")
    volts, power = struct.unpack_from(">I", block, 0)[0], struct.unpack_from(">i", block, 40)[0]
    assert volts == pytest.approx(true["voltage_l1_n_v"] * 10, abs=0.6)
    assert power == pytest.approx(true["active_power_kw"] * 100_000, abs=0.6)
    assert struct.unpack_from(">H", block, 88)[0] == pytest.approx(true["frequency_hz"] * 100, abs=0.6)


async def test_pymodbus_reads_an_em340_low_word_first(by_day: Simulator) -> None:
    true = by_day.truth.quantities("chiller-2-feeder", NOON_US)
    block = await registers(by_day, "chilled-water", 2, 40, 2, "input")
    low, high = struct.unpack(">2H", block)
    assert high > 0
    assert (high << 16 | low) == pytest.approx(true["active_power_kw"] * 10_000, abs=0.6)
    low, high = struct.unpack(">2H", await registers(by_day, "chilled-water", 2, 52, 2, "input"))
    assert (high << 16 | low) == int(true["energy_import_kwh"] * 10)


async def test_pymodbus_reads_an_sdm630_in_watts(by_day: Simulator) -> None:
    true = by_day.truth.quantities("cleanroom-ffu", NOON_US)
    block = await registers(by_day, "cleanroom", 1, 52, 2, "input")
    assert struct.unpack(">f", block)[0] == pytest.approx(1000 * true["active_power_kw"], rel=1e-6)
    energy = struct.unpack(">f", await registers(by_day, "cleanroom", 1, 72, 2, "input"))[0]
    assert energy == pytest.approx(true["energy_import_kwh"], abs=0.05)


async def test_pymodbus_reads_machines_and_instruments(by_day: Simulator) -> None:
    truth = by_day.truth
    air = truth.quantities("compressor-1-controller", NOON_US)
    pressure = struct.unpack(">H", await registers(by_day, "compressed-air", 11, 2, 1, "holding"))[0]
    assert pressure == pytest.approx(10 * air["discharge_pressure_bar"], abs=0.6)
    hours = struct.unpack(">2H", await registers(by_day, "compressed-air", 11, 63, 2, "holding"))
    assert hours == (int(air["running_hours_h"]), int(air["loaded_hours_h"]))
    volume = struct.unpack(">i", await registers(by_day, "compressed-air", 21, 128, 2, "holding"))[0]
    assert volume == int(truth.quantities("compressor-1-flow", NOON_US)["air_volume_nm3"] * 10)
    water = truth.quantities("chiller-1-controller", NOON_US)
    leaving, entering = struct.unpack(">2H", await registers(by_day, "chilled-water", 11, 4, 2, "input"))
    assert leaving / 10 - 45 == pytest.approx(water["chilled_water_leaving_temperature_c"], abs=0.06)
    assert entering / 10 - 45 == pytest.approx(water["chilled_water_entering_temperature_c"], abs=0.06)
    mode = struct.unpack(">H", await registers(by_day, "chilled-water", 11, 8, 1, "input"))[0]
    assert mode & 0xF == 2  # running
    decimals, light = struct.unpack(">2h", await registers(by_day, "weather", 1, 4, 2, "input"))
    sun = truth.quantities("weather-pyranometer", NOON_US)["irradiance_w_m2"]
    assert light / 10**decimals == pytest.approx(sun, abs=0.06)
