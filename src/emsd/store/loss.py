"""Write down what could not be kept: which meter lost how many readings, over which time, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from emsd.readings import to_datetime
from emsd.store.pool import Pool, deadline, session

__all__ = ["Loss", "write_losses"]

# The same record twice is one row: a commit whose acknowledgement was lost is tried again.
INSERT: Final = """
INSERT INTO reading_loss (meter_id, readings, first_time, last_time, reason, recorded_at)
SELECT $1, $2, $3, $4, $5, $6
WHERE NOT EXISTS (
    SELECT FROM reading_loss
    WHERE (meter_id, readings, first_time, last_time, reason, recorded_at) = ($1, $2, $3, $4, $5, $6)
)"""

TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Readings of one meter that were given up, with the times of the earliest and the latest of them."""

    meter_id: int
    readings: int
    first_us: int
    last_us: int
    reason: str


async def write_losses(pool: Pool, losses: Sequence[Loss], recorded_us: int, *, timeout_s: float = TIMEOUT_S) -> None:
    """Write the records, all or none; repeating the call with the same arguments changes nothing.

    Opening a session and writing have `timeout_s` [s] each, and never more than TIMEOUT_S.

    Raises:
        StoreUnavailable: not now; call again with the same arguments.
        StoreError: a person must act.
    """
    recorded_at = to_datetime(recorded_us)
    at_most_s = min(timeout_s, TIMEOUT_S)
    async with session(pool, "write down lost readings", timeout_s=at_most_s) as connection:
        with deadline(connection, at_most_s):
            await connection.executemany(
                INSERT,
                [
                    (
                        loss.meter_id,
                        loss.readings,
                        to_datetime(loss.first_us),
                        to_datetime(loss.last_us),
                        loss.reason,
                        recorded_at,
                    )
                    for loss in losses
                ],
            )
