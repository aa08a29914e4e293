"""Messages a second from a real broker into the database, against bare aiomqtt that only counts them.

A message has ten values and its own time, at QoS 1; it is acknowledged after its reading is committed. Ours is the
whole way: MqttCollector, Pipeline, TimescaleDB. The bare side is aiomqtt with acknowledgements by hand, as its users
write it, and throws the messages away. Publisher, broker and database are processes of their own on the same machine.

    saturated   the publisher writes as fast as the broker takes it; from the first message to the last acknowledged
    steady      8,000 messages a second: how long from the making of a message until its acknowledgement is due
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiomqtt

from bench.child import REPOSITORY
from bench.result import Report, compared, single
from bench.world import Size, World
from collectors.mqtt import open_collector
from emsd.collector import BoundMeter, DeviceIdentity, Poison, Sink
from emsd.errors import NotDurable
from emsd.ingest.pipeline import Pipeline
from emsd.plant.models import Meter
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.profile import Profile
from emsd.readings import Reading
from emsd.servers import PrivateMosquitto
from emsd.store.pool import open_pool

__all__ = ["run"]

_METERS: Final = 1_000
_RATE: Final = 8_000
_LARGEST_LAG_S: Final = 2.0
_SIZES: Final = {Size.FULL: (7, 60_000, 30.0), Size.QUICK: (3, 30_000, 10.0), Size.SMOKE: (1, 2_000, 0.5)}
"""Rounds, messages of each side in a round, and seconds of the steady part [s]."""
_PROFILE: Final = Profile.model_validate(
    {
        "profile": "bench_json", "kind": "power_meter", "manufacturer": "none", "model": "none", "source": ["bench"],
        "mqtt": {
            "time": {"path": "ts", "format": "epoch_us"},
            "values": [
                {"quantity": "active_power_kw", "path": "power.total_w", "scale": 0.001},
                {"quantity": "active_power_l1_kw", "path": "power.l1_w", "scale": 0.001},
                {"quantity": "active_power_l2_kw", "path": "power.l2_w", "scale": 0.001},
                {"quantity": "active_power_l3_kw", "path": "power.l3_w", "scale": 0.001},
                {"quantity": "energy_import_kwh", "path": "energy.import_wh", "scale": 0.001},
                {"quantity": "voltage_l1_n_v", "path": "voltage_v.l1"},
                {"quantity": "voltage_l2_n_v", "path": "voltage_v.l2"},
                {"quantity": "voltage_l3_n_v", "path": "voltage_v.l3"},
                {"quantity": "power_factor", "path": "factor"},
                {"quantity": "frequency_hz", "path": "frequency_hz"},
            ],
        },
    }
)  # fmt: skip


class _Timed:
    """Passes readings on to the pipeline and takes the time until their fate is known."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.durable = 0
        self.lags_s: list[float] = []
        self.first_s = 0.0
        self.last_s = 0.0

    def offer(self, reading: Reading) -> None:
        raise AssertionError(f"a message of QoS 1 was not delivered as one: {reading}")

    async def store(self, reading: Reading) -> None:
        await self._sink.store(reading)

    def deliver(self, reading: Reading, done: Callable[[NotDurable | None], None]) -> None:
        if not self.first_s:
            self.first_s = time.perf_counter()

        def decided(error: NotDurable | None) -> None:
            self.durable += error is None
            self.last_s = time.perf_counter()
            self.lags_s.append(time.time() - reading.time_us / 1e6)
            done(error)

        self._sink.deliver(reading, decided)

    def identified(self, meter_id: int, identity: DeviceIdentity, seen_us: int) -> None:
        """Nobody asks."""

    async def quarantine(self, poison: Poison) -> None:
        raise AssertionError(poison.reason)


async def run(world: World) -> Report:
    """Measure in turns: ours, bare; then the steady part."""
    rounds, messages, seconds = _SIZES[world.size]
    measured: list[tuple[float, float]] = []
    cpu_us: list[float] = []
    broker = PrivateMosquitto(world.folder / "mosquitto")
    await asyncio.to_thread(broker.start)
    try:
        async with world.database() as url, open_pool(url) as pool:
            for number in range(rounds):
                world.say("mqtt", f"round {number + 1} of {rounds}")
                async with _collecting(Pipeline(pool), broker.port) as sink:
                    before_s = _cpu_s()
                    await _all(broker.port, "bench", messages, 0, lambda sink=sink: sink.durable)  # type: ignore[misc]
                    cpu_us.append((_cpu_s() - before_s) / messages * 1e6)
                measured.append((messages / (sink.last_s - sink.first_s), await _bare(broker.port, messages)))
            world.say("mqtt", f"{_RATE} messages a second for {seconds:g} s")
            async with _collecting(Pipeline(pool), broker.port) as sink:
                steady = int(_RATE * seconds)
                await _all(broker.port, "bench", steady, _RATE, lambda: sink.durable)
            stored = await pool.fetchval("SELECT count(*) FROM reading")
            assert stored == rounds * messages + steady, (stored, rounds, messages, steady)
    finally:
        await asyncio.to_thread(broker.stop)
    lags_s = sorted(sink.lags_s)
    p50_s, p99_s = (lags_s[int(len(lags_s) * share)] for share in (0.50, 0.99))
    reached = steady / (sink.last_s - sink.first_s)
    return Report(
        [
            compared("mqtt", "messages of 10 values, committed and acknowledged", "messages/s", measured),
            single("mqtt", f"steady, of {_RATE} published", "messages/s", reached,
                   target=f">= {0.98 * _RATE:.0f}", met=reached >= 0.98 * _RATE),
            single("mqtt", "from made to acknowledged, median", "s", p50_s),
            single("mqtt", "from made to acknowledged, 99 of 100", "s", p99_s,
                   target=f"< {_LARGEST_LAG_S:g} s", met=p99_s < _LARGEST_LAG_S),
        ],
        [f"mqtt: {sorted(cpu_us)[len(cpu_us) // 2]:.0f} us of processor time a message in the collecting process"],
    )  # fmt: skip


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@asynccontextmanager
async def _collecting(pipeline: Pipeline, port: int) -> AsyncIterator[_Timed]:
    sink = _Timed(pipeline)
    meters = [
        BoundMeter(
            number + 1,
            Meter(key=f"m{number}", name="m", asset="a", profile="bench_json", connection="b", topic=f"bench/{number}"),
            _PROFILE,
        )
        for number in range(_METERS)
    ]
    collector = open_collector(MqttConnection(key="b", host="127.0.0.1", port=port), meters, sink)
    tasks = [
        asyncio.create_task(pipeline.run(), name="benchmarked-pipeline"),
        asyncio.create_task(collector.run(), name="benchmarked-collector"),
    ]
    try:
        async with asyncio.timeout(30):
            while not collector.connected():  # noqa: ASYNC110 - the collector has no event for it
                await asyncio.sleep(0.01)
        yield sink
    finally:
        for task in reversed(tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _all(port: int, prefix: str, messages: int, rate: int, arrived: Callable[[], int]) -> None:
    """Publish messages and wait until all have arrived."""
    publisher = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.mqtt_publisher",
        str(port),
        prefix,
        str(_METERS),
        str(messages),
        str(rate),
        cwd=REPOSITORY,
    )
    try:
        async with asyncio.timeout(120 + (messages / rate if rate else 0)):
            while arrived() < messages:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.005)
            await publisher.wait()
    finally:
        if publisher.returncode is None:
            publisher.kill()
            await publisher.wait()


async def _bare(port: int, messages: int) -> float:
    """Return how many messages a second bare aiomqtt counts and acknowledges."""
    first_s = last_s = 0.0
    counted = 0

    async def count(client: aiomqtt.Client) -> None:
        nonlocal first_s, last_s, counted
        paho = client._client  # noqa: SLF001 - aiomqtt offers no way to acknowledge by hand
        async for message in client.messages:
            first_s = first_s or time.perf_counter()
            paho.ack(message.mid, message.qos)
            counted += 1
            last_s = time.perf_counter()

    async with aiomqtt.Client("127.0.0.1", port, identifier="bare", protocol=aiomqtt.ProtocolVersion.V5) as client:
        client._client.manual_ack_set(on=True)  # noqa: SLF001
        await client.subscribe("bare/#", qos=1)
        counting = asyncio.create_task(count(client), name="bare-counting")
        try:
            await _all(port, "bare", messages, 0, lambda: counted)
        finally:
            counting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await counting
    return messages / (last_s - first_s)
