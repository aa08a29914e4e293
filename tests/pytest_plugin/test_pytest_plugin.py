"""The fixtures as somebody else's tests use them, in a pytest of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from emsd.servers import PrivateMosquitto

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

# A collector of somebody else: plain functions, a client and a codec that are not ours.
TESTS = """
from datetime import datetime, timedelta, timezone
import struct
import time

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusIOException


def read_f32(address, register, timeout_s=10):
    client = ModbusTcpClient(address.host, port=address.port, timeout=timeout_s, retries=0)
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
    for ask in (emsd_plant.count_kwh, lambda key: emsd_plant.true_energy_kwh(key, hour_ago, now)):
        with pytest.raises(KeyError, match="no energy meter 'nobody'"):
            ask("nobody")
    with pytest.raises(KeyError, match="no meter 'nobody'"):
        emsd_plant.true_values("nobody", now)
    with pytest.raises(ValueError, match="has no time zone"):
        emsd_plant.true_energy_kwh("incomer", hour_ago.replace(tzinfo=None), now)


def test_a_plant_fails_as_it_is_told_to(emsd_plant):
    address = emsd_plant.address("incomer")
    with emsd_plant.fault("no_reply", meter="incomer") as fault:
        with pytest.raises(ModbusIOException):
            read_f32(address, 3060 - 1, timeout_s=0.3)
        assert fault.record.state == "in_force"
        assert fault.record.hits == 1
    assert read_f32(address, 3060 - 1) > 0
    assert fault.record.state == "over"
    fault.remove()
    with emsd_plant.fault("exception", connection="substation", after_s=3600, code=6) as later:
        assert read_f32(address, 3060 - 1) > 0
        assert later.record.state == "to_come"
    with pytest.raises(KeyError, match="removed before it began"):
        later.record
    with emsd_plant.fault("counter_reset", meter="tools") as step:
        assert step.record.meters == ("tools",)
    with pytest.raises(Exception, match="did you mean no_reply"):
        emsd_plant.fault("no_replay", meter="incomer")
    with pytest.raises(Exception, match="no meter nobody"):
        emsd_plant.fault("no_reply", meter="nobody")


def test_nothing_is_said_on_standard_output(emsd_plant, emsd_device, capsys):
    read_f32(emsd_device("schneider_pm5560"), 3060 - 1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.emsd_plant("hall.yaml", seed=9)
def test_a_plant_of_ones_own(emsd_plant):
    assert emsd_plant.modbus_meters == ["lamps"]


def test_devices_of_one_profile_publish_apart(emsd_device, emsd_broker):
    one, other = (emsd_device("shelly_gen2_triphase", active_power_kw=power) for power in (1.0, 2.0))
    assert not set(one.topics) & set(other.topics)
    named = emsd_device("shelly_gen2_triphase", topic="hall/shelly-1")
    assert all(topic.startswith("hall/shelly-1/") for topic in named.topics)
    for device in (one, other, named):
        assert (device.host, device.port) == emsd_broker
        device.publish()


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


def inner(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the tests in the folder as somebody else does who has the plugin."""
    return pytester.runpytest_subprocess("-p", "emsd.pytest_plugin", *arguments, timeout=120)


@pytest.fixture(autouse=True)
def only_plugins_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_others_test_their_collectors_with_a_plant_and_with_devices(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mosquitto: PrivateMosquitto
) -> None:
    monkeypatch.setenv("EMSD_TEST_MQTT_URL", mosquitto.url)
    pytester.makepyfile(TESTS)
    pytester.path.joinpath("hall.yaml").write_text(HALL)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    inner(pytester, "-p", "pytest_asyncio.plugin", "--strict-markers").assert_outcomes(passed=7)


def test_what_is_missing_or_wrong_is_said_in_a_sentence_with_its_cure(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nemsd_broker = mqtts://user:secret@example.org\n")
    pytester.makepyfile(
        test_broker="def test_broker(emsd_broker): ...",
        test_plant="""
            import pytest
            @pytest.mark.emsd_plant("nowhere.yaml")
            def test_plant(emsd_plant): ...
        """,
        test_without_extra="""
            import sys
            sys.modules["pvlib"] = None
            def test_device(emsd_device): ...
        """,
    )
    of_each = {name: inner(pytester, f"{name}.py") for name in ("test_broker", "test_plant", "test_without_extra")}
    for result in of_each.values():
        result.assert_outcomes(errors=1)
        result.stdout.no_fnmatch_line("*Traceback*")
        result.stdout.no_fnmatch_line("*secret*")
    of_each["test_broker"].stdout.fnmatch_lines(
        ["emsd_broker, or EMSD_TEST_MQTT_URL, is mqtt://host:port of a broker*"]
    )
    of_each["test_plant"].stdout.fnmatch_lines(["emsd_plant: *nowhere.yaml: cannot be read*"])
    of_each["test_without_extra"].stdout.fnmatch_lines(
        ["simulated devices need pvlib*; install it with `pip install 'emsd[[]simulator]'`"]
    )


def test_pytest_finds_the_plugin_and_the_extra_brings_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"emsd": "emsd.pytest_plugin"}
    assert any(each.startswith("pytest") for each in project["optional-dependencies"]["simulator"])
