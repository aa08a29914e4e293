"""Checks of meters: an address that fits the connection, a profile that speaks its language, an energy meter above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from emsd.plant.connections import ForeignConnection
from emsd.plant.draft import AnyConnection, Draft
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.models import Meter
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.source import Finding

__all__ = ["check_meters", "meter_warnings"]

_OWN_UNITS: Final = (0, 255)
"""Units by which a Modbus TCP device answers for itself: 255, and 0 for some
(Modbus Messaging on TCP/IP Implementation Guide V1.0b, section 4.4.2)."""


def check_meters(draft: Draft) -> Iterator[Finding]:
    """Find meters that cannot be read, addresses given twice, and parents that measure no energy."""
    connections = {each.key: each for each in draft.connections.values()}
    by_key = {meter.key: meter for meter in draft.meters.values()}
    taken: dict[tuple[str, str | int], Meter] = {}
    for index, meter in draft.meters.items():
        connection = connections.get(meter.connection)
        if connection is not None:
            yield from _address(draft, index, meter, connection)
            yield from _language(draft, index, meter, connection)
            yield from _shared_address(draft, index, meter, connection, taken)
        parent = by_key.get(meter.parent) if meter.parent else None
        profile = draft.profile_of(parent) if parent else None
        if parent is not None and profile is not None and not profile.measures_energy:
            problem = f"{parent.key} measures no energy: profile {parent.profile} has no energy counter and no power"
            yield Finding(("meters", index, "parent"), problem, "name the energy meter upstream, or leave it out")


def meter_warnings(draft: Draft) -> Iterator[Finding]:
    """Find what will work, but less well than it could."""
    rated_assets = {asset.key for asset in draft.assets.values() if asset.rated_power_kw is not None}
    if not draft.meters:
        yield Finding((), "describes no meters", "add them under meters, or in a list named in meters_csv")
    for index, meter in draft.meters.items():
        profile = draft.profile_of(meter)
        if profile is None:
            continue
        where = ("meters", index)
        if profile.measures_energy and meter.rated_power_kw is None and meter.asset not in rated_assets:
            problem = f"{meter.key} has no rated_power_kw, and neither has its asset {meter.asset}"
            yield Finding(where, problem, "add one, so that implausible power and energy are recognised")
        if meter.parent is not None and not profile.measures_energy:
            problem = f"{meter.parent} is set, but {meter.key} measures no energy"
            yield Finding((*where, "parent"), problem, "leave it out")


def _address(draft: Draft, index: int, meter: Meter, connection: AnyConnection) -> Iterator[Finding]:
    unit, topic = ("meters", index, "unit_id"), ("meters", index, "topic")
    if isinstance(connection, ModbusTcpConnection):
        if meter.unit_id is None:
            problem = f"is missing, and connection {connection.key} is Modbus"
            yield Finding(unit, problem, "write the device's unit, 1..247, or 255 when it answers for itself")
        elif not (1 <= meter.unit_id <= 247 or meter.unit_id in _OWN_UNITS):
            cure = "write the device's unit, or 255 (for some devices 0) when it answers for itself"
            yield Finding(unit, f"{draft.source.shown(unit, meter.unit_id)}is not 1..247", cure)
        if meter.topic is not None:
            yield Finding(topic, f"is for MQTT, but connection {connection.key} is Modbus", "remove it")
    elif isinstance(connection, MqttConnection):
        if meter.topic is None:
            problem = f"is missing, and connection {connection.key} is MQTT"
            yield Finding(topic, problem, "write the topic that the device publishes on")
        elif not meter.topic or {"+", "#", "\0"} & set(meter.topic):
            problem = f"{draft.source.shown(topic, meter.topic)}is not the topic of one device"
            yield Finding(topic, problem, "write it out, without the wildcards + and #")
        if meter.unit_id is not None:
            yield Finding(unit, f"is for Modbus, but connection {connection.key} is MQTT", "remove it")


def _language(draft: Draft, index: int, meter: Meter, connection: AnyConnection) -> Iterator[Finding]:
    profile = draft.profile_of(meter)
    if profile is None:
        return
    speaks, heard = ("Modbus", "MQTT") if profile.modbus else ("MQTT", "Modbus")
    if isinstance(connection, MqttConnection if profile.modbus else ModbusTcpConnection):
        where = ("meters", index, "profile")
        problem = f"{meter.profile} speaks {speaks}, but connection {connection.key} is {heard}"
        yield Finding(where, problem, f"choose a profile for {heard}, or a connection for {speaks}")


def _shared_address(
    draft: Draft, index: int, meter: Meter, connection: AnyConnection, taken: dict[tuple[str, str | int], Meter]
) -> Iterator[Finding]:
    field = "unit_id" if isinstance(connection, ModbusTcpConnection) else "topic"
    address: int | str | None = meter.unit_id if field == "unit_id" else meter.topic
    if address is None or isinstance(connection, ForeignConnection):
        return
    other = taken.setdefault((connection.key, address), meter)
    if other is not meter:
        where = ("meters", index, field)
        problem = f"{draft.source.shown(where, address)}on connection {connection.key} belongs to meter {other.key}"
        yield Finding(where, problem, "two meters cannot share one address")
