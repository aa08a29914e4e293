"""The ways in which a profile may be wrong about a device: its base, its word order, its byte order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType

__all__ = ["ORDERS", "Order", "shifted"]

Letters = Literal["ABCD", "CDAB", "BADC", "DCBA"]


@dataclass(frozen=True, slots=True)
class Order:
    """How the bytes of a number stand in its registers, in the letters that manuals use; A is the most significant."""

    letters: Letters
    word_order: Literal["big", "little"]
    byte_order: Literal["big", "little"]

    def of(self, registers: ModbusMap) -> ModbusMap:
        """Return a map with this order."""
        return registers.model_copy(update={"word_order": self.word_order, "byte_order": self.byte_order})

    def is_that_of(self, registers: ModbusMap) -> bool:
        """Whether a map has this order."""
        return (registers.word_order, registers.byte_order) == (self.word_order, self.byte_order)


ORDERS: Final = (
    Order("ABCD", "big", "big"),
    Order("CDAB", "little", "big"),
    Order("BADC", "big", "little"),
    Order("DCBA", "little", "little"),
)


def shifted(registers: ModbusMap, by: int) -> ModbusMap | None:
    """Return a map with every address moved; None when one would leave the table, or nothing is addressed.

    Vendors number from 0, from 1 and from 40001; a map that is one off is read with `by` -1 or 1.
    """
    if by == 0:
        return registers
    if not registers.points or any(point.model is not None for point in registers.points):
        return None
    if not all(0 <= address + by <= 65536 - length for address, length in _addresses(registers)):
        return None
    return registers.model_copy(
        update={
            "points": tuple(_moved(point, by) for point in registers.points),
            "parameters": tuple(
                each.model_copy(update={"address": each.address + by}) for each in registers.parameters
            ),
            "identity": (),
            "forbidden": (),
        }
    )


def _moved(point: ModbusPoint, by: int) -> ModbusPoint:
    scale = point.scale_register
    if scale is not None and scale.address is not None:
        scale = scale.model_copy(update={"address": scale.address + by})
    address = None if point.address is None else point.address + by
    plus = tuple(each + by for each in point.plus)
    return point.model_copy(update={"address": address, "plus": plus, "scale_register": scale})


def _addresses(registers: ModbusMap) -> Iterator[tuple[int, int]]:
    for point in registers.points:
        for address in (point.address, *point.plus):
            if address is not None:
                yield address, RegisterType(point.type).registers
        if point.scale_register is not None and point.scale_register.address is not None:
            yield point.scale_register.address, 1
    for parameter in registers.parameters:
        yield parameter.address, parameter.type.registers
