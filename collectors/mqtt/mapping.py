"""From a JSON message to a reading, by the mapping of a profile; compiled once per meter.

A message without its own time is stamped with its arrival. What the broker kept for us while we were away then carries
the wrong time, and nothing in MQTT tells: devices that are to be read without a gap must send their own time. Where
MQTT does tell (retained, delivered again) such a message is never given a new time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from collectors.plausibility import limits
from emsd.collector import BoundMeter
from emsd.errors import BadPayload
from emsd.plant.mqtt_map import MqttMap, MqttTime, MqttValue
from emsd.readings import Quality, Reading, columns, instant_us

__all__ = ["JsonMapping", "Mapped"]

EARLIEST_US: Final = 946_684_800_000_000
"""2000-01-01: an earlier device time is a clock that was never set [us]."""

MOST_AHEAD_US: Final = 3_600_000_000
"""A device time further ahead of the arrival is a wrong clock or a wrong time zone [us]."""

_NOT_AVAILABLE: Final = int(Quality.NOT_AVAILABLE)
_IMPLAUSIBLE: Final = int(Quality.IMPLAUSIBLE)
_EPOCH_TO_US: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[(\*)\]")
_ABSENT: Final = object()

Step = str | int | None
"""A key of an object, a position in a list, or None for every element of a list."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A message understood: its reading, and how many of its values were rejected.

    `reading` is None for a retained message without a time of its own: it tells nothing new.
    """

    reading: Reading | None
    rejected: int


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    path: str
    steps: tuple[Step, ...]
    lists: int
    """How many times the path branches into every element of a list."""
    scale: float
    add: float
    low: float
    high: float
    required: bool


class JsonMapping:
    """Understands the messages of one meter.

    Raises:
        ValueError: its profile has no mqtt map, or a path that cannot be followed.
    """

    def __init__(self, bound: BoundMeter) -> None:
        mapping = bound.profile.mqtt
        if mapping is None:
            raise ValueError("a meter on an MQTT connection needs a profile with an mqtt map")
        self._meter_id = bound.meter_id
        self._rules = _rules(mapping, bound.meter.rated_power_kw)
        self._time: MqttTime | None = mapping.time
        self._time_steps = parse_path(mapping.time.path) if mapping.time else ()

    def read(self, payload: bytes, received_us: int, *, retained: bool = False, repeated: bool = False) -> Mapped:
        """Return what a message says.

        Args:
            payload: the message.
            received_us: its arrival [us].
            retained: the broker kept it from before.
            repeated: it may have been delivered before.

        Raises:
            BadPayload: it is not JSON, holds none of the mapped values, lacks a required one, or has an impossible
                time.
        """
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise BadPayload(f"the message is not JSON: {error}") from None
        time_us = self._own_time_us(document, received_us)
        quality = Quality.GOOD if time_us is None else Quality.DEVICE_TIME
        if retained or repeated:
            quality |= Quality.REPLAYED
        names, values, flags, rejected = self._values(document)
        if time_us is None:
            if retained:
                return Mapped(None, rejected)
            if repeated:
                raise BadPayload("the message was delivered again and has no time of its own, so its time is unknown")
            time_us = received_us
        reading = Reading(time_us, self._meter_id, columns(*names), tuple(values), int(quality) | flags)
        return Mapped(reading, rejected)

    def _own_time_us(self, document: object, received_us: int) -> int | None:
        if self._time is None:
            return None
        found = _follow(document, self._time_steps)
        if found is _ABSENT or found is None:
            return None
        time_us = _time_us(found, self._time)
        if not EARLIEST_US <= time_us <= received_us + MOST_AHEAD_US:
            raise BadPayload(
                f"the message's time {self._time.path} = {found!r} is before 2000 or more than an hour ahead; "
                "set the device's clock and time zone"
            )
        return time_us

    def _values(self, document: object) -> tuple[list[str], list[float | None], int, int]:
        names: list[str] = []
        values: list[float | None] = []
        flags = rejected = good = nulls = 0
        for rule in self._rules:
            found = _follow(document, rule.steps)
            if found is _ABSENT:
                if rule.required:
                    raise BadPayload(f"the message lacks {rule.path}, which its profile requires")
                continue
            names.append(rule.name)
            number = _number(found, rule.lists)
            if number is None:
                flags |= _NOT_AVAILABLE
                nulls += found is None
            else:
                value = number * rule.scale + rule.add
                if rule.low <= value <= rule.high:
                    values.append(value)
                    good += 1
                    continue
                flags |= _IMPLAUSIBLE
            values.append(None)
            rejected += 1
        if not names:
            raise BadPayload("the message holds none of the values that its profile maps; check topic and paths")
        if not good and nulls < len(names):
            raise BadPayload("none of the message's values is a plausible number; check paths and scales")
        return names, values, flags, rejected


def parse_path(path: str) -> tuple[Step, ...]:
    """Return the steps of a path of dotted keys, `[index]` and `[*]`.

    Raises:
        ValueError: it is not such a path.
    """
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or (at == 0 and path.startswith(".")):
            raise ValueError(
                f"path {path!r} cannot be followed from character {at + 1}; write keys as a.b[0].c or a[*]"
            )
        key, position, _every = match.groups()
        steps.append(key if key is not None else int(position) if position is not None else None)
        at = match.end()
    if not steps:
        raise ValueError("an empty path leads nowhere; name a key of the message")
    return tuple(steps)


def _rules(mapping: MqttMap, rated_power_kw: float | None) -> tuple[_Rule, ...]:
    names = [value.quantity for value in mapping.values]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"quantity {', '.join(twice)} is mapped more than once")

    def rule(value: MqttValue) -> _Rule:
        low, high = limits(value.quantity, rated_power_kw)
        steps = parse_path(value.path)
        return _Rule(
            value.quantity, value.path, steps, steps.count(None), value.scale, value.add, low, high, value.required
        )

    return tuple(rule(value) for value in mapping.values)


def _follow(node: Any, steps: Sequence[Step]) -> Any:
    """Return what the path leads to; for `[*]` the list of what it leads to in every element."""
    for position, step in enumerate(steps):
        if step is None:
            if not isinstance(node, list):
                return _ABSENT
            rest = steps[position + 1 :]
            found = [_follow(element, rest) for element in node]
            return _ABSENT if not found or _ABSENT in found else found
        if isinstance(step, str):
            if not isinstance(node, dict) or step not in node:
                return _ABSENT
        elif not isinstance(node, list) or step >= len(node):
            return _ABSENT
        node = node[step]
    return node


def _number(found: Any, lists: int) -> float | None:
    """Return a JSON number, or the sum of a list of them; None for anything else, booleans and texts too."""
    kind = type(found)
    if lists and kind is list:
        parts = [_number(each, lists - 1) for each in found]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None
    return float(found) if not lists and (kind is float or kind is int) else None


def _time_us(found: Any, rule: MqttTime) -> int:
    if rule.format == "iso8601":
        return _iso_us(found, rule.path)
    number = _number(found, 0)
    if number is None:
        raise BadPayload(f"the message's time {rule.path} = {found!r} is not a number, as {rule.format} says")
    try:
        # An integer keeps its microseconds; as a float it would lose them beyond 2^53.
        return (
            found * _EPOCH_TO_US[rule.format] if isinstance(found, int) else round(number * _EPOCH_TO_US[rule.format])
        )
    except (OverflowError, ValueError):
        raise BadPayload(f"the message's time {rule.path} = {found!r} is no time") from None


def _iso_us(found: Any, path: str) -> int:
    try:
        when = datetime.fromisoformat(found)
    except (TypeError, ValueError):
        raise BadPayload(f"the message's time {path} = {found!r} is not an ISO 8601 time") from None
    if when.tzinfo is None:
        raise BadPayload(f"the message's time {path} = {found!r} has no time zone; append Z or an offset")
    return instant_us(when)
