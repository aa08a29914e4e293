"""From the alarms of a plant to one rule for each meter that they watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from emsd.alarms.rules import Rule, Stale, Threshold
from emsd.errors import ConfigurationError
from emsd.plant.derived import DERIVED_QUANTITIES, AnyMeter, derived_meter_id, limits_of, watched_meters
from emsd.plant.models import Alarm, Meter, Plant, Priority, StaleAlarm, ThresholdAlarm
from emsd.plant.profile import Profile

__all__ = ["BoundRule", "bind_rules"]

_NEVER_RESTING: Final[Mapping[str, Callable[[int], bool]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BoundRule:
    """One alarm at one meter: when it is raised, and all that a person who is called has to read."""

    meter_id: int
    rule_key: str
    name: str
    priority: Priority
    rule: Rule
    targets: tuple[str, ...]
    """Keys of the notification targets that want alarms of this priority."""
    advice: str
    site_name: str
    zone: ZoneInfo
    asset_name: str
    meter_name: str


def bind_rules(
    plant: Plant,
    profiles: Mapping[str, Profile],
    meter_ids: Mapping[str, int],
    may_rest: Mapping[str, Callable[[int], bool]] = _NEVER_RESTING,
) -> list[BoundRule]:
    """Return the rules of every alarm of `plant`, one for each meter that it watches.

    An alarm watches the meters that it names, and those of assets of its kind whose profile delivers the quantity. A
    stale alarm with neither watches all meters, save those whose profile reports by exception: their silence is no
    fault. `meter_ids` maps the key of a meter to its number in the database, and `may_rest` that of one which is silent
    at times, such as a PV inverter by night, to what says of an instant [us since the epoch] whether it may be.

    An alarm on a derived quantity watches the derived meters of its meters, without limits by each meter's own band.

    Raises:
        ConfigurationError: one line for each alarm that could never be raised, or never return.
    """
    problems: list[str] = []
    bound: list[BoundRule] = []
    for alarm in plant.alarms:
        try:
            bound.extend(_bind(alarm, plant, profiles, meter_ids, may_rest))
        except ValueError as error:
            problems.append(f"alarm {alarm.key}: {error}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    return bound


def _bind(
    alarm: Alarm,
    plant: Plant,
    profiles: Mapping[str, Profile],
    meter_ids: Mapping[str, int],
    may_rest: Mapping[str, Callable[[int], bool]],
) -> Iterator[BoundRule]:
    """Yield the rules of one alarm; raises ValueError, as do all below, when it cannot work."""
    wanted = {target.key: target.priorities for target in plant.notification_targets}
    missing = sorted(set(alarm.notify) - set(wanted))
    if missing:
        raise ValueError(f"notifies {', '.join(missing)}, which is no notification target; add it, or take it out")
    assets = {asset.key: asset for asset in plant.assets}
    for meter_id, meter, rule in _rules(alarm, plant, profiles, meter_ids, may_rest):
        yield BoundRule(
            meter_id=meter_id,
            rule_key=alarm.key,
            name=alarm.name,
            priority=alarm.priority,
            rule=rule,
            targets=tuple(key for key in dict.fromkeys(alarm.notify) if alarm.priority in wanted[key]),
            advice=alarm.advice,
            site_name=plant.site.name,
            zone=plant.site.zone,
            asset_name=assets[meter.asset].name,
            meter_name=meter.name,
        )


def _rules(
    alarm: Alarm,
    plant: Plant,
    profiles: Mapping[str, Profile],
    meter_ids: Mapping[str, int],
    may_rest: Mapping[str, Callable[[int], bool]],
) -> Iterator[tuple[int, AnyMeter, Rule]]:
    """Yield the number under which readings come, the meter as people know it, and the rule."""
    if isinstance(alarm, ThresholdAlarm) and alarm.quantity in DERIVED_QUANTITIES:
        watched = watched_meters(alarm, plant, profiles)
        if not watched:
            raise ValueError(f"watches no meter; name meters that have {alarm.quantity}")
        for each in watched:
            above, below = limits_of(alarm, each)
            rule = Threshold(alarm.quantity, above, below, alarm.deadband, alarm.on_delay_s)
            yield derived_meter_id(meter_ids[each.key]), each, rule
        return
    for meter in _watched(alarm, plant, profiles):
        yield meter_ids[meter.key], meter, _rule(alarm, meter, may_rest.get(meter.key))


def _watched(alarm: Alarm, plant: Plant, profiles: Mapping[str, Profile]) -> Sequence[Meter]:
    """Return the meters that `alarm` watches, in the order of the plant."""
    unknown = sorted(set(alarm.meters) - {meter.key for meter in plant.meters})
    if unknown:
        raise ValueError(f"names the meter {', '.join(unknown)}, which the plant does not have")
    of_kind = {asset.key for asset in plant.assets if asset.kind is alarm.asset_kind}
    if isinstance(alarm, StaleAlarm):
        all_meters = not alarm.meters and alarm.asset_kind is None
        return [
            meter
            for meter in plant.meters
            if meter.key in alarm.meters
            or ((all_meters or meter.asset in of_kind) and not _reports_by_exception(profiles[meter.profile]))
        ]
    silent = [
        meter.key
        for meter in plant.meters
        if meter.key in alarm.meters and alarm.quantity not in profiles[meter.profile].quantities
    ]
    if silent:
        raise ValueError(f"needs {alarm.quantity}, which {', '.join(silent)} does not deliver; see the meter's profile")
    watched = [
        meter
        for meter in plant.meters
        if meter.key in alarm.meters
        or (meter.asset in of_kind and alarm.quantity in profiles[meter.profile].quantities)
    ]
    if not watched:
        raise ValueError("watches no meter; name meters, or an asset_kind whose meters deliver the quantity")
    return watched


def _reports_by_exception(profile: Profile) -> bool:
    return profile.reports_by_exception


def _rule(alarm: Alarm, meter: Meter, may_rest: Callable[[int], bool] | None) -> Rule:
    if isinstance(alarm, StaleAlarm):
        return Stale.after(alarm.after_polls, meter.poll_interval_s, may_rest)
    return Threshold(alarm.quantity, alarm.above, alarm.below, alarm.deadband, alarm.on_delay_s)
