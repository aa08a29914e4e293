"""The migrations bring any database to this version's schema once, and refuse every disagreement."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from emsd.errors import MigrationError, StoreUnavailable
from emsd.quantities import QUANTITIES
from emsd.resources import folder
from emsd.store.migrations import migrate, read_migrations, scram_verifier, set_reader_password
from emsd.store.pool import Pool

FIRST = "CREATE TABLE first (id integer PRIMARY KEY);\nINSERT INTO first VALUES (1);\n"


@pytest.fixture
def empty_url(postgres: Any) -> Iterator[str]:
    name = f"emsd_empty_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name}")
    try:
        yield postgres.url_of(name)
    finally:
        postgres.drop(name)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text(FIRST)
    (tmp_path / "0002_second.sql").write_text("CREATE TABLE second (id integer);")
    return tmp_path


async def fetch(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_an_empty_database_gets_every_file_in_order_and_a_migrated_one_nothing(empty_url: str) -> None:
    names = [file.name for file in read_migrations(folder("migrations"))]
    assert await migrate(empty_url) == names
    assert await migrate(empty_url) == []
    ledger = await fetch(empty_url, "SELECT version, name, length(sha256) FROM schema_migration ORDER BY version")
    assert ledger == [(number, name, 64) for number, name in enumerate(names, start=1)]


async def test_processes_that_race_apply_each_file_once(empty_url: str, directory: Path) -> None:
    applied = await asyncio.gather(*(migrate(empty_url, directory=directory) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, 2]
    assert await fetch(empty_url, "SELECT id FROM first") == [(1,)]


async def test_a_file_that_fails_leaves_nothing_behind_and_those_before_it_stay(
    empty_url: str, directory: Path
) -> None:
    (directory / "0002_second.sql").write_text("CREATE TABLE second (id integer); SELECT 1/0;")
    with pytest.raises(MigrationError, match=r"0002_second\.sql could not be applied: division by zero"):
        await migrate(empty_url, directory=directory)
    assert await fetch(empty_url, "SELECT to_regclass('first')::text, to_regclass('second')::text") == [("first", None)]
    (directory / "0002_second.sql").write_text("CREATE TABLE second (id integer);")
    assert await migrate(empty_url, directory=directory) == ["0002_second.sql"]


async def test_an_applied_file_that_was_edited_is_refused_by_name(empty_url: str, directory: Path) -> None:
    await migrate(empty_url, directory=directory)
    (directory / "0001_first.sql").write_text(FIRST + "-- harmless\n")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was edited"):
        await migrate(empty_url, directory=directory)


async def test_line_ends_of_another_system_are_not_an_edit(empty_url: str, directory: Path) -> None:
    await migrate(empty_url, directory=directory)
    (directory / "0001_first.sql").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert await migrate(empty_url, directory=directory) == []


async def test_a_database_newer_than_the_code_is_refused(empty_url: str, directory: Path) -> None:
    await migrate(empty_url, directory=directory)
    (directory / "0002_second.sql").unlink()
    with pytest.raises(MigrationError, match=r"has 0002_second\.sql, which this version"):
        await migrate(empty_url, directory=directory)


async def test_a_file_that_vanished_or_came_too_late_is_refused(empty_url: str, directory: Path) -> None:
    (directory / "0002_second.sql").rename(directory / "0003_second.sql")
    await migrate(empty_url, directory=directory)
    (directory / "0002_between.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=r"0002_between\.sql comes before 0003_second\.sql"):
        await migrate(empty_url, directory=directory)
    (directory / "0002_between.sql").unlink()
    (directory / "0001_first.sql").unlink()
    with pytest.raises(MigrationError, match=r"0001_first\.sql was applied .* no longer"):
        await migrate(empty_url, directory=directory)


@pytest.mark.parametrize("name", ["1_short.sql", "0002_Upper.sql", "0001_again.sql"])
def test_a_file_name_that_has_no_place_in_the_order_is_refused(directory: Path, name: str) -> None:
    (directory / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=name):
        read_migrations(directory)


async def test_a_missing_extension_is_named_with_its_cure(empty_url: str, directory: Path) -> None:
    (directory / "0001_first.sql").write_text('CREATE EXTENSION "timescaledb_absent";')
    with pytest.raises(MigrationError, match="shared_preload_libraries = 'timescaledb'"):
        await migrate(empty_url, directory=directory)


async def test_a_database_that_does_not_answer_is_named_without_its_password(unused_tcp_port: int) -> None:
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{unused_tcp_port}/plant") as raised:
        await migrate(f"postgresql://emsd:geheim@127.0.0.1:{unused_tcp_port}/plant")
    assert "geheim" not in str(raised.value)


async def test_the_reader_may_log_in_with_its_password_and_read_but_not_write(pool: Pool, database_url: str) -> None:
    password = f"it's a \\ secret {uuid.uuid4()} 密码"
    async with pool.acquire() as connection:
        await set_reader_password(connection, password)
    address = urlsplit(database_url)
    reader = await asyncpg.connect(
        host=address.hostname,
        port=address.port,
        database=address.path[1:],
        user="emsd_reader",
        password=password,
    )
    try:
        assert await reader.fetchval("SELECT count(*) FROM reading") == 0
        with pytest.raises(asyncpg.PostgresError):
            await reader.execute("INSERT INTO dirty_interval (bucket, meter_ids) VALUES (now(), '{1}')")
    finally:
        await reader.close()


def test_the_verifier_of_a_password_is_that_of_the_published_example() -> None:
    # RFC 7677, section 3: user "user", password "pencil"; the server's signature there follows from this server key.
    import base64
    import hashlib
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = scram_verifier("pencil", salt=salt, iterations=4096)
    assert verifier.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    server_key = base64.b64decode(verifier.rpartition(":")[2])
    message = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,"
        "i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.digest(server_key, message.encode(), hashlib.sha256)
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


async def test_the_table_of_readings_has_a_column_of_the_right_type_for_every_quantity_and_no_other(pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'reading'"
    )
    columns = {row["column_name"]: row["data_type"] for row in rows}
    beside = {
        "time": "timestamp with time zone",
        "meter_id": "integer",
        "quality": "smallint",
        "extra": "jsonb",
    }
    assert columns == beside | {quantity.name: quantity.sql_type for quantity in QUANTITIES}
