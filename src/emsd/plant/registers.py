"""What a Modbus device holds: tables of 16-bit registers, and the types of what stands in them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["INTEGER_WIDTH_BITS", "RegisterType", "Table"]


class Table(StrEnum):
    """The four tables of a Modbus device."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"


class RegisterType(StrEnum):
    """What a run of 16-bit registers holds."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"

    @property
    def registers(self) -> int:
        """How many 16-bit registers one value takes."""
        return int(self.value[1:]) // 16


INTEGER_WIDTH_BITS = {kind: int(kind.value[1:]) for kind in RegisterType if kind.value[0] != "f"}
