"""What is computed of energy meters every minute, and the derived meters that it is filed under.

Every energy meter, real or virtual, has a derived meter beside it in the database. Its key is the meter's with
`:derived` after it, which no key that a person writes can look like; its number is the meter's plus DERIVED_OFFSET, so
whoever knows the meter knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from emsd.plant.models import AssetKind, Meter, Plant, ThresholdAlarm
from emsd.plant.profile import ENERGY_COUNTERS, Profile
from emsd.plant.virtual_meters import VirtualMeter

__all__ = [
    "BAND_QUANTITIES",
    "COUNTER_POWER_DEVIATION",
    "DEMAND_QUANTITIES",
    "DERIVED_OFFSET",
    "DERIVED_QUANTITIES",
    "RESIDUAL_QUANTITIES",
    "AnyMeter",
    "all_meters",
    "children_of_buses",
    "derived_key",
    "derived_meter_id",
    "derived_quantities",
    "energy_meters",
    "is_derived",
    "limits_of",
    "watched_meters",
]

AnyMeter: TypeAlias = Meter | VirtualMeter

DERIVED_OFFSET: Final = 500_000
"""Numbers of a site's meters stay below it, within the site's million."""

RESIDUAL_QUANTITIES: Final = ("residual_kw", "residual_percent")
"""Of every bus: an energy meter with others below it."""
COUNTER_POWER_DEVIATION: Final = "counter_power_deviation_percent"
"""Of every meter that counts energy and measures power in fixed steps."""
DEMAND_QUANTITIES: Final = ("demand_kw", "demand_forecast_kw", "demand_headroom_kw", "demand_minutes_left")
"""Of the meters whose demand is watched."""
DERIVED_QUANTITIES: Final = frozenset({*RESIDUAL_QUANTITIES, COUNTER_POWER_DEVIATION, *DEMAND_QUANTITIES})
BAND_QUANTITIES: Final = frozenset(RESIDUAL_QUANTITIES)
"""Those of which a meter may say what is usual; an alarm without limits goes by that."""


def derived_key(meter_key: str) -> str:
    """Return the key of the derived meter that belongs to a meter."""
    return f"{meter_key}:derived"


def derived_meter_id(meter_id: int) -> int:
    """Return the number of the derived meter that belongs to a meter."""
    return meter_id + DERIVED_OFFSET


def is_derived(meter_id: int) -> bool:
    """Whether a number is that of a derived meter."""
    return meter_id % (2 * DERIVED_OFFSET) > DERIVED_OFFSET


def all_meters(plant: Plant) -> list[AnyMeter]:
    """Return the meters of a plant, and the virtual ones."""
    return [*plant.meters, *plant.virtual_meters]


def energy_meters(
    meters: Iterable[Meter], virtual: Iterable[VirtualMeter], profiles: Mapping[str, Profile]
) -> list[AnyMeter]:
    """Return the meters that measure energy, and the virtual ones."""
    real = (meter for meter in meters if meter.profile in profiles and profiles[meter.profile].measures_energy)
    return [*real, *virtual]


def children_of_buses(
    meters: Iterable[Meter], virtual: Iterable[VirtualMeter], profiles: Mapping[str, Profile]
) -> dict[str, list[str]]:
    """Return the keys of the energy meters directly below each meter that has some, by its key.

    A virtual meter stands below its parent only when it counts: else its energy is that of others there.
    """
    below: dict[str, list[str]] = {}
    for meter in energy_meters(meters, virtual, profiles):
        if meter.parent is not None and (isinstance(meter, Meter) or meter.counts):
            below.setdefault(meter.parent, []).append(meter.key)
    return below


def derived_quantities(
    meters: Iterable[Meter], virtual: Iterable[VirtualMeter], profiles: Mapping[str, Profile]
) -> dict[str, frozenset[str]]:
    """Return which derived quantities each energy meter may have, by its key.

    A meter that reports by exception is not compared with itself: the mean of what it reports is none over time.
    """
    meters, virtual = tuple(meters), tuple(virtual)
    buses = children_of_buses(meters, virtual, profiles)
    found: dict[str, frozenset[str]] = {}
    for meter in energy_meters(meters, virtual, profiles):
        names = {*DEMAND_QUANTITIES, *(RESIDUAL_QUANTITIES if meter.key in buses else ())}
        if isinstance(meter, Meter) and _has_counter_and_power(profiles[meter.profile]):
            names.add(COUNTER_POWER_DEVIATION)
        found[meter.key] = frozenset(names)
    return found


def limits_of(alarm: ThresholdAlarm, meter: AnyMeter) -> tuple[float | None, float | None]:
    """Return above and below of an alarm at one meter: its own limits, else the meter's band; (None, None): neither."""
    if alarm.above is not None or alarm.below is not None or meter.residual is None:
        return alarm.above, alarm.below
    residual = meter.residual
    band = {"residual_kw": residual.band_kw, "residual_percent": residual.band_percent}.get(alarm.quantity)
    return (None, None) if band is None else (band[1], band[0])


def watched_meters(alarm: ThresholdAlarm, plant: Plant, profiles: Mapping[str, Profile]) -> list[AnyMeter]:
    """Return the energy meters that an alarm on a derived quantity watches, in the order of the plant.

    Those that it names, those of its asset kind that have the quantity, or with neither all that have it. Of meters
    that it does not name only those are watched for which there is a limit.
    """
    have = derived_quantities(plant.meters, plant.virtual_meters, profiles)
    kinds: Mapping[str, AssetKind] = {asset.key: asset.kind for asset in plant.assets}
    everywhere = not alarm.meters and alarm.asset_kind is None

    def watched(meter: AnyMeter) -> bool:
        if meter.key in alarm.meters:
            return True
        meant = everywhere or (alarm.asset_kind is not None and kinds[meter.asset] is alarm.asset_kind)
        return meant and alarm.quantity in have[meter.key] and limits_of(alarm, meter) != (None, None)

    return [meter for meter in energy_meters(plant.meters, plant.virtual_meters, profiles) if watched(meter)]


def _has_counter_and_power(profile: Profile) -> bool:
    has_counter = any(name in profile.quantities for name in ENERGY_COUNTERS)
    return has_counter and "active_power_kw" in profile.quantities and not profile.reports_by_exception
