"""Who answers behind each meter: kept up to date, and a swap stands in the ledger exactly once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from emsd.collector import DeviceIdentity
from emsd.readings import instant_us
from emsd.store.identity import IdentityRecorder, is_another_device
from emsd.store.pool import Pool

METERS = (1_000_001, 1_000_002)
METER = METERS[0]
NOON = 1_774_785_600_000_000
HOUR = 3_600_000_000
ONE_METER = """
INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,
    poll_interval_s, max_gap_s)
SELECT $1::integer, 1, asset_id, 'm' || $1::integer, 'M', 'p', 'c', '1', true, 1, 300 FROM asset"""
OLD = DeviceIdentity("4711", "SDM630", "1.9")
NEW = DeviceIdentity("4712", "SDM630", "2.0")


@pytest.fixture(name="pool")
async def pool_with_meters(pool: Pool) -> Pool:
    """A database that knows METERS."""
    await pool.execute(
        "INSERT INTO site VALUES (1, 'Suzhou 1', 'Asia/Shanghai', NULL, 'CN', NULL, NULL);"
        "INSERT INTO area (site_id, key, name) VALUES (1, 'hall', 'Hall');"
        "INSERT INTO asset (site_id, area_id, key, name, kind) SELECT 1, area_id, 'a', 'A', 'feeder' FROM area;"
    )
    await pool.executemany(ONE_METER, [(each,) for each in METERS])
    return pool


@asynccontextmanager
async def running(recorder: IdentityRecorder) -> AsyncIterator[None]:
    task = asyncio.create_task(recorder.run(), name="recorder under test")
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def written(recorder: IdentityRecorder) -> None:
    await until(lambda: not recorder.waiting)


async def record(pool: Pool, *seen: tuple[int, DeviceIdentity, int]) -> None:
    recorder = IdentityRecorder(pool)
    for each in seen:
        recorder.note(*each)
    async with running(recorder):
        await written(recorder)


async def test_the_first_device_is_written_down_and_is_no_swap(pool: Pool) -> None:
    await record(pool, (METER, OLD, NOON), (METER, OLD, NOON + HOUR))
    (row,) = await pool.fetch("SELECT * FROM meter_identity")
    assert (row["meter_id"], row["serial"], row["model"], row["firmware"]) == (METER, "4711", "SDM630", "1.9")
    assert instant_us(row["first_seen"]) == NOON
    assert instant_us(row["last_seen"]) == NOON + HOUR
    assert await pool.fetchval("SELECT count(*) FROM meter_event") == 0


async def test_another_serial_number_is_a_swap_with_both_devices_in_the_ledger(pool: Pool) -> None:
    await record(pool, (METER, OLD, NOON))
    await record(pool, (METER, NEW, NOON + HOUR))
    (event,) = await pool.fetch("SELECT * FROM meter_event")
    assert (event["meter_id"], event["kind"], event["author"]) == (METER, "swap", "emsd")
    assert instant_us(event["occurred_at"]) == NOON + HOUR
    assert json.loads(event["detail"]) == {
        "old": {"serial": "4711", "model": "SDM630", "firmware": "1.9", "last_seen": "2026-03-29T12:00:00+00:00"},
        "new": {"serial": "4712", "model": "SDM630", "firmware": "2.0"},
    }
    assert event["note"] == (
        "serial 4712 (SDM630) answers where serial 4711 (SDM630) was last seen at 2026-03-29T12:00:00+00:00"
    )
    row = await pool.fetchrow("SELECT * FROM meter_identity")
    assert row is not None
    assert row["serial"] == "4712"
    assert instant_us(row["first_seen"]) == NOON + HOUR


async def test_the_same_swap_noted_again_is_one_swap(pool: Pool) -> None:
    await record(pool, (METER, OLD, NOON), (METER, NEW, NOON + HOUR))
    await record(pool, (METER, NEW, NOON + HOUR), (METER, NEW, NOON + 2 * HOUR))
    assert await pool.fetchval("SELECT count(*) FROM meter_event") == 1


async def test_new_firmware_is_no_swap_and_what_is_not_told_today_is_kept(pool: Pool) -> None:
    await record(pool, (METER, OLD, NOON), (METER, DeviceIdentity("4711", None, "2.0"), NOON + HOUR))
    row = await pool.fetchrow("SELECT * FROM meter_identity")
    assert row is not None
    assert (row["serial"], row["model"], row["firmware"]) == ("4711", "SDM630", "2.0")
    assert instant_us(row["first_seen"]) == NOON
    assert await pool.fetchval("SELECT count(*) FROM meter_event") == 0


async def test_changes_while_the_database_is_away_are_all_in_the_ledger_afterwards(pool: Pool) -> None:
    await record(pool, (METER, OLD, NOON))
    await pool.execute("ALTER TABLE meter_event RENAME TO away")
    recorder = IdentityRecorder(pool)
    with capture_logs() as said:
        async with running(recorder):
            recorder.note(METER, NEW, NOON + HOUR)
            await until(lambda: any(line["event"] == "meter_identities_wait" for line in said))
    async with running(recorder):
        for number, identity in enumerate((OLD, NEW, NEW), 2):
            recorder.note(METER, identity, NOON + number * HOUR)
        recorder.note(METERS[1], OLD, NOON)
        assert recorder.waiting == 2
        await pool.execute("ALTER TABLE away RENAME TO meter_event")
        await written(recorder)
    swaps = await pool.fetch("SELECT detail, occurred_at FROM meter_event ORDER BY event_id")
    assert [json.loads(row["detail"])["new"]["serial"] for row in swaps] == ["4712", "4711", "4712"]
    assert [instant_us(row["occurred_at"]) for row in swaps] == [NOON + number * HOUR for number in (1, 2, 3)]
    assert await pool.fetchval("SELECT count(*) FROM meter_identity") == 2


async def test_a_meter_that_the_database_does_not_know_yet_is_waited_for_and_stops_no_other(pool: Pool) -> None:
    late = METERS[1]
    await pool.execute("DELETE FROM meter WHERE meter_id = $1", late)
    recorder = IdentityRecorder(pool)
    recorder.note(late, OLD, NOON)
    recorder.note(METER, OLD, NOON)
    async with running(recorder):
        await until(lambda: recorder.waiting == 1)
        assert await pool.fetchval("SELECT array_agg(meter_id) FROM meter_identity") == [METER]
        await pool.execute(ONE_METER, late)
        await written(recorder)
    assert await pool.fetchval("SELECT count(*) FROM meter_identity") == 2


async def test_what_can_never_be_written_is_given_up_and_stops_no_other(pool: Pool) -> None:
    with capture_logs() as said:
        await record(pool, (METER, DeviceIdentity("a\0b"), NOON), (METERS[1], OLD, NOON))
    assert await pool.fetchval("SELECT array_agg(meter_id) FROM meter_identity") == [METERS[1]]
    assert [line["meter_id"] for line in said if line["event"] == "meter_identity_lost"] == [METER]


async def test_a_swap_is_there_only_with_the_identity_that_it_leads_to(pool: Pool) -> None:
    await record(pool, (METER, OLD, NOON))
    await pool.execute("ALTER TABLE meter_event ADD CONSTRAINT never CHECK (kind <> 'swap')")
    await record(pool, (METER, NEW, NOON + HOUR))
    assert await pool.fetchval("SELECT serial FROM meter_identity") == "4711"


@pytest.mark.parametrize(
    ("old", "new", "another"),
    [
        (OLD, OLD, False),
        (OLD, NEW, True),
        (OLD, DeviceIdentity("4711", "SDM630 V2"), False),
        (OLD, DeviceIdentity(None, "SDM120"), True),
        (OLD, DeviceIdentity(None, None), False),
        (DeviceIdentity(None, None), NEW, False),
        (DeviceIdentity(None, "A"), DeviceIdentity("1", "A"), False),
    ],
)
def test_the_serial_number_decides_where_both_tell_it_and_the_model_elsewhere(
    old: DeviceIdentity, new: DeviceIdentity, another: bool
) -> None:
    assert is_another_device(old, new) is another
