"""One request and its answer on a line of Modbus RTU devices, behind a serial port or through TCP.

There is no transaction id: an answer that comes late looks like the answer to the next request of the same shape. So a
unit that owes one is not asked again until it came, or until it has had as long again as its timeout. Other units are:
a late answer among theirs is known by its unit.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from pymodbus.transport import CommParams

from collectors.modbus.frames import (
    RTU_REQUEST_BYTES,
    RtuFrame,
    rtu_answer,
    rtu_answer_bytes,
    rtu_frame,
    rtu_request,
)
from collectors.modbus.links import Link
from collectors.modbus.timing import SerialLine
from emsd.errors import DeviceException, Mismatch

__all__ = ["LineTiming", "RtuLink"]

_MOST_NOISE_BYTES: Final = 1024
_TAIL_BYTES: Final = 256
"""The longest frame (MODBUS over Serial Line V1.02, section 2.5.1): of noise, this much may still begin one."""

_ADAPTER_GAP_S: Final = 0.05
"""USB adapters hand over what they received every 16 ms by default (FTDI AN232B-04), and Linux is no hard clock [s]."""

_NETWORK_GAP_S: Final = 0.25
"""One lost segment comes again after 0.2 s at the earliest on Linux (TCP_RTO_MIN) [s]."""


@dataclass(frozen=True, slots=True)
class LineTiming:
    """How long things take on a line [s]."""

    char_s: float
    """One character; 0 behind a network, where nobody knows."""
    silence_s: float
    """Rest of the line between two frames."""
    quiet_s: float
    """A frame that has not gone on for so long is over."""

    @classmethod
    def of_line(cls, line: SerialLine) -> LineTiming:
        """Return the timing of a serial port's line."""
        return cls(line.character_s, line.silence_s, max(_ADAPTER_GAP_S, 3 * line.silence_s))

    @classmethod
    def behind_network(cls) -> LineTiming:
        """Return the timing of a line whose own timing a gateway keeps."""
        return cls(0.0, 0.0, _NETWORK_GAP_S)


class RtuLink(Link):
    """Modbus RTU.

    Args:
        params: of the serial port or the TCP connection.
        timing: of the line.
        most_failures: after so many requests in a row without a usable answer it has to be opened again; None: never.
    """

    def __init__(self, params: CommParams, timing: LineTiming, *, most_failures: int | None) -> None:
        super().__init__(params)
        self._timing = timing
        self._most_failures = most_failures
        self._failures = 0
        """Requests in a row without a usable answer."""
        self._asked = (0, 0, 0, 0.0)
        """Unit, function, count and timeout of the last request."""
        self._request = b""
        self._noise = b""
        """What came since the request of which nothing could be made."""
        self._gap: asyncio.TimerHandle | None = None
        self._heard = 0.0
        """When the last bytes came, on the monotonic clock [s]."""
        self._rest_s = timing.silence_s
        """How long the line has to be silent before the next request [s]."""
        self._owed: dict[int, float] = {}
        """Units whose answer is late, and until when it is waited for [s, monotonic clock]."""

    @property
    def survives(self) -> bool:
        """Whether it may be used on: one silent unit is no reason to open a line again, on which others answer."""
        return self._most_failures is None or self._failures < self._most_failures

    def ask(self, unit: int, function: int, address: int, count: int, timeout_s: float) -> asyncio.Future[bytes]:
        """Send a request; see `Link.ask`."""
        self._asked = (unit, function, count, timeout_s)
        self._request = rtu_request(unit, function, address, count)
        self._noise = b""
        # The timeout is the device's time; what the frames take on the line comes on top.
        line_s = self._timing.char_s * (RTU_REQUEST_BYTES + rtu_answer_bytes(count))
        return self._begin(self._request, timeout_s, line_s)

    def delay_s(self, unit: int) -> float:
        """Return what is missing of the silence between frames, or of the time that a late answer has [s]."""
        now = time.monotonic()
        return max(0.0, self._heard + self._rest_s - now, self._owed.get(unit, 0.0) - now)

    def overdue_until(self, unit: int) -> float:
        """Return until when a late answer of a unit is waited for [s, monotonic clock]."""
        return self._owed.get(unit, 0.0)

    def abandon(self) -> None:
        """Nobody waits for the answer any more; its unit owes it."""
        if self._end_listening():
            self._owe()
        self._end()

    def close(self, reconnect: bool = False) -> None:  # noqa: FBT001, FBT002 - as pymodbus has it
        """Close it; doing so twice is harmless."""
        self._end_listening()
        super().close(reconnect)

    def callback_data(self, data: bytes, addr: tuple[str, int] | None = None) -> int:
        """Take all bytes that came since the request; return how many are done with."""
        self._heard = time.monotonic()
        listening = self._end_listening()
        if data.startswith(self._request) and listening:
            # Adapters for lines of two wires often hear what they send.
            done, data = RTU_REQUEST_BYTES, data[RTU_REQUEST_BYTES:]
            return done + (self.callback_data(data, addr) if data else 0)
        if listening:
            unit, function, count, _ = self._asked
            answer = rtu_answer(data, unit, function, count)
            if answer is not None:
                self._take(answer)
                return len(data)
        other = rtu_frame(data)
        if other is not None:
            return self._pass_over(other) + (
                self.callback_data(data[other.length :], addr) if data[other.length :] else 0
            )
        if listening:
            self._noise = data
            self._gap = self.loop.call_later(self._timing.quiet_s, self._fell_silent)
        return len(data) - _TAIL_BYTES if len(data) > _MOST_NOISE_BYTES else 0

    def _take(self, answer: RtuFrame) -> None:
        self._owed.pop(answer.unit, None)
        self._failures = 0
        self._rest_s = self._timing.silence_s
        if answer.is_exception:
            self._refuse(DeviceException("", answer.payload[0]))
        else:
            self._answer(answer.payload)

    def _pass_over(self, other: RtuFrame) -> int:
        """Take a frame that is not the answer; return its length [bytes]."""
        late = self._owed.pop(other.unit, None) is not None
        if not late and self._waiting is not None:
            unit, function, count, _ = self._asked
            if other.unit != unit:
                fault = f"unit {other.unit} answered instead"
            elif other.function & 0x7F != function:
                fault = f"function {other.function} answers a request of function {function}"
            else:
                fault = f"the answer has byte count {len(other.payload)}, where {2 * count} bytes belong"
            # The right answer may come yet.
            self._owe()
            self._spoil(fault)
        return other.length

    def _fell_silent(self) -> None:
        """End the request when what came was its answer, but broken; after mere noise the answer may come yet."""
        self._gap = None
        unit, function, _, _ = self._asked
        if len(self._noise) >= 2 and self._noise[0] == unit and self._noise[1] & 0x7F == function:
            self._spoil(_broken(self._noise))

    def _timed_out(self, timeout_s: float) -> None:
        self._end_listening()
        self._owe()
        if self._noise:
            self._spoil(_broken(self._noise))
        else:
            self._failures += 1
            super()._timed_out(timeout_s)

    def _owe(self) -> None:
        unit, _, _, timeout_s = self._asked
        self._owed[unit] = time.monotonic() + timeout_s
        self._rest_s = self._timing.quiet_s

    def _spoil(self, fault: str) -> None:
        self._failures += 1
        self._rest_s = self._timing.quiet_s
        self._refuse(Mismatch(fault))

    def _end_listening(self) -> bool:
        """Stop waiting for silence; return whether a request is in flight."""
        if self._gap is not None:
            self._gap.cancel()
            self._gap = None
        return self._waiting is not None


def _broken(data: bytes) -> str:
    return (
        f"{len(data)} bytes came that are no frame with a right checksum ({data[:8].hex(' ')}...); check baud rate, "
        "parity, wiring and termination"
    )
