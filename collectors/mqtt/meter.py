"""A meter as its broker's collector knows it: the topics it is heard on, and what each of them tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from collectors.mqtt.mapping import JsonMapping
from collectors.mqtt.paths import follow, parse_path
from collectors.mqtt.session import topic_matches
from emsd.collector import BoundMeter, MeterHealth
from emsd.errors import BadPayload
from emsd.plant.mqtt_map import MqttAvailability, MqttMap, filled

__all__ = ["Availability", "MqttMeter", "Routes", "layout_of"]

_LARGEST_ROUTE_CACHE: Final = 65_536


class Availability:
    """Understands whether a device says that it is there.

    Raises:
        ValueError: its path cannot be followed.
    """

    def __init__(self, rule: MqttAvailability, topic: str) -> None:
        self.pattern = filled(rule.topic, topic)
        self._steps = parse_path(filled(rule.path, topic)) if rule.path is not None else ()
        self._words = {word.casefold(): True for word in rule.online} | {
            word.casefold(): False for word in rule.offline
        }

    def read(self, payload: bytes) -> bool:
        """Return whether the device is there.

        Raises:
            BadPayload: it is none of the words of its profile.
        """
        text = payload.decode(errors="replace").strip()
        if self._steps and text.startswith("{"):
            try:
                text = str(follow(orjson.loads(payload), self._steps))
            except orjson.JSONDecodeError as error:
                raise BadPayload(f"the availability is not JSON: {error}") from None
        try:
            return self._words[text.strip('" ').casefold()]
        except KeyError:
            known = ", ".join(self._words)
            raise BadPayload(f"the availability {text[:80]!r} is none of {known}; correct the profile") from None


def layout_of(bound: BoundMeter) -> MqttMap:
    """Return how a meter's device speaks.

    Raises:
        ValueError: its profile has no mqtt map, or it has no topic as the map needs it.
    """
    if bound.profile.mqtt is None:
        raise ValueError("a meter on an MQTT connection needs a profile with an mqtt map")
    topic = bound.meter.topic
    if not topic:
        raise ValueError("a meter on an MQTT connection needs a topic")
    if "/" not in topic and any("{channel}" in kind.topic for kind in bound.profile.mqtt.kinds):
        raise ValueError(f"its topic {topic} names no channel; write it as device/channel, such as {topic}/0")
    return bound.profile.mqtt


class MqttMeter:
    """A meter with its topics, its mappings and its health.

    Raises:
        ValueError: its profile has no usable mqtt map, or it has no topic.
    """

    def __init__(self, bound: BoundMeter) -> None:
        layout = layout_of(bound)
        topic = bound.meter.topic or ""
        self.key = bound.meter.key
        self.qos: int = layout.qos
        self.mappings = tuple(JsonMapping(bound, kind) for kind in layout.kinds)
        self.availability = None if layout.availability is None else Availability(layout.availability, topic)
        self.offline_since_us: int | None = None
        """When the device, or its last will, said that it is gone [us]."""
        self.health = MeterHealth(bound.meter_id)


Route = tuple[MqttMeter, JsonMapping | Availability]
"""Whom a message concerns, and how it is understood."""


class Routes:
    """Which meters a topic concerns."""

    def __init__(self, meters: Sequence[MqttMeter]) -> None:
        self._exact: dict[str, list[Route]] = {}
        self._wild: list[tuple[str, Route]] = []
        self._found: dict[str, tuple[Route, ...]] = {}
        qos_of: dict[str, int] = {}
        self._availability: dict[str, int] = {}
        for meter in meters:
            for mapping in meter.mappings:
                qos_of[mapping.pattern] = max(meter.qos, qos_of.get(mapping.pattern, 0))
                self._add(mapping.pattern, (meter, mapping))
            if meter.availability is not None:
                self._availability[meter.availability.pattern] = 1
                self._add(meter.availability.pattern, (meter, meter.availability))
        self.topics = sorted(qos_of.items())
        """(Topic filter, QoS) of everything that makes readings."""
        self.availability_topics = sorted(self._availability.items())

    def of(self, topic: str) -> tuple[Route, ...]:
        """Return whom a message on a topic concerns."""
        found = self._found.get(topic)
        if found is None:
            wild = [route for pattern, route in self._wild if topic_matches(pattern, topic)]
            found = (*self._exact.get(topic, ()), *wild)
            if len(self._found) >= _LARGEST_ROUTE_CACHE:
                self._found.clear()
            self._found[topic] = found
        return found

    def _add(self, pattern: str, route: Route) -> None:
        if "+" in pattern or "#" in pattern:
            self._wild.append((pattern, route))
        else:
            self._exact.setdefault(pattern, []).append(route)
