"""The outbox: notifications that wait, are being sent, were sent or were given up.

    pending --claim--> sending --sent--> sent
       ^                  |-----retry--- definite failure: it did not arrive, it is tried again
       '------------------|
                          '-----failed-- given up, or nobody knows whether it arrived

`claim` commits `sending` before anything is sent. So whatever was in the hands of a process that died is found as
`sending` and is never sent a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from emsd.alarms.lifecycle import Step
from emsd.plant.models import Priority
from emsd.store.pool import Pool, session

__all__ = [
    "ClaimedNotice",
    "NoticeState",
    "claim",
    "fail_orphans",
    "fail_unknown",
    "mark_failed",
    "mark_sent",
    "put_back",
]


class NoticeState(StrEnum):
    """Where a notification is on its way."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ClaimedNotice:
    """A notification that this process, and no other, may send; `attempts` counts this one too."""

    notification_id: int
    target_key: str
    title: str
    body: str
    transition: Step
    priority: Priority
    attempts: int


# Of one alarm, a target hears of the return after it heard of the occurrence, even when that had to be tried again.
_CLAIM: Final = """
WITH due AS (
    SELECT notice.notification_id, journal.transition, alarm.priority
    FROM notification_outbox AS notice
    JOIN alarm_journal AS journal USING (journal_id)
    JOIN alarm USING (alarm_id)
    WHERE notice.state = 'pending' AND notice.next_attempt_at <= now() AND notice.target_key = $1
      AND NOT EXISTS (
          SELECT FROM notification_outbox AS earlier
          JOIN alarm_journal AS before ON before.journal_id = earlier.journal_id
          WHERE earlier.state IN ('pending', 'sending') AND earlier.target_key = notice.target_key
            AND earlier.notification_id < notice.notification_id AND before.alarm_id = journal.alarm_id)
    ORDER BY notice.notification_id
    LIMIT 1
    FOR UPDATE OF notice SKIP LOCKED
)
UPDATE notification_outbox AS claimed SET state = 'sending', attempts = attempts + 1
FROM due
WHERE claimed.notification_id = due.notification_id
RETURNING claimed.notification_id, target_key, title, body, due.transition, due.priority, attempts
"""


async def claim(pool: Pool, target_key: str) -> ClaimedNotice | None:
    """Take the oldest notification that is due for a target, as `sending`; None when there is none.

    Raises:
        StoreUnavailable: the database is away; try again later.
    """
    async with session(pool, f"claim a notification for {target_key}") as connection:
        row = await connection.fetchrow(_CLAIM, target_key)
    if row is None:
        return None
    return ClaimedNotice(
        row["notification_id"],
        row["target_key"],
        row["title"],
        row["body"],
        Step(row["transition"]),
        Priority(row["priority"]),
        row["attempts"],
    )


# Who sent knows better than another process that found the row in `sending` and gave it up as unknown; only `sent` is
# the last word.
_SETTLE: Final = """
UPDATE notification_outbox
SET state = $2, last_error = $3, sent_at = CASE WHEN $2 = 'sent' THEN now() END,
    next_attempt_at = now() + make_interval(secs => $4)
WHERE notification_id = $1 AND state <> 'sent'
"""


async def mark_sent(pool: Pool, notification_id: int) -> None:
    """Write that a notification arrived; raises StoreUnavailable when the database is away."""
    async with session(pool, f"write that notification {notification_id} was sent") as connection:
        await connection.execute(_SETTLE, notification_id, NoticeState.SENT.value, None, 0.0)


async def put_back(pool: Pool, notification_id: int, *, reason: str, delay_s: float) -> None:
    """Write that a notification did not arrive and is due again after `delay_s` [s].

    Raises:
        StoreUnavailable: the database is away; try again later.
    """
    async with session(pool, f"write that notification {notification_id} is to be tried again") as connection:
        await connection.execute(_SETTLE, notification_id, NoticeState.PENDING.value, reason, delay_s)


async def mark_failed(pool: Pool, notification_id: int, *, reason: str) -> None:
    """Write that a notification was given up; raises StoreUnavailable when the database is away."""
    async with session(pool, f"write that notification {notification_id} failed") as connection:
        await connection.execute(_SETTLE, notification_id, NoticeState.FAILED.value, reason, 0.0)


async def fail_unknown(pool: Pool, *, reason: str) -> list[tuple[int, str]]:
    """Give up everything found in `sending`; return (notification_id, target_key) of each.

    To be called before this process claims anything. Raises StoreUnavailable when the database is away.
    """
    async with session(pool, "look for notifications that were in delivery") as connection:
        rows = await connection.fetch(
            "UPDATE notification_outbox SET state = 'failed', last_error = $1 WHERE state = 'sending'"
            " RETURNING notification_id, target_key",
            reason,
        )
    return [(row["notification_id"], row["target_key"]) for row in rows]


async def fail_orphans(pool: Pool, *, targets: Sequence[str], reason: str) -> list[tuple[int, str]]:
    """Give up what waits for a target that is not in `targets`; return (notification_id, target_key) of each.

    Raises:
        StoreUnavailable: the database is away; try again later.
    """
    async with session(pool, "look for notifications without a target") as connection:
        rows = await connection.fetch(
            "UPDATE notification_outbox SET state = 'failed', last_error = $2"
            " WHERE state = 'pending' AND target_key <> ALL($1::text[]) RETURNING notification_id, target_key",
            list(targets),
            reason,
        )
    return [(row["notification_id"], row["target_key"]) for row in rows]
