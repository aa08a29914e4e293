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
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import structlog

from emsd.errors import ServerError
from simulator.client import DeviceClient
from simulator.manners import Manners
from simulator.modbus_endpoint import ModbusEndpoint
from simulator.modbus_server import serve_clients
from simulator.outbox import Outbox, Step
from simulator.rtu_frames import LONGEST_FRAME_BYTES, SHORTEST_FRAME_BYTES, is_sound, request_bytes, with_checksum

__all__ = ["serve_line", "serve_rtu_over_tcp"]

_log = structlog.get_logger(__name__)

_BROADCAST: Final = 0
_TCP_ONLY_BYTES: Final = 6
"""Of the header of Modbus TCP a line has the unit id alone."""
_SILENCE_S: Final = 0.05
"""A request that has not gone on for so long is over; the standard's 3.5 characters are less than any program keeps."""
_READ_BYTES: Final = 4096


class _Line:
    """Cuts what is heard into requests and has them answered."""

    def __init__(self, endpoint: ModbusEndpoint, reply: Callable[[bytes], None]) -> None:
        """Prepare a line; `reply` takes a request as Modbus TCP has it."""
        self._endpoint = endpoint
        self._reply = reply
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
        if unit_id != _BROADCAST:
            # The same request as over TCP, whose header says the unit too.
            self._reply(bytes(4) + (len(request) + 1).to_bytes(2) + frame[:1] + request)

    def _stop_waiting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


class _DeviceServerClient(DeviceClient):
    """One connection to a serial device server."""

    __slots__ = ("_line",)

    def __init__(self, endpoint: ModbusEndpoint) -> None:
        super().__init__(endpoint)
        self._line = _Line(endpoint, self.reply)

    def hear(self, data: bytes) -> None:
        self._line.hear(data)

    def framed(self, answer: bytes) -> bytes:
        return _rtu(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._line.close()
        super().connection_lost(exc)


class _Terminal:
    """A pseudo-terminal with the devices of a line on it, plugged in or not."""

    def __init__(self, endpoint: ModbusEndpoint, wanted: str | None) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._ours = -1
        self._plugged: ExitStack | None = None
        self._line = _Line(endpoint, self._reply)
        self._outbox = Outbox(asyncio.get_running_loop(), lambda data, _: self._put(data))

    def plug(self) -> None:
        """Have a serial port; its path is told in `endpoint.address`.

        Raises:
            ServerError: there is no pseudo-terminal left, or the link cannot be made.
        """
        endpoint, loop = self._endpoint, asyncio.get_running_loop()
        with ExitStack() as stack:
            self._ours, theirs = _pair(endpoint.key)
            stack.callback(os.close, self._ours)
            # Our own hold on the far end keeps the line up while no client has it open.
            stack.callback(os.close, theirs)
            path = os.ttyname(theirs)
            endpoint.address = stack.enter_context(_link(endpoint.key, self._wanted, path))
            loop.add_reader(self._ours, self.hear)
            stack.callback(loop.remove_reader, self._ours)
            self._plugged = stack.pop_all()
        _log.debug("simulated_line_open", connection=endpoint.key, path=path, link=endpoint.address)

    def unplug(self) -> None:
        """Have none any more: whoever has it open finds it gone."""
        self._forget()
        if self._plugged is not None:
            self._plugged.close()
            self._plugged = None

    def hear(self) -> None:
        try:
            data = os.read(self._ours, _READ_BYTES)
        except BlockingIOError:
            return
        manners = self._endpoint.manners
        if manners is not None and manners.held:
            manners.cut_off()
        else:
            self._line.hear(data)

    def behave(self, before: Manners | None, now: Manners | None) -> None:  # noqa: ARG002  (whatever was before)
        """What is under way on a line that is cut is lost; an adapter that is pulled out takes the port with it."""
        pulled = now.refused if now is not None else ()
        if pulled and self._plugged is not None:
            for live in pulled:
                live.hits += 1
            self.unplug()
        elif not pulled and self._plugged is None:
            self.plug()
        if now is not None and now.held:
            self._forget()

    def _forget(self) -> None:
        self._line.close()
        self._outbox.drop()

    def _reply(self, request: bytes) -> None:
        endpoint = self._endpoint
        manners = endpoint.manners
        if manners is not None:
            self._outbox.put(endpoint.steps(manners, request, _rtu))
            return
        answer = endpoint.answer(request)
        if answer:
            self._outbox.put([Step(_rtu(answer))])

    def _put(self, answer: bytes) -> None:
        """Send an answer; nobody waits on a line, so what its buffer does not take is gone."""
        try:
            sent = os.write(self._ours, answer)
        except BlockingIOError:
            sent = 0
        if sent < len(answer):
            self._endpoint.lost_answers += 1


def _rtu(answer: bytes) -> bytes:
    """Return an answer of Modbus TCP in the frame of a line."""
    return with_checksum(answer[_TCP_ONLY_BYTES:])


@asynccontextmanager
async def serve_rtu_over_tcp(endpoint: ModbusEndpoint, host: str, port: int) -> AsyncIterator[ModbusEndpoint]:
    """Serve the devices of a line through TCP until the block ends; port 0 takes a free one, told in `endpoint.port`.

    Raises:
        ServerError: the address cannot be listened on.
    """
    async with serve_clients(endpoint, host, port, lambda: _DeviceServerClient(endpoint)):
        yield endpoint


@asynccontextmanager
async def serve_line(endpoint: ModbusEndpoint, wanted: str | None = None) -> AsyncIterator[ModbusEndpoint]:
    """Serve the devices of a line on a pseudo-terminal until the block ends; its path is told in `endpoint.address`.

    wanted  path at which a client looks for the port: while the line is served a symbolic link stands there, unless
            something else does already or it lies in /dev, which is the system's

    Raises:
        ServerError: there is no pseudo-terminal left, or the link cannot be made.
    """
    terminal = _Terminal(endpoint, wanted)
    terminal.plug()
    endpoint.parties.add(terminal)
    try:
        terminal.behave(None, endpoint.manners)
        yield endpoint
    finally:
        endpoint.parties.discard(terminal)
        terminal.unplug()


def _pair(key: str) -> tuple[int, int]:
    """Return our end and the other of a new pseudo-terminal that passes every byte on as it is."""
    try:
        ours, theirs = os.openpty()
    except OSError as error:
        raise ServerError(
            f"simulated connection {key} gets no pseudo-terminal ({error.strerror or error}); "
            "end other programs that hold some, or raise kernel.pty.max"
        ) from error
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    return ours, theirs


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
