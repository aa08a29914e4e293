"""Scenarios of a running simulator: the control API over HTTP, and `emsd simulate scenario` as a person types it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emsd.cli import app
from emsd.plant.loader import LoadedPlant
from emsd.readings import instant_us
from simulator import SimulatedPlant
from simulator.physics.scenarios import KINDS, Scenario, ScenarioKind
from tests.simulator.test_fault_control import controlled, emsd
from tests.simulator.test_simulate_command import free_port, written
from tests.simulator.wire import served

LIMIT_S = 120
BEGIN = datetime(2026, 6, 2, tzinfo=UTC)
WINDOW = {"from": "2026-06-01T12:00:00Z", "to": "2026-06-03T00:00:00Z"}
WINDOW_US = tuple(instant_us(datetime.fromisoformat(each)) for each in WINDOW.values())

SCENARIOS = (
    Scenario(key="filters", kind=ScenarioKind.CLOGGED_FILTERS, asset="cleanroom", amount=0.2, start=BEGIN),
    Scenario(
        key="motors",
        kind=ScenarioKind.FAN_MOTORS,
        asset="cleanroom",
        amount=0.3,
        start=datetime(2026, 6, 4, tzinfo=UTC),
    ),
)


async def test_each_scenario_is_told_with_what_it_cost_in_a_window(example: LoadedPlant) -> None:
    async with served(example, "substation", scenarios=SCENARIOS) as simulator, controlled(simulator) as client:
        assert (await client.get("/status")).json()["scenarios_in_force"] == ["filters"]
        told = (await client.get("/scenarios")).json()
        assert [(each["key"], each["state"], each["cost"]) for each in told] == [
            ("filters", "in_force", None),
            ("motors", "to_come", None),
        ]
        filters, motors = (each["cost"] for each in (await client.get("/scenarios", params=WINDOW)).json())
        plant = simulator.plant
        without = SimulatedPlant(plant, example.profiles, 1, anchor=BEGIN)
        for key, least in (("incomer", 0.0), ("cleanroom-feeder", 0.1)):
            true, twin = (each.true_energy_kwh(key, *WINDOW_US) for each in (simulator.truth, without))
            assert filters["meters"][key] == pytest.approx(true.import_kwh - twin.import_kwh)
            assert filters["meters"][key] >= least * twin.import_kwh
        assert filters["site_kwh"] == pytest.approx(sum(filters["meters"].values()))  # none is below another here
        assert motors["site_kwh"] == 0
        (only,) = (await client.get("/scenarios", params={**WINDOW, "key": "filters"})).json()
        assert only["cost"] == filters


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"from": WINDOW["from"]}, 422, "add the other"),
        ({"from": WINDOW["to"], "to": WINDOW["from"]}, 422, "before it begins"),
        ({"from": "2026-06-01T00:00:00Z", "to": "2027-06-01T00:00:00Z"}, 422, "ask for shorter windows"),
        ({"key": "nothing"}, 404, "there are filters, motors"),
    ],
)
async def test_what_cannot_be_told_is_refused_with_a_way_out(
    example: LoadedPlant, asked: dict[str, str], code: int, said: str
) -> None:
    async with served(example, "substation", scenarios=SCENARIOS) as simulator, controlled(simulator) as client:
        answer = await client.get("/scenarios", params=asked)
        assert answer.status_code == code
        assert said in answer.text


FILE = """\
scenarios:
  - {key: always-lit, kind: lights_on, asset: lamps, amount: 1, start: 2020-01-01T00:00:00Z}
"""


async def test_a_person_runs_a_plant_with_scenarios_and_asks_for_their_cost(tmp_path: Path) -> None:
    environment = {**os.environ, "EMSD_DATA_DIR": str(tmp_path / "data"), "NO_COLOR": "1", "TERM": "dumb"}
    plant, scenarios = written(tmp_path, port=await free_port()), tmp_path / "scenarios.yaml"
    scenarios.write_text(FILE)

    async def typed(*words: object) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(emsd, environment, "simulate", "scenario", *words)

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "emsd", "simulate", str(plant), "--scenarios", str(scenarios),
        env=environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while b"listens on port" not in await process.stdout.readline():
                pass
        listed = await typed("list")
        assert listed.returncode == 0, listed.stderr
        assert "always-lit" in listed.stdout
        assert "in force" in listed.stdout
        now = datetime.now(UTC)
        month = ("--from", f"{now:%Y-%m}-01", "--to", f"{now:%Y-%m}-04")
        told = await typed("cost", *month)
        assert told.returncode == 0, told.stderr
        cost = json.loads((await typed("cost", *month, "--json")).stdout)["always-lit"]
        # 20 kW, dimmed to half from 21:30 to 6:30 and lit at 92 %: three nights of some 75 kWh.
        assert 150 < cost["site_kwh"] < 300
        assert f"{cost['site_kwh']:,.1f}" in told.stdout
        assert cost["meters"]["lamps"] == pytest.approx(cost["areas"]["hall"])
        assert (await typed("cost", "--from", "2026-01-02", "--to", "2026-01-01")).returncode == 2
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_S):
            await process.stdout.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def said(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["simulate", *map(str, words)])


def test_what_is_wrong_with_a_file_is_said_before_anything_runs(tmp_path: Path) -> None:
    plant, scenarios = written(tmp_path, port=1), tmp_path / "scenarios.yaml"
    scenarios.write_text(FILE.replace("amount: 1", "amount: 7"))
    fault = f"{scenarios}:2: scenarios[0].amount 7 is not 0..1"
    for words in (
        ("run", plant, "--scenarios", scenarios),
        ("scenario", "check", scenarios, plant),
        ("history", plant, "--scenarios", scenarios, "--database-url", "postgresql://127.0.0.1:1/none"),
    ):
        result = said(*words)
        assert result.exit_code == 2, words
        assert fault in result.output
    scenarios.write_text(FILE)
    assert "can happen in" in said("scenario", "check", scenarios, plant).output


def test_the_kinds_are_listed_without_a_simulator() -> None:
    listed = said("scenario", "kinds").output
    assert all(kind in listed for kind in KINDS)
