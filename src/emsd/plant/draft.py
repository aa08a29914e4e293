"""A plant that may still be wrong: whatever of it can be understood, so that all faults are found in one go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from emsd.plant.connections import Connection, ForeignConnection
from emsd.plant.modbus_connections import ModbusConnection
from emsd.plant.models import (
    Alarm,
    Area,
    Asset,
    CarbonFactorEntry,
    Meter,
    NotificationTarget,
    Plant,
    Site,
    StaleAlarm,
    ThresholdAlarm,
)
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.profile import Profile
from emsd.plant.source import Finding, Source, Where
from emsd.plant.sparkplug_connection import SparkplugConnection
from emsd.plant.tariff import Tariff
from emsd.plant.virtual_meters import VirtualMeter

__all__ = ["AnyAlarm", "AnyConnection", "Draft", "Surroundings", "understand"]

AnyConnection = ModbusConnection | MqttConnection | SparkplugConnection | ForeignConnection
AnyAlarm = ThresholdAlarm | StaleAlarm
_Model = TypeVar("_Model", bound=BaseModel)

_ENTRIES: Final[Mapping[str, TypeAdapter[Any]]] = {
    "areas": TypeAdapter(Area),
    "assets": TypeAdapter(Asset),
    "connections": TypeAdapter(Connection),
    "meters": TypeAdapter(Meter),
    "virtual_meters": TypeAdapter(VirtualMeter),
    "alarms": TypeAdapter(Alarm),
    "carbon_factors": TypeAdapter(CarbonFactorEntry),
    "tariffs": TypeAdapter(Tariff),
    "notification_targets": TypeAdapter(NotificationTarget),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plant may refer to outside its own files.

    `broken_profiles` are names of profiles with faults of their own, and `all_meters_read` is False when a list of
    meters could not be read: what may be in them is not reported as missing.
    """

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    broken_profiles: AbstractSet[str] = frozenset()
    collector_kinds: AbstractSet[str] = frozenset()
    all_meters_read: bool = True


@dataclass(slots=True)
class Draft:
    """The entries that can be understood, by their place in the list, and everything written, as plain data."""

    source: Source
    site: Site | None = None
    surroundings: Surroundings = field(default_factory=Surroundings)
    entries: dict[str, dict[int, Any]] = field(default_factory=dict)

    def written(self, section: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the entries of a section as they were written, valid or not."""
        entries = self.source.data.get(section) if isinstance(self.source.data, dict) else None
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict):
                yield index, entry

    def keys(self, section: str) -> dict[str, int]:
        """Return every key that a section defines, and the place of its first entry."""
        found: dict[str, int] = {}
        for index, entry in self.written(section):
            if isinstance(entry.get("key"), str):
                found.setdefault(entry["key"], index)
        return found

    @property
    def meters(self) -> dict[int, Meter]:
        """Valid meters by place."""
        return self.entries.get("meters", {})

    @property
    def virtual_meters(self) -> dict[int, VirtualMeter]:
        """Valid virtual meters by place."""
        return self.entries.get("virtual_meters", {})

    @property
    def connections(self) -> dict[int, AnyConnection]:
        """Valid connections by place."""
        return self.entries.get("connections", {})

    @property
    def alarms(self) -> dict[int, AnyAlarm]:
        """Valid alarms by place."""
        return self.entries.get("alarms", {})

    @property
    def assets(self) -> dict[int, Asset]:
        """Valid assets by place."""
        return self.entries.get("assets", {})

    @property
    def carbon_factors(self) -> dict[int, CarbonFactorEntry]:
        """Valid carbon factors by place."""
        return self.entries.get("carbon_factors", {})

    @property
    def tariffs(self) -> dict[int, Tariff]:
        """Valid tariffs by place."""
        return self.entries.get("tariffs", {})

    def profile_of(self, meter: Meter) -> Profile | None:
        """Return the profile of a meter, or None when there is no such profile."""
        return self.surroundings.profiles.get(meter.profile)


def understand(
    source: Source, surroundings: Surroundings, plant: Plant | None, findings: Iterable[Finding] = ()
) -> Draft:
    """Return a draft of the data in `source`.

    With a valid `plant` these are its entries. Else each entry is tried again without the fields that `findings` name,
    so that one wrong number does not hide a missing unit or a wrong reference in the same entry.
    """
    draft = Draft(source, surroundings=surroundings)
    if plant is not None:
        draft.site = plant.site
        draft.entries = {section: dict(enumerate(getattr(plant, section))) for section in _ENTRIES}
        return draft
    wrong = [finding.where for finding in findings]
    site = source.data.get("site") if isinstance(source.data, dict) else None
    draft.site = _tried(TypeAdapter(Site), site, ("site",), wrong)
    for section, adapter in _ENTRIES.items():
        tried = ((index, _tried(adapter, entry, (section, index), wrong)) for index, entry in draft.written(section))
        draft.entries[section] = {index: entry for index, entry in tried if entry is not None}
    return draft


def _tried(adapter: TypeAdapter[_Model], entry: Any, where: Where, wrong: list[Where]) -> _Model | None:
    if not isinstance(entry, dict):
        return None
    depth = len(where)
    bad = {each[depth] for each in wrong if len(each) > depth and each[:depth] == where}
    try:
        return adapter.validate_python({name: value for name, value in entry.items() if name not in bad})
    except ValidationError:
        return None
