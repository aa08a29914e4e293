"""Faults of the wire: what becomes of an answer between a Modbus device and its client.

An honest answer passes the faults of its unit in the order of `_SAYING`, as a frame of Modbus TCP: what the device says
instead, and what the frame carries; then, in the frame of its transport, in the order of `_TRAVELLING`: what becomes of
its bytes. Source of the frame: Modbus messaging on TCP/IP implementation guide V1.0b, section 3.1.3; of the exception
codes: Modbus application protocol V1.1b3, section 7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from simulator.live_fault import LiveFault
from simulator.outbox import After, Step
from simulator.register_holes import Holes

__all__ = ["BUSY", "FAULTS", "ILLEGAL_VALUE", "Draft", "unit_of", "work_on"]

_UNIT_AT: Final = 6
_FUNCTION_AT: Final = 7
_DATA_AT: Final = 9
_READ_BYTES: Final = 12
_ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
BUSY: Final = 6
_EXCEPTION: Final = 0x80
_READ_FUNCTIONS: Final = frozenset({3, 4})


@dataclass(slots=True)
class Draft:
    """The answer to one request while faults work on it."""

    request: bytes
    answered: Callable[[bytes], bytes]
    """What the endpoint honestly answers to a frame."""
    holes: Callable[[], Holes | None]
    """Those of the device that is asked; None: there is no such device."""
    neighbour: int
    """The next unit of the endpoint."""
    frames: list[bytes]
    framed: Callable[[bytes], bytes]
    """Puts a frame of Modbus TCP into that of the transport."""
    delay_s: float = 0.0
    pause_s: float = 0.0
    """Before each frame but the first."""
    after: After = After.STAY

    @property
    def read(self) -> tuple[int, int, int] | None:
        """Function, address and count, when registers are asked for."""
        if len(self.request) != _READ_BYTES or self.request[_FUNCTION_AT] not in _READ_FUNCTIONS:
            return None
        address, count = struct.unpack(">HH", self.request[8:12])
        return self.request[_FUNCTION_AT], address, count

    @property
    def refused(self) -> bool:
        """Whether the honest answer is an exception, or none."""
        return not self.frames or bool(self.frames[0][_FUNCTION_AT] & _EXCEPTION)

    def refuse(self, code: int) -> None:
        """Answer with an exception instead."""
        function = self.request[_FUNCTION_AT] | _EXCEPTION
        self.frames = [self.request[:2] + struct.pack(">HHBBB", 0, 3, self.request[_UNIT_AT], function, code)]

    def seal(self) -> None:
        """From now on it is bytes on their transport."""
        self.frames = [self.framed(frame) for frame in self.frames]

    def whole(self) -> bytes:
        """Return everything that would be sent, as one."""
        return b"".join(self.frames)

    def steps(self) -> list[Step]:
        """Return what is sent, and when."""
        if not self.frames:
            return [Step(b"", self.delay_s, self.after)] if self.after is not After.STAY else []
        pauses = [self.delay_s, *[self.pause_s] * (len(self.frames) - 1)]
        last = len(self.frames) - 1
        return [
            Step(frame, pause, self.after if at == last else After.STAY)
            for at, (frame, pause) in enumerate(zip(self.frames, pauses, strict=True))
        ]


def _exception(draft: Draft, live: LiveFault) -> None:
    read = draft.read
    if read is not None:
        _, address, count = read
        if address > live.fault.number("last") or address + count <= live.fault.number("first"):
            return
    if live.strikes():
        draft.refuse(int(live.fault.number("code")))


def _busy(draft: Draft, live: LiveFault) -> None:
    live.round = (live.round + 1) % (int(live.fault.number("times")) + 1)
    if live.round:
        live.hits += 1
        draft.refuse(int(live.fault.number("code")))


def _gap(draft: Draft, live: LiveFault) -> None:
    read, holes = draft.read, draft.holes()
    if read is not None and holes is not None and not draft.refused and holes.touched(*read):
        live.hits += 1
        draft.refuse(_ILLEGAL_ADDRESS)


def _mid_value(draft: Draft, live: LiveFault) -> None:
    read, holes = draft.read, draft.holes()
    if read is not None and holes is not None and not draft.refused and holes.splits(*read):
        live.hits += 1
        draft.refuse(_ILLEGAL_ADDRESS)


def _another_device(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        other = _unit(live, draft.neighbour)
        honest = draft.answered(_with_unit(draft.request, other))
        draft.frames = [_with_unit(honest, draft.request[_UNIT_AT])] if honest else []


def _wrong_unit(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        other = _unit(live, (draft.request[_UNIT_AT] + 1) % 256)
        draft.frames = [_with_unit(frame, other) for frame in draft.frames]


def _transaction(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        own = struct.pack(">H", int(live.fault.number("transaction_id")))
        draft.frames = [own + frame[2:] for frame in draft.frames]


def _duplicate(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        draft.frames *= 1 + int(live.fault.number("times"))


def _registers(draft: Draft, live: LiveFault) -> None:
    if draft.read is not None and not draft.refused and live.strikes():
        draft.frames = [frame[:_DATA_AT] + live.chance.randbytes(len(frame) - _DATA_AT) for frame in draft.frames]


def _checksum(draft: Draft, live: LiveFault) -> None:
    if draft.frames and live.strikes():
        at = live.chance.randrange(8 * len(draft.frames[0]))
        draft.frames = [_turned(frame, at % (8 * len(frame))) for frame in draft.frames]


def _garbage(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        noise = live.chance.randbytes(int(live.fault.number("bytes")))
        place = live.fault.word("place")
        honest = [] if place == "instead" else draft.frames
        draft.frames = [*honest, noise] if place == "after" else [noise, *honest]


def _cut(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        draft.frames = _beginning(draft.whole(), live.fault.number("keep"))
        draft.after = After(live.fault.word("then"))


def _reset(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        draft.frames = _beginning(draft.whole(), live.fault.number("keep"))
        draft.after = After.RESET


def _pieces(draft: Draft, live: LiveFault) -> None:
    if draft.frames and live.strikes():
        whole = draft.whole()
        pieces = min(int(live.fault.number("pieces")), len(whole))
        edges = [len(whole) * at // pieces for at in range(pieces + 1)]
        draft.frames = [whole[begin:end] for begin, end in pairwise(edges)]
        draft.pause_s = live.fault.number("pause_s")


def _late(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        draft.delay_s += live.fault.number("delay_s")


def _network(draft: Draft, live: LiveFault) -> None:
    live.hits += 1
    draft.delay_s += live.fault.number("delay_s") + live.chance.uniform(0.0, live.fault.number("jitter_s"))


def _nothing(draft: Draft, live: LiveFault) -> None:
    if live.strikes():
        draft.frames = []


_Handlers = Mapping[str, Callable[[Draft, LiveFault], None]]

_SAYING: Final[_Handlers] = {
    "another_device": _another_device,
    "gap_exception": _gap,
    "mid_value_exception": _mid_value,
    "exception": _exception,
    "busy": _busy,
    "garbage_registers": _registers,
    "wrong_unit": _wrong_unit,
    "transaction_not_echoed": _transaction,
    "duplicate_reply": _duplicate,
}
"""In the order in which they work on an answer."""
_TRAVELLING: Final[_Handlers] = {
    "bad_checksum": _checksum,
    "garbage": _garbage,
    "cut_frame": _cut,
    "connection_reset": _reset,
    "in_pieces": _pieces,
    "late_reply": _late,
    "network_delay": _network,
    "no_reply": _nothing,
}
"""In the order in which they work on its bytes."""

FAULTS: Final = (*_SAYING, *_TRAVELLING)
"""Those that work on answers, in their order."""


def unit_of(request: bytes) -> int:
    """Return which unit a request is for."""
    return request[_UNIT_AT]


def work_on(draft: Draft, faults: Sequence[LiveFault]) -> list[Step]:
    """Let the faults of a unit, in the order of `FAULTS`, work on an answer; return what is sent, and when."""
    for live in faults:
        if live.fault.kind in _SAYING:
            _SAYING[live.fault.kind](draft, live)
    draft.seal()
    for live in faults:
        if live.fault.kind in _TRAVELLING:
            _TRAVELLING[live.fault.kind](draft, live)
    return draft.steps()


def _unit(live: LiveFault, otherwise: int) -> int:
    given = live.fault.given("unit_id")
    return int(given) if isinstance(given, int | float) else otherwise


def _with_unit(frame: bytes, unit: int) -> bytes:
    return frame[:_UNIT_AT] + bytes([unit]) + frame[_UNIT_AT + 1 :]


def _turned(frame: bytes, bit: int) -> bytes:
    at, place = divmod(bit, 8)
    return frame[:at] + bytes([frame[at] ^ 1 << place]) + frame[at + 1 :]


def _beginning(whole: bytes, share: float) -> list[bytes]:
    begun = whole[: int(len(whole) * share)]
    return [begun] if begun else []
