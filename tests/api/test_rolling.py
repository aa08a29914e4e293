"""Rolling energy and carbon: every number here was worked out by hand."""

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
EARLY = datetime(2020, 1, 1, tzinfo=UTC)

# Energy of one minute [kWh]. At the incomer's bus: 1 = 0.6 + 0.35 + (0.25 - 0.2 PV), 0.05 of it exported at times.
INCOMER, FEEDER, TOOL_1, TOOL_2, COMPRESSOR, PV = 1.0, 0.6, 0.25, 0.125, 0.35, 0.2


async def rolling(client: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await client.get("/api/v1/energy/rolling", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def window(client: httpx.AsyncClient, name: str, **parameters: Any) -> dict[str, Any]:
    (only,) = (await rolling(client, window=name, **parameters))["windows"]
    assert only["window"] == name
    figures: dict[str, Any] = only
    return figures


@pytest.fixture
async def two_days(factory: Factory) -> Factory:
    """Two days of minutes up to 12:20 for every energy meter, and a factor of 0.5 kg/kWh since 2020."""
    begin = END - timedelta(days=2)
    await factory.fill("incomer", begin, END, imported=INCOMER, exported=0.05)
    await factory.fill("fab-feeder", begin, END, imported=FEEDER)
    await factory.fill("tool-1", begin, END, imported=TOOL_1)
    await factory.fill("tool-2", begin, END, imported=TOOL_2)
    await factory.fill("compressor-feeder", begin, END, imported=COMPRESSOR)
    await factory.fill("pv", begin, END, imported=0.0, exported=PV)
    await factory.account()
    await factory.add_factor(0.5, EARLY)
    return factory


@pytest.mark.usefixtures("two_days")
async def test_one_hour_of_the_site_is_the_incomer_and_its_pv(open_client: OpenClient) -> None:
    hour = await window(open_client(NOW), "1h")
    assert (hour["from"], hour["to"]) == ("2026-03-10T11:20:00Z", "2026-03-10T12:20:00Z")
    assert hour["import_kwh"] == pytest.approx(60)
    assert hour["export_kwh"] == pytest.approx(3)
    assert hour["net_kwh"] == pytest.approx(57)
    assert hour["generation_kwh"] == pytest.approx(12)
    assert hour["consumption_kwh"] == pytest.approx(69)
    assert hour["coverage"] == 1.0
    assert hour["generation_coverage"] == 1.0
    assert hour["estimated_share"] == 0.0
    # 60 kWh from the grid x 0.5; avoided: 12 of PV less 3 exported.
    assert hour["carbon_basis"] == "grid_import"
    assert hour["kg_co2"] == pytest.approx(30)
    assert hour["carbon_coverage"] == 1.0
    assert hour["avoided_kg_co2"] == pytest.approx(4.5)
    assert hour["factors"] == [
        {
            "region": "test-region", "method": "location", "version": 1, "resolution": "period", "kg_per_kwh": 0.5,
            "source": "a test", "valid_from": "2020-01-01T00:00:00Z", "valid_to": None,
        }
    ]  # fmt: skip


@pytest.mark.usefixtures("two_days")
async def test_every_window_adds_up_its_minutes(open_client: OpenClient) -> None:
    # Today began at 23:00 UTC, 13 h 20 min ago; of seven days and of the month only two days have data.
    known_minutes = {"15m": 15, "1h": 60, "24h": 1440, "today": 800, "7d": 2880, "month_to_date": 2880}
    asked_minutes = known_minutes | {"7d": 7 * 1440, "month_to_date": 9 * 1440 + 800}
    client = open_client(NOW)
    for name, minutes in known_minutes.items():
        figures = await window(client, name)
        assert figures["import_kwh"] == pytest.approx(minutes * INCOMER), name
        assert figures["coverage"] == pytest.approx(minutes / asked_minutes[name]), name


# scope, key, the meters that speak for it, consumption of a minute [kWh]
SCOPES = [
    ("area", "fab", ["fab-feeder"], FEEDER),  # the tools hang below the feeder, which is in the area too
    ("area", "line", ["tool-1", "tool-2"], TOOL_1 + TOOL_2),
    ("area", "bay", ["tool-1"], TOOL_1),
    ("stage", "etch", ["tool-1", "tool-2"], TOOL_1 + TOOL_2),
    ("asset_kind", "process_tool", ["tool-1", "tool-2"], TOOL_1 + TOOL_2),
    ("asset_kind", "compressor", ["compressor-feeder"], COMPRESSOR),
    ("meter", "tool-2", ["tool-2"], TOOL_2),
    # Parents are nested: only the incomer counts, its export and the PV below it come in.
    ("area", "plant", ["incomer"], INCOMER - 0.05 + PV),
    ("meter", "incomer", ["incomer"], INCOMER - 0.05 + PV),
    # In the utility area PV stands beside the compressor: what it delivers is no consumption.
    ("area", "utility", ["compressor-feeder", "pv"], COMPRESSOR),
    ("asset_kind", "pv_inverter", ["pv"], 0.0),
]


@pytest.mark.usefixtures("two_days")
async def test_a_kilowatt_hour_counts_once_in_every_scope(open_client: OpenClient) -> None:
    client = open_client(NOW)
    for scope, key, meters, per_minute_kwh in SCOPES:
        body = await rolling(client, scope=scope, key=key, window="1h")
        assert body["meters"] == meters, key
        assert body["meter_count"] == len(meters), key
        (hour,) = body["windows"]
        assert hour["consumption_kwh"] == pytest.approx(60 * per_minute_kwh), key
        assert hour["carbon_basis"] == "consumption", key
        assert hour["kg_co2"] == pytest.approx(30 * per_minute_kwh), key
        assert hour["avoided_kg_co2"] is None, key


async def test_a_change_of_the_factor_cuts_the_window(factory: Factory, open_client: OpenClient) -> None:
    await factory.fill("incomer", END - timedelta(hours=2), END, imported=1.0)
    await factory.account()
    await factory.add_factor(0.5, EARLY, NOON)
    await factory.add_factor(0.3, NOON)
    hour = await window(open_client(NOW), "1h")
    # 40 minutes at 0.5 and 20 at 0.3.
    assert hour["kg_co2"] == pytest.approx(40 * 0.5 + 20 * 0.3)
    assert [each["kg_per_kwh"] for each in hour["factors"]] == [0.5, 0.3]
    assert hour["carbon_coverage"] == 1.0


async def test_a_factor_that_changes_within_a_minute_counts_from_the_next_one(
    factory: Factory, open_client: OpenClient
) -> None:
    await factory.fill("incomer", END - timedelta(hours=1), END, imported=1.0)
    await factory.account()
    await factory.add_factor(0.5, EARLY, NOON + timedelta(seconds=30))
    await factory.add_factor(0.3, NOON + timedelta(seconds=30))
    hour = await window(open_client(NOW), "1h")
    assert hour["kg_co2"] == pytest.approx(41 * 0.5 + 19 * 0.3)


async def test_energy_without_a_factor_lowers_the_carbon_coverage(factory: Factory, open_client: OpenClient) -> None:
    await factory.fill("incomer", END - timedelta(hours=2), END, imported=1.0)
    await factory.account()
    await factory.add_factor(0.5, EARLY, NOON)
    client = open_client(NOW)
    hour = await window(client, "1h")
    assert hour["kg_co2"] == pytest.approx(20)
    assert hour["carbon_coverage"] == pytest.approx(40 / 60)
    quarter = await window(client, "15m")
    assert quarter["kg_co2"] is None
    assert quarter["carbon_coverage"] == 0.0


async def test_what_is_not_known_is_null_and_never_zero(factory: Factory, open_client: OpenClient) -> None:
    await factory.add_factor(0.5, EARLY)
    for figures in (await rolling(open_client(NOW)))["windows"]:
        for field in ("import_kwh", "export_kwh", "net_kwh", "generation_kwh", "consumption_kwh", "kg_co2"):
            assert figures[field] is None, field
        assert figures["carbon_coverage"] is None
        assert figures["avoided_kg_co2"] is None
        assert figures["estimated_share"] is None
        assert figures["coverage"] == 0.0


async def test_consumption_is_unknown_while_the_pv_is(factory: Factory, open_client: OpenClient) -> None:
    await factory.fill("incomer", END - timedelta(hours=1), END, imported=1.0)
    await factory.account()
    hour = await window(open_client(NOW), "1h")
    assert hour["net_kwh"] == pytest.approx(60)
    assert hour["generation_kwh"] is None
    assert hour["consumption_kwh"] is None


async def test_a_minute_of_zero_is_zero(factory: Factory, open_client: OpenClient) -> None:
    await factory.fill("tool-1", END - timedelta(hours=1), END, imported=0.0)
    await factory.account()
    await factory.add_factor(0.5, EARLY)
    hour = await window(open_client(NOW), "1h", scope="meter", key="tool-1")
    assert hour["import_kwh"] == 0.0
    assert hour["consumption_kwh"] == 0.0
    assert hour["estimated_share"] == 0.0
    assert hour["kg_co2"] == 0.0
    assert hour["carbon_coverage"] == 1.0


async def test_coverage_is_the_mean_over_the_meters(factory: Factory, open_client: OpenClient) -> None:
    await factory.fill("tool-1", END - timedelta(hours=1), END, imported=10.0)
    await factory.fill("tool-2", END - timedelta(hours=1), END - timedelta(minutes=30), imported=0.1, coverage=0.5)
    await factory.account()
    hour = await window(open_client(NOW), "1h", scope="stage", key="etch")
    # One meter whole, the other half of the time at one half: weighted equally, however much flows.
    assert hour["coverage"] == pytest.approx((1 + 0.25) / 2)
    assert hour["import_kwh"] == pytest.approx(60 * 10 + 30 * 0.1)


async def test_estimated_share_is_estimated_energy_over_all(factory: Factory, open_client: OpenClient) -> None:
    await factory.fill("incomer", END - timedelta(hours=1), END - timedelta(minutes=30), imported=1.0)
    await factory.fill(
        "incomer", END - timedelta(minutes=30), END, imported=2.0, exported=0.0, estimated=2.0, coverage=0.0
    )
    await factory.account()
    hour = await window(open_client(NOW), "1h")
    assert hour["estimated_share"] == pytest.approx(60 / 90)
    assert hour["coverage"] == pytest.approx(0.5)


async def test_a_day_of_23_hours_is_whole(factory: Factory, open_client: OpenClient) -> None:
    # Europe/Berlin, 2026-03-29: clocks go from 02:00 to 03:00. The month began at 2026-02-28 23:00 UTC.
    begin, end = datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 30, 10, tzinfo=UTC)
    await factory.fill("incomer", begin, end, imported=0.5)
    await factory.account()
    month = await window(open_client(end + timedelta(seconds=20)), "month_to_date")
    assert month["from"] == "2026-02-28T23:00:00Z"
    hours = 29 * 24 - 1 + 12  # 29 days of March, one of them short, and twelve hours of the 30th
    assert month["import_kwh"] == pytest.approx(hours * 30)
    assert month["coverage"] == pytest.approx(1.0, abs=1e-6)

    late = datetime(2026, 3, 29, 21, 30, 20, tzinfo=UTC)  # 23:30 local: 22.5 h after midnight
    today = await window(open_client(late), "today")
    assert today["from"] == "2026-03-28T23:00:00Z"
    assert today["import_kwh"] == pytest.approx(22.5 * 30)
    assert today["coverage"] == pytest.approx(1.0)


@pytest.mark.usefixtures("two_days")
async def test_windows_asked_together_are_those_asked_alone(open_client: OpenClient) -> None:
    client = open_client(NOW)
    together = (await rolling(client))["windows"]
    assert [each["window"] for each in together] == ["15m", "1h", "24h", "7d", "today", "month_to_date"]
    for figures in together:
        alone = await window(client, figures["window"])
        assert figures.keys() == alone.keys()
        for field, value in figures.items():
            assert alone[field] == (pytest.approx(value) if isinstance(value, float) else value), field


@pytest.mark.usefixtures("two_days")
async def test_at_local_midnight_today_is_empty(open_client: OpenClient) -> None:
    midnight = datetime(2026, 3, 9, 23, 0, 15, tzinfo=UTC)
    today = await window(open_client(midnight), "today")
    assert today["from"] == today["to"] == "2026-03-09T23:00:00Z"
    assert today["import_kwh"] is None
    assert today["coverage"] is None


async def test_days_follow_the_zone_of_the_site(two_days: Factory, open_client: OpenClient) -> None:
    await two_days.set_zone("Asia/Kathmandu")  # UTC+05:45: midnight lies at a quarter, not at an hour
    today = await window(open_client(NOW), "today")
    assert today["from"] == "2026-03-09T18:15:00Z"
    assert today["import_kwh"] == pytest.approx(18 * 60 + 5)


@pytest.mark.usefixtures("two_days")
async def test_carbon_rolling_says_the_same_without_the_energy(open_client: OpenClient) -> None:
    client = open_client(NOW)
    energy = await rolling(client, scope="area", key="fab")
    carbon = (await client.get("/api/v1/carbon/rolling", params={"scope": "area", "key": "fab"})).json()
    assert "import_kwh" not in carbon["windows"][0]
    for one, other in zip(carbon["windows"], energy["windows"], strict=True):
        assert one == {field: other[field] for field in one}


@pytest.mark.usefixtures("two_days")
async def test_a_meter_that_measures_no_energy_has_none(open_client: OpenClient) -> None:
    body = await rolling(open_client(NOW), scope="meter", key="compressor-controller", window="1h")
    assert body["meters"] == []
    assert body["windows"][0]["import_kwh"] is None
    assert body["windows"][0]["coverage"] is None


async def test_a_meter_that_left_the_configuration_no_longer_counts(two_days: Factory, open_client: OpenClient) -> None:
    await two_days.execute("UPDATE meter SET removed_at = now() WHERE key = 'tool-1'")
    body = await rolling(open_client(NOW), scope="stage", key="etch", window="1h")
    assert body["meters"] == ["tool-2"]
    assert body["windows"][0]["import_kwh"] == pytest.approx(60 * TOOL_2)


async def test_a_changed_plant_is_seen_when_the_cache_is_old_enough(two_days: Factory, open_client: OpenClient) -> None:
    fresh, slow = open_client(NOW, plant_age_s=0.0), open_client(NOW, plant_age_s=3600.0)
    for client in (fresh, slow):
        assert (await rolling(client, window="1h"))["generation_meters"] == ["pv"]
    await two_days.execute("UPDATE meter SET removed_at = now() WHERE key = 'pv'")
    assert (await rolling(fresh, window="1h"))["generation_meters"] == []
    assert (await rolling(slow, window="1h"))["generation_meters"] == ["pv"]


async def test_the_last_half_hour_is_always_fresh_and_the_past_within_its_age(
    two_days: Factory, open_client: OpenClient
) -> None:
    fresh, kept = open_client(NOW, sums_age_s=0.0), open_client(NOW, sums_age_s=3600.0)

    async def imported_kwh(client: httpx.AsyncClient) -> dict[str, float]:
        return {each["window"]: each["import_kwh"] for each in (await rolling(client))["windows"]}

    for client in (fresh, kept):
        assert (await imported_kwh(client))["24h"] == pytest.approx(1440)
    # A hundred kilowatt-hours come late for yesterday, and one for the last minute.
    await two_days.execute(
        "UPDATE interval_15m SET energy_import_kwh = energy_import_kwh + 100 WHERE meter_id = 1000001 AND bucket = $1",
        NOON - timedelta(hours=20),
    )
    await two_days.execute(
        "UPDATE interval_1m SET energy_import_kwh = energy_import_kwh + 1 WHERE meter_id = 1000001 AND bucket = $1",
        END - timedelta(minutes=1),
    )
    assert (await imported_kwh(fresh))["24h"] == pytest.approx(1541)
    assert (await imported_kwh(kept))["24h"] == pytest.approx(1441)
    assert (await imported_kwh(kept))["15m"] == pytest.approx(16)


WRONG_QUESTIONS = [
    ({"scope": "area"}, 422, "query.key: is missing for scope area, add it"),
    ({"key": "fab"}, 422, "leave it out"),
    ({"scope": "area", "key": "fap"}, 404, "did you mean fab?"),
    ({"scope": "stage", "key": "ecth"}, 404, "did you mean etch?"),
    ({"scope": "asset_kind", "key": "compresor"}, 404, "did you mean compressor?"),
    ({"scope": "meter", "key": "incommer"}, 404, "did you mean incomer?"),
    ({"scope": "galaxy"}, 422, "query.scope"),
    ({"window": "2h"}, 422, "query.window.0"),
    ({"windows": "1h"}, 422, "did you mean window?"),
]


async def test_a_wrong_question_is_told_its_cure(open_client: OpenClient) -> None:
    client = open_client(NOW)
    for parameters, status, words in WRONG_QUESTIONS:
        answer = await client.get("/api/v1/energy/rolling", params=parameters)
        assert answer.status_code == status, parameters
        assert answer.headers["content-type"] == "application/problem+json"
        assert words in answer.json()["detail"], parameters


async def test_the_factor_in_force_is_the_highest_version_valid_now(factory: Factory, open_client: OpenClient) -> None:
    await factory.add_factor(0.5, EARLY)
    await factory.execute(
        "INSERT INTO carbon_factor (region, method, valid_from, kg_per_kwh, source, version)"
        " VALUES ('test-region', 'location', $1, 0.45, 'a revision', 2),"
        "        ('test-region', 'market', $1, 0.7, 'a contract', 1),"
        "        ('elsewhere', 'location', $1, 0.9, 'another grid', 1)",
        EARLY,
    )
    factors = (await open_client(NOW).get("/api/v1/carbon/factors")).json()["factors"]
    assert [(each["method"], each["version"], each["kg_per_kwh"], each["in_force"]) for each in factors] == [
        ("location", 1, 0.5, False),
        ("location", 2, 0.45, True),
        ("market", 1, 0.7, True),
    ]
    await factory.fill("incomer", END - timedelta(hours=1), END, imported=1.0)
    await factory.account()
    # A market factor never enters a location-based figure.
    assert (await window(open_client(NOW), "1h"))["kg_co2"] == pytest.approx(60 * 0.45)
