"""One meter behind a Sparkplug B edge node: which metrics it has, and what they hold at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from emsd.plant.sparkplug_map import SparkplugMap, SparkplugValue
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind
from simulator.faces import Faces
from simulator.payload import shown
from simulator.publishing import PublishingMeter
from simulator.sparkplug_payload import DOUBLE, INT64, Metric

__all__ = ["SparkplugDevice"]

_DECIMALS: Final = 6


@dataclass(slots=True)
class SparkplugDevice(PublishingMeter):
    """One meter behind an edge node; births count among what it published, and at QoS 0 nobody acknowledges."""

    layout: SparkplugMap
    device: str | None
    """Its name at the edge node; None: the edge node is the meter."""
    aliases: dict[str, int] = field(default_factory=dict, repr=False)
    said: dict[str, float] = field(default_factory=dict, repr=False)
    """What it said last, by metric."""

    def birth_metrics(self, faces: Faces, time_us: int) -> list[Metric]:
        """Return every metric with its name and its alias."""
        self.said = self._values(faces, time_us)
        return [
            Metric(self.said[value.metric], _datatype(value), name=value.metric, alias=self.aliases[value.metric])
            for value in _each_metric_once(self.layout)
        ]

    def data_metrics(self, faces: Faces, time_us: int) -> list[Metric]:
        """Return what has changed since it said something last; everything where it reports periodically."""
        values = self._values(faces, time_us)
        before = {} if self.layout.reporting == "periodic" else self.said
        self.said = values
        return self._metrics({name: value for name, value in values.items() if value != before.get(name)})

    def all_metrics(self, faces: Faces, time_us: int) -> list[Metric]:
        """Return every metric by its alias, as at another time; nothing changes by it."""
        return self._metrics(self._values(faces, time_us))

    def _metrics(self, values: Mapping[str, float]) -> list[Metric]:
        return [
            Metric(values[value.metric], _datatype(value), alias=self.aliases[value.metric])
            for value in _each_metric_once(self.layout)
            if value.metric in values
        ]

    def _values(self, faces: Faces, time_us: int) -> dict[str, float]:
        # Metrics carry milliseconds, and their values are those of that very instant.
        instant = np.array([time_us // 1000 * 1000], dtype=np.int64)
        physical = faces.quantity_series(self.meter.key, instant)
        said: dict[str, float] = {}
        for value in _each_metric_once(self.layout):
            number = float(shown(value, physical[value.quantity])[0])
            if value.states is not None:
                said[value.metric] = next(
                    own for own, state in value.states.items() if RUN_STATE_CODES[state] == number
                )
                continue
            number = (number - value.add) / value.scale
            said[value.metric] = round(number) if _datatype(value) == INT64 else round(number, _DECIMALS)
        return said


def _each_metric_once(layout: SparkplugMap) -> list[SparkplugValue]:
    return list({value.metric: value for value in reversed(layout.values)}.values())


def _datatype(value: SparkplugValue) -> int:
    """Return INT64 for counters that count whole units of their metric, DOUBLE for all else."""
    if BY_NAME[value.quantity].kind is Kind.COUNTER and value.count is not None:
        return INT64 if (value.count / abs(value.scale)).is_integer() else DOUBLE
    return DOUBLE
