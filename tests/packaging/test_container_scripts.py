"""The scripts that the containers run, run here on the real servers."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import asyncpg
import pytest

from emsd.readings import reading_of
from emsd.servers import PrivatePostgres
from emsd.servers.programs import MosquittoPrograms, install
from emsd.store.migrations import migrate, set_reader_password
from emsd.store.pool import open_pool
from emsd.store.readings import ReadingWriter
from tests.conftest import wait_for

DOCKER = Path(__file__).parents[2] / "config" / "docker"
DEADLINE_S = 30.0
START = datetime(2026, 6, 1, tzinfo=UTC)

# ------------------------------------------------------------------------------------------------------- database


@pytest.fixture(scope="module")
def empty_cluster(servers_folder: Path) -> Iterator[PrivatePostgres]:
    """A cluster as the image's own scripts leave it: a superuser, and the extension in template1."""
    with PrivatePostgres(servers_folder / "initdb", fsync=False) as cluster:
        for statement in ("DROP DATABASE emsd", "DROP ROLE emsd"):
            subprocess.run([str(cluster.psql), "--no-psqlrc", "-q", "-c", statement, cluster.superuser_url], check=True)
        yield cluster


@dataclass(frozen=True)
class Deployed:
    """A database as the compose file makes it, with every migration applied."""

    cluster: PrivatePostgres
    password: str

    def url_of(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.cluster.port}/emsd"

    @property
    def url(self) -> str:
        return self.url_of("emsd", self.password)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs as the superuser."""
        superuser = urlsplit(self.cluster.superuser_url)
        environment = {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.cluster.port),
            "PGUSER": superuser.username or "",
            "PGPASSWORD": superuser.password or "",
        }
        subprocess.run([self.cluster.programs.program(program), *arguments], check=True, env=environment)


@pytest.fixture(scope="module")
def deployed(empty_cluster: PrivatePostgres) -> Deployed:
    refused = run_initdb(empty_cluster, None)
    assert refused.returncode != 0
    assert "EMSD_DATABASE_PASSWORD" in refused.stderr
    password = secrets.token_hex(8) + "'"  # a quote in a password is no SQL
    done = run_initdb(empty_cluster, password)
    assert (done.returncode, done.stderr) == (0, "")
    found = Deployed(empty_cluster, password)
    wait_for(migrate(found.url))
    return found


def run_initdb(cluster: PrivatePostgres, password: str | None) -> subprocess.CompletedProcess[str]:
    superuser = urlsplit(cluster.superuser_url)
    environment = {
        "PATH": f"{cluster.psql.parent}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "PGPASSWORD": superuser.password or "",
        "POSTGRES_USER": superuser.username or "",
        **({} if password is None else {"EMSD_DATABASE_PASSWORD": password}),
    }
    script = DOCKER / "initdb" / "100_emsd.sh"
    return subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=False)


async def test_the_role_made_for_emsd_is_no_superuser_and_has_done_every_migration(deployed: Deployed) -> None:
    reader_password = secrets.token_hex(8)
    connection = await asyncpg.connect(deployed.url)
    try:
        role = await connection.fetchrow("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = 'emsd'")
        assert role is not None
        assert tuple(role) == (False, False)
        await set_reader_password(connection, reader_password)
    finally:
        await connection.close()
    reader = await asyncpg.connect(deployed.url_of("emsd_reader", reader_password))
    try:
        assert await reader.fetchval("SELECT count(*) FROM reading") is not None
    finally:
        await reader.close()


async def test_a_dump_restored_as_the_documentation_says_is_the_same_database(
    deployed: Deployed, tmp_path: Path
) -> None:
    page = (DOCKER.parents[1] / "docs" / "deploy.md").read_text()
    dump = tmp_path / "emsd.dump"
    readings = [
        reading_of(
            1_000_001, START + timedelta(hours=hour), {"active_power_kw": hour, "energy_import_kwh": hour * 10.0}
        )
        for hour in range(72)
    ]
    async with open_pool(deployed.url) as pool:
        await ReadingWriter(pool).write(readings)
    before = await _contents(deployed.url)

    # The commands of the page, with this cluster in place of the container and a file in place of its standard streams.
    (dumping,) = re.findall(r"timescaledb (pg_dump .*?) >", page)
    program, *options = dumping.split()
    deployed.run(program, *_elsewhere(options), "--file", dump)
    deployed.run("psql", "-q", "-c", "DROP DATABASE emsd WITH (FORCE)", "postgres")
    for step in re.findall(r"timescaledb ((?:psql|pg_restore) .*?)(?: <|$)", _section(page, "Restore"), re.MULTILINE):
        program, *options = shlex.split(step)
        deployed.run(program, *_elsewhere(options), *([dump] if program == "pg_restore" else []))

    assert await migrate(deployed.url) == []
    assert await _contents(deployed.url) == before
    async with open_pool(deployed.url) as pool:
        result = await ReadingWriter(pool).write([*readings, reading_of(1_000_001, START, {"frequency_hz": 50.0})])
        assert (result.stored, result.merged) == (0, 73)


def _section(page: str, title: str) -> str:
    return page.partition(f"\n### {title}\n")[2].partition("\n## ")[0].partition("\n### ")[0]


def _elsewhere(options: list[str]) -> list[str]:
    """Options without the user, whom the environment names here."""
    return [option for place, option in enumerate(options) if option != "-U" and options[place - 1] != "-U"]


async def _contents(url: str) -> tuple[object, ...]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT time, meter_id, energy_import_kwh FROM reading ORDER BY 1, 2")
        chunks = await connection.fetchval("SELECT count(*) FROM show_chunks('reading')")
        marks = await connection.fetchval("SELECT count(*) FROM dirty_interval")
        ledger = await connection.fetch("SELECT name, sha256 FROM schema_migration ORDER BY 1")
    finally:
        await connection.close()
    assert len(rows) == 72
    assert chunks >= 3
    return rows, chunks, marks, ledger


# --------------------------------------------------------------------------------------------------------- broker

PASSWORDS = {"emsd": "listens-only", "gateway": "speaks-only"}


@dataclass(frozen=True)
class Broker:
    """The broker as start.sh starts it, on a free port."""

    folder: Path
    programs: MosquittoPrograms
    port: int

    def client(self, user: str | None) -> aiomqtt.Client:
        password = None if user is None else PASSWORDS[user]
        return aiomqtt.Client("127.0.0.1", self.port, username=user, password=password, timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def broker(servers_folder: Path) -> Iterator[Broker]:
    programs = install("mosquitto").mosquitto
    assert programs is not None
    folder = servers_folder / "compose-broker"
    runtime, data, programs_folder = folder / "runtime", folder / "data", folder / "bin"
    for each in (runtime, data, programs_folder):
        each.mkdir(parents=True)
    (programs_folder / "mosquitto").symlink_to(programs.broker)
    (programs_folder / "mosquitto_passwd").symlink_to(programs.passwd)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (DOCKER / "mosquitto" / "mosquitto.conf").read_text()
    text = text.replace("listener 1883", f"listener {port} 127.0.0.1")
    text = text.replace("/run/mosquitto/", f"{runtime}/").replace("/mosquitto/data/", f"{data}/")
    # Started by root, the broker would become another account, that cannot read these folders.
    (folder / "mosquitto.conf").write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    environment = {
        "PATH": f"{programs_folder}:{os.environ['PATH']}",
        "MOSQUITTO_RUNTIME": str(runtime),
        "MOSQUITTO_CONF": str(folder / "mosquitto.conf"),
        "EMSD_MQTT_PASSWORD": PASSWORDS["emsd"],
        "EMSD_MQTT_GATEWAY_PASSWORD": PASSWORDS["gateway"],
    }
    log = (folder / "log").open("w")
    process = subprocess.Popen(["sh", DOCKER / "mosquitto" / "start.sh"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
        yield Broker(folder, programs, port)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        log.close()


def test_the_broker_starts_with_hashed_passwords_that_only_it_can_read(broker: Broker) -> None:
    passwords = broker.folder / "runtime" / "passwords"
    assert not any(password in passwords.read_text() for password in PASSWORDS.values())
    assert [line.partition(":")[0] for line in passwords.read_text().splitlines()] == ["emsd", "gateway"]
    assert passwords.stat().st_mode & 0o077 == 0


async def test_strangers_are_refused(broker: Broker) -> None:
    with pytest.raises(aiomqtt.MqttError, match=r"(?i)not authori[sz]ed"):
        async with broker.client(None):
            pass


async def test_gateways_speak_and_emsd_listens_and_not_the_other_way_round(broker: Broker) -> None:
    async with broker.client("emsd") as emsd, broker.client("gateway") as gateway:
        await emsd.subscribe("emsd/#", qos=1)
        await gateway.subscribe("emsd/#", qos=1)
        # The broker grants what it then does not deliver, and acknowledges what it drops (MQTT 3.1.1, 3.3.5); so what
        # arrives first tells, and an acknowledgement comes after every message that was sent before it.
        await emsd.publish("emsd/a", "from emsd", qos=1)
        await gateway.publish("emsd/a", "from a gateway", qos=1)
        async with asyncio.timeout(DEADLINE_S):
            heard = await anext(emsd.messages)
        assert heard.payload == b"from a gateway"
        await gateway.publish("emsd/b", "a later one", qos=1)
        assert len(gateway.messages) == 0


def test_the_health_check_of_the_compose_file_succeeds(broker: Broker) -> None:
    text = (DOCKER.parents[1] / "docker-compose.yml").read_text()
    match = re.search(r"(mosquitto_sub [^\n]*?) > /dev/null", text)
    assert match is not None
    shell = (
        match[1]
        .replace("$$", "$")
        .replace('\\"', '"')
        .replace("mosquitto_sub", f"{broker.programs.sub} -p {broker.port}")
    )
    environment = {**os.environ, "EMSD_MQTT_PASSWORD": PASSWORDS["emsd"]}
    done = subprocess.run(["sh", "-c", shell], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "seconds" in done.stdout
    environment["EMSD_MQTT_PASSWORD"] = "wrong"
    assert subprocess.run(["sh", "-c", shell], env=environment, capture_output=True, check=False).returncode != 0


def test_the_scripts_are_executable_and_posix() -> None:
    for script in (DOCKER / "initdb" / "100_emsd.sh", DOCKER / "mosquitto" / "start.sh"):
        assert os.access(script, os.X_OK)
        assert script.read_text().startswith("#!/bin/sh\n")
        assert subprocess.run([shutil.which("dash") or "sh", "-n", script], check=False).returncode == 0
