"""Live values: the latest of every meter and quantity, and a stream of readings for whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

from emsd.collector import wall_clock_us
from emsd.readings import Quality, Reading

__all__ = ["LiveValue", "LiveValues", "Subscription"]

SUBSCRIBER_CAPACITY: Final = 1000
# A meter whose messages carry ever other quantities must not gather one reading for each combination.
MAX_READINGS_PER_METER: Final = 16


@dataclass(frozen=True, slots=True)
class LiveValue:
    """The latest of one quantity; None is a value that was missing then, and `quality` says why."""

    value: float | None
    time_us: int
    quality: int


class LiveValues:
    """Keeps the latest readings; `observe` is made to be an observer of the pipeline.

    A quantity's latest value is that of the reading with the latest time that carries it, so what arrives late or is
    replayed never hides what is newer. A reading from the future is the exception, or a clock that was ahead and has
    been set right would hide all that comes after. Readings are kept as they are and taken apart only when somebody
    asks.
    """

    def __init__(self, now_us: Callable[[], int] = wall_clock_us) -> None:
        self._now_us = now_us
        self._latest: dict[int, dict[int, Reading]] = {}
        self._subscriptions: set[Subscription] = set()
        self.dropped = 0
        """Readings that subscribers were too slow to take, of all subscribers so far."""

    def observe(self, reading: Reading) -> None:
        """Take note of an accepted reading and pass it on to subscribers, unless one as new is known already."""
        latest = self._latest.get(reading.meter_id)
        if latest is None:
            latest = self._latest[reading.meter_id] = {}
        key = id(reading.columns)  # equal columns are one object, which the kept reading keeps alive
        known = latest.get(key)
        if known is not None and known.time_us >= reading.time_us and not self._is_set_right(known, reading):
            return
        latest[key] = reading
        if len(latest) > MAX_READINGS_PER_METER:
            self._latest[reading.meter_id] = _needed(latest)
        for subscription in self._subscriptions:
            if subscription.wants(reading.meter_id):
                self.dropped += subscription.put(reading)

    def _is_set_right(self, known: Reading, reading: Reading) -> bool:
        return known.time_us > self._now_us() and not reading.quality & Quality.REPLAYED

    def latest(self, meter_id: int) -> dict[str, LiveValue]:
        """Return quantity -> latest value of a meter; empty when nothing is known of it."""
        values: dict[str, LiveValue] = {}
        for reading in _oldest_first(self._latest.get(meter_id, {})):
            for name, value in reading.items():
                values[name] = LiveValue(value, reading.time_us, reading.quality)
        return values

    def meter_ids(self) -> list[int]:
        """Return the meters of which a reading has arrived."""
        return list(self._latest)

    @property
    def subscribers(self) -> int:
        """How many watch now."""
        return len(self._subscriptions)

    @asynccontextmanager
    async def subscribe(
        self, meter_ids: Collection[int] | None = None, *, capacity: int = SUBSCRIBER_CAPACITY
    ) -> AsyncIterator[Subscription]:
        """Yield the readings that arrive from now on, of `meter_ids` or of all meters, until the block ends.

        A subscriber that falls more than `capacity` readings behind loses the oldest, and they are counted.
        """
        subscription = Subscription(None if meter_ids is None else frozenset(meter_ids), capacity)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)


class Subscription:
    """An endless iterator over readings for one task."""

    def __init__(self, meter_ids: frozenset[int] | None, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a subscription needs room for at least one reading, not {capacity}")
        self._meter_ids = meter_ids
        self._waiting: deque[Reading] = deque(maxlen=capacity)
        self._arrived = asyncio.Event()
        self.dropped = 0
        """Readings that this subscriber was too slow to take."""

    def wants(self, meter_id: int) -> bool:
        """Whether readings of this meter are for it."""
        return self._meter_ids is None or meter_id in self._meter_ids

    def put(self, reading: Reading) -> int:
        """Add a reading and return how many had to go for it: 0 or 1."""
        lost = int(len(self._waiting) == self._waiting.maxlen)
        self.dropped += lost
        self._waiting.append(reading)
        self._arrived.set()
        return lost

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reading:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


def _oldest_first(latest: dict[int, Reading]) -> list[Reading]:
    return sorted(latest.values(), key=lambda reading: reading.time_us)


def _needed(latest: dict[int, Reading]) -> dict[int, Reading]:
    """Only the readings that still hold the latest value of some quantity."""
    seen: set[str] = set()
    needed: dict[int, Reading] = {}
    for reading in reversed(_oldest_first(latest)):
        if not seen.issuperset(reading.columns):
            seen.update(reading.columns)
            needed[id(reading.columns)] = reading
    return needed
