"""MQTT messages of a simulated device: the profile's mapping, turned round."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import log10
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.mqtt_map import MqttMap, MqttMessage, MqttTime, MqttValue, filled
from emsd.plant.sparkplug_map import SparkplugValue
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind, RunState
from emsd.readings import to_datetime
from simulator.noise import FloatArray
from simulator.points import whole_counts

__all__ = ["message_of", "said_once", "shown", "topic_of"]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\*)\]")
_DECIMALS = 3
_UNSPECIFIED_COUNT = 0.001
_US_PER = {"epoch_s": 1_000_000, "epoch_ms": 1000, "epoch_us": 1, "iso8601_or_epoch_ms": 1000}


def topic_of(layout: MqttMap | MqttMessage, topic: str) -> str:
    """Return where a meter with this topic publishes."""
    return filled(layout.topic, topic)


def said_once(layout: MqttMap) -> list[MqttMessage]:
    """Return the kinds of messages that a simulated device sends: of those that say the same, the first."""
    said: set[str] = set()
    kinds = []
    for kind in layout.kinds:
        names = {value.quantity for value in kind.values}
        if not names <= said:
            kinds.append(kind)
            said |= names
    return kinds


def shown(value: MqttValue | SparkplugValue, physical: FloatArray) -> FloatArray:
    """Return what a reader of the device's messages gets, in the quantity's unit: whole counts, rounded gauges."""
    if value.states is not None:
        codes = np.array([RUN_STATE_CODES[state] for state in value.states.values()])
        running = next((code for code in codes if code != RUN_STATE_CODES[RunState.OFF]), codes[0])
        return np.where(np.isin(physical, codes), physical, running)
    if BY_NAME[value.quantity].kind is Kind.COUNTER:
        count = value.count or _UNSPECIFIED_COUNT
        total = whole_counts(physical, count) * count
        return total if value.rollover_at is None else total % value.rollover_at
    return ((physical - value.add) / value.scale).round(_DECIMALS) * value.scale + value.add


def message_of(
    layout: MqttMap | MqttMessage,
    time_us: int,
    values: Mapping[str, float],
    *,
    topic: str = "",
    time_zone: str | None = None,
) -> bytes:
    """Return the text of one message; `values` are those of `shown`, in canonical units.

    topic      the meter's own, for names in paths
    time_zone  that of the device's clock, where it writes local time

    Raises:
        ConfigurationError: two paths of the mapping contradict each other.
    """
    if layout.values[0].path is None:
        return json.dumps(_leaf(layout.values[0], values)).encode()
    document: dict[str, Any] = {}
    if layout.time is not None:
        _put(document, filled(layout.time.path, topic), _stamp(layout.time, time_us, time_zone))
    # A list is filled by the values that have a place in it; a sum over it is then there already.
    for value in sorted(layout.values, key=lambda each: "*" in (each.path or "")):
        _put(document, filled(value.path or "", topic), _leaf(value, values))
    return json.dumps(document, separators=(",", ":")).encode()


def _leaf(value: MqttValue, values: Mapping[str, float]) -> float | str:
    wanted = values[value.quantity]
    if value.states is not None:
        return next(word for word, state in value.states.items() if RUN_STATE_CODES[state] == wanted)
    number = round((wanted - value.add) / value.scale, max(_DECIMALS, _decimals(value)))
    return int(number) if number.is_integer() else number


def _decimals(value: MqttValue) -> int:
    """How many decimals show one count of a counter."""
    return 0 if value.count is None else max(0, round(-log10(value.count / value.scale)))


def _stamp(time: MqttTime, time_us: int, time_zone: str | None) -> str | int | float:
    if time.format == "iso8601":
        return to_datetime(time_us).isoformat().replace("+00:00", "Z")
    if time.format == "iso8601_local":
        zone = ZoneInfo(time.time_zone or time_zone or "UTC")
        return to_datetime(time_us).astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds")
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
            elif following is None:
                return  # the sum of what stands there already
            here = here[step]
        elif isinstance(step, str) and isinstance(here, dict):
            here = here.setdefault(step, fresh)
        else:
            raise ConfigurationError(f"path {path} contradicts another path of the same profile; correct one of them")
