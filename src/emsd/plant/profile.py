"""How one device model speaks: its register map or payload mapping, as data.

Profiles are YAML files in folders; packages offer folders through the entry point group `emsd.profiles`, a plant adds
its own with `profile_folders`. Values are given in canonical units: `value = raw * scale * 10^(scale register) + add`.
Addresses are 0-based, as they travel on the wire, never a vendor's 1-based or 40001-based number.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emsd.quantities import BY_NAME, Kind, RunState

__all__ = [
    "ENERGY_COUNTERS",
    "INTEGER_WIDTH_BITS",
    "ModbusMap",
    "ModbusPoint",
    "MqttMap",
    "MqttTime",
    "MqttValue",
    "Profile",
    "RegisterType",
    "ScaleRegister",
    "Table",
]

ENERGY_COUNTERS = ("energy_import_kwh", "energy_export_kwh")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


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


class ScaleRegister(_Entry):
    """A register that holds a power of ten.

    Exactly one of `address` (absolute) and `offset` (within the point's SunSpec model) is given. With `divide` the
    value is raw / 10^code (decimal places), else raw * 10^code (SunSpec).
    """

    address: int | None = Field(default=None, ge=0, le=65535, description="PDU address.")
    offset: int | None = Field(default=None, ge=0, le=65535, description="Offset from the model's ID register.")
    divide: bool = Field(default=False, description="The register holds decimal places: raw / 10^code.")


class ModbusPoint(_Entry):
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


class ModbusMap(_Entry):
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


class MqttTime(_Entry):
    """Where a message carries its own time; without it the arrival counts."""

    path: str = Field(description="Path of the time in the payload.")
    format: Literal["iso8601", "epoch_s", "epoch_ms", "epoch_us"] = Field(description="How the time is written.")


class MqttValue(_Entry):
    """One quantity in a JSON payload.

    `path` is dotted keys with optional `[index]`; `[*]` takes every element of a list, and they are added.
    """

    quantity: str = Field(description="Canonical quantity that it delivers.")
    path: str = Field(description="Path of the value in the payload: dotted keys, [index] or [*].")
    scale: float = Field(default=1.0, description="Payload to canonical unit: factor.")
    add: float = Field(default=0.0, description="Payload to canonical unit: what is added after scaling.")
    required: bool = Field(default=False, description="A message without it is refused; else it is simply absent.")
    rollover_at: float | None = Field(default=None, gt=0, description="Counter modulus in the quantity's unit.")
    count: float | None = Field(default=None, gt=0, description="Resolution of a counter, in the quantity's unit.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.quantity not in BY_NAME:
            raise ValueError(f"quantity {self.quantity!r} is not in the vocabulary")
        return self


class MqttMap(_Entry):
    """How to understand a device's MQTT messages."""

    topic: str = Field(default="{topic}", description="Topic pattern; {topic} stands for the meter's own topic.")
    qos: Literal[0, 1] = Field(default=1, description="Quality of service of the subscription.")
    reporting: Literal["periodic", "by_exception"] = Field(
        default="periodic", description="Whether every message is complete, or carries only what changed."
    )
    time: MqttTime | None = Field(
        default=None, description="Where a message carries its own time; absent: its arrival counts."
    )
    values: tuple[MqttValue, ...] = Field(min_length=1, description="Quantities and their places in the payload.")


class _ProfileBase(_Entry):
    profile: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", description="Its name, as meters refer to it.")]
    kind: Literal[
        "power_meter",
        "pv_inverter",
        "compressor",
        "chiller",
        "flow_meter",
        "weather",
        "cleanroom_sensor",
        "generic",
    ] = Field(description="What kind of device it is.")
    manufacturer: str = Field(description="Who makes the device.")
    model: str = Field(description="Model name as on the device's plate.")
    source: tuple[str, ...] = Field(min_length=1, description="Where the facts come from.")
    unproven: tuple[str, ...] = Field(default=(), description="What no source states; check it when commissioning.")
    notes: tuple[str, ...] = Field(default=(), description="What whoever connects the device should know.")


class Profile(_ProfileBase):
    """One device model; it has a `modbus` map or an `mqtt` map."""

    modbus: ModbusMap | None = Field(default=None, description="Register map of a Modbus device.")
    mqtt: MqttMap | None = Field(default=None, description="Payload mapping of an MQTT device.")

    @model_validator(mode="after")
    def _one_map(self) -> Self:
        if (self.modbus is None) == (self.mqtt is None):
            raise ValueError("a profile has either a modbus map or an mqtt map")
        return self

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the quantities it delivers, in the order of its map."""
        entries: tuple[ModbusPoint | MqttValue, ...] = (
            self.modbus.points if self.modbus else self.mqtt.values if self.mqtt else ()
        )
        return tuple(entry.quantity for entry in entries)

    @property
    def measures_energy(self) -> bool:
        """Whether it delivers an energy counter, or the active power that stands in for one."""
        return any(name in self.quantities for name in (*ENERGY_COUNTERS, "active_power_kw"))

    def counter_modulus(self, quantity: str) -> float | None:
        """Return where counter `quantity` starts again from 0, in its unit, or None when that is not known."""
        for point in self.modbus.points if self.modbus else ():
            if point.quantity == quantity:
                return point.counter_modulus
        for value in self.mqtt.values if self.mqtt else ():
            if value.quantity == quantity:
                return value.rollover_at
        return None

    def counter_count(self, quantity: str) -> float | None:
        """Return one count of counter `quantity`, in its unit, or None when that is not known."""
        for point in self.modbus.points if self.modbus else ():
            if point.quantity == quantity:
                return point.counter_count
        for value in self.mqtt.values if self.mqtt else ():
            if value.quantity == quantity:
                return value.count
        return None
