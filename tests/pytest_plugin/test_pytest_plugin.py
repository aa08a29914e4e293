"""The fixtures as somebody else's tests use them, in a pytest of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

# A collector of somebody else: plain functions, a client and a codec that are not ours.
TESTS = """
from datetime import datetime, timedelta, timezone
import struct
import time

import pytest
from pymodbus.client import ModbusTcpClient


def read_f32(address, register):
    client = ModbusTcpClient(address.host, port=address.port)
    assert client.connect()
    try:
        found = client.read_holding_registers(register, count=2, device_id=address.unit_id)
        assert not found.isError()
        return struct.unpack(">f", struct.pack(">HH", *found.registers))[0]
    finally:
        client.close()


def test_a_device_shows_what_it_is_told(emsd_device):
    meter = emsd_device("schneider_pm5560", unit_id=3, active_power_kw=123.4)
    assert meter.values["active_power_kw"] == 123.4
    assert read_f32(meter, 3060 - 1) == pytest.approx(meter.truth["active_power_kw"]) == pytest.approx(123.4)
    meter.set(active_power_kw=-5.0)
    assert read_f32(meter, 3060 - 1) == pytest.approx(-5.0)
    assert meter.requests == 2
    other = emsd_device("abb_b23")
    assert (other.host, other.port) != (meter.host, meter.port)
    with pytest.raises(Exception, match="has no room_pressure_pa"):
        meter.set(room_pressure_pa=1.0)
    with pytest.raises(KeyError, match="no profile"):
        emsd_device("acme_3000")


def test_a_plant_and_what_is_true_of_it(emsd_plant):
    assert emsd_plant.modbus_meters == ["incomer", "tools", "compressor", "pv"]
    power_kw = read_f32(emsd_plant.address("incomer"), 3060 - 1)
    now = datetime.now(timezone.utc)
    assert power_kw == pytest.approx(emsd_plant.true_values("incomer", now)["active_power_kw"], abs=20)
    hour_ago = now - timedelta(hours=1)
    meters = {key: emsd_plant.true_energy_kwh(key, hour_ago, now) for key in emsd_plant.modbus_meters}
    assert meters["tools"].import_kwh > 1
    assert meters["pv"].import_kwh == 0
    assert emsd_plant.count_kwh("compressor") == pytest.approx(0.01)
    assert emsd_plant.requests["incomer"] == 1
    assert emsd_plant.control_url.startswith("http://127.0.0.1:")
    with pytest.raises(KeyError, match="no Modbus meter"):
        emsd_plant.address("nobody")


@pytest.mark.emsd_plant("hall.yaml", seed=9)
def test_a_plant_of_ones_own(emsd_plant):
    assert emsd_plant.modbus_meters == ["lamps"]


async def test_coroutines_too(emsd_device):
    assert emsd_device("eastron_sdm630").port > 0
"""
HALL = """
version: 1
site: {name: Hall, time_zone: UTC, carbon_region: DE}
areas: [{key: hall, name: Hall}]
assets: [{key: lamps, name: Lamps, kind: lighting, area: hall, rated_power_kw: 20}]
connections: [{key: board, host: 127.0.0.1, port: 15099}]
meters: [{key: lamps, name: Lamps, asset: lamps, profile: abb_b23, connection: board, unit_id: 1}]
"""


def test_others_test_their_collectors_with_a_plant_and_with_devices(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(TESTS)
    pytester.path.joinpath("hall.yaml").write_text(HALL)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    result = pytester.runpytest_subprocess(
        "-p", "emsd.pytest_plugin", "-p", "pytest_asyncio.plugin", "--strict-markers", timeout=120
    )
    result.assert_outcomes(passed=4)


def test_pytest_finds_the_plugin_and_the_extra_brings_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"emsd": "emsd.pytest_plugin"}
    assert any(each.startswith("pytest") for each in project["optional-dependencies"]["simulator"])
