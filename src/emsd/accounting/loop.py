"""The passes of accounting over the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import structlog

from emsd.accounting.accounts import MeterAccount
from emsd.accounting.gather import Gatherer
from emsd.accounting.runs import Run, compute, runs_of, take
from emsd.energy.series import BUCKET_15M_US
from emsd.energy.windows import local_day_bounds
from emsd.errors import StoreError
from emsd.pace import room
from emsd.readings import instant_us, to_datetime
from emsd.store import intervals as table
from emsd.store.pool import Pool, Session, session

__all__ = ["Accounting", "AccountingStats"]

_log = structlog.get_logger(__name__)

_MARKS_PER_PASS: Final = 2_000
_MINUTES_PER_PASS: Final = 30_000
"""Most meter-minutes of one pass: bounds its memory and how long its transaction stays open."""
_METERS_PER_READ: Final = 100
"""Meters whose samples are read at once: a minute of a thousand meters is an answer of 60,000 rows, which takes memory,
and the event loop for a tenth of a second."""
_METERS_PER_SLICE: Final = 25
"""Meters computed before the event loop gets its turn, so that polls keep their time."""
_LARGEST_SHARE: Final = 0.1
"""Share of the process's time that passes over live data may take."""
_DAYS_PER_PASS: Final = 2_000
_RUNNING_DAY_EVERY_S: Final = 900.0
"""How often the unfinished local day is built; windows over it are put together from quarter hours anyway."""


@dataclass(slots=True)
class AccountingStats:
    """Running totals since the start, and the state after the last pass."""

    passes: int = 0
    failures: int = 0
    minutes_written: int = 0
    busy_s: float = 0.0
    lag_s: float = 0.0
    """Age of the oldest minute still marked [s]."""
    last_pass_us: int | None = None


class Accounting:
    """Keeps the interval tables up to date; reusable after `run` has ended, not reentrant."""

    def __init__(
        self,
        pool: Pool,
        accounts: Mapping[int, MeterAccount],
        zone: ZoneInfo,
        *,
        interval_s: float = 2.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pool = pool
        self._accounts = dict(accounts)
        self._zone = zone
        self._interval_s = interval_s
        self._now = now
        self._gatherer = Gatherer()
        self._running_day_built_s = -float("inf")
        self._waited_s = 0.0
        """How long this pass has waited for polls to be served [s]."""
        self.stats = AccountingStats()

    def adopt(self, accounts: Mapping[int, MeterAccount], zone: ZoneInfo) -> None:
        """Go by these accounts and this time zone from the next pass on."""
        self._accounts = dict(accounts)
        self._zone = zone

    async def run(self) -> None:
        """Run passes until cancelled; a database that is away is tried again at the next pass."""
        while True:
            began_s, self._waited_s = time.monotonic(), 0.0
            backlog = False
            try:
                backlog = await self.run_once()
            except StoreError as error:
                self.stats.failures += 1
                _log.warning("accounting_failed", reason=str(error))
            busy_s = time.monotonic() - began_s - self._waited_s
            self.stats.busy_s += busy_s
            await asyncio.sleep(0.0 if backlog else max(self._interval_s, busy_s / _LARGEST_SHARE - busy_s))

    async def run_once(self) -> bool:
        """Carry out one pass; True when there is more to do at once.

        Raises:
            StoreError: nothing of this pass has been changed.
        """
        try:
            async with (
                session(self._pool, "turn readings into intervals") as connection,
                connection.transaction(),
            ):
                if not await table.lead_accounting(connection):
                    return False
                marks = await table.read_marks(connection, most=_MARKS_PER_PASS)
                taken, minutes = take(marks, _MINUTES_PER_PASS)
                written, quarters = await self._account(connection, minutes)
                await table.delete_marks(connection, [mark.mark_id for mark in taken])
                await table.build_quarters(connection, sorted(quarters))
                await table.mark_days(connection, {(meter_id, self._local_day(at_us)) for meter_id, at_us in quarters})
                more_days = await self._build_days(connection)
                self.stats.lag_s = await table.oldest_mark_age_s(connection, self._now())
        except BaseException:
            # What this pass had read was rolled back with it, so it must not be taken for done.
            self._gatherer = Gatherer()
            raise
        self.stats.passes += 1
        self.stats.minutes_written += written
        self.stats.last_pass_us = instant_us(self._now())
        return len(taken) < len(marks) or len(marks) == _MARKS_PER_PASS or more_days

    async def run_until_clean(self) -> None:
        """Run passes until no mark is left, the running local day included.

        Raises:
            StoreError: what earlier passes did is committed.
        """
        self._running_day_built_s = -float("inf")
        while await self.run_once():
            pass

    async def _account(self, connection: Session, minutes: Mapping[int, set[int]]) -> tuple[int, set[tuple[int, int]]]:
        """Compute and write marked minutes; return how many rows, and their (meter_id, quarter hour) pairs."""
        written = 0
        quarters: set[tuple[int, int]] = set()
        waiting = [
            runs_of(self._accounts[meter_id], buckets)
            for meter_id, buckets in minutes.items()
            if meter_id in self._accounts
        ]
        while waiting:
            # One run of each meter at a time: a read has every meter once.
            runs = [meter_runs.pop() for meter_runs in waiting]
            waiting = [meter_runs for meter_runs in waiting if meter_runs]
            for start in range(0, len(runs), _METERS_PER_READ):
                self._waited_s += await room()
                rows = await self._compute(connection, runs[start : start + _METERS_PER_READ])
                written += await table.write_minutes(connection, rows)
                emptied = await table.delete_unknown_minutes(connection, rows)
                await table.delete_empty_quarters(connection, sorted(emptied))
                quarters |= emptied
                for row in rows:
                    first_of_quarter = np.unique(row.bucket_us - row.bucket_us % BUCKET_15M_US)
                    quarters.update((row.meter_id, quarter) for quarter in first_of_quarter.tolist())
        return written, quarters

    async def _compute(self, connection: Session, runs: Sequence[Run]) -> list[table.MinuteRows]:
        gathered = await self._gatherer.gather(connection, runs, instant_us(self._now()))
        computed: list[table.MinuteRows] = []
        for place, (run, samples) in enumerate(gathered, start=1):
            computed.append(compute(run, samples))
            if place % _METERS_PER_SLICE == 0:
                await asyncio.sleep(0)
        return computed

    async def _build_days(self, connection: Session) -> bool:
        """Build local days that changed, past ones at once, the running one now and then; True when some are left.

        Of past days a pass builds a part. The running day is built of all meters or of none: every pass changes it
        again, so a rest would never be over.
        """
        today = self._now().astimezone(self._zone).date()
        clock_s = time.monotonic()
        past = await self._build_some_days(connection, date.min, today - timedelta(days=1))
        if clock_s - self._running_day_built_s >= _RUNNING_DAY_EVERY_S:
            while await self._build_some_days(connection, today, today) == _DAYS_PER_PASS:
                pass
            self._running_day_built_s = clock_s
        return past == _DAYS_PER_PASS

    async def _build_some_days(self, connection: Session, first: date, last: date) -> int:
        days = await table.read_dirty_days(connection, first=first, last=last, most=_DAYS_PER_PASS)
        await table.build_days(connection, [(meter, day, *local_day_bounds(day, self._zone)) for meter, day in days])
        return len(days)

    def _local_day(self, time_us: int) -> date:
        return to_datetime(time_us).astimezone(self._zone).date()
