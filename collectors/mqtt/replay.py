"""A message that was kept as poison, read again by today's mapping of its meter."""

from __future__ import annotations

from collectors.mqtt.mapping import JsonMapping
from collectors.mqtt.meter import layout_of
from collectors.mqtt.session import topic_matches
from emsd.collector import BoundMeter
from emsd.errors import BadPayload
from emsd.readings import Reading

__all__ = ["read_again"]


def read_again(bound: BoundMeter, topic: str, payload: bytes, received_us: int) -> Reading:
    """Return the reading of a message that came at `received_us` [us], marked as replayed.

    It has the message's own time, or that of its arrival then.

    Raises:
        BadPayload: today's mapping does not accept it either.
        ValueError: the meter cannot be read over MQTT, or a path of its profile cannot be followed.
    """
    mappings = [JsonMapping(bound, kind) for kind in layout_of(bound).kinds]
    matching = [mapping for mapping in mappings if topic_matches(mapping.pattern, topic)]
    if not matching:
        raise BadPayload(f"meter {bound.meter.key} makes no reading of topic {topic}; see its topic and its profile")
    mapped = matching[0].read(payload, received_us, repeated=True, first_received_us=received_us)
    if mapped.reading is None:
        raise BadPayload("the message holds none of the values that its profile maps; check topic and paths")
    return mapped.reading
