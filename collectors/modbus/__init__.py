"""Collector for Modbus of every transport: plans reads, polls units by their schedule, decodes answers by profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from collectors.faults import each_readable
from collectors.modbus.courtesy import Courtesy
from collectors.modbus.endpoint import ModbusEndpoint
from collectors.modbus.unit import Unit
from emsd.collector import BoundMeter, Collector, Sink, wall_clock_us
from emsd.plant.connections import Connection
from emsd.plant.modbus_connections import ModbusConnection

__all__ = ["open_collector"]


def open_collector(
    connection: Connection,
    meters: Sequence[BoundMeter],
    sink: Sink,
    *,
    now_us: Callable[[], int] = wall_clock_us,
) -> Collector:
    """Build the collector of one Modbus connection; see `emsd.collector.CollectorFactory`.

    Raises:
        PlantError: a meter has no unit id, or a profile that cannot be read over Modbus.
    """
    if not isinstance(connection, ModbusConnection):
        raise TypeError(f"connection {connection.key} is {connection.kind}, not modbus_tcp or another kind of Modbus")
    courtesy = Courtesy(len(meters))
    units = each_readable(meters, "Modbus", lambda bound: Unit(bound, connection, sink, now_us, courtesy))
    return ModbusEndpoint(connection, units)
