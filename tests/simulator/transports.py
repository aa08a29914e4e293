"""A plant with a meter on every kind of Modbus connection, and its devices read by libraries that are not ours."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.profile import Profile
from emsd.readings import instant_us
from tests.collectors.support import shipped_profiles

NOON_US = instant_us(datetime(2026, 6, 3, 5, tzinfo=UTC))
KINDS = ("modbus_tcp", "modbus_tls", "modbus_rtu", "modbus_rtu_over_tcp", "modbus_udp")
UNITS = {"abb_b23": 1, "eastron_sdm630": 2, "carlo_gavazzi_em340": 17}


def profiles() -> Mapping[str, Profile]:
    return shipped_profiles()


def connection(kind: str, key: str | None = None, **settings: Any) -> dict[str, Any]:
    place = {"device": "/dev/ttyUSB7"} if kind == "modbus_rtu" else {"host": "127.0.0.1"}
    return {"key": key or kind, "kind": kind, "timeout_s": 5, **place, **settings}


def plant_of(*connections: dict[str, Any]) -> Plant:
    """A plant with a meter of each profile on each of the connections; its key is <connection>-<profile>."""
    meters = [
        Meter(
            key=f"{each['key']}-{name}", name=name, asset="line", profile=name, connection=each["key"], unit_id=unit,
            poll_interval_s=0.2, rated_power_kw=80,
        )
        for each in connections
        for name, unit in UNITS.items()
    ]  # fmt: skip
    return Plant.model_validate(
        {
            "site": Site(name="Hall", time_zone="Asia/Shanghai", carbon_region="CN"),
            "areas": (Area(key="hall", name="Hall"),),
            "assets": (Asset(key="line", name="Line", kind=AssetKind.PROCESS_TOOL, area="hall", rated_power_kw=80),),
            "connections": connections,
            "meters": tuple(meters),
        }
    )


def b23_voltage(registers: list[int]) -> float:
    """Return what registers 5B00h and 5B01h of an ABB B23 say [V]."""
    return float(struct.unpack(">I", struct.pack(">2H", *registers))[0] / 10)
