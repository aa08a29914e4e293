"""Checks of alarms: something to watch, limits that can be reached and left again, quantities that are delivered."""

from __future__ import annotations

from collections.abc import Iterator

from emsd.plant.derived import (
    BAND_QUANTITIES,
    DEMAND_QUANTITIES,
    DERIVED_QUANTITIES,
    AnyMeter,
    derived_quantities,
    energy_meters,
    limits_of,
)
from emsd.plant.draft import AnyAlarm, Draft
from emsd.plant.models import Meter, Priority, StaleAlarm, ThresholdAlarm
from emsd.plant.source import Finding, list_or_hint
from emsd.quantities import BY_NAME, Quantity

__all__ = ["alarm_warnings", "check_alarms"]


def check_alarms(draft: Draft) -> Iterator[Finding]:
    """Find alarms that watch nothing, could never be raised, or could never return."""
    for index, alarm in draft.alarms.items():
        if _names_nothing(alarm):
            yield Finding(("alarms", index, "meters"), "is missing", "list the meters it watches, or give asset_kind")
        if alarm.asset_kind is not None and not [*_of_kind(draft, alarm), *_derived_of_kind(draft, alarm)]:
            where = ("alarms", index, "asset_kind")
            yield Finding(where, f"{alarm.asset_kind} has no meters", "choose another kind, or list meters")
        if isinstance(alarm, ThresholdAlarm):
            yield from _threshold(draft, index, alarm)
        else:
            yield from _silent(draft, index, alarm)


def _silent(draft: Draft, index: int, alarm: StaleAlarm) -> Iterator[Finding]:
    virtual = {meter.key for meter in draft.virtual_meters.values()}
    for number, key in enumerate(alarm.meters):
        if key in virtual:
            where = ("alarms", index, "meters", number)
            yield Finding(where, f"{key} is a virtual meter, which never speaks", "name the meters that it is made of")


def alarm_warnings(draft: Draft) -> Iterator[Finding]:
    """Find alarms of high priority that reach nobody."""
    for index, alarm in draft.alarms.items():
        if alarm.priority is Priority.HIGH and not alarm.notify:
            problem = f"{alarm.key} is of high priority, but notifies nobody"
            yield Finding(("alarms", index), problem, "name a notification target under notify")


def _names_nothing(alarm: AnyAlarm) -> bool:
    """Whether a threshold says nowhere what it watches; one on residuals or deviations may mean all that have them."""
    if not isinstance(alarm, ThresholdAlarm) or alarm.meters or alarm.asset_kind is not None:
        return False
    return alarm.quantity not in DERIVED_QUANTITIES or alarm.quantity in DEMAND_QUANTITIES


def _of_kind(draft: Draft, alarm: AnyAlarm) -> Iterator[Meter]:
    kinds = {asset.key: asset.kind for asset in draft.assets.values()}
    return (meter for meter in draft.meters.values() if kinds.get(meter.asset) is alarm.asset_kind)


def _threshold(draft: Draft, index: int, alarm: ThresholdAlarm) -> Iterator[Finding]:
    where = ("alarms", index, "quantity")
    quantity = BY_NAME.get(alarm.quantity)
    if quantity is None:
        cure = list_or_hint(alarm.quantity, BY_NAME, "quantities")
        yield Finding(where, f"{draft.source.shown(where, alarm.quantity)}is not in the vocabulary", cure)
        return
    yield from _limits(draft, index, alarm, quantity)
    if alarm.quantity in DERIVED_QUANTITIES:
        yield from _derived(draft, index, alarm)
    else:
        yield from _delivered(draft, index, alarm)


def _limits(draft: Draft, index: int, alarm: ThresholdAlarm, quantity: Quantity) -> Iterator[Finding]:
    unit, low, high = quantity.unit, quantity.minimum, quantity.maximum
    if alarm.above is None and alarm.below is None:
        written = draft.source.data["alarms"][index]
        if alarm.quantity in BAND_QUANTITIES:
            return
        if written.get("above") is None and written.get("below") is None:
            yield Finding(("alarms", index, "above"), "is missing", f"give above, below or both [{unit}]")
        return
    for field, limit in (("above", alarm.above), ("below", alarm.below)):
        if limit is not None and not low < limit < high:
            problem = f"{limit:g} {unit} can never be passed: {quantity.name} is {low:g}..{high:g} {unit}"
            yield Finding(("alarms", index, field), problem, "choose a limit inside that range")
            return
    top = high if alarm.above is None else alarm.above
    bottom = low if alarm.below is None else alarm.below
    if bottom >= top:
        problem = f"{bottom:g} {unit} is not less than above {top:g} {unit}, so the alarm would never return"
        yield Finding(("alarms", index, "below"), problem, "give two alarms, or limits with normal values between them")
    else:
        # Coming back from either limit costs one deadband.
        limits = (alarm.above is not None) + (alarm.below is not None)
        largest = (top - bottom) / limits
        if alarm.deadband > largest:
            problem = f"{alarm.deadband:g} {unit} leaves no value at which the alarm returns"
            yield Finding(("alarms", index, "deadband"), problem, f"make it at most {largest:g} {unit}")


def _delivered(draft: Draft, index: int, alarm: ThresholdAlarm) -> Iterator[Finding]:
    meters = {meter.key: meter for meter in draft.meters.values()}
    virtual = {meter.key for meter in draft.virtual_meters.values()}
    for number, key in enumerate(alarm.meters):
        if key in virtual:
            problem = f"{key} does not deliver {alarm.quantity}: it is a virtual meter, which has energy only"
            cure = "watch a meter that measures it, or the residual or demand of this one"
            yield Finding(("alarms", index, "meters", number), problem, cure)
        meter = meters.get(key)
        profile = draft.profile_of(meter) if meter else None
        if profile is not None and alarm.quantity not in profile.quantities:
            problem = f"{key} does not deliver {alarm.quantity}: its profile {profile.profile} has no such quantity"
            cure = list_or_hint(alarm.quantity, profile.quantities, "its quantities")
            yield Finding(("alarms", index, "meters", number), problem, cure)
    profiles = [draft.profile_of(meter) for meter in _of_kind(draft, alarm)] if alarm.asset_kind else []
    known = [profile for profile in profiles if profile is not None]
    if known and len(known) == len(profiles) and not any(alarm.quantity in each.quantities for each in known):
        problem = f"{alarm.asset_kind} has no meter that delivers {alarm.quantity}"
        yield Finding(("alarms", index, "asset_kind"), problem, "watch a quantity that one of its profiles has")


def _energy_meters(draft: Draft) -> list[AnyMeter]:
    return energy_meters(draft.meters.values(), draft.virtual_meters.values(), draft.surroundings.profiles)


def _derived_of_kind(draft: Draft, alarm: AnyAlarm) -> list[AnyMeter]:
    """Return the energy meters of assets of an alarm's kind, where it is on a derived quantity."""
    if not isinstance(alarm, ThresholdAlarm) or alarm.quantity not in DERIVED_QUANTITIES:
        return []
    kinds = {asset.key: asset.kind for asset in draft.assets.values()}
    return [meter for meter in _energy_meters(draft) if kinds.get(meter.asset) is alarm.asset_kind]


def _derived(draft: Draft, index: int, alarm: ThresholdAlarm) -> Iterator[Finding]:
    """Find meters that do not have a derived quantity, and alarms without limits where no band stands in for them."""
    have = derived_quantities(draft.meters.values(), draft.virtual_meters.values(), draft.surroundings.profiles)
    meters = {meter.key: meter for meter in _energy_meters(draft)}
    written = {*draft.keys("meters"), *draft.keys("virtual_meters")}
    for number, key in enumerate(alarm.meters):
        where = ("alarms", index, "meters", number)
        if key in written and alarm.quantity not in have.get(key, ()):
            yield Finding(where, f"{key} has no {alarm.quantity}: {_why(alarm.quantity)}", "take it out")
        elif key in meters and limits_of(alarm, meters[key]) == (None, None):
            problem = f"{key} has no {_band(alarm.quantity)}, and the alarm has no limits"
            yield Finding(where, problem, "give the meter a residual with that band, or the alarm above or below")
    for meter in meters.values():
        above, below = limits_of(alarm, meter)
        own = alarm.above is None and alarm.below is None
        if own and above is not None and below is not None and above - below < 2 * alarm.deadband:
            problem = f"{alarm.deadband:g} leaves no value at which the alarm returns to the band of {meter.key}"
            yield Finding(("alarms", index, "deadband"), problem, f"make it at most {(above - below) / 2:g}")
            break
    if alarm.meters or _names_nothing(alarm):
        return
    among = _derived_of_kind(draft, alarm) if alarm.asset_kind is not None else list(meters.values())
    having = [meter for meter in among if alarm.quantity in have[meter.key]]
    field = "quantity" if alarm.asset_kind is None else "asset_kind"
    if not having:
        yield Finding(
            ("alarms", index, field), f"{alarm.quantity} belongs to no meter: {_why(alarm.quantity)}", "leave it out"
        )
    elif all(limits_of(alarm, meter) == (None, None) for meter in having):
        problem = f"is missing, and no meter has a {_band(alarm.quantity)}"
        yield Finding(
            ("alarms", index, "above"), problem, "give above, below or both, or meters a residual with a band"
        )


def _why(quantity: str) -> str:
    if quantity in BAND_QUANTITIES:
        return "only a meter with energy meters below it has a residual"
    if quantity in DEMAND_QUANTITIES:
        return "only an energy meter has a demand"
    return "it takes an energy counter and active power, read in fixed steps"


def _band(quantity: str) -> str:
    return {"residual_kw": "band_kw", "residual_percent": "band_percent"}.get(quantity, "limit")
