"""The Sparkplug B edge nodes of one broker: births, data by alias, deaths, and births again when a host asks.

Each edge node has a connection of its own, because its death is the last will of that connection. Every session gives
out other aliases, so that a host which keeps old ones is found out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import aiomqtt
import structlog

from emsd.collector import honour_cancellation
from emsd.plant.models import Meter
from emsd.plant.sparkplug_connection import SparkplugConnection
from simulator.broker import FAREWELL_S, Pauses, client_of, until_it_ends
from simulator.faces import Faces
from simulator.message_faults import Publication
from simulator.sparkplug_device import SparkplugDevice
from simulator.sparkplug_payload import BOOLEAN, INT64, REBIRTH, Metric, asks_for_birth, payload_of
from simulator.truth import SimulatedPlant

__all__ = ["SimulatedEdgeNode", "SparkplugDevice", "SparkplugPublisher"]

_log = structlog.get_logger(__name__)

_SEQUENCES: Final = 256


class SparkplugPublisher:
    """The edge nodes of one connection until it is cancelled."""

    def __init__(
        self,
        connection: SparkplugConnection,
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
        grouped: dict[tuple[str, str], list[SparkplugDevice]] = defaultdict(list)
        for meter in meters:
            group, node = _parts(meter)[:2]
            grouped[group, node].append(self.devices[meter.key])
        self.nodes = {
            f"{group}/{node}": SimulatedEdgeNode(
                self.way, (group, node), devices, faces, client_id=f"{client_id}/{group}/{node}", now_us=now_us
            )
            for (group, node), devices in grouped.items()
        }

    @property
    def address(self) -> str:
        """The broker that it publishes to."""
        return f"{self.connection.host}:{self.port}"

    def way(self) -> SparkplugConnection:
        """Return the connection as it leads to the broker now."""
        return self.connection.model_copy(update={"port": self.port})

    @property
    def connected(self) -> bool:
        """Whether every edge node is connected."""
        return all(node.connected for node in self.nodes.values())

    async def run(self) -> None:
        """Publish until cancelled, each edge node coming back by itself when the broker goes away."""
        async with asyncio.TaskGroup() as group:
            for name, node in self.nodes.items():
                group.create_task(node.run(), name=f"simulated-edge-node-{name}")


class SimulatedEdgeNode:
    """One edge node and the meters behind it."""

    def __init__(
        self,
        way: Callable[[], SparkplugConnection],
        name: tuple[str, str],
        devices: Sequence[SparkplugDevice],
        faces: Faces,
        *,
        client_id: str,
        now_us: Callable[[], int],
    ) -> None:
        self.connected = False
        self.births = 0
        """How often it has published its births, whether by itself or because it was asked."""
        self._way = way
        self._name = name
        self._devices = tuple(devices)
        self._faces = faces
        self._client_id = client_id
        self._now_us = now_us
        self._sessions = 0
        """Tries to connect before this one."""
        self._sequence = 0
        self._in_order = asyncio.Lock()
        self._gone: set[str | None] = set()
        """Devices that it has said to be dead; None: itself."""

    async def run(self) -> None:
        """Publish until cancelled, coming back with capped, jittered backoff when the broker goes away."""
        pauses = Pauses()
        for device in self._devices:
            device.begin(self._now_us())
        while True:
            try:
                await until_it_ends(self._hold(pauses))
            except* aiomqtt.MqttError as group:
                _log.warning("simulated_edge_node_offline", node="/".join(self._name), error=str(group.exceptions[0]))
            finally:
                self.connected = False
                self._sessions += 1
                self._miss()
            try:
                await pauses.wait()
            finally:
                self._miss()

    def _miss(self) -> None:
        for device in self._devices:
            device.miss(self._now_us())

    async def _hold(self, pauses: Pauses) -> None:
        """Have one session with the broker."""
        will = aiomqtt.Will(self._topic("NDEATH"), self._death(), qos=1)
        async with client_of(self._way(), self._client_id, will) as client:
            await client.subscribe(self._topic("NCMD"), qos=1)
            pauses.reset()
            await self._live(client)

    async def _live(self, client: aiomqtt.Client) -> None:
        """Be born, publish and answer until the connection is lost; say when it ends on purpose."""
        try:
            await self._publish_births(client)
            self.connected = True
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answer(client), name=f"simulated-edge-node-commands-{self._client_id}")
                for device in self._devices:
                    group.create_task(self._publish(client, device), name=f"simulated-device-{device.meter.key}")
        except asyncio.CancelledError:
            # A farewell keeps the broker from publishing the will. One that is just going away hears nothing.
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await client.publish(self._topic("NDEATH"), self._death(), qos=1)
            raise

    async def _answer(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            own = self._on(None)
            silent = bool(own) and all(device.faults.is_silent for device in own)
            if not silent and asks_for_birth(message.payload):
                await self._publish_births(client)
                honour_cancellation()

    async def _publish_births(self, client: aiomqtt.Client) -> None:
        async with self._in_order:
            time_us = self._now_us()
            self._sequence = 0
            self._give_out_aliases()
            own = [
                self._birth_or_death(),
                Metric(0, BOOLEAN, name=REBIRTH),
                *(each for device in self._on(None) for each in device.birth_metrics(self._faces, time_us)),
            ]
            await self._send(client, "NBIRTH", None, own, time_us, with_datatypes=True)
            self._gone.clear()
            for name in dict.fromkeys(device.device for device in self._devices if device.device is not None):
                if self._is_gone(name):
                    self._gone.add(name)
                elif not all(device.faults.is_silent for device in self._on(name)):
                    await self._give_birth(client, name, time_us)
            for device in self._on(None):
                device.published += 1
            self.births += 1

    async def _give_birth(self, client: aiomqtt.Client, name: str, time_us: int) -> None:
        own = self._on(name)
        metrics = [each for device in own for each in device.birth_metrics(self._faces, time_us)]
        await self._send(client, "DBIRTH", name, metrics, time_us, with_datatypes=True)
        for device in own:
            device.published += 1

    def _is_gone(self, name: str | None) -> bool:
        """Whether all meters of a device are offline; None: all of this edge node."""
        return all(device.faults.is_offline for device in (self._devices if name is None else self._on(name)))

    async def _notice(self, client: aiomqtt.Client, name: str | None) -> None:
        """Say that a device has gone or has come back, as an edge node does; None: what its own end says of it."""
        gone = self._is_gone(name)
        if gone == (name in self._gone):
            return
        if name is None and not gone:
            await self._publish_births(client)
            return
        async with self._in_order:
            if name is None:
                await client.publish(self._topic("NDEATH"), self._death(), qos=1)
            elif gone:
                await self._send(client, "DDEATH", name, [], self._now_us(), with_datatypes=False)
            else:
                await self._give_birth(client, name, self._now_us())
        self._gone ^= {name}

    async def _publish(self, client: aiomqtt.Client, device: SparkplugDevice) -> None:
        while True:
            await device.beat(self._now_us)
            device.lost += 1  # until it is said
            await self._notice(client, device.device)
            if device.faults.keeps_silent():
                continue
            async with self._in_order:
                said, told = self._passed_on(device, self._now_us())
                for each in said:
                    await client.publish(each.topic, each.payload, qos=each.qos, retain=each.retain)
                device.published += told is True
                device.lost -= told is not False
            honour_cancellation()

    def _passed_on(self, device: SparkplugDevice, now_us: int) -> tuple[Sequence[Publication], bool | None]:
        """Return what goes to the broker on a beat, and whether its own values are, or will be, among it.

        None: the device had nothing to say.
        """
        topic = self._topic("NDATA" if device.device is None else "DDATA", device.device)
        metrics = device.data_metrics(self._faces, now_us)
        said = []
        if metrics:
            said.append(Publication(topic, self._payload(device.device, metrics, now_us)))
            self._sequence = (self._sequence + 1) % _SEQUENCES
        if not device.faults:
            return said, True if said else None

        def before(age_us: int) -> list[Publication]:
            old = device.all_metrics(self._faces, now_us - age_us)
            return [Publication(topic, self._payload(device.device, old, now_us - age_us))]

        return device.faults.pass_on(said, before, now_us)

    async def _send(
        self,
        client: aiomqtt.Client,
        kind: str,
        device: str | None,
        metrics: Sequence[Metric],
        time_us: int,
        *,
        with_datatypes: bool,
    ) -> None:
        data = self._payload(device, metrics, time_us, with_datatypes=with_datatypes)
        self._sequence = (self._sequence + 1) % _SEQUENCES
        await client.publish(self._topic(kind, device), data, qos=0, retain=False)

    def _payload(
        self, device: str | None, metrics: Sequence[Metric], time_us: int, *, with_datatypes: bool = False
    ) -> bytes:
        """Return the next payload of the session, which carries the time of the device's own clock."""
        time_ms = self._clock_us(device, time_us) // 1000
        return payload_of(metrics, time_ms, self._sequence, with_datatypes=with_datatypes)

    def _give_out_aliases(self) -> None:
        names = [(device, value.metric) for device in self._devices for value in device.layout.values]
        for number, (device, metric) in enumerate(names):
            device.aliases[metric] = (number + self._sessions) % (len(names) + 1) + 1  # one more, so that all move

    def _clock_us(self, name: str | None, time_us: int) -> int:
        """Return what the clock of a device of this edge node says; None: that of the edge node."""
        own = self._on(name)
        return self._faces.clock_us(own[0].meter.key, time_us) if own else time_us

    def _on(self, name: str | None) -> list[SparkplugDevice]:
        return [device for device in self._devices if device.device == name]

    def _death(self) -> bytes:
        return payload_of([self._birth_or_death()], self._now_us() // 1000)

    def _birth_or_death(self) -> Metric:
        """Return what tells which birth a death belongs to."""
        return Metric(self._sessions % _SEQUENCES, INT64, name="bdSeq")

    def _topic(self, kind: str, device: str | None = None) -> str:
        group, node = self._name
        return f"spBv1.0/{group}/{kind}/{node}" + ("" if device is None else f"/{device}")


def _parts(meter: Meter) -> list[str]:
    return (meter.topic or f"simulated/{meter.key}").split("/")


def _device(meter: Meter, physics: SimulatedPlant) -> SparkplugDevice:
    layout = physics.profile_of(meter.key).sparkplug
    if layout is None:
        raise ValueError(f"meter {meter.key} does not speak Sparkplug B")
    parts = _parts(meter)
    return SparkplugDevice(meter, layout, parts[2] if len(parts) > 2 else None)
