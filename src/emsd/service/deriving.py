"""Quantities that nobody measures: computed once a minute from the newest intervals, and then treated as readings.

A `Deriver` computes some of them. What it returns belongs to the derived meters of the plant (`emsd.plant.derived`):
rows of their own beside the meters, so that live values, history and alarms work on derived values as on measured ones,
and nothing derived is ever taken for a sample that energy is made of.

    settled minute --accounting is past it--> every Deriver --> one reading a meter --> table `reading`, observers

Every process that accounts derives: the same intervals give the same readings, writing them twice changes nothing, and
an alarm that two of them raise is raised once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

import structlog

from emsd.energy.series import BUCKET_1M_US, US_PER_S
from emsd.energy.windows import settled_minute
from emsd.errors import StoreError
from emsd.plant.loader import LoadedPlant
from emsd.readings import Reading, columns, instant_us
from emsd.store.derived import is_accounted, write_derived
from emsd.store.pool import Pool, Session
from emsd.store.reads import snapshot

__all__ = ["Deriver", "Deriving", "DerivingStats"]

_log = structlog.get_logger(__name__)

Deriver: TypeAlias = Callable[[Session, int, LoadedPlant, Mapping[str, int]], Awaitable[Sequence[Reading]]]
"""Computes readings of derived meters for the minute that ends at an instant [us since the epoch].

It is given a session that only reads and sees one instant of the database, the end of the minute, the plant, and the
number of every meter by its key; `meter_ids[derived_key(meter.key)]` is the derived meter of a meter. The time of its
readings is the end of the minute.
"""

_LOOK_EVERY_S: Final = 1.0
"""How often it is asked whether accounting is past the minute, and how soon after a failure it is tried again [s]."""


@dataclass(slots=True)
class DerivingStats:
    """Running totals since the start, and the last minute that was derived."""

    readings: int = 0
    failures: int = 0
    skipped: int = 0
    """Minutes that were never derived, because accounting or the database was behind for longer than a minute."""
    busy_s: float = 0.0
    """Time spent deriving [s], that of waiting for the database included."""
    last_us: int | None = None
    """End of the last minute that was derived [us]."""

    @property
    def last_timestamp_s(self) -> float:
        """End of the last minute that was derived [s since the epoch], NaN before the first."""
        return math.nan if self.last_us is None else self.last_us / US_PER_S


class Deriving:
    """Derives the newest settled minute, again and again; reusable after `run` has ended, not reentrant.

    `settle_s` [s] is how long after a minute its intervals may still be incomplete. `observers` are called for each
    derived reading once it is stored. A meter of which nothing is known any more gets one reading that says so, and
    then none until something is known again.
    """

    def __init__(
        self,
        pool: Pool,
        derivers: Sequence[Deriver],
        *,
        settle_s: float,
        observers: Sequence[Callable[[Reading], None]] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pool = pool
        self._derivers = tuple(derivers)
        self._settle_s = settle_s
        self._observers = tuple(observers)
        self._now = now
        self._loaded: LoadedPlant | None = None
        self._meter_ids: Mapping[str, int] = {}
        self._known: set[int] = set()
        self._since_us = instant_us(now())
        self.stats = DerivingStats()

    @property
    def lag_s(self) -> float:
        """How long the oldest minute that has settled and is not derived yet has been over [s]."""
        last_us = self._since_us if self.stats.last_us is None else self.stats.last_us
        settled_us = instant_us(settled_minute(self._now(), self._settle_s))
        return max(0, settled_us - last_us) / US_PER_S

    def adopt(self, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        """Go by this plant from the next minute on."""
        self._loaded, self._meter_ids = loaded, dict(meter_ids)

    async def run(self) -> None:
        """Derive every minute as it settles, until cancelled; a database that is away is tried again."""
        while True:
            settled_us = instant_us(settled_minute(self._now(), self._settle_s))
            last_us = self.stats.last_us
            if last_us is None or settled_us > last_us:
                try:
                    await self.derive_once(settled_us)
                except StoreError as error:
                    self.stats.failures += 1
                    _log.warning("deriving_failed", reason=str(error))
            await asyncio.sleep(self._wait_s())

    async def derive_once(self, settled_us: int) -> bool:
        """Derive the minute that ends at `settled_us`; False when accounting has not come that far.

        Raises:
            StoreError: nothing of this minute has been stored.
        """
        if self._loaded is None:
            return False
        began_s = time.monotonic()
        found: list[Reading] = []
        async with snapshot(self._pool, "read what values are derived from") as connection:
            if not await is_accounted(connection, settled_us - BUCKET_1M_US, settled_us):
                return False
            for derive in self._derivers:
                found.extend(await derive(connection, settled_us, self._loaded, self._meter_ids))
        merged = _merged(found)
        known = {reading.meter_id for reading in merged if _says_something(reading)}
        readings = [reading for reading in merged if reading.meter_id in known | self._known]
        await write_derived(self._pool, readings)
        self._known = known
        self._take_note(settled_us, len(readings))
        self.stats.busy_s += time.monotonic() - began_s
        for reading in readings:
            for observer in self._observers:
                observer(reading)
        return True

    def _take_note(self, settled_us: int, count: int) -> None:
        last_us = self.stats.last_us
        if last_us is not None and settled_us - last_us > BUCKET_1M_US:
            skipped = (settled_us - last_us) // BUCKET_1M_US - 1
            self.stats.skipped += skipped
            _log.warning("minutes_not_derived", minutes=skipped, reason="accounting or the database was behind")
        self.stats.readings += count
        self.stats.last_us = settled_us

    def _wait_s(self) -> float:
        """How long until the next look [s]: until the next minute settles, or shortly while this one is not done."""
        now_us, last_us = instant_us(self._now()), self.stats.last_us
        settled_us = instant_us(settled_minute(self._now(), self._settle_s))
        if last_us is None or last_us < settled_us:
            return _LOOK_EVERY_S
        return max(0.0, (settled_us + BUCKET_1M_US - now_us) / US_PER_S + self._settle_s)


def _says_something(reading: Reading) -> bool:
    return any(value is not None for value in reading.values)


def _merged(readings: Iterable[Reading]) -> list[Reading]:
    """Put the quantities that several derivers have for one meter and instant into one reading."""
    by_place: dict[tuple[int, int], list[Reading]] = {}
    for reading in readings:
        by_place.setdefault((reading.meter_id, reading.time_us), []).append(reading)
    return [parts[0] if len(parts) == 1 else _joined(parts) for parts in by_place.values()]


def _joined(parts: Sequence[Reading]) -> Reading:
    names = [name for part in parts for name in part.columns]
    values = tuple(value for part in parts for value in part.values)
    quality = 0
    for part in parts:
        quality |= part.quality
    return Reading(parts[0].time_us, parts[0].meter_id, columns(*names), values, quality)
