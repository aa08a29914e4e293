"""Which meters a ledger counts when, and what of their energy was estimated."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from emsd.energy.ledger import compute
from emsd.store.carbon import read_ledger_inputs, refresh_months
from emsd.store.carbon_meters import sync_carbon_meters
from tests.api.conftest import METER_ID
from tests.ledger.conftest import BERLIN_2026, NOW, Plant

BEGIN, END = BERLIN_2026
HOUR = timedelta(hours=1)


async def synced(plant: Plant, *statements: str) -> None:
    """Change the description, and take it up."""
    async with plant.pool.acquire() as connection, connection.transaction():
        for statement in statements:
            await connection.execute(statement)
        await sync_carbon_meters(connection, 1)


async def since(plant: Plant, at: datetime) -> None:
    """Let what was taken up have happened at an instant of the past."""
    await plant.pool.execute("UPDATE carbon_meter SET counts_from = $1 WHERE counts_from IS NOT NULL", at)
    await plant.pool.execute("UPDATE carbon_meter SET counts_to = $1 WHERE counts_to IS NOT NULL", at)


async def test_a_main_meter_that_has_left_the_plant_counts_for_the_time_in_which_it_counted(plant: Plant) -> None:
    """The incomer is removed in March, so its feeders are the top meters from then on, and only from then on."""
    march = datetime(2026, 2, 28, 23, tzinfo=UTC)
    await plant.factor(0.5)
    await synced(plant)
    await plant.fill("incomer", BEGIN, march, import_kwh=59_000.0)
    await plant.fill("fab-feeder", BEGIN, END, import_kwh=36_500.0)
    await synced(plant, f"UPDATE meter SET removed_at = now() WHERE meter_id = {METER_ID['incomer']}")
    await since(plant, march)
    inputs = await read_ledger_inputs(plant.pool, 1, date(2026, 1, 1), date(2027, 1, 1), now=NOW)
    results = compute(inputs)
    of_year = {meter.key: float(sum(each or 0 for each in meter.import_kwh)) for meter in inputs.meters}
    assert of_year["incomer"] == pytest.approx(59_000)
    assert of_year["fab-feeder"] == pytest.approx(36_500 * 306 / 365)
    by_month = [float(month.grid_import_kwh or 0) for month in results.months[:3]]
    assert by_month == pytest.approx([31_000, 28_000, 100 * 743 / 24])
    assert results.months[1].coverage == 1, "it counts for as long as it was to be measured"
    assert (results.months[2].coverage or 1) < 1, "the other feeders have no intervals"
    await synced(plant, f"UPDATE meter SET removed_at = NULL WHERE meter_id = {METER_ID['incomer']}")
    rows = await plant.pool.fetch("SELECT key, counts_from, counts_to FROM carbon_meter JOIN meter USING (meter_id)"
                                  " WHERE key = 'incomer' ORDER BY counts_from NULLS FIRST")  # fmt: skip
    assert [(row["counts_from"] is None, row["counts_to"] is None) for row in rows] == [(True, False), (False, True)]


async def test_a_meter_that_joins_brings_its_past_along_and_one_that_comes_back_counts_on(plant: Plant) -> None:
    await synced(plant, f"UPDATE meter SET removed_at = now() WHERE meter_id = {METER_ID['pv']}")
    known = "SELECT count(*) FROM carbon_meter WHERE role = 'generation'"
    assert await plant.pool.fetchval(known) == 0
    await synced(plant, "UPDATE meter SET removed_at = NULL")
    await synced(plant)
    assert await plant.pool.fetchval(known) == 1
    await synced(plant, f"UPDATE meter SET removed_at = now() WHERE meter_id = {METER_ID['pv']}")
    await synced(plant, "UPDATE meter SET removed_at = NULL")
    (row,) = await plant.pool.fetch("SELECT counts_from, counts_to FROM carbon_meter WHERE role = 'generation'")
    assert (row["counts_from"], row["counts_to"]) == (None, None)


async def test_the_ledger_rests_on_the_best_energy_and_says_of_each_line_what_was_estimated(plant: Plant) -> None:
    """Ten hours of which two have no readings at all; like days say 150 kWh for them."""
    await plant.factor(0.5)
    await plant.factor(0.6, "residual")
    await plant.fill("incomer", BEGIN, BEGIN + 8 * HOUR, import_kwh=850.0, export_kwh=0.0)
    for quarter in range(8):
        await plant.pool.execute(
            "INSERT INTO estimate_15m (bucket, meter_id, direction, energy_kwh, replaced_kwh, method, total_known,"
            " basis_days) VALUES ($1, $2, 'import', 18.75, 0, 'like_days', false, '{}')",
            BEGIN + 8 * HOUR + quarter * HOUR / 4, METER_ID["incomer"],
        )  # fmt: skip
    inputs = await read_ledger_inputs(plant.pool, 1, date(2026, 1, 1), date(2026, 1, 2), now=BEGIN + 10 * HOUR)
    total = compute(inputs).total
    assert [total.grid_import_kwh, total.estimated_import_kwh] == [1000, 150]
    assert [total.coverage, total.completeness, total.estimated_share] == [Decimal("0.8"), 1, Decimal("0.15")]
    assert [total.location_kg, total.estimated_location_kg] == [500, 75]
    assert [total.market_kg, total.estimated_market_kg] == [600, 90]
    (meter,) = [each for each in inputs.meters if each.key == "incomer"]
    assert list(meter.estimated_import_kwh) == [150]
    missing = compute(inputs).missing
    assert "electricity: 2026-01 holds 150 kWh from the grid that were estimated, 15.0 % of it" in missing
    await refresh_months(plant.pool, 1, 2026, now=BEGIN + 10 * HOUR)
    kept = await plant.pool.fetchrow("SELECT * FROM carbon_month")
    assert kept is not None
    assert (kept["estimated_import_kwh"], kept["estimated_location_kg"], kept["completeness"]) == (150, 75, 1)
