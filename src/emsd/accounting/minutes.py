"""Minutes of energy from raw samples: those that are marked, and all of a range that is computed anew."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from emsd.accounting.accounts import MeterAccount
from emsd.accounting.ahead import read_ahead
from emsd.accounting.gather import Bounds, Gatherer, Ready
from emsd.accounting.overtaken import hold_out_overtaken
from emsd.accounting.runs import Run, compute, runs_of
from emsd.accounting.versions import VersionBook
from emsd.energy.events import MeterEvent
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, US_PER_S, floor_us
from emsd.pace import Turns
from emsd.store import intervals as table
from emsd.store.meter_events import read_events
from emsd.store.pool import Pool, Session

__all__ = ["Changed", "Minutes"]

_METERS_PER_READ: Final = 100
"""Meters whose samples are read at once: a minute of a thousand meters is an answer of 60,000 rows, which takes memory,
and the event loop for a tenth of a second."""
_SAMPLES_PER_READ: Final = 2_000_000
"""Samples of all meters of a long range that are read at once, 60 MB. Fewer mean more runs, and each takes half a
millisecond whatever its length."""
_SAMPLES_PER_SLICE: Final = 20_000
_METERS_PER_SLICE: Final = 25
"""Samples, and meters, computed before the event loop gets its turn, so that polls keep their time."""
_ROWS_PER_WRITE: Final = 10_000
_LARGEST_SHARE: Final = 0.3
"""Share of the time that marked minutes may take while they are computed."""

Events = Mapping[int, Sequence[MeterEvent]]


@dataclass(slots=True)
class Changed:
    """Minutes that were written, or deleted because nothing is known of them any more, by meter [us]."""

    rows: int = 0
    minutes: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    emptied: set[tuple[int, int]] = field(default_factory=set)
    """Quarter hours that lost minutes, as (meter_id, bucket_us) pairs."""

    def quarters(self) -> set[tuple[int, int]]:
        """Return the quarter hours of all these minutes, as (meter_id, bucket_us) pairs."""
        return {
            (meter_id, minute_us - minute_us % BUCKET_15M_US)
            for meter_id, minutes in self.minutes.items()
            for minute_us in minutes
        }


class Minutes:
    """Computes minutes of meters and writes them; what it remembers only spares work, see Gatherer."""

    def __init__(self, pool: Pool, accounts: Mapping[int, MeterAccount], book: VersionBook) -> None:
        self._pool = pool
        self._accounts = accounts
        self._book = book
        self._gatherer = Gatherer()
        self.turns = Turns(_LARGEST_SHARE)
        """Marked minutes are computed beside polls, of this process and others: thousands of meters end one at once."""

    async def of_marks(
        self, connection: Session, minutes: Mapping[int, Iterable[int]], bounds: Bounds, changed: Changed
    ) -> None:
        """Compute marked minutes [us] of each meter, and those around them that they change."""
        known = {meter_id: buckets for meter_id, buckets in minutes.items() if meter_id in self._accounts}
        events = await read_events(connection, list(known))
        waiting = [
            runs_of(self._accounts[meter_id], buckets, events.get(meter_id, ())) for meter_id, buckets in known.items()
        ]
        while waiting:
            # One run of each meter at a time: a read has every meter once.
            runs = [meter_runs.pop() for meter_runs in waiting]
            waiting = [meter_runs for meter_runs in waiting if meter_runs]
            for start in range(0, len(runs), _METERS_PER_READ):
                part = runs[start : start + _METERS_PER_READ]
                async with self.turns:
                    ready = await self._gatherer.gather(connection, part, bounds)
                    await self._write(connection, ready, events, changed)

    async def of_range(
        self, connection: Session, meter_ids: Iterable[int], from_us: int, to_us: int, bounds: Bounds, changed: Changed
    ) -> None:
        """Compute all minutes of some meters in [from_us, to_us)."""
        from_us = max(from_us, bounds.sealed_before_us)
        accounts = [self._accounts[each] for each in meter_ids if each in self._accounts]
        if from_us >= to_us or not accounts:
            return
        events = await read_events(connection, [each.meter_id for each in accounts])
        async with aclosing(read_ahead(self._pool, _parts(accounts, from_us, to_us, events), bounds)) as parts:
            async for ready in parts:
                await self._write(connection, ready, events, changed)

    async def _write(self, connection: Session, ready: Ready, events: Events, changed: Changed) -> None:
        rows: list[table.MinuteRows] = []
        waiting = samples = 0
        for place, (run, found) in enumerate(ready, start=1):
            known = events.get(run.account.meter_id, ())
            computed = compute(run, found, known)
            await hold_out_overtaken(connection, run, found, computed, known)
            rows.append(computed)
            waiting += computed.bucket_us.size
            samples += found.time_us.size
            if waiting >= _ROWS_PER_WRITE:
                await self._write_rows(connection, rows, changed)
                rows, waiting = [], 0
            if samples >= _SAMPLES_PER_SLICE or place % _METERS_PER_SLICE == 0:
                await asyncio.sleep(0)
                samples = 0
        await self._write_rows(connection, rows, changed)

    async def _write_rows(self, connection: Session, rows: Sequence[table.MinuteRows], changed: Changed) -> None:
        versions = await self._book.of(connection, [each.meter_id for each in rows])
        changed.rows += await table.write_minutes(connection, rows, versions)
        for each in rows:
            changed.minutes[each.meter_id].update(each.bucket_us.tolist())
        for meter_id, minute_us in await table.delete_unknown_minutes(connection, rows):
            changed.minutes[meter_id].add(minute_us)
            changed.emptied.add((meter_id, minute_us - minute_us % BUCKET_15M_US))


def _parts(accounts: Sequence[MeterAccount], from_us: int, to_us: int, events: Events) -> Iterator[Sequence[Run]]:
    """Cut a range of some meters into runs that are read at once: all meters of one schedule over the same time.

    Readings lie on disk in the order of time, so some meters of it cost nearly as much as all.
    """
    samples_per_s = sum(1 / each.poll_interval_s for each in accounts)
    length_us = max(BUCKET_15M_US, floor_us(int(_SAMPLES_PER_READ / samples_per_s * US_PER_S), BUCKET_15M_US))
    for begin_us in range(from_us, to_us, length_us):
        end_us = min(begin_us + length_us, to_us)
        sides = {"grows_before": begin_us == from_us, "grows_after": end_us == to_us}
        alike: dict[int, list[Run]] = defaultdict(list)
        for account in accounts:
            known = events.get(account.meter_id, ())
            for run in runs_of(account, range(begin_us, end_us, BUCKET_1M_US), known, **sides):
                alike[run.by_schedule_us()].append(run)
        yield from alike.values()
