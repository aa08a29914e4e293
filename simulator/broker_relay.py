"""BrokerRelay: stands where a plant has its broker and passes on what comes, so that the broker can fail for everybody.

Devices and readers alike go through it, so a broker that is away is away for both, as in a plant. It knows nothing of
MQTT: bytes go through in order, late while they are delayed, held while the way is cut, with TLS or without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from simulator.client import reset
from simulator.door import Door, open_door
from simulator.live_fault import LiveFault

__all__ = ["BrokerRelay"]

_log = structlog.get_logger(__name__)

_PIECE_BYTES: Final = 65_536
_MOST_PIECES: Final = 256
"""Pieces on their way in one direction; then nothing more is taken in, as when TCP's windows are full."""

_Piece = tuple[float, bytes]
"""When it is due by the loop's clock [s], and what it is."""


class BrokerRelay:
    """One listening address in front of a broker."""

    def __init__(self, key: str, host: str, port: int, upstream: tuple[str, int]) -> None:
        """Prepare a relay at host:port, where port 0 takes a free one, for the broker at `upstream`."""
        self.key = key
        self.host = host
        self.port = port
        self._upstream = upstream
        self._faults: Sequence[LiveFault] = ()
        self._free = asyncio.Event()
        self._free.set()
        self._door: Door | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    def behave(self, faults: Sequence[LiveFault]) -> None:
        """Let these faults, and no others, be in force from now on."""
        self._faults = tuple(faults)
        kinds = {each.fault.kind for each in faults}
        if "partition" in kinds:
            self._free.clear()
        else:
            self._free.set()
        if self._door is not None:
            self._door.shut("connection_refused" in kinds)
        for writer in tuple(self._open):
            self._drop_if_down(writer)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listen until the block ends.

        Raises:
            ServerError: the address cannot be listened on.
        """
        async with open_door(
            self.key, self.host, self.port, lambda held: asyncio.start_server(self._come_in, sock=held)
        ) as door:
            self._door, self.port = door, door.port
            self.behave(self._faults)
            try:
                yield
            finally:
                self._door = None
                door.close()
                for writer in tuple(self._open):
                    writer.transport.abort()
                # While the way is cut they wait for it, not for who has gone.
                for passing in tuple(self._passing):
                    passing.cancel()
                await asyncio.gather(*self._passing, return_exceptions=True)

    def _come_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing = asyncio.create_task(self._serve(reader, writer), name=f"simulated-relay-{self.key}")
        self._passing.add(passing)
        passing.add_done_callback(self._passing.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._drop_if_down(writer):
                return
            async with asyncio.TaskGroup() as group:
                said: asyncio.Queue[_Piece | None] = asyncio.Queue(_MOST_PIECES)
                hearing = group.create_task(self._take(reader, said), name=f"simulated-relay-take-{self.key}")
                if await self._way_is_free(hearing):
                    await self._pass_between(said, writer)
        except* OSError as gone:
            _log.debug("simulated_relay_ended", connection=self.key, error=str(gone.exceptions[0]))
        finally:
            self._open.discard(writer)
            writer.close()

    async def _way_is_free(self, hearing: asyncio.Task[None]) -> bool:
        """Wait until it is; or return that who came has gone, as whoever waits for a cut way does in the end."""
        free = asyncio.create_task(self._free.wait(), name=f"simulated-relay-wait-{self.key}")
        try:
            await asyncio.wait({free, hearing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            free.cancel()
        return self._free.is_set() or not hearing.done()

    async def _pass_between(self, said: asyncio.Queue[_Piece | None], writer: asyncio.StreamWriter) -> None:
        """Give to the broker what who came says, and bring back what it answers, until one of them ends."""
        there, back = await asyncio.open_connection(*self._upstream)
        self._open.add(back)
        try:
            async with asyncio.TaskGroup() as group:
                answers: asyncio.Queue[_Piece | None] = asyncio.Queue(_MOST_PIECES)
                group.create_task(self._take(there, answers), name=f"simulated-relay-take-{self.key}")
                group.create_task(self._give(answers, writer), name=f"simulated-relay-give-{self.key}")
                group.create_task(self._give(said, back), name=f"simulated-relay-give-{self.key}")
        finally:
            self._open.discard(back)
            back.transport.abort()

    async def _take(self, source: asyncio.StreamReader, pieces: asyncio.Queue[_Piece | None]) -> None:
        while data := await source.read(_PIECE_BYTES):
            self._count_cut_off()
            await pieces.put((asyncio.get_running_loop().time() + self._delay_s(), data))
        await pieces.put(None)

    async def _give(self, pieces: asyncio.Queue[_Piece | None], target: asyncio.StreamWriter) -> None:
        """Send on what has come; an end on one side ends the other, as a broker's goodbye does."""
        while (piece := await pieces.get()) is not None:
            due, data = piece
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._free.wait()
            target.write(data)
            await target.drain()
        target.close()

    def _count_cut_off(self) -> None:
        for live in self._faults:
            live.hits += live.fault.kind == "partition"

    def _delay_s(self) -> float:
        delay_s = 0.0
        for live in self._faults:
            if live.fault.kind == "network_delay":
                live.hits += 1
                delay_s += live.fault.number("delay_s")
                delay_s += live.chance.uniform(0.0, live.fault.number("jitter_s"))
        return delay_s

    def _drop_if_down(self, writer: asyncio.StreamWriter) -> bool:
        down = [each for each in self._faults if each.fault.kind in {"connection_dropped", "connection_refused"}]
        for live in down:
            live.hits += 1
        if down:
            with suppress(OSError):
                reset(writer.transport)
        return bool(down)
