"""Keep what can never become a reading, with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from emsd.collector import Poison
from emsd.readings import Reading, to_datetime
from emsd.store.pool import Pool, Session, deadline, session

__all__ = ["poison_of", "store_poisons", "write_poisons"]

INSERT: Final = """
INSERT INTO quarantine (received_at, source, meter_id, reason, payload) VALUES ($1, $2, $3, $4, $5)"""

TIMEOUT_S: Final = 10.0
INT32_MAX: Final = 2**31 - 1


async def write_poisons(connection: Session, poisons: Sequence[Poison]) -> None:
    """Insert the messages and rows in the caller's transaction, if it has one; the errors are asyncpg's."""
    await connection.executemany(
        INSERT,
        [
            (to_datetime(each.received_us), _text(each.source), each.meter_id, _text(each.reason), each.payload)
            for each in poisons
        ],
    )


async def store_poisons(pool: Pool, poisons: Sequence[Poison]) -> None:
    """Insert the messages, all or none.

    Raises:
        StoreUnavailable: not now; the same call helps later.
        StoreError: a person must act.
    """
    async with session(pool, "quarantine messages") as connection:
        with deadline(connection, TIMEOUT_S):
            await write_poisons(connection, poisons)


def poison_of(reading: Reading, reason: str, received_us: int) -> Poison:
    """Return a reading that the database refuses as what it can keep: its content in JSON, and the reason."""
    content = {
        "time_us": reading.time_us,
        "meter_id": reading.meter_id,
        "quality": reading.quality,
        "values": dict(zip(reading.columns, reading.values, strict=False)),
    }
    return Poison(
        source=f"reading of meter {reading.meter_id}",
        payload=_json(content),
        reason=reason,
        received_us=received_us,
        meter_id=reading.meter_id if 0 < reading.meter_id <= INT32_MAX else None,
    )


def _json(content: object) -> bytes:
    try:
        return orjson.dumps(content, default=repr)
    except TypeError:  # an integer of more than 64 bits, text that is not Unicode
        return repr(content).encode(errors="backslashreplace")


def _text(text: str) -> str:
    """Text as PostgreSQL can hold it: it has neither NUL nor lone surrogates, and device messages may have both."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
