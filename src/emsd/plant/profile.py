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
from emsd.plant.sparkplug_map import SparkplugMap, SparkplugValue
from emsd.plant.sunspec_map import SunspecPoint

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
    """One device model; it has a `modbus`, an `mqtt` or a `sparkplug` map."""

    modbus: ModbusMap | None = Field(default=None, description="Register map of a Modbus device.")
    mqtt: MqttMap | None = Field(default=None, description="Payload mapping of an MQTT device.")
    sparkplug: SparkplugMap | None = Field(default=None, description="Metrics of a Sparkplug B device.")

    @model_validator(mode="after")
    def _one_map(self) -> Self:
        if sum(each is not None for each in (self.modbus, self.mqtt, self.sparkplug)) != 1:
            raise ValueError("a profile has either a modbus map or an mqtt map or a sparkplug map")
        return self

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the quantities it delivers, in the order of its map."""
        entries: tuple[ModbusPoint | SunspecPoint | MqttValue | SparkplugValue, ...] = (
            self.modbus.delivered if self.modbus else self.published
        )
        return tuple(entry.quantity for entry in entries)

    @property
    def reports_by_exception(self) -> bool:
        """Whether its messages carry only what changed, so that its silence is no fault."""
        published = self.mqtt or self.sparkplug
        return published is not None and published.reporting == "by_exception"

    @property
    def measures_energy(self) -> bool:
        """Whether it delivers an energy counter, or the active power that stands in for one."""
        return any(name in self.quantities for name in (*ENERGY_COUNTERS, "active_power_kw"))

    def counter_modulus(self, quantity: str) -> float | None:
        """Return where counter `quantity` starts again from 0, in its unit, or None when that is not known."""
        for point in self.modbus.delivered if self.modbus else ():
            if point.quantity == quantity:
                return point.counter_modulus
        for value in self.published:
            if value.quantity == quantity:
                return value.rollover_at
        return None

    def counter_count(self, quantity: str) -> float | None:
        """Return one count of counter `quantity`, in its unit, or None when that is not known."""
        for point in self.modbus.delivered if self.modbus else ():
            if point.quantity == quantity:
                return point.counter_count
        for value in self.published:
            if value.quantity == quantity:
                return value.count
        return None

    @property
    def published(self) -> tuple[MqttValue | SparkplugValue, ...]:
        """What its messages hold; empty for a Modbus device."""
        return self.mqtt.every_value if self.mqtt else self.sparkplug.values if self.sparkplug else ()
