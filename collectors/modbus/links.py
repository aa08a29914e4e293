"""One request and its answer on an open way to an endpoint: what is sent, what may answer, and what is heard besides.

Built on pymodbus' transport, which carries bytes over TCP, TLS, UDP and serial ports alike. Its own matching of
answers is not used: pymodbus 3.16 takes an answer with transaction id 0 for any, compares neither function nor length,
and lets a wrong checksum on a serial line become a timeout. So every frame is checked here as it arrives.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Final

from pymodbus.transport import CommParams, ModbusProtocol

from collectors.modbus.frames import MBAP_EXCEPTION_BYTES, mbap_answer_head, mbap_fault, mbap_request
from emsd.errors import CollectError, DeviceException, Mismatch, NoReply, Unreachable

__all__ = ["DatagramLink", "Link", "MbapLink"]

_MOST_BUFFERED_BYTES: Final = 1 << 20
"""More than one read of a socket delivers; pymodbus forgets what exceeds it, and garbage must be seen."""


class Link(ModbusProtocol):
    """What is common to all: at most one request in flight, answered by its future."""

    def __init__(self, params: CommParams) -> None:
        super().__init__(params, is_server=False)
        self.max_buffer_size = _MOST_BUFFERED_BYTES
        self.opened = asyncio.Event()
        self.lost = False
        """Whether the other side ended it."""
        self.unusable: CollectError | None = None
        """Why nothing can be asked any more."""
        self._waiting: asyncio.Future[bytes] | None = None
        self._timeout_s = 0.0
        self._deadline = 0.0
        """Until when the request in flight may be answered, on the loop's clock [s]."""
        self._timer: asyncio.TimerHandle | None = None
        """Looks at the deadline. It outlives requests that are answered: most are, and a timer each is dear."""

    @property
    def survives(self) -> bool:
        """Whether it may be used on after a request without a usable answer; else it has to be opened again."""
        return False

    @abstractmethod
    def ask(self, unit: int, function: int, address: int, count: int, timeout_s: float) -> asyncio.Future[bytes]:
        """Send a request; its future becomes the registers, or one of the errors that `ModbusClient.read` raises."""

    def delay_s(self, unit: int) -> float:  # noqa: ARG002 - only a shared line makes wait
        """Return how long to wait before a unit may be asked [s]."""
        return 0.0

    def overdue_until(self, unit: int) -> float:  # noqa: ARG002 - only a shared line has such units
        """Return until when a late answer of a unit could be taken for another one [s, monotonic clock]."""
        return 0.0

    def abandon(self) -> None:
        """Nobody waits for the answer any more, and it must not be taken for the next one."""
        if self._waiting is not None:
            self._fail(Mismatch("the request before was given up; the connection has to be opened again"))

    def close(self, reconnect: bool = False) -> None:  # noqa: FBT001, FBT002 - as pymodbus has it
        """Close it; doing so twice is harmless."""
        super().close(reconnect)
        self._fail(Unreachable("the connection is closed"))
        self._stop_timer()

    def callback_new_connection(self) -> ModbusProtocol:
        """Refuse: pymodbus asks a listener for it, and a link never listens."""
        raise RuntimeError("a link does not listen")

    def callback_connected(self) -> None:
        """Take note that it is open."""
        self.opened.set()

    def callback_disconnected(self, exc: Exception | None) -> None:
        """Take note that the other side, or the cable, ended it."""
        self.lost = True
        reason = f" ({exc})" if exc is not None and str(exc) else ""
        self._fail(Unreachable(f"the connection was closed by the other side{reason}; it is opened again"))

    def _begin(self, frame: bytes, timeout_s: float, line_s: float = 0.0) -> asyncio.Future[bytes]:
        """Send a frame that takes `line_s` on the line together with its answer [s]."""
        waiting = self._waiting = self.loop.create_future()
        self._timeout_s = timeout_s
        self._deadline = self.loop.time() + timeout_s + line_s
        if self._timer is None or self._timer.when() > self._deadline:
            self._stop_timer()
            self._timer = self.loop.call_at(self._deadline, self._look_at_deadline)
        self.send(frame)
        return waiting

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._look_at_deadline)
        else:
            self._timed_out(self._timeout_s)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> asyncio.Future[bytes] | None:
        """Return the future of the request in flight, if somebody still waits for it; nothing is in flight then."""
        waiting, self._waiting = self._waiting, None
        return None if waiting is None or waiting.done() else waiting

    def _answer(self, payload: bytes) -> None:
        waiting = self._end()
        if waiting is not None:
            waiting.set_result(payload)

    def _refuse(self, error: CollectError) -> None:
        """End the request in flight; the next one may be asked."""
        waiting = self._end()
        if waiting is not None:
            waiting.set_exception(error)

    def _fail(self, error: CollectError) -> None:
        """End the request in flight, and every further one."""
        if self.unusable is None:
            self.unusable = error
        self._refuse(error)

    def _timed_out(self, timeout_s: float) -> None:
        self._refuse(NoReply(f"no answer within {timeout_s:g} s; check unit id and wiring"))


class MbapLink(Link):
    """Modbus TCP, with or without TLS.

    A frame that does not belong ends the connection, and its owner ends it after a timeout: an answer that comes late
    then arrives at a closed socket, and cannot be taken for the next one. Transaction ids begin anew with each link.
    """

    def __init__(self, params: CommParams, *, strict: bool) -> None:
        super().__init__(params)
        self._strict = strict
        self._compared_from = 0 if strict else 2
        self._transaction = 0
        self._request = b""
        self._head = b""
        """What a good answer begins with."""
        self._length = 0

    def ask(self, unit: int, function: int, address: int, count: int, timeout_s: float) -> asyncio.Future[bytes]:
        """Send a request; see `Link.ask`."""
        # Never 0, which devices that do not echo the id answer with.
        transaction = self._transaction = self._transaction % 0xFFFF + 1
        self._request = mbap_request(transaction, unit, function, address, count)
        self._head = mbap_answer_head(transaction, unit, function, count)[self._compared_from :]
        self._length = MBAP_EXCEPTION_BYTES + 2 * count
        return self._begin(self._request, timeout_s)

    def send(self, data: bytes, addr: tuple[str, int] | None = None) -> None:  # noqa: ARG002 - as pymodbus has it
        """Send a frame; without the log of every frame that pymodbus keeps."""
        if self.is_active():
            self.recv_buffer = b""
            self.transport.write(data)  # type: ignore[attr-defined]  # it is a stream

    def data_received(self, data: bytes) -> None:
        """Take bytes from the stream; a good answer mostly comes alone and whole."""
        if self._waiting is None or self.recv_buffer or not self._is_good(data):
            super().data_received(data)
        else:
            self._answer(data[MBAP_EXCEPTION_BYTES:])

    def callback_data(self, data: bytes, addr: tuple[str, int] | None = None) -> int:  # noqa: ARG002 - as pymodbus has it
        """Take all bytes that came since the request; return how many are done with."""
        if self._waiting is None:
            self._fail(Mismatch(f"{len(data)} bytes came that nobody had asked for"))
        elif self._is_good(data):
            self._answer(data[MBAP_EXCEPTION_BYTES:])
        elif len(data) < MBAP_EXCEPTION_BYTES:
            return 0
        elif (fault := mbap_fault(self._request, data, strict=self._strict)) is not None:
            self._fail(Mismatch(fault))
        elif data[7] & 0x80:
            self._refuse(DeviceException("", data[8]))
        else:
            # It began well, and goes on.
            return 0
        return len(data)

    def _is_good(self, data: bytes) -> bool:
        """Whether it is the whole answer to the request in flight, and nothing else."""
        return len(data) == self._length and data[self._compared_from : MBAP_EXCEPTION_BYTES] == self._head

    def _timed_out(self, timeout_s: float) -> None:
        super()._timed_out(timeout_s)
        if not self._strict:
            self._fail(NoReply("an answer is late, and without transaction ids it could be taken for another"))


class DatagramLink(MbapLink):
    """Modbus TCP's frames in datagrams, each one whole.

    It is opened again after a timeout like a connection: a late answer then goes to a port that is closed. The network
    may deliver an answer twice; the second is known by its transaction id and passed over.
    """

    def send(self, data: bytes, addr: tuple[str, int] | None = None) -> None:
        """Send a frame as one datagram."""
        ModbusProtocol.send(self, data, addr)

    def callback_data(self, data: bytes, addr: tuple[str, int] | None = None) -> int:
        """Take one datagram."""
        if self._waiting is not None and not self._is_duplicate(data):
            super().callback_data(data, addr)
            if self._waiting is not None:
                self._fail(Mismatch(f"a datagram of {len(data)} bytes is not a whole answer"))
        return len(data)

    def error_received(self, exc: Exception) -> None:
        """Take note that the network says that nobody is there."""
        self.lost = True
        self._fail(Unreachable(f"nobody takes datagrams there ({exc}); check address and port"))

    def _is_duplicate(self, data: bytes) -> bool:
        return self._strict and len(data) >= MBAP_EXCEPTION_BYTES and 0 < int.from_bytes(data[:2]) < self._transaction
