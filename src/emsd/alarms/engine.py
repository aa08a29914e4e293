"""The alarm engine: readings in, persisted transitions out.

`observe` is called for every accepted reading and costs a meter without rules one dict lookup. The engine itself only
knows whether a condition holds; the state of the alarm lives in the database, where people acknowledge it. So each
change of a condition is applied by locking the alarm's row and asking the life cycle what it means there.

A restart takes over what stands: an alarm that is persisted as standing begins with its condition holding, and the next
reading says whether it still does. It is neither raised again nor forgotten. The same makes it harmless to evaluate
before the database could be asked.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from emsd.alarms.binding import BoundRule
from emsd.alarms.lifecycle import STANDING, Event, Step, Transition
from emsd.alarms.messages import notices
from emsd.alarms.rules import Change, Evaluator
from emsd.alarms.stats import AlarmStats
from emsd.alarms.waiting import Waiting, WaitingChanges
from emsd.collector import wall_clock_us
from emsd.errors import AlarmError, BadRow, StoreUnavailable
from emsd.readings import Reading
from emsd.store.alarm_events import RuleRow, StoredState, apply_event, sync_rules
from emsd.store.pool import Pool

__all__ = ["AlarmEngine"]

_log = structlog.get_logger(__name__)

_US_PER_S: Final = 1_000_000
START_ALLOWANCE_US: Final = 10 * _US_PER_S
"""Collectors connect and spread their first polls in this time; silence counts from then on."""
SETTLE_US: Final = _US_PER_S
"""Ticks run this far behind the clock, so that readings on their way through the pipeline come first."""
STOP_GRACE_S: Final = 2.0
_FIRST_STORE_WAIT_S: Final = 0.5
_LONGEST_STORE_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Watch:
    bound: BoundRule
    evaluator: Evaluator


class AlarmEngine:
    """Evaluates the rules of a site; reusable after `run` has ended, not reentrant.

    `on_notice` is called when new notifications are in the outbox. `others` are the meters whose alarms another process
    evaluates.
    """

    def __init__(
        self,
        rules: Sequence[BoundRule],
        pool: Pool,
        *,
        site_id: int,
        others: Sequence[int] = (),
        now_us: Callable[[], int] = wall_clock_us,
        on_notice: Callable[[], None] = lambda: None,
        stats: AlarmStats | None = None,
        tick_interval_s: float = 1.0,
    ) -> None:
        self._pool = pool
        self._site_id = site_id
        self._others = tuple(others)
        self._now_us = now_us
        self._on_notice = on_notice
        self._tick_interval_s = tick_interval_s
        self.stats = stats if stats is not None else AlarmStats()
        self._waiting = WaitingChanges()
        self._arrived = asyncio.Event()
        start_us = now_us() + START_ALLOWANCE_US
        self._watches = tuple(_Watch(bound, bound.rule.evaluator(start_us)) for bound in rules)
        by_meter: defaultdict[int, list[_Watch]] = defaultdict(list)
        for watch in self._watches:
            by_meter[watch.bound.meter_id].append(watch)
        self._by_meter: Mapping[int, Sequence[_Watch]] = dict(by_meter)

    def observe(self, reading: Reading) -> None:
        """Take an accepted reading; cheap, never waits and never raises for what a reading holds."""
        watches = self._by_meter.get(reading.meter_id)
        if watches is None:
            return
        now_us = self._now_us()
        for watch in watches:
            for change in watch.evaluator.observe(reading, now_us):
                self._put(watch.bound, change)

    def tick(self, now_us: int) -> None:
        """Let time pass: silence and on-delays that run out without a reading."""
        for watch in self._watches:
            for change in watch.evaluator.tick(now_us - SETTLE_US):
                self._put(watch.bound, change)

    async def run(self) -> None:
        """Evaluate and persist until cancelled; while the database is away, changes wait in order.

        On cancellation what waits is written if the database takes it within STOP_GRACE_S; the rest is found again
        by its readings after the next start.

        Raises:
            StoreError: the database refuses until a person acts; what waits is kept for the next `run`.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick(), name="alarm-ticks")
            group.create_task(self._persist(), name="alarm-writer")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_interval_s)
            self.tick(self._now_us())

    def _put(self, bound: BoundRule, change: Change) -> None:
        self._waiting.put(bound, change)
        self.stats.standing += 1 if change.event is Event.OCCUR else -1
        self._count()
        self._arrived.set()

    def _count(self) -> None:
        self.stats.queue_depth = len(self._waiting)
        self.stats.transitions_coalesced = self._waiting.coalesced

    async def _persist(self) -> None:
        alarm_ids = await self._take_over()
        try:
            while True:
                self._arrived.clear()
                await self._write_all(alarm_ids)
                await self._arrived.wait()
        except asyncio.CancelledError:
            try:
                async with asyncio.timeout(STOP_GRACE_S):
                    await self._write_all(alarm_ids)
            except TimeoutError:
                _log.warning("alarm_changes_unwritten", waiting=len(self._waiting))
            raise

    async def _take_over(self) -> dict[tuple[int, str], int]:
        """Bring the table in line with the rules, take over what stands, and return the number of each alarm."""
        stored = await self._sync()
        for watch in self._watches:
            state = stored[watch.bound.meter_id, watch.bound.rule_key].state
            if state in STANDING and not watch.evaluator.active:
                watch.evaluator.assume_active()
                self.stats.standing += 1
        _log.info("alarms_ready", alarms=len(stored), standing=self.stats.standing)
        return {key: each.alarm_id for key, each in stored.items()}

    async def _sync(self) -> dict[tuple[int, str], StoredState]:
        rows = [
            RuleRow(each.meter_id, each.rule_key, each.name, each.priority, each.rule.describe(), each.advice)
            for each in (watch.bound for watch in self._watches)
        ]
        wait_s = _FIRST_STORE_WAIT_S
        while True:
            try:
                return await sync_rules(
                    self._pool, rows, site_id=self._site_id, now_us=self._now_us(), others=self._others
                )
            except StoreUnavailable as error:
                _log.warning("alarms_wait", reason=str(error), wait_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_STORE_WAIT_S)

    async def _write_all(self, alarm_ids: Mapping[tuple[int, str], int]) -> None:
        wait_s = _FIRST_STORE_WAIT_S
        while (waiting := self._waiting.oldest()) is not None:
            try:
                await self._write(alarm_ids[waiting.bound.meter_id, waiting.bound.rule_key], waiting)
            except StoreUnavailable as error:
                _log.warning("alarm_change_waits", waiting=len(self._waiting), reason=str(error), wait_s=wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_STORE_WAIT_S)
                continue
            except (BadRow, AlarmError) as error:
                # Trying again cannot help, and the alarms behind it must not wait for ever.
                self.stats.transitions_lost += 1
                _log.error("alarm_change_lost", **_facts(waiting), reason=str(error))
            wait_s = _FIRST_STORE_WAIT_S
            self._waiting.drop_oldest()
            self._count()

    async def _write(self, alarm_id: int, waiting: Waiting) -> None:
        bound, change = waiting.bound, waiting.change
        transition = await apply_event(
            self._pool,
            alarm_id,
            change.event,
            time_us=change.time_us,
            value=change.value,
            notices=lambda transition: notices(bound, change, transition),
        )
        if transition is not None:
            self._report(alarm_id, waiting, transition)

    def _report(self, alarm_id: int, waiting: Waiting, transition: Transition) -> None:
        if transition.step is Step.RETURN:
            self.stats.returned += 1
        else:
            self.stats.raised += 1
        _log.info("alarm_transition", alarm_id=alarm_id, step=transition.step.value, **_facts(waiting))
        if waiting.bound.targets:
            self._on_notice()


def _facts(waiting: Waiting) -> dict[str, object]:
    return {
        "rule": waiting.bound.rule_key,
        "meter_id": waiting.bound.meter_id,
        "condition": waiting.bound.rule.describe(),
        "value": waiting.change.value,
        "time_us": waiting.change.time_us,
    }
