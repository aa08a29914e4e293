"""One meter behind a connection: it serves its ticks, learns what its device can do, and keeps its health.

A request that is not answered ends the attempt; the endpoint may try again after it has served others. Whatever was
answered is kept, and becomes readings when the poll is over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from collectors.backoff import Backoff
from collectors.modbus.client import ModbusClient
from collectors.modbus.poll import Poll
from collectors.modbus.reads import Reads, Request
from collectors.modbus.schedule import Ticks
from collectors.modbus.sunspec import walk_models
from emsd.collector import BoundMeter, MeterHealth, MeterState, Sink
from emsd.errors import CollectError, DeviceException, Mismatch, NoReply, Unreachable
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.modbus_map import ModbusMap, Table
from emsd.readings import Quality

__all__ = ["Unit"]

log = structlog.get_logger(__name__)

UNIT_BACKOFF_CAP_S: Final = 60.0
"""A meter that is down is probed at least this often."""

BLOCK_BACKOFF_CAP_S: Final = 300.0
"""A block that fails while others of its meter answer is tried again at least this often."""

MOST_REFUSALS: Final = 12
"""A device that refuses this many reads of one poll and answers none is not searched any further for readable parts."""

_ILLEGAL_ADDRESS: Final = 2
_GATEWAY_EXCEPTIONS: Final = frozenset({10, 11})
"""The gateway speaks for the device, which does not answer: its other blocks would fail alike."""


@dataclass(slots=True)
class _Hold:
    """A block that failed: it comes last in a poll, and is left out until its time has come."""

    backoff: Backoff
    until: float = 0.0


class Unit:
    """Polls one meter and keeps its health.

    Args:
        bound: the meter.
        connection: what it is reached through.
        sink: where its readings go.
        now_us: the wall clock [us].

    Raises:
        ValueError: its profile cannot be read as it is written.
    """

    def __init__(
        self, bound: BoundMeter, connection: ModbusTcpConnection, sink: Sink, now_us: Callable[[], int]
    ) -> None:
        if bound.profile.modbus is None or bound.meter.unit_id is None:
            raise ValueError("a meter on a Modbus connection needs a unit_id and a profile with a modbus map")
        self.key = bound.meter.key
        self.health = MeterHealth(bound.meter_id)
        self._map: ModbusMap = bound.profile.modbus
        self._unit_id = bound.meter.unit_id
        self._timeout_s = max(connection.timeout_s, self._map.timeout_s or 0.0)
        self._retries = connection.retries
        self._sink = sink
        self._now_us = now_us
        self._ticks = Ticks(self.key, bound.meter.poll_interval_s)
        self._reads = Reads(self._map, bound.meter.poll_interval_s, bound.meter.rated_power_kw)
        self._backoff = Backoff(max(1.0, bound.meter.poll_interval_s), UNIT_BACKOFF_CAP_S, least_share=0.5)
        self._not_before = 0.0
        self._holds: dict[tuple[Table, int, int], _Hold] = {}
        self._periods: dict[float, int] = {}
        self._poll: Poll | None = None

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
        return self._poll.retry_at if self._poll is not None else self._ticks.first_from(self._not_before)

    def align(self) -> None:
        """Take up the schedule: the first tick from now on."""
        self._ticks.align(time.monotonic(), self._now_us())

    def lapse(self) -> None:
        """Count the ticks that came and went unserved until now."""
        self._count_skipped(self._ticks.lapse(time.monotonic()))

    def unreachable(self, error: Unreachable) -> None:
        """Take note that the whole connection failed."""
        self._note(error)
        if self._poll is not None:
            self._give_up(self._poll)
        self._set_state(MeterState.DOWN)

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
            await self._read(client, self._poll)
        except (NoReply, Mismatch, Unreachable) as error:
            self._note(error)
            if not self._may_retry():
                self._give_up(self._poll)
            raise
        except CollectError as error:
            self._note(error)
            self._give_up(self._poll)
        else:
            self._finish(self._poll)

    async def _begin(self, client: ModbusClient) -> Poll:
        started = time.monotonic()
        if not self._reads.placed:
            await self._walk(client)
        wall_us = self._now_us()
        numbers = {rate_s: self._ticks.period_number(rate_s, wall_us) for rate_s in self._reads.rates_s}
        periods = {rate_s: number for rate_s, number in numbers.items() if self._periods.get(rate_s) != number}
        requests = self._reads.requests(tuple(periods))
        # A meter that is down is only probed: its retries would cost the others their time.
        poll = Poll(deque(requests), periods, self._retries if self._backoff.failures == 0 else 0, started)
        if self._holds:
            self._leave_out_held(poll)
        return poll

    async def _walk(self, client: ModbusClient) -> None:
        async def read(address: int, count: int) -> bytes:
            self.health.requests += 1
            return await client.read(self._unit_id, Table.HOLDING, address, count, timeout_s=self._timeout_s)

        models = await walk_models(read, self._map.sunspec_bases)
        if not self._reads.place(models):
            raise CollectError(
                f"meter {self.key}: the device has SunSpec models {sorted(models)}, none of which its profile reads; "
                "choose another profile"
            )

    async def _read(self, client: ModbusClient, poll: Poll) -> None:
        while poll.pending:
            request = poll.pending[0]
            block = request.block
            self.health.requests += 1
            try:
                payload = await client.read(
                    self._unit_id, block.table, block.address, block.count, timeout_s=self._timeout_s
                )
            except DeviceException as error:
                poll.pending.popleft()
                self._refused(poll, request, error)
                continue
            poll.pending.popleft()
            values, quality, rejected = request.decoder.decode(payload)
            self.health.values_rejected += rejected
            poll.take(request, values, quality, self._now_us())
            self._holds.pop(request.key, None)
            if request.cuts:
                self._reads.learn(request.cuts)

    def _refused(self, poll: Poll, request: Request, error: DeviceException) -> None:
        if error.code in self._map.stale_exceptions:
            poll.stale = True
            self.health.last_error = f"{error}, by which it says that its data is old"
            poll.take(request, [None] * len(request.names), int(Quality.STALE), self._now_us())
            return
        self._note(error)
        poll.refusals += 1
        halves = self._reads.halves(request) if error.code == _ILLEGAL_ADDRESS else []
        if halves:
            poll.pending.extendleft(reversed(halves))
        else:
            poll.fail(request)
        hopeless = poll.refusals >= MOST_REFUSALS and not poll.answered
        if error.code in _GATEWAY_EXCEPTIONS or hopeless:
            poll.drop_pending()

    def _leave_out_held(self, poll: Poll) -> None:
        """Take held blocks out of a poll; those whose time has come go last, as they may not answer again."""
        held = [request for request in poll.pending if request.key in self._holds]
        for request in held:
            poll.pending.remove(request)
            if self._holds[request.key].until > poll.started:
                poll.missing += request.names
            else:
                poll.pending.append(request)

    def _hold(self, request: Request) -> _Hold:
        first_s = 2 * self._ticks.interval_s
        return self._holds.setdefault(request.key, _Hold(Backoff(first_s, BLOCK_BACKOFF_CAP_S, least_share=0.5)))

    def _may_retry(self) -> bool:
        """Keep the poll in hand for another attempt, if it has one left."""
        poll = self._poll
        if poll is None or poll.retries_left == 0:
            return False
        poll.retries_left -= 1
        poll.retry_at = time.monotonic()
        # Should one block alone be unanswerable, the others come before it.
        poll.pending.rotate(-1)
        return True

    def _give_up(self, poll: Poll | None) -> None:
        """End a tick whose last request failed."""
        if poll is None:
            self._failed()
            self._next_tick()
            return
        poll.fail(poll.pending.popleft())
        poll.drop_pending()
        self._finish(poll)

    def _finish(self, poll: Poll) -> None:
        self._poll = None
        holds = [self._hold(request) for request in poll.failed]
        if poll.answered:
            now = time.monotonic()
            for hold in holds:
                hold.until = now + hold.backoff.next_s()
            self._succeeded(poll, now)
        elif poll.failed:
            self._failed()
        else:
            # All of its blocks are left out for now.
            self._count_skipped(1)
        self._next_tick()

    def _succeeded(self, poll: Poll, now: float) -> None:
        health = self.health
        health.polls_expected += 1
        health.last_ok_us = poll.first_answer_us
        if poll.complete:
            health.polls_ok += 1
            health.round_trip_s = now - poll.started
        else:
            health.polls_partial += 1
        self._periods.update(poll.periods)
        self._backoff.reset()
        self._not_before = 0.0
        self._set_state(MeterState.OK if poll.complete else MeterState.DEGRADED)
        for reading in poll.readings(health.meter_id, self._reads.unsupported):
            self._sink.offer(reading)

    def _failed(self) -> None:
        self.health.polls_expected += 1
        self.health.polls_failed += 1
        self._not_before = time.monotonic() + self._backoff.next_s()
        if self._reads.walks:
            # A device that was away may come back with other firmware, and so with another chain of models.
            self._reads.forget_places()
        self._set_state(MeterState.DOWN)

    def _next_tick(self) -> None:
        self._count_skipped(self._ticks.advance(time.monotonic(), self._now_us()))

    def _count_skipped(self, ticks: int) -> None:
        self.health.polls_expected += ticks
        self.health.polls_skipped += ticks

    def _note(self, error: CollectError) -> None:
        self.health.errors[_kind(error)] += 1
        self.health.last_error = str(error)

    def _set_state(self, state: MeterState) -> None:
        before, self.health.state = self.health.state, state
        if state is before:
            return
        if state is MeterState.OK:
            log.info("meter_state", meter=self.key, state=state.value, was=before.value)
        else:
            error = self.health.last_error
            log.warning("meter_state", meter=self.key, state=state.value, was=before.value, error=error)


def _kind(error: CollectError) -> str:
    if isinstance(error, DeviceException):
        return f"exception_{error.code}"
    if isinstance(error, Unreachable):
        return "unreachable"
    if isinstance(error, NoReply):
        return "no_reply"
    return "mismatch" if isinstance(error, Mismatch) else "not_sunspec"
