"""Write readings: COPY when all are new, a merge when some are there already, a quarantine for the impossible.

| what happens | way |
|---|---|
| all rows are new | COPY into `reading` and the dirty marks, one transaction |
| a row is there already | the batch goes into a temporary table and is merged column by column; the value there stays |
| a row can never be stored | found by halving under savepoints, kept in `quarantine`; the rest is stored |

Readings, quarantined rows and dirty marks commit together, so a crash at any instant leaves no reading that accounting
does not know of, and writing the same batch again changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import asyncpg
import numpy as np
import structlog

from emsd.collector import wall_clock_us
from emsd.errors import BadRow
from emsd.readings import Quality, Reading, columns
from emsd.store.copy_format import KEY_COLUMNS, check_reading, copy_columns, copy_stream, is_storable
from emsd.store.errors import store_errors
from emsd.store.pool import CONNECT_TIMEOUT_S, Pool, Session, deadline
from emsd.store.quarantine import poison_of, write_poisons

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

__all__ = ["ReadingWriter", "WriteResult"]

log = structlog.get_logger(__name__)

DOING: Final = "store readings"
WRITE_TIMEOUT_S: Final = 60.0
LEAST_TIMEOUT_S: Final = 0.1
MINUTE_US: Final = 60_000_000

# One row for each minute of the batch. A bucket is an exact number of minutes, so to_timestamp's double is exact too.
MARK_DIRTY: Final = """
INSERT INTO dirty_interval (bucket, meter_ids)
SELECT to_timestamp(minute * 60), array_agg(meter_id)
FROM unnest($1::bigint[], $2::integer[]) AS touched (minute, meter_id)
GROUP BY minute"""

# It outlives a transaction but not its rows; a session that never collides never makes it.
CREATE_STAGING: Final = "CREATE TEMPORARY TABLE IF NOT EXISTS reading_staging (LIKE reading) ON COMMIT DELETE ROWS"
EMPTY_STAGING: Final = "TRUNCATE pg_temp.reading_staging"


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a batch; the three add up to its length.

    `stored` became rows, `merged` belonged to a row that was there or came earlier in the batch, `quarantined` can
    never be stored.
    """

    stored: int
    merged: int
    quarantined: int

    def __add__(self, other: WriteResult) -> WriteResult:
        return WriteResult(self.stored + other.stored, self.merged + other.merged, self.quarantined + other.quarantined)


class ReadingWriter:
    """Writes batches of readings.

    Inside `async with` it keeps one session of the pool for itself, so that ingest never queues behind other users of
    the pool; without, it borrows one for each batch. Batches are written one after the other.
    """

    def __init__(self, pool: Pool, *, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._one_at_a_time = asyncio.Lock()
        self._keeps_session = False
        self._kept: PoolConnectionProxy[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        self._keeps_session = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeps_session = False
        await self._give_back()

    async def write(self, readings: Sequence[Reading]) -> WriteResult:
        """Store a batch with its dirty marks, all or nothing; the same batch again changes nothing.

        Raises:
            StoreUnavailable: not now; the same call helps later.
            StoreError: the schema or the rights are wrong; a person must act.
        """
        if not readings:
            return WriteResult(0, 0, 0)
        began_s = time.monotonic()
        async with self._one_at_a_time:
            with store_errors(DOING):
                async with self._session() as connection:
                    # Opening a session counts as well: who waits does not care what for.
                    left_s = max(LEAST_TIMEOUT_S, self._timeout_s - (time.monotonic() - began_s))
                    with deadline(connection, left_s):
                        return await self._write(connection, readings)

    def abort(self) -> None:
        """Cut the session of the batch in hand, whatever it waits for; `write` then raises StoreUnavailable."""
        if self._kept is not None and self._one_at_a_time.locked():
            self._kept.terminate()

    async def _write(self, connection: Session, readings: Sequence[Reading]) -> WriteResult:
        try:
            with store_errors(DOING):
                async with connection.transaction():
                    names = copy_columns(readings)
                    await _copy(connection, "reading", copy_stream(readings, names), names, self._timeout_s)
                    await _mark_dirty(connection, readings)
        except BadRow:  # a row that is there already, or one that can never be stored
            return await self._write_carefully(connection, readings)
        return WriteResult(len(readings), 0, 0)

    async def _write_carefully(self, connection: Session, readings: Sequence[Reading]) -> WriteResult:
        stored = 0
        accepted: list[Reading] = []
        refused: list[tuple[_Row, str]] = []
        async with connection.transaction():
            await connection.execute(CREATE_STAGING)
            parts = [_one_row_each(readings)]
            while parts:
                part = parts.pop()
                rows = [row.reading for row in part]
                try:
                    stored += await self._merge(connection, rows)
                    accepted += rows
                except BadRow as error:
                    if len(part) > 1:
                        middle = len(part) // 2
                        parts += [part[:middle], part[middle:]]
                    else:
                        refused.append((part[0], check_reading(part[0].reading) or str(error)))
            if accepted:
                await _mark_dirty(connection, accepted)
            if refused:
                now_us = wall_clock_us()
                await write_poisons(connection, [poison_of(row.reading, reason, now_us) for row, reason in refused])
        if refused:
            log.warning("readings_quarantined", rows=len(refused), first_reason=refused[0][1])
        quarantined = sum(row.readings for row, _ in refused)
        return WriteResult(stored, len(readings) - stored - quarantined, quarantined)

    async def _merge(self, connection: Session, readings: Sequence[Reading]) -> int:
        """Merge readings of distinct meters and instants into the table; return how many rows are new."""
        names = copy_columns(readings)
        stream = b"".join(copy_stream(readings, names))  # a reading that is none is found before COPY begins
        with store_errors(DOING):
            async with connection.transaction():
                await _copy(connection, "reading_staging", iter((stream,)), names, self._timeout_s)
                fresh: int = await connection.fetchval(_merge_statement(names))
                await connection.execute(EMPTY_STAGING)
        return fresh

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        if not self._keeps_session:
            async with self._pool.acquire(timeout=min(CONNECT_TIMEOUT_S, self._timeout_s)) as connection:
                yield connection
            return
        if self._kept is None:
            self._kept = await self._pool.acquire(timeout=min(CONNECT_TIMEOUT_S, self._timeout_s))
        try:
            yield self._kept
        except BaseException:
            # Whatever state it is in, the pool resets it or replaces it.
            await self._give_back()
            raise

    async def _give_back(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            # A session that cannot be reset is terminated by the pool before it says so.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._pool.release(kept, timeout=CONNECT_TIMEOUT_S)


@dataclass(slots=True)
class _Row:
    reading: Reading
    readings: int
    """How many readings it is made of."""


async def _copy(
    connection: Session, table: str, stream: Iterator[bytes], names: tuple[str, ...], timeout_s: float
) -> None:
    await connection.copy_to_table(
        table,
        source=_asynchronous(stream),
        format="binary",
        columns=[*KEY_COLUMNS, *names],
        timeout=timeout_s,
    )


async def _asynchronous(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Between two pieces asyncpg lets the event loop run, so the server takes one while the next is built."""
    for piece in pieces:
        yield piece


async def _mark_dirty(connection: Session, readings: Sequence[Reading]) -> None:
    minutes = np.array([reading.time_us for reading in readings], dtype=np.int64) // MINUTE_US
    meters = np.array([reading.meter_id for reading in readings], dtype=np.int64)
    touched = np.unique(minutes << 32 | meters)  # both in one integer: sorting pairs takes twenty times as long
    await connection.execute(MARK_DIRTY, (touched >> 32).tolist(), (touched & 0xFFFF_FFFF).tolist())


def _one_row_each(readings: Sequence[Reading]) -> list[_Row]:
    """Merge readings of one meter and instant, the value that came first staying; what is malformed stays by itself."""
    rows: list[_Row] = []
    known: dict[tuple[int, int], _Row] = {}
    for reading in readings:
        row = known.setdefault((reading.meter_id, reading.time_us), new := _Row(reading, 1))
        if row is new:
            rows.append(new)
        elif check_reading(row.reading) is None and check_reading(reading) is None:
            row.reading = _merged(row.reading, reading)
            row.readings += 1
        else:
            rows.append(new)
    return rows


def _merged(first: Reading, second: Reading) -> Reading:
    quality = first.quality | second.quality
    values: dict[str, float | None] = {}
    for reading in (first, second):
        for name, value in reading.items():
            if value is not None and not is_storable(name, value):
                quality |= Quality.NOT_AVAILABLE
            elif values.get(name) is None:
                values[name] = value
    return Reading(first.time_us, first.meter_id, columns(*values), tuple(values.values()), int(quality))


@lru_cache(maxsize=256)
def _merge_statement(names: tuple[str, ...]) -> str:
    """The merge of the staged rows; the names come from the vocabulary, never from outside.

    It returns how many rows are new: those carry no xmax, while one that was there has been locked by this statement. A
    row to which nothing is added is not touched, so that a whole stream delivered again costs no dead rows.
    """
    listed = ", ".join((*KEY_COLUMNS, *names))
    merged = "".join(f", {name} = coalesce(kept.{name}, excluded.{name})" for name in names)
    gains = "".join(f" OR (kept.{name} IS NULL AND excluded.{name} IS NOT NULL)" for name in names)
    return f"""
WITH written AS (
    INSERT INTO reading AS kept ({listed})
    SELECT {listed} FROM pg_temp.reading_staging ORDER BY meter_id, time
    ON CONFLICT (meter_id, time) DO UPDATE SET quality = kept.quality | excluded.quality{merged}
    WHERE (kept.quality | excluded.quality) <> kept.quality{gains}
    RETURNING kept.xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) FROM written"""  # noqa: S608 - identifiers cannot be parameters
