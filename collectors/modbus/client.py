"""One Modbus TCP connection; the only module that knows pymodbus.

An answer belongs to a request when its transaction id, protocol id, unit, function and length all say so. pymodbus 3.16
checks less: it skips answers with another transaction id and waits on, but takes an answer with id 0 for any, and does
not compare function or length. So every frame is checked here as it arrives, and one that does not belong ends the
connection, as does a timeout: an answer that comes late then arrives at a closed socket, and cannot be taken for the
next one. Transaction ids and buffers begin anew with each connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

from emsd.collector import honour_cancellation
from emsd.errors import CollectError, DeviceException, Mismatch, NoReply, Unreachable
from emsd.plant.modbus_map import Table

__all__ = ["ModbusClient"]

# Everything that pymodbus would log is raised here as an error that says more.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

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


class _RawHoldingAnswer(ReadHoldingRegistersResponse):
    """Keeps the registers as bytes: the codec takes them apart in one step, not one by one."""

    payload: bytes = b""

    def decode(self, data: bytes) -> None:
        self.payload = data[1:]


class _RawInputAnswer(ReadInputRegistersResponse):
    payload: bytes = b""

    def decode(self, data: bytes) -> None:
        self.payload = data[1:]


class ModbusClient:
    """An open connection with at most one request in flight; of no use any more after any error but DeviceException.

    Made by `open`; the owner closes it.
    """

    def __init__(self, host: str, port: int, timeout_s: float, pause_s: float) -> None:
        self._endpoint = f"{host}:{port}"
        self._pause_s = pause_s
        self._expected = b""
        """The request in flight as it was sent; empty while there is none."""
        self._unsolicited: str | None = None
        self.answers = 0
        """How many requests were answered, exceptions included."""
        self.lost = False
        """Whether the other side ended the connection."""
        self._pymodbus = AsyncModbusTcpClient(
            host,
            port=port,
            timeout=timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._inspect,
            trace_connect=self._connection_changed,
        )
        self._pymodbus.register(_RawHoldingAnswer)
        self._pymodbus.register(_RawInputAnswer)

    @classmethod
    async def open(
        cls, host: str, port: int, *, timeout_s: float, pause_after_connect_s: float = 0.0, pause_s: float = 0.0
    ) -> ModbusClient:
        """Connect to host:port.

        Args:
            host: name or address of the device or gateway.
            port: its TCP port.
            timeout_s: longest wait for the connection [s].
            pause_after_connect_s: wait before the first request [s].
            pause_s: wait before every further request [s].

        Raises:
            Unreachable: it did not accept a connection in time.
        """
        client = cls(host, port, timeout_s, pause_s)
        try:
            connected = await client._pymodbus.connect()
            honour_cancellation()
        except BaseException:
            client.close()
            raise
        if not connected:
            client.close()
            raise Unreachable(
                f"{host}:{port} did not accept a Modbus TCP connection within {timeout_s:g} s; check address, port and "
                "network, and that no other client holds its only connection"
            )
        if pause_after_connect_s > 0:
            await asyncio.sleep(pause_after_connect_s)
        return client

    @property
    def connected(self) -> bool:
        """Whether the connection still stands."""
        return self._pymodbus.connected

    def close(self) -> None:
        """Close the connection; doing it twice is harmless."""
        self._pymodbus.close()

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
        if self._pause_s > 0 and self.answers:
            await asyncio.sleep(self._pause_s)
        if self._unsolicited is not None:
            raise Mismatch(f"{self._where(unit, table, address, count)}: {self._unsolicited}")
        # pymodbus knows one timeout a client; this is where it reads it for every request.
        self._pymodbus.ctx.comm_params.timeout_connect = timeout_s
        holding = table is Table.HOLDING
        request = self._pymodbus.read_holding_registers if holding else self._pymodbus.read_input_registers
        try:
            answer = await request(address, count=count, device_id=unit)
        except Mismatch as error:
            raise Mismatch(f"{self._where(unit, table, address, count)}: {error}") from None
        except Unreachable as error:
            raise Unreachable(f"{self._where(unit, table, address, count)}: {error}") from None
        except ModbusException as error:
            where = self._where(unit, table, address, count)
            if not self.connected:
                raise Unreachable(f"{where}: the connection was lost; it is opened again") from error
            raise NoReply(f"{where}: no answer within {timeout_s:g} s; check unit id and wiring") from error
        finally:
            self._expected = b""
            honour_cancellation()
        self.answers += 1
        if isinstance(answer, _RawHoldingAnswer | _RawInputAnswer):
            return answer.payload
        code = answer.exception_code
        meaning = _EXCEPTIONS.get(code, "not in the Modbus standard")
        where = self._where(unit, table, address, count)
        raise DeviceException(f"{where}: the device answered with exception {code} ({meaning})", code)

    def _where(self, unit: int, table: Table, address: int, count: int) -> str:
        return f"{self._endpoint} unit {unit} {table} registers {address}..{address + count - 1}"

    def _inspect(self, sending: bool, data: bytes) -> bytes:  # noqa: FBT001 - pymodbus calls it by position
        """See every frame on its way: remember what is asked, and let only the answer to it pass."""
        if sending:
            self._expected = data
            return data
        if not self._expected:
            self._unsolicited = f"{len(data)} bytes came that nobody had asked for"
            return b""
        if len(data) < 9:
            return data
        fault = _fault(self._expected, data)
        if fault is None:
            return data
        self._fail(Mismatch(fault))
        return b""

    def _connection_changed(self, connected: bool) -> None:  # noqa: FBT001 - pymodbus calls it by position
        if not connected:
            self.lost = True
            self._fail(Unreachable("the connection was closed by the other side; it is opened again"))

    def _fail(self, error: CollectError) -> None:
        """End the request in flight at once; pymodbus by itself would wait until its timeout."""
        waiting = self._pymodbus.ctx.response_future
        if self._expected and not waiting.done():
            waiting.set_exception(error)


def _fault(request: bytes, answer: bytes) -> str | None:
    """Return why a frame of at least 9 bytes cannot be the answer to a read request, or None when it can.

    Both are MODBUS Messaging on TCP/IP V1.0b frames: transaction 2, protocol 2, length 2, unit 1, function 1, then for
    a request address 2 and count 2, for an answer its byte count 1 (or exception code 1).
    """
    if answer[0:4] != request[0:4]:
        return (
            f"the answer carries transaction {int.from_bytes(answer[0:2])} of protocol {int.from_bytes(answer[2:4])}, "
            f"not transaction {int.from_bytes(request[0:2])} of protocol 0"
        )
    if answer[6] != request[6]:
        return f"unit {answer[6]} answered instead"
    if answer[7] & 0x7F != request[7]:
        return f"function {answer[7]} answers a request of function {request[7]}"
    length = int.from_bytes(answer[4:6])
    wanted = 3 if answer[7] & 0x80 else 3 + 2 * int.from_bytes(request[10:12])
    if length != wanted or (not answer[7] & 0x80 and answer[8] != wanted - 3):
        return f"the answer is {length} bytes long with byte count {answer[8]}, where {wanted} bytes belong"
    return None if len(answer) <= 6 + length else "more bytes came than one answer holds"
