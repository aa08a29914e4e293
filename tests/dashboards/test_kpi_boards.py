"""The boards of key figures and products show what the API answers, from the same rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from prometheus_client import CollectorRegistry

from emsd.api import ApiDependencies, create_app
from emsd.store.pool import open_pool
from tests.dashboards.conftest import END, FilledDatabase
from tests.dashboards.test_queries import BOARDS, choose, fetch

WEEK = END - timedelta(days=7)


async def ask(filled: FilledDatabase, path: str, **parameters: str) -> dict[str, Any]:
    async with open_pool(filled.url, max_size=3) as pool:
        app = create_app(ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry(), now=lambda: END))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://emsd.test") as client:
            answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_key_figures_of_the_range_are_those_of_the_api(
    filled: FilledDatabase, reader: asyncpg.Connection
) -> None:
    board = BOARDS["emsd-kpi"]
    choices = await choose(reader, board)
    rows = await fetch(reader, board, board.panel("Key figures of the shown range"), choices)
    shown = {(row["Asset"], row["Key figure"]): row for row in rows}
    compared = 0
    for asset in filled.loaded.plant.assets:
        if asset.key == "weather":
            continue
        body = await ask(filled, f"/api/v1/assets/{asset.key}/kpi", **{"from": WEEK.isoformat(), "to": END.isoformat()})
        for each in body["kpis"]:
            (period,) = each["periods"]
            row = shown.pop((asset.name, each["title"]), None)
            if period["value"] is None:
                assert row is None, (asset.key, each["name"], row)
                continue
            assert row is not None, (asset.key, each["name"], period)
            assert row["Value"] == pytest.approx(period["value"], rel=1e-6), (asset.key, each["name"])
            assert row["Reference"] == each["reference"]
            compared += 1
    assert not shown
    assert compared > 30


async def test_key_figures_are_what_the_simulated_machines_did(filled: FilledDatabase) -> None:
    body = await ask(filled, "/api/v1/kpi/compressor_specific_power", **{"from": (END - timedelta(days=1)).isoformat()})
    for each in body["assets"]:
        true = filled.physics.true_energy_kwh(
            f"{each['asset']}-feeder", *(int(bound.timestamp() * 1e6) for bound in (END - timedelta(days=1), END))
        )
        assert each["coverage"] > 0.9
        assert 5 < each["value"] < 12
        assert true.import_kwh > 0
    ratio = await ask(filled, "/api/v1/kpi/pv_performance_ratio", **{"from": (END - timedelta(days=1)).isoformat()})
    assert [0.6 < each["value"] < 1.0 for each in ratio["assets"]] == [True, True], ratio["assets"]


async def test_products_of_the_range_are_those_of_the_api(filled: FilledDatabase, reader: asyncpg.Connection) -> None:
    # The board takes whole local days: from the midnight before the history until the next one after it.
    zone = filled.loaded.plant.site.zone
    midnight = END.astimezone(zone).replace(hour=0, minute=0)
    body = await ask(
        filled,
        "/api/v1/footprint",
        **{"from": (midnight - timedelta(days=1)).isoformat(), "to": (midnight + timedelta(days=1)).isoformat()},
    )
    board = BOARDS["emsd-product-footprint"]
    choices = await choose(reader, board)
    products = {row["Product"]: row for row in await fetch(reader, board, board.panel("Products"), choices)}
    assert len(products) == len(body["products"]) == 2
    for each in body["products"]:
        row = products[each["name"]]
        assert row["Energy"] == pytest.approx(each["total"]["energy_kwh"], rel=1e-6)
        assert row["CO2"] == pytest.approx(each["total"]["kg_co2"], rel=1e-6)
        assert row["Good units"] == pytest.approx(each["good_units"])
        assert row["CO2 per m2"] == pytest.approx(each["per_m2"]["kg_co2"], rel=1e-6)
    stages = await fetch(reader, board, board.panel("Stages of products"), choices)
    assert {(row["Product"], row["Stage"]) for row in stages} == {
        (each["name"], stage["stage"]) for each in body["products"] for stage in each["stages"]
    }
    areas = {row["Area"]: row for row in await fetch(reader, board, board.panel("Shared areas"), choices)}
    for each in body["shared"]:
        assert areas[each["area"]]["Energy"] == pytest.approx(each["energy_kwh"], rel=1e-6, abs=1e-6)
        assert areas[each["area"]]["Spread by"] == each["key"]
    # Everything that flowed in from the grid and the sun has found its product.
    assert body["total"]["energy_kwh"] == pytest.approx(body["allocated"]["energy_kwh"])
