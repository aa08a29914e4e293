"""Every query of every dashboard, expanded as Grafana does, against a real database and as Grafana's own role."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from emsd.readings import instant_us
from tests.dashboards.conftest import END, FilledDatabase
from tests.dashboards.grafana_macros import TimeRange, Variable, expand, interval_of

FOLDER = Path(__file__).parents[2] / "dashboards" / "json"
POINTS = 1000
"""Points of a panel as wide as half a screen."""
SLOWEST_S = 1.0


@dataclass(frozen=True)
class Board:
    """A dashboard as Grafana reads it."""

    json: dict[str, Any]

    @property
    def panels(self) -> list[dict[str, Any]]:
        return [panel for panel in self.json["panels"] if panel["type"] != "row"]

    @property
    def variables(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json["templating"]["list"]
        return found

    def shown(self, since: str | None = None) -> TimeRange:
        """The range first shown, or another one such as now-30d, ending at the end of the history."""
        text = self.json["time"]["from"] if since is None else since
        unit = {"h": "hours", "d": "days"}[text[-1]]
        return TimeRange(END - timedelta(**{unit: int(text.removeprefix("now-")[:-1])}), END)

    def panel(self, title: str, *, is_number: bool = False) -> dict[str, Any]:
        """The panel of that title; a number and a graph may have the same one."""
        (found,) = (
            panel
            for panel in self.panels
            if panel["title"] == title and (panel["type"] in {"stat", "gauge"}) is is_number
        )
        return found


BOARDS = {path.stem: Board(json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [
    pytest.param(name, panel["id"], id=f"{name}-{panel['id']}-{panel['title'].replace(' ', '-')}")
    for name, board in BOARDS.items()
    for panel in board.panels
]


@dataclass(frozen=True)
class Choices:
    """What is chosen for the variables of a dashboard; `options` are all that could be."""

    variables: dict[str, Variable]
    options: dict[str, list[str]]


async def choose(reader: asyncpg.Connection, board: Board, *, which: slice = slice(None)) -> Choices:
    """Ask for the options of each variable in order, as Grafana does, and choose some of those that allow several."""
    chosen: dict[str, Variable] = {}
    options: dict[str, list[str]] = {}
    for variable in board.variables:
        expanded = expand(variable["query"], board.shown(), timedelta(minutes=1), chosen)
        rows = await reader.fetch(expanded.sql)
        assert all(set(row.keys()) == {"__text", "__value"} for row in rows), variable["name"]
        values = options[variable["name"]] = [row["__value"] for row in rows]
        several = bool(variable["multi"])
        value = values[which] if several else values[0]
        chosen[variable["name"]] = Variable(value, multi=several, include_all=bool(variable["includeAll"]))
    return Choices(chosen, options)


async def fetch(
    reader: asyncpg.Connection, board: Board, panel: dict[str, Any], choices: Choices, since: str | None = None
) -> list[asyncpg.Record]:
    """Run the query of a panel."""
    (target,) = panel["targets"]
    shown = board.shown(since)
    expanded = expand(target["rawSql"], shown, interval_of(shown, POINTS, panel.get("interval")), choices.variables)
    rows: list[asyncpg.Record] = await reader.fetch(expanded.sql)
    return rows


def panel_of(name: str, number: int) -> tuple[Board, dict[str, Any]]:
    board = BOARDS[name]
    return board, next(panel for panel in board.panels if panel["id"] == number)


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def check_time_series(rows: list[asyncpg.Record]) -> None:
    """What Grafana needs to turn rows into series: a time in ascending order, numbers, and at most one row a series."""
    columns = list(rows[0].keys())
    assert columns[0] == "time"
    values = [name for name in columns if name not in {"time", "metric"}]
    assert values
    assert "metric" not in columns or values == ["value"], "with another name the series would be called by both"
    times = [row["time"] for row in rows]
    assert all(isinstance(each, datetime) for each in times)
    assert times == sorted(times)
    keys = [(row["time"], row.get("metric")) for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(row[name] is None or is_number(row[name]) for row in rows for name in values)
    assert all(isinstance(row["metric"], str) for row in rows if "metric" in columns)
    for name in values:
        assert any(row[name] is not None for row in rows), f"{name} is empty"


def check_table(panel: dict[str, Any], rows: list[asyncpg.Record]) -> None:
    """What each kind of panel needs of a table."""
    columns = list(rows[0].keys())
    match panel["type"]:
        case "stat" | "gauge":
            assert len(rows) == 1
            assert len(columns) == 1
            assert is_number(rows[0][0])
        case "barchart":
            assert all(isinstance(row[0], str) for row in rows)
            assert all(is_number(row[1]) for row in rows)
            assert len({row[0] for row in rows}) == len(rows)
        case "table":
            named = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
            assert named <= set(columns), "an override of a column that does not exist does nothing"
        case other:
            raise AssertionError(f"a {other} panel has no table")


@pytest.mark.parametrize(("name", "number"), PANELS)
async def test_every_panel_is_answered_in_the_right_form_not_empty_and_within_a_second(
    reader: asyncpg.Connection, name: str, number: int
) -> None:
    board, panel = panel_of(name, number)
    choices = await choose(reader, board)
    rows: list[asyncpg.Record] = []
    spent: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        rows = await fetch(reader, board, panel, choices)
        spent.append(time.perf_counter() - began)
    assert rows
    if panel["targets"][0]["format"] == "time_series":
        check_time_series(rows)
    else:
        check_table(panel, rows)
    assert statistics.median(spent) < SLOWEST_S


@pytest.mark.parametrize("name", BOARDS)
async def test_a_month_is_shown_too_from_the_coarser_tier_where_there_is_one(
    reader: asyncpg.Connection, name: str
) -> None:
    board = BOARDS[name]
    choices = await choose(reader, board)
    for panel in board.panels:
        rows = await fetch(reader, board, panel, choices, since="now-30d")
        assert rows, panel["title"]
        if panel["targets"][0]["format"] == "time_series":
            check_time_series(rows)


@pytest.mark.parametrize("name", BOARDS)
async def test_choosing_one_or_nothing_is_no_error(reader: asyncpg.Connection, name: str) -> None:
    board = BOARDS[name]
    for which in (slice(0, 1), slice(0, 0)):
        choices = await choose(reader, board, which=which)
        for panel in board.panels:
            await fetch(reader, board, panel, choices)


@pytest.mark.parametrize("name", BOARDS)
async def test_every_variable_has_options_and_all_is_chosen_at_first(reader: asyncpg.Connection, name: str) -> None:
    choices = await choose(reader, BOARDS[name])
    assert all(choices.options.values())
    for variable in BOARDS[name].variables:
        if variable["multi"]:
            assert variable["includeAll"]
            assert variable["current"]["value"] == ["$__all"]


async def test_the_reader_reads_what_people_look_at_and_nothing_else(reader: asyncpg.Connection) -> None:
    assert await reader.fetchval("SELECT count(*) FROM interval_15m")
    for table in ("api_token", "notification_outbox", "dirty_interval"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"SELECT * FROM {table}")
    names = await reader.fetch("SELECT * FROM notification_status LIMIT 1")
    assert {"title", "body", "last_error"}.isdisjoint(names[0].keys())


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO site (site_id, name, time_zone, carbon_region) VALUES (2, 'a', 'UTC', 'b')",
        "UPDATE interval_15m SET energy_import_kwh = 0",
        "DELETE FROM reading",
        "TRUNCATE alarm_journal",
        "CREATE TABLE mine (a integer)",
        "DROP VIEW notification_status",
    ],
)
async def test_the_reader_writes_nothing(reader: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.execute(statement)
    # It may lift its own default, and still has no right.
    await reader.execute("SET default_transaction_read_only = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute(statement)


# ------------------------------------------------------------------------------------- figures, not only forms


async def value_of(reader: asyncpg.Connection, name: str, title: str) -> float:
    board = BOARDS[name]
    rows = await fetch(reader, board, board.panel(title, is_number=True), await choose(reader, board))
    return float(rows[0][0])


def truth_today(filled: FilledDatabase, key: str) -> Iterator[float]:
    """What really flowed through a meter since midnight of the site: import, export [kWh]."""
    local = END.astimezone(filled.loaded.plant.site.zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    true = filled.physics.true_energy_kwh(key, instant_us(midnight), instant_us(END))
    yield true.import_kwh
    yield true.export_kwh


async def test_energy_today_is_what_really_flowed_through_the_incomer_and_from_the_sun(
    filled: FilledDatabase, reader: asyncpg.Connection
) -> None:
    taken, given = truth_today(filled, "incomer")
    sun = sum(list(truth_today(filled, key))[1] for key in ("pv-1-inverter", "pv-2-inverter"))
    shown = await value_of(reader, "emsd-overview", "Energy today")
    assert shown == pytest.approx(taken - given + sun, rel=0.002)
    assert await value_of(reader, "emsd-pv", "Yield today") == pytest.approx(sun, rel=0.002)
    assert await value_of(reader, "emsd-overview", "CO2 today") == pytest.approx(taken * 0.5306, rel=0.002)
    assert await value_of(reader, "emsd-overview", "Coverage today") == pytest.approx(100, abs=0.5)


async def test_the_power_of_the_plant_is_that_of_the_grid_and_the_sun(reader: asyncpg.Connection) -> None:
    plant, grid, sun = [
        await value_of(reader, "emsd-overview", title) for title in ("Plant power", "Grid power", "PV power")
    ]
    assert sun > 0
    assert plant == pytest.approx(grid + sun, rel=1e-6)


async def test_the_stack_of_kinds_adds_up_to_the_incomer(filled: FilledDatabase, reader: asyncpg.Connection) -> None:
    board = BOARDS["emsd-overview"]
    rows = await fetch(reader, board, board.panel("Power by kind of equipment"), await choose(reader, board))
    stacked: dict[datetime, float] = {}
    for row in rows:
        stacked[row["time"]] = stacked.get(row["time"], 0.0) + row["value"]
    assert {row["metric"] for row in rows} >= {"not metered below", "cleanroom", "lighting", "pv inverter"}
    incomer = await reader.fetch(
        "SELECT bucket, power_avg_kw FROM interval_1m WHERE meter_id = $1", filled.meter_ids["incomer"]
    )
    assert len(stacked) > 1400
    for row in incomer:
        assert stacked[row["bucket"]] == pytest.approx(row["power_avg_kw"], abs=0.01)


async def test_areas_hold_those_below_them_and_count_no_kilowatt_hour_twice(
    filled: FilledDatabase, reader: asyncpg.Connection
) -> None:
    board = BOARDS["emsd-overview"]
    rows = await fetch(reader, board, board.panel("Energy by area today"), await choose(reader, board))
    by_area = {row["Area"]: row["Energy"] for row in rows}
    cleanroom = next(truth_today(filled, "cleanroom-feeder"))
    tools = next(truth_today(filled, "tools-feeder"))
    assert by_area["Cleanroom"] == pytest.approx(cleanroom, rel=0.002)
    assert by_area["Fab building"] == pytest.approx(cleanroom + tools, rel=0.002)
    # PV is all that is on the roof: what it gives is net export and yield at once, and it consumes nothing.
    assert by_area["Roof"] == pytest.approx(0, abs=0.01)
    assert by_area["Make-up air units"] == pytest.approx(next(truth_today(filled, "cleanroom-mau")), rel=0.002)


async def test_top_consumers_are_meters_with_nothing_metered_below_and_share_all(reader: asyncpg.Connection) -> None:
    board = BOARDS["emsd-overview"]
    rows = await fetch(reader, board, board.panel("Top consumers today"), await choose(reader, board))
    assert sum(row["Share"] for row in rows) == pytest.approx(100)
    names = {row["Meter"] for row in rows}
    assert "Fan filter units" in names
    assert names.isdisjoint({"Cleanroom feeder", "20 kV incomer", "PV inverter 1"})


async def test_alarms_and_health_are_counted_as_they_happened(reader: asyncpg.Connection) -> None:
    assert await value_of(reader, "emsd-overview", "Active alarms") == 3
    assert await value_of(reader, "emsd-alarms", "Unacknowledged") == 2
    assert await value_of(reader, "emsd-alarms", "Acknowledged") == 1
    assert await value_of(reader, "emsd-alarms", "Occurrences") == 6
    assert await value_of(reader, "emsd-alarms", "Time to acknowledge") == pytest.approx(600)
    assert await value_of(reader, "emsd-alarms", "Notifications given up") == 1
    assert await value_of(reader, "emsd-collectors", "Meters down") == 1
    assert await value_of(reader, "emsd-collectors", "Readings lost") == 120
    assert await value_of(reader, "emsd-collectors", "Quarantined") == 1
    polls = 25 * 360 * 60
    assert await value_of(reader, "emsd-collectors", "Success") == pytest.approx(100 * (polls - 1800) / polls)
