"""A plant that is shared otherwise than before: what the parts of then have left in their spools is not forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from emsd.ingest.spool import open_spool
from emsd.readings import reading_of
from emsd.service.left_behind import spool_folder_of, tell_of_spools_left_behind
from emsd.service.roles import Shard


async def fill(place: Path, site_number: int, shard: Shard, readings: int) -> None:
    async with open_spool(spool_folder_of(place, site_number, shard), min_free_bytes=0) as spool:
        if readings:
            await spool.save([reading_of(1_000_001, n + 1, {"active_power_kw": 1.0}) for n in range(readings)])


@pytest.mark.parametrize(
    ("left", "now", "told"),
    [
        pytest.param(Shard(1, 1), Shard(2, 2), 1, id="another division"),
        pytest.param(Shard(1, 2), Shard(2, 2), 0, id="a part of the same"),
    ],
)
async def test_readings_in_the_spool_of_another_division_are_told_of(
    tmp_path: Path, left: Shard, now: Shard, told: int
) -> None:
    await fill(tmp_path, 1, left, 3)
    await fill(tmp_path, 1, Shard(1, 3), 0)
    await fill(tmp_path, 2, Shard(1, 1), 1)
    with structlog.testing.capture_logs() as events:
        assert tell_of_spools_left_behind(tmp_path, 1, now) == told
    said = [event for event in events if event["event"] == "spool_left_behind"]
    assert [event["readings"] for event in said] == [3] * told
    assert all("--shard 1/1" in event["cure"] for event in said)


async def test_a_spool_in_use_is_left_alone(tmp_path: Path) -> None:
    await fill(tmp_path, 1, Shard(1, 1), 3)
    async with open_spool(spool_folder_of(tmp_path, 1, Shard(1, 1)), min_free_bytes=0) as spool:
        assert tell_of_spools_left_behind(tmp_path, 1, Shard(1, 2)) == 0
        assert spool.totals.readings == 3
