"""How a Modbus device speaks: its register map, as data.

Values are given in canonical units: `value = raw * scale * 10^(scale register) + add`. Addresses are 0-based, as they
travel on the wire, never a vendor's 1-based or 40001-based number.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry
from emsd.plant.modbus_point import Case, Choice, ModbusPoint, ScaleRegister
from emsd.plant.registers import INTEGER_WIDTH_BITS, RegisterType, Table
from emsd.plant.sunspec_map import SunspecPoint

__all__ = [
    "INTEGER_WIDTH_BITS",
    "Case",
    "Choice",
    "ForbiddenRange",
    "IdentityRegister",
    "ModbusMap",
    "ModbusPoint",
    "Parameter",
    "RegisterType",
    "ScaleRegister",
    "Table",
]


class Parameter(Entry):
    """A setting of the device that its points depend on: a transformer ratio, a unit code, a resolution flag.

    Read after each connect and again every `interval_s`, never assumed. A point whose parameter is not known yet is not
    available.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="How points refer to it.")]
    table: Table = Field(default=Table.HOLDING, description="Table of the device that holds it.")
    address: int = Field(ge=0, le=65535, description="PDU address of its first register.")
    type: RegisterType = Field(description="What its registers hold.")
    bits: tuple[int, int] | None = Field(
        default=None, description="First and last bit of a field, 0 = least significant."
    )
    scale: float = Field(default=1.0, description="Raw to its value: factor.")
    minimum: float | None = Field(default=None, description="Smallest value that is believed.")
    maximum: float | None = Field(default=None, description="Largest value that is believed.")
    interval_s: float = Field(default=60.0, gt=0, description="Time between two readings of it [s].")


class ForbiddenRange(Entry):
    """Registers that must never be read, not even as part of a larger block."""

    table: Table = Field(default=Table.HOLDING, description="Table of the device that holds them.")
    first: int = Field(ge=0, le=65535, description="PDU address of the first of them.")
    last: int = Field(ge=0, le=65535, description="PDU address of the last of them.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last {self.last} is before first {self.first}")
        return self


class IdentityRegister(Entry):
    """Where a device says who it is; read at connect, so that a swapped or wrong device is noticed."""

    what: Literal["serial", "model", "firmware"] = Field(description="What stands there.")
    table: Table = Field(default=Table.HOLDING, description="Table of the device that holds it.")
    address: int = Field(ge=0, le=65535, description="PDU address of its first register.")
    type: RegisterType | Literal["text"] = Field(description="A number, or text of two characters a register.")
    registers: int | None = Field(default=None, ge=1, le=125, description="Length of a text.")
    expect: str | None = Field(
        default=None, description="Regular expression that the whole value must match; else it is another device."
    )

    @model_validator(mode="after")
    def _length(self) -> Self:
        if (self.type == "text") != (self.registers is not None):
            raise ValueError("a text needs its length in registers, and a number has none")
        if self.expect is not None:
            try:
                re.compile(self.expect)
            except re.error as error:
                raise ValueError(f"expect is not a regular expression: {error}") from None
        return self

    @property
    def length(self) -> int:
        """How many registers it takes."""
        return self.registers if self.registers is not None else RegisterType(self.type).registers


class ModbusMap(Entry):
    """How to read a Modbus device."""

    word_order: Literal["big", "little"] = Field(
        default="big", description="little: least significant word first (CDAB)."
    )
    byte_order: Literal["big", "little"] = Field(default="big", description="little: bytes swapped inside a register.")
    max_registers: int = Field(default=125, ge=1, le=125, description="Largest read the device answers.")
    max_gap_registers: int = Field(default=16, ge=0, le=124, description="Holes up to this size are read through.")
    align_registers: int = Field(
        default=1, ge=1, le=4, description="Start and length of every read are multiples of this."
    )
    forbidden: tuple[ForbiddenRange, ...] = Field(default=(), description="Registers that are never read.")
    response_time_s: float | None = Field(
        default=None, gt=0, le=60, description="Typical time from request to answer, to predict bus cycles [s]."
    )
    refresh_s: float | None = Field(
        default=None, gt=0, description="How often the device renews its values; polling faster is waste [s]."
    )
    frozen_after_s: float | None = Field(
        default=None, gt=0, description="Bit for bit equal answers under load for this long are not believed [s]."
    )
    parameters: tuple[Parameter, ...] = Field(default=(), description="Settings of the device that points depend on.")
    identity: tuple[IdentityRegister, ...] = Field(default=(), description="Where the device says who it is.")
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
    points: tuple[ModbusPoint, ...] = Field(default=(), description="Quantities and their registers.")
    sunspec: tuple[SunspecPoint, ...] = Field(
        default=(), description="Quantities by the names of their points in SunSpec models, found by discovery."
    )

    @property
    def delivered(self) -> tuple[ModbusPoint | SunspecPoint, ...]:
        """Every quantity of the map with its place: at an address, or in a SunSpec model."""
        return (*self.points, *self.sunspec)

    @model_validator(mode="after")
    def _each_quantity_once(self) -> Self:
        names = [point.quantity for point in self.delivered]
        if not names:
            raise ValueError("the map has no points")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"quantity {', '.join(twice)} stands at more than one point")
        by_model = self.sunspec or any(point.model is not None for point in self.points)
        if by_model and not self.sunspec_bases:
            raise ValueError("points by SunSpec model need sunspec_bases")
        return self

    @model_validator(mode="after")
    def _parameters_known(self) -> Self:
        known = [parameter.name for parameter in self.parameters]
        twice = sorted({name for name in known if known.count(name) > 1})
        if twice:
            raise ValueError(f"parameter {', '.join(twice)} stands there more than once")
        for point in self.points:
            unknown = sorted(set(point.parameters) - set(known))
            if unknown:
                raise ValueError(f"{point.quantity} depends on {', '.join(unknown)}, which is not among the parameters")
        return self
