"""`emsd simulate history` and `emsd simulate verify` as a person calls them, on a real database, API and simulator."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from emsd.api import ApiDependencies, create_app
from emsd.cli.simulate.comparing import pieces_of
from emsd.plant.loader import load_plant
from emsd.readings import instant_us
from emsd.store.pool import open_pool
from simulator import Simulator
from simulator.control import create_control, serve_control
from tests.api.conftest import serve

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "plant.example.yaml"
END = datetime(2025, 6, 14, 6, tzinfo=UTC)
BEGIN = END - timedelta(hours=5)


async def emsd(*words: str) -> tuple[int, str, str]:
    """Run a command with no EMSD_ variable; return its exit code, output and errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMSD_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "emsd", *words,
        env={**environment, "NO_COLOR": "1", "TERM": "dumb"}, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, errors = await process.communicate()
    return process.returncode or 0, out.decode(), errors.decode()


async def test_what_was_measured_is_compared_with_what_flowed_and_a_wrong_figure_is_found(database_url: str) -> None:
    loaded = load_plant(EXAMPLE, environ={})
    simulator = Simulator(loaded.plant, loaded.profiles, anchor=BEGIN, now_us=lambda: instant_us(END))
    until = END.astimezone(loaded.plant.site.zone).replace(tzinfo=None).isoformat()
    history = ("simulate", "history", str(EXAMPLE), "--days", "1", "--until", until, "--database-url", database_url)
    code, said, errors = await emsd(*history)
    assert code == 0, errors
    assert "wrote 1,344 quarter hours" in said  # of 13 meters with energy and a virtual one
    code, said, errors = await emsd(*history)
    assert code == 0, errors
    assert "wrote 0 quarter hours" in said
    assert "1,344 stood there already" in said

    async with open_pool(database_url, max_size=4) as pool:
        app = create_app(ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry()))
        async with serve(app) as api, serve_control(create_control(simulator)) as control:
            asked = ("simulate", "verify", "--simulator", control, "--emsd", api)
            window = ("--from", BEGIN.isoformat(), "--to", END.isoformat())
            code, said, errors = await emsd(*asked, *window, "--json")
            assert code == 0, said + errors
            found: dict[str, Any] = json.loads(said)
            assert found["right"]
            assert {row["meter"] for row in found["meters"]} == {
                meter.key for meter in loaded.plant.meters if loaded.measures_energy(meter)
            }
            incomer = next(row for row in found["meters"] if row["meter"] == "incomer" and row["direction"] == "import")
            assert incomer["true_kwh"] > 1000
            assert abs(incomer["error_kwh"]) <= incomer["allowed_kwh"] < 20
            assert incomer["coverage"] == 1.0
            assert incomer["flags"] == ["simulated"]

            await pool.execute(
                "UPDATE interval_15m SET energy_import_kwh = energy_import_kwh * 1.05 FROM meter"
                " WHERE meter.meter_id = interval_15m.meter_id AND key = 'incomer' AND bucket = $1",
                BEGIN,
            )
            await pool.execute(
                "DELETE FROM interval_15m USING meter"
                " WHERE meter.meter_id = interval_15m.meter_id AND key = 'tools-feeder'"
            )
            code, said, errors = await emsd(*asked, *window, "--json")
            assert code == 1, errors
            wrong = {row["meter"]: row for row in json.loads(said)["meters"] if row["verdict"] == "wrong"}
            assert wrong.keys() == {"incomer", "tools-feeder"}
            assert wrong["incomer"]["error_kwh"] > wrong["incomer"]["allowed_kwh"]
            assert wrong["tools-feeder"]["measured_kwh"] is None
            code, said, errors = await emsd(*asked, *window)
            assert code == 1, errors
            assert "wrong" in next(line for line in said.splitlines() if "tools-feeder" in line)

            code, _, errors = await emsd(*asked, "--from", "2025-06-14T08:00:30")
            assert (code, "full minute" in errors) == (2, True), errors
    code, _, errors = await emsd(*asked, *window)
    assert (code, "no simulator answers" in errors) == (1, True), errors


async def test_another_plants_database_is_left_alone(database_url: str, tmp_path: Path) -> None:
    other = tmp_path / "plant.yaml"
    other.write_text(
        "version: 1\nsite: {name: Hall, time_zone: UTC, carbon_region: DE}\n"
        "areas: [{key: hall, name: Hall}]\n"
        "assets: [{key: lamps, name: Lamps, kind: lighting, area: hall, rated_power_kw: 20}]\n"
        "connections: [{key: board, host: 127.0.0.1, port: 15099}]\n"
        "meters: [{key: lamps, name: Lamps, asset: lamps, profile: abb_b23, connection: board, unit_id: 1}]\n"
    )
    code, said, errors = await emsd("simulate", "history", str(other), "--days", "1", "--database-url", database_url)
    assert code == 0, errors
    assert "wrote 96 quarter hours" in said
    code, _, errors = await emsd("simulate", "history", str(EXAMPLE), "--days", "1", "--database-url", database_url)
    assert code == 2
    assert "has no meter incomer" in errors


def test_a_window_is_quarter_hours_and_minutes_at_its_ends_without_gap_or_overlap() -> None:
    for minutes, length in ((0, 60), (7, 60), (7, 5), (7, 8), (0, 14), (14, 2), (3, 60 * 24 * 200), (0, 60 * 24 * 200)):
        begin = END + timedelta(minutes=minutes)
        end = begin + timedelta(minutes=length)
        pieces = list(pieces_of(begin, end))
        assert pieces[0][1] == begin
        assert pieces[-1][2] == end
        assert all(one[2] == other[1] for one, other in pairwise(pieces))
        for tier, first, last in pieces:
            assert first < last
            assert last - first <= timedelta(days=90 if tier == "15m" else 7)
            if tier == "15m":
                assert first.minute % 15 == last.minute % 15 == 0
            else:
                assert last - first < timedelta(minutes=30)
