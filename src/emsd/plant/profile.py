"""How one device model speaks: its register map or payload mapping, and where the facts come from.

Profiles are YAML files in folders; packages offer folders through the entry point group `emsd.profiles`, a plant adds
its own with `profile_folders`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry
from emsd.plant.modbus_map import ModbusMap, ModbusPoint
from emsd.plant.mqtt_map import MqttMap, MqttValue

__all__ = ["ENERGY_COUNTERS", "Profile"]

ENERGY_COUNTERS = ("energy_import_kwh", "energy_export_kwh")


class _ProfileBase(Entry):
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
