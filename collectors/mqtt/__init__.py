"""Collector for JSON and plain values over MQTT: subscribes, maps messages by profile, acknowledges what is durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from collectors.faults import each_readable
from collectors.mqtt.collector import MqttCollector
from collectors.mqtt.meter import MqttMeter
from emsd.collector import BoundMeter, Collector, Sink, wall_clock_us
from emsd.plant.connections import Connection
from emsd.plant.mqtt_connection import MqttConnection

__all__ = ["open_collector"]


def open_collector(
    connection: Connection,
    meters: Sequence[BoundMeter],
    sink: Sink,
    *,
    now_us: Callable[[], int] = wall_clock_us,
) -> Collector:
    """Build the collector of one MQTT broker; see `emsd.collector.CollectorFactory`.

    Raises:
        PlantError: a meter has no topic, or a profile that cannot be read over MQTT.
    """
    if not isinstance(connection, MqttConnection):
        raise TypeError(f"connection {connection.key} is {connection.kind}, not mqtt")
    ready = each_readable(meters, "MQTT", MqttMeter)
    return MqttCollector(connection, ready, sink, now_us)
