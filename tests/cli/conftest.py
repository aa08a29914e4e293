"""An empty database, for commands that make the schema themselves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import PostgresServer


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    name = f"emsd_empty_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name}")
    try:
        yield postgres.url_of(name)
    finally:
        postgres.drop(name)
