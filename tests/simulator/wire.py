"""Clients of simulated devices: bytes on a socket, and pymodbus, which shares no code with the simulator."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pymodbus.client import AsyncModbusTcpClient

from emsd.plant.loader import LoadedPlant
from emsd.readings import instant_us
from simulator import DeviceFault, Simulator

NOON_US = instant_us(datetime(2026, 6, 3, 5, tzinfo=UTC))
DEADLINE_S = 60
POWER = struct.pack(">BHH", 3, 3059, 2)
"""Reads the active power of a PM5560."""


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now_us = NOON_US

    def __call__(self) -> int:
        return self.now_us


@asynccontextmanager
async def served(example: LoadedPlant, connection: str, **options: object) -> AsyncIterator[Simulator]:
    """Serve the meters of one connection of the example plant on a free port, at noon unless a clock is given."""
    meters = tuple(
        each.model_copy(update={"parent": None}) for each in example.plant.meters if each.connection == connection
    )
    connections = tuple(each for each in example.plant.connections if each.key == connection)
    plant = example.plant.model_copy(update={"meters": meters, "connections": connections})
    given = {"now_us": lambda: NOON_US, **options}
    async with Simulator(plant, example.profiles, free_ports=True, **given) as simulator:  # type: ignore[arg-type]
        async with asyncio.timeout(DEADLINE_S):
            yield simulator


class Wire:
    """One TCP connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, unit: int = 1, pdu: bytes = POWER, transaction: int = 7) -> None:
        self.writer.write(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)

    async def frame(self) -> tuple[int, int, bytes]:
        """Return transaction, unit and PDU of the next answer."""
        transaction, protocol, length, unit = struct.unpack(">HHHB", await self.reader.readexactly(7))
        assert protocol == 0
        return transaction, unit, await self.reader.readexactly(length - 1)

    async def ask(self, unit: int = 1, pdu: bytes = POWER, transaction: int = 7) -> tuple[int, int, bytes]:
        self.send(unit, pdu, transaction)
        return await self.frame()

    async def silent(self, for_s: float = 0.15) -> bool:
        """Whether nothing comes for a while."""
        try:
            await asyncio.wait_for(self.reader.readexactly(1), for_s)
        except TimeoutError:
            return True
        return False

    async def ended(self) -> str:
        """Return how the connection ends: closed or reset."""
        try:
            while await self.reader.read(4096):
                pass
        except ConnectionResetError:
            return "reset"
        return "closed"


@asynccontextmanager
async def connected(simulator: Simulator, connection: str) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.ports[connection])
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def stranger(
    simulator: Simulator, connection: str, timeout_s: float = 0.3
) -> AsyncIterator[AsyncModbusTcpClient]:
    """Connect pymodbus, which asks once and waits shortly."""
    client = AsyncModbusTcpClient("127.0.0.1", port=simulator.ports[connection], timeout=timeout_s, retries=0)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


def fault_of(simulator: Simulator, kind: str, target: str, **parameters: float | str) -> int:
    """Let a fault begin at noon; the target is a meter or a connection of the plant."""
    meter = target if target in simulator.truth.meters else None
    connection = None if meter else target
    return simulator.faults.add(DeviceFault(kind, NOON_US, meter=meter, connection=connection, parameters=parameters))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition with a generous deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  (what is waited for sets no event)
            await asyncio.sleep(0.01)
