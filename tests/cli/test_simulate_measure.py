"""`emsd simulate measure` and `emsd simulate run --speed` as a person calls them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.cli.test_simulate_verify import emsd
from tests.simulator.test_simulate_command import free_port

PLANT = """
version: 1
site: {name: Hall, time_zone: UTC, carbon_region: DE, latitude: 48.0, longitude: 11.0}
areas: [{key: hall, name: Hall}]
assets: [{key: press, name: Press, kind: process_tool, area: hall, rated_power_kw: 4000}]
connections: [{key: board, kind: modbus_tcp, host: 127.0.0.1, port: PORT}]
meters: [{key: press, name: Press, asset: press, profile: abb_b23, connection: board, unit_id: 1, poll_interval_s: 10}]
"""
FAULTS = "faults: [{kind: no_reply, meter: press, after_s: 240, for_s: 60}]\n"


async def test_a_plant_is_measured_faster_than_time_and_compared(database_url: str, tmp_path: Path) -> None:
    plant, faults = tmp_path / "plant.yaml", tmp_path / "faults.yaml"
    plant.write_text(PLANT.replace("PORT", str(await free_port())))
    faults.write_text(FAULTS)
    asked = ("simulate", "measure", str(plant), "--hours", "0.5", "--speed", "400", "--database-url", database_url)
    began_s = asyncio.get_running_loop().time()
    code, said, errors = await emsd(*asked, "--until", "2026-06-03T12:00", "--faults", str(faults), "--json")
    assert asyncio.get_running_loop().time() - began_s < 1800  # the half hour that it stands for
    assert code == 0, said + errors
    found = json.loads(said)
    assert (found["from"], found["to"]) == ("2026-06-03T11:32:00+00:00", "2026-06-03T11:59:00+00:00")
    (row,) = [each for each in found["meters"] if each["direction"] == "import"]
    assert row["true_kwh"] > 100
    assert row["verdict"] == "right"
    assert [(each["kind"], each["meters"], each["verdict"]) for each in found["faults"]] == [
        ("no_reply", ["press"], "right")
    ]


async def test_devices_alone_run_by_a_clock_that_begins_in_the_past(tmp_path: Path) -> None:
    plant = tmp_path / "plant.yaml"
    plant.write_text(PLANT.replace("PORT", str(await free_port())))
    fast = ("simulate", "run", str(plant), "--speed", "600", "--from", "2026-06-03T12:00", "--duration", "1.5")
    code, said, errors = await emsd(*fast)
    assert code == 0, errors
    seconds = float(said.partition("What really flowed in ")[2].partition(" s")[0].replace(",", ""))
    assert 30 < seconds <= 600 * 60
    code, _, errors = await emsd("simulate", "run", str(plant), "--from", "noon")
    assert (code, "is no time" in errors) == (2, True)
