"""The MQTT devices of one broker: each publishes on its own beat, as real ones do.

A device has no memory to spare: while the broker is away its messages are lost, and counted. A message that was sent
but not acknowledged counts as lost too, although it may have arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import aiomqtt
import structlog

from emsd.collector import honour_cancellation
from emsd.plant.models import Meter
from emsd.plant.mqtt_connection import MqttConnection
from simulator.broker import FAREWELL_S, Pauses, client_of, until_it_ends
from simulator.faces import Faces
from simulator.mqtt_devices import speakers_of
from simulator.mqtt_speaker import MqttDevice, Publication, Speaker
from simulator.truth import SimulatedPlant

__all__ = ["MqttDevice", "MqttPublisher"]

_log = structlog.get_logger(__name__)


class MqttPublisher:
    """Publishes the meters of one connection until it is cancelled."""

    def __init__(
        self,
        connection: MqttConnection,
        meters: Sequence[Meter],
        faces: Faces,
        *,
        client_id: str,
        now_us: Callable[[], int],
    ) -> None:
        self.connection = connection
        self.port = connection.port
        """Where it finds the broker, or a relay in front of it."""
        self.devices = {meter.key: _device(meter, faces.plant) for meter in meters}
        self.speakers = tuple(speakers_of(tuple(self.devices.values()), faces.plant, faces))
        self._connected: set[Speaker] = set()
        self._client_id = client_id
        self._now_us = now_us

    @property
    def address(self) -> str:
        """The broker that it publishes to."""
        return f"{self.connection.host}:{self.port}"

    def _way(self) -> MqttConnection:
        return self.connection.model_copy(update={"port": self.port})

    @property
    def connected(self) -> bool:
        """Whether everything that has a connection to the broker has it now."""
        return len(self._connected) == len(self.speakers)

    async def run(self) -> None:
        """Publish until cancelled, coming back with capped, jittered backoff when the broker goes away."""
        for device in self.devices.values():
            device.begin(self._now_us())
        async with asyncio.TaskGroup() as group:
            for speaker in self.speakers:
                group.create_task(self._keep_speaking(speaker), name=f"simulated-speaker-{speaker.name}")

    async def _keep_speaking(self, speaker: Speaker) -> None:
        pauses = Pauses()
        while True:
            try:
                await until_it_ends(self._hold(speaker, pauses))
            except* aiomqtt.MqttError as group:
                _log.warning(
                    "simulated_devices_offline", connection=self.connection.key, error=str(group.exceptions[0])
                )
            finally:
                self._connected.discard(speaker)
                self._miss(speaker)
            try:
                await pauses.wait()
            finally:
                self._miss(speaker)

    def _miss(self, speaker: Speaker) -> None:
        for device in speaker.devices:
            device.miss(self._now_us())

    async def _hold(self, speaker: Speaker, pauses: Pauses) -> None:
        """Have one session with the broker."""
        will = None if speaker.will is None else aiomqtt.Will(*speaker.will)
        async with client_of(self._way(), self._client_id_of(speaker), will) as client:
            for topic in speaker.subscriptions:
                await client.subscribe(topic, qos=1)
            pauses.reset()
            await self._speak(client, speaker)

    def _client_id_of(self, speaker: Speaker) -> str:
        """Return what no other speaker has: devices of two models may be called alike."""
        profile = speaker.devices[0].meter.profile
        return f"{self._client_id}/{profile}/{speaker.name}" if speaker.name else self._client_id

    async def _speak(self, client: aiomqtt.Client, speaker: Speaker) -> None:
        """Say what there is to say until the connection is lost; say good-bye when it ends on purpose."""
        try:
            if not speaker.is_silent:
                await _publish(client, speaker.hello(speaker.clock_us(self._now_us())))
            self._connected.add(speaker)
            async with asyncio.TaskGroup() as group:
                for device in speaker.devices:
                    group.create_task(self._beat(client, speaker, device), name=f"simulated-device-{device.meter.key}")
                group.create_task(self._answer(client, speaker), name=f"simulated-answers-{speaker.name}")
        except asyncio.CancelledError:
            if speaker.will is not None:
                # The broker does not publish the will of who takes leave. One that is just going away hears nothing.
                with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(FAREWELL_S):
                        await _publish(client, [speaker.will])
            raise

    async def _beat(self, client: aiomqtt.Client, speaker: Speaker, device: MqttDevice) -> None:
        while True:
            await device.beat(self._now_us)
            await _publish(client, speaker.notice(device, speaker.clock_us(self._now_us(), device)))
            said, told = _passed_on(speaker, device, self._now_us())
            device.lost += told is not None  # until the broker says otherwise
            await _publish(client, said)
            if told:
                device.lost -= 1
                device.published += 1
            honour_cancellation()

    async def _answer(self, client: aiomqtt.Client, speaker: Speaker) -> None:
        """Answer what is asked; and notice at once that the broker went away, not only at the next message."""
        async for message in client.messages:
            if not speaker.is_silent and isinstance(message.payload, bytes):
                time_us = speaker.clock_us(self._now_us())
                await _publish(client, speaker.reply(message.topic.value, message.payload, time_us))
                honour_cancellation()


def _passed_on(speaker: Speaker, device: MqttDevice, now_us: int) -> tuple[Sequence[Publication], bool | None]:
    """Return what goes to the broker on a beat, and whether the beat's own values are, or will be, among it.

    None: the device had nothing to say.
    """
    if device.faults.keeps_silent():
        return [], False
    time_us = speaker.clock_us(now_us, device)
    said = speaker.beat(device, time_us)
    if not device.faults:
        return said, True if said else None
    return device.faults.pass_on(said, lambda age_us: speaker.then(device, time_us - age_us), now_us)


async def _publish(client: aiomqtt.Client, said: Sequence[Publication]) -> None:
    for each in said:
        await client.publish(each.topic, each.payload, qos=each.qos, retain=each.retain)


def _device(meter: Meter, physics: SimulatedPlant) -> MqttDevice:
    layout = physics.profile_of(meter.key).mqtt
    if layout is None:
        raise ValueError(f"meter {meter.key} does not publish")
    return MqttDevice(meter, layout)
