from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from emsd.alarms.binding import BoundRule
from emsd.alarms.engine import START_ALLOWANCE_US, AlarmEngine
from emsd.alarms.lifecycle import AlarmState, Event, Step
from emsd.alarms.rules import Stale, Threshold
from emsd.errors import AlarmRefused, UnknownAlarm
from emsd.plant.models import Priority
from emsd.readings import Reading, reading_of, to_datetime
from emsd.store.alarm_events import apply_event
from emsd.store.alarms import AlarmRow, acknowledge, list_alarms, list_journal, read_alarm
from emsd.store.pool import Pool, open_pool
from tests.alarms.notices import notices

if TYPE_CHECKING:
    from tests.alarms.conftest import MakeRule, Network

    Until = Callable[..., Awaitable[None]]

S = 1_000_000
T0 = 1_750_000_000 * S  # 2025-06-15 15:06:40 UTC, 23:06:40 in Shanghai
METER, OTHER_METER = 1_000_001, 1_000_002


class Clock:
    """Time as the test says it is."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def power(second: float, value: float | None, meter_id: int = METER) -> Reading:
    return reading_of(meter_id, T0 + round(second * S), {"active_power_kw": value})


@asynccontextmanager
async def running(engine: AlarmEngine) -> AsyncIterator[AlarmEngine]:
    task = asyncio.create_task(engine.run(), name="engine")
    try:
        yield engine
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def engine_of(rules: Sequence[BoundRule], pool: Pool, clock: Clock) -> AlarmEngine:
    return AlarmEngine(rules, pool, site_id=1, now_us=clock, tick_interval_s=0.01)


def feed(engine: AlarmEngine, clock: Clock, *samples: tuple[float, float | None], meter_id: int = METER) -> None:
    for second, value in samples:
        clock.now = T0 + round(second * S)
        engine.observe(power(second, value, meter_id))


async def only_alarm(pool: Pool) -> AlarmRow:
    page = await list_alarms(pool)
    assert page.total == 1
    return page.alarms[0]


def in_state(pool: Pool, state: AlarmState) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        alarms = (await list_alarms(pool)).alarms
        return [each.state for each in alarms] == [state]

    return check


async def steps(pool: Pool) -> list[tuple[Step, float, float | None]]:
    """Return the journal, oldest first, with seconds since T0."""
    rows = await list_journal(pool)
    return [(row.transition, (row.time - to_datetime(T0)).total_seconds(), row.value) for row in reversed(rows)]


async def test_an_alarm_is_raised_acknowledged_and_returns_to_normal(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with running(engine_of([make_rule()], pool, clock)) as engine:
        await until(in_state(pool, AlarmState.NORMAL))
        feed(engine, clock, (1, 250), (2, 310), (3, 312))
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
        alarm = await only_alarm(pool)
        assert (alarm.since, alarm.value) == (to_datetime(T0 + 2 * S), 310)
        assert (alarm.meter_key, alarm.condition, alarm.priority) == (
            f"meter-{METER}",
            "active_power_kw > 300 kW",
            Priority.HIGH,
        )

        seen = await acknowledge(pool, alarm.alarm_id, author="ann", note="on my way", now_us=T0 + 10 * S)
        assert (seen.state, seen.value) == (AlarmState.ACKNOWLEDGED, 310)
        feed(engine, clock, (20, 290), (21, 280))
        await until(in_state(pool, AlarmState.NORMAL))

    assert await steps(pool) == [(Step.OCCUR, 2, 310), (Step.ACKNOWLEDGE, 10, None), (Step.RETURN, 21, 280)]
    journal = await list_journal(pool, alarm_id=alarm.alarm_id)
    assert [(row.author, row.note) for row in journal] == [(None, ""), ("ann", "on my way"), (None, "")]
    assert (engine.stats.raised, engine.stats.returned, engine.stats.standing, engine.stats.queue_depth) == (1, 1, 0, 0)


async def test_an_alarm_that_returns_unseen_asks_to_be_seen_and_reoccurs(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with running(engine_of([make_rule()], pool, clock)) as engine:
        feed(engine, clock, (1, 310), (2, 200))
        await until(in_state(pool, AlarmState.RETURNED_UNACKNOWLEDGED))
        feed(engine, clock, (3, 310))
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
        feed(engine, clock, (4, 200))
        await until(in_state(pool, AlarmState.RETURNED_UNACKNOWLEDGED))
        alarm = await only_alarm(pool)
        await acknowledge(pool, alarm.alarm_id, author="ann", now_us=T0 + 5 * S)
        assert (await read_alarm(pool, alarm.alarm_id)).state is AlarmState.NORMAL
    assert [step for step, _, _ in await steps(pool)] == [
        Step.OCCUR,
        Step.RETURN,
        Step.REOCCUR,
        Step.RETURN,
        Step.ACKNOWLEDGE,
    ]


async def test_occurrences_and_returns_are_told_and_acknowledgements_are_not(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with running(engine_of([make_rule(targets=("hook", "mail"))], pool, clock)) as engine:
        feed(engine, clock, (1, 310.5), (2, 200))
        await until(in_state(pool, AlarmState.RETURNED_UNACKNOWLEDGED))
        feed(engine, clock, (3, 310))
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
        await acknowledge(pool, (await only_alarm(pool)).alarm_id, author="ann", now_us=T0)
    told = await notices(pool)
    headlines = ["ALARM (high)", "RETURNED (high)", "ALARM (high)"]
    assert [(each.target_key, each.title) for each in told] == [
        (target, f"{headline}: Power too high, Cleanroom feeder")
        for headline in headlines
        for target in ("hook", "mail")
    ]
    assert told[0].body.splitlines() == [
        "Site: Suzhou 1",
        "Asset: Cleanroom",
        "Meter: Cleanroom feeder",
        "Condition: active_power_kw > 300 kW",
        "Value: 310.5 kW",
        "Time: 2025-06-15 23:06:41+08:00 (Asia/Shanghai)",
        "Advice: Look at the load.",
    ]
    assert "Advice" not in told[2].body


async def test_a_silent_meter_is_raised_by_time_alone_and_returns_with_its_next_reading(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    rule = make_rule(Stale(5.0), rule_key="silent")
    async with running(engine_of([rule], pool, clock)) as engine:
        feed(engine, clock, (20, 1))
        clock.now = T0 + 40 * S
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
        feed(engine, clock, (41, 1))
        await until(in_state(pool, AlarmState.RETURNED_UNACKNOWLEDGED))
    assert await steps(pool) == [(Step.OCCUR, 25, None), (Step.RETURN, 41, None)]


async def test_collectors_have_time_to_start_before_silence_counts(
    pool: Pool, clock: Clock, make_rule: MakeRule
) -> None:
    engine = engine_of([make_rule(Stale(5.0))], pool, clock)
    engine.tick(T0 + START_ALLOWANCE_US)
    assert engine.stats.standing == 0
    engine.tick(T0 + START_ALLOWANCE_US + 7 * S)
    assert engine.stats.standing == 1


async def test_an_on_delay_runs_out_by_time(pool: Pool, clock: Clock, make_rule: MakeRule, until: Until) -> None:
    rule = make_rule(Threshold("active_power_kw", above=300, on_delay_s=60))
    async with running(engine_of([rule], pool, clock)) as engine:
        feed(engine, clock, (1, 310))
        clock.now = T0 + 70 * S
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
    assert await steps(pool) == [(Step.OCCUR, 61, 310)]


async def test_a_restart_does_not_raise_a_standing_alarm_again_and_does_not_forget_it(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    rule = make_rule()
    async with running(engine_of([rule], pool, clock)) as engine:
        feed(engine, clock, (1, 310))
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
    async with running(engine_of([rule], pool, clock)) as engine:
        await until(lambda: engine.stats.standing == 1)
        feed(engine, clock, (10, 320), (11, 330))
        feed(engine, clock, (12, 200))
        await until(in_state(pool, AlarmState.RETURNED_UNACKNOWLEDGED))
    assert await steps(pool) == [(Step.OCCUR, 1, 310), (Step.RETURN, 12, 200)]


async def test_a_condition_that_ended_while_the_service_was_stopped_returns_after_the_start(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with running(engine_of([make_rule()], pool, clock)) as engine:
        feed(engine, clock, (1, 310))
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
    engine = engine_of([make_rule()], pool, clock)
    # This reading comes before the engine could ask the database what stands.
    feed(engine, clock, (100, 200))
    async with running(engine):
        await until(lambda: engine.stats.standing == 1)
        feed(engine, clock, (101, 200))
        await until(in_state(pool, AlarmState.RETURNED_UNACKNOWLEDGED))
    assert await steps(pool) == [(Step.OCCUR, 1, 310), (Step.RETURN, 101, 200)]


async def test_what_waits_when_the_service_stops_is_written(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with running(engine_of([make_rule()], pool, clock)) as engine:
        await until(in_state(pool, AlarmState.NORMAL))
        feed(engine, clock, (1, 310), (2, 200), (3, 310))
    assert [step for step, _, _ in await steps(pool)] == [Step.OCCUR, Step.RETURN, Step.REOCCUR]


async def test_a_rule_that_leaves_the_configuration_is_retired_and_goes_on_when_it_comes_back(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    kept, leaving = make_rule(rule_key="kept"), make_rule(rule_key="leaving")
    async with running(engine_of([kept, leaving], pool, clock)) as engine:
        feed(engine, clock, (1, 310))
        await until(lambda: engine.stats.raised == 2)
    async with running(engine_of([kept], pool, clock)) as engine:
        await until(lambda: engine.stats.standing == 1)
        assert [each.rule_key for each in (await list_alarms(pool)).alarms] == ["kept"]
        retired = (await list_alarms(pool, with_retired=True)).alarms
        assert {each.rule_key: each.retired_at is not None for each in retired} == {"kept": False, "leaving": True}
    async with running(engine_of([kept, leaving], pool, clock)) as engine:
        await until(lambda: engine.stats.standing == 2)
        page = await list_alarms(pool)
        assert {(each.rule_key, each.state) for each in page.alarms} == {
            ("kept", AlarmState.UNACKNOWLEDGED),
            ("leaving", AlarmState.UNACKNOWLEDGED),
        }


async def test_while_the_database_is_away_changes_wait_in_order_with_their_true_times(
    pool: Pool, network: Network, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    rules = [make_rule(), make_rule(meter_id=OTHER_METER)]
    async with open_pool(network.url) as far, running(engine_of(rules, far, clock)) as engine:
        feed(engine, clock, (1, 310))
        await until(lambda: engine.stats.raised == 1)
        network.cut()
        feed(engine, clock, (2, 200), (3, 320))
        feed(engine, clock, (4, 330), meter_id=OTHER_METER)
        feed(engine, clock, (5, 190))
        assert engine.stats.queue_depth == 4
        network.mend()
        await until(lambda: engine.stats.queue_depth == 0)
    assert await steps(pool) == [
        (Step.OCCUR, 1, 310),
        (Step.RETURN, 2, 200),
        (Step.REOCCUR, 3, 320),
        (Step.OCCUR, 4, 330),
        (Step.RETURN, 5, 190),
    ]
    assert len(await notices(pool)) == 5
    assert engine.stats.transitions_lost == 0


async def test_the_engine_starts_while_the_database_is_away(
    pool: Pool, network: Network, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with open_pool(network.url) as far:
        network.cut()
        async with running(engine_of([make_rule()], far, clock)) as engine:
            feed(engine, clock, (1, 310), (2, 200))
            network.mend()
            await until(lambda: engine.stats.returned == 1)
    assert await steps(pool) == [(Step.OCCUR, 1, 310), (Step.RETURN, 2, 200)]


async def test_readings_of_meters_without_rules_change_nothing(pool: Pool, clock: Clock, make_rule: MakeRule) -> None:
    engine = engine_of([make_rule()], pool, clock)
    feed(engine, clock, (1, 1e6), meter_id=OTHER_METER)
    assert engine.stats.queue_depth == 0


async def test_an_event_applied_twice_is_one_transition_and_one_notification(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    """As after a commit whose answer was lost."""
    async with running(engine_of([make_rule()], pool, clock)) as engine:
        feed(engine, clock, (1, 310))
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
    alarm_id = (await only_alarm(pool)).alarm_id
    again = await apply_event(pool, alarm_id, Event.OCCUR, time_us=T0 + S, value=310, notices=lambda _: [])
    assert again is None
    assert len(await list_journal(pool)) == 1
    assert len(await notices(pool)) == 1


async def test_acknowledging_from_two_processes_at_once_is_one_transition(
    pool: Pool, plant_url: str, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with running(engine_of([make_rule()], pool, clock)) as engine:
        feed(engine, clock, (1, 310))
        await until(in_state(pool, AlarmState.UNACKNOWLEDGED))
    alarm_id = (await only_alarm(pool)).alarm_id
    async with open_pool(plant_url) as other:
        outcomes = await asyncio.gather(
            *(acknowledge(each, alarm_id, author="ann", now_us=T0) for each in (pool, other, pool, other)),
            return_exceptions=True,
        )
    refused = [each for each in outcomes if isinstance(each, AlarmRefused)]
    assert len(refused) == 3
    assert str(refused[0]) == f"alarm {alarm_id}: it has been acknowledged already"
    assert [step for step, _, _ in await steps(pool)] == [Step.OCCUR, Step.ACKNOWLEDGE]


async def test_what_cannot_be_acknowledged_is_refused(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    async with running(engine_of([make_rule()], pool, clock)):
        await until(in_state(pool, AlarmState.NORMAL))
    with pytest.raises(AlarmRefused, match="nothing to acknowledge"):
        await acknowledge(pool, (await only_alarm(pool)).alarm_id, author="ann", now_us=T0)
    with pytest.raises(UnknownAlarm, match="no alarm 4711"):
        await acknowledge(pool, 4711, author="ann", now_us=T0)
    assert await list_journal(pool) == []


async def test_lists_are_filtered_and_paged_with_what_asks_for_a_person_first(
    pool: Pool, clock: Clock, make_rule: MakeRule, until: Until
) -> None:
    rules = [
        make_rule(rule_key="calm", rule=Threshold("active_power_kw", above=1e5), priority=Priority.HIGH),
        make_rule(rule_key="low", priority=Priority.LOW),
        make_rule(rule_key="high", priority=Priority.HIGH),
        make_rule(rule_key="other", meter_id=OTHER_METER, priority=Priority.MEDIUM),
    ]
    async with running(engine_of(rules, pool, clock)) as engine:
        feed(engine, clock, (1, 310))
        feed(engine, clock, (2, 310), meter_id=OTHER_METER)
        await until(lambda: engine.stats.raised == 3)
        everything = await list_alarms(pool)
        assert [each.rule_key for each in everything.alarms] == ["high", "other", "low", "calm"]
        second = await list_alarms(pool, limit=2, offset=2)
        assert ([each.rule_key for each in second.alarms], second.total) == (["low", "calm"], 4)
        standing = await list_alarms(pool, states=[AlarmState.UNACKNOWLEDGED], meter_ids=[METER])
        assert [each.rule_key for each in standing.alarms] == ["high", "low"]
        assert [each.rule_key for each in (await list_alarms(pool, priorities=[Priority.MEDIUM])).alarms] == ["other"]

        newest = await list_journal(pool, limit=2)
        rest = await list_journal(pool, before=newest[-1].journal_id)
        assert [row.rule_key for row in (*newest, *rest)] == ["other", "high", "low"]
        assert [row.rule_key for row in await list_journal(pool, from_us=T0 + 2 * S)] == ["other"]
        assert [row.rule_key for row in await list_journal(pool, to_us=T0 + 2 * S, meter_ids=[METER])] == [
            "high",
            "low",
        ]
