"""History is computed anew on demand: by whom, how much of it, and what says by which rules a figure was made."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from emsd.accounting import Accounting, MeterAccount, recomputing
from emsd.accounting.recomputing import pieces_of
from emsd.accounting.request import ask, changes, follow
from emsd.accounting.versions import CODE_VERSION, fingerprint, rules_of
from emsd.energy.counters import CounterRules
from emsd.readings import Reading, reading_of
from emsd.store.pool import Pool, open_pool, session
from emsd.store.readings import ReadingWriter
from emsd.store.recomputations import waiting_pieces
from emsd.store.versions import stale_history

ZONE = ZoneInfo("Europe/Berlin")
START = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
NOW = START + timedelta(days=3)
PRESS, OVEN = 1_000_001, 1_000_002


def accounts(press_kw: float = 1000.0, max_gap_s: float = 300.0) -> dict[int, MeterAccount]:
    return {
        meter_id: MeterAccount(
            meter_id, CounterRules(max_gap_s=max_gap_s, max_power_kw=rated_kw), True, False, poll_interval_s=60.0
        )
        for meter_id, rated_kw in ((PRESS, press_kw), (OVEN, 500.0))
    }


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


def history(hours: int) -> list[Reading]:
    """Both meters at 60 kW; at half of the time the press takes 50 kWh in one minute, more than 1,000 kW can."""
    readings = []
    for minute in range(hours * 60):
        when = START + timedelta(minutes=minute, seconds=20)
        jump = 50.0 if minute >= hours * 30 else 0.0
        readings.append(reading_of(PRESS, when, {"energy_import_kwh": 100.0 + minute + jump}))
        readings.append(reading_of(OVEN, when, {"energy_import_kwh": 100.0 + minute}))
    return readings


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


async def tables(pool: Pool) -> dict[str, list[tuple[object, ...]]]:
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


async def total_kwh(pool: Pool, meter_id: int) -> float:
    return float(await pool.fetchval("SELECT sum(energy_import_kwh) FROM interval_1d WHERE meter_id = $1", meter_id))


async def stale(pool: Pool, by: Mapping[int, MeterAccount]) -> set[int]:
    async with session(pool, "look") as connection:
        found = await stale_history(connection, {each: fingerprint(account) for each, account in by.items()})
    return {each.meter_id for each in found}


async def recompute(pool: Pool, accounting: Accounting, from_: datetime, to: datetime) -> None:
    request = await ask(pool, accounting, [PRESS, OVEN], from_, to, requested_by="a test")
    assert await follow(pool, accounting, request, stop=asyncio.Event(), seen_within_s=0.0) == 0


async def test_history_keeps_the_rules_that_made_it_until_it_is_computed_anew(pool: Pool) -> None:
    await store(pool, history(8))
    await Accounting(pool, accounts(), ZONE, now=lambda: NOW).run_until_clean()
    assert await total_kwh(pool, PRESS) == pytest.approx(8 * 60 - 2), "50 kWh in a minute is a step, and no energy"
    assert await stale(pool, accounts()) == set()

    better = accounts(press_kw=4000.0)
    live = Accounting(pool, better, ZONE, now=lambda: NOW)
    # A late reading is computed by the new rules; what lies far from it stays as it is.
    await store(pool, [reading_of(PRESS, START + timedelta(minutes=30, seconds=40), {"energy_import_kwh": 130.3})])
    await live.run_until_clean()
    assert await stale(pool, better) == {PRESS}
    versions = await pool.fetch(
        "SELECT version, count(*) FROM interval_1m WHERE meter_id = $1 GROUP BY 1 ORDER BY 1", PRESS
    )
    assert len(versions) == 2
    assert versions[1]["count"] < 40
    oldest = await pool.fetchval("SELECT version FROM interval_1d WHERE meter_id = $1", PRESS)
    assert oldest == versions[0]["version"], "a day that is made of both names the older one"
    registered = await pool.fetch("SELECT * FROM accounting_version WHERE meter_id = $1 ORDER BY version_id", PRESS)
    assert [row["version_id"] for row in registered] == [row["version"] for row in versions]
    assert {row["code_version"] for row in registered} == {CODE_VERSION}
    assert [row["fingerprint"] for row in registered] == [fingerprint(accounts()[PRESS]), fingerprint(better[PRESS])]

    request = await ask(pool, live, [PRESS, OVEN], START, NOW, requested_by="a test")
    assert await follow(pool, live, request, stop=asyncio.Event(), seen_within_s=0.0) == 0
    (change,) = await changes(pool, request)
    assert change.meter_id == PRESS
    assert change.after.import_kwh == pytest.approx(8 * 60 - 1 + 50)
    assert await total_kwh(pool, PRESS) == pytest.approx(8 * 60 - 1 + 50)
    assert await stale(pool, better) == set()


async def test_what_is_computed_anew_is_what_a_computation_from_scratch_says_and_twice_is_once(pool: Pool) -> None:
    await store(pool, [each for place, each in enumerate(history(8)) if place % 97 > 12])
    await Accounting(pool, accounts(), ZONE, now=lambda: NOW).run_until_clean()
    # With this longest gap other minutes are estimated.
    other = accounts(press_kw=4000.0, max_gap_s=90.0)
    accounting = Accounting(pool, other, ZONE, now=lambda: NOW)
    await recompute(pool, accounting, START - timedelta(days=1), NOW)
    once = await tables(pool)
    await recompute(pool, accounting, START - timedelta(days=1), NOW)
    assert await tables(pool) == once
    await pool.execute("TRUNCATE interval_1m, interval_15m, interval_1d")
    await pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids)"
        " SELECT time_bucket('1 minute', time), array_agg(DISTINCT meter_id) FROM reading GROUP BY 1"
    )
    await Accounting(pool, other, ZONE, now=lambda: NOW).run_until_clean()
    assert await tables(pool) == once


async def test_minutes_that_new_rules_know_nothing_of_lose_their_rows_in_every_tier(pool: Pool) -> None:
    by_power = {PRESS: dataclasses.replace(accounts()[PRESS], has_import=False)}
    await store(
        pool, [reading_of(PRESS, START + timedelta(hours=2 * n), {"energy_import_kwh": 100.0 + n}) for n in range(4)]
    )
    await Accounting(pool, accounts(), ZONE, now=lambda: NOW).run_until_clean()
    assert await pool.fetchval("SELECT count(*) FROM interval_15m") == 25
    await recompute(pool, Accounting(pool, by_power, ZONE, now=lambda: NOW), START, NOW)
    assert await pool.fetchval("SELECT sum(energy_import_kwh) FROM interval_1m") is None
    assert await pool.fetchval("SELECT count(*) FROM interval_15m WHERE energy_import_kwh IS NOT NULL") == 0
    assert await pool.fetchval("SELECT energy_import_kwh FROM interval_1d") is None


async def test_only_the_time_and_the_meters_asked_for_are_computed_anew(pool: Pool) -> None:
    await store(pool, history(8))
    accounting = Accounting(pool, accounts(), ZONE, now=lambda: NOW)
    await accounting.run_until_clean()
    await pool.execute("UPDATE interval_1m SET computed_at = '2000-01-01'")
    from_, to = START + timedelta(hours=2), START + timedelta(hours=3)
    request = await ask(pool, accounting, [OVEN], from_, to, requested_by="a test")
    await follow(pool, accounting, request, stop=asyncio.Event(), seen_within_s=0.0)
    touched = await pool.fetchrow(
        "SELECT min(bucket), max(bucket), array_agg(DISTINCT meter_id) AS meters FROM interval_1m"
        " WHERE computed_at > '2000-01-01'"
    )
    assert touched is not None
    # And the eight samples on either side, which a judgement may need.
    assert tuple(touched) == (from_ - timedelta(minutes=8), to + timedelta(minutes=7), [OVEN])


async def test_a_service_that_runs_does_the_work_and_the_asker_only_watches(pool: Pool) -> None:
    await store(pool, history(2))
    service = Accounting(pool, accounts(), ZONE, interval_s=0.05)
    asker = Accounting(pool, accounts(), ZONE)
    running = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(30):
            while not await pool.fetchval("SELECT count(*) FROM accounting_state"):  # noqa: ASYNC110 - the database knows
                await asyncio.sleep(0.02)
            request = await ask(pool, asker, [PRESS, OVEN], START, NOW, requested_by="a test")
            seen: set[str | None] = set()
            withdrawn = await follow(
                pool, asker, request, stop=asyncio.Event(), on_progress=lambda _, led_by: seen.add(led_by)
            )
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert withdrawn == 0
    assert service.stats.pieces_recomputed == request.pieces
    assert asker.stats.passes == 0
    assert len(seen) == 1
    assert "process" in str(seen.pop())


async def test_who_stops_withdraws_what_is_not_done_and_keeps_what_is(pool: Pool) -> None:
    await store(pool, history(2))
    accounting = Accounting(pool, accounts(), ZONE, now=lambda: NOW)
    request = await ask(pool, accounting, [PRESS], START, NOW, requested_by="a test")
    assert request.pieces == 3
    stop = asyncio.Event()

    def enough(waiting: object, _: str | None) -> None:
        if getattr(waiting, "pieces", 3) < 3:
            stop.set()

    assert await follow(pool, accounting, request, stop=stop, on_progress=enough, seen_within_s=0.0) == 2
    assert accounting.stats.pieces_recomputed == 1
    async with session(pool, "look") as connection:
        assert (await waiting_pieces(connection, request.request)).pieces == 0


async def test_what_belongs_to_a_pass_commits_with_it_or_not_at_all(pool: Pool) -> None:
    accounting = Accounting(pool, accounts(), ZONE, now=lambda: NOW)
    given: list[dict[int, set[int]]] = []

    async def note(connection: object, changed: Mapping[int, set[int]]) -> bool:
        given.append({meter_id: set(minutes) for meter_id, minutes in changed.items()})
        await connection.execute("INSERT INTO quantity (name, unit, kind) VALUES ('noted', '1', 'gauge')")  # type: ignore[attr-defined]
        if len(given) == 1:
            raise RuntimeError("it fails the first time")
        return False

    accounting.after_pass.append(note)
    await store(pool, history(1))
    with pytest.raises(RuntimeError, match="the first time"):
        await accounting.run_once()
    assert await pool.fetchval("SELECT count(*) FROM quantity WHERE name = 'noted'") == 0
    assert await pool.fetchval("SELECT count(*) FROM interval_1m") == 0
    assert not await accounting.run_once()
    assert await pool.fetchval("SELECT count(*) FROM quantity WHERE name = 'noted'") == 1
    assert given[0] == given[1]
    unknown = "SELECT count(*) FROM interval_1m LEFT JOIN accounting_version AS used ON version_id = version"
    assert await pool.fetchval(f"{unknown} WHERE used.version_id IS NULL") == 0, (
        "versions of a pass that failed are gone"
    )
    assert {meter_id: len(minutes) for meter_id, minutes in given[1].items()} == {PRESS: 60, OVEN: 60}


@pytest.mark.parametrize("count", [1, 7, 5000])
@pytest.mark.parametrize("newest_first", [True, False])
def test_pieces_cover_every_meter_and_quarter_hour_once(count: int, newest_first: bool) -> None:
    ids = list(range(count))
    of = {each: dataclasses.replace(accounts()[PRESS], meter_id=each, poll_interval_s=1.0) for each in ids}
    from_, to = START + timedelta(minutes=3), START + timedelta(hours=30, minutes=50)
    pieces = pieces_of(ids, of, from_, to, intervals=True, gauges=False, newest_first=newest_first)
    covered = sum((each.to - each.from_).total_seconds() / 900 * len(each.meter_ids or ()) for each in pieces)
    assert covered == count * 31 * 4
    assert len({(each.from_, tuple(each.meter_ids or ())) for each in pieces}) == len(pieces)
    begins = [each.from_ for each in pieces]
    assert begins == sorted(begins, reverse=newest_first)
    most = recomputing._SAMPLES_PER_PIECE
    assert all((each.to - each.from_).total_seconds() * len(each.meter_ids or ()) <= most for each in pieces)


def test_a_fingerprint_differs_with_every_rule_and_with_nothing_else() -> None:
    account = accounts()[PRESS]
    rules = account.rules
    others = [
        dataclasses.replace(account, rules=dataclasses.replace(rules, max_gap_s=301.0)),
        dataclasses.replace(account, rules=dataclasses.replace(rules, max_power_kw=None)),
        dataclasses.replace(account, rules=dataclasses.replace(rules, modulus_kwh=1e6)),
        dataclasses.replace(account, rules=dataclasses.replace(rules, count_kwh=0.1)),
        dataclasses.replace(account, has_export=True),
        dataclasses.replace(account, power_method="left_hold"),
    ]
    marks = {fingerprint(each) for each in (account, *others)}
    assert len(marks) == len(others) + 1
    assert fingerprint(account, CODE_VERSION + 1) not in marks
    same = dataclasses.replace(account, meter_id=OVEN, poll_interval_s=1.0)
    assert fingerprint(same) == fingerprint(account)
    assert rules_of(account)["rules"]["max_power_kw"] == 1000.0
