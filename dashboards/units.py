"""Units as Grafana spells them, thresholds and colours."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = [
    "AMBER",
    "BAR",
    "BLUE",
    "CELSIUS",
    "CONTRACT",
    "COUNT",
    "COVERAGE",
    "GREEN",
    "HOURS",
    "HUMIDITY",
    "IRRADIANCE",
    "KG",
    "KG_PER_KWH",
    "KG_PER_M2",
    "KW",
    "KWH",
    "KWH_PER_KWP",
    "KWH_PER_M2",
    "MINUTES",
    "MONEY",
    "MONEY_PER_KWH",
    "NM3H",
    "NO_UNIT",
    "PASCAL",
    "PERCENT",
    "RED",
    "SECONDS",
    "SPECIFIC_POWER",
    "SQUARE_METRES",
    "TIME",
    "VOLT",
    "W_PER_M2",
    "Steps",
]

# https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts
KW: Final = "kwatt"
KWH: Final = "kwatth"
KG: Final = "masskg"
CELSIUS: Final = "celsius"
BAR: Final = "pressurebar"
PASCAL: Final = "pressurepa"
PERCENT: Final = "percent"
HUMIDITY: Final = "humidity"
VOLT: Final = "volt"
SECONDS: Final = "s"
HOURS: Final = "h"
MINUTES: Final = "m"
IRRADIANCE: Final = "Wm2"
W_PER_M2: Final = "Wm2"
COUNT: Final = "short"
NO_UNIT: Final = "none"
TIME: Final = "dateTimeAsIso"
# Grafana shows what follows suffix: after the number.
NM3H: Final = "suffix: Nm3/h"
SPECIFIC_POWER: Final = "suffix: kW/(Nm3/min)"
KWH_PER_KWP: Final = "suffix: kWh/kWp"
KG_PER_KWH: Final = "suffix: kg/kWh"
KG_PER_M2: Final = "suffix: kg/m2"
KWH_PER_M2: Final = "suffix: kWh/m2"
SQUARE_METRES: Final = "areaM2"
# In the currency of the tariff, which a dashboard of every site cannot name.
MONEY: Final = "locale"
MONEY_PER_KWH: Final = "suffix: /kWh"

GREEN: Final = "green"
AMBER: Final = "orange"
RED: Final = "red"
BLUE: Final = "blue"

Steps: TypeAlias = tuple[tuple[float | None, str], ...]
"""Thresholds in ascending order: from this value on, this colour; the first has no value."""

COVERAGE: Final[Steps] = ((None, RED), (50.0, AMBER), (90.0, GREEN))
"""Day totals are trusted from 90 % on, hours from 50 % (OpenDSM, sufficiency criteria)."""
CONTRACT: Final[Steps] = ((None, GREEN), (90.0, AMBER), (100.0, RED))
"""Share of the contract demand [%]."""
