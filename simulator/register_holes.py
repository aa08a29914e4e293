"""Which registers of a device hold something, and where its values begin and end."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.layout import Layout
from simulator.segments import place_of

__all__ = ["Holes"]

_TABLE_OF_FUNCTION = {3: "holding", 4: "input"}


@dataclass(frozen=True, slots=True)
class Holes:
    """The registers of a layout that hold something, and the edges inside values that a read should not have."""

    filled: frozenset[tuple[str, int]]
    inside: frozenset[tuple[str, int]]
    """Registers that are not the first of their value."""

    @classmethod
    def of(cls, layout: Layout) -> Holes:
        """Find those of a layout: values, scale registers, settings and identities count as something."""
        values = [
            (point.table, address, point.registers)
            for point in layout.points
            for address in (point.address, *point.plus)
        ]
        places = list(values)
        own = layout.profile.modbus
        if own is not None:
            places += [
                (source.table.value, source.scale_register.address, 1)
                for source in own.points
                if source.scale_register is not None and source.scale_register.address is not None
            ]
            places += [place_of(each) for each in own.parameters]
            places += [place_of(each) for each in own.identity]
        if layout.chain is not None:
            places.append(("holding", layout.chain.base, len(layout.chain.words)))
        return cls(
            frozenset((table, at) for table, start, count in places for at in range(start, start + count)),
            frozenset((table, at) for table, start, count in values for at in range(start + 1, start + count)),
        )

    def touched(self, function: int, address: int, count: int) -> bool:
        """Whether a read touches a register that holds nothing."""
        table = _TABLE_OF_FUNCTION.get(function, "")
        return any((table, at) not in self.filled for at in range(address, address + count))

    def splits(self, function: int, address: int, count: int) -> bool:
        """Whether a read begins or ends inside a value."""
        table = _TABLE_OF_FUNCTION.get(function, "")
        return (table, address) in self.inside or (table, address + count) in self.inside
