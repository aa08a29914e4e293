"""Modbus RTU devices on a line: a pseudo-terminal of our own, or a serial device server that passes bytes through TCP.

The devices of a line hear everything that is sent on it. They answer what is meant for one of them and has the right
checksum, and say nothing to all else.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, cast

import structlog

from emsd.errors import ServerError
from simulator.modbus_server import ModbusEndpoint
from simulator.rtu_frames import LONGEST_FRAME_BYTES, SHORTEST_FRAME_BYTES, is_sound, request_bytes, with_checksum

__all__ = ["serve_line", "serve_rtu_over_tcp"]

_log = structlog.get_logger(__name__)

_BROADCAST: Final = 0
_SILENCE_S: Final = 0.05
"""A request that has not gone on for so long is over; the standard's 3.5 characters are less than any program keeps."""
_READ_BYTES: Final = 4096


class _Line:
    """Cuts what is heard into requests and has them answered."""

    def __init__(self, endpoint: ModbusEndpoint, send: Callable[[bytes], None]) -> None:
        self._endpoint = endpoint
        self._send = send
        self._heard = b""
        self._passed_over = False
        self._silence: asyncio.TimerHandle | None = None

    def hear(self, data: bytes) -> None:
        self._stop_waiting()
        self._heard += data
        while len(self._heard) >= SHORTEST_FRAME_BYTES:
            length = request_bytes(self._heard)
            if (len(self._heard) if length is None else length) > LONGEST_FRAME_BYTES:
                self._pass_over()
            elif length is None or length > len(self._heard):
                break
            elif is_sound(self._heard[:length]):
                frame, self._heard = self._heard[:length], self._heard[length:]
                self._count_noise()
                self._answer(frame)
            else:
                self._pass_over()
        if self._heard:
            self._silence = asyncio.get_running_loop().call_later(_SILENCE_S, self._is_silent)

    def close(self) -> None:
        self._stop_waiting()
        self._heard = b""

    def _pass_over(self) -> None:
        """Noise: a request may begin at any later byte."""
        self._heard = self._heard[1:]
        self._passed_over = True

    def _count_noise(self) -> None:
        self._endpoint.bad_frames += self._passed_over
        self._passed_over = False

    def _is_silent(self) -> None:
        """What was heard since the last request is all that there is: a request with noise before it, or noise."""
        self._silence = None
        heard, self._heard = self._heard, b""
        begins = next((at for at in range(len(heard)) if is_sound(heard[at:])), None)
        self._passed_over |= begins != 0
        self._count_noise()
        if begins is not None:
            self._answer(heard[begins:])

    def _answer(self, frame: bytes) -> None:
        unit_id, request = frame[0], frame[1:-2]
        if unit_id == _BROADCAST:
            return
        # The same request as over TCP, whose header says the unit too.
        header = bytes(4) + (len(request) + 1).to_bytes(2) + frame[:1]
        answer = self._endpoint.answer(header + request)
        if answer:
            self._send(with_checksum(answer[6:]))

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


class _DeviceServerClient(asyncio.Protocol):
    """One connection to a serial device server."""

    def __init__(self, endpoint: ModbusEndpoint, open_clients: set[_DeviceServerClient]) -> None:
        self._endpoint = endpoint
        self._open = open_clients
        self._line: _Line | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._line = _Line(self._endpoint, self._transport.write)
        self._open.add(self)
        self._endpoint.clients += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        if self._line is not None:
            self._line.close()
        self._open.discard(self)
        self._endpoint.clients -= 1

    def data_received(self, data: bytes) -> None:
        if self._line is not None:
            self._line.hear(data)

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


@asynccontextmanager
async def serve_rtu_over_tcp(endpoint: ModbusEndpoint, host: str, port: int) -> AsyncIterator[ModbusEndpoint]:
    """Serve the devices of a line through TCP until the block ends; port 0 takes a free one, told in `endpoint.port`.

    Raises:
        ServerError: the address cannot be listened on.
    """
    clients: set[_DeviceServerClient] = set()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: _DeviceServerClient(endpoint, clients), host, port)
    except OSError as error:
        raise ServerError(
            f"simulated connection {endpoint.key} cannot listen on {host}:{port} ({error.strerror or error}); "
            "stop what uses that port or give the connection another one"
        ) from error
    endpoint.port = server.sockets[0].getsockname()[1]
    endpoint.address = f"{host}:{endpoint.port}"
    try:
        yield endpoint
    finally:
        server.close()
        for client in tuple(clients):
            client.abort()
        await server.wait_closed()


@asynccontextmanager
async def serve_line(endpoint: ModbusEndpoint, wanted: str | None = None) -> AsyncIterator[ModbusEndpoint]:
    """Serve the devices of a line on a pseudo-terminal until the block ends; its path is told in `endpoint.address`.

    wanted  path at which a client looks for the port: while the line is served a symbolic link stands there, unless
            something else does already or it lies in /dev, which is the system's

    Raises:
        ServerError: there is no pseudo-terminal left, or the link cannot be made.
    """
    loop = asyncio.get_running_loop()
    try:
        ours, theirs = os.openpty()
    except OSError as error:
        raise ServerError(
            f"simulated connection {endpoint.key} gets no pseudo-terminal ({error.strerror or error}); "
            "end other programs that hold some, or raise kernel.pty.max"
        ) from error
    try:
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        path = os.ttyname(theirs)
        with _link(endpoint.key, wanted, path) as told:
            endpoint.address = told
            line = _Line(endpoint, lambda answer: _put(endpoint, ours, answer))
            loop.add_reader(ours, lambda: line.hear(_take(ours)))
            _log.debug("simulated_line_open", connection=endpoint.key, path=path, link=told)
            try:
                yield endpoint
            finally:
                loop.remove_reader(ours)
                line.close()
    finally:
        # Our own hold on the far end keeps the line up while no client has it open.
        os.close(theirs)
        os.close(ours)


def _take(ours: int) -> bytes:
    try:
        return os.read(ours, _READ_BYTES)
    except BlockingIOError:
        return b""


def _put(endpoint: ModbusEndpoint, ours: int, answer: bytes) -> None:
    """Send an answer; nobody waits on a line, so what its buffer does not take is gone."""
    try:
        sent = os.write(ours, answer)
    except BlockingIOError:
        sent = 0
    if sent < len(answer):
        endpoint.lost_answers += 1


@contextmanager
def _link(key: str, wanted: str | None, path: str) -> Iterator[str]:
    """Let a symbolic link to the terminal stand where a client looks for it; yield what a client is to open."""
    link = None if wanted is None else Path(wanted).absolute()
    if link is None or link.is_relative_to("/dev") or _is_taken(link):
        yield path
        return
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    except OSError as error:
        raise ServerError(
            f"simulated connection {key} cannot put its serial port at {link} ({error.strerror or error}); "
            "name a path whose folder exists and can be written"
        ) from error
    try:
        yield str(link)
    finally:
        if link.is_symlink() and str(link.readlink()) == path:
            link.unlink()


def _is_taken(link: Path) -> bool:
    """Whether something stands there that is not the link of an earlier run."""
    try:
        mode = link.lstat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISLNK(mode) and str(link.readlink()).startswith("/dev/pts/") and not link.exists())
