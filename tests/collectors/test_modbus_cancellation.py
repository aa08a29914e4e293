"""Cancellation is the only way to stop a collector, so no request may swallow one."""

from __future__ import annotations

import asyncio

import pytest

from collectors.modbus.client import ModbusClient
from emsd.errors import Mismatch
from emsd.plant.modbus_map import Table
from tests.collectors.support import answer_frame, eventually, modbus_connection, scripted_server


async def test_a_cancellation_that_comes_together_with_the_answer_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that waited with asyncio.wait_for would return the answer in Python 3.11, and never end."""
    asked = asyncio.Event()
    may_answer = asyncio.Event()

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await may_answer.wait()
        writer.write(answer_frame(request, 1, 2))

    async with scripted_server(answer) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            reading = asyncio.create_task(client.read(7, Table.HOLDING, 100, 2, timeout_s=5))
            await asked.wait()
            take = client._link._answer

            def take_and_cancel(payload: bytes) -> None:
                take(payload)
                assert reading.cancel()

            monkeypatch.setattr(client._link, "_answer", take_and_cancel)
            may_answer.set()
            await eventually(reading.done)
            with pytest.raises(asyncio.CancelledError):
                reading.result()
        finally:
            client.close()


async def test_after_a_cancelled_request_its_answer_is_not_taken_for_the_next_one() -> None:
    asked = asyncio.Event()

    async def silent(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with scripted_server(silent) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            reading = asyncio.create_task(client.read(7, Table.HOLDING, 100, 2, timeout_s=5))
            await asked.wait()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            with pytest.raises(Mismatch, match="the request before was given up"):
                await client.read(7, Table.HOLDING, 200, 2, timeout_s=5)
        finally:
            client.close()
