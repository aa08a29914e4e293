"""How a Modbus device speaks: its register map, as data.

Values are given in canonical units: `value = raw * scale * 10^(scale register) + add`. Addresses are 0-based, as they
travel on the wire, never a vendor's 1-based or 40001-based number.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry
from emsd.quantities import BY_NAME, Kind, RunState

__all__ = ["INTEGER_WIDTH_BITS", "ModbusMap", "ModbusPoint", "RegisterType", "ScaleRegister", "Table"]


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


class ScaleRegister(Entry):
    """A register that holds a power of ten.

    Exactly one of `address` (absolute) and `offset` (within the point's SunSpec model) is given. With `divide` the
    value is raw / 10^code (decimal places), else raw * 10^code (SunSpec).
    """

    address: int | None = Field(default=None, ge=0, le=65535, description="PDU address.")
    offset: int | None = Field(default=None, ge=0, le=65535, description="Offset from the model's ID register.")
    divide: bool = Field(default=False, description="The register holds decimal places: raw / 10^code.")


class ModbusPoint(Entry):
    """One quantity in the registers of a device."""

    quantity: str = Field(description="Canonical quantity that it delivers.")
    table: Table = Field(default=Table.HOLDING, description="Table of the device that holds it.")
    address: int | None = Field(default=None, ge=0, le=65535, description="PDU address of the first register.")
    model: int | None = Field(default=None, description="SunSpec model; the address is then `offset` inside it.")
    offset: int | None = Field(default=None, ge=0, description="Offset from the model's ID register.")
    type: RegisterType = Field(description="What its registers hold.")
    scale: float = Field(default=1.0, description="Raw to canonical unit: factor.")
    add: float = Field(default=0.0, description="Raw to canonical unit: what is added after scaling.")
    scale_register: ScaleRegister | None = Field(default=None, description="Register with a further power of ten.")
    not_available: tuple[int, ...] | None = Field(
        default=None,
        description="Raw patterns, unsigned, that mean no value; absent: those of the map for this type.",
    )
    encoding: Literal["plain", "four_quadrant_power_factor"] = Field(
        default="plain", description="How the raw value is to be understood."
    )
    bits: tuple[int, int] | None = Field(
        default=None, description="First and last bit of a field, 0 = least significant."
    )
    states: dict[int, RunState] | None = Field(default=None, description="Raw code to canonical run state.")
    interval_s: float | None = Field(
        default=None, gt=0, description="Read no more often than this [s]; absent: every poll."
    )
    rollover_at: float | None = Field(default=None, gt=0, description="Counter modulus in the quantity's unit.")
    count: float | None = Field(
        default=None, gt=0, description="Resolution of a float counter, in the quantity's unit."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.quantity not in BY_NAME:
            raise ValueError(f"quantity {self.quantity!r} is not in the vocabulary")
        fixed = self.address is not None
        by_model = self.model is not None and self.offset is not None
        if fixed == by_model:
            raise ValueError("give either address, or model and offset")
        if self.table in {Table.COIL, Table.DISCRETE}:
            raise ValueError("points in coil and discrete tables are not supported")
        if (self.states is not None) != (self.quantity == "run_state"):
            raise ValueError("states belong to run_state, and run_state needs them")
        return self

    @property
    def counter_modulus(self) -> float | None:
        """Where the counter starts again from 0, in the quantity's unit; None for gauges and float counters.

        From `rollover_at`, else from the register's width and the fixed scale.
        """
        if BY_NAME[self.quantity].kind is Kind.GAUGE:
            return None
        if self.rollover_at is not None:
            return self.rollover_at
        width = INTEGER_WIDTH_BITS.get(self.type)
        if width is None or self.scale_register is not None:
            return None
        positive_bits = width if self.type.value[0] == "u" else width - 1
        return float(2**positive_bits) * self.scale

    @property
    def counter_count(self) -> float | None:
        """One count of the counter, in the quantity's unit; None for gauges and where it is not known."""
        if BY_NAME[self.quantity].kind is Kind.GAUGE:
            return None
        if self.count is not None:
            return self.count
        return abs(self.scale) if self.type in INTEGER_WIDTH_BITS else None


class ModbusMap(Entry):
    """How to read a Modbus device."""

    word_order: Literal["big", "little"] = Field(
        default="big", description="little: least significant word first (CDAB)."
    )
    byte_order: Literal["big", "little"] = Field(default="big", description="little: bytes swapped inside a register.")
    max_registers: int = Field(default=125, ge=1, le=125, description="Largest read the device answers.")
    max_gap_registers: int = Field(default=16, ge=0, le=124, description="Holes up to this size are read through.")
    one_point_per_request: bool = Field(default=False, description="For devices whose points overlap.")
    sunspec_bases: tuple[int, ...] = Field(default=(), description="Addresses where the SunSpec marker may stand.")
    timeout_s: float | None = Field(
        default=None, gt=0, description="Longer than the connection's, for slow devices [s]."
    )
    pause_after_connect_s: float = Field(default=0.0, ge=0, description="Rest after connecting [s].")
    pause_between_requests_s: float = Field(default=0.0, ge=0, description="Rest between two requests [s].")
    not_available: dict[RegisterType, tuple[int, ...]] = Field(
        default_factory=dict, description="Raw patterns, unsigned, that mean no value, by register type."
    )
    stale_exceptions: tuple[int, ...] = Field(
        default=(),
        description="Exception codes by which the device says that its data is old, not that it failed.",
    )
    points: tuple[ModbusPoint, ...] = Field(min_length=1, description="Quantities and their registers.")

    @model_validator(mode="after")
    def _each_quantity_once(self) -> Self:
        names = [point.quantity for point in self.points]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"quantity {', '.join(twice)} stands at more than one point")
        if any(point.model is not None for point in self.points) and not self.sunspec_bases:
            raise ValueError("points by SunSpec model need sunspec_bases")
        return self
