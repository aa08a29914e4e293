"""Demand over HTTP: every number here was worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emsd.store.tariff import sync_tariffs
from tests.api.conftest import METER_ID
from tests.store.test_tariff import plant

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def use(factory: Factory, **site: Any) -> None:
    async with factory.pool.acquire() as connection, connection.transaction():
        await sync_tariffs(connection, plant(**site), now=NOON)


async def asked(client: httpx.AsyncClient, path: str, **parameters: Any) -> dict[str, Any]:
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def golden(factory: Factory) -> None:
    """10 min at 1 MW, 15 at 4, 20 at 1, from noon."""
    for begin, end, power_kw in ((0, 10, 1000.0), (10, 25, 4000.0), (25, 45, 1000.0)):
        await factory.fill("incomer", NOON + begin * MINUTE, NOON + end * MINUTE, imported=power_kw / 60)
    await factory.account()


async def test_golden_block_and_sliding_maximum(factory: Factory, open_client: OpenClient) -> None:
    await use(factory, contract_demand_kw=3500)
    await golden(factory)
    client = open_client(NOON + 50 * MINUTE)
    span = {"from": NOON.isoformat(), "to": (NOON + 45 * MINUTE).isoformat()}
    body = await asked(client, "/api/v1/demand", **span, per="total")
    (row,) = body["rows"]
    assert row["block"] == {"demand_kw": pytest.approx(3000), "from": "2026-03-10T12:15:00Z"}
    assert row["sliding"] == {"demand_kw": pytest.approx(4000), "from": "2026-03-10T12:10:00Z"}
    assert (row["blocks"], row["untrusted_blocks"], body["untrusted"]) == (3, 0, [])
    assert (row["contract_demand_kw"], body["period_min"], body["meters"]) == (3500, 15, ["incomer"])
    assert (await asked(client, "/api/v1/demand", **span, sliding=False))["rows"][0]["sliding"] is None


async def test_periods_of_ten_and_of_thirty_minutes(factory: Factory, open_client: OpenClient) -> None:
    await golden(factory)
    client = open_client(NOON + 50 * MINUTE)
    found = {}
    for minutes in (10, 30):
        await use(factory, demand_period_minutes=minutes)
        span = {"from": NOON.isoformat(), "to": (NOON + 30 * MINUTE).isoformat()}
        (row,) = (await asked(client, "/api/v1/demand", **span, per="total"))["rows"]
        found[minutes] = (row["block"]["demand_kw"], row["sliding"]["demand_kw"])
    assert found[10] == pytest.approx((4000, 4000))
    # (10 + 5 x 1) MW and 15 x 4 MW in half an hour.
    assert found[30] == pytest.approx((2500, 2500))


async def test_days_and_months_have_their_own_maximum_and_holes_are_listed(
    factory: Factory, open_client: OpenClient
) -> None:
    day = timedelta(days=1)
    for begin, minutes, kwh in ((NOON, 30, 1.0), (NOON + day, 30, 2.0), (NOON + day + 30 * MINUTE, 13, 50.0)):
        await factory.fill("incomer", begin, begin + minutes * MINUTE, imported=kwh)
    await factory.account()
    client = open_client(NOON + 3 * day)
    midnight = datetime(2026, 3, 9, 23, tzinfo=UTC)
    span = {"from": midnight.isoformat(), "to": (midnight + 3 * day).isoformat()}
    body = await asked(client, "/api/v1/demand", **span, per="day")
    first, second, third = body["rows"]
    assert first["block"] == {"demand_kw": pytest.approx(60), "from": "2026-03-10T12:00:00Z"}
    # Of the block from 12:30 only 13 of 15 minutes are known.
    assert second["block"] == {"demand_kw": pytest.approx(120), "from": "2026-03-11T12:00:00Z"}
    assert (third["block"], third["sliding"], third["untrusted_blocks"]) == (None, None, 96)
    assert first["untrusted_blocks"] == 94
    assert len(body["untrusted"]) == 100
    assert body["untrusted"][0] == {"from": "2026-03-09T23:00:00Z", "coverage": 0}
    (month,) = (await asked(client, "/api/v1/demand", per="month"))["rows"]
    assert month["from"] == "2026-02-28T23:00:00Z"
    assert month["block"]["demand_kw"] == pytest.approx(120)
    (year,) = (await asked(client, "/api/v1/demand", **span, per="year", sliding=False))["rows"]
    assert year["block"]["demand_kw"] == pytest.approx(120)


async def test_the_demand_of_an_area_is_that_of_its_top_meters_together(
    factory: Factory, open_client: OpenClient
) -> None:
    await factory.fill("compressor-feeder", NOON, NOON + 30 * MINUTE, imported=1.0)
    await factory.fill("pv", NOON, NOON + 30 * MINUTE, imported=0.5, exported=3.0)
    await factory.account()
    client = open_client(NOON + 50 * MINUTE)
    span = {"from": NOON.isoformat(), "to": (NOON + 30 * MINUTE).isoformat()}
    body = await asked(client, "/api/v1/demand", **span, scope="area", key="utility", per="total")
    assert body["meters"] == ["compressor-feeder", "pv"]
    assert body["rows"][0]["block"]["demand_kw"] == pytest.approx(90)
    assert body["rows"][0]["contract_demand_kw"] is None


async def test_an_inverter_that_sleeps_is_no_hole_in_the_demand_of_those_beside_it(
    factory: Factory, open_client: OpenClient
) -> None:
    """By night nothing is known of it; its own demand still wants it, and that of the feeder's hole is one."""
    await factory.fill("compressor-feeder", NOON - 30 * MINUTE, NOON + 30 * MINUTE, imported=1.0)
    await factory.account()
    client = open_client(NOON + 30 * MINUTE + timedelta(seconds=20))
    span = {"from": NOON.isoformat(), "to": (NOON + 45 * MINUTE).isoformat(), "per": "total"}
    (area,) = (await asked(client, "/api/v1/demand", **span, scope="area", key="utility"))["rows"]
    assert (area["block"]["demand_kw"], area["sliding"]["demand_kw"]) == (pytest.approx(60), pytest.approx(60))
    assert (area["blocks"], area["untrusted_blocks"]) == (3, 1)
    running = await asked(client, "/api/v1/demand/forecast", scope="area", key="utility")
    assert running["forecast_kw"] == pytest.approx(60)
    (own,) = (await asked(client, "/api/v1/demand", **span, scope="meter", key="pv"))["rows"]
    assert (own["block"], own["untrusted_blocks"]) == (None, 3)


async def test_a_meter_that_reports_every_five_minutes_is_forecast_from_where_it_is_known(
    factory: Factory, open_client: OpenClient
) -> None:
    await use(factory, contract_demand_kw=900)
    await factory.fill("incomer", NOON - 120 * MINUTE, NOON + 5 * MINUTE, imported=10.0)
    at = NOON + 8 * MINUTE + timedelta(seconds=20)
    found = await asked(open_client(at), "/api/v1/demand/forecast")
    assert (found["from"], found["until"]) == ("2026-03-10T12:00:00Z", "2026-03-10T12:05:00Z")
    assert (found["energy_kwh"], found["forecast_kw"]) == (pytest.approx(80), pytest.approx(600))
    late = await asked(open_client(at + 3 * MINUTE), "/api/v1/demand/forecast")
    assert (late["forecast_kw"], late["energy_kwh"], late["headroom_kw"]) == (None, None, None)


async def test_the_running_period_is_forecast_from_minutes_and_from_readings(
    factory: Factory, open_client: OpenClient
) -> None:
    await use(factory, contract_demand_kw=900)
    await factory.fill("incomer", NOON - 120 * MINUTE, NOON, imported=5.0)
    await factory.fill("incomer", NOON, NOON + 5 * MINUTE, imported=20.0)
    now = NOON + 5 * MINUTE + timedelta(seconds=35)
    found = await asked(open_client(now), "/api/v1/demand/forecast")
    assert (found["source"], found["from"], found["to"]) == (
        "intervals",
        "2026-03-10T12:00:00Z",
        "2026-03-10T12:15:00Z",
    )
    assert found["until"] == "2026-03-10T12:05:00Z"
    assert (found["energy_kwh"], found["present_kw"]) == (pytest.approx(100), pytest.approx(1200))
    assert found["forecast_kw"] == pytest.approx(1200)
    # 225 kWh are allowed: 125 kWh in ten minutes are 750 kW, and at 1200 kW they last 6.25 min.
    assert (found["headroom_kw"], found["minutes_left"]) == (pytest.approx(750), pytest.approx(6.25))
    assert found["error_kw"] > 0
    # Since 12:05 the counter has gone on by 15 kWh in half a minute.
    for seconds in range(-60, 31, 10):
        await factory.execute(
            "INSERT INTO reading (time, meter_id, energy_import_kwh) VALUES ($1, $2, $3)",
            NOON + 5 * MINUTE + timedelta(seconds=seconds),
            METER_ID["incomer"],
            10_000.0 + seconds * 0.5,
        )
    found = await asked(open_client(now), "/api/v1/demand/forecast")
    assert (found["source"], found["until"]) == ("readings", "2026-03-10T12:05:30Z")
    assert found["energy_kwh"] == pytest.approx(115)
    assert found["present_kw"] == pytest.approx((60 + 15) / 3.5 * 60)
    # A part of the site has no contract, and one that never delivered no forecast.
    part = await asked(open_client(now), "/api/v1/demand/forecast", scope="meter", key="tool-1")
    assert (part["forecast_kw"], part["headroom_kw"], part["contract_demand_kw"]) == (None, None, None)


async def test_right_after_the_turn_of_the_period_readings_tell_the_new_one(
    factory: Factory, open_client: OpenClient
) -> None:
    """At 12:15:10 the minute from 12:14 has not settled: what is known by intervals belongs to the period before."""
    await factory.fill("incomer", NOON - 120 * MINUTE, NOON + 14 * MINUTE, imported=10.0)
    now = NOON + 15 * MINUTE + timedelta(seconds=10)
    found = await asked(open_client(now), "/api/v1/demand/forecast")
    assert (found["source"], found["from"], found["until"]) == (
        "intervals",
        "2026-03-10T12:00:00Z",
        "2026-03-10T12:14:00Z",
    )
    for seconds in range(-120, 11, 10):
        await factory.execute(
            "INSERT INTO reading (time, meter_id, energy_import_kwh) VALUES ($1, $2, $3)",
            NOON + 15 * MINUTE + timedelta(seconds=seconds),
            METER_ID["incomer"],
            10_000.0 + seconds,
        )
    found = await asked(open_client(now + timedelta(milliseconds=1)), "/api/v1/demand/forecast")
    assert (found["source"], found["from"]) == ("readings", "2026-03-10T12:15:00Z")
    assert found["energy_kwh"] == pytest.approx(10)


async def test_wrong_questions_are_answered_with_the_cure(open_client: OpenClient) -> None:
    client = open_client(NOON)
    for query, said in (
        ("from=2026-03-01T00:07:00Z", "is not where a period of 15 min begins"),
        ("from=2025-10-01T00:00:00Z", "sliding=false"),
        ("scope=meter", "is missing for scope meter"),
        ("sliding=maybe", "sliding"),
    ):
        answer = await client.get(f"/api/v1/demand?{query}")
        assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
