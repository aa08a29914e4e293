"""ModbusEndpoint: the units behind one address or line, and what they answer, whatever carries it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from simulator.bank import Unit
from simulator.door import Door
from simulator.fault_kinds import Carrier
from simulator.layout import ILLEGAL_FUNCTION, ILLEGAL_VALUE, Layout
from simulator.manners import Manners
from simulator.outbox import Step
from simulator.register_holes import Holes
from simulator.wire_faults import Draft

__all__ = ["HEADER_BYTES", "ModbusEndpoint", "Party"]

HEADER_BYTES: Final = 7

_HEADER: Final = struct.Struct(">HHHB")
_READ: Final = struct.Struct(">HHHBBHH")
_ANSWER: Final = struct.Struct(">HHHBBB")
_READ_FRAME_BYTES: Final = 12
_GATEWAY_TARGET_FAILED: Final = 0x0B
_READ_FUNCTIONS: Final = frozenset({3, 4})


class Party(Protocol):
    """Whoever is treated in another way when faults begin or end: a client, or a whole line."""

    def behave(self, before: Manners | None, now: Manners | None) -> None:
        """Do what faults that began or ended mean to it."""

    def __hash__(self) -> int:
        """Return what tells it apart."""


@dataclass(slots=True)
class ModbusEndpoint:
    """One listening address and its units; the counters are for whoever watches."""

    key: str
    units: Mapping[int, Unit]
    silent_for_unknown_units: bool = False
    """A gateway answers 0x0B for a unit that is not there; a single device often says nothing."""
    port: int = 0
    address: str = ""
    """Where it is reached: host:port, or the path of a serial port."""
    requests: int = 0
    unknown_units: int = 0
    bad_frames: int = 0
    lost_answers: int = 0
    """Answers that a serial line did not take."""
    clients: int = 0
    manners: Manners | None = None
    """What is wrong with it now; set it through `behave`."""
    carrier: Carrier = Carrier.TCP
    door: Door | None = field(default=None, repr=False)
    """What listens, while something does and it can be shut."""
    parties: set[Party] = field(default_factory=set, repr=False)
    """Those who are to hear of other manners."""
    _holes: dict[int, Holes] = field(default_factory=dict, repr=False)

    def behave(self, manners: Manners | None) -> None:
        """Treat clients in another way from now on, those that are connected among them."""
        before, self.manners = self.manners, manners
        if self.door is not None:
            self.door.shut(manners is not None and bool(manners.refused))
        for party in tuple(self.parties):
            party.behave(before, manners)

    def steps(self, manners: Manners, frame: bytes, framed: Callable[[bytes], bytes]) -> list[Step]:
        """Return what a client gets for one request, and when, while something is wrong.

        frame   as Modbus TCP has it
        framed  puts an answer of Modbus TCP into the frame of the transport
        """
        unit_id = frame[_HEADER.size - 1]
        honest = self.answer(frame)
        others = sorted(self.units)
        draft = Draft(
            request=frame,
            answered=self.answer,
            holes=lambda: self._holes_of(unit_id),
            neighbour=next((each for each in others if each > unit_id), others[0] if others else unit_id),
            frames=[honest] if honest else [],
            framed=framed,
        )
        return manners.steps(draft)

    def _holes_of(self, unit_id: int) -> Holes | None:
        unit = self.units.get(unit_id)
        if unit is None:
            return None
        layout: Layout = unit.bank.layout
        found = self._holes.get(id(layout))
        if found is None:
            found = self._holes[id(layout)] = Holes.of(layout)
        return found

    def answer(self, frame: bytes) -> bytes:
        """Return the answer to one whole frame, empty for silence."""
        transaction, _, _, unit_id = _HEADER.unpack_from(frame)
        function = frame[_HEADER.size]
        self.requests += 1
        unit = self.units.get(unit_id)
        if unit is None:
            self.unknown_units += 1
            if self.silent_for_unknown_units:
                return b""
            return _refusal(transaction, unit_id, function, _GATEWAY_TARGET_FAILED)
        if function not in _READ_FUNCTIONS:
            unit.requests += 1
            unit.refusals[ILLEGAL_FUNCTION] += 1
            return _refusal(transaction, unit_id, function, ILLEGAL_FUNCTION)
        if len(frame) != _READ_FRAME_BYTES:
            return _refusal(transaction, unit_id, function, ILLEGAL_VALUE)
        _, _, _, _, _, address, count = _READ.unpack(frame)
        found = unit.read(function, address, count)
        if isinstance(found, int):
            return _refusal(transaction, unit_id, function, found)
        size = len(found)
        return _ANSWER.pack(transaction, 0, size + 3, unit_id, function, size) + found


def _refusal(transaction: int, unit_id: int, function: int, code: int) -> bytes:
    return _ANSWER.pack(transaction, 0, 3, unit_id, function | 0x80, code)
