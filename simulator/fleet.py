"""Plants of many equal meters, for measurements of scale."""

from __future__ import annotations

from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.profile import Profile

__all__ = ["fleet", "fleet_profile"]

_UNITS_PER_ENDPOINT = 247
_METERS_PER_ASSET = 50

_GAUGES = (
    "active_power_kw",
    "reactive_power_kvar",
    "apparent_power_kva",
    "power_factor",
    "frequency_hz",
    "voltage_l1_n_v",
    "voltage_l2_n_v",
    "voltage_l3_n_v",
    "current_l1_a",
    "current_l2_a",
    "current_l3_a",
    "current_n_a",
)


def fleet_profile() -> Profile:
    """Return a power meter with 14 quantities in two blocks: twelve f32 gauges, and two i64 counters in Wh."""
    gauges = tuple(
        ModbusPoint(quantity=name, address=2 * place, type=RegisterType.F32) for place, name in enumerate(_GAUGES)
    )
    counters = (
        ModbusPoint(quantity="energy_import_kwh", address=1000, type=RegisterType.I64, scale=0.001),
        ModbusPoint(quantity="energy_export_kwh", address=1004, type=RegisterType.I64, scale=0.001),
    )
    return Profile(
        profile="fleet_meter",
        kind="power_meter",
        manufacturer="emsd",
        model="Fleet meter",
        source=("made up for measurements of scale",),
        modbus=ModbusMap(points=(*gauges, *counters)),
    )


def fleet(
    meters: int,
    endpoints: int,
    *,
    host: str = "127.0.0.1",
    first_port: int = 15100,
    poll_interval_s: float = 1.0,
    profile: Profile | None = None,
) -> tuple[Plant, dict[str, Profile]]:
    """Return a plant of `meters` equal meters spread evenly over `endpoints` gateways, and its profiles.

    The meters have no common bus; each is rated 100 kW.

    Raises:
        ValueError: an endpoint would have more than 247 units.
    """
    if not 1 <= endpoints <= meters <= endpoints * _UNITS_PER_ENDPOINT:
        raise ValueError(f"{meters} meters do not fit {endpoints} endpoints of 1 to {_UNITS_PER_ENDPOINT} units")
    model = profile or fleet_profile()
    assets = -(-meters // _METERS_PER_ASSET)
    plant = Plant(
        site=Site(name="Fleet", time_zone="UTC", carbon_region="CN"),
        areas=(Area(key="hall", name="Hall"),),
        assets=tuple(
            Asset(key=f"line-{number}", name=f"Line {number}", kind=AssetKind.PROCESS_TOOL, area="hall")
            for number in range(assets)
        ),
        connections=tuple(
            ModbusTcpConnection(key=f"gateway-{number}", host=host, port=first_port + number)
            for number in range(endpoints)
        ),
        meters=tuple(
            Meter(
                key=f"meter-{number}",
                name=f"Meter {number}",
                asset=f"line-{number // _METERS_PER_ASSET}",
                profile=model.profile,
                connection=f"gateway-{number % endpoints}",
                unit_id=number // endpoints + 1,
                poll_interval_s=poll_interval_s,
                rated_power_kw=100.0,
            )
            for number in range(meters)
        ),
    )
    return plant, {model.profile: model}
