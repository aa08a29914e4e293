"""The Sparkplug B collector against a real broker and scripted edge nodes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import pytest

from collectors.sparkplug import open_collector
from collectors.sparkplug.collector import SparkplugCollector
from emsd.collector import BoundMeter, MeterHealth, MeterState, honour_cancellation
from emsd.errors import PlantError
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.sparkplug_connection import SparkplugConnection
from emsd.readings import Quality
from emsd.servers import PrivateMosquitto
from tests.collectors.sparkplug_support import ScriptedNode, metric, payload, power_meter
from tests.collectors.support import MemorySink, bound, eventually, profile, running

REBIRTH = b"Node Control/Rebirth"


@pytest.fixture
def connection(mqtt_url: str) -> SparkplugConnection:
    return connection_to(mqtt_url)


def connection_to(url: str, **fields: object) -> SparkplugConnection:
    parts = urlsplit(url)
    fields = {"key": "spb", "host": parts.hostname, "port": parts.port, "rebirth_interval_s": 0.1, **fields}
    return SparkplugConnection.model_validate(fields)


def opened(connection: SparkplugConnection, sink: MemorySink, *meters: BoundMeter) -> SparkplugCollector:
    collector = open_collector(connection, meters or [power_meter("g/n/d")], sink)
    assert isinstance(collector, SparkplugCollector)
    return collector


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def health_of(collector: SparkplugCollector) -> MeterHealth:
    (health,) = collector.health()
    assert health.polls_expected == (
        health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    )
    return health


def powers(sink: MemorySink) -> list[float | None]:
    return [reading.value("active_power_kw") for reading in (*sink.offered, *sink.stored)]


class PowerCut(Exception):
    """Ends an edge node without its saying so."""


class LiveNode(ScriptedNode):
    """An edge node g/n with a device d at a broker; it answers requests for its births when it is told to."""

    def __init__(self, client: aiomqtt.Client, session: int, aliases: dict[str, int]) -> None:
        super().__init__(session=session, aliases=aliases)
        self.client = client
        self.requests = 0
        self.answers = True
        self.power = 1.0

    async def birth(self) -> None:
        await self.client.publish("spBv1.0/g/NBIRTH/n", self.node_birth(now_ms()))
        data = self.device_birth(now_ms(), Power=self.power, Energy=100.0)
        await self.client.publish("spBv1.0/g/DBIRTH/n/d", data)

    async def say(self, power: float, *, qos: int = 0) -> None:
        self.power = power
        await self.client.publish("spBv1.0/g/DDATA/n/d", self.data(now_ms(), Power=power), qos=qos)

    async def listen(self) -> None:
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            assert REBIRTH in message.payload
            assert message.payload.endswith(b"\x70\x01")  # boolean_value true
            self.requests += 1
            if self.answers:
                await self.birth()
                honour_cancellation()


@asynccontextmanager
async def live_node(
    connection: SparkplugConnection, *, session: int = 0, aliases: dict[str, int] | None = None
) -> AsyncIterator[LiveNode]:
    """Connect an edge node with its death as last will; `kill` it by leaving the block with an error."""
    will = aiomqtt.Will("spBv1.0/g/NDEATH/n", ScriptedNode(session=session).death(), qos=1)
    async with aiomqtt.Client(connection.host, connection.port, will=will) as client:
        await client.subscribe("spBv1.0/g/NCMD/n", qos=1)
        node = LiveNode(client, session, aliases or {"Power": 1, "Energy": 2})
        listening = asyncio.create_task(node.listen())
        try:
            await node.birth()
            await client.publish("settled", qos=1)  # acknowledged, so the broker has passed the births on
            yield node
            assert not listening.done(), listening.exception()
            await client.publish(will.topic, will.payload, qos=1)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_births_and_data_become_readings(connection: SparkplugConnection) -> None:
    sink = MemorySink()
    collector = opened(connection, sink)
    async with running(collector), live_node(connection) as node:
        await eventually(lambda: health_of(collector).state is MeterState.OK)
        for power in (2.0, 3.0, 4.0):
            await node.say(power)
        await eventually(lambda: powers(sink)[-3:] == [2.0, 3.0, 4.0])
    assert sink.offered[0].value("energy_import_kwh") == 100.0
    assert {reading.quality for reading in sink.offered} == {Quality.DEVICE_TIME}
    assert not sink.poisons


async def test_a_node_that_was_there_before_is_asked_for_its_birth(connection: SparkplugConnection) -> None:
    async with live_node(connection) as node:
        sink = MemorySink()
        collector = opened(connection, sink)
        async with running(collector):
            await eventually(lambda: powers(sink) == [1.0])
            assert node.requests == 1
            await node.say(2.0)
            await eventually(lambda: powers(sink) == [1.0, 2.0])
    assert collector.births_requested == 1


async def test_a_lost_message_is_noticed_a_birth_requested_and_the_value_read_from_it(
    connection: SparkplugConnection,
) -> None:
    sink = MemorySink()
    collector = opened(connection, sink)
    async with live_node(connection) as node, running(collector):
        await eventually(lambda: len(sink.offered) == 1)
        node.data(now_ms(), Power=2.0)  # never sent
        await node.say(3.0)
        await eventually(lambda: node.requests == 2)
        await eventually(lambda: powers(sink) == [1.0, 3.0])
        await node.say(4.0)
        await eventually(lambda: powers(sink) == [1.0, 3.0, 4.0])
    health = health_of(collector)
    assert (health.errors["sequence_gap"], health.errors["unknown_metric"]) == (1, 1)
    assert (health.polls_failed, health.polls_ok) == (1, 3)


async def test_a_node_that_restarts_with_other_aliases_is_understood(connection: SparkplugConnection) -> None:
    sink = MemorySink()
    collector = opened(connection, sink)
    async with running(collector):
        with contextlib.suppress(PowerCut):
            async with live_node(connection, session=0) as node:
                await eventually(lambda: health_of(collector).state is MeterState.OK)
                # The socket closes without a farewell, and the broker publishes the will.
                cut = node.client._client.socket()
                assert isinstance(cut, socket.socket)
                cut.shutdown(socket.SHUT_RDWR)
                raise PowerCut
        await eventually(lambda: health_of(collector).state is MeterState.DOWN)
        assert "edge node g/n is offline" in (health_of(collector).last_error or "")
        async with live_node(connection, session=1, aliases={"Power": 2, "Energy": 1}) as node:
            await eventually(lambda: health_of(collector).state is MeterState.OK)
            await node.say(7.0)
            await eventually(lambda: powers(sink)[-1] == 7.0)
            late = aiomqtt.Client(connection.host, connection.port)
            async with late:
                await late.publish("spBv1.0/g/NDEATH/n", ScriptedNode(session=0).death(), qos=1)
            await node.say(8.0)
            await eventually(lambda: powers(sink)[-1] == 8.0)
            assert health_of(collector).state is MeterState.OK


async def test_the_broker_may_go_away_and_come_back(broker: PrivateMosquitto, connection: SparkplugConnection) -> None:
    sink = MemorySink()
    collector = opened(connection, sink)
    async with running(collector):
        with contextlib.suppress(PowerCut):
            async with live_node(connection):
                await eventually(lambda: health_of(collector).state is MeterState.OK)
                await asyncio.to_thread(broker.stop)
                await eventually(lambda: not collector.connected())
                raise PowerCut
        assert health_of(collector).state is MeterState.DOWN
        await asyncio.to_thread(broker.start)
        await eventually(collector.connected)
        async with live_node(connection, session=1, aliases={"Power": 5, "Energy": 1}) as node:
            await node.say(3.0)
            await eventually(lambda: powers(sink)[-1] == 3.0)
            await eventually(lambda: health_of(collector).state is MeterState.OK)


class Wire:
    """Passes bytes on to the broker while it is whole."""

    def __init__(self, broker_port: int) -> None:
        self.whole = True
        self._broker_port = broker_port
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        self._writers |= {writer, up_writer}
        await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer), return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    def cut(self) -> None:
        self.whole = False
        for writer in self._writers:
            writer.close()


async def test_what_was_missed_while_the_connection_was_lost_may_have_been_other_aliases(
    connection: SparkplugConnection,
) -> None:
    wire = Wire(connection.port)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    sink = MemorySink()
    collector = opened(connection.model_copy(update={"port": server.sockets[0].getsockname()[1]}), sink)
    try:
        async with live_node(connection) as node, running(collector):
            await eventually(lambda: powers(sink) == [1.0])
            node.answers = False
            wire.cut()
            await eventually(lambda: not collector.connected())
            node.aliases = {"Power": 2, "Energy": 1}
            await node.birth()
            await node.client.publish("settled", qos=1)
            wire.whole = True
            await eventually(collector.connected)
            await node.say(5.0)  # the very sequence number that was expected next
            await eventually(lambda: health_of(collector).errors["unknown_metric"] == 1)
            node.answers = True
            await eventually(lambda: powers(sink) == [1.0, 5.0])
    finally:
        server.close()
    assert {reading.value("energy_import_kwh") for reading in sink.offered} == {100.0}
    assert not health_of(collector).errors["sequence_gap"]


async def test_a_node_that_does_not_answer_is_asked_again_but_seldom(mqtt_url: str) -> None:
    connection = connection_to(mqtt_url, rebirth_interval_s=0.3)
    async with live_node(connection) as node:
        node.answers = False
        collector = opened(connection, MemorySink())
        async with running(collector):
            began_s = time.monotonic()
            while node.requests < 3:
                await node.say(2.0)  # each of them is reason enough to ask
                await asyncio.sleep(0)
            assert time.monotonic() - began_s >= 0.3 + 0.6 - 0.05
    assert health_of(collector).errors["unknown_metric"] > 3
    assert health_of(collector).state is MeterState.DEGRADED


async def test_mosquitto_sub_sees_the_request_and_the_state_of_the_host(broker: PrivateMosquitto) -> None:
    connection = connection_to(broker.url, host_id="emsd")
    collector = opened(connection, MemorySink())
    async with listening(broker.sub, broker.port, 3) as lines, running(collector):
        assert await lines.read_line() == ("spBv1.0/STATE/emsd", True)
        topic, payload_of_request = await lines.read()
        assert topic == "spBv1.0/g/NCMD/n"
        assert REBIRTH in payload_of_request
    async with listening(broker.sub, broker.port, 1) as lines:
        assert await lines.read_line() == ("spBv1.0/STATE/emsd", False)


class Lines:
    def __init__(self, output: asyncio.StreamReader) -> None:
        self._output = output

    async def read(self) -> tuple[str, bytes]:
        async with asyncio.timeout(60):
            topic, _, data = (await self._output.readline()).rstrip(b"\n").partition(b" ")
        return topic.decode(), bytes.fromhex(data.decode())

    async def read_line(self) -> tuple[str, bool]:
        topic, data = await self.read()
        document = json.loads(data)
        assert set(document) == {"online", "timestamp"}
        assert abs(document["timestamp"] - now_ms()) < 60_000
        return topic, document["online"]


@asynccontextmanager
async def listening(sub: Path, port: int, messages: int) -> AsyncIterator[Lines]:
    program = await asyncio.create_subprocess_exec(
        sub, "-p", str(port), "-t", "spBv1.0/#", "-q", "1", "-C", str(messages), "-F", "%t %x",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        yield Lines(program.stdout)
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


async def test_a_host_that_dies_is_announced_by_its_will_and_says_again_that_it_is_there(mqtt_url: str) -> None:
    connection = connection_to(mqtt_url, host_id="emsd")
    said: list[bool] = []
    collector = opened(connection, MemorySink())
    async with running(collector), aiomqtt.Client(connection.host, connection.port) as client:
        await eventually(collector.connected)
        await client.subscribe("spBv1.0/STATE/emsd", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                said.append(json.loads(message.payload)["online"])

        watching = asyncio.create_task(listen())
        await eventually(lambda: said == [True])
        # What the broker says in the name of an earlier connection that it took for alive until now.
        await client.publish("spBv1.0/STATE/emsd", b'{"online":false,"timestamp":1}', qos=1, retain=True)
        await eventually(lambda: said == [True, False, True])
        watching.cancel()


async def test_without_a_host_id_nothing_is_said_of_the_host(connection: SparkplugConnection) -> None:
    collector = opened(connection, MemorySink())
    async with running(collector):
        await eventually(lambda: collector.births_requested == 1)
    async with aiomqtt.Client(connection.host, connection.port) as client:
        await client.subscribe("spBv1.0/STATE/#")
        await client.subscribe("end")
        await client.publish("end", b"", retain=False)
        first = await anext(aiter(client.messages))
        assert first.topic.value == "end"


async def publish(
    connection: SparkplugConnection, topic: str, *data: bytes, qos: int = 1, retain: bool = False
) -> None:
    async with aiomqtt.Client(connection.host, connection.port) as client:
        for each in data:
            await client.publish(f"spBv1.0/{topic}", each, qos=qos, retain=retain)


def named(power: float, seq: int) -> bytes:
    return payload(metric(power, name="Power"), time_ms=now_ms(), seq=seq)


async def test_what_came_at_qos_1_is_acknowledged_when_it_is_durable(connection: SparkplugConnection) -> None:
    dying = MemorySink()
    dying.open_gate.clear()
    first = opened(connection, dying)
    async with running(first):
        await eventually(first.connected)
        await publish(connection, "g/DDATA/n/d", *(named(float(at), at) for at in range(5)))
        await eventually(lambda: dying.waiting == 5)
    assert not dying.stored
    sink = MemorySink()
    second = opened(connection, sink)
    async with running(second):
        await eventually(lambda: sorted(powers(sink), key=float) == [0.0, 1.0, 2.0, 3.0, 4.0])  # type: ignore[arg-type]
        await eventually(lambda: health_of(second).polls_expected == 5)
    again = MemorySink()
    third = opened(connection, again)
    async with running(third):
        await eventually(third.connected)
        await publish(connection, "g/DDATA/n/d", named(9.0, 0))
        await eventually(lambda: powers(again) == [9.0])


async def test_what_was_understood_and_not_durable_is_not_lost_with_the_aliases(
    connection: SparkplugConnection,
) -> None:
    sink = MemorySink()
    collector = opened(connection, sink)
    async with live_node(connection) as node, running(collector):
        await eventually(lambda: powers(sink) == [1.0])
        sink.failing = True
        node.answers = False
        await node.say(2.0, qos=1)
        await eventually(lambda: health_of(collector).errors["not_durable"] >= 1)
        sink.failing = False
        # It comes again over a new connection, which trusts no alias; its meaning is remembered.
        await eventually(lambda: powers(sink) == [1.0, 2.0])


async def test_a_poison_is_kept_with_its_reason_and_blocks_nothing(connection: SparkplugConnection) -> None:
    sink = MemorySink()
    collector = opened(connection, sink)
    async with running(collector):
        await eventually(collector.connected)
        impossible = payload(metric(1.0, name="Power", time_ms=5), time_ms=now_ms(), seq=2)
        for qos in (0, 1):
            await publish(connection, "g/DDATA/n/d", named(1.0, 0), b"{broken", impossible, named(3.0, 3), qos=qos)
        await eventually(lambda: len(sink.poisons) == 4 and len(powers(sink)) == 4)
        await eventually(lambda: health_of(collector).polls_expected == 8)
    assert {(poison.payload, poison.meter_id, poison.topic) for poison in sink.poisons} == {
        (data, 2_000_017, "spBv1.0/g/DDATA/n/d") for data in (b"{broken", impossible)
    }
    assert {poison.qos for poison in sink.poisons} == {0, 1}
    assert health_of(collector).errors["bad_payload"] == 4


async def test_retained_messages_are_counted_and_left_alone(connection: SparkplugConnection) -> None:
    await publish(connection, "g/DDATA/n/d", named(5.0, 0), retain=True)
    sink = MemorySink()
    collector = opened(connection, sink)
    async with running(collector):
        await eventually(lambda: collector.intake.retained_messages == 1)
    assert not powers(sink)


async def test_historical_values_have_their_own_times(connection: SparkplugConnection) -> None:
    sink = MemorySink()
    collector = opened(connection, sink)
    then_ms = now_ms() - 3_600_000
    old = payload(
        *(metric(float(at), name="Power", time_ms=then_ms + at, historical=True) for at in range(3)),
        time_ms=now_ms(),
        seq=0,
    )
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "g/DDATA/n/d", old, qos=0)
        await eventually(lambda: powers(sink) == [0.0, 1.0, 2.0])
    assert [reading.time_us for reading in sink.offered] == [(then_ms + at) * 1000 for at in range(3)]
    assert {reading.quality for reading in sink.offered} == {Quality.DEVICE_TIME | Quality.REPLAYED}


def test_meters_that_cannot_be_read_are_all_named_before_anything_starts() -> None:
    meters = [power_meter("g"), bound(2, profile("json_energy_meter"), topic="g/n")]
    with pytest.raises(PlantError) as caught:
        open_collector(SparkplugConnection(key="b", host="h"), meters, MemorySink())
    assert [fault.field for fault in caught.value.faults] == [
        "meter m2000017 with profile made_up",
        "meter m2 with profile json_energy_meter",
    ]


def test_another_kind_of_connection_is_an_error_of_programming() -> None:
    with pytest.raises(TypeError, match="not sparkplug_b"):
        open_collector(MqttConnection(key="c", host="h"), [], MemorySink())
