"""Products over HTTP: counts are written with a token, and energy and emissions add up to what the site used."""

from __future__ import annotations

import csv
import dataclasses
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from emsd.api.area_uses import area_uses
from emsd.energy.carbon import CarbonFactor
from emsd.energy.ledger.activities import Activity
from emsd.plant.production import AreaAllocation, Product, ProductCounter, Production
from emsd.store.activities import add_activities
from emsd.store.plant_view import read_plant_view
from emsd.store.production import sync_production
from emsd.store.production_counts import NewCount, add_counts
from emsd.store.tokens import create_token
from tests.api.conftest import Factory, OpenClient

BEGIN = datetime(2026, 3, 27, 23, tzinfo=UTC)  # midnight in Berlin
CHANGE = BEGIN + timedelta(days=1)
END = BEGIN + timedelta(days=2, hours=-1)  # the 29th has 23 hours
NOW = END + timedelta(hours=1)
HOURS = 47
PRODUCTS = (
    Product(key="small", name="Small", area_m2=0.01, passes={"etch": 12}),
    Product(key="large", name="Large", area_m2=0.5, passes={"etch": 6}),
)
# kW of each meter; what the areas use themselves is below.
POWER = {"incomer": 1000, "fab-feeder": 600, "tool-1": 200, "tool-2": 100, "compressor-feeder": 150}
OWN = {"etch": 300, "fab": 300, "utility": 150, "plant": 1000 - 600 - 150 + 50}


async def fill(factory: Factory, *rules: AreaAllocation) -> None:
    for key, kw in POWER.items():
        await factory.fill(key, BEGIN, END, imported=kw / 60)
    await factory.fill("pv", BEGIN, END, exported=50 / 60)
    await factory.account()
    await factory.add_factor(0.5, BEGIN - timedelta(days=90), CHANGE)
    await factory.add_factor(0.4, CHANGE)
    async with factory.pool.acquire() as connection:
        await sync_production(connection, 1, Production(products=PRODUCTS, allocation=rules))


async def count(factory: Factory) -> None:
    counts = (
        NewCount("1", "small", BEGIN, END, 10_000, 9_000),
        NewCount("2", "large", BEGIN, END, 100, 80, "etch"),
        NewCount("3", "large", BEGIN - timedelta(hours=47), END, 20, 10, "etch"),  # half of it lies before
    )
    await add_counts(factory.pool, 1, counts, author="mes")


def window(**more: str) -> dict[str, str]:
    return {"from": BEGIN.isoformat(), "to": END.isoformat()} | more


async def test_products_and_what_none_bears_are_what_the_site_used(factory: Factory, open_client: OpenClient) -> None:
    await fill(factory, AreaAllocation(area="utility", by="none"))
    await count(factory)
    body = (await open_client(NOW).get("/api/v1/footprint", params=window())).json()
    # Grid and sun: 1,050 kW for 47 hours, at 0.5 kg on the first day and 0.4 on the second, of 23 hours.
    assert body["total"]["energy_kwh"] == pytest.approx(1050 * HOURS)
    assert body["total"]["kg_co2"] == pytest.approx(1050 * (24 * 0.5 + 23 * 0.4))
    assert body["allocated"]["energy_kwh"] == pytest.approx((1050 - OWN["utility"]) * HOURS)
    assert (body["coverage"], body["carbon_coverage"], body["estimated_kwh"]) == (pytest.approx(1), pytest.approx(1), 0)
    (left,) = body["unallocated"]
    assert (left["what"], left["energy_kwh"]) == ("area utility", pytest.approx(150 * HOURS))
    assert {each["area"]: each["key"] for each in body["shared"]} == {
        "fab": "stage_energy",
        "plant": "stage_energy",
        "utility": "none",
    }
    small, large = body["products"]
    weight = {"small": 10_000 * 0.01 * 12, "large": 110 * 0.5 * 6}
    burden = (1050 - OWN["utility"]) * HOURS
    assert small["total"]["energy_kwh"] == pytest.approx(burden * weight["small"] / sum(weight.values()))
    assert small["per_unit"]["energy_kwh"] == pytest.approx(small["total"]["energy_kwh"] / 9_000)
    assert large["good_units"] == pytest.approx(85)
    assert large["per_m2"]["energy_kwh"] == pytest.approx(large["total"]["energy_kwh"] / 42.5)
    assert [each["stage"] for each in large["stages"]] == ["etch"]
    # What left the line goes before what left a stage.
    await add_counts(factory.pool, 1, [NewCount("4", "large", BEGIN, END, 90, 70)], author="mes")
    again = (await open_client(NOW).get("/api/v1/footprint", params=window())).json()["products"][1]
    assert (again["good_units"], again["stages"]) == (70, large["stages"])
    assert sum(each["total"]["energy_kwh"] for each in body["products"]) == pytest.approx(burden)


@pytest.mark.parametrize("silent", [("fab-feeder",), ("incomer",), ("incomer", "fab-feeder"), ("tool-1",), ("pv",)])
async def test_a_meter_that_says_nothing_moves_no_energy_and_counts_none_twice(
    factory: Factory, silent: tuple[str, ...]
) -> None:
    await fill(factory)
    for key in silent:
        await factory.execute(
            "DELETE FROM interval_1d USING meter"
            " WHERE meter.meter_id = interval_1d.meter_id AND key = $1 AND bucket < $2",
            key, CHANGE,
        )  # fmt: skip
    plant = await read_plant_view(factory.pool, 1)
    factors = [CarbonFactor("DE", "location", BEGIN, None, 0.5, "a test")]
    async with factory.pool.acquire() as connection:
        uses = await area_uses(connection, plant, factors, BEGIN, CHANGE)
    kw = {area: use.kwh / 24 for area, use in uses.items()}
    flowed = POWER | {"pv": -50} | dict.fromkeys(silent, 0)
    if "fab-feeder" in silent:
        flowed["fab-feeder"] = flowed["tool-1"] + flowed["tool-2"]
    assert (kw["bay"], kw["line"], kw["utility"]) == pytest.approx((flowed["tool-1"], flowed["tool-2"], 150))
    assert kw["fab"] == pytest.approx(flowed["fab-feeder"] - kw["bay"] - kw["line"])
    incomer = 0 if "incomer" in silent else 1000 - flowed["fab-feeder"] - 150 - flowed["pv"]
    assert kw["plant"] == pytest.approx(incomer)


async def test_areas_add_up_alike_in_however_many_parts_they_are_read(factory: Factory) -> None:
    await fill(factory)
    plant = await read_plant_view(factory.pool, 1)
    hours = [BEGIN + number * timedelta(hours=1) for number in range(HOURS)]
    by_hour = [
        CarbonFactor("DE", "location", begin, begin + timedelta(hours=1), 0.3 + number / 100, "a test")
        for number, begin in enumerate(hours)
    ]
    whole = [CarbonFactor("DE", "location", BEGIN, None, 0.5, "a test")]
    for factors in (by_hour, whole):
        async with factory.pool.acquire() as connection:
            at_once, in_parts = [
                await area_uses(connection, plant, factors, BEGIN, END, buckets_at_once=most) for most in (10**9, 1)
            ]
        assert sum(each.kwh for each in at_once.values()) == pytest.approx(1050 * HOURS)
        assert list(in_parts) == list(at_once)
        for area, use in at_once.items():
            assert dataclasses.astuple(in_parts[area]) == pytest.approx(dataclasses.astuple(use))
            assert use.kg_co2 == pytest.approx(
                use.kwh / HOURS * sum(each.kg_per_kwh for each in by_hour) if factors is by_hour else use.kwh / 2
            )


async def test_a_piece_counter_counts_for_its_product(factory: Factory, open_client: OpenClient) -> None:
    await fill(factory)
    counters = (ProductCounter(asset="etcher-1", product="small", stage="etch"),)
    async with factory.pool.acquire() as connection:
        await sync_production(connection, 1, Production(products=PRODUCTS, counters=counters))
    await factory.execute(
        "INSERT INTO asset_15m (bucket, asset_id, pieces, pieces_coverage, good_pieces, good_pieces_coverage)"
        " SELECT bucket, (SELECT asset_id FROM asset WHERE key = 'etcher-1'), 10, 1, 9, 1"
        " FROM generate_series($1::timestamptz, $2::timestamptz, '15 minutes') AS bucket",
        BEGIN,
        END,
    )
    body = (await open_client(NOW).get("/api/v1/footprint", params=window())).json()
    small, large = body["products"]
    assert small["stages"][0]["units"] == pytest.approx(HOURS * 40)
    assert small["good_units"] == pytest.approx(HOURS * 36)
    assert small["total"]["energy_kwh"] == pytest.approx(1050 * HOURS)
    assert (large["good_units"], large["total"]["energy_kwh"]) == (None, 0)


async def test_the_same_as_a_table_by_parameter_or_by_header(factory: Factory, open_client: OpenClient) -> None:
    await fill(factory)
    await count(factory)
    client = open_client(NOW)
    by_parameter = await client.get("/api/v1/footprint", params=window(format="csv"))
    by_header = await client.get("/api/v1/footprint", params=window(), headers={"Accept": "text/csv"})
    assert by_parameter.text == by_header.text
    assert by_parameter.headers["content-disposition"].endswith('20260329T220000Z.csv"')
    rows = list(csv.DictReader(io.StringIO(by_parameter.text)))
    assert [row["product"] for row in rows] == ["small", "large"]
    assert sum(float(row["energy_kwh"]) for row in rows) == pytest.approx(1050 * HOURS)
    assert float(rows[0]["kwh_per_unit"]) == pytest.approx(float(rows[0]["energy_kwh"]) / 9_000)


async def test_scrap_is_borne_by_the_good_units_and_without_them_there_is_no_figure_of_a_unit(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill(factory)
    client = open_client(NOW)
    burden = 1050 * HOURS
    counts = (NewCount("1", "small", BEGIN, END, 1000, 500), NewCount("2", "large", BEGIN, END, 10, 0))
    await add_counts(factory.pool, 1, counts, author="mes")
    body = (await client.get("/api/v1/footprint", params=window())).json()
    small, large = body["products"]
    weight = {"small": 1000 * 0.01 * 12, "large": 10 * 0.5 * 6}
    assert large["total"]["energy_kwh"] == pytest.approx(burden * weight["large"] / sum(weight.values()))
    assert (large["good_units"], large["per_unit"], large["per_m2"]) == (0, None, None), "all of it is scrap"
    assert small["per_unit"]["energy_kwh"] == pytest.approx(small["total"]["energy_kwh"] / 500)
    # Half of the line's units of which nobody knows how many are good: no yield of what is known.
    more = (NewCount("3", "small", BEGIN, END, 1000), NewCount("2", "large", BEGIN, END, 0, 0))
    await add_counts(factory.pool, 1, more, author="mes")
    body = (await client.get("/api/v1/footprint", params=window())).json()
    small, large = body["products"]
    assert (small["good_units"], small["per_unit"]) == (None, None)
    assert (small["total"]["energy_kwh"], large["total"]["energy_kwh"]) == (pytest.approx(burden), 0)
    assert body["total"]["energy_kwh"] == pytest.approx(burden)


async def test_counts_of_a_stage_that_is_gone_are_named_and_the_energy_stays(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill(factory)
    await add_counts(factory.pool, 1, (NewCount("1", "small", BEGIN, END, 1000, 900, "etch"),), author="mes")
    renamed = (Product(key="small", name="Small", area_m2=0.01, passes={"etching": 12}), PRODUCTS[1])
    async with factory.pool.acquire() as connection:
        await sync_production(connection, 1, Production(products=renamed))
    body = (await open_client(NOW).get("/api/v1/footprint", params=window())).json()
    assert body["unused_counts"] == [{"product": "small", "stage": "etch", "units": 1000.0}]
    assert body["allocated"]["energy_kwh"] == 0
    assert body["total"]["energy_kwh"] == pytest.approx(1050 * HOURS)


async def test_without_a_factor_emissions_are_unknown_and_not_nothing(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill(factory)
    await count(factory)
    await factory.execute("DELETE FROM carbon_factor")
    client = open_client(NOW)
    body = (await client.get("/api/v1/footprint", params=window())).json()
    assert (body["carbon_coverage"], body["total"]["kg_co2"], body["total"]["total_kg_co2e"]) == (0, None, None)
    assert body["products"][0]["per_m2"]["kg_co2"] is None
    assert body["products"][0]["per_m2"]["energy_kwh"] > 0
    rows = list(csv.DictReader(io.StringIO((await client.get("/api/v1/footprint", params=window(format="csv"))).text)))
    assert [(row["kg_co2"], row["kg_co2e_per_unit"]) for row in rows] == [("", "")] * 2
    assert all(float(row["kwh_per_unit"]) > 0 for row in rows)


async def test_without_products_nothing_is_lost_and_a_bound_within_a_quarter_hour_is_refused(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill(factory)
    client = open_client(NOW)
    body = (await client.get("/api/v1/footprint", params=window())).json()
    assert body["allocated"]["energy_kwh"] == 0
    assert sum(each["energy_kwh"] for each in body["unallocated"]) == pytest.approx(1050 * HOURS)
    refused = await client.get("/api/v1/footprint", params=window() | {"to": "2026-03-29T10:10:00Z"})
    assert refused.status_code == 422
    assert "is no full quarter hour" in refused.json()["detail"]


async def test_direct_emissions_of_an_asset_belong_to_its_stage(factory: Factory, open_client: OpenClient) -> None:
    await fill(factory)
    await count(factory)
    activity = Activity(
        reference="gas-1",
        version=1,
        kind="release",
        substance="SF6",
        period_from=BEGIN - timedelta(hours=47),
        period_to=END,
        asset="etcher-1",
        amount=Decimal(2),
        unit="kg",
        document="a bottle",
        author="a test",
    )
    await add_activities(factory.pool, 1, [activity])
    body = (await open_client(NOW).get("/api/v1/footprint", params=window())).json()
    # SF6, GWP100 of AR5: 23,500; one of the two kilograms falls into the window.
    assert body["allocated"]["direct_kg_co2e"] == pytest.approx(23_500)
    assert body["products"][0]["total"]["total_kg_co2e"] > body["products"][0]["total"]["kg_co2"]


def entry(**more: Any) -> dict[str, Any]:
    given = {"external_id": "mes-1", "product": "small", "from": BEGIN.isoformat(), "to": END.isoformat(), "units": 5}
    return given | more


async def test_counts_are_written_with_a_token_and_read_again(factory: Factory, open_client: OpenClient) -> None:
    await fill(factory)
    client = open_client(NOW)
    path = "/api/v1/production/counts"
    assert (await client.post(path, json={"counts": [entry()]})).status_code == 401
    headers = {"Authorization": f"Bearer {await create_token(factory.pool, 'mes')}"}
    written = await client.post(
        path, json={"counts": [entry(), entry(external_id="mes-2", stage="etch")]}, headers=headers
    )
    assert written.json() == {"added": 2, "corrected": 0, "unchanged": 0}
    again = await client.post(path, json={"counts": [entry(good_units=4)]}, headers=headers)
    assert again.json() == {"added": 0, "corrected": 1, "unchanged": 0}
    answer = (await client.get(path, params=window())).json()
    counts = answer["counts"]
    assert answer["more"] is False
    assert [(each["external_id"], each["version"], each["author"], each["good_units"]) for each in counts] == [
        ("mes-1", 2, "mes", 4.0),
        ("mes-2", 1, "mes", None),
    ]
    every = (await client.get(path, params=window(every_version="true"))).json()["counts"]
    assert len(every) == 3
    for wrong, words in (
        (entry(product="smal"), "there is no product 'smal'; products are: large, small"),
        (entry(good_units=6), "more good units than units"),
        (entry(to=BEGIN.isoformat()), "from is not before to"),
        (entry(stage="etsch"), "small does not pass a stage 'etsch'; it passes: etch"),
    ):
        refused = await client.post(path, json={"counts": [wrong]}, headers=headers)
        assert refused.status_code == 422
        assert words in refused.json()["detail"]
    products = (await client.get("/api/v1/production/products")).json()["products"]
    assert [(each["product"], each["passes"]) for each in products] == [("small", {"etch": 12}), ("large", {"etch": 6})]
