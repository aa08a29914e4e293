"""The MQTT collector against a real broker: nothing is acknowledged before it is durable."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import aiomqtt
import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from collectors.mqtt import open_collector
from collectors.mqtt.collector import MqttCollector
from emsd.collector import BoundMeter, Collector, MeterHealth, MeterState
from emsd.errors import PlantError
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.mqtt_connection import MqttConnection
from emsd.readings import Quality
from emsd.servers import PrivateMosquitto
from tests.collectors.support import MemorySink, bound, eventually, profile, profile_of, running


@pytest.fixture
def connection(mqtt_url: str) -> MqttConnection:
    parts = urlsplit(mqtt_url)
    assert parts.hostname is not None
    assert parts.port is not None
    return MqttConnection(key="broker", host=parts.hostname, port=parts.port)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def meter(topic: str, meter_id: int = 2_000_017) -> BoundMeter:
    return bound(meter_id, profile("json_energy_meter"), topic=topic, rated_power_kw=80)


def message(second: int, watts: object = 1000) -> bytes:
    return orjson.dumps({"ts": f"2026-03-29T02:{second // 60:02}:{second % 60:02}Z", "power": {"total_w": watts}})


async def publish(connection: MqttConnection, topic: str, *payloads: bytes, qos: int = 1, retain: bool = False) -> None:
    async with aiomqtt.Client(connection.host, connection.port) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=qos, retain=retain)


def health_of(collector: Collector) -> MeterHealth:
    (health,) = collector.health()
    assert health.polls_expected == (
        health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    )
    return health


def seconds(sink: MemorySink) -> list[int]:
    return [reading.time.minute * 60 + reading.time.second for reading in sink.stored]


async def test_messages_become_durable_readings_in_order(connection: MqttConnection) -> None:
    sink = MemorySink()
    collector = open_collector(connection, [meter("plant/a/power")], sink)
    assert not collector.connected()
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/a/power", *(message(second) for second in range(50)))
        await eventually(lambda: len(sink.stored) == 50)
        await eventually(lambda: health_of(collector).polls_ok == 50)
    assert seconds(sink) == list(range(50))
    assert sink.stored[0].value("active_power_kw") == 1.0
    assert sink.stored[0].quality == Quality.DEVICE_TIME
    assert health_of(collector).state is MeterState.OK
    assert not collector.connected()


async def test_what_was_not_durable_when_the_process_died_is_delivered_again(connection: MqttConnection) -> None:
    dying = MemorySink()
    dying.open_gate.clear()
    first = open_collector(connection, [meter("plant/b/power")], dying)
    async with running(first):
        await eventually(first.connected)
        await publish(connection, "plant/b/power", *(message(second) for second in range(10)))
        await eventually(lambda: dying.waiting == 10)
    assert not dying.stored

    sink = MemorySink()
    second = open_collector(connection, [meter("plant/b/power")], sink)
    async with running(second):
        await eventually(lambda: len(sink.stored) == 10)
    assert seconds(sink) == list(range(10))
    assert all(reading.quality == Quality.DEVICE_TIME | Quality.REPLAYED for reading in sink.stored)


async def test_what_was_durable_is_never_delivered_again(connection: MqttConnection) -> None:
    sink = MemorySink()
    first = open_collector(connection, [meter("plant/c/power")], sink)
    async with running(first):
        await eventually(first.connected)
        await publish(connection, "plant/c/power", *(message(second) for second in range(10)))
        await eventually(lambda: health_of(first).polls_ok == 10)
    again = MemorySink()
    second = open_collector(connection, [meter("plant/c/power")], again)
    async with running(second):
        await eventually(second.connected)
        await publish(connection, "plant/c/power", message(99))
        await eventually(lambda: len(again.stored) == 1)
    assert seconds(again) == [99]


async def test_what_is_published_while_we_are_away_is_kept_for_us(connection: MqttConnection) -> None:
    first = open_collector(connection, [meter("plant/d/power")], MemorySink())
    async with running(first):
        await eventually(first.connected)
    await publish(connection, "plant/d/power", *(message(second) for second in range(200)))
    sink = MemorySink()
    async with running(open_collector(connection, [meter("plant/d/power")], sink)):
        await eventually(lambda: len(sink.stored) == 200)
    assert seconds(sink) == list(range(200))


async def test_a_poison_is_kept_with_its_reason_acknowledged_and_blocks_nothing(connection: MqttConnection) -> None:
    sink = MemorySink()
    collector = open_collector(connection, [meter("plant/e/power")], sink)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/e/power", message(1), b"{broken", message(2, "lots"), message(3))
        await eventually(lambda: len(sink.stored) == 2 and len(sink.poisons) == 2)
        await eventually(lambda: health_of(collector).polls_expected == 4)
    health = health_of(collector)
    assert (health.polls_ok, health.polls_failed) == (2, 2)
    assert health.errors == {"bad_payload": 2}
    broken, lots = sink.poisons
    assert broken.payload == b"{broken"
    assert broken.source == f"mqtt://{connection.host}:{connection.port}/plant/e/power"
    assert broken.meter_id == 2_000_017
    assert "not JSON" in broken.reason
    assert "plausible number" in lots.reason
    # Acknowledged: another process is not given it again.
    again = MemorySink()
    second = open_collector(connection, [meter("plant/e/power")], again)
    async with running(second):
        await eventually(second.connected)
        await publish(connection, "plant/e/power", message(4))
        await eventually(lambda: len(again.stored) == 1)
    assert not again.poisons


async def test_a_reading_that_cannot_be_made_durable_is_tried_again_until_it_is(connection: MqttConnection) -> None:
    sink = MemorySink(failing=True)
    collector = open_collector(connection, [meter("plant/f/power")], sink)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/f/power", message(1), b"{broken", message(2))
        await eventually(lambda: health_of(collector).errors["not_durable"] >= 2)
        sink.failing = False
        await eventually(lambda: len(sink.stored) == 2 and len(sink.poisons) == 1)
    assert sorted(seconds(sink)) == [1, 2]


async def test_no_more_than_max_in_flight_are_handled_at_one_time(connection: MqttConnection) -> None:
    sink = MemorySink()
    sink.open_gate.clear()
    few = connection.model_copy(update={"max_in_flight": 4})
    collector = open_collector(few, [meter("plant/g/power")], sink)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/g/power", *(message(second) for second in range(20)))
        await eventually(lambda: sink.waiting == 4)
        for _ in range(200):
            await asyncio.sleep(0)
            assert sink.waiting <= 4
        sink.open_gate.set()
        await eventually(lambda: len(sink.stored) == 20)
    assert seconds(sink) == list(range(20))


async def test_a_retained_message_is_marked_and_one_without_time_is_not_stored(connection: MqttConnection) -> None:
    await publish(connection, "plant/h/power", message(7), retain=True)
    await publish(connection, "plant/i/power", b'{"power": {"total_w": 5}}', retain=True)
    sink = MemorySink()
    meters = [meter("plant/h/power", 1_000_001), meter("plant/i/power", 1_000_002)]
    collector = open_collector(connection, meters, sink)
    async with running(collector):
        await eventually(lambda: len(sink.stored) == 1)
        await eventually(lambda: collector.health()[1].polls_expected == 1)
    (reading,) = sink.stored
    assert (reading.meter_id, reading.quality) == (1_000_001, Quality.DEVICE_TIME | Quality.REPLAYED)
    untimed = collector.health()[1]
    assert untimed.errors == {"retained_without_time": 1}
    assert untimed.polls_skipped == 1
    assert not sink.poisons


async def test_the_broker_may_go_away_and_come_back(broker: PrivateMosquitto, connection: MqttConnection) -> None:
    sink = MemorySink()
    collector = open_collector(connection, [meter("plant/j/power")], sink)
    async with running(collector):
        await eventually(collector.connected)
        await asyncio.to_thread(broker.stop)
        await eventually(lambda: not collector.connected() and health_of(collector).state is MeterState.DOWN)
        assert health_of(collector).errors["unreachable"] >= 1
        await asyncio.to_thread(broker.start)
        await eventually(collector.connected)
        await publish(connection, "plant/j/power", message(5))
        await eventually(lambda: seconds(sink) == [5])
        assert health_of(collector).state is MeterState.OK


async def test_messages_of_qos_0_are_offered_without_waiting(connection: MqttConnection) -> None:
    sink = MemorySink()
    sink.open_gate.clear()
    collector = open_collector(connection, [meter("plant/k/power")], sink)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/k/power", message(1), qos=0)
        await eventually(lambda: len(sink.offered) == 1)
    assert not sink.stored


async def test_topics_of_no_meter_left_over_in_the_session_are_counted_and_acknowledged(
    connection: MqttConnection,
) -> None:
    former = open_collector(connection, [meter("plant/l/former"), meter("plant/l/power", 2_000_018)], MemorySink())
    async with running(former):
        await eventually(former.connected)
    sink = MemorySink()
    collector = open_collector(connection, [meter("plant/l/power", 2_000_018)], sink)
    assert isinstance(collector, MqttCollector)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/l/former", message(1))
        await publish(connection, "plant/l/power", message(2))
        await eventually(lambda: seconds(sink) == [2] and collector.unclaimed_messages == 1)
    assert not sink.poisons


async def test_a_topic_pattern_may_have_wildcards_and_two_meters_one_topic(connection: MqttConnection) -> None:
    sink = MemorySink()
    meters = [meter("plant/m/+/power", 1_000_001), meter("plant/n/power", 1_000_002), meter("plant/n/power", 1_000_003)]
    collector = open_collector(connection, meters, sink)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/m/x/power", message(1))
        await publish(connection, "plant/n/power", message(2))
        await eventually(lambda: len(sink.stored) == 3)
    assert sorted((reading.meter_id, reading.time.second) for reading in sink.stored) == [
        (1_000_001, 1),
        (1_000_002, 2),
        (1_000_003, 2),
    ]


async def test_a_broker_that_speaks_only_mqtt_3_is_spoken_to_in_mqtt_3(connection: MqttConnection) -> None:
    """A relay stands for such a broker: it refuses MQTT 5 as 3.1.1 says, and passes 3.1.1 on to the real one."""
    versions: list[int] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await reader.read(4096)
        # CONNECT: fixed header 2, name length 2, "MQTT" 4, version 1.
        versions.append(hello[8])
        if hello[8] != 4:
            writer.write(bytes([0x20, 2, 0, 1]))
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection(connection.host, connection.port)
        up_writer.write(hello)
        await asyncio.wait(
            [asyncio.create_task(_pump(reader, up_writer)), asyncio.create_task(_pump(up_reader, writer))]
        )

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    sink = MemorySink()
    old = connection.model_copy(update={"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]})
    try:
        collector = open_collector(old, [meter("plant/o/power")], sink)
        async with running(collector):
            await eventually(collector.connected)
            await publish(connection, "plant/o/power", message(1))
            await eventually(lambda: seconds(sink) == [1])
    finally:
        server.close()
    assert versions == [5, 4]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


async def test_nobody_listening_is_reported_once_and_the_password_never(unused_port: int) -> None:
    structlog.reset_defaults()
    secret = "correct-horse-battery"
    connection = MqttConnection.model_validate(
        {"key": "b", "host": "127.0.0.1", "port": unused_port, "username": "emsd", "password": secret}
    )
    with capture_logs() as logs:
        collector = open_collector(connection, [meter("plant/p/power")], MemorySink())
        async with running(collector):
            await eventually(lambda: health_of(collector).errors["unreachable"] >= 2)
    (entry,) = [entry for entry in logs if entry["event"] == "broker_unreachable"]
    assert f"mqtt://127.0.0.1:{unused_port} cannot be reached" in entry["error"]
    assert secret not in repr(logs)
    assert secret not in (health_of(collector).last_error or "")


def test_meters_that_cannot_be_read_over_mqtt_are_all_named_before_anything_starts() -> None:
    points = [{"quantity": "active_power_kw", "address": 1, "type": "u16"}]
    with pytest.raises(PlantError) as caught:
        open_collector(
            MqttConnection(key="b", host="h"),
            [bound(1, profile("json_energy_meter")), bound(2, profile_of(points), topic="t")],
            MemorySink(),
        )
    assert [fault.field for fault in caught.value.faults] == [
        "meter m1 with profile json_energy_meter",
        "meter m2 with profile made_up",
    ]


def test_another_kind_of_connection_is_an_error_of_programming() -> None:
    with pytest.raises(TypeError, match="not mqtt"):
        open_collector(ModbusTcpConnection(key="c", host="h"), [], MemorySink())


async def test_messages_that_a_lost_connection_cuts_off_count_once_they_come_again(
    broker: PrivateMosquitto, connection: MqttConnection
) -> None:
    sink = MemorySink()
    sink.open_gate.clear()
    collector = open_collector(connection, [meter("plant/cut/power")], sink)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/cut/power", *(message(second) for second in range(5)))
        await eventually(lambda: sink.waiting == 5)
        await asyncio.to_thread(broker.stop)
        await eventually(lambda: not collector.connected())
        sink.open_gate.set()
        await eventually(lambda: len(sink.stored) == 5)
        assert health_of(collector).polls_expected == 0
        await asyncio.to_thread(broker.start)
        await eventually(collector.connected)
        await publish(connection, "plant/cut/power", message(9))
        await eventually(lambda: 9 in seconds(sink))
        await eventually(lambda: health_of(collector).polls_expected == health_of(collector).polls_ok == 6)


async def test_messages_of_qos_0_never_wait_behind_those_that_are_not_durable_yet(connection: MqttConnection) -> None:
    sink = MemorySink()
    sink.open_gate.clear()
    unacknowledged = profile("json_energy_meter")
    assert unacknowledged.mqtt is not None
    unacknowledged = unacknowledged.model_copy(update={"mqtt": unacknowledged.mqtt.model_copy(update={"qos": 0})})
    meters = [
        meter("plant/durable/power"),
        bound(2_000_018, unacknowledged, topic="plant/fleeting/power", rated_power_kw=80),
    ]
    collector = open_collector(connection.model_copy(update={"max_in_flight": 1}), meters, sink)
    async with running(collector):
        await eventually(collector.connected)
        await publish(connection, "plant/durable/power", message(0), message(1))
        await eventually(lambda: sink.waiting == 1)
        await publish(connection, "plant/fleeting/power", *(message(second) for second in range(50)), qos=0)
        await eventually(lambda: len(sink.offered) == 50)
        assert not sink.stored
