"""The bounded queue between collectors and the database.

Polled readings come from `offer`, which never waits: when the queue is full the oldest of them make room. Awaited ones
come with a callback and are never given up for others. The batch in hand counts until it is stored, so the bound holds
while the database is away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from emsd.errors import NotDurable
from emsd.readings import Reading

__all__ = ["Batch", "Done", "ReadingQueue"]

Done = Callable[[NotDurable | None], None]
"""Told once what became of an awaited reading: None is durable."""


@dataclass(slots=True)
class Batch:
    """Readings taken out to be written; `polled` and `awaited` are what they were in the queue."""

    readings: list[Reading] = field(default_factory=list)
    polled: list[tuple[float, Reading]] = field(default_factory=list)
    awaited: list[tuple[float, Reading, Done]] = field(default_factory=list)

    def arrivals_s(self) -> list[float]:
        """Return when each of them arrived, on the monotonic clock [s], in no particular order."""
        return [arrived_s for arrived_s, _ in self.polled] + [arrived_s for arrived_s, _, _ in self.awaited]


class ReadingQueue:
    """First in, first out over both kinds; `arrived_s` is a monotonic clock [s]."""

    def __init__(self, capacity_rows: int) -> None:
        if capacity_rows < 1:
            raise ValueError(f"a queue needs room for at least one reading, not {capacity_rows}")
        self.capacity_rows = capacity_rows
        self._polled: deque[tuple[float, Reading]] = deque()
        self._awaited: deque[tuple[float, Reading, Done]] = deque()
        self._in_hand: Batch | None = None

    def __len__(self) -> int:
        """How many readings wait to be taken out."""
        return len(self._polled) + len(self._awaited)

    @property
    def awaited(self) -> int:
        """How many awaited readings wait to be taken out."""
        return len(self._awaited)

    @property
    def depth(self) -> int:
        """How many readings are held, the batch in hand included."""
        return len(self._polled) + len(self._awaited) + (len(self._in_hand.readings) if self._in_hand else 0)

    @property
    def full(self) -> bool:
        """Whether no further reading has room."""
        return self.depth >= self.capacity_rows

    def offer(self, reading: Reading, arrived_s: float) -> Reading | None:
        """Append a polled reading; return the one that had to go for it, which is itself when no other can."""
        if not self.full:
            self._polled.append((arrived_s, reading))
            return None
        if not self._polled:
            return reading
        _, oldest = self._polled.popleft()
        self._polled.append((arrived_s, reading))
        return oldest

    def put(self, reading: Reading, arrived_s: float, done: Done) -> None:
        """Append an awaited reading; the caller has seen that there is room."""
        self._awaited.append((arrived_s, reading, done))

    def take(self, max_rows: int) -> Batch:
        """Take out the oldest readings as the batch in hand."""
        batch = Batch()
        polled, awaited = self._polled, self._awaited
        while len(batch.readings) < max_rows and (polled or awaited):
            if awaited and (not polled or awaited[0][0] <= polled[0][0]):
                batch.awaited.append(awaited.popleft())
                batch.readings.append(batch.awaited[-1][1])
            else:
                batch.polled.append(polled.popleft())
                batch.readings.append(batch.polled[-1][1])
        self._in_hand = batch
        return batch

    def done(self) -> None:
        """The batch in hand is stored."""
        self._in_hand = None

    def put_back(self) -> None:
        """The batch in hand was not stored; its readings are the oldest again."""
        if self._in_hand is not None:
            self._polled.extendleft(reversed(self._in_hand.polled))
            self._awaited.extendleft(reversed(self._in_hand.awaited))
            self._in_hand = None

    def oldest_arrival_s(self) -> float | None:
        """Return when the oldest reading that is held arrived, or None when there is none."""
        in_hand = self._in_hand or Batch()
        heads = [line[0][0] for line in (self._polled, self._awaited, in_hand.polled, in_hand.awaited) if line]
        return min(heads, default=None)

    def due_s(self, polled_age_s: float, awaited_age_s: float) -> float:
        """Return when the oldest of either kind will have waited its time [s]; infinite when nothing waits."""
        polled = self._polled[0][0] + polled_age_s if self._polled else float("inf")
        awaited = self._awaited[0][0] + awaited_age_s if self._awaited else float("inf")
        return min(polled, awaited)
