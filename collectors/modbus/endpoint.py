"""One Modbus endpoint and all meters on it: one connection, one request in flight, whoever is due first.

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
from collectors.modbus.usage import Usage
from emsd.collector import EndpointHealth, MeterHealth, PlanEfficiency
from emsd.errors import Mismatch, NoReply, Unreachable
from emsd.plant.modbus_connections import ModbusConnection

__all__ = ["ModbusEndpoint"]

log = structlog.get_logger(__name__)

CONNECT_BACKOFF_BASE_S = 0.5
CONNECT_BACKOFF_CAP_S = 30.0


class ModbusEndpoint:
    """Collector of one connection; see `emsd.collector.Collector`."""

    def __init__(self, connection: ModbusConnection, units: Sequence[Unit]) -> None:
        self.name = connection.key
        self._connection = connection
        self._units = tuple(units)
        self._client: ModbusClient | None = None
        self._usage = Usage()
        self._held_until = [0.0] * len(units)
        """Until when a unit is not asked since its late answer may still come [s, monotonic clock]."""
        self._pause_after_connect_s = max((unit.pause_after_connect_s for unit in units), default=0.0)
        self._pause_s = max((unit.pause_between_requests_s for unit in units), default=0.0)

    async def run(self) -> None:
        """Poll all units until cancelled; the connection is opened again for as long as it takes."""
        backoff = Backoff(CONNECT_BACKOFF_BASE_S, CONNECT_BACKOFF_CAP_S)
        for unit in self._units:
            unit.align()
        while True:
            try:
                client = await self._open()
            except Unreachable as error:
                self._usage.failed(error)
                self._unreachable(error, backoff.failures)
                await asyncio.sleep(backoff.next_s())
                continue
            self._usage.connects += 1
            self._client = client
            log.info("endpoint_connected", connection=self.name)
            try:
                await self._serve(client)
            finally:
                self._client = None
                self._usage.requests += client.requests
                client.close()
            if client.answers:
                backoff.reset()
            elif client.lost:
                refused = Unreachable(
                    f"{self._connection.address} closed the connection before it answered; "
                    "check that no other client holds its only connection"
                )
                self._unreachable(refused, backoff.failures)
                await asyncio.sleep(backoff.next_s())

    async def _serve(self, client: ModbusClient) -> None:
        """Poll whoever is due until the connection has to be opened again."""
        queue = [(max(unit.ready_at, self._held_until[number]), number) for number, unit in enumerate(self._units)]
        heapify(queue)
        while True:
            ready_at, number = queue[0]
            wait_s = ready_at - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if not client.connected:
                self._usage.failed(Unreachable(f"{self._connection.address} closed the connection"))
                return
            unit = self._units[number]
            self._usage.begin()
            try:
                await unit.attempt(client)
            except (NoReply, Mismatch, Unreachable) as error:
                self._usage.failed(error)
                self._held_until[number] = client.overdue_until
                if not client.usable:
                    return
            finally:
                self._usage.end()
            heapreplace(queue, (max(unit.ready_at, self._held_until[number]), number))

    def health(self) -> Sequence[MeterHealth]:
        """Return the running totals of every unit, ticks that went by unserved included."""
        for unit in self._units:
            unit.lapse()
        return [unit.health for unit in self._units]

    def endpoint_health(self) -> EndpointHealth:
        """Return the running totals of the connection."""
        usage = self._usage
        return EndpointHealth(
            connection=self.name,
            kind=self._connection.kind,
            address=self._connection.address,
            connected=self.connected(),
            connects=usage.connects,
            failures=usage.failures,
            requests=usage.requests + (self._client.requests if self._client is not None else 0),
            busy_s=usage.busy_s(),
            busy_share=usage.busy_share(),
            last_error=usage.last_error,
        )

    def plan_efficiency(self) -> PlanEfficiency:
        """Return the cost of one poll of every unit."""
        return sum((unit.plan_efficiency() for unit in self._units), PlanEfficiency())

    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._client is not None and self._client.connected

    async def _open(self) -> ModbusClient:
        return await ModbusClient.open(
            self._connection, pause_after_connect_s=self._pause_after_connect_s, pause_s=self._pause_s
        )

    def _unreachable(self, error: Unreachable, failures_before: int) -> None:
        # Inverters by night are no news.
        if failures_before == 0 and not (self._units and all(unit.rests for unit in self._units)):
            log.warning("endpoint_unreachable", connection=self.name, error=str(error))
        self._usage.last_error = str(error)
        for unit in self._units:
            unit.unreachable(error)
