"""A device, or many behind a gateway, whose registers and manners a test changes while it is asked."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.collectors.support import answer_frame, exception_frame

ILLEGAL_ADDRESS = 2


@dataclass
class Bank:
    """Answers requests from `registers` by unit, as `support.scripted_server` wants it.

    A read that touches a register which is not there, or begins at one in `not_starts`, is refused. `refuses` and
    `silent` speak of a unit, or of a unit's register at which a read begins.
    """

    registers: dict[int, dict[int, int]]
    refuses: dict[int | tuple[int, int], int] = field(default_factory=dict)
    silent: set[int | tuple[int, int]] = field(default_factory=set)
    not_starts: set[int] = field(default_factory=set)
    each: Callable[[int], None] | None = None
    """Called with the unit before each answer."""
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    """(unit, address, count) of every request."""

    @classmethod
    def of(cls, *registers: Mapping[int, int]) -> Bank:
        """Make a bank of units 1, 2, ... with these registers."""
        return cls({unit: dict(each) for unit, each in enumerate(registers, 1)})

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        unit = request[6]
        address, count = struct.unpack(">HH", request[8:12])
        self.asked.append((unit, address, count))
        if self.each is not None:
            self.each(unit)
        if unit in self.silent or (unit, address) in self.silent:
            return
        code = self.refuses.get(unit, self.refuses.get((unit, address)))
        held = self.registers.get(unit, {})
        wanted = range(address, address + count)
        if code is None and (address in self.not_starts or not held.keys() >= set(wanted)):
            code = ILLEGAL_ADDRESS
        writer.write(exception_frame(request, code) if code else answer_frame(request, *(held[at] for at in wanted)))
