"""What goes wrong between devices, broker and database: each row is a contract, held against a real broker."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiomqtt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.mqtt import open_collector
from collectors.mqtt.collector import LARGEST_POISON_BYTES
from collectors.mqtt.mapping import JsonMapping
from collectors.mqtt.meter import layout_of
from emsd.collector import BoundMeter, MeterState
from emsd.errors import BadPayload
from emsd.ingest.pipeline import Pipeline
from emsd.plant.mqtt_connection import MqttConnection
from emsd.readings import Quality, Reading
from emsd.servers import PrivateMosquitto
from emsd.store.pool import open_pool
from tests.collectors.mqtt_support import connection_to, health_of, meter_of
from tests.collectors.support import MemorySink, eventually, running

BEGIN = datetime(2026, 3, 29, 2, tzinfo=UTC)


def message(second: int, watts: float = 1000.0) -> bytes:
    when = BEGIN + timedelta(seconds=second)
    return orjson.dumps({"ts": when.isoformat(), "power": {"total_w": watts}, "energy": {"import_wh": 1000 + second}})


@asynccontextmanager
async def publisher(connection: MqttConnection) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    async with aiomqtt.Client(connection.host, connection.port) as client:

        async def publish(topic: str, *payloads: bytes, qos: int = 1, retain: bool = False) -> None:
            for payload in payloads:
                await client.publish(topic, payload, qos=qos, retain=retain)

        yield publish


def seconds(readings: list[Reading]) -> list[int]:
    return [round((reading.time - BEGIN).total_seconds()) for reading in readings]


TEN_KINDS = {
    "not JSON": b"temperature: 21",
    "truncated": message(0)[:-9],
    "wrong type": b'{"power": {"total_w": "a lot"}}',
    "none of the values": b'{"hello": "world"}',
    "NaN": b'{"power": {"total_w": NaN}}',
    "infinity": b'{"power": {"total_w": Infinity}}',
    "huge number": b'{"power": {"total_w": 1e999}}',
    "too large a number": b'{"power": {"total_w": ' + b"9" * 400 + b"}}",
    "nested too deep": b'{"power": ' * 5000 + b"1" + b"}" * 5000,
    "invalid UTF-8": b'{"power": {"total_w": 1, "\xff\xfe": 2}}',
    "empty": b"",
    "1 MB of noise": bytes(range(256)) * 4096,
    "time is no time": b'{"ts": "yesterday", "power": {"total_w": 1}}',
    "time before there were meters": b'{"ts": "1970-01-01T00:00:00Z", "power": {"total_w": 1}}',
    "time of another century": b'{"ts": "9999-12-31T23:59:59-12:00", "power": {"total_w": 1}}',
    "a list": b"[1, 2, 3]",
}


@pytest.mark.parametrize("qos", [0, 1])
async def test_poison_of_every_kind_is_kept_with_its_reason_and_what_comes_after_it_is_stored(
    mosquitto: PrivateMosquitto, qos: int
) -> None:
    connection = connection_to(mosquitto.url, client_id=f"test-poison-{qos}")
    topic, sink = f"poison/{qos}", MemorySink()
    collector = open_collector(connection, [meter_of("json_energy_meter", topic)], sink)
    async with running(collector), publisher(connection) as publish:
        await eventually(collector.connected)
        for second, payload in enumerate(TEN_KINDS.values()):
            await publish(topic, payload, message(second), qos=qos)
        await eventually(lambda: len(sink.poisons) == len(TEN_KINDS))
        readings = sink.stored if qos else sink.offered
        await eventually(lambda: len(readings) == len(TEN_KINDS))
        await eventually(lambda: health_of(collector).polls_expected == 2 * len(TEN_KINDS))
    assert seconds(readings) == list(range(len(TEN_KINDS)))
    for poison, (kind, payload) in zip(
        sorted(sink.poisons, key=lambda each: each.received_us), TEN_KINDS.items(), strict=True
    ):
        assert poison.reason, kind
        assert poison.payload == payload[:LARGEST_POISON_BYTES]
        assert poison.payload_bytes == len(payload)
        assert (poison.connection, poison.topic, poison.qos, poison.retained) == ("broker", topic, qos, False)
        assert poison.meter_id == 2_000_017
    assert health_of(collector).state is MeterState.OK


async def test_poison_at_qos_0_never_waits_for_the_database_nor_piles_up(mosquitto: PrivateMosquitto) -> None:
    connection = connection_to(mosquitto.url, client_id="test-poison-flood")
    sink = MemorySink()
    sink.open_gate.clear()
    collector = open_collector(connection, [meter_of("json_energy_meter", "poison/flood")], sink)
    async with running(collector), publisher(connection) as publish:
        await eventually(collector.connected)
        for _ in range(1500):
            await publish("poison/flood", b"{", qos=0)
        await publish("poison/flood", message(1), qos=0)
        await eventually(lambda: len(sink.offered) == 1)
        health = health_of(collector)
        assert sink.waiting == 1000
        assert (health.polls_failed, health.errors["poison_given_up"]) == (1500, 500)
        sink.open_gate.set()
        await eventually(lambda: len(sink.poisons) == 1000)


PAYLOADS = st.one_of(
    st.binary(max_size=300),
    st.sampled_from(list(TEN_KINDS.values())).flatmap(
        lambda payload: st.integers(0, min(len(payload), 400)).map(lambda length: payload[:length])
    ),
    st.tuples(st.integers(0, 120), st.integers(0, 255)).map(
        lambda place: message(0)[: place[0]] + bytes([place[1]]) + message(0)[place[0] + 1 :]
    ),
)
METERS = [
    meter_of("json_energy_meter", "t"), meter_of("shelly_gen2_triphase", "t"), meter_of("shelly_gen2_mono", "t/1"),
    meter_of("tasmota_energy", "t", time_zone="Europe/Berlin"), meter_of("zigbee2mqtt_plug", "t"),
    meter_of("mqtt_value_per_topic", "t"),
]  # fmt: skip
MAPPINGS = [JsonMapping(meter, kind) for meter in METERS for kind in layout_of(meter).kinds]


@given(PAYLOADS, st.booleans(), st.booleans())
def test_no_message_raises_anything_but_bad_payload_in_any_shipped_profile(
    payload: bytes, retained: bool, repeated: bool
) -> None:
    received_us = 1_774_750_000_000_000
    for mapping in MAPPINGS:
        try:
            mapped = mapping.read(payload, received_us, retained=retained, repeated=repeated)
        except BadPayload:
            continue
        if mapped.reading is not None:
            assert any(value is not None for value in mapped.reading.values) or mapped.rejected
            assert all(value is None or math.isfinite(value) for value in mapped.reading.values)


async def test_a_broker_that_is_restarted_loses_nothing_of_what_it_has_acknowledged(
    broker: PrivateMosquitto, database_url: str
) -> None:
    """Mosquitto keeps persistent sessions and their queues on disk; readings go into the real database."""
    connection = connection_to(broker.url, client_id="test-restart")
    async with open_pool(database_url) as pool:
        pipeline = Pipeline(pool)
        collector = open_collector(connection, [meter_of("json_energy_meter", "restart/a")], pipeline)
        writing = asyncio.create_task(pipeline.run(), name="pipeline under test")
        try:
            async with running(collector):
                await eventually(collector.connected)
                async with publisher(connection) as publish:
                    await publish("restart/a", *(message(second) for second in range(300)))
                    # Some are on their way, some are acknowledged: the broker goes down in the middle of it.
                    await asyncio.to_thread(broker.stop)
                await eventually(lambda: not collector.connected())
                await asyncio.to_thread(broker.start)
                await eventually(collector.connected)
                async with publisher(connection) as publish:
                    await publish("restart/a", *(message(second) for second in range(300, 310)))
                await eventually(lambda: pipeline.stats().stored == 310)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        rows = await pool.fetch("SELECT time, energy_import_kwh FROM reading ORDER BY time")
        assert [row["time"] for row in rows] == [BEGIN + timedelta(seconds=second) for second in range(310)]
        assert [row["energy_import_kwh"] for row in rows] == pytest.approx([1 + n / 1000 for n in range(310)])
        assert await pool.fetchval("SELECT count(*) FROM quarantine") == 0
        assert await pool.fetchval("SELECT count(*) FROM reading_loss") == 0


async def test_duplicates_and_another_order_make_the_same_rows(mosquitto: PrivateMosquitto, database_url: str) -> None:
    connection = connection_to(mosquitto.url, client_id="test-duplicates")
    order = [5, 3, 3, 0, 1, 5, 2, 4, 0, 1]
    async with open_pool(database_url) as pool:
        pipeline = Pipeline(pool)
        meters = [meter_of("json_energy_meter", "twice/a", 1), meter_of("json_energy_meter", "twice/b", 2)]
        collector = open_collector(connection, meters, pipeline)
        writing = asyncio.create_task(pipeline.run(), name="pipeline under test")
        try:
            async with running(collector), publisher(connection) as publish:
                await eventually(collector.connected)
                await publish("twice/a", *(message(second) for second in order))
                await publish("twice/b", *(message(second) for second in range(6)))
                await eventually(lambda: sum(health.polls_ok for health in collector.health()) == len(order) + 6)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        rows = await pool.fetch("SELECT meter_id, time, active_power_kw, energy_import_kwh FROM reading ORDER BY 1, 2")
        once, again = ([tuple(row)[1:] for row in rows if row["meter_id"] == meter_id] for meter_id in (1, 2))
        assert once == again
        assert len(once) == 6
        stats = pipeline.stats()
        assert (stats.accepted, stats.stored, stats.merged) == (16, 12, 4)


def untimed(meter_id: int, topic: str) -> BoundMeter:
    return meter_of("zigbee2mqtt_plug", topic, meter_id)


async def test_a_message_without_time_that_is_delivered_again_gets_the_time_of_its_first_arrival(
    broker: PrivateMosquitto,
) -> None:
    connection = connection_to(broker.url, client_id="test-again")
    sink = MemorySink()
    sink.open_gate.clear()
    collector = open_collector(connection, [untimed(1, "plug")], sink)
    async with running(collector):
        await eventually(collector.connected)
        async with publisher(connection) as publish:
            await publish("zigbee2mqtt/plug", *(json.dumps({"power": n}).encode() for n in range(3)))
            await eventually(lambda: sink.waiting == 3)
        await asyncio.to_thread(broker.stop)
        await eventually(lambda: not collector.connected())
        sink.open_gate.set()
        await eventually(lambda: len(sink.stored) == 3)
        await asyncio.to_thread(broker.start)
        await eventually(lambda: len(sink.stored) == 6)
        await eventually(lambda: health_of(collector).polls_ok == 3)
    first, again = sink.stored[:3], sink.stored[3:]
    assert [reading.time_us for reading in first] == [reading.time_us for reading in again]
    assert [reading.values for reading in first] == [reading.values for reading in again]
    assert {reading.quality for reading in again} == {Quality.REPLAYED}
    assert not sink.poisons


async def test_a_message_without_time_that_an_earlier_process_received_is_kept_for_a_person(
    broker: PrivateMosquitto,
) -> None:
    connection = connection_to(broker.url, client_id="test-again-unknown")
    dying = MemorySink()
    dying.open_gate.clear()
    first = open_collector(connection, [untimed(1, "plug")], dying)
    async with running(first):
        await eventually(first.connected)
        async with publisher(connection) as publish:
            await publish("zigbee2mqtt/plug", b'{"power": 1}')
        await eventually(lambda: dying.waiting == 1)
    sink = MemorySink()
    second = open_collector(connection, [untimed(1, "plug")], sink)
    async with running(second):
        await eventually(lambda: len(sink.poisons) == 1)
    assert "delivered again and has no time of its own" in sink.poisons[0].reason


async def test_what_is_not_durable_stays_under_way_across_connections_and_never_more_than_the_bound(
    broker: PrivateMosquitto,
) -> None:
    connection = connection_to(broker.url, client_id="test-bound", max_in_flight=4)
    sink = MemorySink()
    sink.open_gate.clear()
    collector = open_collector(connection, [meter_of("json_energy_meter", "bound/a")], sink)
    async with running(collector):
        await eventually(collector.connected)
        async with publisher(connection) as publish:
            await publish("bound/a", *(message(second) for second in range(20)))
        await eventually(lambda: sink.waiting == 4)
        for _ in range(2):
            await asyncio.to_thread(broker.stop)
            await eventually(lambda: not collector.connected())
            await asyncio.to_thread(broker.start)
            await eventually(collector.connected)
            assert sink.waiting == 4  # the same four: the broker sends them again, and they wait for room
        sink.open_gate.set()
        await eventually(lambda: set(seconds(sink.stored)) == set(range(20)))


async def test_a_retained_old_message_is_no_new_reading(mosquitto: PrivateMosquitto) -> None:
    connection = connection_to(mosquitto.url, client_id="test-retained")
    async with publisher(connection) as publish:
        await publish("zigbee2mqtt/old", b'{"power": 1}', retain=True)
        await publish("zigbee2mqtt/dated", b'{"power": 2, "last_seen": "2026-03-01T00:00:00Z"}', retain=True)
    sink = MemorySink()
    collector = open_collector(connection, [untimed(1, "old"), untimed(2, "dated")], sink)
    async with running(collector):
        await eventually(lambda: len(sink.stored) == 1)
        await eventually(lambda: collector.health()[0].errors["retained_without_time"] == 1)
    (reading,) = sink.stored
    assert (reading.meter_id, reading.time.isoformat()) == (2, "2026-03-01T00:00:00+00:00")
    assert reading.quality == Quality.DEVICE_TIME | Quality.REPLAYED


async def test_a_stream_that_is_not_mqtt_ends_the_connection_and_another_is_tried() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(4096)
        writer.write(bytes([0x20, 3, 0, 0, 0]))  # CONNACK, MQTT 5
        writer.write(b"\x30\xff\xff\xff\xff\xff")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    connection = connection_to(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    collector = open_collector(connection, [meter_of("json_energy_meter", "t")], MemorySink())
    try:
        async with running(collector):
            await eventually(lambda: connections >= 2)
            assert health_of(collector).state is MeterState.DOWN
    finally:
        server.close()
