"""Door: a TCP address that is listened on, and can be shut and opened again while its port stays taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from emsd.errors import ServerError

__all__ = ["Door", "open_door"]

_log = structlog.get_logger(__name__)

_CLOSED_WITHIN_S: Final = 5.0
_AGAIN_AFTER_S: Final = 0.2
_LOOK_EVERY_S: Final = 0.005

Listen = Callable[[socket.socket], Awaitable[asyncio.Server]]


class Door:
    """Where clients come in. While it is shut a socket holds the port without listening, so the kernel refuses them."""

    def __init__(self, held: socket.socket, listen: Listen) -> None:
        self.port: int = held.getsockname()[1]
        self._address = held.getsockname()
        self._family = held.family
        self._listen = listen
        self._held: socket.socket | None = held
        self._server: asyncio.Server | None = None
        self._wanted_shut = False
        self._changed = asyncio.Event()

    def shut(self, shut: bool) -> None:  # noqa: FBT001  (the one thing that is said to a door)
        """Shut it, or open it, within a moment."""
        self._wanted_shut = shut
        self._changed.set()

    async def open(self) -> None:
        """Listen, if it does not; raises OSError when the port is not to be had."""
        if self._server is not None:
            return
        held, self._held = self._held or _bound(self._family, self._address), None
        try:
            self._server = await self._listen(held)
        except OSError:
            held.close()
            raise

    async def run(self) -> None:
        """Do what `shut` says until cancelled; what the system does not let it do it tries again."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._obey()
            except OSError as error:
                _log.warning("simulated_door_stuck", port=self.port, error=str(error), shut=self._wanted_shut)
                await asyncio.sleep(_AGAIN_AFTER_S)
                self._changed.set()

    async def _obey(self) -> None:
        if not self._wanted_shut:
            await self.open()
            return
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._held is None:
            self._held = await self._hold()

    def close(self) -> None:
        """Listen no more and give the port back; it cannot be opened again."""
        if self._server is not None:
            self._server.close()
        if self._held is not None:
            self._held.close()

    async def wait_closed(self) -> None:
        """Wait until everybody is gone who came in."""
        if self._server is not None:
            await self._server.wait_closed()

    async def _hold(self) -> socket.socket:
        """Take the port without listening as soon as the server has let go of it, which uvloop does a turn later."""
        async with asyncio.timeout(_CLOSED_WITHIN_S):
            while True:
                with suppress(OSError):
                    return _bound(self._family, self._address)
                await asyncio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def open_door(key: str, host: str, port: int, listen: Listen) -> AsyncIterator[Door]:
    """Listen on an address until the block ends; port 0 takes a free one, told in `Door.port`.

    key     the connection, for the error's sentence
    listen  makes a server of a bound socket

    Raises:
        ServerError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        door = Door(_bound(family, address), listen)
        await door.open()
    except OSError as error:
        raise ServerError(
            f"simulated connection {key} cannot listen on {host}:{port} ({error.strerror or error}); "
            "stop what uses that port or give the connection another one"
        ) from error
    doorman = asyncio.create_task(door.run(), name=f"simulated-door-{key}")
    try:
        yield door
    finally:
        doorman.cancel()
        await asyncio.wait({doorman})
        door.close()
        await door.wait_closed()


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setblocking(False)  # noqa: FBT003  (the socket's signature)
        held.bind(address)
    except OSError:
        held.close()
        raise
    return held
