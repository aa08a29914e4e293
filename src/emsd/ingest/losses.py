"""What the pipeline had to give up, counted exactly in bounded memory: one record for each meter and reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from emsd.readings import Reading, instant_us
from emsd.store.loss import Loss

__all__ = ["LossLedger", "LossRecord", "loss_of"]

# A reading may be lost before anybody saw that its time is impossible.
LAST_US: Final = instant_us(datetime.max.replace(tzinfo=UTC))
# So may one be whose meter is no number that a meter can have; it counts under the number that none has.
LARGEST_METER_ID: Final = 2**31 - 1
NO_METER: Final = 0


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
        one = loss_of(reading.meter_id, 1, reading.time_us, reading.time_us, reason)
        key = (one.meter_id, reason)
        loss = self._open.get(key)
        if loss is None:
            self._open[key] = one
        else:
            first_us, last_us = min(loss.first_us, one.first_us), max(loss.last_us, one.last_us)
            self._open[key] = Loss(one.meter_id, loss.readings + 1, first_us, last_us, reason)

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


def loss_of(meter_id: int, readings: int, first_us: int, last_us: int, reason: str) -> Loss:
    """Return a loss that the database can hold, whatever the readings claimed to be."""
    return Loss(
        meter_id if 0 < meter_id <= LARGEST_METER_ID else NO_METER,
        readings,
        min(max(first_us, 0), LAST_US),
        min(max(last_us, 0), LAST_US),
        reason,
    )
