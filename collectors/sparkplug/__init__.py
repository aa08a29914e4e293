"""Collector for Sparkplug B: a host application that keeps each edge node's births and asks for new ones when lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from collectors.faults import each_readable
from collectors.sparkplug.collector import SparkplugCollector
from collectors.sparkplug.host import SparkplugMeter
from emsd.collector import BoundMeter, Collector, Sink, wall_clock_us
from emsd.plant.connections import Connection
from emsd.plant.sparkplug_connection import SparkplugConnection

__all__ = ["open_collector"]


def open_collector(
    connection: Connection,
    meters: Sequence[BoundMeter],
    sink: Sink,
    *,
    now_us: Callable[[], int] = wall_clock_us,
) -> Collector:
    """Build the collector of one Sparkplug B broker; see `emsd.collector.CollectorFactory`.

    Raises:
        PlantError: a meter has no edge node, or a profile that cannot be read over Sparkplug B.
    """
    if not isinstance(connection, SparkplugConnection):
        raise TypeError(f"connection {connection.key} is {connection.kind}, not sparkplug_b")
    ready = each_readable(meters, "Sparkplug B", SparkplugMeter)
    return SparkplugCollector(connection, ready, sink, now_us)
