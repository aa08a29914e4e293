"""Changes of conditions on their way to the database: in order, and bounded even when it is away for days."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from emsd.alarms.binding import BoundRule
from emsd.alarms.rules import Change

__all__ = ["MOST_PER_ALARM", "Waiting", "WaitingChanges"]

MOST_PER_ALARM: Final = 16
"""So many changes of one alarm wait with their true times."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change of the condition of one bound rule."""

    bound: BoundRule
    change: Change


class WaitingChanges:
    """The changes that are not yet persisted, oldest first.

    Each alarm may have MOST_PER_ALARM of them. One more, and the second and third oldest are merged away: a return and
    an occurrence, or the other way round, so that what is left still alternates, keeps its first change and ends in
    the state of now. `coalesced` counts what was merged away.
    """

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._count: Counter[tuple[int, str]] = Counter()
        self.coalesced = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, bound: BoundRule, change: Change) -> None:
        """Add the newest change."""
        key = (bound.meter_id, bound.rule_key)
        self._waiting.append(Waiting(bound, change))
        self._count[key] += 1
        if self._count[key] > MOST_PER_ALARM:
            # The oldest stays: it may be in the hands of the writer at this moment.
            places = [place for place, each in enumerate(self._waiting) if each.bound is bound]
            del self._waiting[places[2]], self._waiting[places[1]]
            self._count[key] -= 2
            self.coalesced += 2

    def oldest(self) -> Waiting | None:
        """Return the oldest change and keep it, until `drop_oldest` says that it is dealt with."""
        return self._waiting[0] if self._waiting else None

    def drop_oldest(self) -> None:
        """Forget the oldest change."""
        bound = self._waiting.popleft().bound
        self._count[bound.meter_id, bound.rule_key] -= 1
