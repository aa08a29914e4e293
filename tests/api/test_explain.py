"""A figure explained: the same engine over the raw readings says what the intervals say, and shows how."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from emsd.accounting import Accounting, MeterAccount
from emsd.accounting.estimating import Estimating
from emsd.accounting.virtual import VirtualMeters
from emsd.cli import app
from emsd.energy.counters import CounterRules
from emsd.energy.events import CounterPair, EventKind, MeterEvent
from emsd.readings import Quality, Reading, instant_us, reading_of
from emsd.store.meter_events import add_event
from emsd.store.readings import ReadingWriter

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

BERLIN = ZoneInfo("Europe/Berlin")
FIRST_DAY = datetime(2026, 3, 9, tzinfo=BERLIN)
DAY = datetime(2026, 3, 12, tzinfo=BERLIN)
NOW = DAY + timedelta(days=2)
FEEDER, TOOL = 1_000_002, 1_000_003  # fab-feeder, tool-1
RULES = CounterRules(max_gap_s=600.0, max_power_kw=1500.0, count_kwh=0.1)
ACCOUNTS = {
    FEEDER: MeterAccount(FEEDER, RULES, has_import=True, has_export=False, poll_interval_s=300.0),
    TOOL: MeterAccount(TOOL, RULES, has_import=False, has_export=False, poll_interval_s=300.0),
}
GAP = (DAY + timedelta(hours=2), DAY + timedelta(hours=8))
SWAP = DAY + timedelta(hours=15, minutes=2)


def power_kw(when: datetime) -> float:
    return 400.0 + 20.0 * when.hour


def readings() -> list[Reading]:
    """Four days of the feeder, on the last of which it is silent for six hours and exchanged in the afternoon."""
    found, kwh, offset_kwh, when = [], 250_000.0, 0.0, FIRST_DAY
    while when <= DAY + timedelta(days=1, hours=2):
        if when >= SWAP and not offset_kwh:
            offset_kwh = round(kwh, 1) - 17.5  # what the new meter showed is far below the old one
        if not GAP[0] < when < GAP[1]:
            quality = Quality.DEVICE_TIME if when < DAY + timedelta(hours=1) else Quality.GOOD
            values = {"energy_import_kwh": round(kwh - offset_kwh, 1)}
            found.append(reading_of(FEEDER, when, values, quality))
        if DAY <= when <= DAY + timedelta(hours=3):
            found.append(reading_of(TOOL, when, {"active_power_kw": 60.0}))
        kwh += power_kw(when) / 12
        when += timedelta(minutes=5)
    return found


async def accounted(factory: Factory) -> None:
    """Store the readings, write the swap down, and let accounting do its work."""
    async with ReadingWriter(factory.pool) as writer:
        await writer.write(readings())
    before = [each for each in readings() if each.meter_id == FEEDER and each.time < SWAP]
    final = (before[-1].value("energy_import_kwh") or 0.0) + 23.3
    swap = MeterEvent(
        EventKind.SWAP, instant_us(SWAP), final=CounterPair(import_kwh=final), initial=CounterPair(import_kwh=0.0)
    )
    await add_event(factory.pool, FEEDER, swap, author="j.weber", note="verification due, work order 4711", now=NOW)
    estimating = Estimating(ACCOUNTS, BERLIN, now=lambda: NOW)
    accounting = Accounting(factory.pool, ACCOUNTS, BERLIN, now=lambda: NOW)
    accounting.after_pass.append(estimating.after_pass)
    await accounting.run_until_clean()
    await factory.add_factor(0.5366, datetime(2022, 1, 1, tzinfo=BERLIN), DAY + timedelta(hours=12))
    await factory.add_factor(0.5306, DAY + timedelta(hours=12))


ASKED = {"scope": "meter", "key": "fab-feeder", "from": DAY.isoformat(), "to": (DAY + timedelta(days=1)).isoformat()}


async def test_a_day_with_a_swap_and_a_gap_is_explained_from_its_readings(
    factory: Factory, open_client: OpenClient
) -> None:
    await accounted(factory)
    client = open_client(NOW)
    answer = await client.get("/api/v1/explain/energy", params=ASKED)
    assert answer.status_code == 200, answer.text
    explained = answer.json()
    (meter,) = explained["meters"]
    (imported,) = meter["directions"]
    stored = await factory.pool.fetchval(
        "SELECT energy_import_kwh FROM interval_1d WHERE meter_id = $1 AND day = $2", FEEDER, DAY.date()
    )
    assert imported["stored_kwh"] == pytest.approx(stored, abs=1e-9)
    assert imported["figure_kwh"] == pytest.approx(stored, abs=1e-6)
    assert explained["agrees"]
    assert imported["agrees"]
    assert imported["remark"] == ""

    swap_and_sum(meter, imported)
    gap_and_estimate(imported)
    carbon(explained, stored)
    assert meter["rules"]["max_power_kw"] == 1500.0
    assert meter["rules"]["count_kwh"] == 0.1
    assert [(each["is_todays"], each["quarter_hours"]) for each in meter["versions"]] == [(True, 96)]
    # Without times it is yesterday, in the site's time zone.
    yesterday = await open_client(DAY + timedelta(days=1, hours=3)).get(
        "/api/v1/explain/energy", params={"scope": "meter", "key": "fab-feeder"}
    )
    assert yesterday.json() == explained


def swap_and_sum(meter: dict[str, Any], imported: dict[str, Any]) -> None:
    (event,) = meter["events"]
    assert (event["kind"], event["author"]) == ("swap", "j.weber")
    (swap,) = imported["special_stretches"]
    assert "swap" in swap["flags"]
    assert swap["before"]["value"] > 200_000
    assert swap["after"]["value"] < 100
    assert swap["counted_kwh"] == pytest.approx(23.3 + 17.5)
    total = imported["check_sum"]
    parts = (
        total["last_kwh"] - total["first_kwh"] + total["ratio_kwh"] + total["corrections_kwh"] - total["outside_kwh"]
    )
    assert parts == pytest.approx(total["figure_kwh"], abs=1e-6)
    assert total["holds"]
    assert abs(total["left_over_kwh"]) < 1e-6
    assert total["corrections_kwh"] == swap["correction_kwh"]
    assert imported["first"]["quality"] == ["device_time"]


def gap_and_estimate(imported: dict[str, Any]) -> None:
    (gap,) = imported["gaps"]
    assert (datetime.fromisoformat(gap["from"]), datetime.fromisoformat(gap["to"])) == GAP
    assert gap["length_s"] == 6 * 3600
    assert gap["energy_kwh"] == gap["inside_kwh"] == pytest.approx(imported["estimated_kwh"])
    estimate = gap["estimate"]
    assert estimate["like_days"] == ["2026-03-09", "2026-03-10", "2026-03-11"]
    assert estimate["energy_kwh"] == pytest.approx(gap["energy_kwh"])
    assert estimate["total_known"]
    assert estimate["shaped_quarter_hours"] == 24
    assert "like days" in gap["method"]
    assert imported["best_kwh"] == pytest.approx(imported["figure_kwh"])


def carbon(explained: dict[str, Any], kwh: float) -> None:
    first, second = explained["factors"]
    assert (first["kg_per_kwh"], second["kg_per_kwh"]) == (0.5366, 0.5306)
    assert first["to"] == second["from"]
    assert first["energy_kwh"] + second["energy_kwh"] == pytest.approx(kwh)
    assert explained["kg_co2"] == pytest.approx(0.5366 * first["energy_kwh"] + 0.5306 * second["energy_kwh"])


async def test_what_the_intervals_do_not_reflect_yet_is_named_as_the_cause(
    factory: Factory, open_client: OpenClient
) -> None:
    await accounted(factory)
    first = next(each for each in readings() if each.time == DAY).value("energy_import_kwh") or 0.0
    async with ReadingWriter(factory.pool) as writer:
        await writer.write(
            [
                reading_of(FEEDER, DAY + timedelta(minutes=1), {"energy_import_kwh": first + 15.0}),
                reading_of(FEEDER, DAY + timedelta(hours=23, minutes=57), {"energy_import_kwh": 1e9}),
            ]
        )
    asked = ASKED | {"from": (DAY + timedelta(minutes=2)).isoformat()}
    answer = (await open_client(NOW).get("/api/v1/explain/energy", params=asked)).json()
    (imported,) = answer["meters"][0]["directions"]
    assert not answer["agrees"]
    assert not imported["agrees"]
    assert imported["remark"].startswith("2 minutes have readings that accounting has not carried over yet")
    assert imported["special_counts"] == {"swap": 1, "glitch": 1}


async def test_a_meter_without_a_counter_an_area_and_a_virtual_meter_are_explained_too(
    factory: Factory, open_client: OpenClient
) -> None:
    await accounted(factory)
    client = open_client(NOW)
    tool = (await client.get("/api/v1/explain/energy", params=ASKED | {"key": "tool-1"})).json()
    imported = tool["meters"][0]["directions"][0]
    assert imported["source"] == "power"
    assert imported["figure_kwh"] == imported["stored_kwh"] == pytest.approx(180.0)
    assert imported["check_sum"] is None
    (silence,) = imported["gaps"]
    assert silence["energy_kwh"] is None
    assert datetime.fromisoformat(silence["from"]) == DAY + timedelta(hours=3)
    area = (await client.get("/api/v1/explain/energy", params=ASKED | {"scope": "area", "key": "fab"})).json()
    assert [(each["meter"], each["roles"]) for each in area["meters"]] == [("fab-feeder", ["top"])]
    assert area["import_kwh"] == area["meters"][0]["directions"][0]["figure_kwh"]
    site = (await client.get("/api/v1/explain/energy", params={"from": ASKED["from"], "to": ASKED["to"]})).json()
    assert [(each["meter"], each["roles"]) for each in site["meters"]] == [("incomer", ["top"]), ("pv", ["generation"])]
    assert site["import_kwh"] is None
    assert site["agrees"]
    await virtual_meter_is_explained_by_its_inputs(factory, open_client)


async def virtual_meter_is_explained_by_its_inputs(factory: Factory, open_client: OpenClient) -> None:
    await factory.execute(
        "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,"
        " poll_interval_s, max_gap_s, kind) SELECT 1000010, 1, asset_id, 'both', 'Both', 'virtual', '', '', true, 60,"
        " 300, 'virtual' FROM meter WHERE key = 'fab-feeder'"
    )
    await factory.execute(
        "INSERT INTO virtual_meter (meter_id, expression, missing) VALUES (1000010, 'fab-feeder + tool-1', 'unknown')"
    )
    await factory.execute(
        "INSERT INTO virtual_meter_input (meter_id, input_meter_id, factor) VALUES (1000010, $1, 1), (1000010, $2, 1)",
        FEEDER,
        TOOL,
    )
    client = open_client(NOW)
    both, *inputs = (await client.get("/api/v1/explain/energy", params=ASKED | {"key": "both"})).json()["meters"]
    assert (both["expression"], both["roles"], both["directions"][0]["source"]) == (
        "fab-feeder + tool-1",
        ["top"],
        "virtual",
    )
    assert [(each["meter"], each["roles"]) for each in inputs] == [("fab-feeder", ["input"]), ("tool-1", ["input"])]
    assert all(each["directions"][0]["agrees"] for each in inputs)
    # Its three hours in which both are known were not computed yet, and that is said.
    (imported, exported) = both["directions"]
    assert not imported["agrees"]
    assert imported["stored_kwh"] is None
    # The tool's 60 kW, the feeder's 400 and 420 kW, and an hour of its gap, which holds 400 + 20 h at the hours 2 to 7.
    gap_kwh = (6 * 400 + 20 * (2 + 3 + 4 + 5 + 6 + 7)) / 6
    assert imported["figure_kwh"] == pytest.approx(3 * 60 + 400 + 420 + gap_kwh)
    assert exported["figure_kwh"] == 0.0
    async with factory.pool.acquire() as connection, connection.transaction():
        minutes = range(instant_us(DAY), instant_us(DAY + timedelta(days=1)), 60_000_000)
        await VirtualMeters(BERLIN).after_pass(connection, {FEEDER: set(minutes)})
    await Accounting(factory.pool, ACCOUNTS, BERLIN, now=lambda: NOW).run_until_clean()
    answer = (await client.get("/api/v1/explain/energy", params=ASKED | {"key": "both"})).json()
    assert answer["agrees"], answer["remark"]
    imported = answer["meters"][0]["directions"][0]
    assert imported["stored_kwh"] == pytest.approx(imported["figure_kwh"])
    assert answer["figure"] == answer["recomputed"] == pytest.approx(imported["figure_kwh"])
    assert imported["estimated_kwh"] == pytest.approx(gap_kwh)


async def test_what_retention_has_dropped_is_no_agreement(factory: Factory, open_client: OpenClient) -> None:
    await accounted(factory)
    stored = await factory.pool.fetchval("SELECT energy_import_kwh FROM interval_1d WHERE day = $1", DAY.date())
    await factory.execute("DELETE FROM reading")
    client = open_client(NOW)
    answer = (await client.get("/api/v1/explain/energy", params=ASKED)).json()
    (imported,) = answer["meters"][0]["directions"]
    assert (imported["figure_kwh"], imported["stored_kwh"], imported["agrees"]) == (None, stored, False)
    assert (answer["figure"], answer["recomputed"], answer["agrees"]) == (stored, None, False)
    assert "its parts are unknown" in answer["remark"]
    # What the tables hold of a meter whose rules nobody recorded is no agreement either.
    await factory.execute("DELETE FROM accounting_version")
    answer = (await client.get("/api/v1/explain/energy", params=ASKED)).json()
    assert answer["meters"][0]["directions"][0]["source"] == "unknown"
    assert not answer["agrees"]
    assert "emsd recompute" in answer["remark"]


async def test_a_tier_that_is_not_the_sum_of_the_one_below_is_no_agreement(
    factory: Factory, open_client: OpenClient
) -> None:
    """The factor changes at noon, so the figure is made of quarter hours; the day is looked at all the same."""
    await accounted(factory)
    await factory.execute("UPDATE interval_1d SET energy_import_kwh = energy_import_kwh + 5 WHERE day = $1", DAY.date())
    client = open_client(NOW)
    answer = (await client.get("/api/v1/explain/energy", params=ASKED)).json()
    assert answer["figure"] == pytest.approx(answer["recomputed"])
    assert not answer["agrees"]
    assert "the local day from 2026-03-11T23:00:00+00:00 holds 5 kWh more than its quarter hours" in answer["remark"]
    minute = "meter_id = $1 AND bucket = $2"
    await factory.execute(f"DELETE FROM interval_1m WHERE {minute}", FEEDER, DAY + timedelta(hours=1))
    asked = ASKED | {"to": (DAY + timedelta(hours=12)).isoformat()}
    (imported,) = (await client.get("/api/v1/explain/energy", params=asked)).json()["meters"][0]["directions"]
    assert not imported["agrees"]
    assert imported["remark"] == (
        "the quarter hour from 2026-03-12T00:00:00+00:00 holds 7 kWh more than its minutes"  # of 420 kW
    )
    # The feeder has no export counter, so no reading speaks for what is stored of one.
    await factory.execute(f"UPDATE interval_15m SET energy_export_kwh = 2 WHERE {minute}", FEEDER, DAY)
    _, exported = (await client.get("/api/v1/explain/energy", params=asked)).json()["meters"][0]["directions"]
    assert (exported["direction"], exported["figure_kwh"], exported["stored_kwh"]) == ("export", None, 2.0)
    assert not exported["agrees"]


async def test_without_an_end_it_is_the_last_settled_minute(factory: Factory, open_client: OpenClient) -> None:
    await accounted(factory)
    asked = {name: value for name, value in ASKED.items() if name != "to"}
    client = open_client(DAY + timedelta(hours=12, seconds=20, microseconds=5))
    answer = await client.get("/api/v1/explain/energy", params=asked)
    assert answer.status_code == 200, answer.text
    assert datetime.fromisoformat(answer.json()["to"]) == DAY + timedelta(hours=12)


async def test_what_cannot_be_explained_is_refused_with_a_cure(open_client: OpenClient) -> None:
    changes: list[tuple[dict[str, str | None], str]] = [
        ({"from": "2026-03-12T00:00:30Z"}, "query.from"),
        ({"from": "2025-03-12T00:00:00Z"}, "query.from"),
        ({"scope": "meter", "key": None}, "query.key"),
    ]
    client = open_client(NOW)
    for change, field in changes:
        asked = {name: value for name, value in {**ASKED, **change}.items() if value is not None}
        answer = await client.get("/api/v1/explain/energy", params=asked)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == field
        assert answer.json()["errors"][0]["cure"]


async def test_the_command_prints_what_the_api_answers_for_a_person_or_as_json(
    factory: Factory, open_client: OpenClient
) -> None:
    await accounted(factory)
    runner = CliRunner()
    asked = ["explain", "energy", "fab-feeder", "--from", "2026-03-12", "--database-url", factory.url]
    as_json = await asyncio.to_thread(runner.invoke, app, [*asked, "--json"])
    assert as_json.exit_code == 0, as_json.output
    answer = await open_client(NOW).get("/api/v1/explain/energy", params=ASKED)
    assert json.loads(as_json.stdout) == answer.json()
    report = await asyncio.to_thread(runner.invoke, app, asked)
    assert report.exit_code == 0
    for words in ("fab-feeder", "swap", "j.weber", "6.0 h", "2026-03-11", "The sum: it holds", "0.5366", "left over"):
        assert words in report.stdout
    unknown = await asyncio.to_thread(
        runner.invoke, app, ["explain", "energy", "no-such-meter", "--database-url", factory.url]
    )
    assert unknown.exit_code == 2
    assert "no-such-meter" in unknown.output
    await factory.execute("UPDATE interval_15m SET energy_import_kwh = 1 WHERE meter_id = $1", FEEDER)
    differs = await asyncio.to_thread(runner.invoke, app, asked)
    assert differs.exit_code == 1
    assert "no cause is known" in differs.stdout
