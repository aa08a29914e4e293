"""Faults by the clock and by chance: what a file, or the control API, may say, and the faults that it stands for."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from emsd.errors import ConfigurationError, PlantError
from emsd.plant.entry import Entry, Key
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.source import in_order
from emsd.plant.sparkplug_connection import SparkplugConnection
from emsd.plant.translate import translate
from emsd.plant.yaml_source import read_yaml
from emsd.readings import instant_us
from simulator.counter_faults import Face
from simulator.endpoints import as_modbus, carrier_of
from simulator.fault_kinds import KINDS, Carrier, FaultKind, Layer
from simulator.faults import DeviceFault
from simulator.personality import PersonalityEntry
from simulator.truth import SimulatedPlant

__all__ = ["FaultEntry", "RandomFaults", "Schedule", "planned", "read_schedule"]

_LAST_US: Final = instant_us(datetime(9999, 1, 1, tzinfo=UTC))
"""Beyond it a time cannot be written down."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]


class FaultEntry(Entry):
    """One fault as a person writes it; with neither `from` nor `after_s` it begins at once."""

    kind: str = Field(description="Kind of fault; `emsd simulate fault kinds` lists them.")
    meter: Key | None = Field(default=None, description="The meter that it happens to.")
    connection: Key | None = Field(default=None, description="Or the connection, with every meter of it.")
    unit_id: int | None = Field(default=None, ge=0, le=255, description="Or one unit of the connection.")
    from_: AwareDatetime | None = Field(default=None, alias="from", description="When it begins.")
    until: AwareDatetime | None = Field(default=None, description="When it ends; absent: when it is removed.")
    after_s: Seconds | None = Field(default=None, description="Instead of `from`: so long after the start [s].")
    for_s: Seconds | None = Field(default=None, description="Instead of `until`: how long it lasts [s].")
    parameters: dict[str, Annotated[float, Field(strict=True)] | str] = Field(
        default_factory=dict, description="What shapes it."
    )
    seed: int = Field(default=1, description="Another number, another chance.")

    @model_validator(mode="after")
    def _one_begin_and_end(self) -> Self:
        if self.from_ is not None and self.after_s is not None:
            raise ValueError("from and after_s both say when it begins; give one of them")
        if self.until is not None and self.for_s is not None:
            raise ValueError("until and for_s both say when it ends; give one of them")
        if self.unit_id is not None and self.connection is None:
            raise ValueError("a unit_id needs its connection")
        return self

    def fault(self, plant: SimulatedPlant, start_us: int) -> DeviceFault:
        """Return the fault that is meant, its times counted from `start_us`.

        Raises:
            ConfigurationError: it cannot be.
        """
        begin_us = start_us if self.from_ is None else _us(self.from_)
        begin_us += round((self.after_s or 0.0) * 1e6)
        end_us = None if self.until is None else _us(self.until)
        if self.for_s is not None:
            end_us = begin_us + round(self.for_s * 1e6)
        for what, at_us in (("begins", begin_us), ("ends", end_us)):
            if at_us is not None and at_us > _LAST_US:
                raise ConfigurationError(f"fault {self.kind} {what} after the year 9998; let it do so earlier")
        meter, connection = self.meter, self.connection
        if self.unit_id is not None:
            meter, connection = _meter_of_unit(plant, self.connection, self.unit_id), None
        return DeviceFault(self.kind, begin_us, end_us, meter, connection, self.parameters, self.seed)


class RandomFaults(Entry):
    """Faults by chance: the same seed, plant and start make the same ones."""

    seed: int = Field(default=1, description="Another number, other faults.")
    per_hour: float = Field(default=12.0, gt=0, le=36_000, description="How many begin in an hour, on average.")
    hours: float = Field(default=24.0, gt=0, le=8784, description="For how long faults begin [h].")
    shortest_s: Seconds = Field(default=5.0, description="How long a fault lasts, at least [s].")
    longest_s: Seconds = Field(default=120.0, description="At most [s].")
    kinds: tuple[str, ...] = Field(default=(), description="Only these kinds; absent: all that the plant can have.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 < self.shortest_s <= self.longest_s:
            raise ValueError("shortest_s is more than 0 and at most longest_s")
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown:
            raise ValueError(f"there is no fault {', '.join(unknown)}")
        return self

    def faults(self, plant: SimulatedPlant, start_us: int, relayed: Collection[str] = ()) -> Iterator[DeviceFault]:
        """Draw the faults of a plant from a start on, in order of time: a Poisson process.

        Raises:
            ConfigurationError: the plant can have none of the kinds.
        """
        chance = random.Random(self.seed)  # noqa: S311  (the same seed makes the same plant)
        choices = {
            name: found
            for name, kind in KINDS.items()
            if (not self.kinds or name in self.kinds) and (found := _targets(kind, plant, start_us, relayed))
        }
        if not choices:
            raise ConfigurationError(f"this plant can have no fault of the kinds {', '.join(self.kinds)}; name others")
        at_us, end_us = start_us, start_us + self.hours * 3.6e9
        while True:
            at_us += round(chance.expovariate(self.per_hour / 3600.0) * 1e6)
            if at_us >= end_us:
                return
            name = chance.choice(list(choices))
            meter, connection = chance.choice(choices[name])
            lasts_us = round(chance.uniform(self.shortest_s, self.longest_s) * 1e6)
            until_us = None if KINDS[name].is_step else at_us + lasts_us
            yield DeviceFault(name, at_us, until_us, meter, connection, seed=chance.randrange(2**31))


class Schedule(Entry):
    """What a file of faults says."""

    personalities: tuple[PersonalityEntry, ...] = Field(default=(), description="How devices behave, all the time.")
    faults: tuple[FaultEntry, ...] = Field(default=(), description="Faults by the clock.")
    random: RandomFaults | None = Field(default=None, description="Faults by chance.")


def planned(
    schedule: Schedule, plant: SimulatedPlant, start_us: int, relayed: Collection[str] = ()
) -> list[DeviceFault]:
    """Return every fault of a schedule for a simulator that starts at an instant.

    relayed  connections whose broker the simulator can let fail

    Raises:
        ConfigurationError: one of them cannot be.
    """
    written = [entry.fault(plant, start_us) for entry in schedule.faults]
    return [*written, *(schedule.random.faults(plant, start_us, relayed) if schedule.random else ())]


def read_schedule(path: Path) -> Schedule:
    """Read a schedule from a YAML file.

    Raises:
        PlantError: it cannot be read or is wrong, with file, line and cure.
    """
    source, findings = read_yaml(path)
    try:
        schedule = Schedule.model_validate({} if source.data is None else source.data)
    except ValidationError as error:
        findings = [*findings, *translate(error, source, Schedule)]
        raise PlantError(in_order(source.fault(each) for each in findings)) from None
    if findings:
        raise PlantError(in_order(source.fault(each) for each in findings))
    return schedule


def _targets(
    kind: FaultKind, plant: SimulatedPlant, start_us: int, relayed: Collection[str]
) -> list[tuple[str | None, str | None]]:
    """Return (meter, connection) of everything in a plant that can have a kind of fault."""
    lines = [line for line in map(as_modbus, plant.plant.connections) if line and carrier_of(line) in kind.carriers]
    modbus = {line.key for line in lines}
    brokers = set(relayed) if Carrier.BROKER in kind.carriers else set()
    if kind.of_connection:
        return [(None, key) for key in sorted(modbus | brokers)]
    if kind.layer is Layer.WIRE:
        meters = (each.key for each in plant.plant.meters if each.connection in modbus)
        return [*((key, None) for key in meters), *((None, key) for key in sorted(brokers))]
    if kind.layer is Layer.MESSAGE:
        brokers = {
            each.key for each in plant.plant.connections if isinstance(each, MqttConnection | SparkplugConnection)
        }
        return [(each.key, None) for each in plant.plant.meters if each.connection in brokers]
    return [(key, None) for key in plant.meters if _can_show(kind.name, plant, key, start_us)]


def _can_show(kind: str, plant: SimulatedPlant, meter_key: str, start_us: int) -> bool:
    try:
        Face(plant, meter_key, [DeviceFault(kind, start_us, meter=meter_key)])
    except ConfigurationError:
        return False
    return True


def _meter_of_unit(plant: SimulatedPlant, connection: str | None, unit_id: int) -> str:
    for meter in plant.plant.meters:
        if meter.connection == connection and (1 if meter.unit_id is None else meter.unit_id) == unit_id:
            return meter.key
    raise ConfigurationError(f"connection {connection} has no unit {unit_id} in this plant; correct it")


def _us(time: datetime) -> int:
    return instant_us(time)
