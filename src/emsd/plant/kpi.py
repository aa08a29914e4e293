"""Which meters give the inputs of an asset's key figures, and why the others cannot be computed.

Mostly the asset's meters say it: what their profiles deliver decides. The irradiance of PV inverters may come from the
site's weather stations. Where two meters could give the same, the asset's entry names one under kpi.inputs; nothing is
guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from emsd.energy.kpi import INPUTS, STANDSTILL_SHARE, InputKind, KpiDefinition, Method, Offer, kpis_of_kind
from emsd.plant.asset_kpi import AssetKpi
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Asset, AssetKind, Meter
from emsd.plant.profile import Profile
from emsd.plant.tree import ancestors
from emsd.quantities import RunState

__all__ = ["AssetKpis", "KpiSource", "Part", "kpis_of_asset", "kpis_of_plant"]


@dataclass(frozen=True, slots=True)
class Part:
    """One quantity of one meter."""

    meter: str
    quantity: str


@dataclass(frozen=True, slots=True)
class KpiSource:
    """How an input of an asset is made: from these parts, in the order of the method."""

    input: str
    method: Method
    parts: tuple[Part, ...]
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class AssetKpis:
    """What an asset's key figures are computed from.

    sources    input -> how it is made
    gaps       input -> why it cannot be made
    facts      what does not change: floor_area_m2, peak_power_kwp, ...
    reference  key figure -> what it is compared with
    """

    asset: str
    kind: AssetKind
    sources: Mapping[str, KpiSource] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)

    def lacks(self, definition: KpiDefinition) -> list[str]:
        """Return why a key figure cannot be computed, one sentence an input or fact; empty when it can."""
        reasons = [self.gaps[name] for name in definition.inputs if name in self.gaps]
        return reasons + [_FACTS[name] for name in definition.facts if name not in self.facts]


_FACTS: Mapping[str, str] = {
    "floor_area_m2": "neither its area nor one above has a floor_area_m2",
    "peak_power_kwp": "the asset has neither kpi.peak_power_kwp nor rated_power_kw",
}
_OFFERED: Mapping[str, str] = {
    "temperature_coefficient_per_k": "(in its entry) kpi.temperature_coefficient_per_k",
    "loaded_above_kw": "(in its entry) kpi.loaded_above_kw",
    "running_above_kw": "(in its entry) kpi.running_above_kw",
}


def kpis_of_plant(loaded: LoadedPlant) -> dict[str, AssetKpis]:
    """Return what the key figures of every asset that has some are computed from, by asset key."""
    return {asset.key: kpis_of_asset(loaded, asset) for asset in loaded.plant.assets if kpis_of_kind(asset.kind.value)}


def kpis_of_asset(loaded: LoadedPlant, asset: Asset) -> AssetKpis:
    """Return what the key figures of one asset are computed from."""
    wanted = dict.fromkeys(name for each in kpis_of_kind(asset.kind.value) for name in each.inputs)
    facts = dict(_facts(loaded, asset))
    sources: dict[str, KpiSource] = {}
    gaps: dict[str, str] = {}
    for name in wanted:
        found = _found(loaded, asset, INPUTS[name], facts)
        if isinstance(found, KpiSource):
            sources[name] = found
        else:
            gaps[name] = found
    hours = sources.get("loaded_h")
    if hours is not None and hours.method is Method.COUNTER:
        (part,) = hours.parts
        count_h = loaded.profile_of(loaded.meters_by_key[part.meter]).counter_count(part.quantity)
        facts["hours_count_h"] = 1.0 if count_h is None else count_h
    standstill_kw = _standstill_kw(loaded, asset, sources.get("energy_kwh"))
    if standstill_kw is not None:
        facts["standstill_kw"] = standstill_kw
    reference = (asset.kpi or AssetKpi()).reference
    return AssetKpis(asset.key, asset.kind, sources, gaps, facts, reference)


def _facts(loaded: LoadedPlant, asset: Asset) -> Iterator[tuple[str, float]]:
    said = asset.kpi or AssetKpi()
    for area in (asset.area, *ancestors(asset.area, loaded.area_parents)):
        floor_area_m2 = loaded.areas_by_key[area].floor_area_m2
        if floor_area_m2 is not None:
            yield "floor_area_m2", floor_area_m2
            break
    values = {
        "peak_power_kwp": said.peak_power_kwp or asset.rated_power_kw,
        "temperature_coefficient_per_k": said.temperature_coefficient_per_k,
        "loaded_above_kw": said.loaded_above_kw,
        "running_above_kw": said.running_above_kw,
        "water_density_kg_m3": said.water_density_kg_m3,
        "water_heat_capacity_kj_kg_k": said.water_heat_capacity_kj_kg_k,
    }
    yield from ((name, value) for name, value in values.items() if value is not None)


def _standstill_kw(loaded: LoadedPlant, asset: Asset, energy: KpiSource | None) -> float | None:
    """Return the power below which an asset stands still [kW]; None where its meters cannot tell.

    A counter of which one count is more than a quarter hour of that power shows 0 for a machine at work.
    """
    asked = any(each.when == "running" for each in kpis_of_kind(asset.kind.value))
    if not asked or energy is None or asset.rated_power_kw is None:
        return None
    limit_kw = STANDSTILL_SHARE * asset.rated_power_kw
    for part in energy.parts:
        meter = loaded.meters_by_key.get(part.meter)
        if meter is None or (loaded.profile_of(meter).counter_count(part.quantity) or 0.0) > limit_kw / 4:
            return None
    return limit_kw


def _found(loaded: LoadedPlant, asset: Asset, kind: InputKind, facts: Mapping[str, float]) -> KpiSource | str:
    """Return how an input is made, or the reason why it cannot be."""
    named = (asset.kpi or AssetKpi()).inputs.get(kind.name)
    own = [m for m in loaded.plant.meters if m.key in named] if named else list(loaded.meters_of_asset(asset.key))
    if kind.offers[0].method in {Method.INTERVALS, Method.YIELD}:
        return _energy(loaded, asset, kind, own)
    lacks: list[_Lack] = []
    for meters in (own, _of_weather_stations(loaded)) if kind.of_site and not named else (own,):
        for offer in kind.offers:
            found = _offered(loaded, kind, offer, meters, facts)
            if isinstance(found, KpiSource):
                return found
            if found.sentence is not None:
                return found.sentence
            lacks.append(found)
    fewest = min(len(each.names) for each in lacks)
    nearest = dict.fromkeys(" and ".join(each.names) for each in lacks if len(each.names) == fewest)
    return f"no meter of {asset.key} delivers {' or '.join(nearest)}"


@dataclass(frozen=True, slots=True)
class _Lack:
    """Why an offer makes no source: quantities that nobody delivers, or a sentence that ends the search."""

    names: tuple[str, ...] = ()
    sentence: str | None = None


def _energy(loaded: LoadedPlant, asset: Asset, kind: InputKind, meters: Sequence[Meter]) -> KpiSource | str:
    measuring = {meter.key for meter in meters if loaded.measures_energy(meter)}
    # A virtual meter of the asset stands in where no real one measures it.
    measuring = measuring or {each.key for each in loaded.plant.virtual_meters if each.asset == asset.key}
    parents = {meter.key: meter.parent for meter in loaded.plant.meters}
    parents |= {meter.key: meter.parent for meter in loaded.plant.virtual_meters}
    top = [key for key in measuring if measuring.isdisjoint(ancestors(key, parents))]
    if not top:
        return f"{asset.key} has no energy meter"
    (offer,) = kind.offers
    parts = tuple(Part(key, quantity) for key in sorted(top) for quantity in offer.quantities)
    return KpiSource(kind.name, offer.method, parts)


def _offered(
    loaded: LoadedPlant, kind: InputKind, offer: Offer, meters: Sequence[Meter], facts: Mapping[str, float]
) -> KpiSource | _Lack:
    """Return the source that an offer makes of some meters, or what it lacks.

    Where two meters could give the same, that is said at once: a worse way is no answer to it.
    """
    deliver = {
        name: [each for each in meters if name in loaded.profile_of(each).quantities] for name in offer.quantities
    }
    if offer.method in {Method.LOADED_STATES, Method.RUNNING_STATES}:
        deliver = {name: [m for m in having if _tells_load(loaded.profile_of(m))] for name, having in deliver.items()}
    complete = [each for each in meters if all(each in having for having in deliver.values())]
    if len(complete) == 1:
        deliver = dict.fromkeys(offer.quantities, complete)
    missing = tuple(name for name, having in deliver.items() if not having)
    # An offer by facts is meant only where these are given.
    missing += tuple(_OFFERED[name] for name in offer.facts if name not in facts)
    if missing:
        return _Lack(missing)
    for name, having in deliver.items():
        if len(having) > 1:
            rivals = " and ".join(meter.key for meter in having)
            return _Lack(sentence=f"{rivals} both deliver {name}; name one under kpi.inputs.{kind.name}")
    parts = tuple(Part(having[0].key, name) for name, having in deliver.items())
    return KpiSource(kind.name, offer.method, parts, offer.scale)


def _of_weather_stations(loaded: LoadedPlant) -> list[Meter]:
    stations = {asset.key for asset in loaded.plant.assets if asset.kind is AssetKind.WEATHER_STATION}
    return [meter for meter in loaded.plant.meters if meter.asset in stations]


def _tells_load(profile: Profile) -> bool:
    """Return whether the run states of a device tell loaded from unloaded."""
    told: set[RunState] = set()
    for entry in (*(profile.modbus.delivered if profile.modbus else ()), *profile.published):
        if entry.quantity == "run_state":
            told |= set(_states(getattr(entry, "states", None))) | set(_states(getattr(entry, "flags", None)))
    return {RunState.LOADED, RunState.UNLOADED} <= told


def _states(said: Mapping[object, object] | None) -> Iterator[RunState]:
    for value in (said or {}).values():
        if isinstance(value, Mapping):
            yield from _states(value)
        elif isinstance(value, RunState):
            yield value
