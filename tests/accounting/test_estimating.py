"""Estimates of long gaps follow the readings, whatever the order of arrival, beside the intervals and never in them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.accounting import Accounting, MeterAccount
from emsd.accounting.calendar_days import day_classes
from emsd.accounting.estimating import Estimating
from emsd.energy import BUCKET_15M_US, bucket_edges, datetime_to_us, local_day_edges
from emsd.energy.counters import CounterRules
from emsd.energy.like_days import DayClass, class_of_weekday
from emsd.plant.models import Plant
from emsd.plant.tariff import Tariff
from emsd.readings import Reading, reading_of
from emsd.store.best_energy import read_best_energy, summed
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter
from emsd.store.reads import snapshot

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, tzinfo=BERLIN)
NOW = MONDAY + timedelta(days=5, hours=1)
COUNTER, POWER_ONLY = 1_000_001, 1_000_002
RULES = CounterRules(max_gap_s=600.0, max_power_kw=1000.0, count_kwh=0.001)
ACCOUNTS = {
    COUNTER: MeterAccount(COUNTER, RULES, has_import=True, has_export=False, poll_interval_s=300.0),
    POWER_ONLY: MeterAccount(POWER_ONLY, RULES, has_import=False, has_export=False, poll_interval_s=300.0),
}
STEP = timedelta(minutes=5)
Outage = tuple[timedelta, timedelta]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


def power_kw(when: datetime) -> float:
    """A load that rises through the day, and every day a little: like days differ in size, not in shape."""
    return (100.0 + 10.0 * when.hour) * (1.0 + 0.1 * when.weekday())


def history(days: float, outages: Sequence[Outage] = (), *, meter: int = COUNTER) -> list[Reading]:
    """Readings every five minutes but in the outages, which begin and last so long after MONDAY."""
    readings, kwh, at = [], 5000.0, timedelta()
    while at <= timedelta(days=days):
        when = MONDAY + at
        if not any(begin < at < begin + length for begin, length in outages):
            values = {"energy_import_kwh": kwh} if meter == COUNTER else {"active_power_kw": power_kw(when)}
            readings.append(reading_of(meter, when, values))
        kwh += power_kw(when) * STEP.total_seconds() / 3600
        at += STEP
    return readings


class Keeper:
    """Accounting with estimates at a fixed time, as the service runs it."""

    def __init__(self, pool: Pool, now: datetime = NOW) -> None:
        self.pool, self.now = pool, now
        self.estimating = Estimating(ACCOUNTS, BERLIN, now=lambda: self.now)
        self.accounting = Accounting(pool, ACCOUNTS, BERLIN, now=lambda: self.now)
        self.accounting.after_pass.append(self.estimating.after_pass)

    async def take(self, readings: Sequence[Reading]) -> None:
        async with ReadingWriter(self.pool) as writer:
            await writer.write(readings)
        await self.accounting.run_until_clean()

    async def an_hour_later(self) -> None:
        """Do what becomes due as time goes on."""
        self.now += timedelta(hours=1)
        await self.accounting.run_until_clean()


async def estimates(pool: Pool, meter: int = COUNTER) -> dict[datetime, dict[str, Any]]:
    rows = await pool.fetch(
        "SELECT * FROM estimate_15m WHERE meter_id = $1 AND direction = 'import' ORDER BY bucket", meter
    )
    return {row["bucket"].astimezone(BERLIN): dict(row) for row in rows}


def quarters(begin: timedelta, length: timedelta) -> list[datetime]:
    count = length // timedelta(minutes=15)
    return [MONDAY + begin + timedelta(minutes=15 * n) for n in range(count)]


THURSDAY_MORNING: Outage = (timedelta(days=3, hours=8), timedelta(hours=6))


async def test_a_long_gap_gets_the_shape_of_like_days_and_keeps_the_counters_total(pool: Pool) -> None:
    keeper = Keeper(pool)
    await keeper.take(history(5, [THURSDAY_MORNING]))
    found = await estimates(pool)
    assert list(found) == quarters(*THURSDAY_MORNING)
    for bucket, row in found.items():
        assert row["energy_kwh"] == pytest.approx(power_kw(bucket) / 4)
        assert (row["method"], row["total_known"]) == ("like_days", True)
        assert row["basis_days"] == [date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)]
    stored = await pool.fetchrow(
        "SELECT sum(estimated_import_kwh) AS kwh FROM interval_15m WHERE meter_id = $1 AND coverage = 0", COUNTER
    )
    assert stored is not None
    assert sum(row["replaced_kwh"] for row in found.values()) == pytest.approx(stored["kwh"])
    assert sum(row["energy_kwh"] for row in found.values()) == pytest.approx(stored["kwh"])


async def test_best_energy_has_the_estimate_in_place_of_the_even_spread_and_counts_nothing_twice(pool: Pool) -> None:
    keeper = Keeper(pool)
    outages = [THURSDAY_MORNING, (timedelta(days=1, hours=3), timedelta(minutes=40))]
    await keeper.take([*history(5, outages), *history(5, [THURSDAY_MORNING], meter=POWER_ONLY)])
    begin, end = datetime_to_us(MONDAY), datetime_to_us(MONDAY + timedelta(days=5))
    edges = bucket_edges(begin, end, BUCKET_15M_US)
    days = local_day_edges(MONDAY.date(), MONDAY.date() + timedelta(days=5), BERLIN)
    async with snapshot(pool, "test") as connection:
        by_quarter = await read_best_energy(connection, [COUNTER, POWER_ONLY], "15m", edges)
        by_day = await read_best_energy(connection, [COUNTER, POWER_ONLY], "1d", days)
        with pytest.raises(ValueError, match="15m or 1d"):
            await read_best_energy(connection, [COUNTER], "1m", edges)
    times = [datetime.fromtimestamp(each / 1e6, BERLIN) for each in edges[:-1].tolist()]
    truth = np.array([power_kw(each) / 4 for each in times])
    in_gap = np.array([each in quarters(*THURSDAY_MORNING) for each in times])
    for meter in (COUNTER, POWER_ONLY):
        best = by_quarter[meter]
        np.testing.assert_allclose(best.import_kwh[in_gap].sum(), truth[in_gap].sum(), rtol=0.16)
        np.testing.assert_allclose(best.estimated_import_kwh[in_gap], best.import_kwh[in_gap])
        assert summed(best, days).import_kwh == pytest.approx(by_day[meter].import_kwh)
        assert summed(best, days).estimated_import_kwh == pytest.approx(by_day[meter].estimated_import_kwh)
        assert summed(best, days).coverage == pytest.approx(by_day[meter].coverage, abs=1e-6)
    counted = by_quarter[COUNTER]
    np.testing.assert_allclose(counted.import_kwh[in_gap], truth[in_gap])
    assert counted.import_kwh.sum() == pytest.approx(truth.sum())
    # The gap of 40 minutes stays spread evenly, and says that it is.
    short = counted.estimated_import_kwh[~in_gap]
    assert short.sum() == pytest.approx(2 / 3 * 143.0)
    await _insert_meters(pool)  # of whose site the days are
    for view, series in (("best_15m", by_quarter), ("best_1d", by_day)):
        rows = await pool.fetch(
            f"SELECT meter_id, sum(energy_import_kwh) AS kwh, sum(estimated_import_kwh) AS estimated_kwh FROM {view}"
            " GROUP BY 1 ORDER BY 1"
        )
        assert [row["meter_id"] for row in rows] == [COUNTER, POWER_ONLY]
        for row in rows:
            of_meter = series[row["meter_id"]]
            assert row["kwh"] == pytest.approx(np.nansum(of_meter.import_kwh))
            assert row["estimated_kwh"] == pytest.approx(of_meter.estimated_import_kwh.sum())


async def _insert_meters(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO site (site_id, name, time_zone, carbon_region) VALUES (1, 'S', 'Europe/Berlin', 'r')"
    )
    await pool.execute("INSERT INTO area (site_id, key, name) VALUES (1, 'a', 'A')")
    await pool.execute(
        "INSERT INTO asset (site_id, area_id, key, name, kind) SELECT 1, area_id, 'x', 'X', 'other' FROM area"
    )
    await pool.executemany(
        "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,"
        " poll_interval_s, max_gap_s) SELECT $1, 1, asset_id, $2, 'M', 'p', 'c', '1', true, 300, 600 FROM asset",
        [(COUNTER, "counter"), (POWER_ONLY, "power")],
    )


async def test_without_a_counter_the_like_day_mean_itself_is_the_estimate(pool: Pool) -> None:
    keeper = Keeper(pool)
    await keeper.take(history(5, [THURSDAY_MORNING], meter=POWER_ONLY))
    found = await estimates(pool, POWER_ONLY)
    assert list(found) == quarters(*THURSDAY_MORNING)
    bucket, row = list(found.items())[5]
    before = [power_kw(bucket - timedelta(days=n)) / 4 for n in (1, 2, 3)]
    assert row["energy_kwh"] == pytest.approx(sum(before) / 3, rel=0.01)
    assert (row["replaced_kwh"], row["total_known"], row["method"]) == (0.0, False, "like_days")


async def test_a_gap_that_does_not_end_is_estimated_a_day_behind_and_made_anew_when_it_ends(pool: Pool) -> None:
    ends = timedelta(days=3, hours=8)
    keeper = Keeper(pool, MONDAY + ends + timedelta(hours=23))
    await keeper.take(history(3 + 8 / 24))
    assert not await estimates(pool)
    keeper.now = MONDAY + ends + timedelta(hours=30)
    await keeper.an_hour_later()
    behind = await estimates(pool)
    assert list(behind) == quarters(ends, timedelta(hours=7))
    assert not any(row["total_known"] for row in behind.values())
    # After seven hours more the meter speaks again, and its counter tells what the gap holds.
    keeper.now = MONDAY + timedelta(days=5)
    await keeper.take([each for each in history(5) if each.time >= MONDAY + timedelta(days=4)])
    closed = await estimates(pool)
    assert list(closed) == quarters(ends, timedelta(hours=16))
    assert all(row["total_known"] for row in closed.values())
    total = sum(power_kw(bucket) / 4 for bucket in closed)
    assert sum(row["energy_kwh"] for row in closed.values()) == pytest.approx(total)


async def test_late_data_makes_an_estimate_vanish_or_splits_its_gap(pool: Pool) -> None:
    for meter in (COUNTER, POWER_ONLY):
        keeper = Keeper(pool)
        await keeper.take(history(5, [THURSDAY_MORNING], meter=meter))
        begin, length = THURSDAY_MORNING
        late = [each for each in history(5, meter=meter) if begin <= each.time - MONDAY <= begin + length]
        middle = [each for each in late if timedelta(hours=2) <= each.time - MONDAY - begin <= timedelta(hours=3)]
        await keeper.take(middle)
        after = timedelta(hours=3)
        assert list(await estimates(pool, meter)) == [
            *quarters(begin, timedelta(hours=2)),
            *quarters(begin + after, length - after),
        ]
        await keeper.take(late)
        assert not await estimates(pool, meter)
        assert not await pool.fetchval("SELECT count(*) FROM estimate_due")


async def test_a_like_day_that_changes_changes_what_rests_on_it(pool: Pool) -> None:
    keeper = Keeper(pool)
    tuesday: Outage = (timedelta(days=1, hours=7), timedelta(hours=8))
    await keeper.take(history(5, [THURSDAY_MORNING, tuesday], meter=POWER_ONLY))
    bucket = MONDAY + timedelta(days=3, hours=10)
    before = (await estimates(pool, POWER_ONLY))[bucket]
    # Tuesday is estimated itself, so it is no like day; Friday has come to its help.
    assert before["basis_days"] == [date(2026, 3, 2), date(2026, 3, 4), date(2026, 3, 6)]
    begin, length = tuesday
    whole = history(5, meter=POWER_ONLY)
    await keeper.take([each for each in whole if begin <= each.time - MONDAY <= begin + length])
    after = (await estimates(pool, POWER_ONLY))[bucket]
    assert after["basis_days"] == [date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)]
    assert after["energy_kwh"] < before["energy_kwh"]


async def test_later_days_help_the_first_ones_of_a_meters_life_within_the_hour(pool: Pool) -> None:
    tuesday: Outage = (timedelta(days=1, hours=8), timedelta(hours=6))
    keeper = Keeper(pool, MONDAY + timedelta(days=2))
    whole = history(5, [tuesday], meter=POWER_ONLY)
    await keeper.take([each for each in whole if each.time < MONDAY + timedelta(days=2)])
    bucket = MONDAY + timedelta(days=1, hours=10)
    assert (await estimates(pool, POWER_ONLY))[bucket]["basis_days"] == [date(2026, 3, 2)]
    keeper.now = MONDAY + timedelta(days=4)
    await keeper.take([each for each in whole if each.time >= MONDAY + timedelta(days=2)])
    await keeper.an_hour_later()
    expected = [date(2026, 3, 2), date(2026, 3, 4), date(2026, 3, 5)]
    assert (await estimates(pool, POWER_ONLY))[bucket]["basis_days"] == expected


@pytest.mark.parametrize("seed", range(2))
async def test_in_whatever_order_readings_come_the_estimates_end_the_same(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    outages = [
        (timedelta(minutes=chance.randrange(5 * 24 * 60)), timedelta(minutes=chance.randrange(70, 600)))
        for _ in range(4)
    ]
    pieces = []
    for meter in (COUNTER, POWER_ONLY):
        readings = history(5, outages, meter=meter)
        while readings:
            size = chance.randrange(100, 600)
            pieces.append(readings[:size])
            readings = readings[size:]
    chance.shuffle(pieces)
    keeper = Keeper(pool, MONDAY + timedelta(days=6, hours=9))
    for piece in pieces:
        await keeper.take(piece)
    await keeper.an_hour_later()
    kept = await _all(pool)
    assert kept
    await pool.execute("TRUNCATE interval_1m, interval_15m, interval_1d, dirty_interval, dirty_day, estimate_15m")
    await pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids)"
        " SELECT time_bucket('1 minute', time), array_agg(DISTINCT meter_id) FROM reading GROUP BY 1"
    )
    fresh = Keeper(pool, keeper.now - timedelta(hours=1))
    await fresh.accounting.run_until_clean()
    await fresh.an_hour_later()
    assert await _all(pool) == kept


async def _all(pool: Pool) -> list[tuple[object, ...]]:
    rows = await pool.fetch("SELECT * FROM estimate_15m ORDER BY meter_id, direction, bucket")
    return [
        tuple(
            round(value, 6) if isinstance(value, float) else value
            for name, value in row.items()
            if name != "computed_at"
        )
        for row in rows
    ]


async def test_an_estimate_whose_readings_retention_has_dropped_stays_as_it_is(pool: Pool) -> None:
    keeper = Keeper(pool)
    await keeper.take(history(5, [THURSDAY_MORNING]))
    before = await estimates(pool)
    dropped_before = MONDAY + timedelta(days=4)
    await pool.execute("INSERT INTO retention_horizon (tier, kept_from) VALUES ('raw', $1)", dropped_before)
    await pool.execute("DELETE FROM reading WHERE time < $1", dropped_before)
    async with pool.acquire() as connection, connection.transaction():
        changed = {COUNTER: {datetime_to_us(MONDAY + timedelta(days=3, minutes=n)) for n in range(24 * 60)}}
        await keeper.estimating.after_pass(connection, changed)
    assert before
    assert await estimates(pool) == before


async def test_best_energy_of_quarter_hours_that_retention_has_dropped_is_not_told_and_that_of_their_days_is(
    pool: Pool,
) -> None:
    await Keeper(pool).take(history(5, [THURSDAY_MORNING]))
    await _insert_meters(pool)
    by_day = await pool.fetch("SELECT * FROM best_1d ORDER BY day")
    assert await pool.fetchval("SELECT sum(estimated_import_kwh) FROM best_15m") > 0
    kept_from = MONDAY + timedelta(days=4)
    await pool.execute("DELETE FROM interval_15m WHERE bucket < $1", kept_from)
    await pool.execute("INSERT INTO retention_horizon (tier, kept_from) VALUES ('15m', $1)", kept_from)
    assert await pool.fetchval("SELECT min(bucket) FROM best_15m") == kept_from
    edges = bucket_edges(datetime_to_us(MONDAY), datetime_to_us(MONDAY + timedelta(days=5)), BUCKET_15M_US)
    async with snapshot(pool, "test") as connection:
        best = (await read_best_energy(connection, [COUNTER], "15m", edges))[COUNTER]
    assert np.isnan(best.import_kwh[: 4 * 96]).all()
    assert np.isfinite(best.import_kwh[4 * 96 :]).all()
    assert await pool.fetch("SELECT * FROM best_1d ORDER BY day") == by_day


async def test_a_pass_over_live_meters_looks_at_no_estimate(pool: Pool) -> None:
    keeper = Keeper(pool, MONDAY + timedelta(days=1))
    await keeper.take(history(1))
    seen: list[str] = []
    async with pool.acquire() as connection, connection.transaction():
        changed = {COUNTER: {datetime_to_us(keeper.now - timedelta(minutes=n)) for n in (1, 2)}}
        with connection.query_logger(lambda record: seen.append(record.query)):
            assert await keeper.estimating.after_pass(connection, changed) is False
    assert len(seen) <= 4, "a pass must not cost more than marking and looking for what is due"
    assert not await pool.fetchval("SELECT count(*) FROM estimate_due")


async def test_a_day_that_becomes_a_holiday_changes_what_rests_on_it_and_nothing_else(pool: Pool) -> None:
    keeper = Keeper(pool)
    tuesday: Outage = (timedelta(days=1, hours=7), timedelta(hours=3))
    await keeper.take(history(5, [THURSDAY_MORNING, tuesday]))
    await keeper.an_hour_later()  # what days were is recorded
    before = await estimates(pool)
    of_thursday = MONDAY + timedelta(days=3, hours=12)
    assert before[of_thursday]["basis_days"] == [date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)]
    await pool.execute("UPDATE estimate_15m SET computed_at = '2000-01-01'")

    async def with_holidays(*holidays: date) -> None:
        """Go by another calendar, as after the plant file was read anew, or by a service that starts with it."""

        def class_of(day: date) -> DayClass:
            return DayClass.SUNDAY_OR_HOLIDAY if day in holidays else class_of_weekday(day)

        keeper.estimating.adopt(ACCOUNTS, BERLIN, class_of=class_of)
        await keeper.accounting.run_until_clean()

    async def made_anew() -> int:
        return int(await pool.fetchval("SELECT count(*) FROM estimate_15m WHERE computed_at > '2000-01-01'"))

    await with_holidays(date(2026, 5, 1))
    assert await made_anew() == 0, "a holiday more than a month after the last estimate changes none"
    await with_holidays(date(2026, 3, 3))
    after = await estimates(pool)
    # Wednesday and Monday are left, and Friday comes to help.
    assert after[of_thursday]["basis_days"] == [date(2026, 3, 2), date(2026, 3, 4), date(2026, 3, 6)]
    assert after[MONDAY + timedelta(days=1, hours=8)]["method"] == "even", "no other holiday is like Tuesday"
    assert await made_anew() == len(before)
    await pool.execute("UPDATE estimate_15m SET computed_at = '2000-01-01'")
    await with_holidays(date(2026, 3, 3))
    await keeper.an_hour_later()
    assert await made_anew() == 12, "only Tuesday's, which rest on fewer than three days"


def with_tariffs(*tariffs: Tariff) -> Plant:
    return cast("Plant", SimpleNamespace(tariffs=tariffs))


def test_holidays_and_make_up_working_days_of_the_tariffs_calendar_count() -> None:
    calendar = {"country": "DE", "holidays": ["2026-06-15"], "working_days": ["2026-06-20"]}
    rate = {"periods": [{"name": "all", "hours": ["00:00-24:00"], "price_per_kwh": 0.2}]}
    tariff = Tariff.model_validate(
        {
            "key": "t",
            "name": "Tariff",
            "valid_from": "2026-01-01",
            "currency": "EUR",
            "calendar": calendar,
            "rates": [rate],
        }
    )
    of: Callable[[date], DayClass] = day_classes(with_tariffs(tariff))
    assert of(date(2026, 5, 1)) is DayClass.SUNDAY_OR_HOLIDAY  # Labour Day, a Friday
    assert of(date(2026, 6, 15)) is DayClass.SUNDAY_OR_HOLIDAY
    assert of(date(2026, 6, 20)) is DayClass.WORKING_DAY  # a Saturday on which people work
    assert of(date(2026, 6, 27)) is DayClass.SATURDAY
    assert of(date(2026, 6, 28)) is DayClass.SUNDAY_OR_HOLIDAY
    assert day_classes(with_tariffs())(date(2026, 5, 1)) is DayClass.WORKING_DAY
