"""Key figures over HTTP: values with coverage and inputs, or the reason why there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.conftest import METER_ID, Factory, OpenClient

BEGIN = datetime(2026, 3, 28, 23, tzinfo=UTC)  # midnight in Berlin; the 29th has 23 hours
END = BEGIN + timedelta(hours=47)
NOW = END
COMPRESSOR = "compressor"


async def fill(factory: Factory) -> None:
    """100 kW at the compressor, 1,000 Nm3 an hour on the first day; hour counters; PV half of the time."""
    await factory.fill("compressor-feeder", BEGIN, END, imported=100 / 60)
    await factory.fill("fab-feeder", BEGIN, END, imported=360 / 60)
    await factory.fill("pv", BEGIN + timedelta(hours=8), BEGIN + timedelta(hours=16), exported=1.0)
    await factory.account()
    asset = "(SELECT asset_id FROM asset WHERE key = $1)"
    sources = (
        (COMPRESSOR, "energy_kwh", "intervals", "compressor-feeder", "energy_import_kwh", False),
        (COMPRESSOR, "air_nm3", "counter", "compressor-controller", "air_volume_nm3", True),
        (COMPRESSOR, "loaded_h", "loaded_states", "compressor-controller", "run_state", True),
        ("cleanroom", "energy_kwh", "intervals", "fab-feeder", "energy_import_kwh", False),
        ("roof", "yield_kwh", "yield", "pv", "energy_export_kwh", False),
        ("roof", "irradiation_kwh_m2", "integral", "pv", "irradiance_w_m2", True),
    )
    for place, (key, name, method, meter, quantity, stored) in enumerate(sources):
        await factory.execute(
            f"INSERT INTO kpi_source VALUES ({asset}, $2, $3, $4, $5, $6, $7)",
            key, name, place, method, METER_ID[meter], quantity, stored,
        )  # fmt: skip
    await factory.execute(
        f"INSERT INTO kpi_gap VALUES ({asset}, 'running_h', 'no meter of compressor delivers running_hours_h')",
        COMPRESSOR,
    )
    for key, kind, name, value in (
        ("cleanroom", "fact", "floor_area_m2", 3600.0),
        ("roof", "fact", "peak_power_kwp", 100.0),
        (COMPRESSOR, "reference", "compressor_specific_power", 6.5),
    ):
        await factory.execute(f"INSERT INTO kpi_fact VALUES ({asset}, $2, $3, $4)", key, kind, name, value)
    await factory.execute(
        "INSERT INTO asset_15m (bucket, asset_id, air_nm3, air_nm3_coverage, loaded_h, loaded_h_coverage)"
        f" SELECT bucket, {asset}, CASE WHEN bucket < $2 + interval '23 hours' THEN 250 END,"
        "   CASE WHEN bucket < $2 + interval '23 hours' THEN 1 END, 0.05, 1"
        " FROM generate_series($2::timestamptz, $3::timestamptz - interval '1 minute', '15 minutes') AS bucket",
        COMPRESSOR, BEGIN, END,
    )  # fmt: skip
    await factory.execute(
        "INSERT INTO asset_15m (bucket, asset_id, irradiation_kwh_m2, irradiation_kwh_m2_coverage)"
        f" SELECT bucket, {asset}, CASE WHEN extract(hour FROM bucket - $2) BETWEEN 8 AND 15"
        "   AND bucket < $2 + interval '1 day' THEN 0.2 ELSE 0 END, 1"
        " FROM generate_series($2::timestamptz, $3::timestamptz - interval '1 minute', '15 minutes') AS bucket",
        "roof", BEGIN, END,
    )  # fmt: skip
    idle = """[{"weekdays": ["sun"], "begin": "02:00", "end": "06:00"}]"""
    await factory.execute("INSERT INTO site_production VALUES (1, '[]', $1)", idle)


def window(**more: str) -> dict[str, str]:
    return {"from": BEGIN.isoformat(), "to": END.isoformat()} | more


def figure(body: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in body["kpis"] if each["name"] == name)
    return found


async def test_a_figure_comes_with_its_coverage_its_inputs_and_its_reference(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill(factory)
    client = open_client(NOW)
    body = (await client.get("/api/v1/assets/compressor/kpi", params=window())).json()
    specific = figure(body, "compressor_specific_power")
    (period,) = specific["periods"]
    assert period["value"] == pytest.approx(100 * 60 / 1000)
    assert period["coverage"] == pytest.approx(23 / 47)
    assert period["reason"] is None
    assert specific["reference"] == 6.5
    assert specific["inputs"] == [
        {
            "input": "energy_kwh",
            "meter": "compressor-feeder",
            "quantity": "energy_import_kwh",
            "aggregate": "intervals",
        },
        {
            "input": "air_nm3",
            "meter": "compressor-controller",
            "quantity": "air_volume_nm3",
            "aggregate": "counter",
        },
    ]
    load = figure(body, "compressor_load_ratio")
    assert load["periods"][0]["value"] is None
    assert load["reason"] == load["periods"][0]["reason"] == "no meter of compressor delivers running_hours_h"
    # 02:00 to 06:00 on Sunday the 29th is three hours: at 02:00 it becomes 03:00.
    leak = figure(body, "compressor_leak")["periods"][0]
    assert leak["value"] == pytest.approx(100 * 0.05 / 0.25)
    assert figure(body, "load_factor")["periods"][0]["value"] == pytest.approx(100.0)


async def test_days_and_months_are_local_and_quarter_hours_as_they_are(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill(factory)
    client = open_client(NOW)
    asked = {"kpi": "compressor_specific_power"}
    days = (await client.get("/api/v1/assets/compressor/kpi", params=window(per="1d", **asked))).json()
    first, second = figure(days, "compressor_specific_power")["periods"]
    assert (first["to"], second["from"]) == ("2026-03-29T22:00:00Z",) * 2, "a day of 23 hours"
    assert (first["value"], first["coverage"]) == (pytest.approx(6.0), pytest.approx(1.0))
    assert second["reason"] == "no measured quarter hour of air_nm3"
    months = (await client.get("/api/v1/assets/compressor/kpi", params=window(per="month", **asked))).json()
    assert len(figure(months, "compressor_specific_power")["periods"]) == 1
    quarters = (await client.get("/api/v1/assets/compressor/kpi", params=window(per="15m", **asked))).json()
    assert len(figure(quarters, "compressor_specific_power")["periods"]) == 47 * 4


async def test_several_feeders_count_as_far_as_the_least_of_them_is_measured_and_estimates_do_not(
    factory: Factory, open_client: OpenClient
) -> None:
    hour = BEGIN, BEGIN + timedelta(hours=1)
    await factory.fill("fab-feeder", *hour, imported=4.0)
    # 2 kWh a minute, 0.4 of them spread over gaps: 1.6 kWh were measured in 60 % of the time.
    await factory.fill("tool-1", *hour, imported=2.0, estimated=0.4, coverage=0.6)
    await factory.account()
    await factory.execute(
        "INSERT INTO kpi_fact SELECT asset_id, 'fact', 'floor_area_m2', 4000 FROM asset WHERE key = 'cleanroom'"
    )
    for place, meter in enumerate(("fab-feeder", "tool-1")):
        await factory.execute(
            "INSERT INTO kpi_source SELECT asset_id, 'energy_kwh', $1, 'intervals', $2, 'energy_import_kwh', false"
            " FROM asset WHERE key = 'cleanroom'",
            place, METER_ID[meter],
        )  # fmt: skip
    asked = {"from": hour[0].isoformat(), "to": hour[1].isoformat(), "kpi": "cleanroom_power_density"}
    body = (await open_client(NOW).get("/api/v1/assets/cleanroom/kpi", params=asked)).json()
    (period,) = body["kpis"][0]["periods"]
    kw = 60 * (4.0 + 1.6 / 0.6)
    assert period["value"] == pytest.approx(kw / 4000 * 1000)
    assert period["coverage"] == pytest.approx(0.6)


async def test_pv_by_night_is_asked_for_nothing(factory: Factory, open_client: OpenClient) -> None:
    await fill(factory)
    body = (await open_client(NOW).get("/api/v1/assets/roof/kpi", params=window())).json()
    ratio = figure(body, "pv_performance_ratio")["periods"][0]
    # 480 kWh from 100 kWp at 32 x 0.2 kWh/m2.
    assert ratio["value"] == pytest.approx(480 / 100 / 6.4)
    assert ratio["coverage"] == pytest.approx(1.0)
    assert figure(body, "pv_specific_yield")["periods"][0]["value"] == pytest.approx(4.8)
    assert "not configured" in figure(body, "pv_performance_ratio_t25")["reason"]


async def test_machines_side_by_side_the_best_first_those_without_a_value_last(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill(factory)
    client = open_client(NOW)
    body = (await client.get("/api/v1/kpi/load_factor", params=window())).json()
    assert body["kpi"]["unit"] == "%"
    values = [each["value"] for each in body["assets"]]
    assert values[:2] == [pytest.approx(100.0)] * 2
    assert values[2:] == [None] * (len(values) - 2)
    assert all(each["reason"] for each in body["assets"][2:])
    one = (await client.get("/api/v1/kpi/load_factor", params=window(asset_kind="cleanroom"))).json()
    assert [each["asset"] for each in one["assets"]] == ["cleanroom"]
    power = (await client.get("/api/v1/kpi/cleanroom_power_density", params=window())).json()
    assert power["assets"][0]["value"] == pytest.approx(100.0)


async def test_a_comparison_that_would_hold_the_service_up_is_refused_with_its_cure(
    factory: Factory, open_client: OpenClient
) -> None:
    await factory.execute(
        "INSERT INTO asset (site_id, area_id, key, name, kind)"
        " SELECT site_id, area_id, 'pump-' || n, 'Pump', 'pump' FROM area, generate_series(1, 60) AS n"
        " WHERE area.key = (SELECT min(key) FROM area)"
    )
    client = open_client(NOW)
    asked = {"from": (END - timedelta(days=390)).isoformat(), "to": END.isoformat()}
    refused = await client.get("/api/v1/kpi/load_factor", params=asked)
    assert refused.status_code == 422
    assert "ask for a shorter time, or for one asset_kind" in refused.json()["detail"]
    answered = await client.get("/api/v1/kpi/load_factor", params=asked | {"asset_kind": "compressor"})
    assert answered.status_code == 200


async def test_definitions_are_listed_and_what_does_not_exist_is_named(open_client: OpenClient) -> None:
    client = open_client(NOW)
    names = [each["name"] for each in (await client.get("/api/v1/kpi")).json()["kpis"]]
    assert {"chiller_cop", "compressor_leak", "pv_performance_ratio_t25", "power_factor"} <= set(names)
    for path, status, words in (
        ("/api/v1/assets/compresor/kpi", 404, "did you mean compressor?"),
        ("/api/v1/assets/compressor/kpi?kpi=chiller_cop", 404, "there is no key figure"),
        ("/api/v1/kpi/chiler_cop", 404, "did you mean chiller_cop?"),
        ("/api/v1/kpi/chiller_cop?asset_kind=pump", 422, "kinds that have it are: chiller"),
        ("/api/v1/assets/compressor/kpi?per=15m&from=2026-01-01T00:00:00Z", 422, "per=1d"),
    ):
        answer = await client.get(path)
        assert answer.status_code == status, path
        assert words in answer.json()["detail"], answer.json()
