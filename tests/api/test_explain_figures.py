"""Costs, demand, carbon, key figures, footprints and residuals explained: every number was worked out by hand."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from emsd.api.explained.form import Part, added, judged
from emsd.cli import app
from emsd.plant.production import AreaAllocation
from emsd.signing import create_key
from emsd.statements import Wanted, create_statement
from emsd.store.gauges import quantity_ids
from emsd.store.tokens import create_token
from tests.api import test_carbon_ledger as carbon
from tests.api import test_cost as cost
from tests.api import test_explain as energy
from tests.api import test_footprint as products
from tests.api import test_kpi as kpi
from tests.api.conftest import METER_ID, Factory, OpenClient

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


async def explained(client: httpx.AsyncClient, kind: str, **asked: Any) -> dict[str, Any]:
    """Ask for an explanation; its figure must be what its parts make, and every sum in it must hold."""
    asked = {name.rstrip("_"): each.isoformat() if isinstance(each, datetime) else each for name, each in asked.items()}
    answer = await client.get(f"/api/v1/explain/{kind}", params=asked)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body["kind"] == kind
    assert body["agrees"], body["remark"]
    assert body["recomputed"] == pytest.approx(body["figure"])
    for part in body["parts"]:
        sums_hold(part)
    return body


def sums_hold(part: dict[str, Any]) -> None:
    """Wherever all parts of a part are listed and some count in it, they are its sum."""
    counted = [each for each in part["parts"] if each["sign"]]
    if counted and part["part_count"] <= len(part["parts"]):
        total = sum(-each["figure"] if each["sign"] == "-" else each["figure"] for each in counted)
        assert part["figure"] == pytest.approx(total), part["what"]
    for each in part["parts"]:
        sums_hold(each)


def part(body: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return the part that begins with these words, level by level."""
    found = body
    for what in path:
        found = next(each for each in found["parts"] if each["what"].startswith(what))
    return found


async def printed(factory: Factory, *words: str) -> str:
    """Run `emsd explain` and return what it prints; its exit code must say that the figure agrees."""
    asked = ["explain", *words, "--database-url", factory.url]
    result = await asyncio.to_thread(CliRunner().invoke, app, asked)
    assert result.exit_code == 0, result.output
    return " ".join(re.sub("[│├└─┃]", " ", result.stdout).split())


async def test_the_bill_of_a_month_of_743_hours_is_put_together_from_its_rates(
    factory: Factory, open_client: OpenClient
) -> None:
    """1 kWh a quarter hour: 31 x 48 of them peak, the rest night, one hour less by the change of the clock."""
    await cost.use(factory, cost.TARIFF | {"power_factor": {"standard": 0.9}}, contract_demand_kw=4000)
    await cost.quarters(factory, "incomer", cost.MARCH, cost.APRIL, drawn=1.0, given=0.5)
    async with factory.pool.acquire() as connection:
        quantity = (await quantity_ids(connection))["reactive_power_kvar"]
    await factory.execute(
        "INSERT INTO gauge_15m (bucket, meter_id, quantity_id, avg_value, min_value, max_value, sample_count)"
        " SELECT bucket, $1, $2, 3, 3, 3, 900 FROM interval_15m",
        METER_ID["incomer"], quantity,
    )  # fmt: skip
    client = open_client(cost.NOW)
    body = await explained(client, "cost", from_=cost.MARCH, to=cost.APRIL)
    (answered,) = (await cost.cost(client, from_=cost.MARCH, to=cost.APRIL))["rows"]
    # 4 kW and 3 kvar are a power factor of .8, for which 5 % are added to energy and demand.
    net = (1488 * 0.3 + 1484 * 0.1 + 4 * 9.5) * 1.05 + 2972 * 0.02 + 50
    assert body["figure"] == answered["bill"]["total"] == pytest.approx(net * 1.1 - 1486 * 0.08)
    (month,) = body["parts"]
    peak = part(month, "energy", "energy, peak")
    assert peak["figure"] == pytest.approx(446.4)
    assert peak["how"] == "1488 kWh x 0.3 EUR/kWh"
    assert peak["part_count"] == 31
    assert (peak["parts"][0]["from"], peak["parts"][0]["to"]) == ("2026-03-01T07:00:00Z", "2026-03-01T19:00:00Z")
    assert peak["parts"][0]["figure"] == pytest.approx(48 * 0.3)
    charge = part(month, "demand charge")
    assert (charge["figure"], charge["how"]) == (pytest.approx(38), "4 kW x 9.5 EUR/kW, maximum demand")
    assert charge["parts"][0]["explain"].startswith("/api/v1/explain/demand?")
    penalty = part(month, "power factor")
    assert penalty["facts"]["power_factor"] == pytest.approx(0.8)
    assert penalty["facts"]["reactive_kvarh"] == pytest.approx(743 * 3)
    assert part(month, "feed-in credit")["sign"] == "-"
    assert [each["kind"] for each in body["sources"]] == ["tariff", "meter"]
    # What is no whole month has no bill, but its energy costs something.
    day = await explained(client, "cost", from_=cost.MARCH + 24 * HOUR, to=cost.MARCH + 48 * HOUR)
    assert (day["figure"], day["field"]) == (pytest.approx(48 * 0.3 + 48 * 0.1), "/api/v1/cost rows.energy_cost")
    assert part(day, "levies")["sign"] == ""
    report = await printed(factory, "cost", "--month", "2026-03")
    for words in ("bill of site", "its parts make the same", "1488 kWh x 0.3 EUR/kWh", "demand charge", "tariff"):
        assert words in report


async def test_the_highest_demand_is_traced_to_its_readings(factory: Factory, open_client: OpenClient) -> None:
    """The feeder runs at 860 kW from 23:00 on; its readings of a tenth of a kWh every five minutes say so."""
    await energy.accounted(factory)
    client = open_client(energy.NOW)
    asked = {"scope": "meter", "key": "fab-feeder"} | {name: energy.ASKED[name] for name in ("from", "to")}
    body = await explained(client, "demand", **asked)
    (answered,) = (await client.get("/api/v1/demand", params=asked | {"per": "total"})).json()["rows"]
    assert body["figure"] == answered["block"]["demand_kw"] == pytest.approx(860, abs=0.5)
    meter = part(body, "meter fab-feeder")
    assert meter["from"] == answered["block"]["from"]
    assert meter["figure"] == pytest.approx(4 * meter["facts"]["import_kwh"])
    last, first = (
        part(meter, "meter fab-feeder", "import", which)["figure"] for which in ("last reading", "first reading")
    )
    assert last - first == pytest.approx(meter["facts"]["import_kwh"])
    assert part(body, "2. highest")["figure"] <= body["figure"]
    # While the feeder was silent no period was measured, and that is said.
    assert "24 of 96 periods are not 90 % measured" in body["remark"]
    slid = await explained(client, "demand", **asked, sliding=True)
    assert slid["figure"] == answered["sliding"]["demand_kw"] >= body["figure"]
    report = await printed(factory, "demand", "fab-feeder", "--from", "2026-03-12")
    assert "highest demand of meter fab-feeder" in report
    assert "last reading" in report


async def test_figures_of_the_ledger_and_of_a_statement_are_energies_and_amounts_times_factors(
    factory: Factory, open_client: OpenClient, tmp_path: Path
) -> None:
    await carbon.fill_march(factory, {"incomer": (1000.0, 100.0), "pv": (None, 300.0)})
    client = open_client(carbon.NOW)
    headers = {"Authorization": f"Bearer {await create_token(factory.pool, 'test')}"}
    entry = carbon.NF3 | {"abated_share": "1"}
    assert (await client.post("/api/v1/carbon/activities", json=entry, headers=headers)).status_code == 200
    number = (await client.post("/api/v1/carbon/certificates", json=carbon.GEC, headers=headers)).json()["number"]
    events = f"/api/v1/carbon/certificates/{number}/events"
    assert (await client.post(events, json=carbon.RETIRE, headers=headers)).status_code == 201
    answered = (await client.get("/api/v1/carbon/ledger", params=carbon.MONTH)).json()["total"]

    location = await explained(client, "carbon", figure="location", **carbon.MONTH)
    assert location["figure"] == answered["location_kg"] == pytest.approx(743 * 500)
    assert part(location, "grid energy")["how"] == "743000 kWh x 0.5 kg/kWh"
    assert [each["name"] for each in location["sources"] if each["kind"] == "grid meter"] == ["incomer"]
    market = await explained(client, "carbon", figure="market", **carbon.MONTH)
    assert market["figure"] == answered["market_kg"] == pytest.approx((743_000 - 74_300) * 0.6)
    certificate = part(market, f"certificate {number}")
    assert (certificate["figure"], certificate["how"]) == (0.0, "74300 kWh covered x 0 kg/kWh")
    assert part(market, "energy by the residual mix")["how"] == "668700 kWh x 0.6 kg/kWh"
    scope1 = await explained(client, "carbon", figure="scope1", **carbon.MONTH)
    # 1,000 kg of NF3 of which 95 % are destroyed: 21.735 t by AR5.
    assert scope1["figure"] == answered["scope1_kg"] == pytest.approx(21_735)
    gas = part(scope1, "NF3, entry NF3-2026-03", "NF3")
    assert gas["how"] == "1000 kg x 0.9 used, without the heel x 0.03 kg/kg emitted x 0.05 not destroyed x 16100 GWP"

    key = create_key(tmp_path / "key.pem")
    statement = await create_statement(
        factory.pool, key, Wanted(1, date(2026, 3, 1), date(2026, 4, 1), "l.wei"), now=carbon.NOW
    )
    await factory.add_factor(0.4, carbon.MARCH)
    frozen = await explained(client, "carbon", figure="location", statement=statement)
    assert frozen["figure"] == pytest.approx(743 * 500)
    assert (await explained(client, "carbon", figure="location", **carbon.MONTH))["figure"] == pytest.approx(743 * 400)
    (source,) = [each for each in frozen["sources"] if each["kind"] == "statement"]
    assert source["facts"]["holds"]
    report = await printed(factory, "carbon", "market", "--statement", str(statement))
    assert "74300 kWh covered x 0 kg/kWh" in report
    missing = await client.get("/api/v1/explain/carbon", params={"statement": 99})
    assert missing.status_code == 404


async def test_a_key_figure_names_its_inputs_or_why_it_has_no_value(factory: Factory, open_client: OpenClient) -> None:
    """100 kW over the 23 hours in which 1,000 Nm3 an hour were measured: 6 kW/(Nm3/min)."""
    await kpi.fill(factory)
    client = open_client(kpi.NOW)
    asked = {"asset": "compressor", "from_": kpi.BEGIN, "to": kpi.END}
    body = await explained(client, "kpi", name="compressor_specific_power", **asked)
    assert body["figure"] == pytest.approx(6.0)
    used, air = part(body, "energy_kwh"), part(body, "air_nm3")
    assert (used["figure"], air["figure"]) == (pytest.approx(2300), pytest.approx(23_000))
    assert used["facts"]["quarter_hours"] == 92
    feeder = part(used, "energy_import_kwh of compressor-feeder")
    assert (feeder["figure"], feeder["facts"]["coverage"]) == (pytest.approx(4700), pytest.approx(1.0))
    assert part(air, "air_volume_nm3 of compressor-controller")["facts"]["method"] == "counter"
    rules = {each["name"]: each["rule"] for each in body["rules"]}
    assert rules["coverage"].startswith("48.94 % of the time asked for")
    assert "sum of electricity x 60" in rules["formula"]
    none = await client.get(
        "/api/v1/explain/kpi",
        params={"asset": "compressor", "name": "compressor_load_ratio", "from": kpi.BEGIN.isoformat()},
    )
    assert (none.json()["figure"], none.json()["recomputed"]) == (None, None)
    assert none.json()["remark"] == "no meter of compressor delivers running_hours_h"
    report = await printed(
        factory, "kpi", "compressor", "compressor_specific_power", "--from", "2026-03-29", "--to", "2026-03-30T23:00"
    )
    assert "air_volume_nm3 of compressor-controller" in report
    unknown = await client.get("/api/v1/explain/kpi", params={"asset": "compressor", "name": "chiller_cop"})
    assert unknown.status_code == 404


async def test_the_footprint_of_a_product_is_its_share_of_stages_and_shared_areas(
    factory: Factory, open_client: OpenClient
) -> None:
    """300 kW of the stage itself, 300 of the fab and 300 of the plant's rest by its energy; the utility by none."""
    await products.fill(factory, AreaAllocation(area="utility", by="none"))
    await products.count(factory)
    client = open_client(products.NOW)
    window = products.window()
    body = await explained(client, "footprint", product="small", measure="kwh", **window)
    small, _ = (await client.get("/api/v1/footprint", params=window)).json()["products"]
    share = (10_000 * 0.01 * 12) / (10_000 * 0.01 * 12 + 110 * 0.5 * 6)
    assert body["figure"] == small["total"]["energy_kwh"] == pytest.approx(900 * 47 * share)
    stage = part(body, "stage etch")
    assert stage["facts"]["share_of_the_stage"] == pytest.approx(share)
    for area in ("shared area fab", "shared area plant"):
        assert part(stage, area)["figure"] == pytest.approx(300 * 47 * share)
        assert part(stage, area)["facts"]["allocation_key"] == "stage_energy"
    assert part(body, "per good unit")["figure"] == small["per_unit"]["energy_kwh"]
    assert "area utility is in no product" in body["remark"]
    emitted = await explained(client, "footprint", product="small", **window)
    assert emitted["figure"] == small["total"]["total_kg_co2e"]
    assert emitted["figure"] == pytest.approx(900 * (24 * 0.5 + 23 * 0.4) * share)
    report = await printed(
        factory, "footprint", "small", "--measure", "kwh", "--from", "2026-03-28", "--to", "2026-03-30"
    )
    assert "by stage energy" in report
    unknown = await client.get("/api/v1/explain/footprint", params={"product": "smal"})
    assert unknown.status_code == 404


async def test_the_residual_of_a_bus_is_what_its_meters_leave(factory: Factory, open_client: OpenClient) -> None:
    """Every minute 1.0 kWh from the grid and 0.2 from the sun, 0.6 and 0.55 to feeders, one silent for a while."""
    noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
    await factory.fill("incomer", noon - 4 * HOUR, noon, imported=1.0, exported=0.0)
    await factory.fill("fab-feeder", noon - 4 * HOUR, noon, imported=0.6)
    await factory.fill("compressor-feeder", noon - 4 * HOUR, noon - HOUR, imported=0.55)
    await factory.fill("pv", noon - 4 * HOUR, noon, imported=0.0, exported=0.2)
    await factory.account()
    await factory.execute("UPDATE meter SET residual_kind = 'losses' WHERE key = 'incomer'")
    client = open_client(noon + MINUTE)
    body = await explained(client, "balance", bus="incomer", from_=noon - 4 * HOUR, to=noon)
    window = {"bus": "incomer", "from": (noon - 4 * HOUR).isoformat(), "to": noon.isoformat()}
    (bus,) = (await client.get("/api/v1/energy/balance", params=window)).json()["buses"]
    assert body["figure"] == bus["residual_kwh"] == pytest.approx(180 * 0.05)
    assert body["of"] == "losses of incomer"
    assert [(each["what"], each["sign"]) for each in body["parts"]][:2] == [
        ("bus incomer", "+"),
        ("meter fab-feeder", "-"),
    ]
    assert part(body, "meter pv")["figure"] == pytest.approx(-36)
    assert part(body, "in percent")["figure"] == pytest.approx(100 * 9 / 216)
    assert "compressor-feeder is not known in 25 % of the time" in body["remark"]
    report = await printed(factory, "balance", "incomer", "--from", "2026-03-10T09:00", "--to", "2026-03-10T13:00")
    assert "losses of incomer" in report
    wrong = await client.get("/api/v1/explain/balance", params={"bus": "tool-1"})
    assert wrong.status_code == 404


async def test_all_answers_have_one_form_and_wrong_questions_their_cure(
    factory: Factory, open_client: OpenClient
) -> None:
    client = open_client(cost.NOW)
    form = (await client.get("/openapi.json")).json()["components"]["schemas"]["Explanation"]["properties"]
    for path in ("energy?scope=meter&key=tool-1", "cost", "demand", "carbon", "balance?bus=incomer"):
        body = (await client.get(f"/api/v1/explain/{path}")).json()
        assert set(form) <= set(body), path
        assert (body["figure"], body["recomputed"], body["agrees"]) == (None, None, True), path
    for path, field in (
        ("cost?from=2026-03-01T00:07:00Z", "query.from"),
        ("demand?sliding=true&from=2026-03-01T00:00:00Z", "query.from"),
        ("carbon?from=2026-03-01&to=2026-03-01", "query.from"),
        ("carbon?statement=1&from=2026-03-01", "query.statement"),
        ("footprint?product=small&to=2026-03-01T00:07:00Z", "query.to"),
        ("balance?bus=incomer&from=2030-03-01T00:00:00Z", "query.from"),
    ):
        answer = await client.get(f"/api/v1/explain/{path}")
        assert answer.status_code == 422, (path, answer.text)
        assert answer.json()["errors"][0]["field"] == field
    for words, said in (
        (["cost", "tool-9"], "tool-1"),
        (["cost", "--scope", "area"], "needs a key"),
        (["energy", "--from", "noon"], "is no time"),
        (["energy", "--from", "2026-03-02", "--to", "2026-03-01"], "is not after"),
        (["cost", "--month", "March"], "is not a month"),
        (["demand", "--from", "2026-03-02T00:07"], "no settlement period"),
    ):
        asked = ["explain", *words, "--database-url", factory.url]
        result = await asyncio.to_thread(CliRunner().invoke, app, asked)
        assert result.exit_code == 2, (words, result.output)
        assert said in result.output
    shown = await asyncio.to_thread(
        CliRunner().invoke, app, ["explain", "carbon", "scope1", "--json", "--database-url", factory.url]
    )
    assert json.loads(shown.stdout)["kind"] == "carbon"


def test_a_figure_that_its_parts_do_not_make_is_said_with_the_difference() -> None:
    parts = [Part(what="one", figure=10.0, unit="kWh"), Part(what="other", figure=4.0, unit="kWh", sign="-")]
    beside = Part(what="beside", figure=99.0, unit="kWh", sign="")
    assert added([*parts, beside]) == 6.0
    assert judged(6.0, added(parts), "kWh") == (True, "")
    assert judged(7.0, 6.0, "kWh") == (False, "the parts make 1 kWh less; no cause is known")
    assert judged(None, 6.0, "kWh", ["late data"]) == (
        False,
        "the figure is unknown, but the parts make 6 kWh; late data",
    )
    assert judged(6.0, None, "kWh") == (False, "the figure is 6 kWh, but its parts are unknown")
    assert added([Part(what="unknown", figure=None, unit="kWh")]) is None
