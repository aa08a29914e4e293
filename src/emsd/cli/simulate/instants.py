"""Times as a person types them, local to the site unless an offset says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from emsd.errors import SettingsError

__all__ = ["instant_of"]


def instant_of(option: str, text: str, zone: ZoneInfo) -> datetime:
    """Return an instant in UTC.

    Raises:
        SettingsError: it is no time.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is no time; write 2026-01-31 or 2026-01-31T08:00") from error
    return (when.replace(tzinfo=zone) if when.tzinfo is None else when).astimezone(UTC)
