"""Events in the ledger of a real database, and what accounting makes of them in every tier."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from emsd.accounting import Accounting, MeterAccount
from emsd.collector import DeviceIdentity
from emsd.energy.counters import CounterRules
from emsd.energy.events import CounterPair, EventKind, MeterEvent
from emsd.energy.series import IncrementFlag
from emsd.errors import BadRow, EventRefused
from emsd.readings import Reading, instant_us, reading_of
from emsd.store.identity import _Seen as Seen
from emsd.store.identity import _store as store_identities
from emsd.store.intervals import lead_accounting
from emsd.store.meter_events import EventRow, add_event, list_events, read_events, withdraw_event
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)
METER, OTHER, BY_POWER = 1_000_001, 1_000_002, 1_000_003
RULES = CounterRules(max_gap_s=300.0, max_power_kw=600.0, count_kwh=0.001)
ACCOUNTS = {
    METER: MeterAccount(METER, RULES, has_import=True, has_export=True, poll_interval_s=60.0),
    OTHER: MeterAccount(OTHER, RULES, has_import=True, has_export=False, poll_interval_s=600.0),
    BY_POWER: MeterAccount(BY_POWER, RULES, has_import=False, has_export=False, poll_interval_s=60.0),
}
LATER = START + timedelta(hours=6)
SWAP, RESET, STEP, HELD_OUT = IncrementFlag.SWAP, IncrementFlag.RESET, IncrementFlag.STEP, IncrementFlag.HELD_OUT


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A database that knows the meters of ACCOUNTS."""
    async with open_pool(database_url) as opened:
        await opened.execute(
            "INSERT INTO site VALUES (1, 'Works', 'Europe/Berlin', NULL, 'DE', NULL, NULL);"
            "INSERT INTO area (site_id, key, name) VALUES (1, 'hall', 'Hall');"
            "INSERT INTO asset (site_id, area_id, key, name, kind) SELECT 1, area_id, 'a', 'A', 'feeder' FROM area;"
        )
        await opened.executemany(
            "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,"
            " poll_interval_s, rated_power_kw, max_gap_s)"
            " SELECT $1, 1, asset_id, 'm' || $2, 'M', 'p', 'c', '1', true, 60, 600, 300 FROM asset",
            [(each, str(each)) for each in ACCOUNTS],
        )
        yield opened


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def at_us(minute: float) -> int:
    return instant_us(at(minute))


def read(kwh: float) -> CounterPair:
    return CounterPair(import_kwh=kwh)


def counter_of(meter: int, values: Sequence[tuple[float, float]]) -> list[Reading]:
    return [reading_of(meter, at(minute), {"energy_import_kwh": kwh}) for minute, kwh in values]


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


def accounting(pool: Pool, now: datetime = LATER) -> Accounting:
    return Accounting(pool, ACCOUNTS, BERLIN, now=lambda: now)


async def add(pool: Pool, event: MeterEvent, *, meter: int = METER, supersedes: int | None = None) -> EventRow:
    return await add_event(pool, meter, event, author="l.wei", note="work order 4711", now=LATER, supersedes=supersedes)


async def tables(pool: Pool) -> dict[str, list[tuple[object, ...]]]:
    """All tiers without when they were computed, rounded to where the order of additions shows no more."""
    found = {}
    for table, key in (("interval_1m", "bucket"), ("interval_15m", "bucket"), ("interval_1d", "day")):
        rows = await pool.fetch(f"SELECT * FROM {table} ORDER BY meter_id, {key}")
        found[table] = [
            tuple(
                round(value, 6) if isinstance(value, float) else value
                for name, value in row.items()
                if name not in {"computed_at", "version"}
            )
            for row in rows
        ]
    return found


async def recomputed(pool: Pool) -> dict[str, list[tuple[object, ...]]]:
    """The same tables made anew from readings and events by an accounting that remembers nothing."""
    await pool.execute("TRUNCATE interval_1m, interval_15m, interval_1d, dirty_interval, dirty_day")
    await pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids)"
        " SELECT minute, ARRAY[meter_id] FROM (SELECT meter_id, min(time) AS first, max(time) AS last FROM"
        " (SELECT meter_id, time FROM reading UNION ALL SELECT meter_id, occurred_at FROM meter_event) AS all_times"
        " GROUP BY meter_id) AS span,"
        " generate_series(time_bucket('1 minute', first), last, INTERVAL '1 minute') AS minute"
    )
    await accounting(pool).run_until_clean()
    return await tables(pool)


async def minutes(pool: Pool, meter: int = METER) -> list[tuple[int, float | None, int]]:
    """(minute from START, energy, flags) of every row."""
    rows = await pool.fetch(
        "SELECT bucket, energy_import_kwh, flags FROM interval_1m WHERE meter_id = $1 ORDER BY bucket", meter
    )
    return [
        (round((row["bucket"] - START).total_seconds() / 60), row["energy_import_kwh"], row["flags"]) for row in rows
    ]


async def totals(pool: Pool, meter: int = METER) -> list[float]:
    """Energy by minutes, quarter hours and days: three times the same figure."""
    return [
        await pool.fetchval(f"SELECT sum(energy_import_kwh) FROM {table} WHERE meter_id = $1", meter)
        for table in ("interval_1m", "interval_15m", "interval_1d")
    ]


async def test_a_swap_changes_every_tier_once_it_is_written_down(pool: Pool) -> None:
    old = [(minute, 1000.0 + 5 * minute) for minute in range(60)]
    new = [(minute, 300.0 + 5 * (minute - 70)) for minute in range(70, 120)]
    await store(pool, counter_of(METER, [*old, *new]))
    keeper = accounting(pool)
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([59 * 5 + 49 * 5] * 3), "what nobody explained is not counted"
    assert {flags for minute, _, flags in await minutes(pool) if 59 < minute < 70} == {STEP}

    event = MeterEvent(EventKind.SWAP, at_us(65), final=read(1303), initial=read(280))
    row = await add(pool, event)
    assert (row.kind, row.detail["final"], row.superseded_by) == ("swap", {"import_kwh": 1303.0}, None)
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([59 * 5 + 8 + 20 + 49 * 5] * 3)
    flagged = {minute for minute, _, flags in await minutes(pool) if flags}
    assert flagged == set(range(59, 70))
    assert await tables(pool) == await recomputed(pool)


async def test_each_kind_of_event_marks_what_it_changes(pool: Pool) -> None:
    readings = counter_of(METER, [(minute, 1000.0 + minute) for minute in [*range(20), *range(200, 220)]])
    readings += counter_of(OTHER, [(10 * step, 50.0 + step) for step in range(30)])
    readings += [reading_of(BY_POWER, at(minute), {"active_power_kw": 60.0}) for minute in range(30)]
    await store(pool, readings)
    keeper = accounting(pool)
    await keeper.run_until_clean()
    before = await totals(pool)
    for event, meter, change in (
        (MeterEvent(EventKind.MANUAL_READING, at_us(100), reading=read(1030)), METER, 0.0),
        (MeterEvent(EventKind.HOLD_OUT, at_us(205), until_us=at_us(208)), METER, 0.0),
        (MeterEvent(EventKind.CT_RATIO, at_us(210), factor=3.0), METER, 18.0),
        (MeterEvent(EventKind.CT_RATIO, at_us(215), factor=1.0), METER, -8.0),
        (MeterEvent(EventKind.RESET, at_us(-30), final=read(7)), METER, 0.0),
        (MeterEvent(EventKind.CT_RATIO, at_us(95), factor=2.0), OTHER, 19.5),
        (MeterEvent(EventKind.CT_RATIO, at_us(15), factor=2.0), BY_POWER, 14.5),
    ):
        was = await totals(pool, meter)
        await add(pool, event, meter=meter)
        await keeper.run_until_clean()
        assert await totals(pool, meter) == pytest.approx([kwh + change for kwh in was], abs=1e-6), event
        kept = await tables(pool)
        assert kept == await recomputed(pool), event
    assert before == pytest.approx([219.0] * 3)
    half = [kwh for minute, kwh, _ in await minutes(pool) if kwh is not None and minute < 100]
    assert sum(half) == pytest.approx(30.0), "the reading of a person says where in the gap the energy was"


async def test_what_stands_in_the_ledger_stays_also_for_the_owner(pool: Pool) -> None:
    row = await add(pool, MeterEvent(EventKind.RESET, at_us(5)))
    for statement in (
        "UPDATE meter_event SET note = 'better'",
        "UPDATE meter_event SET supersedes = NULL",
        "DELETE FROM meter_event",
        "TRUNCATE meter_event",
    ):
        with pytest.raises(asyncpg.RestrictViolationError, match="meter_event is a ledger"):
            await pool.execute(statement)
    assert await list_events(pool, meter_ids=[METER]) == [row]
    for author, note in ((" ", "why"), ("who", "")):
        with pytest.raises(BadRow, match="meter_event_signed"):
            await add_event(pool, METER, MeterEvent(EventKind.RESET, at_us(6)), author=author, note=note, now=LATER)


async def test_a_superseded_event_counts_no_more_and_neither_does_a_withdrawn_one(pool: Pool) -> None:
    await store(pool, counter_of(METER, [(minute, 1000.0 + minute) for minute in range(30)]))
    keeper = accounting(pool)
    wrong = await add(pool, MeterEvent(EventKind.CT_RATIO, at_us(10), factor=50.0))
    right = await add(pool, MeterEvent(EventKind.CT_RATIO, at_us(20), factor=5.0), supersedes=wrong.event_id)
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([20 + 9 * 5] * 3)
    gone = await withdraw_event(pool, right.event_id, author="l.wei", note="wrong meter")
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([29] * 3)
    assert await tables(pool) == await recomputed(pool)
    listed = {row.event_id: row.superseded_by for row in await list_events(pool)}
    assert listed == {wrong.event_id: right.event_id, right.event_id: gone.event_id, gone.event_id: None}
    async with pool.acquire() as connection:
        assert await read_events(connection, [METER, OTHER]) == {}


async def test_what_cannot_be_written_is_refused_with_its_cure_and_marks_nothing(pool: Pool) -> None:
    await store(pool, counter_of(METER, [(minute, 1000.0 + minute) for minute in range(5)]))
    await accounting(pool).run_until_clean()
    first = MeterEvent(EventKind.RESET, at_us(-100))
    row = await add(pool, first)
    await add(pool, MeterEvent(EventKind.RESET, at_us(-90)), supersedes=row.event_id)
    await pool.execute("DELETE FROM dirty_interval")
    for event, meter, supersedes, words in (
        (MeterEvent(EventKind.RESET, instant_us(LATER) + 1), METER, None, "is not between the year 2000 and now"),
        (MeterEvent(EventKind.RESET, -1), METER, None, "is not between the year 2000 and now"),
        (
            MeterEvent(EventKind.RESET, at_us(-1440 * 400)),
            METER,
            None,
            "days from the nearest reading .* check the year",
        ),
        (MeterEvent(EventKind.RESET, at_us(-90)), METER, None, "says the same already"),
        (MeterEvent(EventKind.RESET, at_us(1)), METER, row.event_id, "counts no more; supersede 2"),
        (MeterEvent(EventKind.RESET, at_us(1)), OTHER, 2, "is one of meter m1000001"),
        (MeterEvent(EventKind.RESET, at_us(1)), METER, 99, "there is no event 99; `emsd events list`"),
    ):
        with pytest.raises(EventRefused, match=words):
            await add(pool, event, meter=meter, supersedes=supersedes)
    with pytest.raises(EventRefused, match="how the service signs its own entries"):
        await withdraw_event(pool, 2, author=" EMSD", note="it was me")
    with pytest.raises(EventRefused, match="how the service signs its own entries"):
        await add_event(pool, METER, first, author="emsd", note="it was me", now=LATER)
    with pytest.raises(EventRefused, match="counts no more"):
        await withdraw_event(pool, row.event_id, author="l.wei", note="wrong meter")
    assert await pool.fetchval("SELECT count(*) FROM meter_event") == 2
    assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 0


async def test_what_counts_from_the_beginning_or_for_ever_marks_only_what_there_is(pool: Pool) -> None:
    await store(pool, counter_of(METER, [(minute, 1000.0 + minute) for minute in range(5, 15)]))
    await accounting(pool).run_until_clean()
    since_ever = instant_us(datetime(2000, 1, 2, tzinfo=UTC))
    till_ever = instant_us(datetime(2990, 1, 1, tzinfo=UTC))
    for event in (
        MeterEvent(EventKind.CT_RATIO, since_ever, factor=2.0),
        MeterEvent(EventKind.HOLD_OUT, since_ever, until_us=till_ever, counter="export_kwh", low_kwh=0, high_kwh=1),
    ):
        await add(pool, event)
        marked = await pool.fetchrow("SELECT count(*), min(bucket), max(bucket) FROM dirty_interval")
        assert marked is not None
        assert tuple(marked) == (10, at(5), at(14)), event
        await accounting(pool).run_until_clean()
        assert await totals(pool) == pytest.approx([18.0] * 3)


async def test_an_event_waits_for_the_pass_that_does_not_know_it_and_marks_what_that_computed(pool: Pool) -> None:
    """A pass has read the events, takes a reading that has just come, and commits while the event is being written."""
    await store(pool, counter_of(METER, [(minute, 1000.0 + minute) for minute in range(10)]))
    await accounting(pool).run_until_clean()
    async with pool.acquire() as connection, connection.transaction():
        assert await lead_accounting(connection)
        adding = asyncio.create_task(add(pool, MeterEvent(EventKind.CT_RATIO, at_us(5), factor=2.0)))
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        async with asyncio.timeout(30):
            while not adding.done() and not await pool.fetchval(waiting):  # noqa: ASYNC110 - the database knows
                await asyncio.sleep(0.02)
        assert not adding.done()
        await store(pool, counter_of(METER, [(12, 1012.0)]))
        await connection.execute("DELETE FROM dirty_interval")
    await adding
    await accounting(pool).run_until_clean()
    assert await totals(pool) == pytest.approx([5.0 + 2 * 7.0] * 3)


async def seen(pool: Pool, serial: str, minute: float) -> None:
    """Write what the recorder of identities writes when it meets a device."""
    async with pool.acquire() as connection, connection.transaction():
        us = at_us(minute)
        await store_identities(connection, {METER: Seen(DeviceIdentity(serial, "SDM630", None), us, us)})


async def test_a_changed_serial_number_cuts_the_series_until_a_person_says_more(pool: Pool) -> None:
    await seen(pool, "4711", 0)
    old = [(minute, 1000.0 + 5 * minute) for minute in range(60)]
    # The new one was used before, and shows what the old one could have shown: only the serial number tells.
    new = [(minute, 1325.0 + 5 * (minute - 65)) for minute in range(65, 90)]
    await store(pool, counter_of(METER, [*old, *new]))
    keeper = accounting(pool)
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([59 * 5 + 30 + 24 * 5] * 3)
    await seen(pool, "4712", 64.9)
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([59 * 5 + 24 * 5] * 3), "what is not known is not counted"
    assert {flags for minute, _, flags in await minutes(pool) if 59 < minute < 64} == {SWAP | STEP}
    assert await tables(pool) == await recomputed(pool)
    # By a watch that is ten minutes late.
    event = MeterEvent(EventKind.SWAP, at_us(75), final=read(1310), initial=read(1320))
    await add(pool, event)
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([59 * 5 + 15 + 5 + 24 * 5] * 3)
    assert await tables(pool) == await recomputed(pool)
    assert [row.superseded_by for row in await list_events(pool)] == [None, None], "both stay as they were written"


async def test_the_readings_show_which_is_the_first_after_a_swap(pool: Pool) -> None:
    """Polled every 6 s without a break, and written down to the minute by a watch that is three minutes off."""
    values = [(second / 60, 1000.0 + second / 60) for second in range(0, 3600, 6)]
    values += [(second / 60, 40.0 + second / 60) for second in range(3600, 5400, 6)]
    await store(pool, counter_of(METER, values))
    keeper = accounting(pool)
    row = await add(pool, MeterEvent(EventKind.SWAP, at_us(63), final=read(1060), initial=read(100)))
    assert row.detail["first_reading_at"] == at(60).isoformat()
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([89.9] * 3)
    exact = await add(
        pool,
        MeterEvent(EventKind.SWAP, at_us(59.95), final=read(1059.95), initial=read(99.95)),
        supersedes=row.event_id,
    )
    assert "first_reading_at" not in exact.detail
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([89.9] * 3)


async def test_an_event_without_any_reading_near_it_is_written_and_counts_once_some_come(pool: Pool) -> None:
    await add(pool, MeterEvent(EventKind.SWAP, at_us(10), final=read(1010), initial=read(0)))
    keeper = accounting(pool)
    await keeper.run_until_clean()
    await store(pool, counter_of(METER, [(0, 1000.0), (3, 1003.0)]))
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([10.0] * 3), (
        "the final reading ends the stretch, though no sample follows"
    )
    await store(pool, counter_of(METER, [(5, 1007.0)]))
    await keeper.run_until_clean()
    assert await tables(pool) == await recomputed(pool)
    by_minute = {minute: kwh for minute, kwh, _ in await minutes(pool)}
    assert by_minute[7] == pytest.approx(0.6), "a late reading moves the energy of minutes that it does not lie in"
    await store(pool, counter_of(METER, [(20, 5.0), (21, 6.0)]))
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([10.0 + 6.0] * 3)
    assert await tables(pool) == await recomputed(pool)


@pytest.mark.parametrize("seed", range(3))
async def test_readings_and_events_in_any_order_end_in_the_same_tables(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    work: list[list[Reading] | MeterEvent] = []
    kwh = 1000.0
    for minute in range(0, 240, 2):
        kwh += chance.random() * 5
        if chance.random() < 0.02:
            kwh = chance.choice((0.0, 300.0))
        shown = 0.0 if chance.random() < 0.02 else kwh
        if not 100 < minute < 130:
            work.append(counter_of(METER, [(minute + chance.random(), round(shown, 2))]))
    for _ in range(10):
        kind = chance.choice(list(EventKind))
        begin_us = at_us(chance.random() * 235)
        facts: dict[str, Any] = {}
        if kind is EventKind.SWAP and chance.random() < 0.5:
            facts = {"final": read(1100), "initial": read(250)}
        elif kind is EventKind.CT_RATIO:
            facts = {"factor": chance.choice((1.0, 2.0, 0.5))}
        elif kind is EventKind.MANUAL_READING:
            facts = {"reading": read(1000 + chance.random() * 300)}
        elif kind is EventKind.HOLD_OUT:
            facts = {"until_us": begin_us + 600_000_000}
        work.append(MeterEvent(kind, begin_us, **facts))
    chance.shuffle(work)
    keeper = accounting(pool)
    for each in work:
        if isinstance(each, MeterEvent):
            await add(pool, each)
        else:
            await store(pool, each)
        if chance.random() < 0.15:
            await keeper.run_once()
    await keeper.run_until_clean()
    kept = await tables(pool)
    assert any(row[2] is not None for row in kept["interval_1m"])
    assert kept == await recomputed(pool)


async def test_readings_of_a_clock_that_ran_ahead_are_held_out_once_it_is_right(pool: Pool) -> None:
    """An hour ahead for 40 minutes; each reading arrives when it was taken, with a pass every five minutes."""
    now = START
    keeper = Accounting(pool, ACCOUNTS, BERLIN, now=lambda: now)
    for true_minute in range(180):
        shown = true_minute + 60 if 50 <= true_minute < 90 else true_minute
        await store(pool, counter_of(METER, [(shown + true_minute / 1000, 1000.0 + 2 * true_minute)]))
        now = at(true_minute)
        if true_minute % 5 == 0:
            await keeper.run_once()
        if true_minute == 100:
            await keeper.run_until_clean()
            assert await totals(pool) == pytest.approx([200.0] * 3), "last - first, though the clock told more"
    now = LATER
    await keeper.run_until_clean()
    assert await totals(pool) == pytest.approx([2 * 179.0] * 3)
    assert all(flags & HELD_OUT for minute, _, flags in await minutes(pool) if 111 <= minute <= 148)
    (event,) = await list_events(pool)
    assert (event.kind, event.author) == ("hold_out", "emsd")
    assert "the clock that dated them was ahead" in event.note
    assert json.loads(await pool.fetchval("SELECT detail FROM meter_event"))["counter"] == "import_kwh"
    assert await tables(pool) == await recomputed(pool)
