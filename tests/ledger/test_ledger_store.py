"""What the database keeps of the carbon ledger, and what it refuses whoever asks."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from emsd.energy.factors import HourlyFactor
from emsd.energy.ledger import compute
from emsd.errors import LedgerRefused, StoreError, UnknownEntry
from emsd.signing import SigningKey
from emsd.statements import Wanted, changes_between, changes_since, check_statement, create_statement
from emsd.store.activities import add_activities, list_activities
from emsd.store.carbon import read_ledger_inputs, refresh_months, site_numbered
from emsd.store.carbon_factors import FactorFile, import_hours, list_imports
from emsd.store.certificate_journal import add_event
from emsd.store.certificates import add_instrument
from emsd.store.statements import list_statements, statement_numbered
from tests.api.conftest import REGION
from tests.ledger.conftest import BERLIN_2026, NOW, Plant
from tests.ledger.entries import certificate, nf3, retirement

BEGIN, END = BERLIN_2026
HOUR = timedelta(hours=1)


# ---------------------------------------------------------------------------------------------- factors


async def test_hourly_factors_are_versions_and_the_same_file_twice_is_one(plant: Plant) -> None:
    def file(*kg: str, name: str = "hours.csv") -> FactorFile:
        hours = [HourlyFactor(BEGIN + n * HOUR, BEGIN + (n + 1) * HOUR, Decimal(each), "grid operator")
                 for n, each in enumerate(kg)]  # fmt: skip
        digest = hashlib.sha256(",".join(kg).encode()).hexdigest()
        return FactorFile(REGION, "location", name, digest, "l.wei", hours)

    assert await import_hours(plant.pool, file("0.9", "0.8")) == (1, True)
    assert await import_hours(plant.pool, file("0.9", "0.8")) == (1, False)
    await plant.fill("incomer", BEGIN, BEGIN + 4 * HOUR, import_kwh=400.0)
    await plant.factor(0.5)
    before = await read_ledger_inputs(plant.pool, 1, date(2026, 1, 1), date(2026, 1, 2), now=NOW)
    assert compute(before).total.location_kg == 270
    assert await import_hours(plant.pool, file("0.7")) == (2, True)
    after = await read_ledger_inputs(plant.pool, 1, date(2026, 1, 1), date(2026, 1, 2), now=NOW)
    assert compute(after).total.location_kg == 250
    assert compute(before).total.location_kg == 270, "what was frozen goes by what was known"
    assert [(row.version, row.hours) for row in await list_imports(plant.pool)] == [(1, 2), (2, 1)]


@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_nothing_that_was_entered_can_be_changed_or_deleted(
    plant: Plant, key: SigningKey, statement: str
) -> None:
    await import_hours(
        plant.pool,
        FactorFile(REGION, "location", "a.csv", "0", "l.wei", [HourlyFactor(BEGIN, BEGIN + HOUR, Decimal(1), "a")]),
    )
    number = await add_instrument(plant.pool, 1, certificate())
    await add_event(plant.pool, 1, retirement(number, "1"))
    await add_activities(plant.pool, 1, [nf3()])
    await create_statement(plant.pool, key, Wanted(1, date(2026, 1, 1), date(2026, 2, 1), "l.wei"), now=NOW)
    for table, column in (
        ("carbon_factor_import", "author"), ("carbon_factor_hour", "source"), ("carbon_instrument", "note"),
        ("carbon_instrument_event", "note"), ("carbon_activity", "note"), ("carbon_statement", "author"),
    ):  # fmt: skip
        with pytest.raises(asyncpg.RaiseError, match="is only appended to"):
            await plant.pool.execute(statement.format(table, column, column))


# ------------------------------------------------------------------------------------------- activities


async def test_an_activity_is_entered_once_and_replaced_only_on_purpose(plant: Plant) -> None:
    assert await add_activities(plant.pool, 1, [nf3(), nf3(reference="B")]) == ["added", "added"]
    assert await add_activities(plant.pool, 1, [nf3("1000.0", author="somebody else")]) == ["unchanged"]
    with pytest.raises(LedgerRefused, match="NF3-2026 is in the ledger already, with another content"):
        await add_activities(plant.pool, 1, [nf3("900", reference="C"), nf3("900")])
    assert await add_activities(plant.pool, 1, [nf3("900")], replace=True) == ["replaced"]
    assert await add_activities(plant.pool, 1, [nf3(reference="B", is_void=True)], replace=True) == ["replaced"]
    rows = await list_activities(plant.pool, 1, all_versions=True)
    assert [(row.activity.reference, row.activity.version, row.in_force) for row in rows] == [
        ("B", 2, True), ("B", 1, False), ("NF3-2026", 2, True), ("NF3-2026", 1, False),
    ]  # fmt: skip
    inputs = await read_ledger_inputs(plant.pool, 1, date(2026, 1, 1), date(2027, 1, 1), now=NOW)
    assert compute(inputs).total.scope1_kg == Decimal(391230), "900 kg of 1,000: 0.9 x 434.7 t"
    assert rows[2].kg_co2e == {"AR4": 417960, "AR5": 391230, "AR6": 422820}
    of_asset = nf3("9", reference="E", kind="release", process=None, area=None, asset="etcher-1")
    await add_activities(plant.pool, 1, [of_asset])
    by_area = compute(await read_ledger_inputs(plant.pool, 1, date(2026, 1, 1), date(2027, 1, 1), now=NOW))
    assert {each.area for each in by_area.scope1_by_area} == {"fab", "bay"}, "what was entered for an asset"
    with pytest.raises(UnknownEntry, match="no area 'attic'"):
        await add_activities(plant.pool, 1, [nf3(reference="D", area="attic")])


# ------------------------------------------------------------------------------------------- statements


async def test_golden_a_year_of_the_case_study_stated_checked_and_restated(plant: Plant, key: SigningKey) -> None:
    """31.7 MWp yield 5.8 GWh, used on site; 32.63 GWh of load; China's factor of 2022, 0.5366 kg/kWh."""
    await plant.fill("incomer", BEGIN, END, import_kwh=26.83e6, export_kwh=0.0)
    await plant.fill("pv", BEGIN, END, export_kwh=5.8e6)
    await plant.factor(0.5366)
    await plant.factor(0.5856, "residual")
    number = await add_instrument(plant.pool, 1, certificate(mwh="1000"))
    await add_event(plant.pool, 1, retirement(number, "1000"))
    await add_activities(plant.pool, 1, [nf3(abated_share="1")])
    wanted = Wanted(1, date(2026, 1, 1), date(2027, 1, 1), "l.wei")
    with pytest.raises(LedgerRefused, match="is not over"):
        await create_statement(plant.pool, key, wanted, now=END - HOUR)
    first = await create_statement(plant.pool, key, wanted, now=NOW)
    row = await statement_numbered(plant.pool, 1, first)
    total = row.content().results.total
    assert float(total.avoided_kg or 0) / 1000 == pytest.approx(3_112.28, rel=1e-9)
    assert float(total.location_kg or 0) / 1000 == pytest.approx(26_830 * 0.5366, rel=1e-9)
    assert float(total.market_kg or 0) / 1000 == pytest.approx(25_830 * 0.5856, rel=1e-9)
    assert float(total.load_kwh or 0) * 0.5366 / 1e3 == pytest.approx(17_509.258, rel=1e-9)
    assert total.scope1_kg == 21_735
    assert [total.coverage, len(row.content().results.months)] == [1, 12]
    assert (await check_statement(row, await list_statements(plant.pool, 1))).problems == ()
    assert await changes_since(plant.pool, row, now=NOW + HOUR) == []

    with pytest.raises(LedgerRefused, match="--restates"):
        await create_statement(plant.pool, key, wanted, now=NOW)
    await plant.factor(0.5306, version=2, source="the ministry, revised")
    await add_activities(plant.pool, 1, [nf3("900", abated_share="1")], replace=True)
    changes = await changes_since(plant.pool, row, now=NOW)
    assert "activity NF3-2026 activity amount" in {change.what for change in changes}
    assert ("total scope1_kg", "21735", "19561.5") in changes
    assert (await check_statement(row, await list_statements(plant.pool, 1))).holds, "what was stated stays so"

    again = Wanted(1, date(2026, 1, 1), date(2027, 1, 1), "l.wei", restates=first, reason="factor revised")
    second = await statement_numbered(plant.pool, 1, await create_statement(plant.pool, key, again, now=NOW + HOUR))
    assert (second.restates, second.previous_sha256) == (first, row.sha256)
    assert {change.what for change in changes_between(row, second)} == {change.what for change in changes}
    with pytest.raises(LedgerRefused, match="restated before"):
        await create_statement(plant.pool, key, again, now=NOW + HOUR)
    with pytest.raises(LedgerRefused, match="needs its reason"):
        await create_statement(plant.pool, key, Wanted(1, date(2026, 1, 1), date(2027, 1, 1), "x", 1), now=NOW)
    assert [each.restated_by for each in await list_statements(plant.pool, 1)] == [second.statement_id, None]


async def test_whoever_breaks_into_the_database_is_seen(plant: Plant, key: SigningKey) -> None:
    """The tables' owner can switch triggers off; then digest, signature, recomputation and chain tell."""
    for month in (1, 2, 3):
        wanted = Wanted(1, date(2026, month, 1), date(2026, month + 1, 1), "l.wei")
        await create_statement(plant.pool, key, wanted, now=NOW)

    async def problems() -> list[str]:
        rows = await list_statements(plant.pool, 1)
        return [problem for row in rows for problem in (await check_statement(row, rows)).problems]

    assert await problems() == []
    await plant.pool.execute(
        "ALTER TABLE carbon_statement DISABLE TRIGGER USER, DROP CONSTRAINT carbon_statement_digest,"
        " DROP CONSTRAINT carbon_statement_previous_sha256_fkey"
    )
    await plant.pool.execute(
        "UPDATE carbon_statement SET document = replace(document, 'l.wei', 'm.wei') WHERE statement_id = 3"
    )
    assert await problems() == [
        "its document is not the one that was hashed", "its signature is not that of its document",
    ]  # fmt: skip
    await plant.pool.execute("DELETE FROM carbon_statement WHERE statement_id = 2")
    assert any("before it" in each for each in await problems())


async def test_two_statements_at_once_do_not_fork_the_chain(plant: Plant, key: SigningKey) -> None:
    made = await asyncio.gather(
        *(create_statement(plant.pool, key, Wanted(1, date(2026, month, 1), date(2026, month + 1, 1), "l.wei"), now=NOW)
          for month in (1, 2, 3, 4)), return_exceptions=True,
    )  # fmt: skip
    assert any(isinstance(each, int) for each in made)
    refused = [each for each in made if not isinstance(each, int)]
    assert all(isinstance(each, LedgerRefused) and "meanwhile" in str(each) for each in refused), refused
    rows = await list_statements(plant.pool, 1)
    assert [row.previous_sha256 for row in rows] == [None, *(row.sha256 for row in rows[:-1])]


# --------------------------------------------------------------------------------------------- months


async def test_months_are_kept_as_the_ledger_of_the_year_says_and_follow_what_changes(plant: Plant) -> None:
    march, april = datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC)
    await plant.fill("incomer", march, april, import_kwh=743_000.0)  # 743 hours: the change to summer time
    await plant.factor(0.5)
    now = datetime(2026, 4, 10, 7, 52, tzinfo=UTC)
    results = await refresh_months(plant.pool, 1, 2026, now=now)
    rows = await plant.pool.fetch("SELECT * FROM carbon_month ORDER BY month")
    assert [row["month"].month for row in rows] == [1, 2, 3, 4]
    assert (rows[2]["begins_at"], rows[2]["ends_at"], rows[2]["coverage"]) == (march, april, 1.0)
    assert rows[2]["location_kg"] == pytest.approx(371_500)
    assert rows[2]["location_kg"] == float(results.months[2].location_kg or 0)
    assert rows[0]["location_kg"] is None
    assert rows[3]["ends_at"] == datetime(2026, 4, 10, 7, 45, tzinfo=UTC)
    assert rows[0]["missing"][0] == "electricity: 2026-01 is measured 0.0 % of the time"
    await plant.factor(0.4, version=2)
    await refresh_months(plant.pool, 1, 2026, now=now)
    assert await plant.pool.fetchval("SELECT location_kg FROM carbon_month WHERE month = '2026-03-01'") == (
        pytest.approx(297_200)
    )
    with pytest.raises(LedgerRefused, match="has not begun"):
        await refresh_months(plant.pool, 1, 2027, now=now)


async def test_what_retention_has_dropped_is_refused_and_never_taken_as_missing(plant: Plant, key: SigningKey) -> None:
    await plant.fill("incomer", BEGIN, END, import_kwh=8760.0)
    await plant.factor(0.5)
    number = await create_statement(plant.pool, key, Wanted(1, date(2026, 1, 1), date(2027, 1, 1), "l.wei"), now=NOW)
    await refresh_months(plant.pool, 1, 2026, now=NOW)
    # Until the middle of May.
    dropped = datetime(2026, 5, 14, tzinfo=UTC)
    await plant.pool.execute("DELETE FROM interval_15m WHERE bucket < $1", dropped)
    await plant.pool.execute("INSERT INTO retention_horizon (tier, kept_from) VALUES ('15m', $1)", dropped)
    with pytest.raises(LedgerRefused, match=r"before 2026-05-14T02:00:00\+02:00 have been dropped"):
        await read_ledger_inputs(plant.pool, 1, date(2026, 5, 1), date(2026, 6, 1), now=NOW)
    await plant.factor(0.25, version=2)
    await refresh_months(plant.pool, 1, 2026, now=NOW)
    kept = [row["location_kg"] for row in await plant.pool.fetch("SELECT location_kg FROM carbon_month ORDER BY month")]
    assert kept[4:6] == pytest.approx([744 * 0.5, 720 * 0.25]), "May stays as it was, June follows"
    row = await statement_numbered(plant.pool, 1, number)
    (change,) = await changes_since(plant.pool, row, now=NOW)
    assert "cannot be read any more" in (change.after or "")
    assert (await check_statement(row, [row])).holds


async def test_the_only_site_need_not_be_named(plant: Plant) -> None:
    assert await site_numbered(plant.pool, None) == 1
    with pytest.raises(LedgerRefused, match="knows the sites 1"):
        await site_numbered(plant.pool, 7)
    with pytest.raises(StoreError, match="knows no site"):
        await read_ledger_inputs(plant.pool, 7, date(2026, 1, 1), date(2026, 2, 1), now=NOW)
