"""One open connection to a Modbus endpoint, asked for registers one request at a time."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from collectors.modbus.links import Link
from collectors.modbus.transport import open_link
from emsd.errors import CollectError, DeviceException, Mismatch, NoReply
from emsd.plant.modbus_connections import ModbusConnection
from emsd.plant.modbus_map import Table

__all__ = ["ModbusClient"]

_HOLDING: Final = 3
_INPUT: Final = 4

_EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
"""Modbus Application Protocol V1.1b3, section 7."""


class ModbusClient:
    """An open connection with at most one request in flight; `usable` says whether it may be asked again.

    Made by `open`; the owner closes it.
    """

    def __init__(self, connection: ModbusConnection, link: Link, pause_s: float) -> None:
        self._address = connection.address
        self._link = link
        self._pause_s = pause_s
        self._unit = 0
        """Who was asked last."""
        self.requests = 0
        """How many requests were sent."""
        self.answers = 0
        """How many of them were answered, exceptions included."""

    @classmethod
    async def open(
        cls, connection: ModbusConnection, *, pause_after_connect_s: float = 0.0, pause_s: float = 0.0
    ) -> ModbusClient:
        """Open a connection.

        Args:
            connection: where the endpoint is, of whatever kind.
            pause_after_connect_s: wait before the first request [s]; at least the connection's own is kept.
            pause_s: wait before every further request [s]; at least the connection's own is kept.

        Raises:
            Unreachable: it could not be opened within the connection's timeout.
        """
        link = await open_link(connection)
        client = cls(connection, link, max(pause_s, connection.pause_between_requests_s))
        pause_after_connect_s = max(pause_after_connect_s, connection.pause_after_connect_s)
        if pause_after_connect_s > 0:
            try:
                await asyncio.sleep(pause_after_connect_s)
            except asyncio.CancelledError:
                client.close()
                raise
        return client

    @property
    def connected(self) -> bool:
        """Whether the connection still stands."""
        return self._link.is_active()

    @property
    def lost(self) -> bool:
        """Whether the other side ended the connection."""
        return self._link.lost

    @property
    def usable(self) -> bool:
        """Whether it may be asked again after a request without a usable answer; else it has to be opened again.

        So it is with a serial port. A DeviceException is an answer, after which every connection may be used on.
        """
        return self._link.survives and self._link.unusable is None

    @property
    def overdue_until(self) -> float:
        """Until when a late answer of the unit asked last could be taken for its next one [s, monotonic clock].

        `read` waits until then before it asks that unit again; the owner may use the time for others.
        """
        return self._link.overdue_until(self._unit)

    def close(self) -> None:
        """Close the connection; doing it twice is harmless."""
        self._link.close()

    async def read(self, unit: int, table: Table, address: int, count: int, *, timeout_s: float) -> bytes:
        """Read `count` registers of one unit and return their bytes, two a register.

        Args:
            unit: Modbus unit id.
            table: holding or input registers.
            address: 0-based address of the first register.
            count: number of registers.
            timeout_s: longest wait for the answer [s].

        Raises:
            Unreachable: the connection was lost.
            NoReply: no answer came in time.
            Mismatch: an answer came that does not belong to this request.
            DeviceException: the device answered with an exception; the connection can still be used.
        """
        link = self._link
        try:
            if self._pause_s > 0 and self.requests:
                await asyncio.sleep(self._pause_s)
            if link.delay_s(unit) > 0:
                await self._silence(unit, timeout_s)
            if link.unusable is not None:
                raise link.unusable
            self.requests += 1
            self._unit = unit
            payload = await link.ask(unit, _HOLDING if table is Table.HOLDING else _INPUT, address, count, timeout_s)
        except DeviceException as error:
            self.answers += 1
            meaning = _EXCEPTIONS.get(error.code, "not in the Modbus standard")
            where = self._where(unit, table, address, count)
            text = f"{where}: the device answered with exception {error.code} ({meaning})"
            raise DeviceException(text, error.code) from None
        except CollectError as error:
            hint = ""
            if isinstance(error, NoReply) and not self.answers and not link.survives:
                hint = ", and that no other client holds the device's only connection"
            raise type(error)(f"{self._where(unit, table, address, count)}: {error}{hint}") from None
        except asyncio.CancelledError:
            link.abandon()
            raise
        self.answers += 1
        return payload

    async def _silence(self, unit: int, timeout_s: float) -> None:
        """Wait until the line is silent and no late answer of the unit can come any more.

        Raises:
            Mismatch: the line does not become silent.
        """
        patience_until = max(time.monotonic(), self._link.overdue_until(unit)) + timeout_s
        while (delay_s := self._link.delay_s(unit)) > 0:
            if time.monotonic() >= patience_until:
                raise Mismatch("the line is never silent; check termination, and that no other master asks on it")
            await asyncio.sleep(delay_s)

    def _where(self, unit: int, table: Table, address: int, count: int) -> str:
        return f"{self._address} unit {unit} {table} registers {address}..{address + count - 1}"
