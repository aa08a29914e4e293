"""The MQTT devices of one broker: each publishes on its own beat, as real ones do.

A device has no memory to spare: while the broker is away its messages are lost, and counted. A message that was sent
but not acknowledged counts as lost too, although it may have arrived.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiomqtt
import numpy as np
import structlog

from emsd.plant.models import Meter
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.mqtt_map import MqttAvailability, MqttMap, MqttMessage, filled
from simulator.broker import Pauses, client_of
from simulator.payload import message_of, said_once, shown
from simulator.truth import SimulatedPlant

__all__ = ["MqttDevice", "MqttPublisher"]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class MqttDevice:
    """One publishing meter and what became of its messages."""

    meter: Meter
    layout: MqttMap
    published: int = 0
    """Beats whose messages the broker acknowledged."""
    lost: int = 0
    next_tick: int = field(default=0, repr=False)
    """The beat that is due next, in poll intervals since 1970."""

    def topic_of(self, kind: MqttMessage | MqttAvailability) -> str:
        """Return where it publishes this kind of message."""
        return filled(kind.topic, self.meter.topic or self.meter.key)

    @property
    def interval_us(self) -> int:
        """Time between two beats [us]."""
        return round(self.meter.poll_interval_s * 1e6)


class MqttPublisher:
    """Publishes the meters of one connection until it is cancelled."""

    def __init__(
        self,
        connection: MqttConnection,
        meters: Sequence[Meter],
        physics: SimulatedPlant,
        *,
        client_id: str,
        now_us: Callable[[], int],
    ) -> None:
        self.connection = connection
        self.address = f"{connection.host}:{connection.port}"
        """The broker that it publishes to."""
        self.connected = False
        self._physics = physics
        self._client_id = client_id
        self._now_us = now_us
        self.devices = {meter.key: self._device(meter) for meter in meters}

    def _device(self, meter: Meter) -> MqttDevice:
        layout = self._physics.profile_of(meter.key).mqtt
        if layout is None:
            raise ValueError(f"meter {meter.key} does not publish")
        return MqttDevice(meter, layout)

    async def run(self) -> None:
        """Publish until cancelled, coming back with capped, jittered backoff when the broker goes away."""
        pauses = Pauses()
        for device in self.devices.values():
            device.next_tick = self._now_us() // device.interval_us + 1
        while True:
            try:
                async with client_of(self.connection, self._client_id) as client:
                    self.connected = True
                    pauses.reset()
                    await self._publish_all(client)
            except* aiomqtt.MqttError as group:
                _log.warning(
                    "simulated_devices_offline", connection=self.connection.key, error=str(group.exceptions[0])
                )
            finally:
                self.connected = False
            await pauses.wait()

    async def _publish_all(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as group:
            for key, device in self.devices.items():
                group.create_task(self._publish(client, device), name=f"simulated-device-{key}")
            group.create_task(_watch(client), name=f"simulated-broker-{self.connection.key}")

    async def _publish(self, client: aiomqtt.Client, device: MqttDevice) -> None:
        interval_us = device.interval_us
        if device.layout.availability is not None:
            await self._say_online(client, device, device.layout.availability)
        while True:
            tick = max(self._now_us() // interval_us + 1, device.next_tick)
            device.lost += tick - device.next_tick
            device.next_tick = tick
            await asyncio.sleep(max(tick * interval_us - self._now_us(), 0) / 1e6)
            device.next_tick = tick + 1
            device.lost += 1  # until the broker says otherwise
            for topic, payload in self.messages(device, self._now_us()):
                await client.publish(topic, payload, qos=device.layout.qos, retain=False)
            device.lost -= 1
            device.published += 1

    async def _say_online(self, client: aiomqtt.Client, device: MqttDevice, rule: MqttAvailability) -> None:
        word = rule.online[0]
        payload = word if rule.path is None else json.dumps({rule.path: word})
        await client.publish(device.topic_of(rule), payload, qos=1, retain=True)

    def messages(self, device: MqttDevice, time_us: int) -> list[tuple[str, bytes]]:
        """Return what a device says at an instant: (topic, payload) of each of its kinds of messages."""
        physical = self._physics.quantity_series(device.meter.key, np.array([time_us], dtype=np.int64))
        topic, zone = device.meter.topic or device.meter.key, device.meter.time_zone
        said = []
        for kind in said_once(device.layout):
            values = {value.quantity: float(shown(value, physical[value.quantity])[0]) for value in kind.values}
            said.append((device.topic_of(kind), message_of(kind, time_us, values, topic=topic, time_zone=zone)))
        return said


async def _watch(client: aiomqtt.Client) -> None:
    """Notice at once that the broker went away, not only at the next message."""
    async for _ in client.messages:
        pass
