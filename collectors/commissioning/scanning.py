"""Walk a bus: which unit ids are answered for, and how.

Any answer shows that somebody is there, an exception too; only a gateway's own exceptions (10, 11) and silence do not.
Only read requests are sent, functions 3 and 4.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from collectors.commissioning.probing import Device, open_device
from emsd.errors import CollectError, DeviceException, Unreachable
from emsd.plant.modbus_connections import ModbusConnection
from emsd.plant.modbus_map import Table

__all__ = ["Sighting", "scan"]

_GATEWAY: Final = frozenset({10, 11})
_QUESTIONS: Final = ((Table.HOLDING, 0), (Table.INPUT, 0))


@dataclass(frozen=True, slots=True)
class Sighting:
    """What became of one unit id."""

    unit: int
    state: Literal["answers", "refuses", "absent", "silent"]
    """answers: with registers; refuses: with an exception of its own; absent: the gateway says so; silent."""
    detail: str

    @property
    def is_there(self) -> bool:
        """Whether a device answers for this unit id."""
        return self.state in {"answers", "refuses"}


async def scan(connection: ModbusConnection, units: Sequence[int], *, timeout_s: float) -> AsyncIterator[Sighting]:
    """Ask every unit id for its first register and yield what became of each.

    Args:
        connection: the bus.
        units: unit ids to ask.
        timeout_s: longest wait for each answer [s].

    Raises:
        Unreachable: the endpoint itself cannot be reached.
    """
    for unit in units:
        device = open_device(connection, unit, timeout_s)
        try:
            yield await _look(device)
        finally:
            device.close()


async def _look(device: Device) -> Sighting:
    refusal = ""
    for table, address in _QUESTIONS:
        try:
            payload = await device.read(table, address, 1)
        except DeviceException as error:
            if error.code in _GATEWAY:
                return Sighting(device.unit, "absent", f"exception {error.code} of the gateway")
            refusal = f"exception {error.code} for {table} register {address}"
        except Unreachable as error:
            if device.requests == 0:
                raise
            return Sighting(device.unit, "silent", str(error))
        except CollectError as error:
            return Sighting(device.unit, "silent", type(error).__name__)
        else:
            return Sighting(device.unit, "answers", f"{table} register {address} is {payload.hex().upper()}h")
    return Sighting(device.unit, "refuses", refusal)
