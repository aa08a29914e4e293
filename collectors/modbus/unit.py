"""One meter behind a connection: it serves its ticks, learns what its device can do, and keeps its health.

A request that is not answered ends the attempt; the endpoint may try again after it has served others. Whatever was
answered is kept, and becomes readings when the poll is over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog

from collectors.modbus.acquaintance import Acquaintance
from collectors.modbus.backing_off import Absence, Holds
from collectors.modbus.book import GATEWAY_EXCEPTIONS, Book
from collectors.modbus.careful import Line
from collectors.modbus.client import ModbusClient
from collectors.modbus.courtesy import Courtesy
from collectors.modbus.dialogue import Dialogue
from collectors.modbus.frozen import FrozenWatch
from collectors.modbus.poll import Poll
from collectors.modbus.reads import Reads
from collectors.modbus.schedule import Ticks
from collectors.modbus.sunspec import walk_models
from collectors.modbus.timing import gap_registers
from emsd.collector import BoundMeter, MeterState, PlanEfficiency, Sink
from emsd.errors import CollectError, DeviceException, Mismatch, NoReply, Unreachable, WrongDevice
from emsd.plant.modbus_connections import ModbusConnection
from emsd.plant.modbus_map import ModbusMap, Table

__all__ = ["Unit"]

log = structlog.get_logger(__name__)


class Unit:
    """Polls one meter and keeps its health.

    Args:
        bound: the meter.
        connection: what it is reached through.
        sink: where its readings go.
        now_us: the wall clock [us].
        courtesy: what it owes the other units of the connection; one object for all of them.

    Raises:
        ValueError: its profile cannot be read as it is written.
    """

    def __init__(
        self,
        bound: BoundMeter,
        connection: ModbusConnection,
        sink: Sink,
        now_us: Callable[[], int],
        courtesy: Courtesy,
    ) -> None:
        if bound.profile.modbus is None or bound.meter.unit_id is None:
            raise ValueError("a meter on a Modbus connection needs a unit_id and a profile with a modbus map")
        meter, interval_s = bound.meter, bound.meter.poll_interval_s
        self.key = meter.key
        self._book = Book(self.key, bound.meter_id)
        self.health = self._book.health
        self._map: ModbusMap = bound.profile.modbus
        self._unit_id = bound.meter.unit_id
        self._retries = connection.retries
        self._sink = sink
        self._now_us = now_us
        self._ticks = Ticks(self.key, interval_s)
        gap = gap_registers(connection, self._map)
        self._reads = Reads(self._map, interval_s, meter.rated_power_kw, gap_registers=gap)
        timeout_s = max(connection.timeout_s, self._map.timeout_s or 0.0)
        self._absence = Absence(interval_s, timeout_s, bound.may_rest, courtesy)
        self._holds = Holds(interval_s)
        self._acquaintance = Acquaintance(meter, self._map)
        self._dialogue = Dialogue(
            self._unit_id,
            self._map,
            self._reads,
            self._absence,
            self._holds,
            FrozenWatch(self._map, interval_s, meter.rated_power_kw),
            self._book,
            now_us,
        )
        self._periods: dict[float, int] = {}
        self._poll: Poll | None = None
        self._said_unsupported: tuple[str, ...] = ()
        self._tries_to_begin = 0
        self._last_reading_us = 0

    @property
    def pause_after_connect_s(self) -> float:
        """What its device wants between connection and first request [s]."""
        return self._map.pause_after_connect_s

    @property
    def pause_between_requests_s(self) -> float:
        """What its device wants between two requests [s]."""
        return self._map.pause_between_requests_s

    @property
    def ready_at(self) -> float:
        """When to attempt next, on the monotonic clock [s]."""
        # A retry queues behind whatever became due before the attempt failed.
        return self._poll.retry_at if self._poll is not None else self._ticks.first_from(self._absence.not_before)

    @property
    def rests(self) -> bool:
        """Whether its device need not answer now."""
        return self._absence.rests(self._now_us())

    def plan_efficiency(self) -> PlanEfficiency:
        """Return the cost of one poll of everything."""
        return self._reads.efficiency()

    def align(self) -> None:
        """Take up the schedule: the first tick from now on."""
        self._ticks.align(time.monotonic(), self._now_us())

    def lapse(self) -> None:
        """Count the ticks that came and went unserved until now."""
        self._book.skipped(self._ticks.lapse(time.monotonic()))

    def unreachable(self, error: Unreachable) -> None:
        """Take note that the whole connection failed."""
        self._book.error(error, resting=self.rests)
        if self._poll is not None:
            self._give_up(self._poll)
        self._acquaintance.lost()
        self._book.state(MeterState.RESTING if self.rests else MeterState.DOWN)

    async def attempt(self, client: ModbusClient) -> None:
        """Serve the tick that is due, or go on with the one in hand.

        Raises:
            NoReply, Mismatch, Unreachable: the connection must be opened again; if retries are left, the poll stays in
                hand and `ready_at` is now.
        """
        try:
            if self._poll is None:
                self.lapse()
                self._poll = await self._begin(client)
            await self._dialogue.read(client, self._poll)
        except (NoReply, Mismatch, Unreachable) as error:
            self._book.error(error, resting=self.rests)
            if not self._may_retry():
                self._give_up(self._poll)
            raise
        except CollectError as error:
            self._book.error(error, resting=self.rests)
            self._give_up(self._poll, MeterState.WRONG if isinstance(error, WrongDevice) else None)
        else:
            if not self._poll.pending:
                self._finish(self._poll)

    async def _begin(self, client: ModbusClient) -> Poll:
        started = time.monotonic()
        if not self._reads.placed:
            await self._walk(client)
        if not self._acquaintance.is_fresh(client, started):
            await self._renew_acquaintance(client)
        self._tries_to_begin = 0
        wall_us = self._now_us()
        periods: dict[float, int] = {}
        for rate_s in self._reads.rates_s:
            number = self._ticks.period_number(rate_s, wall_us)
            if self._periods.get(rate_s) != number:
                periods[rate_s] = number
        requests = deque(self._reads.requests(tuple(periods)))
        probes = self._absence.probes
        if probes:
            # Should the first one be unanswerable for good, the next probe asks for another.
            requests.rotate(-probes)
        # A meter that is down is only probed: its retries would cost the others their time.
        until = self._ticks.due + self._ticks.interval_s
        poll = Poll(requests, periods, 0 if probes else self._retries, started, until, probing=probes > 0)
        self._holds.sort_out(poll)
        return poll

    async def _walk(self, client: ModbusClient) -> None:
        models = await walk_models(partial(self._dialogue.ask, client, Table.HOLDING), self._map.sunspec_bases)
        if not self._reads.place(models):
            raise CollectError(
                f"meter {self.key}: the device has SunSpec models {sorted(models)}, none of which its profile reads; "
                "choose another profile"
            )
        if self._reads.unsupported != self._said_unsupported:
            # They are simply absent from its readings: nothing is wrong with a device that lacks a model.
            self._said_unsupported = self._reads.unsupported
            log.info("quantities_not_offered", meter=self.key, models=sorted(models), names=self._reads.unsupported)

    async def _renew_acquaintance(self, client: ModbusClient) -> None:
        line = Line(partial(self._dialogue.ask, client), partial(self._prove, client))
        identity = await self._acquaintance.renew(client, self._reads.identity, line)
        self._reads.settle(self._acquaintance.parameters)
        if identity is not None and (identity.serial or identity.model or identity.firmware):
            self._sink.identified(self.health.meter_id, identity, self._now_us())

    async def _prove(self, client: ModbusClient) -> None:
        """Make sure that the device answers a request of its plan, be it with a refusal."""
        requests = self._reads.requests(self._reads.rates_s)
        block = requests[self._absence.probes % len(requests)].block
        try:
            await self._dialogue.ask(client, block.table, block.address, block.count)
        except DeviceException as error:
            if error.code in GATEWAY_EXCEPTIONS:
                raise

    def _may_retry(self) -> bool:
        """Keep the tick in hand for another attempt, if it has one left."""
        poll = self._poll
        if poll is None:
            self._tries_to_begin += 1
            return self._tries_to_begin <= self._retries and self._absence.probes == 0
        if poll.retries_left == 0:
            return False
        poll.retries_left -= 1
        poll.retry_at = time.monotonic()
        # Should one block alone be unanswerable, the others come before it.
        poll.pending.rotate(-1)
        return True

    def _give_up(self, poll: Poll | None, state: MeterState | None = None) -> None:
        """End a tick whose last request failed."""
        if poll is None:
            self._failed(state)
            self._next_tick()
            return
        poll.fail(poll.pending.popleft())
        poll.drop_pending()
        self._finish(poll)

    def _finish(self, poll: Poll) -> None:
        self._poll = None
        now = time.monotonic()
        self._holds.failed(poll.failed, now if poll.answered else None)
        if poll.answered:
            self._succeeded(poll, now)
        elif poll.failed:
            self._failed()
        else:
            # All of its blocks are left out for now.
            self._book.skipped(1)
        self._next_tick()

    def _succeeded(self, poll: Poll, now: float) -> None:
        equal_s = self._dialogue.frozen.frozen_for_s(now, poll.values())
        if equal_s is not None:
            poll.distrust()
            self._book.frozen(equal_s)
        took_s, believed = now - poll.started, equal_s is None
        self._book.answered(poll.first_answer_us, took_s, complete=poll.complete, believed=believed)
        self._periods.update(poll.periods)
        self._absence.succeeded()
        sense = not poll.makes_no_sense
        if not sense:
            self._book.makes_no_sense()
        answered = MeterState.OK if poll.complete and sense else MeterState.DEGRADED
        self._book.state(answered if believed else MeterState.FROZEN)
        for reading in poll.readings(self.health.meter_id, self._last_reading_us):
            self._last_reading_us = reading.time_us
            self._sink.offer(reading)

    def _failed(self, state: MeterState | None = None) -> None:
        """End a poll that nobody answered; `state` is WRONG when somebody did, but not the right device."""
        self._tries_to_begin = 0
        away = self._absence.failed(time.monotonic(), self._now_us(), there=state is not None)
        if away is MeterState.RESTING:
            self._book.skipped(1)
        else:
            self._book.failed()
        self._acquaintance.lost()
        if self._reads.walks:
            # A device that was away may come back with other firmware, and so with another chain of models.
            self._reads.forget_places()
        self._book.state(state or away)

    def _next_tick(self) -> None:
        self._book.skipped(self._ticks.advance(time.monotonic(), self._now_us()))
