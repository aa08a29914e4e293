"""Walking a SunSpec device's chain of models."""

from __future__ import annotations

import struct

import pytest

from collectors.modbus.sunspec import place_points, walk_models
from emsd.errors import CollectError, DeviceException, NoReply
from tests.collectors.support import profile

BASES = (40000, 50000, 0)


class Registers:
    """A device's holding registers; what it does not have it refuses with exception 2."""

    def __init__(self, base: int, chain: list[tuple[int, int]], *, end_marker: bool = True) -> None:
        self.words: dict[int, int] = {base: 0x5375, base + 1: 0x6E53}
        self.reads = 0
        at = base + 2
        for number, length in chain:
            self.words |= {at: number, at + 1: length} | dict.fromkeys(range(at + 2, at + 2 + length), 0)
            at += 2 + length
        if end_marker:
            self.words |= {at: 0xFFFF, at + 1: 0}

    async def read(self, address: int, count: int) -> bytes:
        self.reads += 1
        try:
            return struct.pack(f">{count}H", *(self.words[address + at] for at in range(count)))
        except KeyError:
            raise DeviceException(f"no register at {address}", 2) from None


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("length", [65, 66])
async def test_models_are_found_at_any_base_and_with_either_length_of_model_1(base: int, length: int) -> None:
    device = Registers(base, [(1, length), (103, 50), (120, 26), (160, 48)])
    first = base + 2 + 2 + length
    assert await walk_models(device.read, BASES) == {
        1: base + 2,
        103: first,
        120: first + 52,
        160: first + 80,
    }


async def test_models_may_stand_in_any_order() -> None:
    device = Registers(40000, [(1, 66), (160, 28), (64001, 10), (103, 50)])
    models = await walk_models(device.read, BASES)
    assert (models[160], models[103]) == (40070, 40112)


async def test_of_two_models_of_one_number_the_first_counts() -> None:
    device = Registers(40000, [(1, 66), (103, 50), (103, 50)])
    assert (await walk_models(device.read, BASES))[103] == 40070


async def test_a_chain_without_an_end_marker_ends_where_the_device_refuses() -> None:
    device = Registers(40000, [(1, 66), (103, 50)], end_marker=False)
    assert sorted(await walk_models(device.read, BASES)) == [1, 103]


async def test_an_endless_chain_is_not_followed_for_ever() -> None:
    device = Registers(0, [(number, 1) for number in range(1, 2000)])
    await walk_models(device.read, (0,))
    assert device.reads <= 70


async def test_a_model_of_length_0_ends_the_chain() -> None:
    device = Registers(40000, [(1, 66), (0, 0)])
    assert sorted(await walk_models(device.read, BASES)) == [1]


async def test_a_device_without_the_marker_says_what_to_do() -> None:
    device = Registers(10, [])
    with pytest.raises(CollectError, match="no SunSpec marker at 40000, 50000, 0; enable SunSpec"):
        await walk_models(device.read, BASES)


async def test_silence_is_not_taken_for_the_lack_of_a_marker() -> None:
    async def silent(address: int, count: int) -> bytes:
        raise NoReply(f"{address} {count}")

    with pytest.raises(NoReply):
        await walk_models(silent, BASES)


def test_points_of_models_that_a_device_does_not_have_are_named() -> None:
    registers = profile("sunspec_inverter").modbus
    assert registers is not None
    targets, absent = place_points(registers.points, {1: 40002, 103: 40070})
    assert absent == ("dc_voltage_v",)
    power = next(target for target in targets if target.point.quantity == "active_power_kw")
    assert (power.address, power.scale_address) == (40084, 40085)
