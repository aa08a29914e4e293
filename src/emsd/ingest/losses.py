"""What the pipeline had to give up, counted exactly in bounded memory: one record for each meter and reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from emsd.readings import Reading, instant_us
from emsd.store.loss import Loss

__all__ = ["LossLedger", "LossRecord"]

# A reading may be lost before anybody saw that its time is impossible.
LAST_US: Final = instant_us(datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class LossRecord:
    """Losses on their way to the database; they do not change any more, so that writing them twice is harmless."""

    losses: tuple[Loss, ...]
    recorded_us: int


class LossLedger:
    """Collects losses until they are written down."""

    def __init__(self) -> None:
        self.readings = 0
        """All readings lost so far, written down or not."""
        self._open: dict[tuple[int, str], Loss] = {}
        self._closed: LossRecord | None = None

    def __bool__(self) -> bool:
        return bool(self._open) or self._closed is not None

    def add(self, reading: Reading, reason: str) -> None:
        """Count a reading as lost."""
        self.readings += 1
        time_us = min(max(reading.time_us, 0), LAST_US)
        key = (reading.meter_id, reason)
        loss = self._open.get(key)
        if loss is None:
            self._open[key] = Loss(reading.meter_id, 1, time_us, time_us, reason)
        else:
            first_us, last_us = min(loss.first_us, time_us), max(loss.last_us, time_us)
            self._open[key] = Loss(reading.meter_id, loss.readings + 1, first_us, last_us, reason)

    def pending(self) -> tuple[Loss, ...]:
        """Return what is not written down yet; a meter may stand in two records."""
        return (self._closed.losses if self._closed else ()) + tuple(self._open.values())

    def record(self, now_us: int) -> LossRecord:
        """Return what to write next: the record whose writing failed before, else all losses up to now."""
        if self._closed is None:
            self._closed = LossRecord(tuple(self._open.values()), now_us)
            self._open.clear()
        return self._closed

    def written(self) -> None:
        """Forget the record that `record` returned: it is in the database, or in the log for want of one."""
        self._closed = None
