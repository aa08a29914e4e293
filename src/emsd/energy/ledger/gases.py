"""Process gases of display manufacturing: what of a gas leaves the chamber, what it becomes, what is destroyed.

IPCC 2019 Refinement, volume 3, chapter 6, Tier 2a:

    E_i = (1 - h) FC_i (1 - U_i) (1 - a_i d_i)        the gas itself
    E_k = (1 - h) FC_i B_k,i (1 - a_i d_k)            each by-product k

h heel left in the bottle, FC gas used [kg], U share of it that the process uses up, a share of it that goes through
tools with abatement, d share of what reaches the abatement that is destroyed, B by-product [kg / kg].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

__all__ = ["DEFAULT_HEEL", "DESTRUCTION", "DESTRUCTION_SOURCE", "PROCESSES", "PROCESS_SOURCE", "ProcessDefault"]

DEFAULT_HEEL: Final = Decimal("0.10")
"""Share of the gas that stays in the bottle (IPCC 2006 and 2019, volume 3, chapter 6)."""

PROCESS_SOURCE: Final = "40 CFR 98, Subpart I, Table I-6 (LCD manufacturing)"
_N2O_SOURCE: Final = "40 CFR 98, Subpart I, Table I-8"
DESTRUCTION_SOURCE: Final = "IPCC 2006 Guidelines, volume 3, chapter 6, Table 6.6"


@dataclass(frozen=True, slots=True)
class ProcessDefault:
    """What leaves the chamber of one kilogram that enters it: `emitted` = 1 - U, `by_products` = B by gas [kg / kg]."""

    emitted: Decimal
    by_products: Mapping[str, Decimal]
    source: str = PROCESS_SOURCE


def _default(emitted: str, source: str = PROCESS_SOURCE, **by_products: str) -> ProcessDefault:
    return ProcessDefault(Decimal(emitted), {gas: Decimal(rate) for gas, rate in by_products.items()}, source)


# CHF3 also forms C2F4, whose GWP is below 1; it is left out.
PROCESSES: Final[Mapping[tuple[str, str], ProcessDefault]] = MappingProxyType({
    ("CF4", "etch"): _default("0.6"),
    ("CHF3", "etch"): _default("0.2", CF4="0.07"),
    ("c-C4F8", "etch"): _default("0.1", CF4="0.009", CHF3="0.02"),
    ("SF6", "etch"): _default("0.3"),
    ("NF3", "chamber_clean_remote"): _default("0.03"),
    ("NF3", "chamber_clean_in_situ"): _default("0.3"),
    ("SF6", "chamber_clean_in_situ"): _default("0.9"),
    ("N2O", "cvd"): _default("0.8", _N2O_SOURCE),
    ("N2O", "other"): _default("1", _N2O_SOURCE),
})  # fmt: skip

DESTRUCTION: Final[Mapping[str, Decimal]] = MappingProxyType({
    "NF3": Decimal("0.95"),
    **dict.fromkeys(("CF4", "C2F6", "C3F8", "c-C4F8", "CHF3", "SF6"), Decimal("0.90")),
})  # fmt: skip
"""Share of a gas that abatement destroys when nobody measured it; of others, as N2O and CH2F2, it must be given."""
