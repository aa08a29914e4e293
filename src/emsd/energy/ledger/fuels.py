"""Carbon dioxide of fuels, each with its source, and the units in which amounts are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from emsd.energy.ledger.exact import CONTEXT

__all__ = ["FUELS", "UNITS", "Fuel", "convert"]

_CO2_PER_CARBON: Final = CONTEXT.divide(Decimal(44), Decimal(12))

# Unit: what it measures, and how many of the base unit it is.
UNITS: Final[Mapping[str, tuple[str, Decimal]]] = MappingProxyType({
    "kg": ("mass", Decimal(1)),
    "g": ("mass", Decimal("0.001")),
    "t": ("mass", Decimal(1000)),
    "lb": ("mass", Decimal("0.45359237")),
    "m3": ("volume", Decimal(1)),
    "L": ("volume", Decimal("0.001")),
    "gal": ("volume", Decimal("0.003785411784")),
    "MJ": ("energy", Decimal(1)),
    "GJ": ("energy", Decimal(1000)),
    "kWh": ("energy", Decimal("3.6")),
    "MWh": ("energy", Decimal(3600)),
    "MMBtu": ("energy", Decimal("1055.05585262")),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fuel:
    """A fuel: emissions of one unit of it when it is burned [kg CO2 / unit], and who published them."""

    name: str
    unit: str
    kg_co2_per_unit: Decimal
    source: str


def convert(amount: Decimal, unit: str, to_unit: str) -> Decimal:
    """Return an amount in another unit of the same kind.

    Raises:
        ValueError: a unit is unknown, or one measures mass and the other volume.
    """
    if unit == to_unit:
        return amount
    for name in (unit, to_unit):
        if name not in UNITS:
            raise ValueError(f"unit {name!r} is not known; write one of {', '.join(UNITS)}")
    (kind, size), (to_kind, to_size) = UNITS[unit], UNITS[to_unit]
    if kind != to_kind:
        raise ValueError(f"{unit} measures {kind}, {to_unit} {to_kind}; write the amount in a unit of {to_kind}")
    return CONTEXT.divide(CONTEXT.multiply(amount, size), to_size)


def _by_carbon(heat: str, carbon: str, oxidation: str, *, per_unit: int) -> Decimal:
    """Return heat [MJ or GJ / unit] x carbon [t C / TJ] x oxidised share x 44/12 as kg CO2 / unit."""
    carbon_kg = CONTEXT.multiply(CONTEXT.multiply(Decimal(heat), Decimal(carbon)), Decimal(oxidation))
    return CONTEXT.divide(CONTEXT.multiply(carbon_kg, _CO2_PER_CARBON), Decimal(per_unit))


_NDRC: Final = (
    "NDRC of China, Guidelines for Accounting and Reporting of Greenhouse Gas Emissions, Industrial Enterprises (2015),"
    " default values"
)
_EPA: Final = "US EPA, Emission Factors for Greenhouse Gas Inventories, Tables 1 and 2"

FUELS: Final[Mapping[str, Fuel]] = MappingProxyType({
    fuel.name: fuel
    for fuel in (
        # 38.931 MJ/m3 and 42.652 GJ/t; 15.3 and 20.2 t C/TJ; 99 and 98 % oxidised.
        Fuel("natural_gas_cn", "m3", _by_carbon("38.931", "15.3", "0.99", per_unit=1000), _NDRC),
        Fuel("diesel_cn", "t", _by_carbon("42.652", "20.2", "0.98", per_unit=1), _NDRC),
        Fuel("diesel_us", "gal", Decimal("10.21"), _EPA),
        Fuel("gasoline_us", "gal", Decimal("8.78"), _EPA),
        Fuel("lpg_us", "gal", Decimal("5.68"), _EPA),
        Fuel("natural_gas_us", "MMBtu", Decimal("53.06"), _EPA),
    )
})  # fmt: skip
