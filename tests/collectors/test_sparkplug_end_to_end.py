"""Simulated edge nodes, Mosquitto and the collector: what was measured is what arrives, whatever happens between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from collectors.sparkplug import open_collector
from emsd.collector import BoundMeter, Collector, MeterState
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.sparkplug_connection import SparkplugConnection
from emsd.readings import Quality, Reading, instant_us
from emsd.servers import PrivateMosquitto
from simulator import Simulator
from simulator.sparkplug_payload import BOOLEAN, DOUBLE, INT64, REBIRTH, Metric, asks_for_birth, payload_of
from simulator.sparkplug_publisher import SparkplugPublisher
from tests.collectors.sparkplug_support import metric, payload, varint
from tests.collectors.support import MemorySink, eventually, profile, running

ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)
START_US = instant_us(datetime(2026, 6, 3, 9, tzinfo=UTC))
TOPICS = {"node": "site/edge-1", "press": "site/edge-1/press", "oven": "site/edge-1/oven", "lone": "site/edge-2/lone"}


def plant_at(url: str, *, interval_s: float = 0.1) -> Plant:
    parts = urlsplit(url)
    return Plant(
        site=Site(name="Test", time_zone="UTC", carbon_region="CN"),
        areas=(Area(key="hall", name="Hall"),),
        assets=(Asset(key="line", name="Line", kind=AssetKind.PROCESS_TOOL, area="hall", rated_power_kw=100.0),),
        connections=(
            SparkplugConnection(key="spb", host=parts.hostname or "", port=parts.port or 0, rebirth_interval_s=0.2),
        ),
        meters=tuple(
            Meter(
                key=key, name=key, asset="line", profile="sparkplug_energy_meter", connection="spb", topic=topic,
                poll_interval_s=interval_s,
            )
            for key, topic in TOPICS.items()
        ),
    )  # fmt: skip


def simulator_of(plant: Plant) -> Simulator:
    made_of = profile("sparkplug_energy_meter")
    return Simulator(plant, {made_of.profile: made_of}, anchor=ANCHOR, now_us=ticking(START_US))


def ticking(start_us: int) -> Callable[[], int]:
    """Return a clock that says `start_us` now and runs on from there."""
    loop = asyncio.get_running_loop()
    offset_us = start_us - round(loop.time() * 1e6)
    return lambda: round(loop.time() * 1e6) + offset_us


def collector_of(plant: Plant, sink: MemorySink) -> Collector:
    made_of = profile("sparkplug_energy_meter")
    meters = [BoundMeter(1_000_001 + at, meter, made_of) for at, meter in enumerate(plant.meters)]
    return open_collector(plant.connections[0], meters, sink, now_us=ticking(START_US))


def of(sink: MemorySink, key: str) -> list[Reading]:
    return sink.of(1_000_001 + list(TOPICS).index(key))


def assert_true(simulator: Simulator, sink: MemorySink) -> None:
    """Every value that arrived is what its meter measured at the time of the reading, under the right name."""
    assert sink.offered
    assert not sink.poisons
    for key in TOPICS:
        for reading in of(sink, key):
            physical = simulator.truth.quantities(key, reading.time_us)
            for name, value in reading.items():
                assert value == pytest.approx(physical[name], abs=0.00101), (key, name, reading.time_us)


def full(sink: MemorySink) -> bool:
    return all(len(of(sink, key)) >= 3 for key in TOPICS)


async def test_every_value_of_nodes_and_devices_is_what_was_measured(mqtt_url: str) -> None:
    plant = plant_at(mqtt_url)
    sink = MemorySink()
    collector = collector_of(plant, sink)
    async with simulator_of(plant) as simulator, running(collector):
        await eventually(lambda: full(sink))
        assert_true(simulator, sink)
        assert all(health.state is MeterState.OK for health in collector.health())
        assert {reading.quality for reading in sink.offered} == {Quality.DEVICE_TIME}
        # By exception: a later message carries what has changed, and no more.
        assert min(len(reading.columns) for reading in sink.offered) < len(sink.offered[0].columns)


async def test_a_collector_that_starts_later_asks_and_is_answered(mqtt_url: str) -> None:
    plant = plant_at(mqtt_url, interval_s=3600.0)  # nobody says anything unasked
    async with simulator_of(plant) as simulator:
        publisher = simulator.publishers["spb"]
        assert isinstance(publisher, SparkplugPublisher)
        await eventually(lambda: publisher.connected)
        sink = MemorySink()
        async with running(collector_of(plant, sink)):
            await eventually(lambda: all(of(sink, key) for key in TOPICS))
        assert_true(simulator, sink)
        assert [node.births for node in publisher.nodes.values()] == [2, 2]


async def test_a_restarted_broker_and_nodes_with_other_aliases_are_survived(
    broker: PrivateMosquitto, mqtt_url: str
) -> None:
    plant = plant_at(mqtt_url)
    sink = MemorySink()
    collector = collector_of(plant, sink)
    async with simulator_of(plant) as simulator, running(collector):
        await eventually(lambda: full(sink))
        await asyncio.to_thread(broker.stop)
        await eventually(lambda: not collector.connected())
        assert {health.state for health in collector.health()} == {MeterState.DOWN}
        sink.offered.clear()
        await asyncio.to_thread(broker.start)
        await eventually(lambda: full(sink))
        assert_true(simulator, sink)
        await eventually(lambda: all(health.state is MeterState.OK for health in collector.health()))


async def test_a_node_that_leaves_takes_its_devices_down_and_no_other(mqtt_url: str) -> None:
    plant = plant_at(mqtt_url)
    sink = MemorySink()
    collector = collector_of(plant, sink)
    async with running(collector):
        async with simulator_of(plant.model_copy(update={"meters": plant.meters[:3]})):
            await eventually(lambda: all(of(sink, key) for key in ("node", "press", "oven")))
        await eventually(lambda: [health.state for health in collector.health()][:3] == [MeterState.DOWN] * 3)
        assert all("NDEATH" in (health.last_error or "") for health in collector.health()[:3])
        assert collector.health()[3].state is MeterState.STARTING


def test_the_simulator_writes_what_specification_3_says() -> None:
    # Each metric by hand: name 1, alias 2, timestamp 3, datatype 4, is_null 7, long 11, double 13, boolean 14.
    metrics = [
        Metric(-2, INT64, name="E", alias=300),
        Metric(-0.125, DOUBLE, alias=1),
        Metric(1, BOOLEAN, name="b"),
        Metric(None, DOUBLE, name="n"),
    ]
    written = payload_of(metrics, 5, 7)
    assert written.hex(" ") == (
        "08 05 "
        "12 15 0a 01 45 10 ac 02 18 05 20 04 58 fe ff ff ff ff ff ff ff ff 01 "
        "12 0f 10 01 18 05 20 0a 69 00 00 00 00 00 00 c0 bf "
        "12 09 0a 01 62 18 05 20 0b 70 01 "
        "12 09 0a 01 6e 18 05 20 0a 38 01 "
        "18 07"
    )
    short = payload_of([Metric(1.0, DOUBLE, alias=1)], 5, 7, with_datatypes=False)
    assert short.hex(" ") == "08 05 12 0d 10 01 18 05 69 00 00 00 00 00 00 f0 3f 18 07"


def test_the_simulator_obeys_a_request_for_a_birth_and_nothing_else() -> None:
    fixed = varint(20 << 3 | 5) + b"abcd" + varint(21 << 3 | 1) + b"abcdefgh"
    request = metric(1, name=REBIRTH, datatype=BOOLEAN)
    assert asks_for_birth(payload(request, time_ms=1))
    assert asks_for_birth(payload(metric(2.0, name="x"), request + fixed, time_ms=1))
    assert not asks_for_birth(payload(metric(0, name=REBIRTH, datatype=BOOLEAN)))
    assert not asks_for_birth(payload(metric(1, name="Node Control/Reboot", datatype=BOOLEAN)))
    assert not any(asks_for_birth(data) for data in (b"", b"{broken", request[:-1], b"\x12\x7f\x0a"))
