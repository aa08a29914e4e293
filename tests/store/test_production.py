"""Counts of production: appended to, never changed; the same again is nothing, another is a correction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from emsd.errors import UnknownProduct
from emsd.plant.production import AreaAllocation, IdleTime, Product, ProductCounter, Production
from emsd.store.pool import Pool
from emsd.store.production import read_production, sync_production
from emsd.store.production_counts import NewCount, OutputSum, add_counts, list_counts, read_output_sums

BEGIN = datetime(2026, 5, 4, tzinfo=UTC)
DAY = timedelta(days=1)
PANEL = Product(key="panel", name="Panel", area_m2=0.01, passes={"module": 1, "array": 12, "evaporation": 1})
TABLET = Product(key="tablet", name="Tablet", area_m2=0.04, passes={"array": 9})
COUNT = NewCount("mes-1", "panel", BEGIN, BEGIN + DAY, 1000.0, 950.0, "array")


@pytest.fixture
async def site(pool: Pool) -> Pool:
    await pool.execute("INSERT INTO site (site_id, name, time_zone, carbon_region) VALUES (1, 'Works', 'UTC', 'DE')")
    async with pool.acquire() as connection:
        await sync_production(connection, 1, Production(products=(PANEL, TABLET)))
    return pool


async def test_the_same_count_again_changes_nothing_and_another_corrects_it(site: Pool) -> None:
    second = replace(COUNT, external_id="mes-2", stage=None)
    first = await add_counts(site, 1, [COUNT, second], author="mes")
    assert (first.added, first.corrected, first.unchanged) == (2, 0, 0)
    again = await add_counts(site, 1, [COUNT, replace(second, note="said again")], author="somebody else")
    assert (again.added, again.corrected, again.unchanged) == (0, 0, 2)
    corrected = await add_counts(site, 1, [replace(COUNT, good_units=900.0), COUNT], author="li")
    assert (corrected.added, corrected.corrected, corrected.unchanged) == (0, 2, 0), (
        "there and back are two corrections"
    )
    await add_counts(site, 1, [replace(second, withdrawn=True)], author="li")
    (held,) = await list_counts(site, 1, BEGIN, BEGIN + DAY)
    assert (held.external_id, held.version, held.good_units, held.author) == ("mes-1", 3, 950.0, "li")
    every = await list_counts(site, 1, BEGIN, BEGIN + DAY, every_version=True)
    assert [(each.external_id, each.version) for each in every] == [
        ("mes-1", 1),
        ("mes-1", 2),
        ("mes-1", 3),
        ("mes-2", 1),
        ("mes-2", 2),
    ]
    assert await list_counts(site, 1, BEGIN + DAY, BEGIN + 2 * DAY) == []


async def test_a_list_with_an_unknown_product_is_refused_as_a_whole(site: Pool) -> None:
    with pytest.raises(UnknownProduct, match="there is no product 'panle'; products are: panel, tablet"):
        await add_counts(site, 1, [COUNT, replace(COUNT, external_id="x", product="panle")], author="mes")
    assert await list_counts(site, 1, BEGIN, BEGIN + DAY) == []


async def test_what_went_through_a_window_is_summed_by_product_and_stage(site: Pool) -> None:
    half = replace(COUNT, from_time=BEGIN - DAY, units=100.0, good_units=80.0, external_id="half")
    counts = [
        COUNT,
        half,  # a day of its two lies in the window
        replace(COUNT, external_id="line", stage=None, units=900.0, good_units=None),
        replace(COUNT, external_id="nothing", stage=None, units=0.0, good_units=None),
        replace(COUNT, external_id="wrong", units=7.0, good_units=7.0),
        replace(COUNT, external_id="before", from_time=BEGIN - DAY, to_time=BEGIN),
        replace(COUNT, external_id="after", from_time=BEGIN + DAY, to_time=BEGIN + 2 * DAY),
    ]
    await add_counts(site, 1, counts, author="mes")
    await add_counts(site, 1, [replace(counts[4], withdrawn=True), replace(COUNT, units=1200.0)], author="li")
    counters = (ProductCounter(asset="tool", product="tablet"), ProductCounter(asset="gone", product="tablet"))
    async with site.acquire() as connection:
        await connection.execute("INSERT INTO area (site_id, key, name) VALUES (1, 'hall', 'Hall')")
        await connection.execute(
            "INSERT INTO asset (site_id, area_id, key, name, kind) SELECT 1, area_id, 'tool', 'Tool', 'process_tool'"
            " FROM area"
        )
        await connection.execute(
            "INSERT INTO asset_15m (bucket, asset_id, pieces, pieces_coverage, good_pieces, good_pieces_coverage)"
            " SELECT bucket, asset_id, 2, 1, CASE WHEN bucket < $2 THEN 2 END, 1 FROM asset,"
            " generate_series($1::timestamptz, $1 + interval '24 hours', '15 minutes') AS bucket",
            BEGIN, BEGIN + DAY / 2,
        )  # fmt: skip
        found = await read_output_sums(connection, 1, counters, BEGIN, BEGIN + DAY)
        assert found == [
            OutputSum("panel", "array", 1200.0 + 50, 950.0 + 40),
            OutputSum("panel", None, 900.0, None),
            OutputSum("tablet", None, 192.0, None),  # of the afternoon nobody knows the good ones
        ]
        (_, _, morning) = await read_output_sums(connection, 1, counters, BEGIN, BEGIN + DAY / 2)
        assert morning == OutputSum("tablet", None, 96.0, 96.0)
        assert await read_output_sums(connection, 1, (), BEGIN + 5 * DAY, BEGIN + 6 * DAY) == []


async def test_who_sends_the_same_at_the_same_time_makes_one_version(site: Pool) -> None:
    results = await asyncio.gather(*(add_counts(site, 1, [COUNT], author=f"mes-{place}") for place in range(5)))
    assert sum(each.added for each in results) == 1
    assert sum(each.unchanged for each in results) == 4


@pytest.mark.parametrize(
    "statement", ["UPDATE production_count SET units = 0", "DELETE FROM production_count", "TRUNCATE production_count"]
)
async def test_the_ledger_takes_no_change_by_anybody(site: Pool, statement: str) -> None:
    await add_counts(site, 1, [COUNT], author="mes")
    with pytest.raises(asyncpg.RaiseError, match="only appended to"):
        await site.execute(statement)


async def test_products_keep_the_order_of_the_line_and_what_is_gone_keeps_its_history(site: Pool) -> None:
    await add_counts(site, 1, [COUNT], author="mes")
    rest = IdleTime(weekdays=("sun",), begin="02:00", end="24:00")
    rule = AreaAllocation(area="roof", by="shares", shares={"array": 0.5})
    async with site.acquire() as connection:
        await sync_production(connection, 1, Production(products=(TABLET,), allocation=(rule,), idle_times=(rest,)))
        found = await read_production(connection, 1)
        assert list(found.products["panel"].passes) == ["module", "array", "evaporation"]
        assert found.products["panel"].removed_at is not None
        assert (list(found.allocation), list(found.idle_times)) == ([rule], [rest])
        assert (rest.begin_minute, rest.end_minute) == (120, 1440)
        await sync_production(connection, 1, None)
        assert (await read_production(connection, 1)).idle_times == []
    assert len(await list_counts(site, 1, BEGIN, BEGIN + DAY)) == 1
