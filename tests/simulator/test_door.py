"""The address that a fault shuts and opens again."""

from __future__ import annotations

import asyncio
import socket

from structlog.testing import capture_logs

from simulator.door import open_door


class Listening:
    """Makes servers that greet, and refuses as often as it is told to."""

    def __init__(self) -> None:
        self.refusals = 0

    async def __call__(self, held: socket.socket) -> asyncio.Server:
        if self.refusals:
            self.refusals -= 1
            raise OSError("no more files")
        return await asyncio.start_server(self._greet, sock=held)

    @staticmethod
    async def _greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"in")
        writer.close()


async def knock(port: int) -> str:
    """Return what happens to somebody who knocks; who comes while the door shuts is reset."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return (await reader.read()).decode()
        finally:
            writer.close()
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"


async def eventually(port: int, wanted: str) -> None:
    async with asyncio.timeout(10):
        found = ""
        while found != wanted:
            found = await knock(port)
            await asyncio.sleep(0.01)


async def test_a_door_that_the_system_keeps_shut_is_tried_again_and_says_so() -> None:
    listening = Listening()
    async with open_door("to-devices", "127.0.0.1", 0, listening) as door:
        assert await knock(door.port) == "in"
        door.shut(True)
        await eventually(door.port, "refused")
        listening.refusals = 2
        with capture_logs() as logs:
            door.shut(False)
            await eventually(door.port, "in")
        assert [each["event"] for each in logs] == ["simulated_door_stuck"] * 2
        door.shut(True)
        await eventually(door.port, "refused")
        door.shut(False)
        await eventually(door.port, "in")
