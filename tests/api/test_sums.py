"""Energy and carbon by group and period: numbers worked out by hand, and those of plain SQL over the minutes."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet
import pytest

from emsd.api.schemas.sums import EnergySums

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

# Berlin changes to summer time on 29 March 2026 at 01:00 UTC: that local day has 23 hours.
BEGIN = datetime(2026, 3, 27, 23, tzinfo=UTC)  # 28 March, 00:00
END = datetime(2026, 4, 1, 10, 20, tzinfo=UTC)  # 1 April, 12:20
NOW = END + timedelta(seconds=20)
HOURS = (END - BEGIN) / timedelta(hours=1)

# Energy of one minute [kWh]. At the incomer's bus: 1 = 0.6 + 0.35 + (0.25 - 0.2 PV), 0.05 of it exported at times.
INCOMER, FEEDER, TOOL_1, TOOL_2, COMPRESSOR, PV = 1.0, 0.6, 0.25, 0.125, 0.35, 0.2


@pytest.fixture
async def five_days(factory: Factory) -> Factory:
    await factory.fill("incomer", BEGIN, END, imported=INCOMER, exported=0.05)
    await factory.fill("fab-feeder", BEGIN, END, imported=FEEDER, estimated=0.06, coverage=0.9)
    await factory.fill("tool-1", BEGIN, END, imported=TOOL_1)
    await factory.fill("tool-2", BEGIN, END, imported=TOOL_2)
    await factory.fill("compressor-feeder", BEGIN, END, imported=COMPRESSOR)
    await factory.fill("pv", BEGIN, END, imported=0.0, exported=PV)
    await factory.account()
    await factory.add_factor(0.5, datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 3, 30, 10, 7, tzinfo=UTC))
    await factory.add_factor(0.25, datetime(2026, 3, 30, 10, 7, tzinfo=UTC))
    return factory


async def sums(client: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await client.get("/api/v1/energy/sums", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    EnergySums.model_validate(body)
    return body


def by_key(body: dict[str, Any]) -> dict[str | None, dict[str, Any]]:
    return {group["key"]: group for group in body["groups"]}


@pytest.mark.usefixtures("five_days")
async def test_areas_by_month_count_each_kilowatt_hour_once_and_an_area_includes_those_in_it(
    open_client: OpenClient,
) -> None:
    client = open_client(NOW)
    body = await sums(client, by="area", per="month", **{"from": BEGIN.isoformat(), "to": END.isoformat()})
    assert body["time_zone"] == "Europe/Berlin"
    assert body["carbon_basis"] is None
    groups = by_key(body)
    assert {key: group["meters"] for key, group in groups.items()} == {
        "plant": ["incomer"],
        "fab": ["fab-feeder"],  # the tools hang below the feeder, which is in the area too
        "line": ["tool-1", "tool-2"],
        "bay": ["tool-1"],
        "utility": ["compressor-feeder", "pv"],
    }
    assert {key: group["parent"] for key, group in groups.items()} == {
        "plant": None, "fab": "plant", "line": "fab", "bay": "line", "utility": "plant",
    }  # fmt: skip
    # 28 to 31 March are 24 + 23 + 24 + 24 hours; April so far are 12 h 20 min.
    march, april = 95 * 60, 740
    for key, minute_kwh in {"plant": INCOMER, "fab": FEEDER, "line": TOOL_1 + TOOL_2, "bay": TOOL_1}.items():
        of_march, of_april = groups[key]["periods"]
        assert (of_march["period"], of_april["period"]) == ("2026-03", "2026-04")
        assert (of_march["from"], of_march["to"]) == ("2026-03-27T23:00:00Z", "2026-03-31T22:00:00Z")
        assert (of_april["from"], of_april["to"]) == ("2026-03-31T22:00:00Z", "2026-04-01T10:20:00Z")
        assert of_march["import_kwh"] == pytest.approx(march * minute_kwh)
        assert of_april["import_kwh"] == pytest.approx(april * minute_kwh)
        assert of_march["kg_co2"] is None
    plant_march = groups["plant"]["periods"][0]
    assert plant_march["net_kwh"] == pytest.approx(march * 0.95)
    assert plant_march["generation_kwh"] == pytest.approx(march * PV)
    assert plant_march["consumption_kwh"] == pytest.approx(march * (0.95 + PV))
    assert groups["fab"]["periods"][0]["estimated_share"] == pytest.approx(0.1)
    assert groups["fab"]["periods"][0]["coverage"] == pytest.approx(0.9)
    assert groups["line"]["periods"][0]["coverage"] == pytest.approx(1.0)
    # What is not metered is null and never 0: no tool counts export, and no PV is below the fab.
    assert groups["bay"]["periods"][0]["export_kwh"] is None
    assert groups["fab"]["periods"][0]["generation_kwh"] is None


@pytest.mark.usefixtures("five_days")
async def test_days_of_the_change_of_clocks_have_their_hours_and_edges_their_minutes(open_client: OpenClient) -> None:
    begin, end = datetime(2026, 3, 28, 20, 7, tzinfo=UTC), datetime(2026, 3, 30, 6, 50, tzinfo=UTC)
    client, span = open_client(NOW), {"from": begin.isoformat(), "to": end.isoformat()}
    body = await sums(client, per="day", **span)
    (site,) = body["groups"]
    assert (site["key"], site["name"], site["meters"]) == (None, "Test fab", ["incomer"])
    assert [(each["period"], each["import_kwh"]) for each in site["periods"]] == [
        ("2026-03-28", pytest.approx(173)),  # 21:07 to midnight
        ("2026-03-29", pytest.approx(23 * 60)),
        ("2026-03-30", pytest.approx(8 * 60 + 50)),  # to 08:50 of summer time
    ]
    assert [each["coverage"] for each in site["periods"]] == [1.0, 1.0, 1.0]
    (feeder,) = (await sums(client, per="day", scope="meter", key="fab-feeder", **span))["groups"]
    assert [each["coverage"] for each in feeder["periods"]] == pytest.approx([0.9, 0.9, 0.9])


@pytest.mark.usefixtures("five_days")
async def test_carbon_takes_the_factor_of_its_minute_and_the_grid_for_the_site(open_client: OpenClient) -> None:
    span = {"from": "2026-03-30T08:00:00Z", "to": "2026-03-30T12:00:00Z"}
    client = open_client(NOW)
    site = (await sums(client, carbon="true", **span))["groups"][0]["periods"][0]
    # 127 minutes at 0.5 and 113 at 0.25; the site's basis is what it drew from the grid.
    assert site["period"] == "total"
    assert site["kg_co2"] == pytest.approx(127 * 0.5 + 113 * 0.25)
    assert site["carbon_coverage"] == 1.0
    body = await sums(client, by="asset_kind", carbon="true", **span)
    assert body["carbon_basis"] == "consumption"
    kinds = by_key(body)
    assert set(kinds) == {"incomer", "cleanroom", "process_tool", "compressor", "pv_inverter"}
    tools = kinds["process_tool"]["periods"][0]
    assert tools["kg_co2"] == pytest.approx((127 * 0.5 + 113 * 0.25) * (TOOL_1 + TOOL_2))


@pytest.mark.usefixtures("five_days")
async def test_a_scope_keeps_only_its_meters_and_every_kind_of_group_works(open_client: OpenClient) -> None:
    client = open_client(NOW)
    span = {"from": "2026-03-30T08:00:00Z", "to": "2026-03-30T09:00:00Z"}
    in_fab = await sums(client, by="asset", scope="area", key="fab", **span)
    assert {key: group["meters"] for key, group in by_key(in_fab).items()} == {
        "cleanroom": ["fab-feeder"], "etcher-1": ["tool-1"], "etcher-2": ["tool-2"],
    }  # fmt: skip
    assert by_key(in_fab)["etcher-1"]["name"] == "Etcher-1"
    tools_in_bay = await sums(client, by="asset_kind", scope="area", key="bay", **span)
    assert {key: group["meters"] for key, group in by_key(tools_in_bay).items()} == {"process_tool": ["tool-1"]}
    stages = await sums(client, by="stage", **span)
    assert by_key(stages)["etch"]["periods"][0]["import_kwh"] == pytest.approx(60 * (TOOL_1 + TOOL_2))
    meters = await sums(client, by="meter", **span)
    assert set(by_key(meters)) == {"incomer", "fab-feeder", "tool-1", "tool-2", "compressor-feeder", "pv"}
    fab_as_site = await sums(client, by="site", scope="area", key="fab", carbon="true", **span)
    assert fab_as_site["carbon_basis"] == "consumption"
    assert fab_as_site["groups"][0]["meters"] == ["fab-feeder"]


@pytest.mark.usefixtures("five_days")
async def test_quarter_hours_equal_plain_sql_over_the_minutes(factory: Factory, open_client: OpenClient) -> None:
    begin, end = datetime(2026, 3, 28, 22, 52, tzinfo=UTC), datetime(2026, 3, 30, 1, 3, tzinfo=UTC)
    await factory.execute("UPDATE interval_1m SET energy_import_kwh = extract(epoch FROM bucket)::bigint % 7919 / 60.0")
    await factory.execute("TRUNCATE interval_15m, interval_1d")
    await factory.account()
    span = {"from": begin.isoformat(), "to": end.isoformat()}
    body = await sums(open_client(NOW), by="meter", per="15m", **span)
    rows = await factory.pool.fetch(
        "SELECT key, greatest(time_bucket('15 minutes', bucket), $1) AS begin, sum(energy_import_kwh) AS kwh"
        " FROM interval_1m JOIN meter USING (meter_id) WHERE bucket >= $1 AND bucket < $2 GROUP BY 1, 2",
        begin,
        end,
    )
    expected = {(row["key"], row["begin"]): row["kwh"] for row in rows}
    found = {
        (group["key"], datetime.fromisoformat(each["from"])): each["import_kwh"]
        for group in body["groups"]
        for each in group["periods"]
    }
    assert found == pytest.approx(expected)
    assert len(found) == 6 * (1 + 104 + 1)
    labels = [each["period"] for each in body["groups"][0]["periods"]]
    # 02:00 to 03:00 does not exist on that day.
    assert labels[labels.index("2026-03-29T01:45:00+01:00") + 1] == "2026-03-29T03:00:00+02:00"


@pytest.mark.usefixtures("five_days")
async def test_the_same_sums_come_as_tables(open_client: OpenClient) -> None:
    client = open_client(NOW)
    asked = {"by": "area", "per": "month", "carbon": "true", "from": BEGIN.isoformat(), "to": END.isoformat()}
    body = await sums(client, **asked)
    answer = await client.get("/api/v1/energy/sums", params=asked | {"format": "csv"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    name = 'filename="emsd-sums-by-area-per-month-20260327T230000Z-20260401T102000Z.csv"'
    assert answer.headers["content-disposition"] == f"attachment; {name}"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    in_json = {(group["key"], each["period"]): each for group in body["groups"] for each in group["periods"]}
    assert {(row["area"], row["period"]) for row in rows} == set(in_json)
    for row in rows:
        figures = in_json[row["area"], row["period"]]
        for column in ("import_kwh", "export_kwh", "consumption_kwh", "coverage", "kg_co2"):
            assert (float(row[column]) if row[column] else None) == figures[column]
        assert datetime.fromisoformat(row["from"]) == datetime.fromisoformat(figures["from"])
    accepted = await client.get(
        "/api/v1/energy/sums", params=asked, headers={"Accept": "text/csv;q=0.5, application/vnd.apache.parquet"}
    )
    table = pyarrow.parquet.read_table(io.BytesIO(accepted.content)).to_pylist()
    assert [(each["area"], each["kg_co2"]) for each in table] == [
        (row["area"], float(row["kg_co2"]) if row["kg_co2"] else None) for row in rows
    ]


@pytest.mark.usefixtures("five_days")
async def test_without_a_range_it_is_the_local_month_to_date(open_client: OpenClient) -> None:
    body = await sums(open_client(NOW))
    assert (body["from"], body["to"]) == ("2026-03-31T22:00:00Z", "2026-04-01T10:20:00Z")


async def test_nothing_known_is_null_with_a_coverage_of_0(open_client: OpenClient) -> None:
    (site,) = (await sums(open_client(NOW), carbon="true"))["groups"]
    (period,) = site["periods"]
    assert period["import_kwh"] is period["consumption_kwh"] is period["kg_co2"] is period["estimated_share"] is None
    assert period["coverage"] == 0.0


WRONG: list[tuple[dict[str, str], int, str]] = [
    ({"from": "2026-03-30T08:00:30Z"}, 422, "no full minute"),
    ({"from": "2026-03-30T08:00:00Z", "to": "2026-03-30T08:00:00Z"}, 422, "not before the end"),
    ({"from": "2010-01-01T00:00:00Z"}, 422, "ten years"),
    ({"by": "meter", "per": "15m", "from": "2025-04-01T00:00:00Z"}, 422, "add format=csv"),
    ({"scope": "area"}, 422, "is missing for scope area"),
    ({"key": "fab"}, 422, "the site has no key"),
    ({"scope": "area", "key": "fabb"}, 404, "did you mean fab"),
    ({"by": "building"}, 422, "area"),
]


async def test_what_cannot_be_answered_names_its_cure(open_client: OpenClient) -> None:
    client = open_client(NOW)
    for asked, status, said in WRONG:
        answer = await client.get("/api/v1/energy/sums", params=asked)
        assert answer.status_code == status, asked
        assert said in answer.json()["detail"], asked
