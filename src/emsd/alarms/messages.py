"""What a person who is called reads."""

from __future__ import annotations

from typing import Final

from emsd.alarms.binding import BoundRule
from emsd.alarms.lifecycle import Step, Transition
from emsd.alarms.rules import Change, Threshold
from emsd.quantities import quantity
from emsd.readings import to_datetime
from emsd.store.alarm_events import Notice

__all__ = ["notices"]

_HEADLINES: Final = {Step.OCCUR: "ALARM", Step.REOCCUR: "ALARM", Step.RETURN: "RETURNED"}
"""Nobody is called because a colleague has acknowledged."""

_UNITLESS: Final = frozenset({"1", "code"})


def notices(bound: BoundRule, change: Change, transition: Transition) -> list[Notice]:
    """Return what each target of the rule is to be told of a transition; empty when it concerns nobody."""
    headline = _HEADLINES.get(transition.step)
    if headline is None or not bound.targets:
        return []
    when = to_datetime(change.time_us).astimezone(bound.zone)
    title = f"{headline} ({bound.priority}): {bound.name}, {bound.meter_name}"
    lines = [
        ("Site", bound.site_name),
        ("Asset", bound.asset_name),
        ("Meter", bound.meter_name),
        ("Condition", bound.rule.describe()),
        ("Value", _value(bound, change)),
        ("Time", f"{when.isoformat(sep=' ', timespec='seconds')} ({bound.zone.key})"),
        ("Advice", bound.advice if transition.step is not Step.RETURN else ""),
    ]
    body = "\n".join(f"{label}: {text}" for label, text in lines if text)
    return [Notice(target, title, body) for target in bound.targets]


def _value(bound: BoundRule, change: Change) -> str:
    if change.value is None or not isinstance(bound.rule, Threshold):
        return ""
    unit = quantity(bound.rule.quantity).unit
    number = f"{change.value:,.3f}".rstrip("0").rstrip(".")
    return number if unit in _UNITLESS else f"{number} {unit}"
