"""Sessions with a broker end when they are told to, whatever happens to the broker in that moment."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest

from simulator.broker import until_it_ends


async def test_a_broker_that_is_lost_in_the_very_moment_does_not_keep_a_device_from_ending() -> None:
    async def session() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise aiomqtt.MqttError("gone") from None

    device = asyncio.create_task(until_it_ends(session()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    device.cancel()
    with pytest.raises(asyncio.CancelledError):
        await device


async def test_what_ends_a_session_is_told() -> None:
    async def session() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(lose())

    async def lose() -> None:
        raise aiomqtt.MqttError("gone")

    lost: list[BaseException] = []
    try:
        await until_it_ends(session())
    except* aiomqtt.MqttError as group:
        lost += group.exceptions
    assert [str(each) for each in lost] == ["gone"]
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
