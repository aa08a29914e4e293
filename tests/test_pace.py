"""Background work waits while the event loop is busy, and is never shut out."""

from __future__ import annotations

import asyncio
import time

from emsd.pace import Turns, room


async def _hold_the_loop(times: int) -> None:
    for _ in range(times):
        time.sleep(0.05)  # noqa: ASYNC251 - that is the point
        await asyncio.sleep(0)


async def test_background_work_waits_until_the_loop_has_time_to_spare() -> None:
    busy = asyncio.create_task(_hold_the_loop(10))
    await room(longest_s=60.0)
    assert busy.done()


async def test_background_work_gets_its_turn_though_the_loop_never_rests() -> None:
    busy = asyncio.create_task(_hold_the_loop(1_000_000))
    await room(longest_s=0.2)
    assert not busy.done()
    busy.cancel()


async def test_pieces_of_long_work_take_no_more_than_their_share_of_the_time() -> None:
    turns, pieces, piece_s = Turns(0.25), 4, 0.02
    for _ in range(pieces):
        async with turns:
            time.sleep(piece_s)  # noqa: ASYNC251 - the piece
    # Before the first piece nothing is owed.
    assert turns.waited_s >= (pieces - 1) * 3 * piece_s


async def test_work_that_somebody_waits_for_waits_for_no_turn() -> None:
    turns = Turns(0.000_1)
    with turns.at_once():
        for _ in range(2):
            async with turns:
                time.sleep(0.01)  # noqa: ASYNC251 - the piece
    assert turns.waited_s == 0.0
