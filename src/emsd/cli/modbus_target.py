"""Where a device is, as the commands that ask one take it: an address, or a meter of a plant."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emsd.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emsd.plant.modbus_connections import ModbusConnection
    from emsd.plant.profile import Profile

__all__ = ["Target", "target_of_address", "target_of_meter"]

_KINDS = ("modbus_tcp", "modbus_tls", "modbus_rtu_over_tcp", "modbus_udp", "modbus_rtu")


@dataclass(frozen=True, slots=True)
class Target:
    """A connection, what the plant says of the meter there, and the profiles that may be meant."""

    connection: ModbusConnection
    unit: int | None
    profile: str | None
    profiles: Mapping[str, Profile]


def target_of_address(address: str, kind: str | None, baud_rate: int, parity: str, profiles: list[Path]) -> Target:
    """Return the target at `host`, `host:port` or the path of a serial port.

    Raises:
        SettingsError: it is no such address, or a kind that does not fit it.
    """
    from pydantic import TypeAdapter, ValidationError

    from emsd.plant.connections import Connection
    from emsd.plant.modbus_connections import ModbusConnection
    from emsd.plant.profiles import load_profiles

    serial = address.startswith("/")
    kind = kind or ("modbus_rtu" if serial else "modbus_tcp")
    if kind not in _KINDS or (kind == "modbus_rtu") != serial:
        raise SettingsError(
            f"--kind {kind} does not fit {address}; a path is modbus_rtu, a host one of {', '.join(_KINDS[:-1])}"
        )
    document: dict[str, object] = {"key": "probed", "kind": kind}
    if serial:
        document |= {"device": address, "baud_rate": baud_rate, "parity": parity}
    else:
        host, colon, port = address.rpartition(":")
        document |= {"host": host, "port": port} if colon else {"host": address}
    try:
        connection = TypeAdapter[object](Connection).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{address}: {'.'.join(map(str, first['loc'][1:]))} {first['msg']}") from None
    if not isinstance(connection, ModbusConnection):
        raise SettingsError(f"{address} is no Modbus endpoint")
    return Target(connection, None, None, load_profiles(profiles))


def target_of_meter(plant: Path, key: str) -> Target:
    """Return the target behind a meter of a plant.

    Raises:
        PlantError: the plant's description is wrong.
        SettingsError: it has no such meter, or one that is not reached over Modbus.
    """
    from emsd.plant.loader import load_plant
    from emsd.plant.modbus_connections import ModbusConnection
    from emsd.plant.source import list_or_hint

    loaded = load_plant(plant, environ=os.environ)
    meter = loaded.meters_by_key.get(key)
    if meter is None:
        raise SettingsError(f"{plant} has no meter {key}; {list_or_hint(key, loaded.meters_by_key, 'meters')}")
    connection = loaded.connections_by_key[meter.connection]
    if not isinstance(connection, ModbusConnection):
        raise SettingsError(f"meter {key} is reached over {connection.kind}; only Modbus devices can be probed")
    return Target(connection, meter.unit_id, meter.profile, loaded.profiles)
