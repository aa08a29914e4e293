"""What retention drops, what it never drops, and what late readings do to time of which the raw data is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from emsd.accounting import Accounting, MeterAccount, Retention, RetentionDays
from emsd.accounting.request import ask, follow
from emsd.energy.counters import CounterRules
from emsd.errors import SettingsError
from emsd.readings import Reading, reading_of
from emsd.store.compression import compression_statements, ensure_compression
from emsd.store.pool import Pool, open_pool, session
from emsd.store.readings import ReadingWriter
from emsd.store.retention import Horizons

BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)
START = datetime(2026, 2, 2, tzinfo=UTC)
MIDNIGHTS = [START + n * DAY for n in range(5)]
NOW = START + 4 * DAY
FAST, SLOW, BY_POWER = 1_000_001, 1_000_002, 1_000_003
RULES = CounterRules(max_gap_s=1200.0, max_power_kw=1000.0, count_kwh=0.001)
ACCOUNTS = {
    FAST: MeterAccount(FAST, RULES, has_import=True, has_export=True, poll_interval_s=60.0),
    SLOW: MeterAccount(SLOW, RULES, has_import=True, has_export=False, poll_interval_s=3600.0),
    BY_POWER: MeterAccount(BY_POWER, RULES, has_import=False, has_export=False, poll_interval_s=300.0),
}
GAUGES = {FAST: ("voltage_l1_n_v",)}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        await opened.execute(
            "INSERT INTO site (site_id, name, time_zone, carbon_region) VALUES (1, 'Works', 'Europe/Berlin', 'DE');"
            "INSERT INTO area (site_id, key, name) VALUES (1, 'hall', 'Hall');"
            "INSERT INTO asset (site_id, area_id, key, name, kind) VALUES (1, 1, 'press', 'Press', 'process_tool');"
        )
        for meter_id in ACCOUNTS:
            await opened.execute(
                "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address,"
                " measures_energy, poll_interval_s, max_gap_s) VALUES ($1, 1, 1, $2, '', '', '', '', true, 60, 1200)",
                meter_id,
                f"meter-{meter_id}",
            )
        yield opened


def history(days: int, *, seed: int) -> list[Reading]:
    """A meter with two counters of which one speaks seldom, a slow one, and one without; faults near midnights too."""
    chance = random.Random(seed)
    readings = []
    taken, given, slow = 1000.0, 50.0, 200.0
    for minute in range(0, days * 24 * 60, 4):
        when = START + timedelta(minutes=minute, seconds=chance.uniform(0, 50))
        taken, given, slow = taken + 4 * chance.random(), given + 0.04, slow + 2.0
        values: dict[str, float | None] = {"active_power_kw": 30.0, "voltage_l1_n_v": chance.uniform(220, 240)}
        # Of two zeros before each midnight only what stands before them tells what they are.
        values["energy_import_kwh"] = 0.0 if chance.random() < 0.01 or minute % 1440 >= 1432 else taken
        if minute % 500 == 8:
            values["energy_export_kwh"] = given
        readings.append(reading_of(FAST, when, values))
        if minute % 60 == 40:
            readings.append(reading_of(SLOW, when, {"energy_import_kwh": slow}))
        readings.append(reading_of(BY_POWER, when, {"active_power_kw": chance.uniform(-50, 50)}))
    return readings


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


def accounting(pool: Pool) -> Accounting:
    return Accounting(pool, ACCOUNTS, BERLIN, gauges=GAUGES, now=lambda: NOW)


def retention(pool: Pool, **days: int) -> Retention:
    return Retention(pool, RetentionDays(**days), now=lambda: NOW)


async def tables(pool: Pool) -> dict[str, list[tuple[object, ...]]]:
    found = {}
    for table, key in (
        ("interval_1m", "bucket"),
        ("interval_15m", "bucket"),
        ("interval_1d", "day"),
        ("gauge_15m", "bucket"),
        ("gauge_1d", "day"),
    ):
        rows = await pool.fetch(f"SELECT * FROM {table} ORDER BY meter_id, {key}")
        found[table] = [
            tuple(
                round(value, 6) if isinstance(value, float) else value
                for name, value in row.items()
                if name != "computed_at"
            )
            for row in rows
        ]
    return found


async def mark_around(pool: Pool, instant: datetime) -> None:
    """Mark two hours before an instant and six after it, of all meters."""
    await pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids) SELECT bucket, array_agg(meter_id) FROM interval_1m"
        " WHERE bucket >= $1 AND bucket < $2 GROUP BY bucket",
        instant - timedelta(hours=2),
        instant + timedelta(hours=6),
    )


async def test_what_follows_dropped_readings_is_computed_as_if_they_were_still_there(pool: Pool) -> None:
    await store(pool, history(3, seed=3))
    await accounting(pool).run_until_clean()
    before = await tables(pool)
    dropping = retention(pool, raw=3)
    await dropping.run_once()
    assert dropping.stats.chunks_dropped == 1
    assert await pool.fetchval("SELECT min(time) FROM reading") >= MIDNIGHTS[1]
    assert await tables(pool) == before
    # As after a replay of what is left: nothing may come out otherwise.
    await mark_around(pool, MIDNIGHTS[1])
    keeper = accounting(pool)
    await keeper.run_until_clean()
    assert keeper.stats.minutes_sealed == 2 * 60 * 3
    assert await tables(pool) == before
    # The tail is carried on when more is dropped.
    await retention(pool, raw=2).run_once()
    await mark_around(pool, MIDNIGHTS[2])
    await accounting(pool).run_until_clean()
    assert await tables(pool) == before
    kept = await pool.fetch(
        "SELECT meter_id, count(energy_import_kwh), count(energy_export_kwh), count(active_power_kw) FROM reading_tail"
        " GROUP BY meter_id ORDER BY meter_id"
    )
    # Of each series the last 16 of two days; the seldom one spoke six times, and its sisters with it.
    assert [tuple(row) for row in kept] == [(FAST, 16 + 6, 6, 16 + 6), (SLOW, 16, 0, 0), (BY_POWER, 0, 0, 16)]


async def test_a_reading_that_comes_after_its_day_was_dropped_changes_no_interval_and_is_counted(pool: Pool) -> None:
    await store(pool, history(3, seed=4))
    await accounting(pool).run_until_clean()
    before = await tables(pool)
    await retention(pool, raw=2).run_once()
    await store(pool, [reading_of(FAST, MIDNIGHTS[1] + timedelta(hours=6), {"energy_import_kwh": 1.0})])
    # Beside the horizon a late reading counts, and only for the time that is kept.
    first = timedelta(seconds=1)
    await store(pool, [reading_of(SLOW, MIDNIGHTS[2] - first, {"energy_import_kwh": 1.0})])
    keeper = accounting(pool)
    await keeper.run_until_clean()
    assert keeper.stats.minutes_sealed == 2
    assert await tables(pool) == before
    await store(pool, [reading_of(BY_POWER, MIDNIGHTS[2] + first, {"active_power_kw": 500.0})])
    await keeper.run_until_clean()
    after = await tables(pool)
    sealed = [row for row in after["interval_1m"] if row[0] < MIDNIGHTS[2]]  # type: ignore[operator]
    assert sealed == [row for row in before["interval_1m"] if row[0] < MIDNIGHTS[2]]  # type: ignore[operator]
    assert after["interval_15m"] != before["interval_15m"]
    # What came too late goes with the next round, and leaves the horizon where it is.
    await retention(pool, raw=2).run_once()
    assert await pool.fetchval("SELECT min(time) FROM reading") >= MIDNIGHTS[2]
    horizon = "SELECT kept_from FROM retention_horizon WHERE tier = 'raw'"
    assert await pool.fetchval(horizon) == MIDNIGHTS[2]
    await store(pool, [reading_of(FAST, MIDNIGHTS[0] + timedelta(hours=6), {"energy_import_kwh": 1.0})])
    await keeper.run_until_clean()
    tail = await pool.fetch("SELECT * FROM reading_tail ORDER BY meter_id, time")
    await retention(pool, raw=2).run_once()
    assert await pool.fetchval(horizon) == MIDNIGHTS[2], "also where all of what came too late is older than that"
    assert await pool.fetch("SELECT * FROM reading_tail ORDER BY meter_id, time") == tail


async def test_what_is_still_dirty_is_not_dropped(pool: Pool) -> None:
    await store(pool, history(2, seed=5))
    dropping = retention(pool, raw=1, minutes=1, quarters=1)
    await dropping.run_once()
    assert (dropping.stats.chunks_dropped, dropping.stats.chunks_held) == (0, 1), "there are no intervals yet"
    assert await pool.fetchval("SELECT count(*) FROM reading") == len(history(2, seed=5))
    # Marks of gauges alone hold it too: they are made of nothing but raw readings.
    await Accounting(pool, ACCOUNTS, BERLIN, now=lambda: NOW).run_until_clean()
    await dropping.run_once()
    assert dropping.stats.chunks_dropped == 0
    await accounting(pool).run_until_clean()
    await pool.execute("INSERT INTO kpi_source VALUES (1, 'pieces', 1, 'counter', 1000001, 'pieces_count', true)")
    await pool.execute("UPDATE meter SET kind = 'virtual' WHERE meter_id = 1000002")
    # Asset 77 has no inputs, so nobody will ever come for its mark.
    at = "'2026-02-02T06:00Z'"
    for table, values, waits in (
        ("dirty_asset_quarter", f"(1, {at}), (77, {at})", "asset_id = 1"),
        ("estimate_due", f"(1000001, {at})", "true"),
        ("virtual_meter", "(1000002, 'x', 'unknown', '2026-02-09Z')", "true"),
    ):
        await pool.execute(f"INSERT INTO {table} VALUES {values}")
        await dropping.run_once()
        assert dropping.stats.chunks_dropped == 0, table
        await pool.execute(f"DELETE FROM {table} WHERE {waits}")
    await dropping.run_once()
    assert dropping.stats.chunks_dropped == 3, "two days of readings, and the week of minutes that they are in"
    assert await pool.fetchval("SELECT count(*) FROM interval_15m WHERE meter_id = $1", FAST) == 2 * 96


async def test_history_without_raw_readings_is_refused_and_what_follows_is_not(pool: Pool) -> None:
    await store(pool, history(2, seed=6))
    keeper = accounting(pool)
    await keeper.run_until_clean()
    before = await tables(pool)
    await retention(pool, raw=3).run_once()
    with pytest.raises(SettingsError, match=r"would erase what is known; write --from 2026-02-03T01:00 or later"):
        await ask(pool, keeper, list(ACCOUNTS), START, NOW, requested_by="a test")
    assert await pool.fetchval("SELECT count(*) FROM recomputation") == 0
    request = await ask(pool, keeper, list(ACCOUNTS), MIDNIGHTS[1], NOW, requested_by="a test", gauges=True)
    assert await follow(pool, keeper, request, stop=asyncio.Event(), seen_within_s=0.0) == 0
    await keeper.run_until_clean()
    assert await tables(pool) == before


async def test_dropped_minutes_seal_their_time_although_readings_are_left(pool: Pool) -> None:
    await store(pool, history(1, seed=7))
    late = accounting(pool)
    await late.run_until_clean()
    before = await tables(pool)
    # A chunk of one-minute intervals holds seven days, those of Thursday to Wednesday.
    dropping = Retention(pool, RetentionDays(minutes=1), now=lambda: NOW + 7 * DAY)
    await dropping.run_once()
    assert dropping.stats.chunks_dropped == 1
    assert await pool.fetchval("SELECT count(*) FROM interval_1m") == 0
    await store(pool, [reading_of(FAST, START + timedelta(hours=3, seconds=1), {"energy_import_kwh": 1e5})])
    await late.run_until_clean()
    assert {**await tables(pool), "interval_1m": []} == {**before, "interval_1m": []}
    assert late.stats.minutes_sealed == 1


async def test_inputs_of_key_figures_go_with_the_quarter_hours(pool: Pool) -> None:
    begins = (START - 90 * DAY, START)
    await pool.executemany(
        "INSERT INTO asset_15m (asset_id, bucket, pieces) VALUES (1, $1, 3)", [(each,) for each in begins]
    )
    await retention(pool, quarters=30).run_once()
    rows = await pool.fetch("SELECT bucket FROM asset_15m")
    assert [row["bucket"] for row in rows] == [START]
    assert START - 90 * DAY < await pool.fetchval("SELECT kept_from FROM retention_horizon WHERE tier = '15m'") <= START


def test_a_local_day_of_which_quarter_hours_are_gone_is_sealed_as_a_whole() -> None:
    assert Horizons().sealed_before(BERLIN) is None
    midnight_utc = datetime(2026, 2, 3, tzinfo=UTC)
    assert Horizons(raw=midnight_utc).sealed_before(BERLIN) == midnight_utc
    # 01:00 in Berlin: the day began an hour earlier, and the next one begins at 23:00 UTC.
    assert Horizons(quarters=midnight_utc).sealed_before(BERLIN) == datetime(2026, 2, 3, 23, tzinfo=UTC)
    assert Horizons(quarters=midnight_utc).sealed_before(ZoneInfo("UTC")) == midnight_utc
    both = Horizons(raw=midnight_utc + DAY, minutes=midnight_utc, quarters=midnight_utc)
    assert both.sealed_before(BERLIN) == midnight_utc + DAY


async def test_compression_is_set_up_where_the_edition_has_it_and_nowhere_else(pool: Pool) -> None:
    statements = list(compression_statements(frozenset({"interval_1m"})))
    assert statements[0] == (
        "ALTER TABLE reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'meter_id',"
        " timescaledb.compress_orderby = 'time')"
    )
    assert statements[1] == "SELECT add_compression_policy('reading', INTERVAL '14 days', if_not_exists => true)"
    assert any("gauge_15m SET" in each and "'meter_id, quantity_id'" in each for each in statements)
    assert any("asset_15m SET" in each and "'asset_id'" in each and "'bucket'" in each for each in statements)
    assert "SELECT add_compression_policy('asset_15m', INTERVAL '60 days', if_not_exists => true)" in statements
    assert not any("interval_1m" in each for each in statements)
    async with session(pool, "look") as connection:
        edition = await connection.fetchval("SELECT current_setting('timescaledb.license')")
        done = await ensure_compression(connection)
        assert done == ([] if edition == "apache" else list(compression_statements()))
        assert await ensure_compression(connection) == []


def test_days_of_zero_are_for_ever() -> None:
    assert RetentionDays().tiers() == ()
    assert RetentionDays(raw=800, minutes=0, quarters=9).tiers() == (("raw", 800), ("15m", 9))
