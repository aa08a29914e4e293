"""Long tables read row by row: a cursor of the database, the next page on its way while one is being written.

Rows come in slices of time, within a slice by meter, within a meter by time. So each query touches one or two chunks of
the hypertable and follows its primary key: nothing is sorted, and neither the server nor this process holds more than a
page, however long the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from emsd.energy.windows import Tier
from emsd.quantities import Quantity
from emsd.readings import EPOCH
from emsd.store.errors import store_errors
from emsd.store.pool import Pool, Session
from emsd.store.reads import snapshot

__all__ = [
    "EVENT_COLUMNS",
    "INTERVAL_COLUMNS",
    "READING_COLUMNS",
    "Pages",
    "TellShare",
    "open_events",
    "open_intervals",
    "open_readings",
    "read_site_ids",
]

Pages: TypeAlias = AsyncIterator[list[tuple[Any, ...]]]
TellShare: TypeAlias = Callable[[float], None]
"""Is told the share 0..1 of the time range that was read."""

READING_COLUMNS: Final = ("time", "meter", "quality")
"""Before the quantities of a reading."""
INTERVAL_COLUMNS: Final = (
    "time",
    "meter",
    "energy_import_kwh",
    "energy_export_kwh",
    "estimated_import_kwh",
    "estimated_export_kwh",
    "power_min_kw",
    "power_avg_kw",
    "power_max_kw",
    "coverage",
    "sample_count",
    "flags",
    "computed_at",
)
"""Of an interval; one of tier 1d has its local day behind the meter."""
EVENT_COLUMNS: Final = (
    "time",
    "meter",
    "event_id",
    "supersedes",
    "kind",
    "detail",
    "author",
    "note",
    "recorded_at",
)
"""Of a meter event; `detail` is JSON."""

# A client that reads slowly keeps its transaction waiting longer than one that died; the API cuts a stalled one.
_SETTINGS: Final = """
SET LOCAL idle_in_transaction_session_timeout = '15min';
SET LOCAL enable_sort = off;
SET LOCAL enable_bitmapscan = off;
"""
# {quantities} and {known} are made of names of the vocabulary. A row that has none of them and no flag says nothing.
_READINGS: Final = """
SELECT time, meter_id, quality, {quantities} FROM reading
WHERE meter_id = ANY($1::integer[]) AND time >= $2 AND time < $3 AND (quality <> 0 OR {known})
ORDER BY meter_id, time
"""
_INTERVALS: Final = """
SELECT bucket, meter_id, {columns} FROM interval_{tier}
WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3
ORDER BY meter_id, bucket
"""
_DAYS: Final = """
SELECT bucket, meter_id, day, {columns} FROM interval_1d
WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 AND day >= $4 AND day <= $5
ORDER BY meter_id, day
"""
_EVENTS: Final = """
SELECT occurred_at, meter_id, event_id, supersedes, kind, detail::text, author, note, recorded_at FROM meter_event
WHERE meter_id = ANY($1::integer[]) AND occurred_at >= $2 AND occurred_at < $3 ORDER BY occurred_at, event_id
"""
_DAY: Final = timedelta(days=1)
_SLICES: Final[Mapping[Tier, timedelta]] = {"1m": _DAY, "15m": 7 * _DAY, "1d": 366 * _DAY}


@dataclass(frozen=True, slots=True)
class _Part:
    query: str
    arguments: tuple[object, ...]
    share: float
    """Of the range, when this part is read."""


@asynccontextmanager
async def open_readings(
    pool: Pool,
    meters: Mapping[int, str],
    quantities: Sequence[Quantity],
    from_: datetime,
    to: datetime,
    *,
    page_rows: int,
    tell: TellShare | None = None,
) -> AsyncIterator[Pages]:
    """Open the readings in [from_, to) of some meters (key by id): READING_COLUMNS, then the quantities.

    All of one instant of the database. A row without any of the quantities comes when its quality says why.

    Raises:
        StoreUnavailable: the database cannot be reached; from the iterator, it was lost on the way.
    """
    names = [each.name for each in quantities]
    query = _READINGS.format(quantities=", ".join(names), known=" OR ".join(f"{name} IS NOT NULL" for name in names))
    parts = [_Part(query, (list(meters), *span), share) for *span, share in _slices(from_, to, _DAY)]
    async with _open(pool, "export readings", parts, meters, page_rows, tell) as pages:
        yield pages


@asynccontextmanager
async def open_intervals(
    pool: Pool,
    meters: Mapping[int, str],
    tier: Tier,
    from_: datetime,
    to: datetime,
    *,
    page_rows: int,
    tell: TellShare | None = None,
) -> AsyncIterator[Pages]:
    """Open the intervals of a tier that begin in [from_, to) of some meters (key by id): INTERVAL_COLUMNS.

    Raises:
        StoreUnavailable: the database cannot be reached; from the iterator, it was lost on the way.
    """
    columns = ", ".join(INTERVAL_COLUMNS[2:])
    parts = []
    for begin, end, share in _slices(from_, to, _SLICES[tier]):
        if tier == "1d":
            # The primary key has the local day, which is at most a day off the one in UTC.
            arguments: tuple[object, ...] = (list(meters), begin, end, begin.date() - _DAY, end.date() + _DAY)
            parts.append(_Part(_DAYS.format(columns=columns), arguments, share))
        else:
            parts.append(_Part(_INTERVALS.format(columns=columns, tier=tier), (list(meters), begin, end), share))
    async with _open(pool, "export intervals", parts, meters, page_rows, tell) as pages:
        yield pages


@asynccontextmanager
async def open_events(
    pool: Pool, meters: Mapping[int, str], from_: datetime, to: datetime, *, page_rows: int
) -> AsyncIterator[Pages]:
    """Open the events in [from_, to) of some meters (key by id), in order of time: EVENT_COLUMNS.

    Raises:
        StoreUnavailable: the database cannot be reached; from the iterator, it was lost on the way.
    """
    part = _Part(_EVENTS, (list(meters), from_, to), 1.0)
    async with _open(pool, "export meter events", [part], meters, page_rows, None) as pages:
        yield pages


async def read_site_ids(pool: Pool) -> list[int]:
    """Return the numbers of the sites that the database knows.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with snapshot(pool, "read the sites") as connection:
        return [row["site_id"] for row in await connection.fetch("SELECT site_id FROM site ORDER BY site_id")]


def _slices(from_: datetime, to: datetime, width: timedelta) -> Iterator[tuple[datetime, datetime, float]]:
    """Yield the parts of [from_, to) between multiples of the width since 1970, and the share that ends with each."""
    begin, last = from_.astimezone(UTC), to.astimezone(UTC)
    while begin < last:
        end = min(last, begin + width - (begin - EPOCH) % width)
        yield begin, end, (end - from_) / (to - from_)
        begin = end


@asynccontextmanager
async def _open(
    pool: Pool, doing: str, parts: Sequence[_Part], meters: Mapping[int, str], page_rows: int, tell: TellShare | None
) -> AsyncIterator[Pages]:
    async with snapshot(pool, doing) as connection:
        await connection.execute(_SETTINGS)
        async with (
            aclosing(_pages(connection, doing, parts, meters, page_rows, tell)) as pages,
            aclosing(_one_ahead(pages)) as ahead,
        ):
            yield ahead


async def _pages(
    connection: Session,
    doing: str,
    parts: Sequence[_Part],
    meters: Mapping[int, str],
    page_rows: int,
    tell: TellShare | None,
) -> AsyncGenerator[list[tuple[Any, ...]]]:
    """Yield the rows, the meter's id replaced by its key, in pages that are full but for the last."""
    page: list[tuple[Any, ...]] = []
    for part in parts:
        with store_errors(doing):
            async for row in connection.cursor(part.query, *part.arguments, prefetch=page_rows):
                page.append((row[0], meters[row[1]], *row[2:]))
                if len(page) >= page_rows:
                    yield page
                    page = []
        if tell is not None:
            tell(part.share)
    if page:
        yield page


async def _one_ahead(pages: Pages) -> AsyncGenerator[list[tuple[Any, ...]]]:
    """Yield the pages, and read the next one meanwhile."""

    async def next_page() -> list[tuple[Any, ...]] | None:
        return await anext(pages, None)

    coming = asyncio.create_task(next_page(), name="export-page")
    try:
        while (page := await coming) is not None:
            coming = asyncio.create_task(next_page(), name="export-page")
            yield page
    finally:
        # Cancelling it ends the query in the database too.
        coming.cancel()
        await asyncio.wait({coming})
        if not coming.cancelled():
            coming.exception()
