"""Minimum, mean and maximum of process gauges, quarter hour by quarter hour and local day by local day."""

from __future__ import annotations

import cmath
import math
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from emsd.accounting import Accounting
from emsd.readings import Reading, reading_of
from emsd.store.gauges import TIERED_GAUGES
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 10, 24, 20, 0, tzinfo=UTC)  # 22:00 in Berlin; the 25th has 25 hours
CHILLER, WEATHER, SILENT = 1_000_001, 1_000_002, 1_000_003
GAUGES = {
    CHILLER: ("chilled_water_entering_temperature_c", "chilled_water_leaving_temperature_c"),
    WEATHER: ("ambient_temperature_c", "wind_direction_deg"),
    SILENT: ("room_pressure_pa",),
}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


def history(hours: int, *, seed: int) -> list[Reading]:
    chance = random.Random(seed)
    readings = []
    for step in range(hours * 60):
        when = START + timedelta(minutes=step, seconds=chance.uniform(0, 59))
        leaving = chance.uniform(5, 8) if chance.random() < 0.9 else None
        entering = 12.5 if step > 45 else None  # no reading of it in the first three quarter hours
        names = GAUGES[CHILLER]
        readings.append(reading_of(CHILLER, when, dict(zip(names, (entering, leaving), strict=True))))
        wind = (chance.gauss(0, 25)) % 360  # around north
        readings.append(
            reading_of(WEATHER, when, {"ambient_temperature_c": chance.uniform(-5, 15), "wind_direction_deg": wind})
        )
    return readings


def expected(readings: Sequence[Reading], bucket_of: object) -> dict[tuple[int, str, object], list[float]]:
    """Minimum, mean, maximum and number of the values of each meter, quantity and bucket, value by value."""
    values: dict[tuple[int, str, object], list[float]] = defaultdict(list)
    for reading in readings:
        for name, value in reading.items():
            if value is not None and callable(bucket_of):
                values[reading.meter_id, name, bucket_of(reading.time)].append(value)
    found = {}
    for key, each in values.items():
        mean = math.fsum(each) / len(each)
        if key[1] == "wind_direction_deg":
            mean = math.degrees(cmath.phase(sum(cmath.rect(1, math.radians(value)) for value in each))) % 360
        found[key] = [min(each), mean, max(each), float(len(each))]
    return found


def quarter(when: datetime) -> datetime:
    return when.replace(minute=when.minute // 15 * 15, second=0, microsecond=0)


async def tier(pool: Pool, table: str, key: str) -> dict[tuple[int, str, object], list[float]]:
    rows = await pool.fetch(f"SELECT * FROM {table} JOIN quantity USING (quantity_id)")
    return {
        (row["meter_id"], row["name"], row[key]): [
            row["min_value"],
            row["avg_value"],
            row["max_value"],
            float(row["sample_count"]),
        ]
        for row in rows
    }


def assert_same(
    found: dict[tuple[int, str, object], list[float]], wanted: dict[tuple[int, str, object], list[float]]
) -> None:
    assert found.keys() == wanted.keys()
    for key, figures in wanted.items():
        # Gauges are stored as float4. A direction of a whole day is the mean of those of its quarter hours, nearly.
        tolerance = 3.0 if key[1] == "wind_direction_deg" and isinstance(key[2], type(START.date())) else 2e-5
        assert found[key][::2] == pytest.approx(figures[::2], rel=1e-6)
        apart = abs(found[key][1] - figures[1])
        assert min(apart, 360 - apart) < tolerance, key
        assert found[key][3] == figures[3]


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


async def test_tiers_of_gauges_say_what_the_raw_readings_say_whenever_these_come(pool: Pool) -> None:
    readings = history(30, seed=1)
    late = readings[200:1000:7]
    now = START + timedelta(hours=30, minutes=1)
    keeper = Accounting(pool, {}, BERLIN, gauges=GAUGES, now=lambda: now)
    await store(pool, [each for each in readings if each not in late])
    await keeper.run_until_clean()
    built = keeper.stats.gauge_quarters_built
    assert built == 2 * 30 * 4, "two meters speak; each quarter hour is built once"
    await store(pool, late)
    await keeper.run_until_clean()
    touched = {(each.meter_id, quarter(each.time)) for each in late}
    assert keeper.stats.gauge_quarters_built - built == len(touched), "and again where late readings came, only there"
    assert_same(await tier(pool, "gauge_15m", "bucket"), expected(readings, quarter))
    # The 26th has only begun.
    past = [each for each in readings if each.time < datetime(2026, 10, 25, 23, tzinfo=UTC)]
    assert_same(await tier(pool, "gauge_1d", "day"), expected(past, lambda when: when.astimezone(BERLIN).date()))
    begins = await pool.fetch("SELECT DISTINCT day, bucket FROM gauge_1d ORDER BY day")
    assert [row["bucket"].hour for row in begins] == [22, 22], "the day of 25 hours begins in summer time"
    assert await pool.fetchval("SELECT count(*) FROM dirty_gauge") == 0
    assert await pool.fetchval("SELECT count(*) FROM dirty_gauge_day WHERE day < '2026-10-26'") == 0


async def test_a_quarter_hour_of_gauges_is_built_when_it_is_over_and_not_before(pool: Pool) -> None:
    now = START + timedelta(minutes=14, seconds=59)
    keeper = Accounting(pool, {}, BERLIN, gauges=GAUGES, now=lambda: now)
    await store(pool, [reading_of(SILENT, START + timedelta(minutes=3), {"room_pressure_pa": 12.0})])
    await keeper.run_until_clean()
    assert await pool.fetchval("SELECT count(*) FROM gauge_15m") == 0
    now = START + timedelta(minutes=15, seconds=3)
    await keeper.run_until_clean()
    assert await pool.fetchval("SELECT avg_value FROM gauge_15m") == 12.0


async def test_marks_wait_for_an_accounting_that_knows_the_gauges(pool: Pool) -> None:
    now = START + timedelta(hours=1)
    await store(pool, [reading_of(SILENT, START, {"room_pressure_pa": 12.0})])
    await Accounting(pool, {}, BERLIN, now=lambda: now).run_until_clean()
    assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 0
    await Accounting(pool, {}, BERLIN, gauges=GAUGES, now=lambda: now).run_until_clean()
    assert await pool.fetchval("SELECT count(*) FROM gauge_15m") == 1


async def test_a_reading_for_a_quarter_hour_whose_others_retention_has_dropped_leaves_it_as_it_is(pool: Pool) -> None:
    now = START + timedelta(hours=2)
    keeper = Accounting(pool, {}, BERLIN, gauges=GAUGES, now=lambda: now)
    minutes = [START + timedelta(minutes=minute) for minute in (3, 9, 20)]
    await store(pool, [reading_of(SILENT, when, {"room_pressure_pa": 12.0}) for when in minutes])
    await keeper.run_until_clean()
    await pool.execute(
        "INSERT INTO retention_horizon (tier, kept_from) VALUES ('raw', $1)", START + timedelta(minutes=15)
    )
    await pool.execute("DELETE FROM reading WHERE time < $1", START + timedelta(minutes=15))
    late = (START + timedelta(minutes=4), START + timedelta(minutes=21))
    await store(pool, [reading_of(SILENT, when, {"room_pressure_pa": 90.0}) for when in late])
    # As a recomputation marks them, whatever readings came.
    await pool.execute("INSERT INTO dirty_gauge (bucket, meter_id) VALUES ($1, $2)", START, SILENT)
    await keeper.run_until_clean()
    found = await tier(pool, "gauge_15m", "bucket")
    assert list(found.values()) == [[12.0, 12.0, 12.0, 2.0], [12.0, 51.0, 90.0, 2.0]]
    assert await pool.fetchval("SELECT count(*) FROM dirty_gauge") == 0


def test_codes_have_no_mean_and_power_stands_in_the_intervals() -> None:
    assert not TIERED_GAUGES & {"run_state", "alarm_code", "active_power_kw", "energy_import_kwh"}
    assert {"discharge_pressure_bar", "water_flow_m3h", "room_temperature_c"} <= TIERED_GAUGES
