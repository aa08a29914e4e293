"""How well each meter was collected, minute by minute: the growth of the collectors' running totals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from emsd.collector import MeterHealth
from emsd.readings import to_datetime
from emsd.store.pool import Pool, deadline, session

__all__ = ["HealthRecorder"]

log = structlog.get_logger(__name__)

MINUTE_US: Final = 60_000_000
TIMEOUT_S: Final = 30.0
COUNTS: Final = (
    "polls_expected",
    "polls_ok",
    "polls_partial",
    "polls_failed",
    "polls_skipped",
    "requests",
    "values_rejected",
)

# Counts of one minute may come in several parts, from one process or from two; what is known last of the state stays.
UPSERT: Final = """
INSERT INTO collector_health_1m AS minute (time, meter_id, polls_expected, polls_ok, polls_partial, polls_failed,
    polls_skipped, requests, values_rejected, round_trip_s, state, last_error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (meter_id, time) DO UPDATE SET
    polls_expected = minute.polls_expected + excluded.polls_expected,
    polls_ok = minute.polls_ok + excluded.polls_ok,
    polls_partial = minute.polls_partial + excluded.polls_partial,
    polls_failed = minute.polls_failed + excluded.polls_failed,
    polls_skipped = minute.polls_skipped + excluded.polls_skipped,
    requests = minute.requests + excluded.requests,
    values_rejected = minute.values_rejected + excluded.values_rejected,
    round_trip_s = coalesce(excluded.round_trip_s, minute.round_trip_s),
    state = excluded.state,
    last_error = coalesce(excluded.last_error, minute.last_error)"""


@dataclass(slots=True)
class _Minute:
    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    round_trip_s: float | None = None
    state: str = ""
    last_error: str | None = None


class HealthRecorder:
    """Turns running totals into rows of `collector_health_1m`.

    While the database is away the minutes wait in memory, the last `keep_minutes` of them; older ones are given up with
    a line in the log.
    """

    def __init__(self, pool: Pool, *, keep_minutes: int = 60) -> None:
        self._pool = pool
        self._keep_minutes = keep_minutes
        self._one_at_a_time = asyncio.Lock()
        self._totals: dict[int, tuple[int, ...]] = {}
        self._waiting: dict[int, dict[int, _Minute]] = {}

    async def record(self, now_us: int, healths: Iterable[MeterHealth]) -> int:
        """Add what happened since the last call to the minute of `now_us`, write all that waits, return how many rows.

        Each minute is a transaction of its own, the oldest first: after an outage of an hour thousands of meters have
        more to write than one transaction has time for.

        Raises:
            StoreUnavailable: not now; nothing is forgotten, and the next call writes it too.
            StoreError: a person must act.
        """
        async with self._one_at_a_time:
            self._add(now_us // MINUTE_US * MINUTE_US, healths)
            written = 0
            if self._waiting:
                async with session(self._pool, "write down the collectors' health") as connection:
                    for minute_us in sorted(self._waiting):
                        rows = self._rows(minute_us)
                        with deadline(connection, TIMEOUT_S):
                            await connection.executemany(UPSERT, rows)
                        del self._waiting[minute_us]
                        written += len(rows)
            return written

    def _rows(self, minute_us: int) -> list[tuple[object, ...]]:
        time = to_datetime(minute_us)
        return [
            (time, meter_id, *each.counts, each.round_trip_s, each.state, each.last_error)
            for meter_id, each in self._waiting[minute_us].items()
        ]

    def _add(self, minute_us: int, healths: Iterable[MeterHealth]) -> None:
        for health in healths:
            totals = tuple(int(getattr(health, name)) for name in COUNTS)
            before = self._totals.get(health.meter_id)
            if before is None or any(now < then for now, then in zip(totals, before, strict=True)):
                before = (0,) * len(COUNTS)  # a collector that was started again counts from nothing
            minute = self._waiting.setdefault(minute_us, {}).setdefault(health.meter_id, _Minute())
            for place, (now, then) in enumerate(zip(totals, before, strict=True)):
                minute.counts[place] += now - then
            failures = ("polls_partial", "polls_failed", "values_rejected")
            failed = any(totals[COUNTS.index(name)] > before[COUNTS.index(name)] for name in failures)
            minute.round_trip_s = health.round_trip_s
            minute.state = health.state.value
            minute.last_error = health.last_error if failed else minute.last_error
            self._totals[health.meter_id] = totals
        while len(self._waiting) > self._keep_minutes:
            oldest = min(self._waiting)
            lost = self._waiting.pop(oldest)
            log.warning("collector_health_given_up", minute=to_datetime(oldest).isoformat(), meters=len(lost))
