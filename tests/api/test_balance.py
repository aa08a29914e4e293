"""The balance of buses over HTTP: every number here was worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOW = NOON + timedelta(minutes=20, seconds=20)  # settled to 12:20 with 15 s
END = NOON + timedelta(minutes=20)
BEGIN = END - timedelta(days=2)


async def answer(client: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    got = await client.get("/api/v1/energy/balance", params=parameters)
    assert got.status_code == 200, got.text
    body: dict[str, Any] = got.json()
    return body


@pytest.fixture
async def two_days(factory: Factory) -> Factory:
    """Every minute at the incomer 1.0 from the grid, 0.2 from the sun, 0.6 + 0.55 to feeders: 0.05 left over."""
    await factory.fill("incomer", BEGIN, END, imported=1.0, exported=0.0)
    await factory.fill("fab-feeder", BEGIN, END, imported=0.6)
    await factory.fill("tool-1", BEGIN, END, imported=0.25, coverage=0.5)
    await factory.fill("tool-2", BEGIN, NOON, imported=0.125, estimated=0.025)  # nothing since noon
    await factory.fill("compressor-feeder", BEGIN, END, imported=0.55)
    await factory.fill("pv", BEGIN, END, imported=0.0, exported=0.2)
    await factory.account()
    await factory.execute(
        "UPDATE meter SET residual_kind = 'losses', residual_low_percent = 0, residual_high_percent = 5,"
        " residual_low_kw = 0, residual_high_kw = 2.5 WHERE key = 'incomer'"
    )
    return factory


@pytest.mark.usefixtures("two_days")
async def test_every_bus_against_its_children_in_the_order_of_the_tree(open_client: OpenClient) -> None:
    body = await answer(open_client(NOW), **{"from": "2026-03-10T11:20:00Z"})
    assert (body["from"], body["to"], body["step"]) == ("2026-03-10T11:20:00Z", "2026-03-10T12:20:00Z", None)
    incomer, fab = body["buses"]
    assert (incomer["bus"], incomer["parent"], incomer["depth"]) == ("incomer", None, 0)
    assert (fab["bus"], fab["parent"], fab["depth"]) == ("fab-feeder", "incomer", 1)
    assert (incomer["residual_kind"], incomer["band_percent"], incomer["band_kw"]) == ("losses", [0, 5], [0, 2.5])
    assert (fab["residual_kind"], fab["band_percent"], fab["band_kw"]) == (None, None, None)
    assert incomer["measured_kwh"] == pytest.approx(60)
    assert incomer["children_kwh"] == pytest.approx(57)
    assert incomer["supply_kwh"] == pytest.approx(72)
    assert incomer["residual_kwh"] == pytest.approx(3)
    assert incomer["residual_kw"] == pytest.approx(3)
    assert incomer["residual_percent"] == pytest.approx(100 * 3 / 72)
    assert incomer["within_band"] is False, "4.2 % is inside the band, 3 kW is not"
    assert (incomer["balanced_share"], incomer["missing"]) == (1.0, [])
    assert {each["meter"]: each["net_kwh"] for each in incomer["children"]} == pytest.approx(
        {"fab-feeder": 36, "compressor-feeder": 33, "pv": -12}
    )
    assert incomer["points"] is None
    # Of the fab only 40 of the 60 minutes are known with all tools; its figures are those of 40 minutes.
    assert fab["balanced_share"] == pytest.approx(2 / 3)
    assert fab["missing"] == ["tool-2"]
    assert fab["measured_kwh"] == pytest.approx(24)
    assert fab["residual_kwh"] == pytest.approx(40 * 0.225)
    assert fab["residual_kw"] == pytest.approx(60 * 0.225)
    assert fab["estimated_kwh"] == pytest.approx(40 * 0.025)
    assert fab["children_coverage"] == pytest.approx(0.5 * 2 / 3)
    assert fab["within_band"] is None
    tool = next(each for each in fab["children"] if each["meter"] == "tool-2")
    assert tool["missing_share"] == pytest.approx(1 / 3)


@pytest.mark.usefixtures("two_days")
async def test_points_are_whole_quarter_hours_or_local_days_and_unknown_ones_are_null(open_client: OpenClient) -> None:
    client = open_client(NOW)
    body = await answer(client, bus="fab-feeder", step="15m", **{"from": "2026-03-10T11:20:00Z"})
    (fab,) = body["buses"]
    assert (body["from"], body["to"]) == ("2026-03-10T11:30:00Z", "2026-03-10T12:15:00Z")
    assert [each["time"][11:16] for each in fab["points"]] == ["11:30", "11:45", "12:00"]
    assert [each["residual_kwh"] for each in fab["points"]] == [pytest.approx(15 * 0.225)] * 2 + [None]
    assert fab["points"][0]["residual_percent"] == pytest.approx(37.5)
    assert fab["residual_kwh"] == pytest.approx(30 * 0.225)
    days = await answer(client, bus="incomer", step="1d", **{"from": "2026-03-08T00:00:00Z"})
    assert (days["from"], days["to"]) == ("2026-03-08T23:00:00Z", "2026-03-09T23:00:00Z")
    assert [each["residual_kwh"] for each in days["buses"][0]["points"]] == [pytest.approx(1440 * 0.05)]


@pytest.mark.usefixtures("two_days")
async def test_without_a_range_it_is_the_last_day_and_long_windows_go_by_local_days(open_client: OpenClient) -> None:
    client = open_client(NOW)
    day = await answer(client, bus="incomer")
    assert (day["from"], day["to"]) == ("2026-03-09T12:20:00Z", "2026-03-10T12:20:00Z")
    assert day["buses"][0]["residual_kwh"] == pytest.approx(1440 * 0.05)
    half_year = await answer(client, bus="incomer", **{"from": "2025-09-10T00:00:00Z", "to": "2026-09-10T00:00:00Z"})
    assert half_year["to"] == "2026-03-10T12:20:00Z", "what has not settled is left out"
    assert half_year["buses"][0]["residual_kwh"] == pytest.approx(2 * 1440 * 0.05)
    assert half_year["buses"][0]["within_band"] is None


async def test_nothing_known_is_null_and_wrong_questions_are_told_their_cure(
    factory: Factory, open_client: OpenClient
) -> None:
    client = open_client(NOW)
    (incomer,) = (await answer(client, bus="incomer"))["buses"]
    assert incomer["residual_kwh"] is None
    assert incomer["balanced_share"] == 0
    assert incomer["missing"] == ["compressor-feeder", "fab-feeder", "pv"]
    for parameters, status, text in (
        ({"bus": "tool-1"}, 404, "bus"),
        ({"bus": "incomr"}, 404, "incomer"),
        ({"step": "15m", "from": "2026-03-10T12:01:00Z", "to": "2026-03-10T12:14:00Z"}, 422, "no whole 15m bucket"),
        ({"step": "15m", "from": "2025-10-10T00:00:00Z"}, 422, "longer than"),
        ({"from": "2026-03-10T12:20:00Z", "to": "2026-03-10T13:00:00Z"}, 422, "no minute of the range has settled"),
    ):
        got = await client.get("/api/v1/energy/balance", params=parameters)
        assert (got.status_code, text in got.text) == (status, True), got.text
    await factory.execute("UPDATE meter SET measures_energy = false WHERE key <> 'incomer'")
    assert (await answer(open_client(NOW)))["buses"] == []
