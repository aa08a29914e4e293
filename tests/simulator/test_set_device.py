"""One device that shows what it is told to: what the real collector reads of it is its truth."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from collectors.modbus import open_collector
from emsd.collector import BoundMeter
from emsd.errors import ConfigurationError
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.servers import PrivateMosquitto
from simulator.device import SetModbusDevice, SetMqttDevice, set_device
from tests.collectors.support import MemorySink, eventually, running, shipped_profiles

LIBRARY = shipped_profiles()
MODBUS = sorted(name for name, profile in LIBRARY.items() if profile.modbus is not None)
MQTT = sorted(name for name, profile in LIBRARY.items() if profile.mqtt is not None)


@pytest.mark.parametrize("name", ["schneider_pm5560", "abb_b23", "sunspec_inverter"])
async def test_a_collector_reads_what_the_device_was_told_to_show(name: str) -> None:
    """Floats, scaled integers, and powers of ten in registers of their own."""
    profile = LIBRARY[name]
    async with set_device(profile, unit_id=7) as device:
        assert isinstance(device, SetModbusDevice)
        counter = "energy_import_kwh" if "energy_import_kwh" in profile.quantities else "energy_export_kwh"
        device.set({"active_power_kw": 12.345678, counter: 4711.0, "frequency_hz": 49.875})
        connection = ModbusTcpConnection(key="connection", host=device.host, port=device.port)
        meter = device.plant.meters[0].model_copy(update={"poll_interval_s": 0.2})
        sink = MemorySink()
        async with running(open_collector(connection, [BoundMeter(1, meter, profile)], sink)):
            await eventually(lambda: {each for one in sink.of(1) for each in one.columns} >= set(device.truth))
            read = {each: value for one in sink.of(1) for each, value in one.items()}
            for quantity, value in device.truth.items():
                assert read[quantity] == pytest.approx(value, rel=1e-6), quantity
            assert read["active_power_kw"] == pytest.approx(12.345678, rel=1e-3)
            assert read[counter] == pytest.approx(4711.0, abs=0.01)
            device.set({"active_power_kw": None})
            if device.truth["active_power_kw"] is None:  # it has a word for "no value"
                await eventually(lambda: sink.of(1)[-1].value("active_power_kw") is None)
        assert device.requests > 0


def test_every_shipped_modbus_device_shows_all_of_its_quantities() -> None:
    for name in MODBUS:
        device = SetModbusDevice(LIBRARY[name], rated_power_kw=100.0, unit_id=1, seed=1)
        assert set(device.truth) == set(device.profile.quantities), name
        assert len(device.image()) == device.unit_bytes > 0, name


async def test_a_device_that_publishes_says_what_it_was_told(mosquitto: PrivateMosquitto) -> None:
    place = urlsplit(mosquitto.url)
    broker = place.hostname or "", place.port or 0
    for name in MQTT:
        async with set_device(LIBRARY[name], broker=broker) as device:
            assert isinstance(device, SetMqttDevice)
            assert set(device.truth) == set(device.profile.quantities), name
            assert device.messages(), name
    async with set_device(LIBRARY["json_energy_meter"], broker=broker) as device:
        assert isinstance(device, SetMqttDevice)
        device.set({"active_power_kw": 12.5})
        assert b'"total_w":12500,' in device.messages()[0][1]
        await device.publish()
        assert device.published == 1
        device.set({"active_power_kw": None})
        with pytest.raises(ConfigurationError, match="cannot say that active_power_kw"):
            device.messages()


async def test_what_cannot_be_is_refused_with_its_cure() -> None:
    async with set_device(LIBRARY["abb_b23"]) as device:
        with pytest.raises(ConfigurationError, match=r"has no room_pressure_pa; it has .*active_power_kw"):
            device.set({"room_pressure_pa": 1.0})
    for name, reason in (("json_energy_meter", "to which broker"), ("sparkplug_energy_meter", "neither Modbus")):
        with pytest.raises(ConfigurationError, match=reason):
            async with set_device(LIBRARY[name]):
                pass
