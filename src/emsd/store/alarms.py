"""Alarms as people see them: lists, the journal, and the acknowledgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from emsd.alarms.lifecycle import AlarmState, Event, Step, advance
from emsd.errors import AlarmRefused, UnknownAlarm
from emsd.plant.models import Priority
from emsd.readings import to_datetime
from emsd.store.alarm_events import lock_state, record_transition
from emsd.store.pool import Pool, Session, session

__all__ = ["AlarmPage", "AlarmRow", "JournalRow", "acknowledge", "list_alarms", "list_journal", "read_alarm"]


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm as people see it; `since` is when it entered its state, `value` its quantity's value then."""

    alarm_id: int
    meter_id: int
    meter_key: str
    meter_name: str
    rule_key: str
    name: str
    priority: Priority
    condition: str
    advice: str
    state: AlarmState
    since: datetime
    value: float | None
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class AlarmPage:
    """Some alarms, and how many there are in all."""

    alarms: tuple[AlarmRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One transition of one alarm; `author` and `note` are those of an acknowledgement."""

    journal_id: int
    alarm_id: int
    meter_id: int
    rule_key: str
    name: str
    priority: Priority
    time: datetime
    transition: Step
    from_state: AlarmState
    to_state: AlarmState
    value: float | None
    author: str | None
    note: str


async def acknowledge(pool: Pool, alarm_id: int, *, author: str, note: str = "", now_us: int) -> AlarmRow:
    """Write that a person has seen an alarm, and return the alarm as it is then; any process may call this.

    Raises:
        UnknownAlarm: there is no such alarm.
        AlarmRefused: it is normal, or acknowledged already.
        StoreUnavailable: the database is away; try again later.
    """
    async with session(pool, f"acknowledge alarm {alarm_id}") as connection, connection.transaction():
        state = await lock_state(connection, alarm_id)
        try:
            transition = advance(state, Event.ACKNOWLEDGE)
        except AlarmRefused as error:
            raise AlarmRefused(f"alarm {alarm_id}: {error}") from None
        if transition is not None:
            await record_transition(connection, alarm_id, transition, time_us=now_us, author=author, note=note)
        return await _read(connection, alarm_id)


_ALARM: Final = """
SELECT alarm_id, alarm.meter_id, meter.key AS meter_key, meter.name AS meter_name, rule_key, alarm.name, priority,
       condition, advice, state, since, value, retired_at
FROM alarm JOIN meter USING (meter_id)
"""

_CHOSEN: Final = """
WHERE ($1::text[] IS NULL OR state = ANY($1))
  AND ($2::integer[] IS NULL OR alarm.meter_id = ANY($2))
  AND ($3::text[] IS NULL OR priority = ANY($3))
  AND ($4::boolean OR retired_at IS NULL)
"""

# What asks for a person comes first, then the more urgent, then the newer.
_LIST: Final = f"""
{_ALARM} {_CHOSEN}
ORDER BY array_position('{{unacknowledged,returned_unacknowledged,acknowledged,normal}}'::text[], state),
         array_position('{{high,medium,low}}'::text[], priority), since DESC, alarm_id
LIMIT $5 OFFSET $6
"""


async def list_alarms(
    pool: Pool,
    *,
    states: Sequence[AlarmState] | None = None,
    meter_ids: Sequence[int] | None = None,
    priorities: Sequence[Priority] | None = None,
    with_retired: bool = False,
    limit: int = 100,
    offset: int = 0,
) -> AlarmPage:
    """Return alarms, those that ask for a person first; None means any.

    Raises:
        StoreUnavailable: the database is away; try again later.
    """
    chosen = (
        None if states is None else [each.value for each in states],
        None if meter_ids is None else list(meter_ids),
        None if priorities is None else [each.value for each in priorities],
        with_retired,
    )
    async with (
        session(pool, "list the alarms") as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        total: int = await connection.fetchval(f"SELECT count(*) FROM alarm {_CHOSEN}", *chosen)  # noqa: S608 - constant
        rows = await connection.fetch(_LIST, *chosen, limit, offset)
    return AlarmPage(tuple(_alarm(dict(row)) for row in rows), total)


async def read_alarm(pool: Pool, alarm_id: int) -> AlarmRow:
    """Return one alarm, retired or not.

    Raises:
        UnknownAlarm: there is no such alarm.
        StoreUnavailable: the database is away; try again later.
    """
    async with session(pool, f"read alarm {alarm_id}") as connection:
        return await _read(connection, alarm_id)


async def _read(connection: Session, alarm_id: int) -> AlarmRow:
    row = await connection.fetchrow(f"{_ALARM} WHERE alarm_id = $1", alarm_id)
    if row is None:
        raise UnknownAlarm(f"there is no alarm {alarm_id}; list the alarms to see their numbers")
    return _alarm(dict(row))


_JOURNAL: Final = """
SELECT journal_id, alarm_id, meter_id, rule_key, name, priority, time, transition, from_state, to_state,
       alarm_journal.value, author, note
FROM alarm_journal JOIN alarm USING (alarm_id)
WHERE ($1::bigint IS NULL OR alarm_id = $1)
  AND ($2::integer[] IS NULL OR meter_id = ANY($2))
  AND ($3::timestamptz IS NULL OR time >= $3)
  AND ($4::timestamptz IS NULL OR time < $4)
  AND ($5::bigint IS NULL OR journal_id < $5)
ORDER BY journal_id DESC
LIMIT $6
"""


async def list_journal(
    pool: Pool,
    *,
    alarm_id: int | None = None,
    meter_ids: Sequence[int] | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[JournalRow]:
    """Return transitions, the last written first; pass the last row's journal_id as `before` for the next page.

    Raises:
        StoreUnavailable: the database is away; try again later.
    """
    async with session(pool, "list the alarm journal") as connection:
        rows = await connection.fetch(
            _JOURNAL,
            alarm_id,
            None if meter_ids is None else list(meter_ids),
            None if from_us is None else to_datetime(from_us),
            None if to_us is None else to_datetime(to_us),
            before,
            limit,
        )
    return [
        JournalRow(
            row["journal_id"],
            row["alarm_id"],
            row["meter_id"],
            row["rule_key"],
            row["name"],
            Priority(row["priority"]),
            row["time"],
            Step(row["transition"]),
            AlarmState(row["from_state"]),
            AlarmState(row["to_state"]),
            row["value"],
            row["author"],
            row["note"],
        )
        for row in rows
    ]


def _alarm(row: dict[str, Any]) -> AlarmRow:
    return AlarmRow(**{**row, "priority": Priority(row["priority"]), "state": AlarmState(row["state"])})
