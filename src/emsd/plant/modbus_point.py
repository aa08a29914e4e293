"""One quantity in the registers of a Modbus device, and how its raw value is to be understood."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry
from emsd.plant.registers import INTEGER_WIDTH_BITS, RegisterType, Table
from emsd.quantities import BY_NAME, Kind, RunState

__all__ = ["Case", "Choice", "ModbusPoint", "ScaleRegister"]


class ScaleRegister(Entry):
    """A register that holds a power of ten.

    Exactly one of `address` (absolute) and `offset` (within the point's SunSpec model) is given. With `divide` the
    value is raw / 10^code (decimal places), else raw * 10^code (SunSpec).
    """

    address: int | None = Field(default=None, ge=0, le=65535, description="PDU address.")
    offset: int | None = Field(default=None, ge=0, le=65535, description="Offset from the model's ID register.")
    divide: bool = Field(default=False, description="The register holds decimal places: raw / 10^code.")


class Case(Entry):
    """How a raw value is to be understood while a parameter has one value; the others stay as the point says."""

    scale: float | None = Field(default=None, description="Raw to canonical unit: factor.")
    add: float | None = Field(default=None, description="Raw to canonical unit: what is added after scaling.")


class Choice(Entry):
    """A scale or unit that a parameter of the device selects."""

    parameter: str = Field(description="Name of the parameter that selects.")
    cases: dict[int, Case] = Field(min_length=1, description="Value of the parameter to how the raw value is meant.")
    otherwise: Case | None = Field(
        default=None, description="For every other value; absent: the point is then not available."
    )


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
    flags: dict[int, RunState] | None = Field(
        default=None, description="Bit (0 = least significant) to run state; of several that are set the first counts."
    )
    otherwise: RunState | None = Field(default=None, description="Run state while none of the flags is set.")
    plus: tuple[int, ...] = Field(
        default=(), description="PDU addresses of further registers of the same type, whose raw values are added."
    )
    times: tuple[str, ...] = Field(default=(), description="Parameters that the scaled value is multiplied by.")
    divided_by: str | None = Field(default=None, description="Parameter that the scaled value is divided by.")
    choice: Choice | None = Field(default=None, description="Scale or unit that a parameter of the device selects.")
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
        if (self.states is not None or self.flags is not None) != (self.quantity == "run_state"):
            raise ValueError("states or flags belong to run_state, and run_state needs them")
        if self.flags is not None and (self.states is not None or self.bits is not None):
            raise ValueError("flags stand alone, without states and bits")
        if self.otherwise is not None and self.flags is None:
            raise ValueError("otherwise belongs to flags")
        if self.plus and (self.bits or self.states or self.flags or self.scale_register or self.model is not None):
            raise ValueError("plus belongs to plain numbers at fixed addresses")
        return self

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters it depends on."""
        own = (*self.times, *((self.divided_by,) if self.divided_by else ()))
        return (*own, self.choice.parameter) if self.choice else own

    @property
    def counter_modulus(self) -> float | None:
        """Where the counter starts again from 0, in the quantity's unit; None for gauges and float counters.

        From `rollover_at`, else from the register's width and the fixed scale; None where the device decides the
        scale, or the value is a sum.
        """
        if BY_NAME[self.quantity].kind is Kind.GAUGE:
            return None
        if self.rollover_at is not None:
            return self.rollover_at
        width = INTEGER_WIDTH_BITS.get(self.type)
        if width is None or self.scale_register is not None or self.parameters or self.plus:
            return None
        positive_bits = width if self.type.value[0] == "u" else width - 1
        return float(2**positive_bits) * self.scale

    @property
    def counter_count(self) -> float | None:
        """One count of the counter, in the quantity's unit; None for gauges and where it is not known."""
        if BY_NAME[self.quantity].kind is Kind.GAUGE:
            return None
        if self.count is not None or self.parameters:
            return self.count
        return abs(self.scale) if self.type in INTEGER_WIDTH_BITS else None
