"""A private cluster: what its owner may do, and that starting works after anything that may have happened before."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from emsd.errors import ServerError
from emsd.servers import PrivatePostgres, run_as
from emsd.servers.process import wait_until


@pytest.fixture(scope="module")
def cluster(servers_folder: Path) -> Iterator[PrivatePostgres]:
    """A cluster that every test finds stopped or running, as the one before it left it, and whole."""
    private = PrivatePostgres(servers_folder / "cluster", fsync=False)
    try:
        yield private
    finally:
        private.stop()


async def value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_owner_makes_hypertables_roles_and_databases_and_is_no_superuser(cluster: PrivatePostgres) -> None:
    cluster.start()
    await execute(
        cluster.url,
        "CREATE EXTENSION IF NOT EXISTS timescaledb",
        "CREATE TABLE sample (time timestamptz NOT NULL, v real)",
        "SELECT create_hypertable('sample', by_range('time'))",
        "INSERT INTO sample SELECT t, 1 FROM generate_series(now() - interval '30 days', now(), '1 hour') t",
        "CREATE ROLE somebody LOGIN",
        "ALTER ROLE somebody SET statement_timeout = '10s'",
        "GRANT SELECT ON sample TO somebody",
        "CREATE DATABASE another",
    )
    assert await value(cluster.url, "SELECT count(*) FROM show_chunks('sample')") in {5, 6}
    assert await value(cluster.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    extension = "SELECT extname FROM pg_extension WHERE extname = 'timescaledb'"
    assert await value(cluster.url_of("another"), extension) == "timescaledb"


async def test_the_url_has_role_password_loopback_port_and_database(cluster: PrivatePostgres) -> None:
    cluster.start()
    url = urlsplit(cluster.url)
    assert (url.scheme, url.username, url.hostname, url.path) == ("postgresql", "emsd", "127.0.0.1", "/emsd")
    assert url.port == cluster.port
    assert urlsplit(cluster.superuser_url).username == "postgres"
    wrong = url._replace(netloc=f"emsd:wrong@127.0.0.1:{url.port}").geturl()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


async def test_it_listens_on_loopback_only_and_telemetry_and_jit_are_off(cluster: PrivatePostgres) -> None:
    cluster.start()
    expected = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "jit": "off", "fsync": "off"}
    for name, setting in expected.items():
        assert await value(cluster.superuser_url, f"SELECT current_setting('{name}')") == setting
    assert "'off'" in next(
        line
        for line in (cluster.data_dir / "postgresql.conf").read_text().splitlines()
        if line.startswith("timescaledb.telemetry_level")
    )


async def test_fsync_is_on_unless_asked_otherwise(cluster: PrivatePostgres) -> None:
    cluster.stop()
    safe = PrivatePostgres(cluster.folder)
    safe.start()
    try:
        assert await value(safe.url, "SELECT current_setting('fsync')") == "on"
    finally:
        safe.stop()


def test_passwords_are_readable_by_their_owner_only(cluster: PrivatePostgres) -> None:
    cluster.start()
    assert (cluster.folder / "cluster.json").stat().st_mode & 0o777 == 0o600
    assert cluster.folder.stat().st_mode & 0o777 == 0o700


def test_it_runs_as_the_unprivileged_account(cluster: PrivatePostgres) -> None:
    cluster.start()
    account = run_as()
    assert Path(f"/proc/{cluster.pid}").stat().st_uid == (os.geteuid() if account is None else account.uid)


def test_a_second_start_is_a_no_op_that_says_so(cluster: PrivatePostgres) -> None:
    cluster.start()
    pid, url = cluster.pid, cluster.url
    assert cluster.start() is False
    assert PrivatePostgres(cluster.folder).start() is False
    assert (cluster.pid, cluster.url) == (pid, url)


def test_of_two_that_start_it_at_once_one_does(cluster: PrivatePostgres) -> None:
    cluster.stop()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(PrivatePostgres(cluster.folder, fsync=False).start) for _ in range(2)]
    assert sorted(future.result() for future in both) == [False, True]


def test_stop_is_a_no_op_when_nothing_runs_and_start_keeps_the_url(cluster: PrivatePostgres) -> None:
    cluster.start()
    url = cluster.url
    assert cluster.stop() is True
    assert cluster.running is False
    assert cluster.stop() is False
    assert cluster.start() is True
    assert cluster.url == url


async def test_committed_data_survive_kill_9_of_the_postmaster(cluster: PrivatePostgres) -> None:
    cluster.start()
    await execute(cluster.url, "CREATE TABLE IF NOT EXISTS kept (v int)", "INSERT INTO kept VALUES (42)")
    pid = cluster.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not cluster.running, 30)
    assert (cluster.data_dir / "postmaster.pid").exists(), "the crash left no stale pid file"
    assert cluster.start() is True
    assert await value(cluster.url, "SELECT max(v) FROM kept") == 42


def test_a_stale_pid_that_is_another_programs_now_neither_blocks_nor_hurts_it(cluster: PrivatePostgres) -> None:
    cluster.start()
    cluster.stop()
    (cluster.data_dir / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster.data_dir}\n1\n1\n\n127.0.0.1\n")
    assert cluster.running is False
    assert cluster.stop() is False
    assert cluster.start() is True
    assert cluster.pid != os.getpid()


def test_a_fixed_port_in_use_is_named(cluster: PrivatePostgres) -> None:
    cluster.stop()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"127.0.0.1:{port}, which is in use"):
            PrivatePostgres(cluster.folder, port=port).start()


def test_a_remembered_port_in_use_is_given_up(cluster: PrivatePostgres) -> None:
    cluster.start()
    port = cluster.port
    cluster.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        assert cluster.start() is True
        assert cluster.port != port


def test_an_interrupted_initdb_is_never_taken_for_a_cluster(servers_folder: Path) -> None:
    folder = servers_folder / "interrupted"
    half = folder / "pgdata.unfinished"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("17\n")
    with PrivatePostgres(folder, fsync=False) as private:
        assert private.running
        assert not half.exists()
    assert not private.running


def test_a_cluster_of_another_version_is_refused_untouched(cluster: PrivatePostgres) -> None:
    cluster.start()
    cluster.stop()
    marker = cluster.data_dir / "PG_VERSION"
    version = marker.read_text()
    marker.write_text("9\n")
    try:
        with pytest.raises(ServerError, match="written by PostgreSQL 9"):
            cluster.start()
    finally:
        marker.write_text(version)


def test_what_the_server_says_is_in_the_error(cluster: PrivatePostgres) -> None:
    cluster.stop()
    with pytest.raises(ServerError, match="does not start") as caught:
        PrivatePostgres(cluster.folder, settings={"shared_buffers": "nonsense"}).start()
    assert str(cluster.log_file) in str(caught.value)


def test_a_context_stops_only_what_it_started(cluster: PrivatePostgres) -> None:
    cluster.start()
    with PrivatePostgres(cluster.folder) as same:
        assert same.running
    assert cluster.running


def test_a_url_before_the_first_start_is_an_error_with_its_cure(servers_folder: Path) -> None:
    with pytest.raises(ServerError, match="start it first"):
        _ = PrivatePostgres(servers_folder / "never").url
