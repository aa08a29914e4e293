"""The numbers of meters: known before the first reading is taken, and never mixed between two databases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from emsd.errors import ConfigurationError
from emsd.ingest.spool import open_spool
from emsd.plant.loader import load_plant
from emsd.readings import reading_of
from emsd.service import Service, run_service
from emsd.service.preparing import Preparation
from emsd.store.pool import open_pool
from tests.e2e.plants import free_port, service_settings, small_plant, written

WITHIN_S = 60.0


async def test_a_spool_that_is_for_another_database_is_not_drained_into_this_one(
    database_url: str, tmp_path: Path
) -> None:
    plant, profiles = small_plant(connections=1, meters_each=2)
    loaded = load_plant(written(plant, profiles, tmp_path), environ={})
    first, second = (meter.key for meter in plant.meters)
    folder = tmp_path / "spool" / "site-1-part-1-of-1"
    async with open_spool(folder, min_free_bytes=0) as spool:
        # There, the meters were numbered the other way round.
        await spool.remember_meters(1, {second: 1_000_001, first: 1_000_002})
        await spool.save([reading_of(1_000_001, 1_750_000_000_000_000, {"active_power_kw": 1.0})])
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(ConfigurationError, match="other meters"):
            await run_service(Service(service_settings(tmp_path), loaded, database_url))
    async with open_pool(database_url, max_size=1) as pool:
        assert await pool.fetchval("SELECT count(*) FROM reading") == 0
    async with open_spool(folder, min_free_bytes=0) as spool:
        assert spool.totals.readings == 1, "it is all there still"


async def test_an_empty_spool_goes_over_to_another_database(database_url: str, tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=1, meters_each=2)
    loaded = load_plant(written(plant, profiles, tmp_path), environ={})
    first, second = (meter.key for meter in plant.meters)
    async with open_spool(tmp_path / "spool", min_free_bytes=0) as spool, open_pool(database_url, max_size=2) as pool:
        await spool.remember_meters(1, {second: 1_000_001, first: 1_000_002})
        found = await Preparation(database_url, pool, spool).meter_ids_at_once(loaded)
        assert found == {first: 1_000_001, second: 1_000_002}
        assert await spool.known_meters(1) == found


async def test_a_start_that_need_not_wait_for_its_database_does_not(tmp_path: Path) -> None:
    plant, profiles = small_plant(connections=1, meters_each=1)
    loaded = load_plant(written(plant, profiles, tmp_path), environ={})
    url = f"postgresql://emsd@127.0.0.1:{free_port()}/nowhere"
    async with (
        open_spool(tmp_path / "spool", min_free_bytes=0) as spool,
        open_pool(url, min_size=0, max_size=1) as pool,
        asyncio.timeout(WITHIN_S),
    ):
        assert await Preparation(url, pool, spool).meter_ids_at_once(loaded) is None
