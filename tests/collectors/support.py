"""What the collector tests share: a sink that records, device servers on real sockets, and registers packed by hand.

Registers are packed with `struct` here, never with the collectors' codec, so that an error of byte order cannot cancel
itself.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from ruamel.yaml import YAML

from emsd.collector import BoundMeter, Collector, DeviceIdentity, Poison
from emsd.errors import NotDurable
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.models import Meter
from emsd.plant.profile import Profile
from emsd.plant.profiles import read_profiles
from emsd.readings import Reading

PROFILES = Path(__file__).parents[2] / "collectors" / "profiles"
DEADLINE_S = 60.0


def profile(name: str, **modbus: object) -> Profile:
    """Load a shipped profile, with other settings of its modbus map where given."""
    document: dict[str, Any] = YAML(typ="safe").load(PROFILES / f"{name}.yaml")
    if modbus:
        document["modbus"] |= modbus
    return Profile.model_validate(document)


def shipped_profiles() -> dict[str, Profile]:
    """Load all shipped profiles, by name; a process reads their files once."""
    library = read_profiles([PROFILES], installed=False)
    assert not library.faults
    return library.profiles


def profile_of(points: list[dict[str, object]], **modbus: object) -> Profile:
    """Make a profile of these points."""
    return Profile.model_validate(
        {
            "profile": "made_up",
            "kind": "generic",
            "manufacturer": "none",
            "model": "none",
            "source": ["a test"],
            "modbus": {"points": points, **modbus},
        }
    )


def bound(meter_id: int, made_of: Profile, *, unit: int | None = None, **meter: object) -> BoundMeter:
    """Make a meter of the plant; its key is m<meter_id>."""
    fields = {"key": f"m{meter_id}", "name": "a meter", "asset": "a", "profile": made_of.profile, "connection": "c"}
    return BoundMeter(meter_id, Meter.model_validate({**fields, "unit_id": unit, **meter}), made_of)


def modbus_connection(port: int, **settings: object) -> ModbusTcpConnection:
    return ModbusTcpConnection.model_validate({"key": "c", "host": "127.0.0.1", "port": port, **settings})


@dataclass
class MemorySink:
    """A sink that keeps everything in lists; `durable` says when storing succeeds."""

    offered: list[Reading] = field(default_factory=list)
    stored: list[Reading] = field(default_factory=list)
    poisons: list[Poison] = field(default_factory=list)
    identities: list[tuple[int, DeviceIdentity, int]] = field(default_factory=list)
    open_gate: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False
    waiting: int = 0

    def __post_init__(self) -> None:
        self.open_gate.set()

    def offer(self, reading: Reading) -> None:
        self.offered.append(reading)

    async def store(self, reading: Reading) -> None:
        await self._durable()
        self.stored.append(reading)

    def deliver(self, reading: Reading, done: Callable[[NotDurable | None], None]) -> None:
        storing = asyncio.create_task(self.store(reading))
        storing.add_done_callback(
            lambda task: None if task.cancelled() else done(cast("NotDurable | None", task.exception()))
        )

    def identified(self, meter_id: int, identity: DeviceIdentity, seen_us: int) -> None:
        self.identities.append((meter_id, identity, seen_us))

    async def quarantine(self, poison: Poison) -> None:
        await self._durable()
        self.poisons.append(poison)

    async def _durable(self) -> None:
        self.waiting += 1
        try:
            await self.open_gate.wait()
        finally:
            self.waiting -= 1
        if self.failing:
            raise NotDurable("the test's database is away")

    def of(self, meter_id: int) -> list[Reading]:
        return [reading for reading in self.offered if reading.meter_id == meter_id]


def clock_from(start_us: int) -> Callable[[], int]:
    """Return a wall clock that says `start_us` now and runs on from there."""
    offset_us = start_us - time.monotonic_ns() // 1000
    return lambda: time.monotonic_ns() // 1000 + offset_us


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; fail after a generous deadline."""
    async with asyncio.timeout(DEADLINE_S):
        # What is waited for has no event of its own: totals of a collector, rows of a sink.
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(collector: Collector) -> AsyncIterator[None]:
    """Run a collector for the length of the block; an error of its own fails the test."""
    task = asyncio.create_task(collector.run(), name="collector under test")
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def packed(address: int, layout: str, *values: float) -> dict[int, int]:
    """Return registers from `address` on that hold `values` packed by the struct `layout`."""
    data = struct.pack(layout, *values)
    return {address + at: word for at, (word,) in enumerate(struct.iter_unpack(">H", data))}


def low_word_first(registers: Mapping[int, int]) -> dict[int, int]:
    """Swap the registers of one value end for end."""
    return dict(zip(registers, reversed(list(registers.values())), strict=True))


def payload(registers: Mapping[int, int], address: int, count: int) -> bytes:
    """Return the bytes of an answer; holes are FFFFh, so that a value read from one shows."""
    return struct.pack(f">{count}H", *(registers.get(address + at, 0xFFFF) for at in range(count)))


def device(unit: int, registers: Mapping[int, int], **settings: Any) -> SimDevice:
    """Make a device of pymodbus's own simulator; it refuses reads of registers it does not have."""
    addresses = sorted(registers)
    runs: list[list[int]] = [[addresses[0]]]
    for before, address in pairwise(addresses):
        if address == before + 1:
            runs[-1].append(address)
        else:
            runs.append([address])
    data = [SimData(run[0], values=[registers[at] for at in run], datatype=DataType.REGISTERS) for run in runs]
    return SimDevice(unit, data, **settings)


@dataclass
class Outgoing:
    """What happens to the answers of a server on their way out, by unit."""

    silent: set[int] = field(default_factory=set)
    gateway_exception: dict[int, int] = field(default_factory=dict)

    def __call__(self, sending: bool, data: bytes) -> bytes:
        if not sending or not data:
            return data
        unit = data[6]
        if unit in self.silent:
            return b""
        code = self.gateway_exception.get(unit)
        return data if code is None else data[:4] + struct.pack(">HBBB", 3, unit, data[7] | 0x80, code)


@asynccontextmanager
async def device_server(*devices: SimDevice, port: int = 0, outgoing: Outgoing | None = None) -> AsyncIterator[int]:
    """Serve devices by pymodbus's own simulator on a loopback port."""
    server = ModbusTcpServer(list(devices), address=("127.0.0.1", port), trace_packet=outgoing)
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted_server(answer: Answer) -> AsyncIterator[int]:
    """Serve whatever `answer` writes to each request frame of 12 bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await answer(await reader.readexactly(12), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answer_frame(request: bytes, *words: int) -> bytes:
    """Return the answer to a read request: transaction, protocol, length, unit, function, byte count, registers."""
    data = struct.pack(f">{len(words)}H", *words)
    return request[:4] + struct.pack(">HBBB", 3 + len(data), request[6], request[7], len(data)) + data


def exception_frame(request: bytes, code: int) -> bytes:
    return request[:4] + struct.pack(">HBBB", 3, request[6], request[7] | 0x80, code)
