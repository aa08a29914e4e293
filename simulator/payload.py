"""MQTT messages of a simulated device: the profile's mapping, turned round."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from emsd.errors import ConfigurationError
from emsd.plant.mqtt_map import MqttMap, MqttTime, MqttValue
from emsd.quantities import BY_NAME, Kind
from emsd.readings import to_datetime
from simulator.noise import FloatArray
from simulator.points import whole_counts

__all__ = ["message_of", "shown", "topic_of"]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\*)\]")
_DECIMALS = 3
_UNSPECIFIED_COUNT = 0.001
_US_PER = {"epoch_s": 1_000_000, "epoch_ms": 1000, "epoch_us": 1}


def topic_of(layout: MqttMap, topic: str) -> str:
    """Return where a meter with this topic publishes."""
    return layout.topic.replace("{topic}", topic)


def shown(value: MqttValue, physical: FloatArray) -> FloatArray:
    """Return what a reader of the device's messages gets, in the quantity's unit: whole counts, rounded gauges."""
    if BY_NAME[value.quantity].kind is Kind.COUNTER:
        count = value.count or _UNSPECIFIED_COUNT
        total = whole_counts(physical, count) * count
        return total if value.rollover_at is None else total % value.rollover_at
    return ((physical - value.add) / value.scale).round(_DECIMALS) * value.scale + value.add


def message_of(layout: MqttMap, time_us: int, values: Mapping[str, float]) -> bytes:
    """Return the JSON text of one message; `values` are those of `shown`, in canonical units.

    Raises:
        ConfigurationError: two paths of the mapping contradict each other.
    """
    document: dict[str, Any] = {}
    if layout.time is not None:
        _put(document, layout.time.path, _stamp(layout.time, time_us))
    for value in layout.values:
        number = round((values[value.quantity] - value.add) / value.scale, _DECIMALS)
        _put(document, value.path, int(number) if number.is_integer() else number)
    return json.dumps(document, separators=(",", ":")).encode()


def _stamp(time: MqttTime, time_us: int) -> str | int:
    if time.format == "iso8601":
        return to_datetime(time_us).isoformat().replace("+00:00", "Z")
    return time_us // _US_PER[time.format]


def _put(document: dict[str, Any], path: str, leaf: float | str) -> None:
    """Set what stands at a path, making objects and lists on the way; the elements of [*] add up to the value."""
    steps = [name or (0 if index == "*" else int(index)) for name, index in _STEP.findall(path)]
    here: Any = document
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        fresh: Any = leaf if following is None else [] if isinstance(following, int) else {}
        if isinstance(step, int) and isinstance(here, list):
            here.extend([None] * (step + 1 - len(here)))
            if here[step] is None:
                here[step] = fresh
            here = here[step]
        elif isinstance(step, str) and isinstance(here, dict):
            here = here.setdefault(step, fresh)
        else:
            raise ConfigurationError(f"path {path} contradicts another path of the same profile; correct one of them")
