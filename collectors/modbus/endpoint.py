"""One Modbus TCP endpoint and all meters on it: one connection, one request in flight, whoever is due first.

Units are served in the order in which they became due. An attempt that gets no answer costs the others that one
timeout: its retry stands at the end of the queue, and a unit that stays silent is probed with one request a backoff
period. A connection that cannot be opened is one error for all units, and nobody's timeout.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from heapq import heapify, heapreplace

import structlog

from collectors.backoff import Backoff
from collectors.modbus.client import ModbusClient
from collectors.modbus.unit import Unit
from emsd.collector import MeterHealth
from emsd.errors import Mismatch, NoReply, Unreachable
from emsd.plant.modbus_connections import ModbusTcpConnection

__all__ = ["ModbusEndpoint"]

log = structlog.get_logger(__name__)

CONNECT_BACKOFF_BASE_S = 0.5
CONNECT_BACKOFF_CAP_S = 30.0


class ModbusEndpoint:
    """Collector of one connection; see `emsd.collector.Collector`."""

    def __init__(self, connection: ModbusTcpConnection, units: Sequence[Unit]) -> None:
        self.name = connection.key
        self._connection = connection
        self._units = tuple(units)
        self._client: ModbusClient | None = None
        self._pause_after_connect_s = max(
            [connection.pause_after_connect_s, *(unit.pause_after_connect_s for unit in units)]
        )
        self._pause_s = max([connection.pause_between_requests_s, *(unit.pause_between_requests_s for unit in units)])

    async def run(self) -> None:
        """Poll all units until cancelled; the connection is opened again for as long as it takes."""
        backoff = Backoff(CONNECT_BACKOFF_BASE_S, CONNECT_BACKOFF_CAP_S)
        for unit in self._units:
            unit.align()
        while True:
            try:
                client = await self._open()
            except Unreachable as error:
                self._unreachable(error, backoff.failures)
                await asyncio.sleep(backoff.next_s())
                continue
            self._client = client
            log.info("endpoint_connected", connection=self.name)
            try:
                await self._serve(client)
            finally:
                self._client = None
                client.close()
            if client.answers:
                backoff.reset()
            elif client.lost:
                refused = Unreachable(
                    f"{self._connection.host}:{self._connection.port} closed the connection before it answered; "
                    "check that no other client holds its only connection"
                )
                self._unreachable(refused, backoff.failures)
                await asyncio.sleep(backoff.next_s())

    async def _serve(self, client: ModbusClient) -> None:
        """Poll whoever is due until the connection has to be opened again."""
        queue = [(unit.ready_at, number, unit) for number, unit in enumerate(self._units)]
        heapify(queue)
        while True:
            ready_at, number, unit = queue[0]
            wait_s = ready_at - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if not client.connected:
                return
            try:
                await unit.attempt(client)
            except (NoReply, Mismatch, Unreachable):
                return
            heapreplace(queue, (unit.ready_at, number, unit))

    def health(self) -> Sequence[MeterHealth]:
        """Return the running totals of every unit, ticks that went by unserved included."""
        for unit in self._units:
            unit.lapse()
        return [unit.health for unit in self._units]

    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._client is not None and self._client.connected

    async def _open(self) -> ModbusClient:
        return await ModbusClient.open(
            self._connection.host,
            self._connection.port,
            timeout_s=self._connection.timeout_s,
            pause_after_connect_s=self._pause_after_connect_s,
            pause_s=self._pause_s,
        )

    def _unreachable(self, error: Unreachable, failures_before: int) -> None:
        if failures_before == 0:
            log.warning("endpoint_unreachable", connection=self.name, error=str(error))
        for unit in self._units:
            unit.unreachable(error)
