"""A Modbus TCP server of our own: many units behind one endpoint, answering as their devices would.

A library's server would answer 15 k requests a second and keep its bytes to itself; this one is fast because a register
image is one bytes object, and every byte of a frame is in reach, so that faults can be put into it.
Source of the frame: Modbus messaging on TCP/IP implementation guide V1.0b, section 3.1.3.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from simulator.client import DeviceClient
from simulator.door import open_door
from simulator.modbus_endpoint import HEADER_BYTES, ModbusEndpoint

__all__ = ["ModbusEndpoint", "serve_clients", "serve_modbus"]

_log = structlog.get_logger(__name__)

_HEADER: Final = struct.Struct(">HHHB")
_COUNTED_FROM: Final = 6
"""The length in the header is that of what follows it, the unit id among it."""
_LARGEST_LENGTH: Final = 254


class _Client(DeviceClient):
    """One connection: cuts the stream into frames and answers them in order."""

    __slots__ = ("_rest",)

    def __init__(self, endpoint: ModbusEndpoint) -> None:
        super().__init__(endpoint)
        self._rest = b""

    def hear(self, data: bytes) -> None:
        endpoint = self.endpoint
        if self._rest:
            data = self._rest + data
        straight = self.is_straight
        answers: list[bytes] = []
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            _, protocol, length, _ = _HEADER.unpack_from(data, at)
            if protocol != 0 or not 2 <= length <= _LARGEST_LENGTH:
                endpoint.bad_frames += 1
                self.abort()
                return
            end = at + _COUNTED_FROM + length
            if end > size:
                break
            if straight:
                answers.append(endpoint.answer(data[at:end]))
            else:
                self.reply(data[at:end])
            at = end
        self._rest = data[at:]
        if answers and self.transport is not None:
            self.transport.write(b"".join(answers))


@asynccontextmanager
async def serve_modbus(
    endpoint: ModbusEndpoint, host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ModbusEndpoint]:
    """Serve an endpoint on an address until the block ends; port 0 takes a free one, told in `endpoint.port`.

    tls  inside which the frames travel; None: they are sent as they are

    Raises:
        ServerError: the address cannot be listened on.
    """
    async with serve_clients(endpoint, host, port, lambda: _Client(endpoint), tls):
        yield endpoint


@asynccontextmanager
async def serve_clients(
    endpoint: ModbusEndpoint,
    host: str,
    port: int,
    make: Callable[[], DeviceClient],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serve an endpoint to TCP clients of some make until the block ends.

    Raises:
        ServerError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    async with open_door(endpoint.key, host, port, lambda held: loop.create_server(make, sock=held, ssl=tls)) as door:
        endpoint.door, endpoint.port = door, door.port
        endpoint.address = f"{host}:{door.port}"
        if endpoint.manners is not None:
            door.shut(bool(endpoint.manners.refused))
        _log.debug("simulated_endpoint_open", connection=endpoint.key, host=host, port=door.port)
        try:
            yield
        finally:
            endpoint.door = None
            door.close()
            for client in tuple(endpoint.parties):
                if isinstance(client, DeviceClient):
                    client.abort()
