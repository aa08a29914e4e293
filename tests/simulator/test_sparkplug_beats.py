"""Every beat of a simulated Sparkplug B device is counted, whatever becomes of it."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest

from simulator import Simulator
from simulator.sparkplug_publisher import SparkplugPublisher
from tests.simulator.test_dialect_faults import plant_of
from tests.simulator.transports import NOON_US, profiles


async def test_a_beat_whose_message_cannot_be_sent_is_lost() -> None:
    simulator = Simulator(plant_of("sparkplug_energy_meter", "group/edge/press"), profiles(), now_us=lambda: NOON_US)
    publisher = simulator.publishers["broker"]
    assert isinstance(publisher, SparkplugPublisher)
    node, device = publisher.nodes["group/edge"], publisher.devices["m"]
    device.next_tick = NOON_US // device.interval_us
    device.aliases = {value.metric: place for place, value in enumerate(device.layout.values)}
    with pytest.raises(aiomqtt.MqttError):
        async with asyncio.timeout(60):
            await node._publish(aiomqtt.Client("127.0.0.1"), device)
    assert (device.published, device.lost) == (0, 2)  # the beat of noon, which was gone, and the one after it
