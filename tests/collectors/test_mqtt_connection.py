"""The connection to a broker: encryption and certificates, shared subscriptions, and whether emsd itself is there."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiomqtt
import pytest
import structlog
from pydantic import ValidationError
from structlog.testing import capture_logs

from collectors.mqtt import open_collector
from collectors.mqtt.connecting import open_session
from emsd.errors import Unreachable
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.mqtt_connection import MqttConnection
from emsd.servers import PrivateMosquitto
from simulator import Simulator
from tests.collectors.mqtt_support import connection_to, health_of, meter_of, pub
from tests.collectors.support import MemorySink, eventually, profile, running

MESSAGE = '{"ts": "2026-03-29T02:00:00Z", "power": {"total_w": 1000}}'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Certificates:
    """An authority of its own in a folder, with certificates made by openssl."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.folder = folder
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                  "-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip

    def make(self, name: str, subject: str, *, password: str | None = None) -> None:
        """Make NAME.key and NAME.pem, for 127.0.0.1."""
        secret = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        self._run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *secret,
                  "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                  "-days", "2", "-extfile", "san", "-out", f"{name}.pem")  # fmt: skip

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
        for path in self.folder.iterdir():
            path.chmod(0o644)  # the broker runs as an account of its own


class EncryptedMosquitto(PrivateMosquitto):
    """A broker with a second listener that asks for client certificates."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.tls_port = free_port()
        self._certificates = certificates

    def _configure(self, record: Any, account: Any) -> None:
        super()._configure(record, account)
        with self._configuration.open("a") as file:
            file.write(
                f"listener {self.tls_port} 127.0.0.1\ncafile {self._certificates.path('ca.pem')}\n"
                f"certfile {self._certificates.path('server.pem')}\nkeyfile {self._certificates.path('server.key')}\n"
                "require_certificate true\nallow_anonymous true\n"
            )


@pytest.fixture(scope="module")
def certificates(servers_folder: Path) -> Certificates:
    made = Certificates(servers_folder / f"certificates-{uuid4().hex}")
    made.make("server", "broker")
    made.make("client", "emsd")
    made.make("locked", "emsd", password="open-sesame-7")
    stranger = Certificates(servers_folder / f"certificates-{uuid4().hex}")
    stranger.make("client", "emsd")
    (made.folder / "stranger.pem").write_bytes((stranger.folder / "client.pem").read_bytes())
    (made.folder / "stranger.key").write_bytes((stranger.folder / "client.key").read_bytes())
    (made.folder / "stranger-ca.pem").write_bytes((stranger.folder / "ca.pem").read_bytes())
    return made


@pytest.fixture(scope="module")
def encrypted(servers_folder: Path, certificates: Certificates) -> Iterator[EncryptedMosquitto]:
    with EncryptedMosquitto(servers_folder / f"encrypted-{uuid4().hex}", certificates) as broker:
        yield broker


def encrypted_connection(encrypted: EncryptedMosquitto, **tls: object) -> MqttConnection:
    return MqttConnection.model_validate({"key": "b", "host": "127.0.0.1", "port": encrypted.tls_port, "tls": tls})


async def test_messages_come_over_tls_with_a_certificate_on_either_side(
    encrypted: EncryptedMosquitto, certificates: Certificates
) -> None:
    sink = MemorySink()
    connection = encrypted_connection(
        encrypted, ca_file=certificates.path("ca.pem"), cert_file=certificates.path("client.pem"),
        key_file=certificates.path("client.key"),
    )  # fmt: skip
    collector = open_collector(connection, [meter_of("json_energy_meter", "tls/a")], sink)
    async with running(collector):
        await eventually(collector.connected)
        for _ in range(3):
            await pub(encrypted, "tls/a", MESSAGE)
        big = '{"ts": "2026-03-29T02:00:00Z", "power": {"total_w": 1}, "x": "' + "x" * 200_000 + '"}'
        await pub(encrypted, "tls/a", big)  # many TLS records
        await eventually(lambda: len(sink.stored) == 4)


async def test_a_key_may_be_locked_with_a_password_that_no_log_shows(
    encrypted: EncryptedMosquitto, certificates: Certificates
) -> None:
    structlog.reset_defaults()
    files = {"ca_file": certificates.path("ca.pem"), "cert_file": certificates.path("locked.pem"),
             "key_file": certificates.path("locked.key")}  # fmt: skip
    with capture_logs() as logs:
        right = open_collector(
            encrypted_connection(encrypted, **files, key_password="open-sesame-7"),
            [meter_of("json_energy_meter", "tls/b")], MemorySink(),
        )  # fmt: skip
        async with running(right):
            await eventually(right.connected)
        wrong = open_collector(
            encrypted_connection(encrypted, **files, key_password="open-sesame-8"),
            [meter_of("json_energy_meter", "tls/b")], MemorySink(),
        )  # fmt: skip
        async with running(wrong):
            await eventually(lambda: health_of(wrong).errors["unreachable"] >= 1)
    assert "cannot be used" in (health_of(wrong).last_error or "")
    assert "open-sesame" not in repr(logs)
    assert "open-sesame" not in (health_of(wrong).last_error or "")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"ca_file": "stranger-ca.pem", "cert_file": "client.pem", "key_file": "client.key"},
            "certificate verify failed",
        ),
        ({"ca_file": "ca.pem"}, "certificate required|closed|reset"),
        (
            {"ca_file": "ca.pem", "cert_file": "stranger.pem", "key_file": "stranger.key"},
            "unknown ca|closed|reset",
        ),
        ({"ca_file": "missing.pem"}, r"missing\.pem cannot be used"),
    ],
)
async def test_a_broker_that_is_a_stranger_or_takes_us_for_one_is_not_spoken_to(
    encrypted: EncryptedMosquitto, certificates: Certificates, files: dict[str, str], said: str
) -> None:
    connection = encrypted_connection(encrypted, **{name: certificates.path(file) for name, file in files.items()})
    collector = open_collector(connection, [meter_of("json_energy_meter", "tls/c")], MemorySink())
    async with running(collector):
        await eventually(lambda: health_of(collector).errors["unreachable"] >= 1)
        assert not collector.connected()
    assert re.search(said, health_of(collector).last_error or "")


@pytest.mark.parametrize("reset", [True, False])
async def test_a_broker_that_hangs_up_instead_of_answering_is_known_for_it(reset: bool) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = MqttConnection.model_validate({"key": "b", "host": "127.0.0.1", "port": port})
        for _ in range(20):  # whether reading or writing finds out first is chance
            with pytest.raises(Unreachable, match=r"closed the connection before it answered|reset by peer"):
                async with open_session(connection, "c", [("a", 1)], old_protocol=False):
                    pass


async def test_verification_may_be_switched_off_for_trials(
    encrypted: EncryptedMosquitto, certificates: Certificates
) -> None:
    connection = encrypted_connection(
        encrypted, verify=False, cert_file=certificates.path("client.pem"), key_file=certificates.path("client.key")
    )
    collector = open_collector(connection, [meter_of("json_energy_meter", "tls/d")], MemorySink())
    async with running(collector):
        await eventually(collector.connected)


def test_the_port_of_tls_is_8883_unless_another_is_written() -> None:
    def port(**fields: object) -> int:
        return MqttConnection.model_validate({"key": "b", "host": "h", **fields}).port

    assert (port(), port(tls={}), port(tls={}, port=1884)) == (1883, 8883, 1884)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tls": {"key_file": "k"}}, "without cert_file"),
        ({"share_group": "emsd"}, "needs a client_id"),
        ({"share_group": "a/b", "client_id": "x"}, "share_group"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MqttConnection.model_validate({"key": "b", "host": "h", **fields})


async def test_processes_of_one_group_share_the_messages_and_none_is_lost(broker: PrivateMosquitto) -> None:
    sinks = [MemorySink(), MemorySink()]
    collectors = [
        open_collector(
            connection_to(broker.url, share_group="emsd", client_id=f"emsd-{place}"),
            [meter_of("json_energy_meter", "shared/a")], sink,
        )
        for place, sink in enumerate(sinks)
    ]  # fmt: skip
    async with running(collectors[0]), running(collectors[1]):
        await eventually(lambda: all(collector.connected() for collector in collectors))
        parts = urlsplit(broker.url)
        async with aiomqtt.Client(parts.hostname or "", parts.port or 0) as client:
            for second in range(40):
                await client.publish("shared/a", MESSAGE.replace("00Z", f"{second:02}Z"), qos=1)
        await eventually(lambda: sum(len(sink.stored) for sink in sinks) == 40)
    assert all(len(sink.stored) >= 5 for sink in sinks)
    assert sorted(reading.time.second for sink in sinks for reading in sink.stored) == list(range(40))


async def test_a_group_on_a_broker_without_mqtt_5_is_an_error_that_says_so() -> None:
    """A server stands for such a broker: it refuses MQTT 5 as 3.1.1 says."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(bytes([0x20, 2, 0, 1]))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    connection = MqttConnection(
        key="old", host="127.0.0.1", port=server.sockets[0].getsockname()[1], share_group="emsd", client_id="emsd-1"
    )
    collector = open_collector(connection, [meter_of("json_energy_meter", "shared/b")], MemorySink())
    try:
        async with running(collector):
            await eventually(lambda: "no shared subscriptions" in (health_of(collector).last_error or ""))
    finally:
        server.close()
    assert "take share_group out of connection old" in (health_of(collector).last_error or "")


async def test_emsd_says_whether_it_is_there(broker: PrivateMosquitto) -> None:
    connection = connection_to(broker.url, online_topic="emsd/line-1/state", client_id="emsd-will")
    parts = urlsplit(broker.url)
    heard: list[str] = []

    async def hear() -> None:
        async with aiomqtt.Client(parts.hostname or "", parts.port or 0) as client:
            await client.subscribe("emsd/line-1/state", qos=1)
            async for message in client.messages:
                heard.append(message.payload.decode())  # noqa: PERF401 - each as it comes

    hearing = asyncio.create_task(hear(), name="hearing")
    try:
        collector = open_collector(connection, [meter_of("json_energy_meter", "online/a")], MemorySink())
        async with running(collector):
            await eventually(lambda: heard[-1:] == ["online"])
        await eventually(lambda: heard[-1:] == ["offline"])  # by itself
        async with running(open_collector(connection, [meter_of("json_energy_meter", "online/a")], MemorySink())):
            await eventually(lambda: heard[-1:] == ["online"])
            # Another client of this name: the broker closes ours without its saying so, and publishes the will.
            async with aiomqtt.Client(parts.hostname or "", parts.port or 0, identifier="emsd-will"):
                await eventually(lambda: heard[-1:] == ["offline"])
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def test_simulated_devices_go_to_an_encrypted_broker_as_the_plant_says(
    encrypted: EncryptedMosquitto, certificates: Certificates
) -> None:
    connection = encrypted_connection(
        encrypted,
        ca_file=certificates.path("ca.pem"), cert_file=certificates.path("locked.pem"),
        key_file=certificates.path("locked.key"), key_password="open-sesame-7",
    )  # fmt: skip
    plant = Plant(
        site=Site(name="Hall", time_zone="UTC", carbon_region="CN"), areas=(Area(key="hall", name="Hall"),),
        assets=(Asset(key="tool", name="Tool", kind=AssetKind.PROCESS_TOOL, area="hall", rated_power_kw=80),),
        connections=(connection,),
        meters=(
            Meter(
                key="press", name="Press", asset="tool", profile="json_energy_meter", connection="b", topic="tls/sim",
                poll_interval_s=0.2,
            ),
        ),
    )  # fmt: skip
    sink = MemorySink()
    collector = open_collector(connection, [meter_of("json_energy_meter", "tls/sim")], sink)
    async with running(collector), Simulator(plant, {"json_energy_meter": profile("json_energy_meter")}) as simulator:
        await eventually(lambda: len(sink.stored) >= 2)
        for reading in sink.stored:
            true = simulator.truth.quantities("press", reading.time_us)["active_power_kw"]
            assert reading.value("active_power_kw") == pytest.approx(true, abs=1e-5)
