"""40 units behind one gateway, 8 of them dead: do the 32 others keep their rate of one poll a second?

The gateway serves one request after the other, as long as a serial line of 115,200 baud needs, and says nothing for a
unit that is silent: a request to one keeps all others waiting. Compared with a gateway whose units all answer, all at
the same time in one process:

    dead from the start    the collector has never met them
    died                   they answered until the warm-up was half over

The default timeout is as long as the interval, so ticks of others pass by while a probe waits all of it; a quarter of a
second is ten times what these meters need, and what a person would set for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from bench.child import helper
from bench.collector import Counting
from bench.result import Report, Row, Spread
from bench.world import Size, World
from collectors.modbus import open_collector
from emsd.collector import BoundMeter, Collector
from emsd.plant.modbus_connections import ModbusTcpConnection
from simulator.fleet import fleet

__all__ = ["run"]

_UNITS: Final = 40
_DEAD: Final = 8
_LEAST_RATIO: Final = 0.99
_TIMEOUTS_S: Final = (1.0, 0.25)
"""Timeouts [s], the default first."""
_SIZES: Final = {Size.FULL: (60.0, 120.0), Size.QUICK: (10.0, 20.0), Size.SMOKE: (2.0, 2.0)}
"""How long it warms up [s], and how long it measures [s]."""


@dataclass(frozen=True, slots=True)
class _Case:
    what: str
    dies_after_s: float
    timeout_s: float


async def run(world: World) -> Report:
    """Measure all gateways at the same time."""
    warm_up_s, seconds = _SIZES[world.size]
    deaths = (("dead from the start", 0.0), ("died", warm_up_s / 2))
    cases = [_Case(what, dies_after_s, timeout_s) for what, dies_after_s in deaths for timeout_s in _TIMEOUTS_S]
    async with AsyncExitStack() as stack:
        collectors = [await stack.enter_async_context(_collecting(each)) for each in (None, *cases)]
        world.say("gateway", f"warming up for {warm_up_s:g} s")
        await asyncio.sleep(warm_up_s)
        before = [_polls(each) for each in collectors]
        world.say("gateway", f"measuring for {seconds:g} s")
        await asyncio.sleep(seconds)
        after = [_polls(each) for each in collectors]
    alive, *others = (
        [(ok - ok_before) / seconds for ok, ok_before in zip(now, then, strict=True)]
        for now, then in zip(after, before, strict=True)
    )
    return Report([_row(case, rates, alive) for case, rates in zip(cases, others, strict=True)])


def _row(case: _Case, rates: list[float], alive: list[float]) -> Row:
    ratio = sum(rates) / sum(alive)
    return Row(
        "gateway", f"{_DEAD} of {_UNITS} units {case.what}, timeout {case.timeout_s:g} s: rate of each other",
        "polls/s", Spread.of(rates), Spread.of(alive), Spread.of([ratio]),
        f">= {_LEAST_RATIO:.0%} of all alive", ratio >= _LEAST_RATIO,
    )  # fmt: skip


@asynccontextmanager
async def _collecting(case: _Case | None) -> AsyncIterator[Collector]:
    """Run a gateway and its collector; None is the one whose units all answer."""
    dead, dies_after_s, timeout_s = (0, 0.0, 1.0) if case is None else (_DEAD, case.dies_after_s, case.timeout_s)
    plant, profiles = fleet(_UNITS, 1)
    meters = [BoundMeter(place, each, profiles[each.profile]) for place, each in enumerate(plant.meters, start=1)]
    async with helper("bench.gateway_server", str(_UNITS), str(dead), str(dies_after_s)) as gateway:
        port = gateway.said["port"]
        connection = ModbusTcpConnection(key="gateway", host="127.0.0.1", port=port, timeout_s=timeout_s)
        collector = open_collector(connection, meters, Counting())
        task = asyncio.create_task(collector.run(), name="benchmarked-collector")
        try:
            yield collector
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _polls(collector: Collector) -> list[int]:
    """Return the polls answered in full so far, of each unit that is never dead."""
    return [each.polls_ok for each in collector.health() if each.meter_id <= _UNITS - _DEAD]
