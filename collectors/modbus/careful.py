"""Asks for single registers, and tells one that the device will not answer from a device that is away.

| answer                        | what becomes of it |
|---|---|
| exception 1, 2, 3             | the device does without this register: said once |
| another exception, or silence | the attempt fails; when that happens again while the device answers another request, |
|                               | the register is left out for ten minutes: some are silent where others refuse |
| another exception, not needed | the device has it, but not now: asked for again soon |
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from collectors.modbus.book import GATEWAY_EXCEPTIONS
from emsd.errors import CollectError, DeviceException
from emsd.plant.modbus_map import Table

__all__ = ["Ask", "CarefulReader", "Line"]

log = structlog.get_logger(__name__)

Ask = Callable[[Table, int, int], Awaitable[bytes]]
"""Reads `count` registers of a table from `address`; raises CollectError."""

LEFT_OUT_S: Final = 600.0
"""How long a register that the device will not answer is not asked for."""

MOST_FAILURES: Final = 2
"""After so many failures in a row a register is suspected, and not the device alone."""

_NOT_THERE: Final = frozenset({1, 2, 3})


@dataclass(frozen=True, slots=True)
class Line:
    """The way to a device: `ask` reads registers, `prove` raises CollectError when it does not answer at all."""

    ask: Ask
    prove: Callable[[], Awaitable[None]]


class CarefulReader:
    """Reads registers that the device behind the meter `key` may not have."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._failures: dict[tuple[Table, int], int] = {}
        self._left_out_until: dict[tuple[Table, int], float] = {}
        self._said: set[tuple[Table, int]] = set()

    async def read(
        self, line: Line, name: str, table: Table, address: int, count: int, *, needed: bool = True
    ) -> bytes | None:
        """Return what stands in `count` registers from `address`, or None where the device does without them.

        Unless it is `needed`, every refusal of the device itself is None.

        Raises:
            CollectError: the device did not answer.
        """
        place = table, address
        if time.monotonic() < self._left_out_until.get(place, 0.0):
            return None
        suspected = self._failures.get(place, 0) >= MOST_FAILURES
        if suspected:
            await line.prove()
        try:
            payload = await line.ask(table, address, count)
        except CollectError as error:
            refused = isinstance(error, DeviceException) and error.code not in GATEWAY_EXCEPTIONS
            if isinstance(error, DeviceException) and refused and (error.code in _NOT_THERE or not needed):
                self._say(place, name, error)
                return None
            self._failures[place] = self._failures.get(place, 0) + 1
            if not suspected:
                raise
            self._left_out_until[place] = time.monotonic() + LEFT_OUT_S
            self._say(place, name, error)
            if refused:
                return None
            # The answer may still be under way, so that the connection is of no use any more.
            raise
        self._failures.pop(place, None)
        return payload

    def _say(self, place: tuple[Table, int], name: str, error: CollectError) -> None:
        if place not in self._said:
            self._said.add(place)
            log.warning("register_not_answered", meter=self._key, what=name, error=str(error))
