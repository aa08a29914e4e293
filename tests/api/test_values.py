"""Newest values, downsampled readings and intervals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from emsd.energy.series import IncrementFlag
from emsd.quantities import BY_NAME
from emsd.readings import Quality
from tests.api.conftest import METER_ID

if TYPE_CHECKING:
    import httpx

    from tests.api.conftest import Factory, OpenClient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


async def add_reading(factory: Factory, key: str, time: datetime, quality: int = 0, **values: float | None) -> None:
    names = "".join(f", {BY_NAME[name].name}" for name in values)
    places = "".join(f", ${4 + n}" for n in range(len(values)))
    await factory.execute(
        f"INSERT INTO reading (time, meter_id, quality{names}) VALUES ($1, $2, $3{places})",
        time,
        METER_ID[key],
        quality,
        *values.values(),
    )


async def get(client: httpx.AsyncClient, path: str, **parameters: Any) -> dict[str, Any]:
    answer = await client.get(f"/api/v1{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_the_newest_value_of_each_quantity_is_found_across_readings(
    factory: Factory, open_client: OpenClient
) -> None:
    # A meter that reports by exception: no reading holds everything.
    await add_reading(factory, "incomer", NOW - timedelta(seconds=30), active_power_kw=100.0, frequency_hz=50.02)
    await add_reading(factory, "incomer", NOW - timedelta(seconds=20), energy_import_kwh=123456.789)
    await add_reading(
        factory, "incomer", NOW - timedelta(seconds=10), Quality.MISSING, active_power_kw=412.3, frequency_hz=None
    )
    latest = await get(open_client(NOW), "/meters/incomer/latest")
    assert latest["source"] == "database"
    assert latest["time"] == "2026-03-10T11:59:50Z"
    assert latest["age_s"] == 10
    assert latest["values"] == {
        "active_power_kw": {
            "value": 412.3,  # as a person wrote it, though the column is a real
            "unit": "kW",
            "time": "2026-03-10T11:59:50Z",
            "age_s": 10,
            "quality": ["missing"],
        },
        "frequency_hz": {"value": 50.02, "unit": "Hz", "time": "2026-03-10T11:59:30Z", "age_s": 30, "quality": []},
        "energy_import_kwh": {
            "value": 123456.789,
            "unit": "kWh",
            "time": "2026-03-10T11:59:40Z",
            "age_s": 20,
            "quality": [],
        },
    }


async def test_latest_of_all_names_every_meter_also_one_that_never_spoke(
    factory: Factory, open_client: OpenClient
) -> None:
    await add_reading(factory, "pv", NOW - timedelta(days=3), active_power_kw=-80.5)
    meters = (await get(open_client(NOW), "/latest"))["meters"]
    assert [each["meter"] for each in meters] == list(METER_ID)
    by_key = {each["meter"]: each for each in meters}
    assert by_key["pv"]["values"]["active_power_kw"]["value"] == -80.5
    assert by_key["pv"]["age_s"] == 3 * 86400
    assert by_key["tool-1"] == {"meter": "tool-1", "source": "database", "time": None, "age_s": None, "values": {}}


async def test_gauges_are_downsampled_to_min_avg_max_and_counters_to_the_last(
    factory: Factory, open_client: OpenClient
) -> None:
    begin = NOW - timedelta(minutes=10)
    for second, power, energy in [(0, 10.0, 1.0), (20, 40.0, 2.0), (40, 10.0, None), (60, 7.0, 3.5), (500, None, 9.0)]:
        await add_reading(
            factory, "incomer", begin + timedelta(seconds=second), active_power_kw=power, energy_import_kwh=energy
        )
    body = await get(
        open_client(NOW),
        "/meters/incomer/readings",
        quantity=["active_power_kw", "energy_import_kwh"],
        **{"from": begin.isoformat(), "to": NOW.isoformat()},
        max_points=10,
    )
    assert body["bucket_s"] == 60
    power, energy = body["series"]
    assert (power["quantity"], power["unit"], power["kind"]) == ("active_power_kw", "kW", "gauge")
    assert power["points"] == [
        {"time": "2026-03-10T11:50:00Z", "min": 10.0, "avg": 20.0, "max": 40.0, "last": None},
        {"time": "2026-03-10T11:51:00Z", "min": 7.0, "avg": 7.0, "max": 7.0, "last": None},
    ]
    assert energy["kind"] == "counter"
    assert [(point["time"], point["last"]) for point in energy["points"]] == [
        ("2026-03-10T11:50:00Z", 2.0),
        ("2026-03-10T11:51:00Z", 3.5),
        ("2026-03-10T11:58:00Z", 9.0),
    ]


async def test_never_more_points_than_asked_for(factory: Factory, open_client: OpenClient) -> None:
    await factory.execute(
        "INSERT INTO reading (time, meter_id, active_power_kw)"
        " SELECT time, 1000001, 5 FROM generate_series($1::timestamptz, $2, '7 seconds') AS time",
        NOW - timedelta(hours=5),
        NOW,
    )
    client = open_client(NOW)
    for max_points, minutes in [(10, 61), (37, 300), (100, 299), (500, 7)]:
        body = await get(
            client,
            "/meters/incomer/readings",
            quantity="active_power_kw",
            **{"from": (NOW - timedelta(minutes=minutes)).isoformat()},
            max_points=max_points,
        )
        points = body["series"][0]["points"]
        assert 0 < len(points) <= max_points
        first = datetime.fromisoformat(points[0]["time"])
        assert NOW - timedelta(minutes=minutes) <= first < NOW - timedelta(minutes=minutes) + timedelta(seconds=7)


async def test_intervals_carry_energy_power_coverage_and_flags(factory: Factory, open_client: OpenClient) -> None:
    await factory.execute(
        "INSERT INTO interval_15m VALUES ($1, 1000001, 103.1, NULL, 2.5, 0, 398.1, 412.4, 430.2, 0.95, 900, $2)",
        NOW - timedelta(minutes=30),
        int(IncrementFlag.ROLLOVER | IncrementFlag.DIP),
    )
    await factory.execute(
        "INSERT INTO interval_15m (bucket, meter_id, coverage, sample_count) VALUES ($1, 1000001, 0, 0)",
        NOW - timedelta(minutes=15),
    )
    body = await get(open_client(NOW), "/meters/incomer/intervals", tier="15m")
    assert body["tier"] == "15m"
    first, second = body["intervals"]
    assert first == {
        "time": "2026-03-10T11:30:00Z",
        "energy_import_kwh": 103.1,
        "energy_export_kwh": None,
        "estimated_import_kwh": 2.5,
        "estimated_export_kwh": 0.0,
        "power_min_kw": 398.1,
        "power_avg_kw": 412.4,
        "power_max_kw": 430.2,
        "coverage": 0.95,
        "sample_count": 900,
        "flags": ["rollover", "dip"],
    }
    assert second["energy_import_kwh"] is None
    assert second["power_avg_kw"] is None


async def test_every_tier_answers_in_order(factory: Factory, open_client: OpenClient) -> None:
    await factory.fill("tool-1", NOW - timedelta(hours=2), NOW, imported=0.5)
    await factory.account()
    client = open_client(NOW)
    for tier, count, energy_kwh in [("1m", 60, 0.5), ("15m", 8, 7.5), ("1d", 1, 60.0)]:
        intervals = (await get(client, "/meters/tool-1/intervals", tier=tier))["intervals"]
        assert len(intervals) == count, tier
        assert [each["energy_import_kwh"] for each in intervals] == [pytest.approx(energy_kwh)] * count, tier
        assert [each["time"] for each in intervals] == sorted(each["time"] for each in intervals)


WRONG_RANGES = [
    ("readings", {"quantity": "active_power_kw", "from": "2026-01-01T00:00:00Z"}, 422, "ask for at most 31 days"),
    ("readings", {"quantity": "active_power_kw", "from": "2026-03-11T00:00:00Z"}, 422, "begin before it ends"),
    ("readings", {"quantity": "active_power_kw", "from": "2026-03-10T00:00:00"}, 422, "with its offset"),
    ("readings", {"quantity": "active_power_kw", "from": "yesterday"}, 422, "with its offset"),
    ("readings", {"quantity": "active_power_kw", "from": "0001-01-01T00:00:00+14:00"}, 422, "check the year"),
    ("readings", {"quantity": "active_power_kw", "max_points": "1000000"}, 422, "query.max_points"),
    ("readings", {"quantity": "active_powr_kw"}, 404, "did you mean active_power_kw"),
    ("readings", {}, 422, "query.quantity: Field required, add it"),
    ("intervals", {"tier": "1m", "from": "2026-01-01T00:00:00Z"}, 422, "a wider tier"),
    ("intervals", {"tier": "5m"}, 422, "query.tier"),
    ("intervals", {"form": "2026-03-10T00:00:00Z"}, 422, "did you mean from?"),
]


async def test_an_absurd_range_is_refused_with_its_cure(open_client: OpenClient) -> None:
    client = open_client(NOW)
    for path, parameters, status, words in WRONG_RANGES:
        answer = await client.get(f"/api/v1/meters/incomer/{path}", params=parameters)
        assert answer.status_code == status, parameters
        assert answer.headers["content-type"] == "application/problem+json"
        assert words in answer.json()["detail"], parameters
