"""Faults at run time: the control API over HTTP, and `emsd simulate fault` as a person types it."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymodbus.client import AsyncModbusTcpClient
from typer.testing import CliRunner, Result

from emsd.cli import app
from emsd.errors import ConfigurationError, ServerError
from emsd.plant.loader import LoadedPlant
from simulator import Simulator
from simulator.control import create_control, serve_control
from simulator.fault_kinds import KINDS
from tests.simulator.test_simulate_command import free_port, written
from tests.simulator.wire import NOON_US, Clock, served

LIMIT_S = 120


@asynccontextmanager
async def controlled(simulator: Simulator, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serve_control(create_control(simulator, token=token)) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield client


async def test_faults_are_added_told_and_removed(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator, controlled(simulator) as client:
        added = await client.post("/faults", json={"kind": "counter_reset", "meter": "incomer"})
        assert (added.status_code, added.json()) == (201, {"number": 1})
        late = {"kind": "late_reply", "connection": "substation", "unit_id": 2, "after_s": 60, "for_s": 5,
                "parameters": {"delay_s": 2}}  # fmt: skip
        assert (await client.post("/faults", json=late)).json() == {"number": 2}
        reset, late_reply = (await client.get("/faults")).json()
        assert (reset["state"], reset["from"]) == ("in_force", "2026-06-03T05:00:00Z")
        (change,) = [each for each in reset["changes"] if each["quantity"] == "energy_import_kwh"]
        assert change["after"] == 0
        assert change["before"] == pytest.approx(simulator.truth.quantities("incomer", NOON_US)["energy_import_kwh"])
        assert (late_reply["state"], late_reply["layer"]) == ("to_come", "wire")
        assert late_reply["meter"] == "cleanroom-feeder"
        assert (await client.get("/status")).json()["faults_in_force"] == 1
        assert (await client.delete("/faults/2")).status_code == 204
        assert len((await client.get("/faults")).json()) == 1
        assert (await client.delete("/faults/2")).status_code == 409
        assert [each["kind"] for each in (await client.get("/kinds")).json()] == list(KINDS)


async def test_all_that_can_end_is_ended_at_once(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator, controlled(simulator) as client:
        for entry in ({"kind": "counter_reset"}, {"kind": "no_reply"}, {"kind": "busy", "after_s": 60}):
            await client.post("/faults", json={**entry, "meter": "incomer"})
        clock.now_us += 1_000_000
        assert (await client.delete("/faults")).json() == {"removed": [2, 3]}
        left = (await client.get("/faults")).json()
        assert [(each["kind"], each["state"]) for each in left] == [("counter_reset", "in_force"), ("no_reply", "over")]


async def test_a_window_is_told_with_what_happened_and_flowed_in_it(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator, controlled(simulator) as client:
        await client.post("/faults", json={"kind": "freeze", "meter": "incomer", "for_s": 600})
        await client.post("/faults", json={"kind": "no_reply", "meter": "incomer", "after_s": 3600})
        clock.now_us += 7_200_000_000
        window = {"from": "2026-06-03T05:05:00Z", "to": "2026-06-03T05:30:00Z"}
        (freeze,) = (await client.get("/faults", params=window)).json()
        true = simulator.truth.true_energy_kwh("incomer", NOON_US + 300_000_000, NOON_US + 600_000_000)
        assert freeze["energy"]["incomer"]["import_kwh"] == pytest.approx(true.import_kwh)
        assert {each["time"] for each in freeze["changes"]} == {"2026-06-03T05:10:00Z"}
        later = {"from": "2026-06-03T05:10:00Z"}
        assert [each["kind"] for each in (await client.get("/faults", params=later)).json()] == ["no_reply"]


ASKED = (("GET", "/status"), ("GET", "/faults"), ("GET", "/kinds"), ("DELETE", "/faults/1"), ("DELETE", "/faults"))


async def test_with_a_token_nobody_else_learns_or_changes_anything(example: LoadedPlant) -> None:
    token = "a token of seventeen"
    fault = {"kind": "no_reply", "meter": "incomer"}
    async with served(example, "substation") as simulator, controlled(simulator, token) as client:
        for header in ("", "Bearer", f"Basic {token}", f"Bearer {token}x", "Bearer \u00fc"):
            wrong = [(b"Authorization", header.encode())]
            answers = [await client.request(*each, headers=wrong) for each in ASKED]
            for answer in (*answers, await client.post("/faults", json=fault, headers=wrong)):
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert simulator.faults.list() == ()
        right = await client.post("/faults", json=fault, headers={"Authorization": f"Bearer {token}"})
        assert right.status_code == 201


async def test_without_a_token_no_page_in_a_browser_learns_or_changes_anything(example: LoadedPlant) -> None:
    fault = {"kind": "no_reply", "meter": "incomer"}
    async with served(example, "substation") as simulator, controlled(simulator) as client:
        # A name of another site that leads here, as in DNS rebinding; and a page that posts blindly.
        for headers in ({"Host": "elsewhere.example"}, {"Origin": "https://elsewhere.example"}):
            answers = [await client.request(*each, headers=headers) for each in ASKED]
            answers.append(await client.post("/faults", json=fault, headers=headers))
            assert {each.status_code for each in answers} == {403}
        assert simulator.faults.list() == ()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "no_replay", "meter": "incomer"}, "did you mean no_reply"),
        ({"kind": "no_reply", "meter": "nobody"}, "the plant has no meter nobody"),
        ({"kind": "no_reply", "meter": "incomer", "whom": 1}, "Extra inputs"),
        ({"kind": "no_reply", "meter": "incomer", "after_s": math.nan}, "finite number"),
        ({"kind": "late_reply", "meter": "incomer", "parameters": {"delay_s": math.inf}}, "finite number"),
        ({"kind": "late_reply", "meter": "incomer", "parameters": {"delay_s": True}}, "valid number"),
        ({"kind": "no_reply", "meter": "incomer", "from": "9999-06-01T00:00:00Z"}, "begins after the year 9998"),
        ({"kind": "no_reply", "meter": "incomer", "from": "9998-06-01T00:00:00Z", "for_s": 1e9}, "ends after"),
    ],
)
async def test_what_cannot_be_is_answered_with_the_reason(
    example: LoadedPlant, entry: dict[str, Any], said: str
) -> None:
    async with served(example, "substation") as simulator, controlled(simulator) as client:
        # NaN and infinity are none of JSON's numbers, and programs send them all the same.
        answer = await client.post("/faults", content=json.dumps(entry), headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert said in answer.text
        assert (await client.get("/faults")).json() == []


async def test_other_machines_need_a_token_and_a_taken_port_is_told(example: LoadedPlant) -> None:
    async with served(example, "substation") as running:
        with pytest.raises(ConfigurationError, match="other machines can reach"):
            async with serve_control(create_control(running), host="0.0.0.0"):
                pass
        async with (
            serve_control(create_control(running, token="secret"), host="0.0.0.0") as url,
            httpx.AsyncClient(headers={"Authorization": "Bearer secret"}) as client,
        ):
            port = url.rpartition(":")[2]
            assert (await client.get(f"http://127.0.0.1:{port}/status")).status_code == 200
        with pytest.raises(ServerError, match="control cannot listen on"):
            async with serve_control(create_control(running), running.ports["substation"]):
                pass


def emsd(environment: Mapping[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emsd", *map(str, words)],
        env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


async def test_a_person_makes_a_running_device_fail_and_mends_it(tmp_path: Path) -> None:
    environment = {**os.environ, "EMSD_DATA_DIR": str(tmp_path / "data"), "NO_COLOR": "1", "TERM": "dumb"}
    port = await free_port()
    faults = tmp_path / "faults.yaml"
    faults.write_text("faults: [{kind: busy, meter: lamps, after_s: 3600}]\n")

    async def typed(*words: object) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(emsd, environment, "simulate", "fault", *words)

    async def code() -> int | None:
        async with AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5, retries=0) as client:
            answer = await client.read_holding_registers(20480, count=4, device_id=1)
        return answer.exception_code if answer.isError() else None

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "emsd", "simulate", str(written(tmp_path, port=port)), "--faults", str(faults),
        env=environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while b"listens on port" not in await process.stdout.readline():
                pass
        left = tmp_path / "data" / "simulator.json"
        assert stat.S_IMODE(left.stat().st_mode) == 0o600
        assert await code() is None
        done = await typed("add", "exception", "code=11", "--meter", "lamps")
        assert (done.returncode, done.stdout) == (0, "fault 2: exception of lamps\n"), done.stderr
        assert await code() == 11
        shown = json.loads((await typed("list", "--json")).stdout)
        assert [(each["kind"], each["state"], each["hits"]) for each in shown] == [
            ("busy", "to_come", 0),
            ("exception", "in_force", 1),
        ]
        assert (await typed("remove", 2)).returncode == 0
        assert await code() is None
        wrong = await typed("add", "exception", "code=900", "--meter", "lamps")
        assert wrong.returncode == 2
        assert "code 900.0 is not a number from 1 to 255" in wrong.stderr
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_S):
            await process.stdout.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not left.exists()
    gone = await typed("list")
    assert gone.returncode == 1
    assert "start one with `emsd simulate PLANT`" in gone.stderr


def test_the_kinds_are_listed_without_a_simulator() -> None:
    def said(*words: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["simulate", "fault", "kinds", *words])

    listed = said()
    assert listed.exit_code == 0
    assert all(name in listed.output for name in KINDS)
    assert "delay_s" in said("late_reply").output
    assert said("nothing").exit_code == 2
