"""The server on the wire, byte by byte, over real sockets."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import uvloop

from emsd.errors import ConfigurationError, ServerError
from emsd.plant.loader import LoadedPlant
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.readings import instant_us
from simulator import Simulator, fleet

NOON_US = instant_us(datetime(2026, 6, 3, 5, tzinfo=UTC))
DEADLINE_S = 60


@asynccontextmanager
async def served(example: LoadedPlant, **options: object) -> AsyncIterator[Simulator]:
    polled = example.plant.model_copy(
        update={"meters": tuple(meter for meter in example.plant.meters if meter.topic is None)}
    )
    simulator = Simulator(polled, example.profiles, free_ports=True, now_us=lambda: NOON_US, **options)  # type: ignore[arg-type]
    async with simulator, asyncio.timeout(DEADLINE_S):
        yield simulator


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, unit: int, pdu: bytes, transaction: int = 7) -> bytes:
        self.writer.write(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)
        return await self.answer(transaction, unit)

    async def answer(self, transaction: int, unit: int) -> bytes:
        header = await self.reader.readexactly(7)
        got, protocol, length, answering = struct.unpack(">HHHB", header)
        assert (got, protocol, answering) == (transaction, 0, unit)
        return await self.reader.readexactly(length - 1)


@asynccontextmanager
async def connected(simulator: Simulator, connection: str) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.ports[connection])
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


def read(address: int, count: int, function: int = 3) -> bytes:
    return struct.pack(">BHH", function, address, count)


async def test_several_units_answer_on_one_connection_each_with_its_own_values(example: LoadedPlant) -> None:
    async with served(example) as simulator, connected(simulator, "substation") as wire:
        for unit, key in ((1, "incomer"), (2, "cleanroom-feeder"), (3, "tools-feeder")):
            answer = await wire.ask(unit, read(3059, 2))
            assert answer[:2] == b"\x03\x04"
            (power,) = struct.unpack(">f", answer[2:])
            assert power == pytest.approx(simulator.truth.power_kw(key, NOON_US), rel=1e-6)
        assert simulator.requests["incomer"] == simulator.requests["tools-feeder"] == 1


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        (read(0, 2), b"\x83\x02"),
        (read(3059, 126), b"\x83\x03"),
        (read(3059, 2, function=4), b"\x84\x01"),
        (read(0, 1, function=1), b"\x81\x01"),
        (read(0, 1, function=2), b"\x82\x01"),
        (struct.pack(">BHH", 6, 3059, 1), b"\x86\x01"),  # nothing can be written
        (b"\x03\x00", b"\x83\x03"),  # cut short
    ],
)
async def test_refusals_are_exceptions_with_the_code_of_the_protocol(
    example: LoadedPlant, pdu: bytes, answer: bytes
) -> None:
    async with served(example) as simulator, connected(simulator, "substation") as wire:
        assert await wire.ask(1, pdu) == answer


async def test_a_unit_that_is_not_there_is_reported_by_the_gateway(example: LoadedPlant) -> None:
    async with served(example) as simulator, connected(simulator, "substation") as wire:
        assert await wire.ask(99, read(3059, 2)) == b"\x83\x0b"
        assert simulator.endpoints["substation"].unknown_units == 1


async def test_a_unit_that_is_not_there_may_also_be_silence(example: LoadedPlant) -> None:
    async with (
        served(example, silent_for_unknown_units=True) as simulator,
        connected(simulator, "substation") as wire,
    ):
        wire.writer.write(struct.pack(">HHHB", 1, 0, 6, 99) + read(3059, 2))
        assert (await wire.ask(1, read(3059, 2), transaction=2))[:1] == b"\x03"  # the first thing that is heard


async def test_requests_may_come_in_pieces_or_all_at_once(example: LoadedPlant) -> None:
    frame = struct.pack(">HHHB", 5, 0, 6, 1) + read(3109, 2)
    async with served(example) as simulator, connected(simulator, "substation") as wire:
        for cut in range(1, len(frame)):
            wire.writer.write(frame[:cut])
            await wire.writer.drain()
            await asyncio.sleep(0)
            wire.writer.write(frame[cut:])
            assert len(await wire.answer(5, 1)) == 6
        wire.writer.write(b"".join(struct.pack(">HHHB", n, 0, 6, 1) + read(3109, 2) for n in range(200)))
        for number in range(200):
            await wire.answer(number, 1)


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">HHHB", 1, 0, 1, 1), b"\0\0\0\0\xff\xff\x01"])
async def test_what_is_no_modbus_ends_the_connection_and_no_other(example: LoadedPlant, junk: bytes) -> None:
    async with (
        served(example) as simulator,
        connected(simulator, "substation") as good,
        connected(simulator, "substation") as bad,
    ):
        bad.writer.write(junk)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await bad.reader.readexactly(1)
        assert simulator.endpoints["substation"].bad_frames == 1
        assert (await good.ask(1, read(3059, 2)))[:1] == b"\x03"


async def test_registers_are_renewed_when_they_are_asked_for_and_too_old(example: LoadedPlant) -> None:
    now = [NOON_US]
    async with (
        Simulator(example.plant.model_copy(update={"meters": example.plant.meters[:1]}), example.profiles,
                  free_ports=True, refresh_s=0.2, now_us=lambda: now[0]) as simulator,
        connected(simulator, "substation") as wire,
    ):  # fmt: skip
        first = await wire.ask(1, read(3203, 4))
        now[0] += 199_000
        assert await wire.ask(1, read(3203, 4)) == first
        now[0] += 1_000_000
        later = await wire.ask(1, read(3203, 4))
        counted = struct.unpack(">q", later[2:])[0] - struct.unpack(">q", first[2:])[0]
        true = simulator.truth.true_energy_kwh("incomer", NOON_US, now[0]).import_kwh
        assert counted == pytest.approx(1000 * true, abs=1)


async def test_many_equal_meters_share_a_bank_and_keep_their_own_values() -> None:
    plant, profiles = fleet(120, 2)
    async with Simulator(plant, profiles, free_ports=True, now_us=lambda: NOON_US) as simulator:
        banks = {id(unit.bank) for end in simulator.endpoints.values() for unit in end.units.values()}
        assert len(banks) == 1
        async with asyncio.timeout(DEADLINE_S):
            for number in (0, 1, 57, 119):
                async with connected(simulator, f"gateway-{number % 2}") as wire:
                    answer = await wire.ask(number // 2 + 1, read(0, 24))
                    power = struct.unpack(">f", answer[2:6])[0]
                    assert power == pytest.approx(simulator.truth.power_kw(f"meter-{number}", NOON_US), rel=1e-6)


def test_devices_serve_under_uvloop_too(example: LoadedPlant) -> None:
    async def ask() -> bytes:
        async with served(example) as simulator, connected(simulator, "substation") as wire:
            return await wire.ask(1, read(3059, 2))

    assert uvloop.run(ask())[:2] == b"\x03\x04"


def test_an_address_that_others_can_reach_is_refused_unless_it_is_allowed(example: LoadedPlant) -> None:
    for host in ("0.0.0.0", "192.168.1.5", "plc.example.org", "::"):
        with pytest.raises(ConfigurationError, match="other machines can reach"):
            Simulator(example.plant, example.profiles, bind_host=host)
        Simulator(example.plant, example.profiles, bind_host=host, allow_remote=True)
    for host in ("127.0.0.1", "localhost", "::1", "127.8.9.10"):
        Simulator(example.plant, example.profiles, bind_host=host)


async def test_a_port_in_use_is_one_sentence_with_the_address_and_leaves_nothing_open(example: LoadedPlant) -> None:
    def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.close()

    blocker = await asyncio.start_server(nobody, "127.0.0.1", 0)
    async with blocker:
        port = blocker.sockets[0].getsockname()[1]
        connections = tuple(
            c.model_copy(update={"port": port}) if isinstance(c, ModbusTcpConnection) and c.key == "weather" else c
            for c in example.plant.connections
            if c.key in {"weather", "broker"}
        )
        kept = tuple(m for m in example.plant.meters if m.connection == "weather")
        plant = example.plant.model_copy(update={"connections": connections, "meters": kept})
        simulator = Simulator(plant, example.profiles)
        with pytest.raises(
            ServerError, match=f"weather cannot listen on 127.0.0.1:{port} .*; stop what uses that port"
        ):
            await simulator.__aenter__()
    async with simulator:
        assert simulator.ports == {"weather": port}


async def test_a_simulator_is_reusable_but_not_reentrant(example: LoadedPlant) -> None:
    async with served(example) as simulator:
        with pytest.raises(RuntimeError, match="running already"):
            await simulator.__aenter__()
    async with simulator, connected(simulator, "weather") as wire:
        assert (await asyncio.wait_for(wire.ask(1, read(4, 2)), DEADLINE_S))[:1] == b"\x03"


async def test_the_served_plant_names_the_ports_that_are_really_open(example: LoadedPlant) -> None:
    async with served(example) as simulator:
        told = {c.key: c.port for c in simulator.served_plant.connections if isinstance(c, ModbusTcpConnection)}
        assert told == simulator.ports
        assert 0 not in told.values()


async def test_closing_drops_clients_that_are_still_connected(example: LoadedPlant) -> None:
    async with served(example) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.ports["weather"])
        wire = Wire(reader, writer)
        await wire.ask(1, read(4, 2))
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await asyncio.wait_for(reader.readexactly(1), DEADLINE_S)
    writer.close()


def test_two_meters_on_one_unit_are_refused(example: LoadedPlant) -> None:
    move: Callable[[str], dict[str, object]] = lambda key: {"unit_id": 1} if key == "tools-feeder" else {}  # noqa: E731
    meters = tuple(meter.model_copy(update=move(meter.key)) for meter in example.plant.meters)
    with pytest.raises(ConfigurationError, match="both unit 1 of connection substation"):
        Simulator(example.plant.model_copy(update={"meters": meters}), example.profiles)
