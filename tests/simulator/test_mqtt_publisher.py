"""Simulated MQTT devices, heard by Mosquitto's own client through a real broker."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from emsd.errors import ConfigurationError
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Plant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.mqtt_map import MqttMap
from emsd.readings import instant_us
from emsd.servers import PrivateMosquitto
from simulator import Simulator
from simulator.payload import message_of, topic_of

DEADLINE_S = 60
NOON_US = instant_us(datetime(2026, 6, 3, 5, tzinfo=UTC))


def publishing(example: LoadedPlant, port: int, interval_s: float) -> Plant:
    """The example's MQTT meters on a broker, under topics of their own."""
    run = uuid.uuid4().hex
    meters = tuple(
        meter.model_copy(update={"topic": f"{run}/{meter.key}", "poll_interval_s": interval_s, "parent": None})
        for meter in example.plant.meters
        if meter.topic is not None
    )
    connections = (MqttConnection(key="broker", host="127.0.0.1", port=port),)
    return example.plant.model_copy(update={"meters": meters, "connections": connections})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  (what is waited for sets no event)
            await asyncio.sleep(0.02)


async def listen(broker: PrivateMosquitto, topic: str, count: int) -> list[str]:
    """Return lines of `topic qos retained payload` as mosquitto_sub prints them."""
    program = await asyncio.create_subprocess_exec(
        broker.sub, "-p", str(broker.port), "-t", topic, "-q", "1", "-C", str(count), "-F", "%t %q %r %p",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(program.communicate(), DEADLINE_S)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    return output.decode().splitlines()


async def test_meters_publish_their_values_on_their_beat(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    plant = publishing(example, mosquitto.port, 0.2)
    exhaust = next(meter for meter in plant.meters if meter.key == "cleanroom-exhaust")
    async with Simulator(plant, example.profiles) as simulator:
        lines = await listen(mosquitto, exhaust.topic or "", 5)
        truth = simulator.truth
    times = []
    for line in lines:
        topic, qos, retained, payload = line.split(" ", 3)
        assert (topic, qos, retained) == (exhaust.topic, "1", "0")
        message = json.loads(payload)
        time_us = instant_us(datetime.fromisoformat(message["ts"]))
        times.append(time_us)
        true = truth.quantities(exhaust.key, time_us)
        assert message["power"]["total_w"] == pytest.approx(1000 * true["active_power_kw"], abs=0.001)
        assert message["voltage_v"]["l3"] == pytest.approx(true["voltage_l3_n_v"], abs=0.001)
        assert message["energy"]["import_wh"] == int(1000 * true["energy_import_kwh"] + 1e-6)
        assert message["energy"]["export_wh"] == 0
    assert len({time_us // 200_000 for time_us in times}) == 5  # one in each interval, none twice


async def test_what_the_broker_acknowledged_is_counted_by_meter(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    plant = publishing(example, mosquitto.port, 0.1)
    async with Simulator(plant, example.profiles) as simulator:
        await until(lambda: all(count >= 3 for count in simulator.published.values()))
        assert set(simulator.published) == {"cleanroom-exhaust", "cleanroom-climate", "tools-pieces"}
        assert simulator.publishers["broker"].connected


async def test_messages_for_a_broker_that_is_away_are_lost_and_counted_and_publishing_goes_on_afterwards(
    example: LoadedPlant, broker: PrivateMosquitto
) -> None:
    plant = publishing(example, broker.port, 0.1)
    async with Simulator(plant, example.profiles) as simulator:
        publisher = simulator.publishers["broker"]
        await until(lambda: simulator.published["cleanroom-climate"] >= 2)
        await asyncio.to_thread(broker.stop)
        await until(lambda: not publisher.connected)
        before = dict(simulator.published)
        await asyncio.to_thread(broker.start)
        await until(lambda: all(simulator.published[key] > before[key] + 1 for key in before))
        device = publisher.devices["cleanroom-climate"]
        assert device.lost >= 1


async def test_a_broker_that_is_not_there_yet_is_waited_for(example: LoadedPlant, broker: PrivateMosquitto) -> None:
    plant = publishing(example, broker.port, 0.1)
    await asyncio.to_thread(broker.stop)
    async with Simulator(plant, example.profiles) as simulator:
        assert simulator.published["cleanroom-exhaust"] == 0
        await asyncio.to_thread(broker.start)
        await until(lambda: simulator.published["cleanroom-exhaust"] >= 1)
        assert simulator.lost["cleanroom-exhaust"] >= 1


def mapping(**fields: object) -> MqttMap:
    return MqttMap.model_validate(fields)


def test_paths_become_nested_objects_and_lists() -> None:
    layout = mapping(
        topic="plant/{topic}/state",
        time={"path": "meta.at", "format": "epoch_ms"},
        values=[
            {"quantity": "active_power_kw", "path": "em[1].power", "scale": 0.001},
            {"quantity": "energy_import_kwh", "path": "totals[*].wh", "scale": 0.001},
            {"quantity": "room_temperature_c", "path": "t", "scale": 0.1, "add": -45},
        ],
    )
    values = {"active_power_kw": 1.5, "energy_import_kwh": 12.345, "room_temperature_c": 21.0}
    assert topic_of(layout, "hall-3") == "plant/hall-3/state"
    assert json.loads(message_of(layout, 1_700_000_000_123_456, values)) == {
        "meta": {"at": 1_700_000_000_123},
        "em": [None, {"power": 1500}],
        "totals": [{"wh": 12345}],
        "t": 660,
    }


def test_paths_that_contradict_each_other_are_refused() -> None:
    layout = mapping(
        values=[{"quantity": "active_power_kw", "path": "p"}, {"quantity": "frequency_hz", "path": "p.hz"}]
    )
    with pytest.raises(ConfigurationError, match=r"p.hz contradicts another path"):
        message_of(layout, NOON_US, {"active_power_kw": 1.0, "frequency_hz": 50.0})
