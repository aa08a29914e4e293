"""Polls a second of our Modbus collector, against bare pymodbus reading the same blocks from the same server.

Both sides hold one connection with one request in flight, in this process, on the same event loop; the simulator's
server runs in a process of its own. Ours is the whole collector: due queue, ticks, transaction checks, decode,
plausibility, readings handed to a sink that counts them. The bare side only reads and throws the registers away. The
meters ask for a poll every 0.1 ms, so one is always due and the collector never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from pymodbus.client import AsyncModbusTcpClient

from bench.child import helper
from bench.result import Report, compared
from bench.world import Size, World
from collectors.modbus import open_collector
from emsd.collector import BoundMeter, Collector, DeviceIdentity, Poison
from emsd.errors import NotDurable
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.readings import Reading
from simulator.fleet import fleet

__all__ = ["Counting", "run"]

_METERS: Final = 10
_ALWAYS_DUE_S: Final = 0.0001
_BLOCKS: Final = ((0, 24), (1000, 8))
"""What the collector's plan reads of the fleet's profile: (address, registers)."""
_SIZES: Final = {Size.FULL: (15, 1.5), Size.QUICK: (5, 0.7), Size.SMOKE: (1, 0.1)}
"""Rounds, and seconds of each side in a round [s]."""


class Counting:
    """A sink that counts readings with all that was asked for."""

    def __init__(self) -> None:
        self.readings = 0

    def offer(self, reading: Reading) -> None:
        """Count it."""
        self.readings += len(reading.values) == 14

    async def store(self, reading: Reading) -> None:
        """Count it."""
        self.offer(reading)

    def deliver(self, reading: Reading, done: Callable[[NotDurable | None], None]) -> None:
        """Count it."""
        self.offer(reading)
        done(None)

    def identified(self, meter_id: int, identity: DeviceIdentity, seen_us: int) -> None:
        """Nobody asks."""

    async def quarantine(self, poison: Poison) -> None:
        """Refuse: nothing here makes any."""
        raise AssertionError(poison.reason)


async def run(world: World) -> Report:
    """Measure in turns: ours, bare, ours, bare."""
    rounds, seconds = _SIZES[world.size]
    measured: list[tuple[float, float]] = []
    async with helper("bench.device_server", str(_METERS), "1") as server:
        port = server.said["ports"]["gateway-0"]
        for number in range(rounds):
            world.say("collector", f"round {number + 1} of {rounds}")
            ours = await _collector_polls(port, seconds)
            bare = await _bare_polls(port, seconds)
            measured.append((ours, bare))
    row = compared("collector", "polls of 14 quantities in 2 requests", "polls/s", measured, least_ratio=0.6)
    return Report([row])


async def _collector_polls(port: int, seconds: float) -> float:
    plant, profiles = fleet(_METERS, 1)
    meters = [
        BoundMeter(number + 1, meter.model_copy(update={"poll_interval_s": _ALWAYS_DUE_S}), profiles[meter.profile])
        for number, meter in enumerate(plant.meters)
    ]
    connection = plant.connections[0]
    assert isinstance(connection, ModbusTcpConnection)
    sink = Counting()
    collector = open_collector(connection.model_copy(update={"port": port}), meters, sink)
    task = asyncio.create_task(collector.run(), name="benchmarked-collector")
    try:
        await _until_answering(sink)
        before, began = _polls_ok(collector), time.perf_counter()
        await asyncio.sleep(seconds)
        return (_polls_ok(collector) - before) / (time.perf_counter() - began)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _until_answering(sink: Counting) -> None:
    async with asyncio.timeout(60):
        while sink.readings < _METERS:  # noqa: ASYNC110 - the sink has no event, and must stay as cheap as it is
            await asyncio.sleep(0.005)


def _polls_ok(collector: Collector) -> int:
    """Return how many polls were answered in full."""
    return sum(health.polls_ok for health in collector.health())


async def _bare_polls(port: int, seconds: float) -> float:
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5, retries=0)
    if not await client.connect():
        raise RuntimeError(f"the simulated server on port {port} does not answer")
    try:
        polls = 0
        began = time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            for address, count in _BLOCKS:
                answer = await client.read_holding_registers(address, count=count, device_id=polls % _METERS + 1)
                assert len(answer.registers) == count
            polls += 1
        return polls / (time.perf_counter() - began)
    finally:
        client.close()
