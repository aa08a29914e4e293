"""The collectors of one process: one a connection, exchanged when the plant changes, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from emsd.collector import BoundMeter, Collector, CollectorFactory, Sink
from emsd.plant.connections import Connection
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import AssetKind, Meter
from emsd.plugins import collector_factory
from emsd.service.roles import Shard
from emsd.service.slot import Slot
from emsd.sun import rests_by_night

__all__ = ["Assignment", "Collection", "assignments", "resting_meters"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One connection and the meters to collect over it; two that are equal need no exchange."""

    connection: Connection
    meters: tuple[Meter, ...]
    bound: tuple[BoundMeter, ...] = field(compare=False)
    facts: tuple[object, ...] = ()
    """What else the collector goes by: meter ids, profiles and places."""


def assignments(loaded: LoadedPlant, meter_ids: Mapping[str, int], shard: Shard) -> dict[str, Assignment]:
    """Return what this part of the plant's collectors have to do, by connection; connections without meters do nothing.

    Meters carry the rating that plausibility goes by, which may stand at their asset.
    """
    site = loaded.plant.site
    resting = resting_meters(loaded)
    by_connection: dict[str, list[Meter]] = {}
    for meter in loaded.plant.meters:
        rated = meter.model_copy(update={"rated_power_kw": loaded.rated_power_kw(meter)})
        by_connection.setdefault(meter.connection, []).append(rated)

    def bound(meter: Meter) -> BoundMeter:
        return BoundMeter(meter_ids[meter.key], meter, loaded.profile_of(meter), may_rest=resting.get(meter.key))

    found: dict[str, Assignment] = {}
    for connection in loaded.plant.connections:
        meters = by_connection.get(connection.key)
        if meters and shard.owns(connection.key):
            of_connection = tuple(bound(meter) for meter in meters)
            facts = (
                *((each.meter_id, each.profile, each.may_rest is not None) for each in of_connection),
                (site.latitude, site.longitude),
            )
            found[connection.key] = Assignment(connection, tuple(meters), of_connection, facts)
    return found


def resting_meters(loaded: LoadedPlant) -> dict[str, Callable[[int], bool]]:
    """Return when each meter may be silent, by key: inverters that are fed by their modules alone, by night.

    The feeder's meter of an inverter is not among them, and none is where the site's place is not known.
    """
    site = loaded.plant.site
    if site.latitude is None or site.longitude is None:
        return {}
    by_night = rests_by_night(site.latitude, site.longitude)
    return {
        meter.key: by_night
        for meter in loaded.plant.meters
        if loaded.profile_of(meter).kind == "pv_inverter"
        and loaded.assets_by_key[meter.asset].kind is AssetKind.PV_INVERTER
    }


class Collection:
    """Runs the collectors of what is assigned; not reentrant."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        sink: Sink,
        on_failure: Callable[[str], None],
        factory_of: Callable[[str], CollectorFactory] = collector_factory,
    ) -> None:
        self._group = group
        self._sink = sink
        self._on_failure = on_failure
        self._factory_of = factory_of
        self._running: dict[str, tuple[Assignment, Collector, Slot]] = {}

    @property
    def collectors(self) -> Sequence[Collector]:
        """Those that run now."""
        return [collector for _, collector, _ in self._running.values()]

    def prepare(self, wanted: Mapping[str, Assignment]) -> dict[str, Collector]:
        """Build the collectors of all assignments that are new or have changed, without starting anything.

        Raises:
            ConfigurationError: a connection or a meter cannot be served.
        """
        return {
            key: self._factory_of(each.connection.kind)(each.connection, each.bound, self._sink)
            for key, each in wanted.items()
            if not self._does(key, each)
        }

    async def adopt(self, wanted: Mapping[str, Assignment], prepared: Mapping[str, Collector]) -> None:
        """Stop what is not wanted any more, start what `prepare` built, and leave everything else alone."""
        leaving = [key for key, (assignment, _, _) in self._running.items() if wanted.get(key) != assignment]
        async with asyncio.TaskGroup() as stopping:
            for key in leaving:
                stopping.create_task(self._running.pop(key)[2].stop(), name=f"stop collector {key}")
        for key, collector in prepared.items():
            slot = Slot(self._group, f"collector {key}", self._on_failure)
            slot.start(collector.run)
            self._running[key] = (wanted[key], collector, slot)
        if leaving or prepared:
            _log.info("collectors_changed", started=len(prepared), stopped=len(leaving), running=len(self._running))

    def _does(self, key: str, assignment: Assignment) -> bool:
        running = self._running.get(key)
        return running is not None and running[0] == assignment
