"""A Modbus TCP server of our own: many units behind one endpoint, answering as their devices would.

A library's server would answer 15 k requests a second and keep its bytes to itself; this one is fast because a register
image is one bytes object, and every byte of a frame is in reach, so that faults can be put into it.
Source of the frame: Modbus messaging on TCP/IP implementation guide V1.0b, section 3.1.3.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

import structlog

from emsd.errors import ConfigurationError, ServerError
from simulator.bank import Unit
from simulator.layout import ILLEGAL_FUNCTION, ILLEGAL_VALUE

__all__ = ["ModbusEndpoint", "check_loopback", "serve_modbus"]

_log = structlog.get_logger(__name__)

_HEADER: Final = struct.Struct(">HHHB")
_READ: Final = struct.Struct(">HHHBBHH")
_ANSWER: Final = struct.Struct(">HHHBBB")
_READ_FRAME_BYTES: Final = 12
_READ_LENGTH: Final = 6  # unit, function, address, count
_LARGEST_LENGTH: Final = 254
_GATEWAY_TARGET_FAILED: Final = 0x0B
_READ_FUNCTIONS: Final = frozenset({3, 4})


@dataclass(slots=True)
class ModbusEndpoint:
    """One listening address and its units; the counters are for whoever watches."""

    key: str
    units: Mapping[int, Unit]
    silent_for_unknown_units: bool = False
    """A gateway answers 0x0B for a unit that is not there; a single device often says nothing."""
    port: int = 0
    address: str = ""
    """Where it is reached: host:port, or the path of a serial port."""
    requests: int = 0
    unknown_units: int = 0
    bad_frames: int = 0
    lost_answers: int = 0
    """Answers that a serial line did not take."""
    clients: int = 0

    def answer(self, frame: bytes) -> bytes:
        """Return the answer to one whole frame, empty for silence."""
        transaction, _, _, unit_id = _HEADER.unpack_from(frame)
        function = frame[_HEADER.size]
        self.requests += 1
        unit = self.units.get(unit_id)
        if unit is None:
            self.unknown_units += 1
            if self.silent_for_unknown_units:
                return b""
            return _refusal(transaction, unit_id, function, _GATEWAY_TARGET_FAILED)
        if function not in _READ_FUNCTIONS:
            unit.requests += 1
            unit.refusals[ILLEGAL_FUNCTION] += 1
            return _refusal(transaction, unit_id, function, ILLEGAL_FUNCTION)
        if len(frame) != _READ_FRAME_BYTES:
            return _refusal(transaction, unit_id, function, ILLEGAL_VALUE)
        _, _, _, _, _, address, count = _READ.unpack(frame)
        found = unit.read(function, address, count)
        if isinstance(found, int):
            return _refusal(transaction, unit_id, function, found)
        size = len(found)
        return _ANSWER.pack(transaction, 0, size + 3, unit_id, function, size) + found


def _refusal(transaction: int, unit_id: int, function: int, code: int) -> bytes:
    return _ANSWER.pack(transaction, 0, 3, unit_id, function | 0x80, code)


class _Client(asyncio.Protocol):
    """One connection: cuts the stream into frames and answers them in order."""

    __slots__ = ("_endpoint", "_open", "_rest", "_transport")

    def __init__(self, endpoint: ModbusEndpoint, open_clients: set[_Client]) -> None:
        self._endpoint = endpoint
        self._open = open_clients
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's, so isinstance would refuse them.
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)
        self._endpoint.clients += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self._transport = None
        self._open.discard(self)
        self._endpoint.clients -= 1

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        answers: list[bytes] = []
        at, size = 0, len(data)
        while size - at >= _HEADER.size:
            _, protocol, length, _ = _HEADER.unpack_from(data, at)
            if protocol != 0 or not 2 <= length <= _LARGEST_LENGTH:
                self._endpoint.bad_frames += 1
                self.abort()
                return
            end = at + _READ_LENGTH + length
            if end > size:
                break
            answers.append(self._endpoint.answer(data[at:end]))
            at = end
        self._rest = data[at:]
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))

    def pause_writing(self) -> None:
        """Stop reading while the other side does not take its answers, so that memory stays bounded."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def check_loopback(connection: str, host: str) -> None:
    """Refuse an address that other machines could reach: Modbus has no password.

    Raises:
        ConfigurationError: `host` is not on this machine's loopback.
    """
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = host.casefold() == "localhost"
    if not inside:
        raise ConfigurationError(
            f"simulated connection {connection} would listen on {host}, which other machines can reach; "
            "use a loopback address, or allow it with --allow-remote"
        )


@asynccontextmanager
async def serve_modbus(
    endpoint: ModbusEndpoint, host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ModbusEndpoint]:
    """Serve an endpoint on an address until the block ends; port 0 takes a free one, told in `endpoint.port`.

    tls  inside which the frames travel; None: they are sent as they are

    Raises:
        ServerError: the address cannot be listened on.
    """
    clients: set[_Client] = set()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: _Client(endpoint, clients), host, port, ssl=tls)
    except OSError as error:
        raise ServerError(
            f"simulated connection {endpoint.key} cannot listen on {host}:{port} ({error.strerror or error}); "
            "stop what uses that port or give the connection another one"
        ) from error
    endpoint.port = server.sockets[0].getsockname()[1]
    endpoint.address = f"{host}:{endpoint.port}"
    _log.debug("simulated_endpoint_open", connection=endpoint.key, host=host, port=endpoint.port)
    try:
        yield endpoint
    finally:
        server.close()
        for client in tuple(clients):
            client.abort()
        await server.wait_closed()
