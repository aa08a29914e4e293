"""Cancellation is the only way to stop a collector, so no request may swallow one."""

from __future__ import annotations

import asyncio

import pytest

from collectors.modbus.client import ModbusClient
from emsd.plant.modbus_map import Table
from tests.collectors.support import answer_frame, eventually, scripted_server


async def test_a_cancellation_that_comes_together_with_the_answer_is_not_forgotten() -> None:
    """asyncio.wait_for of Python 3.11 returns the answer instead, and a busy collector would never end."""
    asked = asyncio.Event()
    may_answer = asyncio.Event()

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await may_answer.wait()
        writer.write(answer_frame(request, 1, 2))

    async with scripted_server(answer) as port:
        client = await ModbusClient.open("127.0.0.1", port, timeout_s=5)
        try:
            reading = asyncio.create_task(client.read(7, Table.HOLDING, 100, 2, timeout_s=5))
            await asked.wait()
            client._pymodbus.ctx.response_future.add_done_callback(lambda _answer: reading.cancel())
            may_answer.set()
            await eventually(reading.done)
            with pytest.raises(asyncio.CancelledError):
                reading.result()
        finally:
            client.close()
