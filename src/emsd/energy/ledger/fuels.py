"""What fuels emit when they are burned, each with its source, and the units in which amounts are written."""

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
    """A fuel: what one unit of it emits when it is burned [kg / unit], and who published that.

    The Chinese guideline counts carbon dioxide alone; where a publication has methane and nitrous oxide, they count.
    """

    name: str
    unit: str
    kg_co2_per_unit: Decimal
    source: str
    kg_ch4_per_unit: Decimal | None = None
    kg_n2o_per_unit: Decimal | None = None

    @property
    def kg_per_unit(self) -> dict[str, Decimal]:
        """Emissions by gas [kg / unit]."""
        gases = {"CO2": self.kg_co2_per_unit, "CH4": self.kg_ch4_per_unit, "N2O": self.kg_n2o_per_unit}
        return {gas: kg for gas, kg in gases.items() if kg is not None}


def _epa(name: str, unit: str, kg_co2: str, g_ch4: str, g_n2o: str) -> Fuel:
    """Return a fuel of the EPA's tables, which give carbon dioxide in kilograms and the others in grams."""
    ch4, n2o = (Decimal(grams).scaleb(-3) for grams in (g_ch4, g_n2o))
    return Fuel(name, unit, Decimal(kg_co2), _EPA, ch4, n2o)


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
_EPA: Final = "US EPA, Emission Factors for Greenhouse Gas Inventories (2022), Table 1, stationary combustion"
"""Its methane and nitrous oxide are 40 CFR 98 Table C-2 (gas 1 and 0.1 g/MMBtu, petroleum 3 and 0.6) x heat."""

FUELS: Final[Mapping[str, Fuel]] = MappingProxyType({
    fuel.name: fuel
    for fuel in (
        # 38.931 MJ/m3 and 42.652 GJ/t; 15.3 and 20.2 t C/TJ; 99 and 98 % oxidised.
        Fuel("natural_gas_cn", "m3", _by_carbon("38.931", "15.3", "0.99", per_unit=1000), _NDRC),
        Fuel("diesel_cn", "t", _by_carbon("42.652", "20.2", "0.98", per_unit=1), _NDRC),
        _epa("diesel_us", "gal", "10.21", "0.41", "0.08"),  # distillate fuel oil No. 2
        _epa("gasoline_us", "gal", "8.78", "0.38", "0.08"),
        _epa("lpg_us", "gal", "5.68", "0.28", "0.06"),
        _epa("natural_gas_us", "MMBtu", "53.06", "1", "0.1"),
    )
})  # fmt: skip
