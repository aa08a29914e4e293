"""The models and the rating of a SunSpec device, read from its chain."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from collectors.commissioning.nameplate import Nameplate, read_nameplate
from collectors.commissioning.probing import open_device
from tests.collectors.support import device, device_server, modbus_connection, packed

# "SunS", the common model (66 registers), a nameplate (26 registers), and the end of the chain.
HEADER = packed(40000, ">HHHH", 0x5375, 0x6E53, 1, 66)
EMPTY = dict.fromkeys(range(40004, 40070), 0)


def nameplate(rating: int, power: int) -> Mapping[int, int]:
    plate = {40070: 120, 40071: 26} | dict.fromkeys(range(40072, 40098), 0xFFFF)
    return plate | {40072: 4, 40073: rating, 40074: power & 0xFFFF} | {40098: 0xFFFF, 40099: 0}


async def read(registers: Mapping[int, int]) -> Nameplate | None:
    async with device_server(device(1, dict(registers))) as port:
        asked = open_device(modbus_connection(port), 1, 2.0)
        try:
            return await read_nameplate(asked, (40000, 50000, 0))
        finally:
            asked.close()


@pytest.mark.parametrize(("rating", "power", "kilowatts"), [(5000, 1, 50.0), (1250, 2, 125.0), (60000, 0, 60.0)])
async def test_the_rating_is_scaled_by_the_factor_beside_it(rating: int, power: int, kilowatts: float) -> None:
    plate = await read({**HEADER, **EMPTY, **nameplate(rating, power)})
    assert plate is not None
    assert plate.rated_power_kw == pytest.approx(kilowatts)
    assert [(model.number, model.address) for model in plate.models] == [(1, 40002), (120, 40070)]


@pytest.mark.parametrize(("rating", "power"), [(0xFFFF, 1), (5000, -0x8000)])
async def test_a_rating_that_is_not_implemented_is_none(rating: int, power: int) -> None:
    plate = await read({**HEADER, **EMPTY, **nameplate(rating, power)})
    assert plate is not None
    assert plate.rated_power_kw is None


async def test_a_device_without_the_marker_has_no_nameplate() -> None:
    assert await read({0: 1, 1: 2}) is None
