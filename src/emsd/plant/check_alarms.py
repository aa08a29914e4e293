"""Checks of alarms: something to watch, limits that can be reached and left again, quantities that are delivered."""

from __future__ import annotations

from collections.abc import Iterator

from emsd.plant.draft import AnyAlarm, Draft
from emsd.plant.models import Meter, Priority, ThresholdAlarm
from emsd.plant.source import Finding, list_or_hint
from emsd.quantities import BY_NAME, Quantity

__all__ = ["alarm_warnings", "check_alarms"]


def check_alarms(draft: Draft) -> Iterator[Finding]:
    """Find alarms that watch nothing, could never be raised, or could never return."""
    for index, alarm in draft.alarms.items():
        if not alarm.meters and alarm.asset_kind is None and isinstance(alarm, ThresholdAlarm):
            yield Finding(("alarms", index, "meters"), "is missing", "list the meters it watches, or give asset_kind")
        if alarm.asset_kind is not None and not list(_of_kind(draft, alarm)):
            where = ("alarms", index, "asset_kind")
            yield Finding(where, f"{alarm.asset_kind} has no meters", "choose another kind, or list meters")
        if isinstance(alarm, ThresholdAlarm):
            yield from _threshold(draft, index, alarm)


def alarm_warnings(draft: Draft) -> Iterator[Finding]:
    """Find alarms of high priority that reach nobody."""
    for index, alarm in draft.alarms.items():
        if alarm.priority is Priority.HIGH and not alarm.notify:
            problem = f"{alarm.key} is of high priority, but notifies nobody"
            yield Finding(("alarms", index), problem, "name a notification target under notify")


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
    yield from _delivered(draft, index, alarm)


def _limits(draft: Draft, index: int, alarm: ThresholdAlarm, quantity: Quantity) -> Iterator[Finding]:
    unit, low, high = quantity.unit, quantity.minimum, quantity.maximum
    if alarm.above is None and alarm.below is None:
        written = draft.source.data["alarms"][index]
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
    for number, key in enumerate(alarm.meters):
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
