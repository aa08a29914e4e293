"""A private broker, spoken to by Mosquitto's own clients."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from emsd.errors import ServerError
from emsd.servers import PrivateMosquitto
from emsd.servers.handshake import accepts_clients
from emsd.servers.process import wait_until


def client(program: Path, broker: PrivateMosquitto, *arguments: str, said: str | None = None) -> str:
    done = subprocess.run(
        [program, "-h", "127.0.0.1", "-p", str(broker.port), *arguments],
        input=said, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_published_message_comes_back(broker: PrivateMosquitto) -> None:
    client(broker.pub, broker, "-q", "1", "-r", "-t", "plant/kw", "-m", "17.5")
    assert client(broker.sub, broker, "-q", "1", "-t", "plant/#", "-C", "1", "-v") == "plant/kw 17.5\n"
    assert broker.url == f"mqtt://127.0.0.1:{broker.port}"


def test_messages_for_an_absent_persistent_session_wait_by_the_thousand(broker: PrivateMosquitto) -> None:
    session = ["-c", "-i", "collector", "-q", "1", "-t", "plant/#"]
    client(broker.sub, broker, *session, "-E")
    sent = [str(number) for number in range(5_000)]
    client(broker.pub, broker, "-q", "1", "-t", "plant/kw", "-l", said="\n".join(sent) + "\n")
    assert client(broker.sub, broker, *session, "-C", str(len(sent))).split() == sent


def test_what_was_queued_survives_a_restart(broker: PrivateMosquitto) -> None:
    session = ["-c", "-i", "collector", "-q", "1", "-t", "plant/#"]
    client(broker.sub, broker, *session, "-E")
    client(broker.pub, broker, "-q", "1", "-t", "plant/kw", "-m", "17.5")
    assert broker.stop() is True
    assert broker.start() is True
    assert client(broker.sub, broker, *session, "-C", "1") == "17.5\n"


def test_with_a_login_nobody_else_gets_in(servers_folder: Path) -> None:
    with PrivateMosquitto(servers_folder / "login", username="emsd", password="p@ss w/ord") as broker:
        assert broker.url == f"mqtt://emsd:p%40ss%20w%2Ford@127.0.0.1:{broker.port}"
        assert accepts_clients(broker.port, "emsd", "p@ss w/ord")
        assert not accepts_clients(broker.port, "emsd", "wrong")
        assert not accepts_clients(broker.port, None, None)
        assert "p@ss w/ord" not in (broker.folder / "passwords").read_text()
        assert (broker.folder / "broker.json").stat().st_mode & 0o777 == 0o600
    assert not broker.running


def test_a_username_without_a_password_is_a_mistake_of_the_program(servers_folder: Path) -> None:
    with pytest.raises(ValueError, match="belong together"):
        PrivateMosquitto(servers_folder / "half", username="emsd")


def test_a_second_start_is_a_no_op_that_says_so(broker: PrivateMosquitto) -> None:
    pid = broker.pid
    assert broker.start() is False
    assert PrivateMosquitto(broker.folder).start() is False
    assert broker.pid == pid


def test_it_starts_again_after_kill_9(broker: PrivateMosquitto) -> None:
    pid, url = broker.pid, broker.url
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not broker.running, 30)
    assert (broker.folder / "mosquitto.pid").exists(), "the crash left no stale pid file"
    assert broker.start() is True
    assert broker.url == url


def test_a_stale_pid_that_is_another_programs_now_is_never_signalled(broker: PrivateMosquitto) -> None:
    broker.stop()
    (broker.folder / "mosquitto.pid").write_text(f"{os.getpid()}\n")
    assert broker.running is False
    assert broker.stop() is False
    assert broker.start() is True
    assert broker.pid != os.getpid()


def test_a_fixed_port_in_use_is_named(broker: PrivateMosquitto, servers_folder: Path) -> None:
    with pytest.raises(ServerError, match=f"127.0.0.1:{broker.port}, which is in use"):
        PrivateMosquitto(servers_folder / "second", port=broker.port).start()


def test_a_broker_that_will_not_start_is_quoted(servers_folder: Path) -> None:
    folder = servers_folder / "damaged"
    with PrivateMosquitto(folder):
        pass
    (folder / "mosquitto.db").write_bytes(b"this is no database of a broker, however long it may be")
    with pytest.raises(ServerError, match=r"Mosquitto does not start: .*database.*; see"):
        PrivateMosquitto(folder).start()


def test_it_listens_on_loopback_only(broker: PrivateMosquitto) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    of_port = {address for address in addresses if address.endswith(f":{broker.port:04X}")}
    assert of_port == {f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}:{broker.port:04X}"}
