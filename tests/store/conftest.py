"""A pool on the test's own database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from emsd.store.pool import Pool, open_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, application_name="emsd tests") as opened:
        yield opened
