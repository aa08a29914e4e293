"""What is said between one meter and its device: the requests of a poll one by one, and what each refusal means.

| answer                        | what becomes of the block |
|---|---|
| exception 2, illegal address  | read again in halves; what cannot be halved any more is missing |
| exceptions 5 and 6, busy      | asked again after a pause, while the tick lasts; then missing |
| exceptions 10 and 11          | missing, and so is all that was still to be asked: the gateway speaks for the device |
| one that means old data       | its values are NULL and stale, as the profile says |
| any other exception           | missing |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from collectors.modbus.backing_off import Absence, Holds
from collectors.modbus.book import GATEWAY_EXCEPTIONS, Book
from collectors.modbus.client import ModbusClient
from collectors.modbus.frozen import FrozenWatch
from collectors.modbus.poll import Poll
from collectors.modbus.reads import Reads, Request
from emsd.errors import DeviceException
from emsd.plant.modbus_map import ModbusMap, Table
from emsd.readings import Quality

__all__ = ["Dialogue"]

MOST_REFUSALS: Final = 12
"""A device that refuses this many reads of one poll and answers none is not searched any further for readable parts."""

BUSY_PAUSES_S: Final = (0.05, 0.1, 0.2)
"""After these pauses a device that said it was busy is asked again within the same poll, if its tick lasts so long."""

_ILLEGAL_ADDRESS: Final = 2
_BUSY: Final = frozenset({5, 6})
"""Acknowledge and server device busy: ask again later (Modbus Application Protocol V1.1b3, section 7)."""


@dataclass(slots=True)
class Dialogue:
    """The dialogue with the device of one meter; it may wait for its answers, and others are served meanwhile."""

    unit_id: int
    registers: ModbusMap
    reads: Reads
    absence: Absence
    holds: Holds
    frozen: FrozenWatch
    book: Book
    now_us: Callable[[], int]

    async def ask(self, client: ModbusClient, table: Table, address: int, count: int) -> bytes:
        """Read registers of the device; raises CollectError, see `ModbusClient.read`."""
        self.book.health.requests += 1
        asked = time.monotonic()
        payload = await client.read(self.unit_id, table, address, count, timeout_s=self.absence.wait_s(asked))
        self.absence.heard(time.monotonic() - asked)
        return payload

    async def read(self, client: ModbusClient, poll: Poll) -> None:
        """Ask for what is pending in a poll, until all is answered or the device wants a pause.

        Raises:
            NoReply, Mismatch, Unreachable: the connection must be opened again; the request is still the first pending.
        """
        while poll.pending:
            request = poll.pending[0]
            block = request.block
            try:
                payload = await self.ask(client, block.table, block.address, block.count)
            except DeviceException as error:
                poll.pending.popleft()
                self._refused(poll, request, error)
            else:
                poll.pending.popleft()
                self._answered(poll, request, payload)
            if poll.busy and not poll.pending:
                poll.pause(time.monotonic() + BUSY_PAUSES_S[poll.busy_pauses])
                return

    def _answered(self, poll: Poll, request: Request, payload: bytes) -> None:
        values, quality, rejected = request.decoder.decode(payload)
        self.book.health.values_rejected += rejected
        poll.take(request, values, quality, self.now_us())
        self.frozen.compare(request.key, payload)
        self.holds.answered(request)
        if request.cuts:
            self.reads.learn(request.cuts)

    def _refused(self, poll: Poll, request: Request, error: DeviceException) -> None:
        if error.code in self.registers.stale_exceptions:
            poll.stale = True
            self.book.health.last_error = f"{error}, by which it says that its data is old"
            poll.take(request, [None] * len(request.names), int(Quality.STALE), self.now_us())
            return
        self.book.error(error, resting=self.absence.rests(self.now_us()))
        poll.refusals += 1
        halves = self.reads.halves(request) if error.code == _ILLEGAL_ADDRESS else []
        if halves:
            poll.pending.extendleft(reversed(halves))
        elif error.code in _BUSY and _can_wait(poll):
            poll.busy.append(request)
        else:
            poll.fail(request)
        hopeless = poll.refusals >= MOST_REFUSALS or (poll.probing and not halves)
        if error.code in GATEWAY_EXCEPTIONS or (hopeless and not poll.answered):
            poll.drop_pending()


def _can_wait(poll: Poll) -> bool:
    """Whether there is time to ask a busy device again before the next tick."""
    if poll.probing or poll.busy_pauses == len(BUSY_PAUSES_S):
        return False
    return time.monotonic() + BUSY_PAUSES_S[poll.busy_pauses] < poll.until
