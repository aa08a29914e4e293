"""Every fault of the Modbus server on the wire: pymodbus as a stranger, and bytes where it hides them."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest
import uvloop
from pymodbus.exceptions import ModbusException

from emsd.collector import wall_clock_us
from emsd.plant.loader import LoadedPlant
from simulator import DeviceFault, PersonalityEntry, Schedule, Simulator, fleet
from simulator.fault_kinds import KINDS, Layer
from tests.simulator.wire import NOON_US, POWER, connected, fault_of, served, stranger, until

INCOMER, FEEDER = 1, 2


async def power(simulator: Simulator, unit: int = INCOMER, timeout_s: float = 0.3) -> float:
    async with stranger(simulator, "substation", timeout_s) as client:
        answer = await client.read_holding_registers(3059, count=2, device_id=unit)
    assert not answer.isError(), answer
    return float(struct.unpack(">f", struct.pack(">2H", *answer.registers))[0])


async def refused(simulator: Simulator, unit: int = INCOMER, address: int = 3059, count: int = 2) -> int:
    async with stranger(simulator, "substation") as client:
        answer = await client.read_holding_registers(address, count=count, device_id=unit)
    assert answer.isError()
    return int(answer.exception_code)


async def unanswered(simulator: Simulator, unit: int = INCOMER) -> bool:
    async with stranger(simulator, "substation") as client:
        try:
            answer = await client.read_holding_registers(3059, count=2, device_id=unit)
        except ModbusException:
            return True
        return bool(answer.isError()) and not hasattr(answer, "registers")


async def test_late_reply_comes_after_the_client_gave_up_and_in_order(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "late_reply", "incomer", delay_s=0.4)
        assert await unanswered(simulator)
        async with connected(simulator, "substation") as wire:
            began = time.monotonic()
            wire.send(INCOMER, transaction=1)
            wire.send(FEEDER, transaction=2)
            assert (await wire.frame())[:2] == (1, INCOMER)
            assert time.monotonic() - began >= 0.4
            assert (await wire.frame())[:2] == (2, FEEDER)
        assert simulator.faults.list()[0].hits == 2


async def test_no_reply_silences_one_unit_and_no_other(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        number = fault_of(simulator, "no_reply", "incomer")
        assert await unanswered(simulator)
        assert await power(simulator, FEEDER) == pytest.approx(simulator.truth.power_kw("cleanroom-feeder", NOON_US))
        simulator.faults.remove(number)
        assert await power(simulator) == pytest.approx(simulator.truth.power_kw("incomer", NOON_US))


async def test_half_open_connections_stay_silent_and_new_ones_work(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as old:
        await old.ask()
        fault_of(simulator, "half_open", "substation")
        old.send()
        assert await old.silent()
        assert await power(simulator) > 0
        assert simulator.faults.list()[0].hits == 1


async def test_wrong_unit_answers_under_another_id(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        honest = await wire.ask()
        number = fault_of(simulator, "wrong_unit", "incomer")
        assert await wire.ask() == (7, 2, honest[2])
        assert (await wire.ask(FEEDER))[1] == FEEDER
        simulator.faults.remove(number)
        fault_of(simulator, "wrong_unit", "incomer", unit_id=77)
        assert (await wire.ask())[1] == 77
        assert await unanswered(simulator)


async def test_another_device_answers_with_its_own_registers_under_the_right_id(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "another_device", "incomer", unit_id=3)
        assert await power(simulator) == pytest.approx(simulator.truth.power_kw("tools-feeder", NOON_US))


async def test_transaction_is_not_echoed(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        honest = await wire.ask()
        fault_of(simulator, "transaction_not_echoed", "substation", transaction_id=513)
        assert await wire.ask() == (513, *honest[1:])
        assert await wire.ask(FEEDER, transaction=9) != (9, FEEDER, POWER)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 10, 11])
async def test_exception_refuses_with_every_code(example: LoadedPlant, code: int) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "exception", "incomer", code=code)
        assert await refused(simulator) == code
        assert await power(simulator, FEEDER) > 0


async def test_exception_may_concern_some_registers_only(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "exception", "incomer", code=4, first=3109, last=3110)
        assert await power(simulator) > 0
        assert await refused(simulator, address=3109) == 4
        assert await refused(simulator, address=3108, count=4) == 4


async def test_exception_strikes_the_same_share_of_requests_under_the_same_seed(example: LoadedPlant) -> None:
    async def struck() -> list[bool]:
        async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
            fault_of(simulator, "exception", "incomer", share=0.5)
            return [bool((await wire.ask())[2][0] & 0x80) for _ in range(40)]

    first = await struck()
    assert 8 <= sum(first) <= 32
    assert await struck() == first


async def test_busy_refuses_some_requests_then_answers_one(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        fault_of(simulator, "busy", "incomer", times=2)
        said = [(await wire.ask())[2][:2] for _ in range(6)]
    assert said == [b"\x83\x06", b"\x83\x06", b"\x03\x04"] * 2


async def test_gap_exception_refuses_reads_across_a_hole(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        # PM5560: power factor at 3083, frequency at 3109, nothing in between.
        async with stranger(simulator, "substation") as client:
            assert not (await client.read_holding_registers(3083, count=28, device_id=INCOMER)).isError()
        fault_of(simulator, "gap_exception", "incomer")
        assert await refused(simulator, address=3083, count=28) == 2
        assert await power(simulator) > 0


async def test_mid_value_exception_refuses_reads_that_cut_a_value(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "mid_value_exception", "incomer")
        assert await refused(simulator, address=3060, count=1) == 2
        assert await refused(simulator, address=3059, count=1) == 2
        assert await power(simulator) > 0


@pytest.mark.parametrize(("place", "honest_at"), [("instead", None), ("before", 50), ("after", 0)])
async def test_garbage_stands_where_it_is_told(example: LoadedPlant, place: str, honest_at: int | None) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        wire.send()
        honest = await wire.reader.readexactly(13)
        fault_of(simulator, "garbage", "incomer", bytes=50, place=place)
        wire.send()
        said = await wire.reader.readexactly(50 if honest_at is None else 63)
        assert await wire.silent()
    assert (said.find(honest) if honest in said else None) == honest_at


async def test_garbage_registers_come_in_a_sound_frame(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        honest = await wire.ask()
        fault_of(simulator, "garbage_registers", "incomer")
        said = await wire.ask()
        assert said[:2] == honest[:2]
        assert (said[2][:2], len(said[2])) == (honest[2][:2], len(honest[2]))
        assert said[2][2:] != honest[2][2:]
        assert await refused(simulator, address=1, count=1) == 2


@pytest.mark.parametrize(("then", "end"), [("close", "closed"), ("reset", "reset")])
async def test_cut_frame_ends_in_the_middle(example: LoadedPlant, then: str, end: str) -> None:
    async with served(example, "substation") as simulator:
        number = fault_of(simulator, "cut_frame", "incomer", keep=0.5)
        async with connected(simulator, "substation") as wire:
            wire.send()
            assert len(await wire.reader.readexactly(6)) == 6
            assert await wire.silent()
        simulator.faults.remove(number)
        fault_of(simulator, "cut_frame", "incomer", keep=0.5, then=then)
        async with connected(simulator, "substation") as wire:
            wire.send()
            assert await wire.ended() == end


async def test_in_pieces_is_whole_in_the_end(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "in_pieces", "incomer", pieces=4, pause_s=0.02)
        began = time.monotonic()
        assert await power(simulator, timeout_s=5) == pytest.approx(simulator.truth.power_kw("incomer", NOON_US))
        assert time.monotonic() - began >= 0.06
        async with connected(simulator, "substation") as wire:
            wire.send()
            assert 0 < len(await wire.reader.read(100)) < 13


async def test_duplicate_reply_comes_twice(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        fault_of(simulator, "duplicate_reply", "incomer")
        assert await wire.ask() == await wire.frame()
        assert await wire.silent()


async def test_connection_reset_comes_instead_of_an_answer(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "connection_reset", "incomer")
        async with connected(simulator, "substation") as wire, connected(simulator, "substation") as other:
            wire.send()
            assert await wire.ended() == "reset"
            assert (await other.ask(FEEDER))[1] == FEEDER


async def test_network_delay_holds_every_answer_up_in_order(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        fault_of(simulator, "network_delay", "substation", delay_s=0.1, jitter_s=0.1)
        began = time.monotonic()
        for number in range(20):
            wire.send(1 + number % 3, transaction=number)
        assert [(await wire.frame())[0] for _ in range(20)] == list(range(20))
        assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("manner", ["close", "reset", "silent"])
async def test_single_client_turns_the_next_away_until_the_first_leaves(example: LoadedPlant, manner: str) -> None:
    async with served(example, "substation") as simulator:
        fault_of(simulator, "single_client", "substation", manner=manner)
        async with connected(simulator, "substation") as first:
            await first.ask()
            async with connected(simulator, "substation") as second:
                if manner == "silent":
                    second.send()
                    assert await second.silent()
                else:
                    assert await second.ended() == ("closed" if manner == "close" else "reset")
            await first.ask()
        await until(lambda: simulator.endpoints["substation"].clients == 0)
        assert await power(simulator) > 0


async def test_partition_delivers_late_what_was_sent_meanwhile(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as old:
        await old.ask()
        number = fault_of(simulator, "partition", "substation")
        old.send(transaction=1)
        async with connected(simulator, "substation") as fresh:
            fresh.send(transaction=2)
            assert await old.silent()
            assert await fresh.silent(0.01)
            simulator.faults.remove(number)
            assert (await old.frame())[0] == 1
            assert (await fresh.frame())[0] == 2
        assert (await old.ask(transaction=3))[0] == 3


async def test_answers_under_way_wait_while_the_gateway_is_cut_off(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        fault_of(simulator, "late_reply", "incomer", delay_s=0.05)
        wire.send(transaction=1)
        await until(lambda: simulator.requests["incomer"] == 1)
        number = fault_of(simulator, "partition", "substation")
        assert await wire.silent()
        simulator.faults.remove(number)
        assert (await wire.frame())[0] == 1


async def test_who_never_reads_is_not_read_on_after_a_partition_either(example: LoadedPlant) -> None:
    """What a device has to say is bounded by what its client takes; memory of the simulator is too."""
    request = struct.pack(">HHHB", 7, 0, 6, INCOMER) + POWER

    async def flood(client: socket.socket) -> int:
        """Send until nobody takes more for a while; return how many requests were answered then."""
        refusals = 0
        while refusals < 20:
            try:
                client.send(1000 * request)
                refusals = 0
            except BlockingIOError:
                refusals += 1
            await asyncio.sleep(0.005)
        return simulator.requests["incomer"]

    async with served(example, "substation") as simulator:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", simulator.ports["substation"]))
            client.setblocking(False)
            answered = await flood(client)
            simulator.faults.remove(fault_of(simulator, "partition", "substation"))
            assert await flood(client) == answered


async def test_connection_dropped_resets_old_and_new_until_it_is_over(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as old:
        await old.ask()
        number = fault_of(simulator, "connection_dropped", "substation")
        assert await old.ended() == "reset"
        async with connected(simulator, "substation") as fresh:
            assert await fresh.ended() == "reset"
        simulator.faults.remove(number)
        assert await power(simulator) > 0


def test_every_fault_of_the_wire_has_its_test() -> None:
    elsewhere = {"bad_checksum", "connection_refused"}  # test_transport_faults
    tests = [name for name in globals() if name.startswith("test_")]
    shown = {name for name in KINDS for test in tests if test.startswith(f"test_{name.split('_not_')[0]}")}
    assert shown | elsewhere >= {name for name, kind in KINDS.items() if kind.layer is Layer.WIRE}


async def test_faults_come_and_go_by_the_clock(example: LoadedPlant) -> None:
    async with served(example, "substation", now_us=wall_clock_us) as simulator:
        begin_us = wall_clock_us() + 200_000
        simulator.faults.add(DeviceFault("exception", begin_us, begin_us + 300_000, meter="incomer"))
        assert [each.state for each in simulator.faults.list()] == ["to_come"]
        codes = set()
        async with connected(simulator, "substation") as wire:
            while simulator.faults.list()[0].state != "over":
                codes.add((await wire.ask())[2][0])
                await asyncio.sleep(0.005)
            await until(lambda: simulator.endpoints["substation"].manners is None)
            assert (await wire.ask())[2][0] == 3
        assert codes == {3, 0x83}


async def test_several_faults_work_together(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, connected(simulator, "substation") as wire:
        fault_of(simulator, "exception", "incomer", code=6)
        fault_of(simulator, "wrong_unit", "incomer", unit_id=9)
        fault_of(simulator, "duplicate_reply", "substation")
        assert await wire.ask() == (7, 9, b"\x83\x06")
        assert await wire.frame() == (7, 9, b"\x83\x06")
        assert (await wire.ask(FEEDER))[1] == FEEDER


async def test_a_unit_without_faults_takes_the_straight_way() -> None:
    plant, profiles = fleet(4, 2)
    async with Simulator(plant, profiles, free_ports=True, now_us=lambda: NOON_US) as simulator:
        simulator.faults.add(DeviceFault("no_reply", NOON_US, connection="gateway-0"))
        assert simulator.endpoints["gateway-0"].manners is not None
        assert simulator.endpoints["gateway-1"].manners is None


def test_faults_happen_under_uvloop_too(example: LoadedPlant) -> None:
    async def look() -> tuple[str, int]:
        async with served(example, "substation") as simulator:
            number = fault_of(simulator, "connection_reset", "incomer")
            async with connected(simulator, "substation") as wire:
                wire.send()
                end = await wire.ended()
            simulator.faults.remove(number)
            fault_of(simulator, "late_reply", "incomer", delay_s=0.05)
            async with connected(simulator, "substation") as wire:
                return end, (await wire.ask())[0]

    assert uvloop.run(look()) == ("reset", 7)


async def test_a_personality_answers_late_and_takes_few_clients(example: LoadedPlant) -> None:
    slow = PersonalityEntry(meter="incomer", latency_s=0.1, jitter_s=0.05, max_clients=1)
    async with (
        served(example, "substation", schedule=Schedule(personalities=(slow,))) as simulator,
        connected(simulator, "substation") as wire,
    ):
        began = time.monotonic()
        assert (await wire.ask(INCOMER))[1] == INCOMER
        assert time.monotonic() - began >= 0.1
        manners = simulator.endpoints["substation"].manners
        assert manners is not None
        assert set(manners.habits) == {INCOMER}
        async with connected(simulator, "substation") as second:
            assert await second.ended() == "closed"


async def test_a_personality_may_be_that_of_its_profile(example: LoadedPlant) -> None:
    own = {key: each.modbus.response_time_s for key, each in example.profiles.items() if each.modbus}
    meter = next(each for each in example.plant.meters if own.get(each.profile))
    entry = PersonalityEntry(profile=meter.profile, like_its_profile=True)
    async with (
        served(example, meter.connection, schedule=Schedule(personalities=(entry,))) as simulator,
        connected(simulator, meter.connection) as wire,
    ):
        began = time.monotonic()
        await wire.ask(meter.unit_id or 1)
        assert time.monotonic() - began >= (own[meter.profile] or 0)


async def test_a_personality_refuses_what_is_too_much_or_too_soon(example: LoadedPlant) -> None:
    entries = (
        PersonalityEntry(meter="incomer", max_registers=2),
        PersonalityEntry(meter="cleanroom-feeder", rest_s=3600.0),
    )
    async with served(example, "substation", schedule=Schedule(personalities=entries)) as simulator:
        assert await power(simulator) > 0
        assert await refused(simulator, address=3059, count=3) == 3
        assert await power(simulator, FEEDER) == pytest.approx(simulator.truth.power_kw("cleanroom-feeder", NOON_US))
        assert await refused(simulator, FEEDER) == 6
