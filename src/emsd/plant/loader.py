"""A plant's files read into one `LoadedPlant`: YAML, CSV lists of meters, profiles and environment variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from emsd.errors import Fault, PlantError
from emsd.plant.check_alarms import alarm_warnings
from emsd.plant.check_carbon import carbon_warnings
from emsd.plant.check_connections import connection_warnings
from emsd.plant.check_meters import meter_warnings
from emsd.plant.check_tariff import tariff_warnings
from emsd.plant.derived import DERIVED_QUANTITIES, AnyMeter, all_meters, watched_meters
from emsd.plant.draft import AnyAlarm, AnyConnection, Draft, Surroundings, understand
from emsd.plant.meters_csv import MeterRow, read_meters_csv
from emsd.plant.models import Area, Asset, Meter, Plant, ThresholdAlarm
from emsd.plant.named_paths import named_path
from emsd.plant.products_csv import read_products
from emsd.plant.profile import Profile
from emsd.plant.profiles import ProfileLibrary, read_profiles
from emsd.plant.source import Finding, Place, Source, in_order
from emsd.plant.tariff_csv import read_dynamic_prices
from emsd.plant.tree import ancestors
from emsd.plant.validate import validate
from emsd.plant.virtual_meters import VirtualMeter
from emsd.plant.yaml_source import read_yaml

__all__ = ["COLLECTOR_GROUP", "LoadedPlant", "load_plant"]

COLLECTOR_GROUP: Final = "emsd.collectors"


@dataclass(frozen=True)
class LoadedPlant:
    """A valid plant with every profile available to it, and what is worth a warning."""

    plant: Plant
    profiles: Mapping[str, Profile]
    path: Path
    warnings: tuple[Fault, ...] = ()

    @cached_property
    def areas_by_key(self) -> Mapping[str, Area]:
        """Areas by key."""
        return MappingProxyType({area.key: area for area in self.plant.areas})

    @cached_property
    def assets_by_key(self) -> Mapping[str, Asset]:
        """Assets by key."""
        return MappingProxyType({asset.key: asset for asset in self.plant.assets})

    @cached_property
    def connections_by_key(self) -> Mapping[str, AnyConnection]:
        """Connections by key."""
        return MappingProxyType({connection.key: connection for connection in self.plant.connections})

    @cached_property
    def meters_by_key(self) -> Mapping[str, Meter]:
        """Meters by key."""
        return MappingProxyType({meter.key: meter for meter in self.plant.meters})

    @cached_property
    def virtual_meters_by_key(self) -> Mapping[str, VirtualMeter]:
        """Virtual meters by key."""
        return MappingProxyType({meter.key: meter for meter in self.plant.virtual_meters})

    @cached_property
    def numbered_keys(self) -> tuple[str, ...]:
        """Keys of all that has a number in the database: meters, and virtual ones."""
        return tuple(meter.key for meter in all_meters(self.plant))

    @cached_property
    def area_parents(self) -> Mapping[str, str | None]:
        """The area above each area, None at the top of the site."""
        return MappingProxyType({area.key: area.parent for area in self.plant.areas})

    def profile_of(self, meter: Meter) -> Profile:
        """Return the profile of a meter."""
        return self.profiles[meter.profile]

    def measures_energy(self, meter: Meter) -> bool:
        """Whether the meter delivers an energy counter or active power."""
        return self.profile_of(meter).measures_energy

    def rated_power_kw(self, meter: Meter) -> float | None:
        """Return the largest plausible power of a meter [kW]: its own, else its asset's, else None."""
        if meter.rated_power_kw is not None:
            return meter.rated_power_kw
        return self.assets_by_key[meter.asset].rated_power_kw

    def stage_of_area(self, area_key: str) -> str | None:
        """Return the production stage of an area: its own, else that of the nearest area above that has one."""
        for key in (area_key, *ancestors(area_key, self.area_parents)):
            stage = self.areas_by_key[key].stage
            if stage is not None:
                return stage
        return None

    def meters_of_asset(self, asset_key: str) -> tuple[Meter, ...]:
        """Return the meters of an asset."""
        return tuple(meter for meter in self.plant.meters if meter.asset == asset_key)

    def meters_of_connection(self, connection_key: str) -> tuple[Meter, ...]:
        """Return the meters that are read over a connection."""
        return tuple(meter for meter in self.plant.meters if meter.connection == connection_key)

    def meters_of_alarm(self, alarm: AnyAlarm) -> tuple[AnyMeter, ...]:
        """Return the meters that an alarm watches.

        Those that it lists, and those of its asset kind; of these a threshold takes only the ones that deliver its
        quantity, because a compressor's feeder has no pressure. A stale alarm with neither watches every meter, save
        those that report by exception: their silence is no fault.
        """
        if isinstance(alarm, ThresholdAlarm) and alarm.quantity in DERIVED_QUANTITIES:
            return tuple(watched_meters(alarm, self.plant, self.profiles))
        everything = not alarm.meters and alarm.asset_kind is None

        def watched(meter: Meter) -> bool:
            if meter.key in alarm.meters:
                return True
            if everything:
                return not self.profile_of(meter).reports_by_exception
            if alarm.asset_kind is None or self.assets_by_key[meter.asset].kind is not alarm.asset_kind:
                return False
            return not isinstance(alarm, ThresholdAlarm) or alarm.quantity in self.profile_of(meter).quantities

        return tuple(meter for meter in self.plant.meters if watched(meter))


def load_plant(path: Path, *, environ: Mapping[str, str], profiles: Mapping[str, Profile] | None = None) -> LoadedPlant:
    """Return the plant that the YAML file `path` describes, with its CSV lists merged in and `${NAME}` replaced.

    `profiles` stands in for those of the installed packages and of the plant's folders.

    Raises:
        PlantError: all faults of all files, in order of file and line.
    """
    yaml, findings = read_yaml(path, environ=environ)
    lists = _read_lists(yaml, path.parent)
    folders, folder_findings = _existing(yaml, "profile_folders", path.parent, Path.is_dir, "a folder")
    library = read_profiles(folders) if profiles is None else ProfileLibrary(dict(profiles))
    surroundings = Surroundings(
        profiles=library.profiles,
        broken_profiles=library.broken,
        collector_kinds={entry_point.name for entry_point in metadata.entry_points(group=COLLECTOR_GROUP)},
        all_meters_read=lists.complete,
    )
    prices = read_dynamic_prices(_with_rows(yaml, lists.rows), path.parent)
    products = read_products(prices.source, path.parent)
    source = products.source
    findings = [*findings, *lists.findings, *folder_findings, *prices.findings, *products.findings]
    plant, faults = validate(source, surroundings, findings)
    faults = in_order([*lists.faults, *library.faults, *prices.faults, *products.faults, *faults])
    if faults or plant is None:
        raise PlantError(faults)
    warnings = _warnings(understand(source, surroundings, plant))
    return LoadedPlant(plant, MappingProxyType(library.profiles), path, in_order([*library.notes, *warnings]))


def _warnings(draft: Draft) -> Iterator[Fault]:
    for finding in (
        *connection_warnings(draft),
        *meter_warnings(draft),
        *alarm_warnings(draft),
        *carbon_warnings(draft),
        *tariff_warnings(draft),
    ):
        yield draft.source.fault(finding)


def _existing(
    source: Source, field: str, folder: Path, exists: Callable[[Path], bool], what: str
) -> tuple[list[Path], list[Finding]]:
    """Return the paths that a list at the top of the document names, and findings for those that are not `what`.

    What is not text is left to the models.
    """
    paths: list[Path] = []
    findings: list[Finding] = []
    listed = source.data.get(field) if isinstance(source.data, dict) else None
    for index in range(len(listed) if isinstance(listed, list) else 0):
        path = named_path(source, (field, index), folder, findings, what=what, exists=exists)
        if path is not None:
            paths.append(path)
    return paths, findings


@dataclass(slots=True)
class _Lists:
    """The rows of all CSV lists, what is wrong with them, and whether every list could be read."""

    rows: list[MeterRow]
    faults: list[Fault]
    findings: list[Finding]
    complete: bool


def _read_lists(source: Source, folder: Path) -> _Lists:
    paths, findings = _existing(source, "meters_csv", folder, Path.is_file, "a file")
    lists = _Lists([], [], findings, complete=not findings)
    for path in paths:
        try:
            rows, faults = read_meters_csv(path)
        except PlantError as error:
            lists.faults.extend(error.faults)
            lists.complete = False
        else:
            lists.rows.extend(rows)
            lists.faults.extend(faults)
    return lists


def _with_rows(source: Source, rows: list[MeterRow]) -> Source:
    """Return the source with the rows of CSV lists as further meters, each with its own file and line."""
    if not rows or not isinstance(source.data, dict):
        return source
    written: Any = source.data.get("meters")
    if written is not None and not isinstance(written, list):
        return source
    meters: list[Any] = list(written or [])
    places = dict(source.places)
    for row in rows:
        index = len(meters)
        meters.append(row.data)
        places["meters", index] = row.place
        for name in row.data:
            places["meters", index, name] = Place(row.file, row.line, name)
    return Source(source.file, {**source.data, "meters": meters}, places, source.written)
