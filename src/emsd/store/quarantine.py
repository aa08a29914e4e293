"""Keep what can never become a reading, with its reason; show it, and note what a person made of it.

A row never vanishes: one that was stored after all, or dropped, says so, with when and by whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import orjson

from emsd.collector import Poison
from emsd.readings import Reading, to_datetime
from emsd.store.pool import Pool, Session, deadline, session

__all__ = [
    "QuarantineRow",
    "drop_poisons",
    "list_poisons",
    "meter_ids_named",
    "poison_of",
    "poisons_numbered",
    "resolve_poison",
    "store_poisons",
    "write_poisons",
]

INSERT: Final = """
INSERT INTO quarantine
    (received_at, source, meter_id, reason, payload, connection, topic, qos, retained, payload_bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""

SELECT: Final = """
SELECT quarantine_id, received_at, source, quarantine.connection, topic, qos, retained, meter_id,
    meter.key AS meter_key, reason, payload, payload_bytes, outcome, resolved_at, resolved_by
FROM quarantine LEFT JOIN meter USING (meter_id)"""
LIST: Final = f"""{SELECT}
WHERE ($1::integer[] IS NULL OR meter_id = ANY($1)) AND ($2::timestamptz IS NULL OR received_at >= $2)
    AND ($3 OR outcome IS NULL) AND quarantine_id > $4
ORDER BY CASE WHEN $5 THEN -quarantine_id ELSE quarantine_id END
LIMIT $6"""
NUMBERED: Final = f"{SELECT} WHERE quarantine_id = ANY($1::bigint[]) ORDER BY quarantine_id"

RESOLVE: Final = """
UPDATE quarantine SET outcome = 'stored', resolved_at = now(), resolved_by = $2
WHERE quarantine_id = $1 AND outcome IS NULL"""
DROP: Final = """
UPDATE quarantine SET outcome = 'dropped', resolved_at = now(), resolved_by = $2, payload = ''
WHERE quarantine_id = ANY($1::bigint[]) AND outcome IS NULL
RETURNING quarantine_id"""

TIMEOUT_S: Final = 10.0
INT32_MAX: Final = 2**31 - 1
DOING: Final = "read the quarantine"


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One message or row in quarantine; `outcome` is None while nobody has decided on it."""

    quarantine_id: int
    received_at: datetime
    source: str
    connection: str | None
    topic: str | None
    qos: int | None
    retained: bool
    meter_id: int | None
    meter_key: str | None
    reason: str
    payload: bytes
    payload_bytes: int
    outcome: Literal["stored", "dropped"] | None
    resolved_at: datetime | None
    resolved_by: str | None

    @property
    def is_whole(self) -> bool:
        """Whether all of the message is here, not only its beginning."""
        return len(self.payload) == self.payload_bytes


async def write_poisons(connection: Session, poisons: Sequence[Poison]) -> None:
    """Insert the messages and rows in the caller's transaction, if it has one; the errors are asyncpg's."""
    await connection.executemany(INSERT, [_row(each) for each in poisons])


async def store_poisons(pool: Pool, poisons: Sequence[Poison], *, timeout_s: float = TIMEOUT_S) -> None:
    """Insert the messages, all or none.

    Opening a session and writing have `timeout_s` [s] each, and never more than TIMEOUT_S.

    Raises:
        StoreUnavailable: not now; the same call helps later.
        StoreError: a person must act.
    """
    at_most_s = min(timeout_s, TIMEOUT_S)
    async with session(pool, "quarantine messages", timeout_s=at_most_s) as connection:
        with deadline(connection, at_most_s):
            await write_poisons(connection, poisons)


async def list_poisons(
    pool: Pool,
    *,
    meter_ids: Sequence[int] | None = None,
    since: datetime | None = None,
    resolved_too: bool = False,
    after_id: int = 0,
    newest_first: bool = True,
    limit: int = 50,
) -> list[QuarantineRow]:
    """Return rows in the order of their arrival, or the newest first; with `after_id` only those after that one.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    ids = None if meter_ids is None else list(meter_ids)
    async with session(pool, DOING) as connection:
        rows = await connection.fetch(LIST, ids, since, resolved_too, after_id, newest_first, limit)
    return [QuarantineRow(**row) for row in rows]


async def poisons_numbered(pool: Pool, numbers: Sequence[int]) -> list[QuarantineRow]:
    """Return the rows of these numbers, as far as there are such.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, DOING) as connection:
        rows = await connection.fetch(NUMBERED, list(numbers))
    return [QuarantineRow(**row) for row in rows]


async def resolve_poison(pool: Pool, number: int, by: str) -> bool:
    """Note that a row has become a reading after all; False when something was decided on it before.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "resolve a quarantined message") as connection:
        return await connection.execute(RESOLVE, number, by) == "UPDATE 1"


async def drop_poisons(pool: Pool, numbers: Sequence[int], by: str) -> list[int]:
    """Empty rows that nothing will become of, and note by whom; return the numbers of those that were open.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "drop quarantined messages") as connection:
        return [row["quarantine_id"] for row in await connection.fetch(DROP, list(numbers), by)]


async def meter_ids_named(pool: Pool, name: str) -> list[int]:
    """Return the ids of the meters that a person means by a key, or by an id.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    number = int(name) if name.isascii() and name.isdecimal() and int(name) <= INT32_MAX else None
    async with session(pool, "look up a meter") as connection:
        rows = await connection.fetch("SELECT meter_id FROM meter WHERE key = $1 OR meter_id = $2", name, number)
    return [row["meter_id"] for row in rows]


def _row(poison: Poison) -> tuple[object, ...]:
    return (
        to_datetime(poison.received_us),
        _text(poison.source),
        poison.meter_id,
        _text(poison.reason),
        poison.payload,
        poison.connection,
        None if poison.topic is None else _text(poison.topic),
        poison.qos,
        poison.retained,
        len(poison.payload) if poison.payload_bytes is None else poison.payload_bytes,
    )


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
