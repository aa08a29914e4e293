"""The MQTT devices of one broker: each publishes on its own beat, as real ones do.

A device has no memory to spare: while the broker is away its messages are lost, and counted. A message that was sent
but not acknowledged counts as lost too, although it may have arrived.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiomqtt
import numpy as np
import structlog

from emsd.plant.models import Meter
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.mqtt_map import MqttMap
from simulator.payload import message_of, shown, topic_of
from simulator.truth import SimulatedPlant

__all__ = ["MqttDevice", "MqttPublisher"]

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_ACKNOWLEDGE_S: Final = 5.0


@dataclass(slots=True)
class MqttDevice:
    """One publishing meter and what became of its messages."""

    meter: Meter
    layout: MqttMap
    topic: str
    published: int = 0
    """Messages that the broker acknowledged."""
    lost: int = 0
    next_tick: int = field(default=0, repr=False)
    """The beat that is due next, in poll intervals since 1970."""

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
        self.connected = False
        self._physics = physics
        self._client_id = client_id
        self._now_us = now_us
        self.devices = {meter.key: self._device(meter) for meter in meters}

    def _device(self, meter: Meter) -> MqttDevice:
        layout = self._physics.profile_of(meter.key).mqtt
        if layout is None:
            raise ValueError(f"meter {meter.key} does not publish")
        return MqttDevice(meter, layout, topic_of(layout, meter.topic or meter.key))

    async def run(self) -> None:
        """Publish until cancelled, coming back with capped, jittered backoff when the broker goes away."""
        pause_s = _FIRST_PAUSE_S
        for device in self.devices.values():
            device.next_tick = self._now_us() // device.interval_us + 1
        while True:
            try:
                async with self._client() as client:
                    self.connected = True
                    pause_s = _FIRST_PAUSE_S
                    await self._publish_all(client)
            except* aiomqtt.MqttError as group:
                _log.warning(
                    "simulated_devices_offline", connection=self.connection.key, error=str(group.exceptions[0])
                )
            finally:
                self.connected = False
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  (spreads reconnects, no secret)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _client(self) -> aiomqtt.Client:
        password = self.connection.password
        return aiomqtt.Client(
            self.connection.host,
            self.connection.port,
            identifier=self._client_id,
            username=self.connection.username,
            password=None if password is None else password.get_secret_value(),
            keepalive=self.connection.keepalive_s,
            timeout=_ACKNOWLEDGE_S,
        )

    async def _publish_all(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as group:
            for key, device in self.devices.items():
                group.create_task(self._publish(client, device), name=f"simulated-device-{key}")
            group.create_task(_watch(client), name=f"simulated-broker-{self.connection.key}")

    async def _publish(self, client: aiomqtt.Client, device: MqttDevice) -> None:
        interval_us = device.interval_us
        while True:
            tick = max(self._now_us() // interval_us + 1, device.next_tick)
            device.lost += tick - device.next_tick
            device.next_tick = tick
            await asyncio.sleep(max(tick * interval_us - self._now_us(), 0) / 1e6)
            device.next_tick = tick + 1
            device.lost += 1  # until the broker says otherwise
            await client.publish(
                device.topic, self.message(device, self._now_us()), qos=device.layout.qos, retain=False
            )
            device.lost -= 1
            device.published += 1

    def message(self, device: MqttDevice, time_us: int) -> bytes:
        """Return what a device says at an instant."""
        physical = self._physics.quantity_series(device.meter.key, np.array([time_us], dtype=np.int64))
        values = {value.quantity: float(shown(value, physical[value.quantity])[0]) for value in device.layout.values}
        return message_of(device.layout, time_us, values)


async def _watch(client: aiomqtt.Client) -> None:
    """Notice at once that the broker went away, not only at the next message."""
    async for _ in client.messages:
        pass
