"""From a message to a reading, by the mapping of a profile; compiled once for each meter and kind of message.

A message without its own time is stamped with its arrival. What the broker kept for us while we were away then carries
the wrong time, and nothing in MQTT tells: devices that are to be read without a gap must send their own time. Where
MQTT does tell (retained, delivered again) such a message is never given a new time: one that is delivered again gets
the time at which it came first, if that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from collectors.mqtt.paths import ABSENT, Step, follow, number, number_in_text, parse_path
from collectors.mqtt.times import OwnTime
from collectors.plausibility import limits
from emsd.collector import BoundMeter
from emsd.errors import BadPayload
from emsd.plant.mqtt_map import MqttMessage, MqttValue, filled
from emsd.quantities import RUN_STATE_CODES
from emsd.readings import Columns, Quality, Reading, columns

__all__ = ["JsonMapping", "Mapped"]

_GOOD: Final = int(Quality.GOOD)
_DEVICE_TIME: Final = int(Quality.DEVICE_TIME)
_REPLAYED: Final = int(Quality.REPLAYED)
_NOT_AVAILABLE: Final = int(Quality.NOT_AVAILABLE)
_IMPLAUSIBLE: Final = int(Quality.IMPLAUSIBLE)
_LONGEST_PLAIN_BYTES: Final = 256
"""A payload that is one value is shorter [bytes]."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A message understood: its reading, and how many of its values were rejected.

    `reading` is None for a message that tells nothing: `why_none` is then `retained_without_time`, or `other_content`
    on a topic that other messages share.
    """

    reading: Reading | None
    rejected: int
    why_none: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    path: str
    steps: tuple[Step, ...]
    keys: tuple[str, ...] | None
    """The steps, when all of them are keys."""
    lists: int
    """How many times the path branches into every element of a list."""
    states: dict[str, float] | None
    scale: float
    add: float
    low: float
    high: float
    required: bool

    def value(self, found: Any) -> float | None:
        """Return a value as a number of its quantity, None when it is none."""
        kind = type(found)
        if self.states is not None:
            word = str(found) if kind is str or kind is int or kind is bool else f"{found:.0f}" if kind is float else ""
            return self.states.get(word.strip().casefold())
        if not self.lists and (kind is float or kind is int):
            return float(found * self.scale + self.add)
        plain = number(found, self.lists)
        return None if plain is None else plain * self.scale + self.add


class JsonMapping:
    """Understands one kind of message of one meter; `pattern` is the topic that it comes on.

    Raises:
        ValueError: a path cannot be followed, or a quantity is mapped twice.
    """

    def __init__(self, bound: BoundMeter, kind: MqttMessage) -> None:
        topic = bound.meter.topic or ""
        self.pattern = filled(kind.topic, topic)
        self._meter_id = bound.meter_id
        self._is_plain = kind.values[0].path is None
        self._is_mixed = kind.mixed
        self._rules = _rules(kind, topic, bound.meter.rated_power_kw)
        self._own_time = OwnTime(kind.time, filled(kind.time.path, topic), bound.meter.time_zone) if kind.time else None
        self._last_columns: Columns = columns()

    def read(
        self,
        payload: bytes,
        received_us: int,
        *,
        retained: bool = False,
        repeated: bool = False,
        first_received_us: int | None = None,
    ) -> Mapped:
        """Return what a message says.

        Args:
            payload: the message.
            received_us: its arrival [us].
            retained: the broker kept it from before.
            repeated: it may have been delivered before.
            first_received_us: when it was delivered before, if that is known [us].

        Raises:
            BadPayload: it is not JSON or no value, holds none of the mapped values, lacks a required one, or has an
                impossible time.
        """
        document = _plain(payload) if self._is_plain else _json(payload)
        time_us = None if self._own_time is None else self._own_time.of(document, received_us)
        quality = _GOOD if time_us is None else _DEVICE_TIME
        if retained or repeated:
            quality |= _REPLAYED
        names, values, flags, rejected = self._values(document)
        if not names:
            if self._is_mixed:
                return Mapped(None, 0, "other_content")
            raise BadPayload("the message holds none of the values that its profile maps; check topic and paths")
        if time_us is None:
            if retained:
                return Mapped(None, rejected, "retained_without_time")
            if repeated and first_received_us is None:
                raise BadPayload("the message was delivered again and has no time of its own, so its time is unknown")
            time_us = received_us if first_received_us is None else first_received_us
        if names != self._last_columns:
            self._last_columns = columns(*names)
        return Mapped(Reading(time_us, self._meter_id, self._last_columns, tuple(values), quality | flags), rejected)

    def _values(self, document: Any) -> tuple[tuple[str, ...], list[float | None], int, int]:
        names: list[str] = []
        values: list[float | None] = []
        flags = rejected = good = nulls = 0
        for rule in self._rules:
            found = document
            if rule.keys is None:
                found = follow(document, rule.steps)
            else:
                for key in rule.keys:
                    found = found.get(key, ABSENT) if type(found) is dict else ABSENT
            if found is ABSENT:
                if rule.required:
                    raise BadPayload(f"the message lacks {rule.path}, which its profile requires")
                continue
            names.append(rule.name)
            value = None if found is None else rule.value(found)
            if value is None:
                flags |= _NOT_AVAILABLE
                nulls += found is None
            elif rule.low <= value <= rule.high:
                values.append(value)
                good += 1
                continue
            else:
                flags |= _IMPLAUSIBLE
            values.append(None)
            rejected += 1
        if names and not good and nulls < len(names):
            raise BadPayload("none of the message's values is a plausible number; check paths and scales")
        return tuple(names), values, flags, rejected


def _rules(kind: MqttMessage, topic: str, rated_power_kw: float | None) -> tuple[_Rule, ...]:
    names = [value.quantity for value in kind.values]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"quantity {', '.join(twice)} is mapped more than once")

    def rule(value: MqttValue) -> _Rule:
        low, high = limits(value.quantity, rated_power_kw)
        path = "the value" if value.path is None else filled(value.path, topic)
        steps = () if value.path is None else parse_path(path)
        keys = tuple(step for step in steps if isinstance(step, str))
        words = None if value.states is None else value.states.items()
        states = None if words is None else {word.casefold(): RUN_STATE_CODES[state] for word, state in words}
        return _Rule(
            name=value.quantity, path=path, steps=steps, keys=keys if len(keys) == len(steps) else None,
            lists=steps.count(None), states=states, scale=value.scale, add=value.add, low=low, high=high,
            required=value.required,
        )  # fmt: skip

    return tuple(rule(value) for value in kind.values)


def _json(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"the message is not JSON: {error}") from None


def _plain(payload: bytes) -> Any:
    """Return a payload that is one value: a number, a number as text, a word, or null."""
    if len(payload) > _LONGEST_PLAIN_BYTES:
        raise BadPayload(f"the message has {len(payload)} bytes, but its profile expects a single value")
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            found = payload.decode().strip()
        except UnicodeDecodeError:
            raise BadPayload("the message is neither a number nor text in UTF-8") from None
    if isinstance(found, str):
        value = number_in_text(found.strip())
        return found if value is None else value
    return found
