"""Each refusal of a real server is told apart: try later, this row never, or a person must act."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

import asyncpg
import pytest

from emsd.errors import BadRow, SettingsError, StoreError, StoreUnavailable
from emsd.store.errors import store_errors
from emsd.store.pool import Pool, deadline, open_pool, place, session


def raise_state(state: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = '{state}'; END $$"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", StoreUnavailable),  # connection failure
        ("53100", StoreUnavailable),  # disk full
        ("53200", StoreUnavailable),  # out of memory
        ("53300", StoreUnavailable),  # too many connections
        ("57P01", StoreUnavailable),  # admin shutdown
        ("57P03", StoreUnavailable),  # cannot connect now
        ("57014", StoreUnavailable),  # statement time-out
        ("40001", StoreUnavailable),  # serialization failure
        ("40P01", StoreUnavailable),  # deadlock
        ("55P03", StoreUnavailable),  # lock time-out
        ("22003", BadRow),  # out of range
        ("23505", BadRow),  # unique
        ("23514", BadRow),  # check
        ("P0001", BadRow),  # raised by a trigger
        ("42P01", StoreError),  # no such table
        ("42501", StoreError),  # no privilege
        ("53400", StoreError),  # a configured limit
        ("XX000", StoreError),  # internal
    ],
)
async def test_a_sqlstate_means_what_the_table_says(pool: Pool, state: str, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError, match=f"could not test: as asked .*{state}") as raised:
        async with session(pool, "test") as connection:
            await connection.execute(raise_state(state))
    assert type(raised.value) is kind


async def test_a_value_that_cannot_be_encoded_is_a_bad_row(pool: Pool) -> None:
    with pytest.raises(BadRow):
        async with session(pool, "test") as connection:
            await connection.execute("SELECT $1::integer", 2**40)


async def test_a_session_that_the_server_ends_is_unavailable_and_the_pool_goes_on(pool: Pool) -> None:
    async def lose_the_session() -> None:
        async with session(pool, "test") as connection:
            victim = connection.get_server_pid()
            async with pool.acquire() as other:
                await other.fetchval("SELECT pg_terminate_backend($1, 5000)", victim)
            await connection.fetchval("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await lose_the_session()
    assert await pool.fetchval("SELECT 1") == 1


async def test_no_server_no_name_and_a_wrong_password_are_told_apart(database_url: str, unused_tcp_port: int) -> None:
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{unused_tcp_port}"):
        async with open_pool(f"postgresql://emsd@127.0.0.1:{unused_tcp_port}/emsd"):
            pass
    address = urlsplit(database_url)
    wrong = address._replace(netloc=f"{address.username}:wrong@{address.hostname}:{address.port}").geturl()
    with pytest.raises(StoreError, match="check EMSD_DATABASE_URL") as raised:
        async with open_pool(wrong):
            pass
    assert not isinstance(raised.value, StoreUnavailable)
    with pytest.raises(SettingsError, match="does not begin with postgresql://"):
        async with open_pool("http://127.0.0.1/emsd"):
            pass


async def test_a_server_that_swallows_everything_is_left_at_the_deadline(database_url: str) -> None:
    """Between client and server stands a proxy that stops passing bytes on, as a broken network does."""
    address = urlsplit(database_url)
    passing = asyncio.Event()
    passing.set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await passing.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer), return_exceptions=True)

    async def transact(pool: Pool) -> None:
        async with session(pool, "test") as connection:
            await connection.fetchval("SELECT 1")
            passing.clear()
            with deadline(connection, 0.2):
                async with connection.transaction():
                    await connection.fetchval("SELECT 1")

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = await asyncio.start_server(serve, sock=listener)
    try:
        url = address._replace(netloc=f"{address.username}:{address.password}@127.0.0.1:{port}").geturl()
        async with open_pool(url) as pool, asyncio.timeout(60):
            with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.2 s"):
                await transact(pool)
    finally:
        passing.set()
        server.close()


def test_a_place_has_neither_user_nor_password() -> None:
    assert place("postgresql://emsd:geheim@db.plant:5433/energy") == "db.plant:5433/energy"
    assert place("postgresql:///energy?host=/run/postgresql") == "/run/postgresql/energy"


def test_an_error_of_programming_is_not_caught() -> None:
    with pytest.raises(KeyError), store_errors("test"):
        raise KeyError("column")
    with pytest.raises(StoreUnavailable, match="try again when the database answers"), store_errors("test"):
        raise asyncpg.InterfaceError("connection is closed")
