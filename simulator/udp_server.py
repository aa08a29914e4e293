"""Modbus by datagrams: Modbus TCP's frames, each one whole in a datagram of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

from emsd.errors import ServerError
from simulator.modbus_endpoint import ModbusEndpoint
from simulator.outbox import Step

__all__ = ["serve_datagrams"]

_SHORTEST_BYTES: Final = 8
_COUNTED_FROM: Final = 6
"""The length in the header is that of what follows it."""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, endpoint: ModbusEndpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's, so isinstance would refuse them.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        whole = len(data) >= _SHORTEST_BYTES and int.from_bytes(data[4:6]) == len(data) - _COUNTED_FROM
        if not whole or data[2:4] != b"\0\0":
            self._endpoint.bad_frames += 1
            return
        manners = self._endpoint.manners
        if manners is None:
            self._send(self._endpoint.answer(data), addr)
        elif manners.held:
            manners.cut_off()
        else:
            self._send_later(self._endpoint.steps(manners, data, lambda answer: answer), addr)

    def _send_later(self, steps: Sequence[Step], addr: tuple[str, int]) -> None:
        """Send each datagram at its time, whatever else is under way: the network keeps no order."""
        loop, due_s = asyncio.get_running_loop(), 0.0
        for step in steps:
            due_s += step.delay_s
            if due_s > 0:
                loop.call_later(due_s, self._arrive, step.data, addr)
            else:
                self._send(step.data, addr)

    def _arrive(self, data: bytes, addr: tuple[str, int]) -> None:
        manners = self._endpoint.manners
        if manners is None or not manners.held:
            self._send(data, addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, addr)


@asynccontextmanager
async def serve_datagrams(endpoint: ModbusEndpoint, host: str, port: int) -> AsyncIterator[ModbusEndpoint]:
    """Serve an endpoint by UDP until the block ends; port 0 takes a free one, told in `endpoint.port`.

    Raises:
        ServerError: the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(endpoint), local_addr=(host, port))
    except OSError as error:
        raise ServerError(
            f"simulated connection {endpoint.key} cannot take datagrams on {host}:{port} "
            f"({error.strerror or error}); stop what uses that port or give the connection another one"
        ) from error
    endpoint.port = transport.get_extra_info("sockname")[1]
    endpoint.address = f"{host}:{endpoint.port}"
    try:
        yield endpoint
    finally:
        transport.close()
