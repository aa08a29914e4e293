"""Devices that are called alike each keep a connection of their own: a broker ends the older of two with one name."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import pytest

from emsd.plant.models import Plant
from emsd.servers import PrivateMosquitto
from simulator import Simulator
from tests.simulator.test_mqtt_manners import plant_of
from tests.simulator.test_mqtt_publisher import until
from tests.simulator.transports import profiles

DEADLINE_S = 60


def alike(port: int) -> Plant:
    """Three models of devices of one name."""
    name = uuid.uuid4().hex
    models = ("shelly_gen2_triphase", "tasmota_energy", "mqtt_value_per_topic")
    return plant_of(*((model, name) for model in models), port=port)


def edge_nodes(port: int) -> Plant:
    """Two edge nodes whose names, put together, are the same."""
    group, plant = uuid.uuid4().hex, plant_of(*[("sparkplug_energy_meter", "a/b")] * 2)
    topics = (f"{group}-x/y/press", f"{group}/x-y/press")
    connection = {"key": "broker", "kind": "sparkplug_b", "host": "127.0.0.1", "port": port}
    meters = [
        each.model_dump() | {"name": f"press {place}", "topic": topics[place]}
        for place, each in enumerate(plant.meters)
    ]
    return Plant.model_validate(plant.model_dump() | {"connections": [connection], "meters": meters})


@pytest.mark.parametrize("make", [alike, edge_nodes])
async def test_devices_that_are_called_alike_do_not_take_each_others_place(
    mosquitto: PrivateMosquitto, make: Callable[[int], Plant]
) -> None:
    async with asyncio.timeout(DEADLINE_S), Simulator(make(mosquitto.port), profiles()) as simulator:
        publisher = simulator.publishers["broker"]
        await until(lambda: publisher.connected)
        begun = simulator.published["m1"]

        def is_done() -> bool:
            assert publisher.connected
            return simulator.published["m1"] >= begun + 5

        await until(is_done)
