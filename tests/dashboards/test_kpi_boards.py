"""The boards of key figures and products show what the API answers, from the same rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import numpy as np
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


async def test_a_machine_that_stands_still_is_left_out_by_the_board_as_by_the_api(
    filled: FilledDatabase, owner: asyncpg.Connection, reader: asyncpg.Connection
) -> None:
    board = BOARDS["emsd-kpi"]
    asked = {"from": WEEK.isoformat(), "to": END.isoformat()}
    before = {
        each["asset"]: each["value"] for each in (await ask(filled, "/api/v1/kpi/chiller_cop", **asked))["assets"]
    }
    standstill = "UPDATE kpi_fact SET value = value * $1 WHERE name = 'standstill_kw'"
    try:
        await owner.execute(standstill, 50.0)  # the quarter hours in which less than half is drawn
        compared = (await ask(filled, "/api/v1/kpi/chiller_cop", **asked))["assets"]
        rows = await fetch(reader, board, board.panel("Key figures of the shown range"), await choose(reader, board))
    finally:
        await owner.execute(standstill, 1 / 50)
    shown = {row["Asset"]: row["Value"] for row in rows if row["Key figure"] == "Coefficient of performance"}
    changed = [each for each in compared if each["value"] != pytest.approx(before[each["asset"]], rel=1e-4)]
    assert changed, "some are left out"
    told = {each["name"]: pytest.approx(each["value"], rel=1e-6) for each in compared if each["value"] is not None}
    assert shown == told


async def test_key_figures_are_what_the_simulated_machines_did(filled: FilledDatabase) -> None:
    physics, day = filled.physics, END - timedelta(days=1)
    span = int(day.timestamp() * 1e6), int(END.timestamp() * 1e6)

    async def found(kpi: str) -> dict[str, float]:
        body = await ask(filled, f"/api/v1/kpi/{kpi}", **{"from": day.isoformat()})
        assert all(each["coverage"] > 0.9 for each in body["assets"]), body["assets"]
        return {each["asset"]: each["value"] for each in body["assets"]}

    def flowed(asset: str) -> float:
        """Cold that a chiller took out of its water [kWh]."""
        term = physics.topology.assets[asset].heat
        total = physics.tables.integral(np.array([term.row]), np.array(span, dtype=np.int64)).positive * term.factor
        return float(total[1] - total[0])

    for asset, cop in (await found("chiller_cop")).items():
        assert cop == pytest.approx(
            flowed(asset) / physics.true_energy_kwh(f"{asset}-feeder", *span).import_kwh, rel=2e-3
        )
        assert 4 < cop < 8
    per_ton = await found("chiller_kw_per_rt")
    assert per_ton == {each: pytest.approx(3.516853 / value) for each, value in (await found("chiller_cop")).items()}
    for asset, value in (await found("compressor_specific_power")).items():
        true_kwh = physics.true_energy_kwh(f"{asset}-feeder", *span).import_kwh
        term, rated_kw = physics.topology.assets[asset].load, physics.topology.assets[asset].rated_kw
        loaded = physics.tables.integral(np.array([term.row]), np.array(span, dtype=np.int64)).positive * term.factor
        # 6.6 kW for each m3/min of free air under load, of which 0.9317 are normal cubic metres.
        air_nm3 = float(loaded[1] - loaded[0]) * rated_kw / 6.6 * 60 * 0.9317
        assert value == pytest.approx(true_kwh * 60 / air_nm3, rel=2e-3)
    times = np.arange(span[0], span[1], 10_000_000, dtype=np.int64)
    sky = physics.quantity_series("weather-array", times)
    light, warm = np.maximum(sky["irradiance_poa_w_m2"], 0), sky["module_temperature_c"]
    kwh_m2 = float(np.sum(light)) / 360 / 1000
    corrected = float(np.sum(light * (1 - 0.0035 * (warm - 25)))) / 360 / 1000
    for kpi, sun in (("pv_performance_ratio", kwh_m2), ("pv_performance_ratio_t25", corrected)):
        for asset, value in (await found(kpi)).items():
            given_kwh = physics.true_energy_kwh(f"{asset}-inverter", *span).export_kwh
            assert value == pytest.approx(given_kwh / 600 / sun, rel=1e-2), (kpi, asset)
            assert 0.6 < value < 1.0
    for asset, value in (await found("piece_yield")).items():
        assert value == pytest.approx(97.0, abs=0.3), asset
    work = physics.topology.assets["process-tools"].work
    worked = physics.tables.integral(np.array([work.row]), np.array(span, dtype=np.int64)).positive * work.factor
    used_kwh = physics.true_energy_kwh("tools-feeder", *span).import_kwh
    # A piece takes 20 kW for an hour of a tool that has lots.
    expected = used_kwh / (float(worked[1] - worked[0]) / 20)
    assert await found("energy_per_piece") == {"process-tools": pytest.approx(expected, rel=5e-3)}


@pytest.mark.parametrize("silent", [None, "cleanroom-feeder"])
async def test_products_of_the_range_are_those_of_the_api(
    filled: FilledDatabase, owner: asyncpg.Connection, reader: asyncpg.Connection, silent: str | None
) -> None:
    """What the feeder of the cleanroom did not say is what the meters below it counted."""
    kept = "SELECT bucket, meter_id, energy_import_kwh FROM interval_1d WHERE meter_id = $1"
    rows = await owner.fetch(kept, filled.meter_ids.get(silent or "", 0))
    say = "UPDATE interval_1d SET energy_import_kwh = $3 WHERE bucket = $1 AND meter_id = $2"
    try:
        await owner.executemany(say, [(row["bucket"], row["meter_id"], None) for row in rows])
        await owner.execute(
            "UPDATE interval_1d SET energy_export_kwh = NULL WHERE meter_id = $1", filled.meter_ids.get(silent or "", 0)
        )
        await compare_products(filled, reader)
    finally:
        await owner.executemany(say, [tuple(row) for row in rows])
        await owner.execute(
            "UPDATE interval_1d SET energy_export_kwh = 0 WHERE meter_id = $1", filled.meter_ids.get(silent or "", 0)
        )


async def compare_products(filled: FilledDatabase, reader: asyncpg.Connection) -> None:
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
    areas = {
        row["Area"]: row
        for row in await fetch(reader, board, board.panel("Shared areas and what no product bears"), choices)
    }
    for each in body["shared"]:
        assert areas[each["area"]]["Energy"] == pytest.approx(each["energy_kwh"], rel=1e-6, abs=1e-6)
        assert areas[each["area"]]["Spread by"] == each["key"]
    # Everything that flowed in from the grid and the sun has found its product.
    assert body["total"]["energy_kwh"] == pytest.approx(body["allocated"]["energy_kwh"])
