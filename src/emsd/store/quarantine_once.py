"""Quarantine what was kept elsewhere meanwhile: the same messages again add nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from emsd.collector import Poison
from emsd.readings import to_datetime
from emsd.store.pool import Pool, deadline, session
from emsd.store.quarantine import write_poisons

__all__ = ["store_poisons_once"]

THERE: Final = "SELECT received_at, payload FROM quarantine WHERE received_at = ANY($1::timestamptz[])"
TIMEOUT_S: Final = 30.0


async def store_poisons_once(pool: Pool, poisons: Sequence[Poison]) -> None:
    """Insert the messages that are not there yet, all or none; one is known by its microsecond and its content.

    Raises:
        StoreUnavailable: not now; the same call helps later.
        StoreError: a person must act.
    """
    async with session(pool, "quarantine messages") as connection:
        with deadline(connection, TIMEOUT_S):
            async with connection.transaction():
                times = [to_datetime(each.received_us) for each in poisons]
                known = {(row["received_at"], row["payload"]) for row in await connection.fetch(THERE, times)}
                fresh = [
                    each for each, time in zip(poisons, times, strict=True) if (time, bytes(each.payload)) not in known
                ]
                if fresh:
                    await write_poisons(connection, fresh)
