"""DeviceClient: one TCP connection to simulated devices, treated as their faults and personality say."""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from typing import Final, cast

from simulator.manners import Manners
from simulator.modbus_endpoint import ModbusEndpoint
from simulator.outbox import After, Outbox, Step

__all__ = ["DeviceClient", "reset"]

_MOST_HELD_BYTES: Final = 65_536
_MOST_WAITING: Final = 4096
"""Answers that one client may leave waiting; a device would long have run out of buffers."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, on and for no time: the socket is closed by RST."""


class DeviceClient(asyncio.Protocol, ABC):
    """What all clients have in common; how requests are cut out of the stream is said by `hear`."""

    __slots__ = ("_deaf", "_is_full", "_outbox", "_unheard", "endpoint", "transport", "turned_away")

    def __init__(self, endpoint: ModbusEndpoint) -> None:
        self.endpoint = endpoint
        self.transport: asyncio.Transport | None = None
        self._outbox: Outbox | None = None
        self._deaf: frozenset[int] = frozenset()
        self.turned_away = False
        """Whether it is here only until it is gone, or is never to be answered."""
        self._unheard = b""
        self._is_full = False
        """Whether more of its answers wait to be sent than is good for memory."""

    @abstractmethod
    def hear(self, data: bytes) -> None:
        """Take what has arrived, and answer the requests that are whole."""

    def framed(self, answer: bytes) -> bytes:
        """Return an answer, given as Modbus TCP has it, in the frame of the transport."""
        return answer

    @property
    def is_straight(self) -> bool:
        """Whether answers go out as they are, at once."""
        return self.endpoint.manners is None and not self._outbox

    def reply(self, request: bytes) -> None:
        """Answer one request, both as Modbus TCP has them."""
        endpoint = self.endpoint
        manners = endpoint.manners
        if self.is_straight:
            answer = endpoint.answer(request)
            if answer and self.transport is not None:
                self.transport.write(self.framed(answer))
        elif manners is None:
            answer = endpoint.answer(request)
            self._put([Step(self.framed(answer))] if answer else [])
        else:
            self._put(endpoint.steps(manners, request, self.framed))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client, or turn it away."""
        # uvloop's transports are not subclasses of asyncio's, so isinstance would refuse them.
        self.transport = cast("asyncio.Transport", transport)
        endpoint = self.endpoint
        if endpoint.manners is not None:
            self._welcome(endpoint.manners)
        endpoint.parties.add(self)
        endpoint.clients += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        """Forget what would still have been sent."""
        self.transport = None
        if self._outbox is not None:
            self._outbox.drop()
        self.endpoint.parties.discard(self)
        self.endpoint.clients -= 1

    def data_received(self, data: bytes) -> None:
        """Hear what arrives, unless a fault keeps it from arriving."""
        manners = self.endpoint.manners
        if self.turned_away or self._deaf:
            return
        if manners is not None and manners.held:
            # It is kept, as far as there is room, as TCP keeps what was not acknowledged.
            manners.cut_off()
            self._unheard += data
            self._listen()
            return
        self.hear(data)

    def behave(self, before: Manners | None, now: Manners | None) -> None:
        """Do what faults that began or ended mean to a connection that is there already."""
        if now is not None and now.dropped:
            self._drop(now)
            return
        began = set(now.half_open if now else ()) - set(before.half_open if before else ())
        for number in began:
            if now is not None:
                now.half_open[number].hits += 1
        self._deaf = (self._deaf | began) & frozenset(now.half_open if now else ())
        if now is not None and now.held:
            if self._outbox is not None:
                self._outbox.hold()
        elif before is not None and before.held:
            self._arrive()

    def pause_writing(self) -> None:
        """Stop reading while the other side does not take its answers, so that memory stays bounded."""
        self._is_full = True
        self._listen()

    def resume_writing(self) -> None:
        """Read on."""
        self._is_full = False
        self._listen()

    def _listen(self) -> None:
        """Read what comes, unless there is no room for it or for what would be said to it."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._is_full or len(self._unheard) > _MOST_HELD_BYTES:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def _put(self, steps: list[Step]) -> None:
        if self._outbox is None:
            self._outbox = Outbox(asyncio.get_running_loop(), self._send)
        self._outbox.put(steps)
        if len(self._outbox) > _MOST_WAITING:
            self._reset()

    def _send(self, data: bytes, after: After) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if data:
            self.transport.write(data)
        if after is After.CLOSE:
            self.transport.close()
        elif after is After.RESET:
            self._reset()

    def _welcome(self, manners: Manners) -> None:
        """Take a new client as the faults of the endpoint say."""
        if manners.dropped:
            self._drop(manners)
            return
        others = (each for each in self.endpoint.parties if isinstance(each, DeviceClient))
        manner = manners.turns_away(sum(not each.turned_away for each in others))
        self.turned_away = manner is not None
        if manner is not None:
            self._send(b"", manner)

    def _drop(self, manners: Manners) -> None:
        for live in manners.dropped:
            live.hits += 1
        self.turned_away = True
        self._reset()

    def _arrive(self) -> None:
        """The way is free again: what was sent meanwhile arrives now, in either direction."""
        if self._outbox is not None:
            self._outbox.release()
        data, self._unheard = self._unheard, b""
        self._listen()
        if data:
            self.data_received(data)

    def _reset(self) -> None:
        if self.transport is not None:
            reset(self.transport)


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection by RST, as a device does that was switched off and on."""
    own = transport.get_extra_info("socket")
    if own is not None:  # that of a TLS connection is gone as soon as it is aborted
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
