"""The passes of accounting over the database."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

import structlog

from emsd.accounting.accounts import MeterAccount
from emsd.accounting.gather import Bounds
from emsd.accounting.gauges import GaugeTiers
from emsd.accounting.minutes import Changed, Minutes
from emsd.accounting.runs import take
from emsd.accounting.versions import VersionBook
from emsd.energy.windows import local_day_bounds, settled_minute
from emsd.errors import StoreError
from emsd.readings import instant_us, to_datetime
from emsd.store import intervals as table
from emsd.store import recomputations as queue
from emsd.store.pool import Pool, Session, session
from emsd.store.retention import read_horizons

__all__ = ["Accounting", "AccountingStats", "AfterPass"]

_log = structlog.get_logger(__name__)

_MARKS_PER_PASS: Final = 2_000
_MINUTES_PER_PASS: Final = 30_000
"""Most meter-minutes of one pass: bounds its memory and how long its transaction stays open."""
_LARGEST_SHARE: Final = 0.25
"""Share of the process's time that passes over live data may take."""
_LARGEST_EARLY_SHARE: Final = 0.01
"""Share for minutes that still run. A plant of a few meters sees them grow; of a thousand meters each minute is
computed when it is over, a sixtieth of the work."""
_OVER_S: Final = 2.0
"""How long a minute is over before it is computed [s]: its last readings have been written by then."""
_DAYS_PER_PASS: Final = 2_000
_RUNNING_DAY_EVERY_S: Final = 900.0
"""How often the unfinished local day is built; windows over it are put together from quarter hours anyway."""
_NOTED_EVERY_S: Final = 5.0

AfterPass: TypeAlias = Callable[[Session, Mapping[int, set[int]]], Awaitable[bool]]
"""Is given the transaction of a pass before it commits, and which minutes [us] of which meters it has written or
deleted, all of them; returns whether it has more to do at once."""


@dataclass(slots=True)
class AccountingStats:
    """Running totals since the start, and the state after the last pass."""

    passes: int = 0
    failures: int = 0
    minutes_written: int = 0
    gauge_quarters_built: int = 0
    minutes_sealed: int = 0
    """Meter-minutes that late readings came for although retention has dropped what they would be computed from."""
    pieces_recomputed: int = 0
    busy_s: float = 0.0
    lag_s: float = 0.0
    """How long the oldest minute that intervals do not reflect has been over [s]."""
    last_pass_us: int | None = None


@dataclass(slots=True)
class _Done:
    """What one pass has done; it counts when its transaction has committed."""

    minutes_written: int = 0
    gauge_quarters_built: int = 0
    minutes_sealed: int = 0
    pieces_recomputed: int = 0
    lag_s: float = 0.0
    more: bool = False


@dataclass(slots=True)
class _Work:
    """What one pass has found to do."""

    marks: list[table.DirtyMark]
    minutes: dict[int, set[int]]
    is_rest: bool
    """Whether marks were left for the next pass."""
    piece: queue.Piece | None


class Accounting:
    """Keeps the interval tables up to date; reusable after `run` has ended, not reentrant.

    Each of `after_pass` is called in every pass when its minutes and quarter hours are written, before its local days
    are; what it does belongs to the same transaction. `gauges` are the gauges of each meter that have tiers; None
    leaves these to another accounting.
    """

    def __init__(
        self,
        pool: Pool,
        accounts: Mapping[int, MeterAccount],
        zone: ZoneInfo,
        *,
        gauges: Mapping[int, tuple[str, ...]] | None = None,
        interval_s: float = 2.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pool = pool
        self._interval_s = interval_s
        self._now = now
        self._running_day_built_s = self._noted_s = -float("inf")
        self._led_by: str | None = None
        self.after_pass: list[AfterPass] = []
        self.stats = AccountingStats()
        self.adopt(accounts, zone, gauges)

    def adopt(
        self,
        accounts: Mapping[int, MeterAccount],
        zone: ZoneInfo,
        gauges: Mapping[int, tuple[str, ...]] | None = None,
    ) -> None:
        """Go by these accounts, this time zone and these gauges from the next pass on."""
        self._accounts = dict(accounts)
        self._zone = zone
        self._gauges = None if gauges is None else dict(gauges)
        self._forget()

    @property
    def accounts(self) -> Mapping[int, MeterAccount]:
        """The accounts that it goes by."""
        return self._accounts

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return self._zone

    async def run(self) -> None:
        """Run passes until cancelled; a database that is away is tried again at the next pass."""
        self._led_by = f"{socket.gethostname()}, process {os.getpid()}"
        early_from_s = -float("inf")
        while True:
            began_s = time.monotonic()
            is_early, backlog = began_s >= early_from_s, False
            turns = self._minutes.turns
            waited_before_s = turns.waited_s
            try:
                backlog = await self.run_once(running_too=is_early, beside_polls=True)
            except StoreError as error:
                self.stats.failures += 1
                _log.warning("accounting_failed", reason=str(error))
            took_s = time.monotonic() - began_s
            busy_s = took_s - (turns.waited_s - waited_before_s)
            self.stats.busy_s += busy_s
            if is_early:
                early_from_s = began_s + busy_s / _LARGEST_EARLY_SHARE
            await asyncio.sleep(0.0 if backlog else max(self._interval_s, busy_s / _LARGEST_SHARE - took_s))

    async def run_once(self, *, running_too: bool = True, beside_polls: bool = False) -> bool:
        """Carry out one pass; True when there is more to do at once.

        Without `running_too` minutes are left alone until they are over; `beside_polls` leaves polls most of the time.

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
                with nullcontext() if beside_polls else self._minutes.turns.at_once():
                    done = await self._pass(connection, running_too=running_too)
        except BaseException:
            # What this pass had read was rolled back with it, so it must not be taken for done.
            self._forget()
            raise
        self._count(done)
        return done.more

    async def run_until_clean(self) -> None:
        """Run passes until no mark is left, the running local day included.

        Raises:
            StoreError: what earlier passes did is committed.
        """
        self._running_day_built_s = -float("inf")
        while await self.run_once():
            pass

    def _count(self, done: _Done) -> None:
        stats = self.stats
        stats.passes += 1
        stats.minutes_written += done.minutes_written
        stats.gauge_quarters_built += done.gauge_quarters_built
        stats.minutes_sealed += done.minutes_sealed
        stats.pieces_recomputed += done.pieces_recomputed
        stats.lag_s = done.lag_s
        stats.last_pass_us = instant_us(self._now())

    async def _pass(self, connection: Session, *, running_too: bool) -> _Done:
        now = self._now()
        over = settled_minute(now, _OVER_S)
        horizons = await read_horizons(connection)
        sealed_before_us = _us(horizons.sealed_before(self._zone))
        bounds = Bounds(instant_us(now), _us(horizons.raw), sealed_before_us, len(self._accounts))
        work = await self._work(connection, None if running_too else over)
        changed = Changed()
        open_minutes, sealed = _without_sealed(work.minutes, bounds)
        await self._minutes.of_marks(connection, open_minutes, bounds, changed)
        await self._tiers.mark(connection, open_minutes)
        if work.piece is not None:
            await self._recompute(connection, work.piece, bounds, changed)
        await table.delete_marks(connection, [mark.mark_id for mark in work.marks])
        await self._build_quarters(connection, changed)
        more_after = [await hook(connection, changed.minutes) for hook in self.after_pass]
        # Of what is computed anew, a local day has many pieces: it is built when the last of them is done.
        more_days = work.piece is not None or await self._build_days(connection)
        ended_by = now - timedelta(seconds=_OVER_S)
        built, more_gauges = await self._tiers.build(connection, ended_by, bounds.sealed_before_us)
        await self._note(connection)
        return _Done(
            minutes_written=changed.rows,
            gauge_quarters_built=built,
            minutes_sealed=sealed,
            pieces_recomputed=int(work.piece is not None),
            lag_s=await table.oldest_mark_wait_s(connection, now, over),
            more=work.is_rest or any(more_after) or more_days or more_gauges,
        )

    async def _work(self, connection: Session, before: datetime | None) -> _Work:
        """Return what is to be done: marks first, and when none are left over a piece of what is computed anew."""
        marks = await table.read_marks(connection, most=_MARKS_PER_PASS, before=before)
        taken, minutes = take(marks, _MINUTES_PER_PASS)
        is_rest = len(taken) < len(marks) or len(marks) == _MARKS_PER_PASS
        piece = None if is_rest else await queue.next_piece(connection, gauges_too=self._gauges is not None)
        return _Work(taken, minutes, is_rest, piece)

    async def _recompute(self, connection: Session, piece: queue.Piece, bounds: Bounds, changed: Changed) -> None:
        if piece.intervals:
            meter_ids = list(self._accounts) if piece.meter_ids is None else piece.meter_ids
            from_us, to_us = instant_us(piece.from_), instant_us(piece.to)
            await self._minutes.of_range(connection, meter_ids, from_us, to_us, bounds, changed)
            await queue.mark_asset_quarters(connection, piece.meter_ids, piece.from_, piece.to)
        if piece.gauges:
            await self._tiers.mark_range(connection, piece.meter_ids, piece.from_, piece.to)
        await queue.delete_piece(connection, piece)

    async def _build_quarters(self, connection: Session, changed: Changed) -> None:
        quarters = changed.quarters()
        await table.delete_empty_quarters(connection, sorted(changed.emptied))
        await table.build_quarters(connection, sorted(quarters))
        await table.mark_days(connection, {(meter_id, self._local_day(at_us)) for meter_id, at_us in quarters})

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

    async def _note(self, connection: Session) -> None:
        """Say now and then that somebody accounts, for who asks whether to compute by himself."""
        clock_s = time.monotonic()
        if self._led_by is not None and clock_s - self._noted_s >= _NOTED_EVERY_S:
            await queue.note_pass(connection, self._led_by)
            self._noted_s = clock_s

    def _forget(self) -> None:
        self._minutes = Minutes(self._pool, self._accounts, VersionBook(self._accounts))
        self._tiers = GaugeTiers(self._gauges, self._zone)
        self._noted_s = -float("inf")

    def _local_day(self, time_us: int) -> date:
        return to_datetime(time_us).astimezone(self._zone).date()


def _without_sealed(minutes: Mapping[int, set[int]], bounds: Bounds) -> tuple[dict[int, set[int]], int]:
    """Leave out the minutes of which retention has dropped what they would be computed from; say how many those are."""
    if not any(min(buckets) < bounds.sealed_before_us for buckets in minutes.values()):
        return dict(minutes), 0
    kept = {
        meter_id: {bucket_us for bucket_us in buckets if bucket_us >= bounds.sealed_before_us}
        for meter_id, buckets in minutes.items()
    }
    sealed = sum(map(len, minutes.values())) - sum(map(len, kept.values()))
    _log.warning(
        "readings_came_too_late",
        minutes=sealed,
        sealed_before=str(to_datetime(bounds.sealed_before_us)),
        reason="what was read around them has been dropped, so their intervals stay as they are",
    )
    return {meter_id: buckets for meter_id, buckets in kept.items() if buckets}, sealed


def _us(instant: datetime | None) -> int:
    return 0 if instant is None else instant_us(instant)
