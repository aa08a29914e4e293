"""The fixtures that every other test of the database stands on."""

from __future__ import annotations

import asyncpg
import pytest

from emsd.servers import PrivateMosquitto
from emsd.servers.handshake import accepts_clients


@pytest.mark.parametrize("turn", [1, 2])
async def test_every_test_has_a_migrated_database_of_its_own(database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('reading') IS NOT NULL")
        assert await connection.fetchval("SELECT to_regclass('trace_of_a_test') IS NULL")
        await connection.execute("CREATE TABLE trace_of_a_test (turn int)")
        await connection.execute("INSERT INTO trace_of_a_test VALUES ($1)", turn)
    finally:
        await connection.close()


async def test_a_test_may_leave_its_connections_open(database_url: str) -> None:
    """The database is dropped under them."""
    leaked = await asyncpg.connect(database_url)
    assert await leaked.fetchval("SELECT 1") == 1
    leaked.terminate()


def test_the_shared_broker_runs_for_the_whole_session(mosquitto: PrivateMosquitto, mqtt_url: str) -> None:
    assert accepts_clients(mosquitto.port, None, None)
    assert mqtt_url != mosquitto.url
