"""Checks of meters: an address that fits the connection, a profile that speaks its language, an energy meter above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from emsd.plant.connections import ForeignConnection
from emsd.plant.draft import AnyConnection, Draft
from emsd.plant.modbus_connections import ModbusConnection
from emsd.plant.models import AssetKind, Meter
from emsd.plant.mqtt_connection import BrokerConnection, MqttConnection
from emsd.plant.profile import Profile
from emsd.plant.source import Finding
from emsd.plant.sparkplug_connection import SparkplugConnection

__all__ = ["check_meters", "meter_warnings"]

_OWN_UNITS: Final = (0, 255)
"""Units by which a Modbus TCP device answers for itself: 255, and 0 for some
(Modbus Messaging on TCP/IP Implementation Guide V1.0b, section 4.4.2)."""

_SPARKPLUG_TOPIC: Final = "write <group>/<edge node>, or <group>/<edge node>/<device>"


def check_meters(draft: Draft) -> Iterator[Finding]:
    """Find meters that cannot be read, addresses given twice, and parents that measure no energy."""
    connections = {each.key: each for each in draft.connections.values()}
    by_key = {meter.key: meter for meter in draft.meters.values()}
    taken: dict[tuple[str, str | int, str], Meter] = {}
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
    yield from _nights(draft)
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
        if meter.serial is not None and not _tells_serial(profile):
            serial = (*where, "serial")
            written = draft.source.shown(serial, meter.serial)
            problem = f"{written}is never compared: profile {profile.profile} knows no serial number"
            cure = "add its register to the profile's identity" if profile.modbus else "leave it out"
            yield Finding(serial, problem, cure)


def _nights(draft: Draft) -> Iterator[Finding]:
    """Find inverters whose silence by night cannot be told from a failure."""
    if draft.site is None or (draft.site.latitude is not None and draft.site.longitude is not None):
        return
    arrays = {asset.key for asset in draft.assets.values() if asset.kind is AssetKind.PV_INVERTER}
    sleepers = [
        meter.key
        for meter in draft.meters.values()
        if meter.asset in arrays and (profile := draft.profile_of(meter)) is not None and profile.kind == "pv_inverter"
    ]
    if sleepers:
        others = f" and {len(sleepers) - 1} more" if len(sleepers) > 1 else ""
        problem = f"lacks latitude or longitude: when {sleepers[0]}{others} sleep by night, it will look like a failure"
        yield Finding(("site",), problem, "add both")


def _tells_serial(profile: Profile) -> bool:
    """Return whether a device can say its serial number; SunSpec devices have it in their common model."""
    registers = profile.modbus
    if registers is None:
        return False
    return bool(registers.sunspec_bases) or any(each.what == "serial" for each in registers.identity)


def _address(draft: Draft, index: int, meter: Meter, connection: AnyConnection) -> Iterator[Finding]:
    unit, topic = ("meters", index, "unit_id"), ("meters", index, "topic")
    if isinstance(connection, ModbusConnection):
        if meter.unit_id is None:
            problem = f"is missing, and connection {connection.key} is Modbus"
            cure = "write the device's unit, 1..247" + (
                "" if connection.has_bus else ", or 255 when it answers for itself"
            )
            yield Finding(unit, problem, cure)
        elif not (1 <= meter.unit_id <= 247 or (meter.unit_id in _OWN_UNITS and not connection.has_bus)):
            cure = "write the device's unit, or 255 (for some devices 0) when it answers for itself"
            if connection.has_bus:
                cure = "write the unit that is set at the device; on a serial line 0 is everybody"
            yield Finding(unit, f"{draft.source.shown(unit, meter.unit_id)}is not 1..247", cure)
        if meter.topic is not None:
            yield Finding(topic, f"is for MQTT, but connection {connection.key} is Modbus", "remove it")
    elif isinstance(connection, BrokerConnection):
        name = _spoken_on(connection)
        if meter.topic is None:
            problem = f"is missing, and connection {connection.key} is {name}"
            cure = "write the topic that the device publishes on" if name == "MQTT" else _SPARKPLUG_TOPIC
            yield Finding(topic, problem, cure)
        elif not meter.topic or {"+", "#", "\0"} & set(meter.topic):
            problem = f"{draft.source.shown(topic, meter.topic)}is not the topic of one device"
            yield Finding(topic, problem, "write it out, without the wildcards + and #")
        elif name != "MQTT" and (meter.topic.count("/") not in {1, 2} or "" in meter.topic.split("/")):
            problem = f"{draft.source.shown(topic, meter.topic)}is not an edge node, or a device on one"
            yield Finding(topic, problem, _SPARKPLUG_TOPIC)
        if meter.unit_id is not None:
            yield Finding(unit, f"is for Modbus, but connection {connection.key} is {name}", "remove it")


def _language(draft: Draft, index: int, meter: Meter, connection: AnyConnection) -> Iterator[Finding]:
    profile = draft.profile_of(meter)
    if profile is None:
        return
    speaks, heard = _spoken_by(profile), _spoken_on(connection)
    if heard is not None and heard != speaks:
        where = ("meters", index, "profile")
        problem = f"{meter.profile} speaks {speaks}, but connection {connection.key} is {heard}"
        yield Finding(where, problem, f"choose a profile for {heard}, or a connection for {speaks}")


def _spoken_by(profile: Profile) -> str:
    return "Modbus" if profile.modbus else "MQTT" if profile.mqtt else "Sparkplug B"


def _spoken_on(connection: AnyConnection) -> str | None:
    """Return the language of a connection, None when it is another package's."""
    if isinstance(connection, ModbusConnection):
        return "Modbus"
    if isinstance(connection, MqttConnection):
        return "MQTT"
    return "Sparkplug B" if isinstance(connection, SparkplugConnection) else None


def _shared_address(
    draft: Draft, index: int, meter: Meter, connection: AnyConnection, taken: dict[tuple[str, str | int, str], Meter]
) -> Iterator[Finding]:
    field = "unit_id" if isinstance(connection, ModbusConnection) else "topic"
    address: int | str | None = meter.unit_id if field == "unit_id" else meter.topic
    if address is None or isinstance(connection, ForeignConnection):
        return
    # An edge node may publish several meters as one device, told apart by the names of their metrics.
    told_apart_by = meter.profile if isinstance(connection, SparkplugConnection) else ""
    other = taken.setdefault((connection.key, address, told_apart_by), meter)
    if other is not meter:
        where = ("meters", index, field)
        problem = f"{draft.source.shown(where, address)}on connection {connection.key} belongs to meter {other.key}"
        yield Finding(where, problem, "two meters cannot share one address")
