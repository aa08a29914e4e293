"""How busy a connection will be: what its meters ask for, against the time that each request takes.

A prediction, made before anything is connected. One request is in flight on a connection at a time, so the durations of
all requests add up; where they need more than the time there is, ticks are skipped, never queued.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heapreplace
from typing import Final

from collectors.modbus.reads import Reads
from collectors.modbus.timing import Medium, request_s
from emsd.collector import PlanEfficiency
from emsd.plant.modbus_map import ModbusMap

__all__ = ["ConnectionLoad", "MeterLoad", "PolledMeter", "connection_load", "due_rates"]

_MOST_TICKS: Final = 20_000
"""Ticks that are looked at to find how often which rates come due together."""

_MOST_POLLS: Final = 5_000
"""Polls that are played through to find which ticks are skipped."""
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class PolledMeter:
    """A meter as far as its load goes."""

    key: str
    registers: ModbusMap
    interval_s: float


@dataclass(frozen=True, slots=True)
class MeterLoad:
    """What one meter asks of its connection."""

    key: str
    interval_s: float
    timeout_s: float
    """Longest wait for one of its answers [s]."""
    poll_s: float
    """Time of its requests at a tick, on average over ticks with and without its slower rates [s]."""
    full_poll_s: float
    """Time of its requests at a tick at which every rate is due [s]."""
    requests_per_s: float
    plan: PlanEfficiency

    @property
    def utilisation(self) -> float:
        """Share of the connection's time that it needs [0..]."""
        return self.poll_s / self.interval_s


@dataclass(frozen=True, slots=True)
class ConnectionLoad:
    """What all meters of one connection ask of it."""

    meters: tuple[MeterLoad, ...]
    retries: int
    pause_after_connect_s: float

    @property
    def utilisation(self) -> float:
        """Share of its time that is needed [0..]; above 1 ticks are skipped."""
        return sum(meter.utilisation for meter in self.meters)

    @property
    def requests_per_s(self) -> float:
        """Requests that are wanted [1/s]."""
        return sum(meter.requests_per_s for meter in self.meters)

    @property
    def plan(self) -> PlanEfficiency:
        """Requests of one cycle, and the registers they want and read."""
        return sum((meter.plan for meter in self.meters), PlanEfficiency())

    @property
    def cycle_s(self) -> float:
        """Time to poll every meter once with all of its rates due [s]."""
        return sum(meter.full_poll_s for meter in self.meters)

    @property
    def delay_by_silent_s(self) -> float:
        """Longest wait of a meter that is due while another does not answer [s].

        It is one timeout, the connection opened again, and everybody else's poll: the retries of the silent one stand
        at the end of the queue.
        """
        timeout_s = max((meter.timeout_s for meter in self.meters), default=0.0)
        return timeout_s + self.pause_after_connect_s + self.cycle_s

    @property
    def given_up_after_s(self) -> float:
        """Longest time until a poll that is never answered is given up, retries included [s]."""
        return (1 + self.retries) * self.delay_by_silent_s

    def attainable_interval_s(self, utilisation: float = 1.0) -> float:
        """Return the interval that meters polled faster can be held to without exceeding `utilisation` [s].

        Meters that are polled more slowly keep their interval; 0 when nobody has to wait.
        """
        if self.utilisation <= utilisation:
            return 0.0
        by_interval = sorted(self.meters, key=lambda meter: meter.interval_s)
        rest = self.utilisation
        held_s = 0.0
        for at, meter in enumerate(by_interval):
            rest = max(0.0, rest - meter.utilisation)
            held_s += meter.poll_s
            if rest >= utilisation:
                continue
            interval_s = held_s / (utilisation - rest)
            if at + 1 == len(by_interval) or interval_s <= by_interval[at + 1].interval_s:
                return interval_s
        return held_s / utilisation

    def skipped_shares(self) -> tuple[float, ...]:
        """Return the share of each meter's ticks that will be skipped [0..1], in the order of the meters.

        Found by playing the queue through: whoever became due first is served, and ticks that pass meanwhile are
        skipped. So a long poll of one meter shows as skipped ticks of a fast one even where there is time enough.
        """
        intervals_s = [meter.interval_s for meter in self.meters]
        if not self.meters or sum(meter.poll_s for meter in self.meters) <= min(intervals_s):
            return (0.0,) * len(self.meters)
        offsets_s = [interval_s * at / len(intervals_s) for at, interval_s in enumerate(intervals_s)]
        queue = [(offset_s, at) for at, offset_s in enumerate(offsets_s)]
        heapify(queue)
        served = [0] * len(intervals_s)
        now = 0.0
        for _ in range(_MOST_POLLS):
            due, at = queue[0]
            now = max(now, due) + self.meters[at].poll_s
            served[at] += 1
            ticks = max(math.floor((now - offsets_s[at]) / intervals_s[at] + _TOLERANCE) + 1, served[at])
            heapreplace(queue, (offsets_s[at] + ticks * intervals_s[at], at))
        due_ticks = [max(1, int((now - offset) / every)) for offset, every in zip(offsets_s, intervals_s, strict=True)]
        return tuple(max(0.0, 1.0 - done / due) for done, due in zip(served, due_ticks, strict=True))


def connection_load(
    meters: Iterable[PolledMeter],
    medium: Medium,
    *,
    gap_registers: Sequence[int | None] | None = None,
    timeout_s: float = 1.0,
    retries: int = 0,
    pause_after_connect_s: float = 0.0,
    pause_between_requests_s: float = 0.0,
) -> ConnectionLoad:
    """Predict the load of a connection.

    Args:
        meters: who is polled over it.
        medium: what carries requests and answers.
        gap_registers: hole that is read through for each meter, as `timing.gap_registers` says; absent: its map's.
        timeout_s: longest wait of the connection for one answer [s].
        retries: further tries of a request.
        pause_after_connect_s: rest after connecting that the connection wants [s]; the longest of any device counts.
        pause_between_requests_s: rest between requests that the connection wants [s]; likewise.

    Raises:
        ValueError: the map of a meter cannot be read as it is written.
    """
    polled = list(meters)
    gaps = [None] * len(polled) if gap_registers is None else list(gap_registers)
    pause_s = max([pause_between_requests_s, *(each.registers.pause_between_requests_s for each in polled)])
    known: dict[tuple[int, float], tuple[float, float, float, PlanEfficiency]] = {}
    loads = []
    for each, gap in zip(polled, gaps, strict=True):
        like = id(each.registers), each.interval_s
        if like not in known:
            known[like] = _poll(each.registers, each.interval_s, gap, medium, pause_s)
        patience_s = max(timeout_s, each.registers.timeout_s or 0.0)
        loads.append(MeterLoad(each.key, each.interval_s, patience_s, *known[like]))
    after_connect_s = max([pause_after_connect_s, *(each.registers.pause_after_connect_s for each in polled)])
    return ConnectionLoad(tuple(loads), retries, after_connect_s)


@lru_cache(maxsize=256)
def due_rates(interval_s: float, rates_s: tuple[float, ...]) -> dict[tuple[float, ...], float]:
    """Return which slower rates come due together at a tick, and at which share of the ticks.

    Args:
        interval_s: time between two ticks [s].
        rates_s: intervals slower than that [s], in ascending order.
    """
    interval_us = max(1, round(interval_s * 1e6))
    rates_us = [round(rate_s * 1e6) for rate_s in rates_s]
    ticks = min(_MOST_TICKS, math.lcm(interval_us, *rates_us) // interval_us)
    sets: Counter[tuple[float, ...]] = Counter()
    for tick in range(1, ticks + 1):
        # As Ticks.period_number has it: half an interval of slack.
        now_us = tick * interval_us + interval_us // 2
        due = zip(rates_s, rates_us, strict=True)
        sets[tuple(s for s, us in due if now_us // us != (now_us - interval_us) // us)] += 1
    return {rates: count / ticks for rates, count in sets.items()}


def _poll(
    registers: ModbusMap, interval_s: float, gap: int | None, medium: Medium, pause_s: float
) -> tuple[float, float, float, PlanEfficiency]:
    """Return the average and the longest time of a poll [s], requests a second, and the plan's efficiency."""
    reads = Reads(registers, interval_s, None, gap_registers=gap)

    def duration_s(count: int) -> float:
        return request_s(medium, count, registers.response_time_s, pause_s)

    def poll_s(rates_s: tuple[float, ...]) -> float:
        return sum(duration_s(request.block.count) for request in reads.requests(rates_s))

    average_s = requests = 0.0
    for rates_s, share in due_rates(interval_s, reads.rates_s).items():
        average_s += share * poll_s(rates_s)
        requests += share * len(reads.requests(rates_s))
    for parameter in registers.parameters:
        # Read by a request of its own, at a tick.
        share = min(1.0, interval_s / parameter.interval_s)
        average_s += share * duration_s(parameter.type.registers)
        requests += share
    full_s = poll_s(reads.rates_s) + sum(duration_s(each.type.registers) for each in registers.parameters)
    return average_s, full_s, requests / interval_s, reads.efficiency()
