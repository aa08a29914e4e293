"""The outbox as it stands in the database, for tests to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from emsd.store.outbox import NoticeState
from emsd.store.pool import Pool

__all__ = ["StoredNotice", "notices"]


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """One row of notification_outbox."""

    notification_id: int
    target_key: str
    title: str
    body: str
    state: NoticeState
    attempts: int
    last_error: str | None
    sent_at: datetime | None


async def notices(pool: Pool) -> list[StoredNotice]:
    """Return every notification, the oldest first."""
    rows = await pool.fetch(
        "SELECT notification_id, target_key, title, body, state, attempts, last_error, sent_at"
        " FROM notification_outbox ORDER BY notification_id"
    )
    return [StoredNotice(**{**dict(row), "state": NoticeState(row["state"])}) for row in rows]
