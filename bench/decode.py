"""Time to turn the answers of one poll (14 quantities) into values, against pymodbus' own conversion.

Ours takes the bytes of both blocks through the compiled decoders, sentinels and plausible ranges included. The bare
side calls `convert_from_registers` for each value and scales the counters; that the registers are a list of integers
already is not charged to it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Final

from pymodbus.client import AsyncModbusTcpClient

from bench.result import Report, compared
from bench.world import Size, World
from collectors.modbus.reads import Reads
from simulator.fleet import fleet_profile

__all__ = ["run"]

_SIZES: Final = {Size.FULL: (9, 20_000), Size.QUICK: (5, 5_000), Size.SMOKE: (1, 50)}
"""Rounds, and polls of each side in a round."""
_GAUGES: Final = (61.5, 12.25, 62.75, 0.96875, 50.03125, 230.5, 231.0, 229.5, 91.0, 90.5, 92.25, 1.5)
_COUNTERS_WH: Final = (123_456_789, 42)


async def run(world: World) -> Report:
    """Measure in turns, after both sides were seen to give the same values."""
    rounds, polls = _SIZES[world.size]
    ours, bare = _ours(), _bare()
    assert ours() == bare() == [*_GAUGES, *(count / 1000 for count in _COUNTERS_WH)]
    measured: list[tuple[float, float]] = []
    for number in range(rounds):
        world.say("decode", f"round {number + 1} of {rounds}")
        measured.append((_us_per_poll(ours, polls), _us_per_poll(bare, polls)))
    return Report([compared("decode", "one poll of 14 quantities", "us", measured, less_is_faster=True)])


def _ours() -> Callable[[], list[float | None]]:
    registers = fleet_profile().modbus
    assert registers is not None
    gauges, counters = (request.decoder for request in Reads(registers, 1.0, 100.0).requests(()))
    gauge_bytes, counter_bytes = struct.pack(">12f", *_GAUGES), struct.pack(">2q", *_COUNTERS_WH)

    def decode() -> list[float | None]:
        values, _, _ = gauges.decode(gauge_bytes)
        further, _, _ = counters.decode(counter_bytes)
        return values + further

    return decode


def _bare() -> Callable[[], list[float | None]]:
    gauges = list(struct.unpack(">24H", struct.pack(">12f", *_GAUGES)))
    counters = list(struct.unpack(">8H", struct.pack(">2q", *_COUNTERS_WH)))
    convert, kinds = AsyncModbusTcpClient.convert_from_registers, AsyncModbusTcpClient.DATATYPE

    def number(registers: list[int], kind: AsyncModbusTcpClient.DATATYPE) -> float:
        value = convert(registers, kind)
        assert isinstance(value, int | float)
        return value

    def decode() -> list[float | None]:
        values: list[float | None] = [number(gauges[at : at + 2], kinds.FLOAT32) for at in range(0, 24, 2)]
        values += [number(counters[at : at + 4], kinds.INT64) / 1000 for at in (0, 4)]
        return values

    return decode


def _us_per_poll(decode: Callable[[], list[float | None]], polls: int) -> float:
    began = time.perf_counter()
    for _ in range(polls):
        decode()
    return (time.perf_counter() - began) / polls * 1e6
