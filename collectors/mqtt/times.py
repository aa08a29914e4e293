"""The time that a message says itself, exact to the microsecond."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from collectors.mqtt.paths import ABSENT, Step, follow, number, parse_path
from emsd.errors import BadPayload
from emsd.plant.mqtt_map import MqttTime
from emsd.readings import instant_us

__all__ = ["OwnTime"]

EARLIEST_US: Final = 946_684_800_000_000
"""2000-01-01: an earlier device time is a clock that was never set [us]."""

MOST_AHEAD_US: Final = 3_600_000_000
"""A device time further ahead of the arrival is a wrong clock or a wrong time zone [us]."""

_EPOCH_TO_US: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}


class OwnTime:
    """Finds the time in the messages of one meter.

    A local time without a zone counts only where `time_zone` says which it is.

    Raises:
        ValueError: its path cannot be followed.
    """

    def __init__(self, rule: MqttTime, path: str, time_zone: str | None) -> None:
        self._path = path
        self._steps: Sequence[Step] = parse_path(path)
        self._format = rule.format
        name = rule.time_zone or time_zone
        self._zone = ZoneInfo(name) if name and rule.format == "iso8601_local" else None

    def of(self, document: object, received_us: int) -> int | None:
        """Return the time of a message [us], None when it has none that can be known.

        Raises:
            BadPayload: it is no time, or an impossible one.
        """
        found = follow(document, self._steps)
        if found is ABSENT or found is None:
            return None
        time_us = self._instant_us(found, received_us)
        if time_us is not None and not EARLIEST_US <= time_us <= received_us + MOST_AHEAD_US:
            raise BadPayload(
                f"the message's time {self._path} = {found!r} is before 2000 or more than an hour ahead; "
                "set the device's clock and time zone"
            )
        return time_us

    def _instant_us(self, found: Any, received_us: int) -> int | None:
        if self._format == "iso8601_or_epoch_ms":
            return self._iso_us(found) if isinstance(found, str) else self._epoch_us(found, "epoch_ms")
        if self._format == "iso8601":
            return self._iso_us(found)
        if self._format == "iso8601_local":
            return self._local_us(found, received_us)
        return self._epoch_us(found, self._format)

    def _epoch_us(self, found: Any, form: str) -> int:
        value = number(found, 0)
        if value is None:
            raise BadPayload(f"the message's time {self._path} = {found!r} is not a number, as {form} says")
        try:
            # An integer keeps its microseconds; as a float it would lose them beyond 2^53.
            return found * _EPOCH_TO_US[form] if isinstance(found, int) else round(value * _EPOCH_TO_US[form])
        except (OverflowError, ValueError):
            raise BadPayload(f"the message's time {self._path} = {found!r} is no time") from None

    def _iso_us(self, found: Any) -> int:
        when = self._parsed(found)
        if when.tzinfo is None:
            raise BadPayload(
                f"the message's time {self._path} = {found!r} has no time zone; append Z or an offset, or let the "
                "profile say iso8601_local"
            )
        return self._utc_us(when)

    def _local_us(self, found: Any, received_us: int) -> int | None:
        when = self._parsed(found)
        if when.tzinfo is not None:
            return self._utc_us(when)
        if self._zone is None:
            return None
        # In the hour that comes twice when clocks go back, the nearer of the two instants is meant.
        instants = [self._utc_us(when.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1)]
        return min(instants, key=lambda instant: abs(instant - received_us))

    def _parsed(self, found: Any) -> datetime:
        try:
            return datetime.fromisoformat(found)
        except (TypeError, ValueError):
            raise BadPayload(f"the message's time {self._path} = {found!r} is not an ISO 8601 time") from None

    def _utc_us(self, when: datetime) -> int:
        try:
            return instant_us(when.astimezone(UTC))
        except OverflowError:  # year 1 or 9999, moved out of the calendar by its offset
            raise BadPayload(f"the message's time {self._path} = {when.isoformat()!r} is no time") from None
