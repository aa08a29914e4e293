"""What changes alarms: the rules of the configuration, and the begin and end of their conditions.

Engine and API may be different processes. Each locks the alarm's row, asks the life cycle what the event means in the
state found there, and writes state, journal and notifications in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from emsd.alarms.lifecycle import AlarmState, Event, Step, Transition, advance
from emsd.errors import UnknownAlarm
from emsd.plant.models import Priority
from emsd.readings import to_datetime
from emsd.store.pool import Pool, Session, session

__all__ = ["Notice", "RuleRow", "StoredState", "apply_event", "lock_state", "record_transition", "sync_rules"]


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule of the configuration as the table keeps it."""

    meter_id: int
    rule_key: str
    name: str
    priority: Priority
    condition: str
    advice: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """The number and the present state of an alarm."""

    alarm_id: int
    state: AlarmState


@dataclass(frozen=True, slots=True)
class Notice:
    """What one target is to be told of one transition."""

    target_key: str
    title: str
    body: str


# A retired alarm keeps its state. When its rule comes back, it goes on from there.
_RETIRE: Final = """
UPDATE alarm SET retired_at = $4
FROM meter
WHERE meter.meter_id = alarm.meter_id AND meter.site_id = $1 AND alarm.retired_at IS NULL
  AND alarm.meter_id <> ALL($5::integer[])
  AND NOT EXISTS (SELECT FROM unnest($2::integer[], $3::text[]) AS kept (meter_id, rule_key)
                  WHERE kept.meter_id = alarm.meter_id AND kept.rule_key = alarm.rule_key)
"""

_UPSERT: Final = """
INSERT INTO alarm (meter_id, rule_key, name, priority, condition, advice, state, since)
SELECT rule.*, 'normal', $7::timestamptz
FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS rule
ON CONFLICT (meter_id, rule_key) DO UPDATE
SET name = excluded.name, priority = excluded.priority, condition = excluded.condition, advice = excluded.advice,
    retired_at = NULL
RETURNING meter_id, rule_key, alarm_id, state
"""


async def sync_rules(
    pool: Pool, rules: Sequence[RuleRow], *, site_id: int, now_us: int, others: Sequence[int] = ()
) -> dict[tuple[int, str], StoredState]:
    """Make the alarms of a site those of `rules`, retire the others, and return (meter_id, rule_key) -> its state.

    Alarms of the meters `others` are left alone: another process looks after them.

    Raises:
        StoreUnavailable: the database is away; try again later.
    """
    now = to_datetime(now_us)
    keys = [each.meter_id for each in rules], [each.rule_key for each in rules]
    async with session(pool, "bring the alarms in line with the plant") as connection, connection.transaction():
        await connection.execute(_RETIRE, site_id, *keys, now, list(others))
        rows = await connection.fetch(
            _UPSERT,
            *keys,
            [each.name for each in rules],
            [each.priority.value for each in rules],
            [each.condition for each in rules],
            [each.advice for each in rules],
            now,
        )
    return {(row["meter_id"], row["rule_key"]): StoredState(row["alarm_id"], AlarmState(row["state"])) for row in rows}


async def apply_event(
    pool: Pool,
    alarm_id: int,
    event: Event,
    *,
    time_us: int,
    value: float | None,
    notices: Callable[[Transition], Sequence[Notice]],
) -> Transition | None:
    """Persist that the condition of an alarm began or ended: state, journal and notifications, whole or not at all.

    Returns None, and writes nothing, when the state already says so; so the same event may be applied again when it
    is not known whether it was committed. `notices` says who is told what of the transition.

    Raises:
        StoreUnavailable: the database is away; try again later.
        UnknownAlarm: there is no such alarm.
    """
    async with session(pool, f"write the event {event} of alarm {alarm_id}") as connection, connection.transaction():
        transition = advance(await lock_state(connection, alarm_id), event)
        if transition is None:
            return None
        journal_id = await record_transition(connection, alarm_id, transition, time_us=time_us, value=value)
        told = notices(transition)
        if told:
            await connection.execute(
                "INSERT INTO notification_outbox (journal_id, target_key, title, body)"
                " SELECT $1::bigint, notice.* FROM unnest($2::text[], $3::text[], $4::text[]) AS notice",
                journal_id,
                [each.target_key for each in told],
                [each.title for each in told],
                [each.body for each in told],
            )
        return transition


async def lock_state(connection: Session, alarm_id: int) -> AlarmState:
    """Return the state of an alarm and keep it as it is until the transaction ends; raises UnknownAlarm."""
    state = await connection.fetchval("SELECT state FROM alarm WHERE alarm_id = $1 FOR UPDATE", alarm_id)
    if state is None:
        raise UnknownAlarm(f"there is no alarm {alarm_id}; list the alarms to see their numbers")
    return AlarmState(state)


async def record_transition(
    connection: Session,
    alarm_id: int,
    transition: Transition,
    *,
    time_us: int,
    value: float | None = None,
    author: str | None = None,
    note: str = "",
) -> int:
    """Write the new state and the journal row; an acknowledgement leaves the value of the transition before it."""
    time = to_datetime(time_us)
    await connection.execute(
        "UPDATE alarm SET state = $2, since = $3, value = CASE WHEN $5::boolean THEN value ELSE $4 END"
        " WHERE alarm_id = $1",
        alarm_id,
        transition.to_state.value,
        time,
        value,
        transition.step is Step.ACKNOWLEDGE,
    )
    journal_id: int = await connection.fetchval(
        "INSERT INTO alarm_journal (alarm_id, time, transition, from_state, to_state, value, author, note)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING journal_id",
        alarm_id,
        time,
        transition.step.value,
        transition.from_state.value,
        transition.to_state.value,
        value,
        author,
        note,
    )
    return journal_id
