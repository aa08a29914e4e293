"""Shipped MQTT profiles: real payloads through a real broker, and against the simulator that publishes their shapes.

Payloads are those of the devices' documentation and of public tests: OpenEMS (IoShellyPro3EmImplTest), evcc, Tasmota
issue 17671, Zigbee2MQTT's guide.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from collectors.mqtt import open_collector
from collectors.mqtt.collector import MqttCollector
from emsd.collector import MeterState
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.mqtt_connection import MqttConnection
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import Quality, Reading
from emsd.servers import PrivateMosquitto
from simulator import Simulator
from tests.collectors.mqtt_support import connection_to, health_of, meter_of, pub
from tests.collectors.support import MemorySink, eventually, profile, running

SHELLY_EM = {
    "id": 0, "a_current": 0.4, "a_voltage": 231.2, "a_act_power": -75.4, "a_aprt_power": 92.5, "a_pf": 0.8,
    "a_freq": 50.0,
    "b_current": 1.0, "b_voltage": 230.1, "b_act_power": 200.0, "b_aprt_power": 230.1, "b_pf": 0.9, "b_freq": 50.0,
    "c_current": 2.0, "c_voltage": 229.9, "c_act_power": 300.4, "c_aprt_power": 459.8, "c_pf": 0.7, "c_freq": 50.0,
    "n_current": None, "total_current": 3.4, "total_act_power": 425.0, "total_aprt_power": 782.4,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Messages of a device, and what the last reading says of them."""

    profile: str
    topic: str
    messages: tuple[tuple[str, object], ...]
    values: Mapping[str, float | None]
    quality: Quality = Quality.GOOD
    time: str | None = None
    meter: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "shelly triphase, full status": Case(
        "shelly_gen2_triphase", "shellies/hall-1",
        (("shellies/hall-1/status/em:0", SHELLY_EM),),
        {
            "active_power_kw": 0.425, "active_power_l1_kw": -0.0754, "active_power_l2_kw": 0.2,
            "active_power_l3_kw": 0.3004, "apparent_power_kva": 0.7824, "voltage_l1_n_v": 231.2,
            "voltage_l2_n_v": 230.1, "voltage_l3_n_v": 229.9, "current_l1_a": 0.4, "current_l2_a": 1.0,
            "current_l3_a": 2.0, "current_n_a": None, "frequency_hz": 50.0,
        },
        Quality.NOT_AVAILABLE,
    ),
    "shelly triphase, energy": Case(
        "shelly_gen2_triphase", "pro3em",
        (("pro3em/status/emdata:0", {"id": 0, "total_act": 1234567.89, "total_act_ret": 12.5}),),
        {"energy_import_kwh": 1234.56789, "energy_export_kwh": 0.0125},
    ),
    "shelly triphase, partial notification": Case(
        "shelly_gen2_triphase", "pro3em",
        (
            ("pro3em/events/rpc", {"method": "NotifyStatus", "params": {"ts": 1704067200.0, "wifi": {"rssi": -60}}}),
            ("pro3em/events/rpc", {"src": "x", "method": "NotifyStatus",
                                   "params": {"ts": 1704067200.25, "em:0": {"id": 0, "a_act_power": -75.4}}}),
        ),
        {"active_power_l1_kw": -0.0754}, Quality.DEVICE_TIME, "2024-01-01T00:00:00.250000+00:00",
    ),
    "shelly mono, channel 1": Case(
        "shelly_gen2_mono", "pro3em/1",
        (
            ("pro3em/status/em1:1", {"id": 1, "voltage": 230.1, "current": 1.2, "act_power": -75.4, "aprt_power": 276.1,
                                     "pf": 0.9, "freq": 50.0, "calibration": "factory"}),
        ),
        {
            "active_power_kw": -0.0754, "apparent_power_kva": 0.2761, "power_factor": 0.9, "frequency_hz": 50.0,
            "voltage_l1_n_v": 230.1, "current_l1_a": 1.2,
        },
    ),
    "shelly mono, notification of channel 1": Case(
        "shelly_gen2_mono", "pro3em/1",
        (
            ("pro3em/events/rpc", {"method": "NotifyStatus", "params": {"ts": 1704067200, "em1:0": {"act_power": 1}}}),
            ("pro3em/events/rpc", {"method": "NotifyStatus",
                                   "params": {"ts": 1704067201, "em1data:1": {"total_act_energy": 5000.5}}}),
        ),
        {"energy_import_kwh": 5.0005}, Quality.DEVICE_TIME, "2024-01-01T00:00:01+00:00",
    ),
    "tasmota, three phases, time zone known": Case(
        "tasmota_energy", "tasmota_8F1A",
        (("tele/tasmota_8F1A/SENSOR", {"Time": "2023-01-10T13:03:11", "ENERGY": {
            "TotalStartTime": "2022-12-01T00:00:00", "Total": [10.5, 20.25, 30.125], "Power": [-136.495, 0, -78.478],
            "ApparentPower": [140.0, 0, 80.0], "Frequency": [50, 50, 50], "Voltage": [230, 231, 232],
            "Current": [0.6, 0.0, 0.35]}}),),
        {
            "active_power_kw": -0.214973, "active_power_l1_kw": -0.136495, "active_power_l2_kw": 0.0,
            "active_power_l3_kw": -0.078478, "apparent_power_kva": 0.22, "frequency_hz": 50.0, "voltage_l1_n_v": 230.0,
            "voltage_l2_n_v": 231.0, "voltage_l3_n_v": 232.0, "current_l1_a": 0.6, "current_l2_a": 0.0,
            "current_l3_a": 0.35, "energy_import_kwh": 60.875,
        },
        Quality.DEVICE_TIME, "2023-01-10T12:03:11+00:00", {"time_zone": "Europe/Berlin"},
    ),
    "tasmota, one phase, no time zone": Case(
        "tasmota_energy", "plug",
        (("tele/plug/SENSOR", {"Time": "2023-01-10T13:03:11", "ENERGY": {
            "Total": 1.234, "Power": 61, "ApparentPower": 70, "ReactivePower": 34, "Factor": 0.87, "Voltage": 230,
            "Current": 0.3}}),),
        {
            "active_power_kw": 0.061, "active_power_l1_kw": 0.061, "reactive_power_kvar": 0.034,
            "apparent_power_kva": 0.07, "voltage_l1_n_v": 230.0, "current_l1_a": 0.3, "energy_import_kwh": 1.234,
        },
    ),
    "tasmota, both directions": Case(
        "tasmota_energy_bidirectional", "grid",
        (("tele/grid/SENSOR", {"Time": "2023-01-10T13:03:11", "ENERGY": {
            "Power": [1000, 0, -500], "ImportActive": [1.5, 2.5, 3.0], "ExportActive": [0, 0, 0.5]}}),),
        {
            "active_power_kw": 0.5, "active_power_l1_kw": 1.0, "active_power_l2_kw": 0.0, "active_power_l3_kw": -0.5,
            "energy_import_kwh": 7.0, "energy_export_kwh": 0.5,
        },
    ),
    "zigbee2mqtt, a name with slashes": Case(
        "zigbee2mqtt_plug", "hall 1/line/plug",
        (("zigbee2mqtt/hall 1/line/plug", {"state": "ON", "power": 61.2, "current": 0.29, "voltage": 231,
                                            "energy": 12.34, "linkquality": 120}),),
        {
            "active_power_kw": 0.0612, "energy_import_kwh": 12.34, "voltage_l1_n_v": 231.0, "current_l1_a": 0.29,
            "run_state": RUN_STATE_CODES[RunState.RUNNING],
        },
    ),
    "zigbee2mqtt, last seen": Case(
        "zigbee2mqtt_plug", "plug",
        (("zigbee2mqtt/plug", {"state": "OFF", "power": 0, "last_seen": 1704067200123}),),
        {"active_power_kw": 0.0, "run_state": RUN_STATE_CODES[RunState.OFF]},
        Quality.DEVICE_TIME, "2024-01-01T00:00:00.123000+00:00",
    ),
    "a value a topic": Case(
        "mqtt_value_per_topic", "plant/press",
        (("plant/press/energy_import_kwh", '"123456.7"'),),
        {"energy_import_kwh": 123456.7},
    ),
    "json gateway": Case(
        "json_energy_meter", "plant/gateway",
        (("plant/gateway", {"ts": "2024-01-01T00:00:00Z", "power": {"total_w": 1500}}),),
        {"active_power_kw": 1.5}, Quality.DEVICE_TIME, "2024-01-01T00:00:00+00:00",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_real_payloads_become_the_readings_that_they_are(name: str, mosquitto: PrivateMosquitto) -> None:
    case, sink = CASES[name], MemorySink()
    meter = meter_of(case.profile, case.topic, **case.meter)
    connection = connection_to(mosquitto.url, client_id=f"test-{name}")
    collector = open_collector(connection, [meter], sink)
    assert isinstance(collector, MqttCollector)
    async with running(collector):
        await eventually(collector.connected)
        for topic, payload in case.messages:
            await pub(mosquitto, topic, payload if isinstance(payload, str) else json.dumps(payload))
        await eventually(lambda: len(sink.stored) + collector.other_messages + len(sink.poisons) == len(case.messages))
    assert not sink.poisons
    (reading,) = sink.stored
    assert dict(reading.items()) == {key: value and pytest.approx(value) for key, value in case.values.items()}
    assert reading.quality == case.quality
    assert case.time is None or reading.time.isoformat() == case.time


AVAILABILITY = [
    ("shelly_gen2_triphase", "d1", "d1/online", "true", "false", "d1/status/emdata:0", '{"total_act": 1}'),
    ("shelly_gen2_mono", "d2/0", "d2/online", "true", "false", "d2/status/em1:0", '{"act_power": 1}'),
    ("tasmota_energy", "d3", "tele/d3/LWT", "Online", "Offline", "tele/d3/SENSOR", '{"ENERGY": {"Power": 1}}'),
    ("zigbee2mqtt_plug", "d4", "zigbee2mqtt/d4/availability", '{"state":"online"}', '{"state":"offline"}',
     "zigbee2mqtt/d4", '{"power": 1}'),
    ("zigbee2mqtt_plug", "d5", "zigbee2mqtt/d5/availability", "online", "offline", "zigbee2mqtt/d5", '{"power": 1}'),
    ("mqtt_value_per_topic", "d6", "d6/online", "true", "false", "d6/active_power_kw", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "own", "topic", "online", "offline", "value_topic", "value"), AVAILABILITY)
async def test_while_a_device_says_that_it_is_offline_its_meter_is_down_and_has_no_reading(
    name: str,
    own: str,
    topic: str,
    online: str,
    offline: str,
    value_topic: str,
    value: str,
    mosquitto: PrivateMosquitto,
) -> None:
    sink = MemorySink()
    await pub(mosquitto, topic, offline, retain=True)
    connection = connection_to(mosquitto.url, client_id=f"test-availability-{own}")
    former = open_collector(connection, [meter_of(name, own)], sink)
    async with running(former):
        await eventually(lambda: health_of(former).state is MeterState.DOWN)
        assert health_of(former).last_error == f"the device is offline, says {topic}"
    collector = open_collector(connection, [meter_of(name, own)], sink)
    async with running(collector):  # what is retained is asked for at every start, not only with a new subscription
        await eventually(lambda: health_of(collector).state is MeterState.DOWN)
        assert not sink.stored
        await pub(mosquitto, topic, online, retain=True)
        await eventually(lambda: health_of(collector).state is MeterState.STARTING)
        await pub(mosquitto, value_topic, value)
        await eventually(lambda: health_of(collector).state is MeterState.OK)
        await pub(mosquitto, topic, offline, retain=True)
        await eventually(lambda: health_of(collector).state is MeterState.DOWN)
        await pub(mosquitto, value_topic, value)  # who speaks is there
        await eventually(lambda: health_of(collector).state is MeterState.OK)
    assert len(sink.stored) == 2
    assert not sink.poisons


async def test_an_availability_of_unknown_words_is_kept_with_its_reason(mosquitto: PrivateMosquitto) -> None:
    sink = MemorySink()
    connection = connection_to(mosquitto.url, client_id="test-availability-unknown")
    collector = open_collector(connection, [meter_of("tasmota_energy", "d7")], sink)
    async with running(collector):
        await eventually(collector.connected)
        await pub(mosquitto, "tele/d7/LWT", "Perhaps")
        await eventually(lambda: len(sink.poisons) == 1)
    assert "'Perhaps' is none of online, " in sink.poisons[0].reason


async def test_three_channels_of_one_device_are_three_meters(mosquitto: PrivateMosquitto) -> None:
    sink = MemorySink()
    meters = [meter_of("shelly_gen2_mono", f"trio/{channel}", 2_000_100 + channel) for channel in range(3)]
    collector = open_collector(connection_to(mosquitto.url, client_id="test-trio"), meters, sink)
    message = {"params": {"ts": 1704067200, **{f"em1:{n}": {"act_power": 1000 * n} for n in range(3)}}}
    async with running(collector):
        await eventually(collector.connected)
        await pub(mosquitto, "trio/events/rpc", json.dumps(message))
        await eventually(lambda: len(sink.stored) == 3)
    assert {reading.meter_id: reading.value("active_power_kw") for reading in sink.stored} == {
        2_000_100: 0.0, 2_000_101: 1.0, 2_000_102: 2.0
    }  # fmt: skip


SIMULATED = {
    "shelly_gen2_triphase": "sim/tri", "shelly_gen2_mono": "sim/mono/2", "tasmota_energy": "sim-tasmota",
    "tasmota_energy_bidirectional": "sim-both", "zigbee2mqtt_plug": "sim hall/plug",
    "mqtt_value_per_topic": "sim/values", "json_energy_meter": "sim/json",
}  # fmt: skip


def simulated_plant(connection: MqttConnection) -> Plant:
    assets = [Asset(key="tool", name="tool", kind=AssetKind.PROCESS_TOOL, area="hall", rated_power_kw=80)]
    meters = [
        Meter(
            key=name, name=name, asset="tool", profile=name, connection="broker", topic=topic, poll_interval_s=0.2,
            rated_power_kw=80, time_zone="Asia/Shanghai",
        )
        for name, topic in SIMULATED.items()
    ]  # fmt: skip
    return Plant(
        site=Site(name="s", time_zone="UTC", carbon_region="CN"), areas=(Area(key="hall", name="hall"),),
        assets=tuple(assets), connections=(connection,), meters=tuple(meters),
    )  # fmt: skip


async def test_what_the_simulator_publishes_in_the_shape_of_each_device_is_read_as_it_is(
    mosquitto: PrivateMosquitto,
) -> None:
    connection = connection_to(mosquitto.url, client_id="test-simulated")
    plant, profiles = simulated_plant(connection), {name: profile(name) for name in SIMULATED}
    sink = MemorySink()
    ids = {name: 2_000_200 + place for place, name in enumerate(SIMULATED)}
    meters = [
        meter_of(meter.profile, meter.topic or "", ids[meter.key], time_zone=meter.time_zone) for meter in plant.meters
    ]
    collector = open_collector(connection, meters, sink)
    start = asyncio.Event()
    async with running(collector), Simulator(plant, profiles, publish_when=start) as simulator:
        await eventually(collector.connected)
        start.set()
        delivered = {name: set(profiles[name].quantities) for name in SIMULATED}

        def readings() -> list[Reading]:
            return [*sink.offered, *sink.stored]  # what comes at QoS 0 is offered, as it cannot be acknowledged

        def all_said() -> bool:
            for reading in readings():
                name = next(name for name, number in ids.items() if number == reading.meter_id)
                delivered[name] -= {quantity for quantity, value in reading.items() if value is not None}
            return not any(delivered.values())

        await eventually(all_said)
        truth = simulator.truth
    assert not sink.poisons
    for reading in readings():
        name = next(name for name, number in ids.items() if number == reading.meter_id)
        true = truth.quantities(name, reading.time_us)
        power = reading.value("active_power_kw")
        # Without a time of its own a message is a moment older than its arrival; Tasmota writes whole seconds.
        assert power is None or power == pytest.approx(true["active_power_kw"], abs=1.0)
        energy = reading.value("energy_import_kwh")
        assert energy is None or energy == pytest.approx(true["energy_import_kwh"], abs=0.1)
