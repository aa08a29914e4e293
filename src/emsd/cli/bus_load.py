"""How busy the Modbus connections of a plant will be, predicted from its description."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.faults import unreadable
from collectors.modbus.load import ConnectionLoad, PolledMeter, connection_load
from collectors.modbus.timing import Medium, Network, SerialLine, gap_registers, medium_of
from emsd.collector import BoundMeter
from emsd.errors import Fault, PlantError
from emsd.plant.loader import LoadedPlant
from emsd.plant.modbus_connections import ModbusConnection, ModbusRtuConnection
from emsd.plant.models import Meter

__all__ = ["Assumptions", "BusLoad", "bus_loads"]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a plant's description does not say and a person may know."""

    round_trip_s: float | None = None
    gateway_baud_rate: int | None = None


@dataclass(frozen=True, slots=True)
class BusLoad:
    """One Modbus connection of the plant with its predicted load."""

    index: int
    """Its place among the plant's connections."""
    connection: ModbusConnection
    medium: Medium
    meters: tuple[Meter, ...]
    polled: tuple[PolledMeter, ...]
    load: ConnectionLoad
    skipped: tuple[float, ...]
    """Share of each meter's ticks that will be skipped [0..1]."""
    assumed: bool
    """Whether the way to its meters is a guess."""

    @property
    def skipped_per_s(self) -> float:
        """Ticks that will be skipped [1/s]."""
        return sum(share / meter.poll_interval_s for share, meter in zip(self.skipped, self.meters, strict=True))

    @property
    def way(self) -> str:
        """What carries its requests, in words."""
        if isinstance(self.medium, SerialLine):
            parity = self.connection.parity if isinstance(self.connection, ModbusRtuConnection) else "even"
            return _line(self.medium, parity)
        if not isinstance(self.medium, Network):
            return ""
        behind = f", {_line(self.medium.line, 'even')}" if self.medium.line else ""
        return f"{1000 * self.medium.round_trip_s:g} ms{behind}{' (assumed)' if self.assumed else ''}"

    def over(self, medium: Medium) -> ConnectionLoad:
        """Return the load of the same meters over another line."""
        return _predicted(self.connection, self.polled, medium)

    def document(self) -> dict[str, Any]:
        """Return it for machines; times in seconds, shares of 1."""
        load, plan = self.load, self.load.plan
        return {
            "connection": self.connection.key,
            "kind": self.connection.kind,
            "address": self.connection.address,
            "way": self.way,
            "way_is_assumed": self.assumed,
            "meters": len(self.meters),
            "requests_per_s": _rounded(load.requests_per_s),
            "requests_per_cycle": plan.requests,
            "registers_wanted": plan.registers_wanted,
            "registers_read": plan.registers_read,
            "efficiency": None if plan.share is None else _rounded(plan.share),
            "cycle_s": _rounded(load.cycle_s),
            "utilisation": _rounded(load.utilisation),
            "polls_skipped_per_s": _rounded(self.skipped_per_s),
            "delay_by_silent_s": _rounded(load.delay_by_silent_s),
            "given_up_after_s": _rounded(load.given_up_after_s),
            "polls": [
                {
                    "meter": meter.key,
                    "poll_interval_s": meter.interval_s,
                    "requests_per_s": _rounded(meter.requests_per_s),
                    "poll_s": _rounded(meter.poll_s),
                    "utilisation": _rounded(meter.utilisation),
                    "skipped": _rounded(share),
                }
                for meter, share in zip(load.meters, self.skipped, strict=True)
            ],
        }


def bus_loads(loaded: LoadedPlant, assumptions: Assumptions) -> list[BusLoad]:
    """Predict the load of every Modbus connection of a plant that has meters.

    Raises:
        PlantError: a meter's profile cannot be read as it is written.
    """
    loads: list[BusLoad] = []
    faults: list[Fault] = []
    by_connection: dict[str, list[Meter]] = {}
    for meter in loaded.plant.meters:
        by_connection.setdefault(meter.connection, []).append(meter)
    for index, connection in enumerate(loaded.plant.connections):
        meters = by_connection.get(connection.key, [])
        if not isinstance(connection, ModbusConnection) or not meters:
            continue
        try:
            loads.append(_bus_load(loaded, index, connection, meters, assumptions))
        except ValueError:
            faults += _unreadable(loaded, meters)
    if faults:
        raise PlantError(faults)
    return loads


def _bus_load(
    loaded: LoadedPlant, index: int, connection: ModbusConnection, meters: list[Meter], assumptions: Assumptions
) -> BusLoad:
    polled = tuple(
        PolledMeter(meter.key, registers, meter.poll_interval_s)
        for meter in meters
        if (registers := loaded.profile_of(meter).modbus) is not None
    )
    medium = medium_of(
        connection,
        len(meters),
        round_trip_s=assumptions.round_trip_s,
        gateway_baud_rate=assumptions.gateway_baud_rate,
    )
    load = _predicted(connection, polled, medium)
    known = isinstance(medium, SerialLine) or assumptions.round_trip_s is not None
    return BusLoad(index, connection, medium, tuple(meters), polled, load, load.skipped_shares(), assumed=not known)


def _predicted(connection: ModbusConnection, polled: Sequence[PolledMeter], medium: Medium) -> ConnectionLoad:
    return connection_load(
        polled,
        medium,
        gap_registers=[gap_registers(connection, each.registers) for each in polled],
        timeout_s=connection.timeout_s,
        retries=connection.retries,
        pause_after_connect_s=connection.pause_after_connect_s,
        pause_between_requests_s=connection.pause_between_requests_s,
    )


def _unreadable(loaded: LoadedPlant, meters: Sequence[Meter]) -> Iterator[Fault]:
    """Say for each meter whether its profile can be read, and why not."""
    for meter in meters:
        profile = loaded.profile_of(meter)
        if profile.modbus is None:
            continue
        try:
            connection_load([PolledMeter(meter.key, profile.modbus, meter.poll_interval_s)], Network())
        except ValueError as error:
            yield unreadable(BoundMeter(0, meter, profile), "Modbus", error)


def _line(line: SerialLine, parity: str) -> str:
    return f"{line.baud_rate} baud {line.data_bits}{parity[0].upper()}{line.stop_bits:g}"


def _rounded(number: float) -> float:
    return round(number, 6)
