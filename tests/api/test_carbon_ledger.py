"""The carbon ledger over HTTP: figures by month and area, entries with a token, statements that hold."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from emsd.api import ApiDependencies, create_app
from emsd.energy.factors import HourlyFactor
from emsd.signing import create_key, is_signed
from emsd.statements import Wanted, create_statement
from emsd.store.carbon_factors import FactorFile, import_hours, withdraw_import
from emsd.store.statements import statement_numbered
from emsd.store.tokens import create_token
from tests.api.conftest import METER_ID, REGION, serve

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "carbon.md"
NOW = datetime(2026, 4, 20, 12, 7, tzinfo=UTC)
MARCH, APRIL = datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS = 743
"""Of March in Europe/Berlin, which loses one to summer time."""
MONTH = {"from": "2026-03-01", "to": "2026-04-01"}
NF3 = {
    "reference": "NF3-2026-03", "kind": "process_gas", "substance": "NF3", "process": "chamber_clean_remote",
    "period_from": MARCH.isoformat(), "period_to": APRIL.isoformat(), "area": "fab", "amount": "1000", "unit": "kg",
    "document": "gas store", "author": "l.wei",
}  # fmt: skip
GEC = {
    "serial": "GEC-1", "registry": "registry", "kind": "gec", "energy_mwh": "100", "energy_source": "wind",
    "produced_from": MARCH.isoformat(), "produced_to": APRIL.isoformat(), "document": "trade 1", "author": "l.wei",
}  # fmt: skip
RETIRE = {
    "kind": "retire", "energy_mwh": "74.3", "period_from": MARCH.isoformat(), "period_to": APRIL.isoformat(),
    "document": "retirement 1", "author": "l.wei",
}  # fmt: skip


async def fill_march(factory: Factory, per_hour: Mapping[str, tuple[float | None, float | None]]) -> None:
    """Write quarter hours and days of March with so much import and export an hour."""
    for key, (taken, given) in per_hour.items():
        await factory.execute(
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, energy_export_kwh, coverage, sample_count)"
            " SELECT bucket, $1, $4::float8 / 4, $5::float8 / 4, 1, 900"
            " FROM generate_series($2::timestamptz, $3::timestamptz - interval '15 minutes', '15 minutes') AS bucket",
            METER_ID[key], MARCH, APRIL, taken, given,
        )  # fmt: skip
    await factory.execute(
        "INSERT INTO interval_1d (day, bucket, meter_id, energy_import_kwh, energy_export_kwh, coverage, sample_count)"
        " SELECT local.day, min(bucket), meter_id, sum(energy_import_kwh), sum(energy_export_kwh), 1, 1"
        " FROM interval_15m"
        " CROSS JOIN LATERAL (SELECT (bucket AT TIME ZONE 'Europe/Berlin')::date AS day) AS local GROUP BY 1, 3"
    )
    await factory.add_factor(0.5, datetime(2020, 1, 1, tzinfo=UTC))
    await factory.execute(
        "INSERT INTO carbon_factor (region, method, valid_from, kg_per_kwh, source)"
        " VALUES ($1, 'residual', '2020-01-01Z', 0.6, 'a test')",
        REGION,
    )


async def test_the_ledger_says_both_methods_by_month_and_area_and_what_is_missing(
    factory: Factory, open_client: OpenClient
) -> None:
    await fill_march(
        factory, {"incomer": (1000.0, 100.0), "pv": (None, 300.0), "fab-feeder": (600.0, None), "tool-1": (50.0, None)}
    )
    client = open_client(NOW)
    headers = {"Authorization": f"Bearer {await create_token(factory.pool, 'test')}"}
    assert (await client.post("/api/v1/carbon/activities", json=NF3, headers=headers)).status_code == 200
    number = (await client.post("/api/v1/carbon/certificates", json=GEC, headers=headers)).json()["number"]
    events = f"/api/v1/carbon/certificates/{number}/events"
    assert (await client.post(events, json=RETIRE, headers=headers)).status_code == 201
    answer = (await client.get("/api/v1/carbon/ledger", params=MONTH)).json()
    total, (month,) = answer["total"], answer["months"]
    assert total | {"name": ""} == month | {"name": ""}
    assert (month["name"], answer["from"], answer["to"]) == ("2026-03", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z")
    assert total["grid_import_kwh"] == pytest.approx(HOURS * 1000)
    assert total["pv_used_kwh"] == pytest.approx(HOURS * 200)
    assert total["location_kg"] == pytest.approx(HOURS * 500)
    assert total["market_kg"] == pytest.approx((HOURS * 1000 - 74_300) * 0.6)
    assert total["scope1_kg"] == pytest.approx(434_700)
    assert total["avoided_kg"] == pytest.approx(HOURS * 100)
    assert total["renewable_coverage"] == pytest.approx((HOURS * 200 + 74_300) / (HOURS * 1200))
    assert (total["coverage"], total["market_coverage"]) == (1, 1)
    assert answer["missing"] == []
    areas = {each["area"]: each for each in answer["areas"]}
    assert areas["fab"]["consumption_kwh"] == pytest.approx(HOURS * 600)
    assert areas["fab"]["location_kg"] == pytest.approx(HOURS * 300)
    assert areas["fab"]["scope1_kg"] == pytest.approx(434_700)
    assert areas["plant"]["consumption_kwh"] == pytest.approx(HOURS * 1200)
    assert areas["line"]["consumption_kwh"] == pytest.approx(HOURS * 50)
    assert {(each["method"], each["region"]) for each in answer["factors"]} == {
        ("location", REGION), ("residual", REGION),
    }  # fmt: skip
    (used,) = answer["instruments"]
    assert (used["serial"], used["matched_kwh"], used["surplus_kwh"]) == ("GEC-1", 74_300, 0)
    (row,) = (await client.get("/api/v1/carbon/certificates")).json()["certificates"]
    assert (row["left_mwh"], row["valid_to"]) == (25.7, "2028-03-31T22:00:00Z")


async def test_without_a_range_it_is_the_year_up_to_the_last_quarter_of_an_hour(
    factory: Factory, open_client: OpenClient
) -> None:
    answer = (await open_client(NOW).get("/api/v1/carbon/ledger")).json()
    assert [month["name"] for month in answer["months"]] == ["2026-01", "2026-02", "2026-03", "2026-04"]
    assert (answer["from"], answer["to"]) == ("2025-12-31T23:00:00Z", "2026-04-20T12:00:00Z")
    assert answer["total"]["location_kg"] is None
    assert answer["total"]["coverage"] == 0
    assert "electricity: 2026-01 is measured 0.0 % of the time" in answer["missing"]
    assert "Scope 1: no activity of 2026-04 was entered" in answer["missing"]
    assert [each["location_kg"] for each in answer["areas"]] == [None] * len(answer["areas"])
    assert factory.url


async def test_every_figure_goes_by_the_factor_of_the_hour_where_there_is_one(
    factory: Factory, open_client: OpenClient
) -> None:
    """10 March, 1,000 kWh an hour: hours of 0.1, 0.2, ..., 2.4 kg/kWh until another import, 0.5 on all other days."""
    await fill_march(factory, {"incomer": (1000.0, 0.0)})
    begin, end = datetime(2026, 3, 9, 23, tzinfo=UTC), datetime(2026, 3, 10, 23, tzinfo=UTC)
    day = {"from": "2026-03-10", "to": "2026-03-11"}
    client = open_client(end + timedelta(seconds=20), plant_age_s=0.0)

    async def figures() -> list[float]:
        span = {"from": begin.isoformat(), "to": end.isoformat(), "carbon": "true"}
        ledger = (await client.get("/api/v1/carbon/ledger", params=day)).json()["total"]["location_kg"]
        (group,) = (await client.get("/api/v1/energy/sums", params=span)).json()["groups"]
        rolling = (await client.get("/api/v1/carbon/rolling", params={"window": ["24h", "month_to_date"]})).json()
        full_day, month = (each["kg_co2"] for each in rolling["windows"])
        return [ledger, group["periods"][0]["kg_co2"], full_day, month - 9 * 24 * 500]

    assert await figures() == pytest.approx([12_000] * 4)
    hours = [HourlyFactor(begin + n * HOUR, begin + (n + 1) * HOUR, Decimal(n + 1) / 10, "grid") for n in range(24)]
    await import_hours(factory.pool, FactorFile(REGION, "location", "a.csv", "a", "l.wei", hours))
    assert await figures() == pytest.approx([30_000] * 4)
    rolling = (await client.get("/api/v1/carbon/rolling", params={"window": "7d"})).json()["windows"][0]
    assert [(each["resolution"], each["kg_per_kwh"], each["version"]) for each in rolling["factors"]] == [
        ("period", 0.5, 1), ("hour", None, 1),
    ]  # fmt: skip
    (listed,) = (await client.get("/api/v1/carbon/factors")).json()["factors"][:1]
    assert (listed["method"], listed["in_force"]) == ("location", True), "23:00 has no factor of its own any more"
    revised = [replace(each, kg_per_kwh=Decimal(1)) for each in hours[:12]]
    await import_hours(factory.pool, FactorFile(REGION, "location", "b.csv", "b", "l.wei", revised))
    assert await figures() == pytest.approx([12_000 + 22_200] * 4)
    await withdraw_import(factory.pool, REGION, "location", 2, author="l.wei", note="of another region")
    assert await figures() == pytest.approx([30_000] * 4)
    await withdraw_import(factory.pool, REGION, "location", 1, author="l.wei", note="the same")
    assert await figures() == pytest.approx([12_000] * 4)


@pytest.mark.parametrize(
    ("params", "status", "field"),
    [
        ({"from": "2026-03-01", "to": "2026-03-01"}, 422, "query.from"),
        ({"from": "1999-01-01", "to": "2026-03-01"}, 422, "query.from"),
        ({"from": "2020-01-01", "to": "2026-03-01"}, 422, "query.from"),
        ({"from": "March"}, 422, "query.from"),
        ({"from": "2027-01-01", "to": "2027-02-01"}, 409, None),
    ],
)
async def test_a_range_that_cannot_be_is_refused(
    factory: Factory, open_client: OpenClient, params: dict[str, str], status: int, field: str | None
) -> None:
    answer = await open_client(NOW).get("/api/v1/carbon/ledger", params=params)
    assert answer.status_code == status, factory.url
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field


async def test_writing_needs_a_token_and_the_ledger_refuses_what_it_cannot_be(
    factory: Factory, open_client: OpenClient
) -> None:
    client = open_client(NOW)
    headers = {"Authorization": f"Bearer {await create_token(factory.pool, 'test')}"}

    async def post(path: str, body: dict[str, Any], *, token: bool = True) -> tuple[int, dict[str, Any]]:
        answer = await client.post(f"/api/v1/carbon/{path}", json=body, headers=headers if token else {})
        return answer.status_code, answer.json()

    for path, body in (("activities", NF3), ("certificates", GEC), ("certificates/1/events", RETIRE)):
        assert (await post(path, body, token=False))[0] == 401
    assert await post("activities", NF3) == (200, {"reference": "NF3-2026-03", "outcome": "added"})
    assert (await post("activities", NF3))[1]["outcome"] == "unchanged"
    status, problem = await post("activities", NF3 | {"amount": "900"})
    assert (status, problem["type"]) == (409, "urn:emsd:problem:ledger-refused")
    assert (await post("activities", NF3 | {"amount": "900", "replace": True}))[1]["outcome"] == "replaced"
    status, problem = await post("activities", NF3 | {"reference": "X", "process": "implant"})
    assert (status, problem["errors"][0]["field"]) == (422, "body.process")
    assert (await post("activities", NF3 | {"reference": "X", "area": "attic"}))[0] == 404
    assert await post("certificates", GEC) == (201, {"number": 1})
    assert (await post("certificates", GEC))[0] == 409
    assert (await post("certificates/1/events", RETIRE | {"energy_mwh": "100.1"}))[0] == 409
    assert (await post("certificates/1/events", RETIRE | {"kind": "sell"}))[0] == 422
    assert (await post("certificates/1/events", RETIRE | {"period_from": APRIL.isoformat()}))[0] == 422
    assert (await post("certificates/9/events", RETIRE))[0] == 404
    assert (await post("certificates/1/events", RETIRE))[0] == 201
    (event,) = (await client.get("/api/v1/carbon/certificates/1/events")).json()["events"]
    assert (event["kind"], event["energy_mwh"], event["is_reversed"]) == ("retire", 74.3, False)
    rows = (await client.get("/api/v1/carbon/activities", params={"all_versions": True})).json()["activities"]
    assert [(row["activity"]["amount"], row["in_force"]) for row in rows] == [("900", True), ("1000", False)]
    assert rows[0]["kg_co2e"]["AR5"] == 391_230
    later = {"from": APRIL.isoformat()}
    assert (await client.get("/api/v1/carbon/activities", params=later)).json() == {"activities": []}


async def test_a_statement_can_be_checked_here_and_with_tools_of_ones_own(
    factory: Factory, open_client: OpenClient, tmp_path: Path
) -> None:
    await fill_march(factory, {"incomer": (1000.0, 0.0)})
    key = create_key(tmp_path / "key.pem")
    wanted = Wanted(1, date(2026, 3, 1), date(2026, 4, 1), "l.wei")
    number = await create_statement(factory.pool, key, wanted, now=NOW)
    client = open_client(NOW)
    (summary,) = (await client.get("/api/v1/carbon/statements")).json()["statements"]
    assert (summary["statement_id"], summary["author"], summary["restated_by"]) == (number, "l.wei", None)
    one = (await client.get(f"/api/v1/carbon/statements/{number}")).json()
    assert one["document"]["results"]["total"]["location_kg"] == "371500"
    document = (await client.get(f"/api/v1/carbon/statements/{number}/document")).content
    assert hashlib.sha256(document).hexdigest() == one["sha256"]
    assert is_signed(document, (await statement_numbered(factory.pool, 1, number)).signature, one["public_key"])
    script = DOCUMENTATION.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    app = create_app(ApiDependencies(factory.pool, 1, CollectorRegistry(), now=lambda: NOW))
    async with serve(app) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, f"{url}/api/v1/carbon/statements/{number}", stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
    assert told.decode() == f"signed by {one['key_fingerprint']} 371500 kg\n"
    proof = (await client.get(f"/api/v1/carbon/statements/{number}/verification")).json()
    assert (proof["holds"], proof["problems"], proof["changed_since"]) == (True, [], [])
    await factory.add_factor(0.4, MARCH)
    proof = (await client.get(f"/api/v1/carbon/statements/{number}/verification")).json()
    assert proof["holds"]
    assert {"what": "total location_kg", "before": "371500", "after": "297200"} in proof["changed_since"]
    for path in ("", "/document", "/verification"):
        assert (await client.get(f"/api/v1/carbon/statements/99{path}")).status_code == 404
