"""`emsd servers`: both servers in the background, as a person uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from emsd.errors import SettingsError
from emsd.servers import DATABASE_VARIABLE, MQTT_VARIABLE, ServerSet, database_url, temporary_folder
from emsd.servers.handshake import accepts_clients
from tests.conftest import memory_or_disk


@dataclass(frozen=True)
class Terminal:
    """Runs `emsd servers ...` with data in a folder of its own."""

    data: Path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: text for name, text in os.environ.items() if name not in {DATABASE_VARIABLE, MQTT_VARIABLE}}
        return subprocess.run(
            [sys.executable, "-c", "from emsd.cli.servers import app; app()", *arguments],
            env={**kept, "EMSD_DATA_DIR": str(self.data), "COLUMNS": "200", **environment},
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with temporary_folder("emsd-set-", within=memory_or_disk()) as data:
        found = Terminal(data)
        try:
            yield found
        finally:
            assert found.run("stop").returncode == 0


async def test_start_status_url_stop(terminal: Terminal) -> None:
    first = terminal.run("start")
    assert first.returncode == 0, first.stderr
    assert [line.split(" on ")[0] for line in first.stdout.splitlines()] == ["timescaledb started", "mosquitto started"]

    second = terminal.run("start")
    assert second.returncode == 0
    assert second.stdout == first.stdout.replace("started", "already runs")

    status = terminal.run("status")
    assert status.returncode == 0
    assert status.stdout.count(" runs ") == 2

    url = terminal.run("url", "database").stdout.strip()
    connection = await asyncpg.connect(url)
    await connection.close()
    both = dict(line.split("=", 1) for line in terminal.run("url").stdout.splitlines())
    assert both[DATABASE_VARIABLE] == url
    assert accepts_clients(int(both[MQTT_VARIABLE].rpartition(":")[2]), None, None)

    state_file = terminal.data / "servers" / "default" / "state.json"
    state = json.loads(state_file.read_text())
    assert state["timescaledb"]["url"] == url
    assert Path(f"/proc/{state['mosquitto']['pid']}").exists()
    assert state_file.stat().st_mode & 0o777 == 0o600

    assert terminal.run("stop").stdout == "stopped timescaledb and mosquitto\n"
    assert terminal.run("stop").stdout == "nothing was running\n"
    assert terminal.run("status").returncode == 1
    assert not state_file.exists()


def test_url_of_servers_that_do_not_run_says_how_to_start_them(terminal: Terminal) -> None:
    asked = terminal.run("url", "database")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "emsd servers start" in asked.stderr


def test_servers_named_in_the_environment_are_left_alone(terminal: Terminal) -> None:
    given = {DATABASE_VARIABLE: "postgresql://db.example/emsd", MQTT_VARIABLE: "mqtt://broker.example"}
    started = terminal.run("start", **given)
    assert started.returncode == 0
    assert started.stdout.count("nothing was started") == 2
    assert not (terminal.data / "servers").exists()
    assert terminal.run("url", "database", **given).stdout == "postgresql://db.example/emsd\n"
    assert terminal.run("status", **given).returncode == 0


def test_a_name_that_is_no_folder_name_is_refused(terminal: Terminal) -> None:
    refused = terminal.run("start", "--name", "../elsewhere")
    assert refused.returncode == 2
    assert "cannot name a set of servers" in refused.stderr
    with pytest.raises(SettingsError):
        ServerSet("../elsewhere")


async def test_database_url_prefers_the_environment_and_else_starts_the_private_one() -> None:
    assert database_url(environment={DATABASE_VARIABLE: "postgresql://db.example/x"}) == "postgresql://db.example/x"
    with temporary_folder("emsd-url-", within=memory_or_disk()) as data:
        mine = {"EMSD_DATA_DIR": str(data)}
        url = database_url("mine", environment=mine)
        try:
            connection = await asyncpg.connect(url)
            await connection.close()
            assert database_url("mine", environment=mine) == url
        finally:
            assert ServerSet("mine", environment=mine).stop() == ("timescaledb",)


def test_install_verifies_what_it_recorded(terminal: Terminal) -> None:
    verified = terminal.run("install", "--verify")
    assert verified.returncode == 0, verified.stdout
    assert [line.split()[0] for line in verified.stdout.splitlines()] == ["timescaledb", "mosquitto"]
