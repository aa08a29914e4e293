"""Work that only one process may do: one leads, another stands by and takes over."""

from __future__ import annotations

import asyncio

from emsd.errors import StoreUnavailable
from emsd.store.leadership import lead
from emsd.store.pool import Pool, open_pool

WITHIN_S = 60.0
HELD = """
FROM pg_locks
WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class Work:
    def __init__(self) -> None:
        self.running = asyncio.Event()

    async def __call__(self) -> None:
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.running.clear()


async def test_one_leads_and_the_other_takes_over_when_it_ends(pool: Pool, database_url: str) -> None:
    first, second = Work(), Work()
    async with open_pool(database_url, max_size=2) as other:
        leader = asyncio.create_task(lead(pool, "test", first, ask_again_s=0.05, look_after_s=0.05))
        async with asyncio.timeout(WITHIN_S):
            await first.running.wait()
        standby = asyncio.create_task(lead(other, "test", second, ask_again_s=0.05, look_after_s=0.05))
        assert await pool.fetchval(f"SELECT count(*) {HELD}") == 1
        assert not second.running.is_set()
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        assert not first.running.is_set()
        async with asyncio.timeout(WITHIN_S):
            await second.running.wait()
        standby.cancel()
        await asyncio.gather(standby, return_exceptions=True)
    assert await pool.fetchval(f"SELECT count(*) {HELD}") == 0


async def test_a_lost_session_ends_the_work(pool: Pool) -> None:
    work = Work()
    leader = asyncio.create_task(lead(pool, "test", work, look_after_s=0.05))
    async with asyncio.timeout(WITHIN_S):
        await work.running.wait()
    await pool.execute(f"SELECT pg_terminate_backend(pid) {HELD}")
    async with asyncio.timeout(WITHIN_S):
        try:
            await leader
        except StoreUnavailable:
            ended = True
        else:
            ended = False
    assert ended
    assert not work.running.is_set()
