"""Global warming potentials over 100 years, by assessment report of the IPCC."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["GASES", "GWP_SETS", "GWP_SOURCES", "GwpSet", "gwp100"]

GwpSet: TypeAlias = Literal["AR4", "AR5", "AR6"]
GWP_SETS: Final[tuple[GwpSet, ...]] = get_args(GwpSet)

GWP_SOURCES: Final[Mapping[GwpSet, str]] = MappingProxyType({
    "AR4": "IPCC AR4 (2007), Working Group I, Table 2.14",
    "AR5": "IPCC AR5 (2013), Working Group I, Table 8.A.1, without climate-carbon feedbacks",
    "AR6": "IPCC AR6 (2021), Working Group I, Table 7.SM.7",
})  # fmt: skip

# Gas: AR4, AR5, AR6. Compiled in the package globalwarmingpotentials (columns AR4GWP100, AR5GWP100, AR6GWP100).
_GWP100: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType({
    "CO2": ("1", "1", "1"),
    "CH4": ("25", "28", "27.9"),
    "N2O": ("298", "265", "273"),
    "NF3": ("17200", "16100", "17400"),
    "SF6": ("22800", "23500", "25200"),
    "CF4": ("7390", "6630", "7380"),
    "C2F6": ("12200", "11100", "12400"),
    "C3F8": ("8830", "8900", "9290"),
    "c-C4F8": ("10300", "9540", "10200"),
    "CHF3": ("14800", "12400", "14600"),
    "CH2F2": ("675", "677", "771"),
    "R32": ("675", "677", "771"),
    "R125": ("3500", "3170", "3740"),
    "R134a": ("1430", "1300", "1530"),
    "R143a": ("4470", "4800", "5810"),
    "R152a": ("124", "138", "164"),
    "R227ea": ("3220", "3350", "3600"),
    "R245fa": ("1030", "858", "962"),
})  # fmt: skip
GASES: Final[tuple[str, ...]] = tuple(_GWP100)


def gwp100(gas: str, gwp_set: GwpSet) -> Decimal:
    """Return the GWP of a gas over 100 years [kg CO2e / kg]; raises KeyError for a gas that is not in the table."""
    return Decimal(_GWP100[gas][GWP_SETS.index(gwp_set)])
